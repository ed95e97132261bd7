"""An nnet3 acoustic model in torch, built from the graph in its file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor, nn

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.inference_values import check_values
from kaldi_quant.kaldi.nnet import ComponentNode, Nnet
from kaldi_quant.nnet3.components import ComponentModule, Registry
from kaldi_quant.nnet3.components.affine import Affine, Tdnn
from kaldi_quant.nnet3.components.convolution import TimeHeightConvolution
from kaldi_quant.nnet3.context import Context, compute_context
from kaldi_quant.nnet3.expression import Values
from kaldi_quant.nnet3.graph import Graph, check_inputs, reachable_nodes
from kaldi_quant.nnet3.program import Program
from kaldi_quant.nnet3.schedule import Request, Span
from kaldi_quant.nnet3.time_access import Times
from kaldi_quant.quant.host import Executable, StepwiseExecutable
from kaldi_quant.quant.passage import Passage

#: The components whose products quantization is about.
LinearModule = Affine | Tdnn | TimeHeightConvolution

# Spans and output times.
_Key = tuple[tuple[Span, ...], bytes]

# Programs are kept for requests that come again: chunks, and utterances of equal length.
_PROGRAMS_KEPT = 64


def context_of(nnet: Nnet, output: str = "output") -> Context:
    """The context of an output; the network need not have the values that inference needs.

    Raises:
        ModelError: there is no such output, or a component on its way cannot be executed.
    """
    modules = _modules(nnet, reachable_nodes(nnet, output))
    return compute_context(Graph(nnet, output, {name: module.access for name, module in modules.items()}))


def _modules(nnet: Nnet, nodes: Sequence[str]) -> dict[str, ComponentModule]:
    """The components of some nodes, by name, in file order."""
    names = {node.component for name in nodes if isinstance(node := nnet.nodes[name], ComponentNode)}
    try:
        return {name: Registry.build(name, part) for name, part in nnet.components.items() if name in names}
    except ModelError as error:
        raise ModelError(f"{nnet.path}: {error}") from error


class AcousticModel(StepwiseExecutable):
    """One output of an nnet3 network, or several that share what they can, in test mode.

    Args:
        nnet: the network, as read from its file.
        output: the output node.
        more_outputs: output nodes that ``outputs`` computes beside it, such as output-xent.

    Raises:
        ModelError: the network cannot be executed; names the node or component and says why.

    Example:
        >>> model = AcousticModel(read_model("final.mdl").nnet)
        >>> model.context
        Context(left=15, right=15, modulus=1)
    """

    def __init__(self, nnet: Nnet, output: str = "output", more_outputs: Sequence[str] = ()) -> None:
        super().__init__()
        self.nnet = nnet
        used = reachable_nodes(nnet, output, *more_outputs)
        check_values(nnet, used)
        check_inputs(nnet, used)
        modules = _modules(nnet, used)
        self._names = list(modules)
        self.components = nn.ModuleList(modules.values())
        self.graph = Graph(nnet, output, {name: module.access for name, module in modules.items()}, more_outputs)
        self.context: Context = compute_context(self.graph)
        self._programs: OrderedDict[_Key, Program] = OrderedDict()
        # Those of batches that are on their way are there, however many they are.
        self._held: WeakValueDictionary[_Key, Program] = WeakValueDictionary()

    @property
    def input_dim(self) -> int:
        """Columns of the features."""
        return self.nnet.input_dim("input")

    @property
    def ivector_dim(self) -> int:
        """Columns of the i-vector; 0 where the output does not depend on one."""
        return self.nnet.input_dim("ivector") if "ivector" in self.graph.inputs else 0

    @property
    def output_dim(self) -> int:
        """Columns of the output: the number of pdfs."""
        return self.nnet.node_dim(self.graph.output)

    def component(self, name: str) -> ComponentModule:
        """The module of the component of that name in the file."""
        return self.components[self._names.index(name)]  # type: ignore[return-value]

    def slot(self, layer: str) -> LinearModule:
        """The module of a linear component.

        Raises:
            ModelError: the component of that name is another kind.
        """
        module = self.component(layer)
        if not isinstance(module, LinearModule):
            raise ModelError(f"{self.nnet.path}: {layer} is a {module.component_type} and has no product")
        return module

    def replace_component(self, name: str, module: ComponentModule) -> None:
        """Puts a module in the place of a component's; it must read the same times."""
        self.components[self._names.index(name)] = module
        self._forget_programs()

    def forget_programs(self) -> None:
        """Makes programs anew from now on: to be called when a component's product is replaced by another kind.

        Only recurrences look at products: they compute some of them for all times at once.
        """
        if any(group.recurrent for group in self.graph.groups):
            self._forget_programs()

    def _forget_programs(self) -> None:
        self._programs.clear()
        self._held.clear()

    def program(self, request: Request) -> Program:
        """The steps for a request, kept for the next time, and as long as somebody has them."""
        key = (request.spans, request.output_times.tobytes())
        program = self._held.get(key)
        if program is None:
            modules = {name: self.component(name) for name in self._names}
            program = self._held[key] = Program(self.graph, modules, request)
        self._programs[key] = program
        self._programs.move_to_end(key)
        if len(self._programs) > _PROGRAMS_KEPT:
            self._programs.popitem(last=False)
        return program

    def forward(
        self, feats: Tensor, spans: Sequence[Span], output_times: Times, ivectors: Tensor | None = None
    ) -> Tensor:
        """Computes the output of a batch.

        Args:
            feats: (N, frames, input_dim) float; its first frame is the earliest start of all spans. Beyond its own
                span a sequence's rows may hold anything finite.
            spans: for each sequence the first and one past the last frame that exist, relative to output time 0.
            output_times: (len,) int64, sorted: the frames at which the output is wanted.
            ivectors: (N, ivector_dim), where the network has that input.

        Returns:
            (N, len, output_dim); rows that a sequence's own span does not suffice for are meaningless.
        """
        return self.outputs(feats, spans, output_times, ivectors)[self.graph.output]

    def outputs(
        self, feats: Tensor, spans: Sequence[Span], output_times: Times, ivectors: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Computes all outputs of a batch: as ``forward``, and returns output node → (N, len, its dim)."""
        program, inputs, kinds = self._requested(feats, spans, output_times, ivectors)
        return program.run(inputs, kinds, self.taps)

    def passage(
        self, feats: Tensor, spans: Sequence[Span], output_times: Times, ivectors: Tensor | None = None
    ) -> AcousticPassage:
        """A batch before the first step; arguments as of ``forward``."""
        program, inputs, kinds = self._requested(feats, spans, output_times, ivectors)
        return AcousticPassage(self, program.request, program.begin(inputs, kinds, self.taps))

    def places(self, layer: str) -> list[int]:
        """The steps of programs that use a layer."""
        nodes = self.graph.nnet.nodes
        return [
            place
            for place, group in enumerate(self.graph.groups)
            if any(isinstance(node := nodes[name], ComponentNode) and node.component == layer for name in group.nodes)
        ]

    def place_of(self, node: str) -> int:
        """The step of programs that computes a node; -1 for inputs.

        Raises:
            ModelError: the output does not depend on such a node.
        """
        if node in self.graph.inputs:
            return -1
        for place, group in enumerate(self.graph.groups):
            if node in group.nodes:
                return place
        raise ModelError(f"{self.nnet.path}: {self.graph.output} is not computed from a node {node}")

    def is_one_call(self, place: int) -> bool:
        """Whether a step uses one layer once."""
        return not self.graph.groups[place].recurrent

    def resumed(self, passage: Passage) -> AcousticPassage:
        """A copy of a batch that has come some way through a network of the same nodes, going on here."""
        assert isinstance(passage, AcousticPassage)
        assert passage.model.graph.groups == self.graph.groups
        state = replace(passage.state, nodes=dict(passage.state.nodes), taps=self.taps)
        other = AcousticPassage(self, passage.request, state)
        other.place = passage.place
        return other

    def _requested(
        self, feats: Tensor, spans: Sequence[Span], output_times: Times, ivectors: Tensor | None
    ) -> tuple[Program, dict[str, Tensor], Tensor]:
        """The program for a batch, and what it takes: the inputs, and which of its spans each sequence has."""
        kinds = tuple(sorted(set(spans)))
        if not self.graph.has_optional_inputs:
            kinds = ((min(start for start, _ in kinds), max(end for _, end in kinds)),)
            which = torch.zeros(len(spans), dtype=torch.int64, device=feats.device)
        else:
            which = torch.tensor([kinds.index(span) for span in spans], device=feats.device)
        inputs = {"input": feats}
        if self.ivector_dim:
            if ivectors is None or ivectors.shape != (len(spans), self.ivector_dim):
                raise ModelError(f"{self.nnet.path}: the network needs i-vectors of dimension {self.ivector_dim}")
            inputs["ivector"] = ivectors.unsqueeze(1)
        return self.program(Request(kinds, np.asarray(output_times, np.int64))), inputs, which


class AcousticPassage(Passage):
    """A batch on its way through an acoustic model.

    Args:
        model: the network.
        request: what is wanted of it.
        state: the values of its nodes so far.
    """

    def __init__(self, model: AcousticModel, request: Request, state: Values) -> None:
        super().__init__()
        self.model, self.request, self.state = model, request, state
        # Held so that it is made once, if the model does not forget it.
        self._program = model.program(request)

    @property
    def values(self) -> dict[str, Tensor]:
        """By node."""
        return self.state.nodes

    @values.setter
    def values(self, values: dict[str, Tensor]) -> None:
        self.state = replace(self.state, nodes=values)

    def copy(self) -> AcousticPassage:
        """The same batch, going on by itself."""
        return self.model.resumed(self)

    @property
    def end(self) -> int:
        """The number of steps."""
        return len(self.model.graph.groups)

    @property
    def result(self) -> Tensor:
        """(N, output times, output_dim)."""
        return self.state.nodes[self.model.graph.output]

    @torch.inference_mode()
    def step(self) -> None:
        """Computes the next step."""
        self._program = self.model.program(self.request)
        self._program.step(self.place, self.state)
        self.place += 1


def acoustic_model(model: Executable) -> AcousticModel:
    """What is known to be an nnet3 network.

    Raises:
        TypeError: it is another kind of network.
    """
    if not isinstance(model, AcousticModel):
        raise TypeError(f"expected an nnet3 network, found {type(model).__name__}")
    return model
