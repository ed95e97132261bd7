"""A traced network, or a traced part of one that cannot be traced as a whole, and all that its program needs.

Nodes of the graph name modules and tensors of the network itself by paths that begin with ``original``, and what has
taken the place of others, layers above all, by ``parts.NUMBER``.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any

from torch import fx, nn
from torch.fx.proxy import TraceError

from kaldi_quant.torchnn.calls import Call, Signature, arguments_of
from kaldi_quant.torchnn.computation import attribute
from kaldi_quant.torchnn.forms import Layer
from kaldi_quant.torchnn.in_place import without_in_place
from kaldi_quant.torchnn.program import Arithmetics, Program, Taps, one_call
from kaldi_quant.torchnn.recurrence import Recurrence
from kaldi_quant.torchnn.simplify import simplify
from kaldi_quant.torchnn.tracing import trace


class Region(nn.Module):
    """A network, or a part of one, that runs by its graph.

    Args:
        original: what the program needs of the network, in test mode; it becomes a part of this.
        program: computes it.
        kind: the class of the network.
        path: where it is in the whole network; empty for the whole.
        reasons: for modules that cannot be traced, by their path within ``original``, why.
    """

    def __init__(
        self, original: nn.Module, program: Program, kind: str, path: str = "", reasons: dict[str, str] | None = None
    ) -> None:
        super().__init__()
        self.path, self.kind = path, kind
        self.original, self.program = original, program
        self.parts = nn.ModuleList()
        self.reasons = reasons or {}
        # In lists, which hide them: they are the whole network's.
        self._taps: list[Taps] = [{}]
        self._arithmetic: list[Arithmetics] = [{}]

    @classmethod
    def traced(cls, original: nn.Module, call: Call, path: str = "") -> Region:
        """A network traced as far as it can be.

        Args:
            original: the network, in test mode; it becomes a part of the region.
            call: an example of how it is called.
            path: where it is in the whole network; empty for the whole.
        """
        arguments = arguments_of(original)
        call = call.bound(arguments)
        try:
            graph, reasons = trace(original, call)
            without_in_place(graph, original)
            simplify(graph)
        except TraceError as error:
            graph, reasons = one_call(original, call), {"": str(error)}
        for node in graph.nodes:
            if node.op in ("get_attr", "call_module"):
                node.target = joined("original", str(node.target))
        return cls(original, Program(graph, Signature(arguments, call)), type(original).__name__, path, reasons)

    def use(self, taps: Taps, arithmetic: Arithmetics) -> None:
        """Sets what is done at nodes, here and within."""
        for module in self.modules():
            if isinstance(module, Region):
                module._taps, module._arithmetic = [taps], [arithmetic]
            elif isinstance(module, Recurrence):
                module.use(taps)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the original network."""
        return self.program.run(self, Call(args, kwargs), self._taps[0], self._arithmetic[0])

    def begin(self, call: Call) -> dict[fx.Node, Any]:
        """The values that there are before the first step."""
        return self.program.begin(call, self._taps[0])

    def step(self, place: int, values: dict[fx.Node, Any]) -> None:
        """Computes one of the program's steps, and forgets what no later one reads."""
        self.program.step(self.program.steps[place], self, values, self._taps[0], self._arithmetic[0])

    def modules_of(self, node: fx.Node) -> set[nn.Module]:
        """What a node calls, and all within."""
        return set(self.get_submodule(str(node.target)).modules()) if node.op == "call_module" else set()

    def points_of(self, node: fx.Node) -> set[str]:
        """The quantizer's nodes whose values a node computes, itself or within what it calls."""
        found = {self.program.points.get(node.name, "")}
        if self.recurrence_of(node) is not None:
            found.add(str(node.kwargs["node"]))
        for module in self.modules_of(node):
            if isinstance(module, Region):
                found.update(*map(module.points_of, module.graph.nodes))
        return found - {""}

    def __getattr__(self, name: str) -> Any:
        """What the original has: code that calls it may ask for its sizes."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("original"), name)

    @property
    def graph(self) -> fx.Graph:
        """Of the program."""
        return self.program.graph

    @property
    def layers(self) -> dict[str, Layer]:
        """All layers by name, those within parts that cannot be traced included."""
        return {module.name: module for module in self.modules() if isinstance(module, Layer)}

    def layer_of(self, node: fx.Node) -> Layer | None:
        """The layer that a node calls."""
        part = self.get_submodule(str(node.target)) if node.op == "call_module" else None
        return part if isinstance(part, Layer) else None

    def recurrence_of(self, node: fx.Node) -> Recurrence | None:
        """The recurrence that a node calls."""
        part = self.get_submodule(str(node.target)) if node.op == "call_module" else None
        return part if isinstance(part, Recurrence) else None

    def calls_of(self, layer: Layer) -> int:
        """How many nodes call a layer."""
        return sum(self.layer_of(node) is layer for node in self.graph.nodes)

    def untraced_code(self) -> str:
        """The text of what cannot be traced, as far as it is known."""
        return " ".join(_text_of(self.original.get_submodule(path)) for path in self.reasons)

    def add_part(self, part: nn.Module) -> str:
        """Adds what nodes may call, and returns its path."""
        self.parts.append(part)
        return f"parts.{len(self.parts) - 1}"

    def finish(self) -> None:
        """Forgets what only preparation needs: the example's values, and what the network has that no node uses."""
        self.program.forget_values()
        if self.path:
            # The code around it may look at whatever it has.
            return
        named = [node for node in self.graph.nodes if node.op in ("get_attr", "call_module")]
        tensors = {id(attribute(self, str(node.target))) for node in named if node.op == "get_attr"}
        called = [self.get_submodule(str(node.target)) for node in named if node.op == "call_module"]
        modules = {id(inner) for module in called for inner in module.modules()}
        _prune(self.original, tensors, modules)
        if isinstance(self.original, fx.GraphModule) and id(self.original) not in modules:
            self.original = _without_graph(self.original)


def _prune(module: nn.Module, tensors: Collection[int], modules: Collection[int]) -> bool:
    """Takes out of a module what is not needed, all given by ``id``; whether anything is left."""
    if id(module) in modules:
        return True
    for own in (module._parameters, module._buffers):
        own.update({name: None for name, value in own.items() if id(value) not in tensors})
    for name, child in list(module._modules.items()):
        if child is None or not _prune(child, tensors, modules):
            del module._modules[name]
        elif isinstance(child, fx.GraphModule) and id(child) not in modules:
            module._modules[name] = _without_graph(child)
    left = [*module._parameters.values(), *module._buffers.values(), *module._modules.values()]
    return any(value is not None for value in left)


def _without_graph(module: fx.GraphModule) -> nn.Module:
    """What a module has, without its graph: copies of that would look for what has been taken out."""
    found = nn.Module()
    found._parameters, found._buffers, found._modules = module._parameters, module._buffers, module._modules
    return found.eval()


def regions_within(module: nn.Module) -> list[Region]:
    """The regions directly within a module, not those within them."""
    found: list[Region] = []
    pending = [module]
    while pending:
        for child in pending.pop(0).children():
            if isinstance(child, Region):
                found.append(child)
            else:
                pending.append(child)
    return found


def _text_of(module: nn.Module) -> str:
    try:
        return inspect.getsource(type(module))
    except (OSError, TypeError):
        return type(module).__qualname__


def joined(path: str, name: str) -> str:
    """A path within a path."""
    return f"{path}.{name}" if path and name else path or name
