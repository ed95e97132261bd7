"""A quantized network that runs on onnxruntime, in the place of an acoustic model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kaldi_quant.backends.onnx.parameters import WeightForm
from kaldi_quant.backends.onnx.session import open_session
from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.context import Context
from kaldi_quant.nnet3.graph import Graph
from kaldi_quant.nnet3.model import acoustic_model
from kaldi_quant.nnet3.onnx_graph.builder import GraphOptions, OnnxNetwork, build_graph
from kaldi_quant.nnet3.schedule import Span
from kaldi_quant.nnet3.time_access import Times
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.units import Frames

# The kernels are up to a fifth slower where columns do not come in fours (benchmarks/int8_kernels.py).
_ALIGN = 4


@dataclass(frozen=True)
class _Compiled:
    """The network for outputs that are so many frames apart."""

    graph: OnnxNetwork
    session: Any

    def run(self, inputs: dict[str, np.ndarray], outputs: int) -> np.ndarray:
        contiguous = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        (rows,) = self.session.run(["output"], contiguous)
        return rows.reshape(len(inputs["input"]), outputs, -1)


@dataclass(frozen=True)
class _Plan:
    """How a request is answered: by which network, and the rows of the features that it reads."""

    compiled: _Compiled
    begin: int
    end: int


class OnnxruntimeNetwork(nn.Module):
    """A quantized network whose products run on integer kernels; its attributes are those of ``AcousticModel``.

    Args:
        network: the quantized network.
        period: frames between outputs.
        form: how weights are stored, which depends on the processor (``trusted_form``).

    Raises:
        ModelError: a part of the network has no form that onnxruntime runs in integers; says which.
        MissingDependencyError: onnx or onnxruntime is not installed.
    """

    def __init__(self, network: QuantizedNetwork, period: Frames = 1, form: WeightForm = "exact") -> None:
        super().__init__()
        self.network = network
        self.form = form
        #: What defines the result; it computes what the integer kernels cannot.
        self.reference = acoustic_model(network.model())
        self._reads_ivectors = self.reference.ivector_dim > 0
        self._compiled = {period: self._compile(period)}
        # The last request, and how it was answered: a chunk mostly has the times of the chunk before.
        self._last: tuple[tuple[bytes, tuple[Span, ...]] | None, _Plan | None] = (None, None)

    def _compile(self, period: Frames) -> _Compiled:
        graph = build_graph(self.network, GraphOptions(period, self.form, _ALIGN, flat=True))
        return _Compiled(graph, open_session(graph.model, threads=torch.get_num_threads()))

    def onnx(self, period: Frames) -> OnnxNetwork:
        """The graph that runs outputs so many frames apart.

        Raises:
            KeyError: nothing was run with that period yet.
        """
        return self._compiled[period].graph

    @property
    def nnet(self) -> Nnet:
        """The network that the reference executes."""
        return self.reference.nnet

    @property
    def graph(self) -> Graph:
        """What the output is computed from."""
        return self.reference.graph

    @property
    def context(self) -> Context:
        """The context of an output frame."""
        return self.reference.context

    @property
    def input_dim(self) -> int:
        """Columns of the features."""
        return self.reference.input_dim

    @property
    def ivector_dim(self) -> int:
        """Columns of the i-vector; 0 where the output does not depend on one."""
        return self.reference.ivector_dim

    @property
    def output_dim(self) -> int:
        """Columns of the output: the number of pdfs."""
        return self.reference.output_dim

    @property
    def batches_of_one_length(self) -> bool:
        """Whether a batch must hold sequences of one length."""
        return self.reference.batches_of_one_length

    def forward(
        self, feats: Tensor, spans: Sequence[Span], output_times: Times, ivectors: Tensor | None = None
    ) -> Tensor:
        """Computes the output of a batch; arguments and result are those of ``AcousticModel.forward``."""
        # A chunk's products leave nothing else in the caches: what is done in Python is done slowly, least so by numpy.
        request = (output_times.tobytes(), tuple(spans))
        last = self._last
        if last[0] != request:
            last = self._last = request, self._plan(spans, output_times)
        plan, given = last[1], _array(feats)
        if plan is None or plan.end > given.shape[1] or (self._reads_ivectors and ivectors is None):
            return self.reference(feats, spans, output_times, ivectors)  # which says what is missing
        inputs = {"input": given[:, plan.begin : plan.end]}
        if self._reads_ivectors and ivectors is not None:
            inputs["ivector"] = _array(ivectors)
        rows = torch.from_numpy(plan.compiled.run(inputs, len(output_times)))
        return rows if feats.dtype == rows.dtype else rows.to(feats.dtype)

    def _plan(self, spans: Sequence[Span], times: Times) -> _Plan | None:
        compiled = self._for_times(times)
        if compiled is None:
            return None
        begin = int(times[0]) - compiled.graph.left_context - min(start for start, _ in spans)
        return _Plan(compiled, begin, begin + compiled.graph.frames(len(times))) if begin >= 0 else None

    def _for_times(self, times: Times) -> _Compiled | None:
        """The network for evenly spaced outputs that begin where it may be shifted to; None for others."""
        steps = set(np.diff(times).tolist())
        if len(times) == 0 or len(steps) > 1 or int(times[0]) % self.context.modulus:
            return None
        period = steps.pop() if steps else next(iter(self._compiled))
        if period not in self._compiled:
            try:
                self._compiled[period] = self._compile(period)
            except ModelError:
                return None
        return self._compiled[period]


def _array(x: Tensor) -> np.ndarray:
    x = x.detach() if x.requires_grad else x
    return (x if x.dtype == torch.float32 else x.float()).numpy()
