"""A network's computation as a graph of functions, found by running it once on stand-ins for tensors (``torch.fx``).

Beside each stand-in goes the value that an example gives it. Decisions that depend on sizes are taken as the example
takes them, if calls of other sizes that the network bears take them alike. What decides by the values of tensors, or
keeps something for its next call, cannot be followed: it becomes one node of the graph, a module that is called as it
is.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import Attribute, TraceError
from torch.utils import _pytree as pytree

from kaldi_quant.errors import DataError
from kaldi_quant.torchnn.calls import Call
from kaldi_quant.torchnn.computation import attribute, compute
from kaldi_quant.torchnn.followed import FOLLOWED
from kaldi_quant.torchnn.graph_nodes import is_constant
from kaldi_quant.torchnn.recurrence import Recurrence
from kaldi_quant.torchnn.variants import FAILURES, variants
from kaldi_quant.torchnn.written_out import written_out


def same_way(found: Any, expected: Any) -> None:
    """Refuses an input for which a network decides otherwise than for the example that it was traced with.

    Raises:
        DataError: it does.
    """
    if found != expected:
        raise DataError(
            f"the network goes another way for an input of these sizes than for its example ({found!r}, not "
            f"{expected!r}): prepare it with an example like this one"
        )


def trace(
    network: nn.Module,
    call: Call,
    others: Sequence[Call] | None = None,
    leaves: tuple[type[nn.Module], ...] = (),
) -> tuple[fx.Graph, dict[str, str]]:
    """Traces a network in test mode.

    Args:
        network: constants that its code makes become buffers of it; else it is left as it is.
        call: an example of how it is called.
        others: calls for which it must decide as for the example; by default of all sizes that it bears. Where there
            are none, sizes are numbers of the graph.
        leaves: modules of these kinds are one node each.

    Returns:
        The graph, each node's ``meta["value"]`` being what the example gives, and ``meta["stack"]`` the modules that it
        is computed within, as (path, type) from the outermost; and for modules within it that cannot be followed the
        reason.

    Raises:
        TraceError: the network's own computation cannot be followed.
    """
    if network._forward_hooks or network._forward_pre_hooks:
        raise TraceError("it has hooks")
    reasons: dict[str, str] = {}
    while True:
        followed = copy.deepcopy(network)
        tracer = _Tracer(call, network, reasons, others, leaves)
        try:
            graph = tracer.trace(followed)
            _refuse_kept(followed)
        except FAILURES as error:
            raise TraceError(first_line(error)) from error
        # A module that was followed at one call and not at another is not followed at all.
        within = {path for node in graph.nodes for path, _ in node.meta["stack"]}
        if within.isdisjoint(tracer.reasons):
            _keep_constants(graph, followed, network)
            return graph, tracer.reasons
        reasons = tracer.reasons


def _keep_constants(graph: fx.Graph, followed: nn.Module, network: nn.Module) -> None:
    """Registers the constants of the code, which the tracer has put beside a module's own tensors."""
    for node in graph.find_nodes(op="get_attr"):
        if not hasattr(network, str(node.target).split(".", maxsplit=1)[0]):
            network.register_buffer(str(node.target), attribute(followed, str(node.target)))


class _Value(fx.Proxy):
    """A stand-in that knows what the example gives it."""

    tracer: _Tracer

    def __getattr__(self, name: str) -> Any:
        if name == "shape" and self.tracer.has_known_sizes and isinstance(self.node.meta["value"], Tensor):
            return self.node.meta["value"].shape
        return _Attribute(self, name)

    def __len__(self) -> int:
        return self.tracer.settled(self, len)

    def __int__(self) -> int:
        return self.tracer.settled(self, int)

    def __index__(self) -> int:
        return self.tracer.settled(self, operator.index)

    def __float__(self) -> float:
        return self.tracer.settled(self, float)


class _Attribute(Attribute):
    """An attribute of a stand-in; a method, if it is called."""

    __getattr__ = _Value.__getattr__
    __len__ = _Value.__len__
    __int__ = _Value.__int__
    __index__ = _Value.__index__
    __float__ = _Value.__float__


class _Tracer(fx.Tracer):
    # So that networks may cut as much from a table of their own as their input is long.
    proxy_buffer_attributes = True

    def __init__(
        self,
        call: Call,
        network: nn.Module,
        reasons: Mapping[str, str],
        others: Sequence[Call] | None,
        leaves: tuple[type[nn.Module], ...],
    ) -> None:
        super().__init__()
        self.call, self.network, self.others = call.copied(), network, others
        self.leaves: tuple[type[nn.Module], ...] = (Recurrence, *leaves)
        #: For modules that cannot be followed why.
        self.reasons = dict(reasons)
        self._evaluating = False

    # fx asks the class for these.

    def create_args_for_root(self, root_fn: Callable, is_module: bool, concrete_args: Any = None) -> tuple:
        """One stand-in for each tensor of the example; all else is as in the example."""
        stand_ins = []
        for place, value in enumerate(self.call.tensors):
            proxy = self.create_proxy("placeholder", f"input_{place}", (), {})
            proxy.node.meta["value"] = value
            stand_ins.append(proxy)
        inner = self.call.with_tensors(stand_ins)
        return (lambda: root_fn(self.root, *inner.args, **inner.kwargs)), ()

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Value(node, self)

    @property
    def has_known_sizes(self) -> bool:
        """Whether the graph is for the sizes of the example alone."""
        return self.others is not None and not self.others

    def create_proxy(self, kind: str, target: Any, args: tuple, kwargs: dict, *more: Any, **options: Any) -> Any:
        """A stand-in; the number itself for a size that is known.

        Of functions that hide products it is that of what they are written out as.
        """
        other = written_out(target, args, kwargs) if kind == "call_function" else None
        if other is not None:
            return other(*args, **kwargs)
        found = super().create_proxy(kind, target, args, kwargs, *more, **options)
        if self.has_known_sizes and kind == "call_method" and target in ("size", "numel"):
            return found.node.meta["value"]
        return found

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, self.leaves):
            return True
        of_torch = type(m).__module__.startswith("torch.nn") and not isinstance(m, fx.GraphModule)
        return of_torch and type(m) not in FOLLOWED

    def call_module(self, m: nn.Module, forward: Callable, args: tuple, kwargs: dict) -> Any:
        """A module's computation, or one node if it cannot be followed."""
        if self._evaluating:
            return forward(*args, **kwargs)
        path = self.path_of_module(m)
        before, scope, stack = len(self.graph.nodes), self.scope, dict(self.module_stack)
        if path not in self.reasons:
            try:
                found = super().call_module(m, forward, args, kwargs)
                _refuse_kept(m)
                return found
            except FAILURES as error:
                self.reasons[path] = first_line(error)
                self._forget(before)
                self.scope = scope
                self.module_stack.clear()
                self.module_stack.update(stack)
        return self.create_proxy("call_module", path, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val if self._evaluating else super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_node(
        self, kind: str, target: Any, args: tuple, kwargs: dict, name: str | None = None, type_expr: Any = None
    ) -> fx.Node:
        node = super().create_node(kind, target, args, kwargs, name, type_expr)
        node.meta["stack"] = tuple(self.module_stack.values())
        if kind not in ("placeholder", "output"):
            node.meta["value"] = self._evaluated(node, lambda argument: argument.meta["value"])
        return node

    def to_bool(self, obj: fx.Proxy) -> bool:
        return self.settled(obj, bool)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        return (obj[place] for place in range(self.settled(obj, len)))  # type: ignore[index]

    def settled(self, proxy: fx.Proxy, read: Callable[[Any], Any]) -> Any:
        """A number that does not depend on an input's values or sizes.

        Raises:
            TraceError: it does.
        """
        value = proxy.node.meta["value"]
        if is_constant(proxy.node) and not _depends_on_parameters(proxy.node):
            return read(value)
        if isinstance(value, Tensor) and read is not len:
            raise TraceError("what it does depends on the values of tensors")
        found = read(value)
        if _is_of_every_call(proxy.node) or (read is len and _is_shape(proxy.node)):
            return found
        for other in self._other_sizes:
            if read(self._value_for(other, proxy.node)) != found:
                raise TraceError("what it does depends on the sizes of its input")
        number = self.create_node("call_function", read, (proxy.node,), {})
        self.create_node("call_function", same_way, (number, found), {})
        return found

    @cached_property
    def _other_sizes(self) -> list[list[Tensor]]:
        if self.others is not None:
            return [call.tensors for call in self.others]
        with self._evaluation():
            return [call.tensors for call in variants(copy.deepcopy(self.network), self.call)]

    def _value_for(self, inputs: list[Tensor], wanted: fx.Node) -> Any:
        """What a node is for other inputs than the example's."""
        values: dict[fx.Node, Any] = {}
        rest = iter(inputs)
        for node in self.graph.nodes:
            values[node] = next(rest) if node.op == "placeholder" else self._evaluated(node, values.__getitem__)
            if node is wanted:
                break
        return values[wanted]

    @contextmanager
    def _evaluation(self) -> Iterator[None]:
        before, self._evaluating = self._evaluating, True
        try:
            with torch.no_grad():
                yield
        finally:
            self._evaluating = before

    def _evaluated(self, node: fx.Node, value_of: Callable[[fx.Node], Any]) -> Any:
        root: nn.Module = self.root
        if node.op == "call_module" and node.target in self.reasons:
            # Tracing may have left stand-ins in this one, and what it keeps is for later calls.
            root = copy.deepcopy(self.network)
        with self._evaluation():
            return compute(node, root, value_of)

    def _forget(self, length: int) -> None:
        """Takes out all nodes but the first."""
        for node in list(self.graph.nodes)[: length - 1 : -1]:
            self.graph.erase_node(node)


def _depends_on_parameters(constant: fx.Node) -> bool:
    """Whether a constant is computed from what training may change."""
    if constant.op == "get_attr":
        return isinstance(constant.meta["value"], nn.Parameter)
    return any(map(_depends_on_parameters, constant.all_input_nodes))


def _is_of_every_call(node: fx.Node) -> bool:
    """Whether a node is the same for all calls that are like the example: how many axes there are, what type it has."""
    if node.target in ("dim", "ndimension", "is_floating_point", "is_complex"):
        return True
    if node.op == "call_function" and node.target is getattr:
        return node.args[1] in ("ndim", "dtype", "device", "is_cuda", "requires_grad")
    if node.op == "call_function" and node.target is len:
        return False
    read = node.all_input_nodes
    return node.op == "call_function" and bool(read) and all(map(_is_of_every_call, read))


def _is_shape(node: fx.Node) -> bool:
    """Whether a node is sizes of a tensor, all or some by place: as many for all calls that are like the example."""
    if node.op == "call_method":
        return node.target == "size" and len(node.args) == 1 and not node.kwargs
    if node.op != "call_function" or not isinstance(node.args[0], fx.Node):
        return False
    if node.target is operator.getitem:
        return isinstance(node.args[1], slice) and len(node.all_input_nodes) == 1 and _is_shape(node.args[0])
    return node.target is getattr and node.args[1] == "shape"


def _refuse_kept(module: nn.Module) -> None:
    """Refuses a module that has a stand-in among its attributes now: it keeps something for its next call.

    Raises:
        TraceError: it has.
    """
    for name, value in vars(module).items():
        if any(isinstance(one, fx.Proxy) for one in pytree.tree_flatten(value)[0]):
            raise TraceError(f"it keeps {name} from one call to the next")


def first_line(error: Exception) -> str:
    """The first line of an error."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
