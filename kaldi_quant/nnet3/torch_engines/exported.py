"""A network as PyTorch's exporter traces it: a module for one length, in which layers can be told apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.chunks import Chunk
from kaldi_quant.nnet3.linear import float_backend
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.schedule import Request, Span
from kaldi_quant.nnet3.time_access import Times
from kaldi_quant.quant.integer_linear import InputGrid
from kaldi_quant.quant.slots import set_product


class Product(nn.Module):
    """A layer's product as PyTorch would write it.

    Args:
        weight: (out, in) float32, for the input in steps if it has a scale for each column.
        bias: (out,) float32, for the input as it is.
        inputs: the grids of an input that has a scale for each column; None for others.
    """

    def __init__(self, weight: Tensor, bias: Tensor, inputs: InputGrid | None) -> None:
        super().__init__()
        self.linear = nn.Linear(weight.shape[1], weight.shape[0])
        self.inputs = inputs
        if inputs is not None:
            bias = bias - weight @ inputs.zero_point.float()
        self.linear.weight, self.linear.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x: (..., in) → (..., out)."""
        if self.inputs is not None:
            x = x / self.inputs.scale + self.inputs.zero_point
        return self.linear(x)


class Mark(nn.Module):
    """Leaves a trace in the graph where a node's values are."""

    def forward(self, x: Tensor) -> Tensor:
        """x, copied."""
        return x.clone()


class _Traceable(nn.Module):
    """The network for one request. Its layers and marks are named ``layer0``, ``mark0``, … in the order given."""

    def __init__(self, model: AcousticModel, products: Mapping[str, Product], marked: Sequence[str], chunk: Chunk):
        super().__init__()
        # Before the model, which has them too, so that these are the names that the graph has.
        for i, (name, product) in enumerate(products.items()):
            self.add_module(f"layer{i}", product)
            set_product(model, name, product)
        for i, name in enumerate(marked):
            mark = Mark()
            self.add_module(f"mark{i}", mark)
            model.taps[name] = mark
        self.model = model
        self.program = model.program(Request((chunk.span,), chunk.output_times))

    def forward(self, feats: Tensor, ivector: Tensor | None = None) -> Tensor:
        """feats: (1, frames, columns), ivector: (1, 1, columns) → (1, outputs, pdfs)."""
        inputs = {"input": feats} if ivector is None else {"input": feats, "ivector": ivector}
        kinds = torch.zeros(1, dtype=torch.int64)
        return self.program.run(inputs, kinds, self.model.taps)[self.model.graph.output]


def export(nnet: Nnet, products: Mapping[str, Product], marked: Sequence[str], chunk: Chunk) -> Any:
    """The network's graph for pieces of one length, a ``torch.fx.GraphModule``.

    Args:
        nnet: the float network.
        products: for some layers what takes their product's place.
        marked: nodes to be marked.
        chunk: the piece.

    Raises:
        ModelError: the exporter cannot trace the network.
    """
    model = AcousticModel(nnet)
    traceable = _Traceable(model, products, marked, chunk).eval()
    inputs = [torch.zeros(1, chunk.span[1] - chunk.span[0], model.input_dim)]
    if model.ivector_dim:
        inputs.append(torch.zeros(1, 1, model.ivector_dim))
    try:
        with float_backend("torch"), torch.no_grad():
            return torch.export.export(traceable, tuple(inputs)).module()
    except RuntimeError as error:
        first = next(iter(str(error).splitlines()), "it does not say why")
        raise ModelError(f"{nnet.path}: torch.export cannot trace it: {first}; use the route eager") from error


class Windows(AcousticModel):
    """A graph for one length in the place of an acoustic model: shorter pieces end with their last frame repeated.

    Args:
        nnet: the float network.
        chunk: what the graph is for.
        graph: computes one sequence.
    """

    def __init__(self, nnet: Nnet, chunk: Chunk, graph: Callable[..., Tensor]) -> None:
        super().__init__(nnet)
        self.frames = chunk.span[1] - chunk.span[0]
        self.one = graph

    def outputs(
        self, feats: Tensor, spans: Sequence[Span], output_times: Times, ivectors: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Computes the output of a batch; arguments and result are those of ``AcousticModel``."""
        missing = self.frames - feats.shape[1]
        feats = torch.cat([feats, feats[:, -1:].expand(-1, missing, -1)], dim=1)
        rows = []
        for i, sequence in enumerate(feats):
            more = () if ivectors is None else (ivectors[i].view(1, 1, -1),)
            rows.append(self.one(sequence.unsqueeze(0), *more))
        return {self.graph.output: torch.cat(rows)[:, : len(output_times)]}
