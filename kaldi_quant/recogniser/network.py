"""Log-likelihoods while features come in, chunk by chunk, as Kaldi's online decoding computes them.

Source: ``DecodableNnetLoopedOnline`` in ``src/nnet3/decodable-online-looped.cc``, ``DecodableNnetSimpleLoopedInfo`` in
``decodable-simple-looped.cc``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from kaldi_quant.errors import DataError, MissingDependencyError, ModelError, UsageError
from kaldi_quant.nnet3.context import Context
from kaldi_quant.nnet3.execution import Execution
from kaldi_quant.nnet3.execution.chunks import OnnxruntimeChunks, in_float
from kaldi_quant.nnet3.execution.self_test import trusted_form
from kaldi_quant.nnet3.incremental import IncrementalNetwork, InputRows
from kaldi_quant.nnet3.model import AcousticModel, acoustic_model
from kaldi_quant.nnet3.time_access import Times
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.units import Frames

_log = logging.getLogger(__name__)

#: An i-vector (dim,) float32, or what tells it when a chunk is computed; None where a network has none.
Ivector = np.ndarray | Callable[[], np.ndarray] | None


class ChunkComputer(Protocol):
    """Computes the chunks of utterances, one after the other.

    Attributes:
        first_read: the earliest time at which it asks for features or i-vectors, counted from a chunk's first frame.
    """

    first_read: int

    def begin(self) -> Any:
        """The state of an utterance before its first chunk."""

    def chunk(self, state: Any, rows: InputRows) -> np.ndarray:
        """Computes the next chunk: (outputs, output dim) float32.

        Args:
            state: of the utterance; goes on to the next chunk.
            rows: gives rows of the inputs ``input`` and ``ivector``.
        """


class StreamingNetwork:
    """A network that is ready to compute streams; made once for all utterances.

    Args:
        network: in float, or quantized.
        subsampling: frames between outputs: the frame subsampling factor.
        frames_per_chunk: about; rounded up to a multiple of the subsampling factor and the network's modulus.
        priors: (pdfs,) float32 of models whose output is a posterior; (0,) or None for chain models.
        execution: ``onnxruntime`` has one graph for all chunks, with the state of the network as inputs and outputs
            (``OnnxruntimeChunks``); ``reference`` computes the same in torch, any network that can be streamed
            (``IncrementalNetwork``); ``auto`` is onnxruntime where it can. Both compute nothing twice. Integers are
            equal bit for bit, floats but for rounding. Networks with recurrences, statistics or optional inputs run in
            torch.

    Attributes:
        frames_per_chunk: of features.
        context: of an output frame.

    Raises:
        UsageError: ``subsampling`` or ``frames_per_chunk`` is no positive number.
        ModelError: the network cannot be computed chunk by chunk, or not by the execution that is asked for; says why.
        MissingDependencyError: onnxruntime is asked for and not installed.
    """

    def __init__(
        self,
        network: AcousticModel | QuantizedNetwork,
        subsampling: int = 1,
        frames_per_chunk: Frames = 20,
        priors: np.ndarray | None = None,
        execution: Execution = "auto",
    ) -> None:
        if subsampling < 1 or frames_per_chunk < 1:
            raise UsageError(
                f"--frame-subsampling-factor and --frames-per-chunk must be positive, not {subsampling} and "
                f"{frames_per_chunk}"
            )
        model = acoustic_model(network.model()) if isinstance(network, QuantizedNetwork) else network
        self.context: Context = model.context
        self.subsampling = subsampling
        self.input_dim, self.ivector_dim, self.output_dim = model.input_dim, model.ivector_dim, model.output_dim
        unit = math.lcm(subsampling, self.context.modulus)
        self.frames_per_chunk = -(-frames_per_chunk // unit) * unit
        self.log_priors = _log_priors(priors, model.nnet.path)
        self.computer = self._computer(network, model, execution)

    def _computer(
        self, network: AcousticModel | QuantizedNetwork, model: AcousticModel, execution: Execution
    ) -> ChunkComputer:
        if execution != "reference":
            try:
                integers = network if isinstance(network, QuantizedNetwork) else in_float(network.nnet)
                form = trusted_form() if isinstance(network, QuantizedNetwork) else "exact"
                if form is None:
                    raise ModelError("onnxruntime's integer kernels give wrong integers on this processor")
                return OnnxruntimeChunks(integers, self.context, self.subsampling, self.frames_per_chunk, form)
            except (ModelError, MissingDependencyError) as error:
                if execution == "onnxruntime":
                    raise
                _log.info("chunks are computed in torch: %s", error)
        return IncrementalNetwork(model, self.subsampling, self.frames_per_chunk)


class NetworkStream:
    """The log-likelihoods of an utterance. Memory does not grow with it.

    Args:
        network: ready for streams.

    Example:
        >>> network = StreamingNetwork(AcousticModel(model.nnet), subsampling=3, priors=model.priors)
        >>> stream = NetworkStream(network)
        >>> for feats in pieces:
        ...     decoder.advance(stream.accept(feats))
        >>> decoder.advance(stream.finish())
    """

    def __init__(self, network: StreamingNetwork) -> None:
        self.network = network
        self._state = network.computer.begin()
        self._chunks = 0
        #: The last frames, and the number of the first of them.
        self._feats = np.zeros((0, network.input_dim), np.float32)
        self._first = 0
        self._blocks: dict[int, np.ndarray] = {}
        self._finished = False

    @property
    def frames(self) -> Frames:
        """Frames of features that came in."""
        return self._first + len(self._feats)

    def accept(self, feats: np.ndarray, ivector: Ivector = None) -> np.ndarray:
        """Takes the next frames, and computes the chunks that have their right context.

        Args:
            feats: (frames, input_dim) float32.
            ivector: the most recent one, (ivector_dim,) float32; or a function that is asked for it before each chunk.

        Returns:
            (rows, pdfs) float32: log-likelihoods that are ready and were not given before, (0, pdfs) perhaps. They are
            not scaled.

        Raises:
            DataError: features or i-vectors have another dimension or values that are not finite, or there is no
                i-vector where the network needs one; or log-likelihoods are not finite.
            UsageError: the stream is finished.
        """
        if self._finished:
            raise UsageError("the stream of log-likelihoods is finished: another utterance needs another one")
        network = self.network
        if feats.ndim != 2 or feats.shape[1] != network.input_dim:
            raise DataError(f"features of dimension {network.input_dim} are expected, found the shape {feats.shape}")
        if not np.isfinite(feats).all():
            raise DataError("features hold values that are not finite (NaN or infinity)")
        self._feats = np.concatenate([self._feats, feats.astype(np.float32, copy=False)])
        each = network.frames_per_chunk
        ready = max(self.frames - network.context.right, 0) // each
        return self._computed(ready, ready * each, ivector)

    def finish(self, ivector: Ivector = None) -> np.ndarray:
        """No more frames come: the last one stands for the missing right context.

        Returns:
            (rows, pdfs) float32: the rest; all together are ceil(frames / subsampling).

        Raises:
            DataError: as ``accept``.
        """
        self._finished = True
        return self._computed(-(-self.frames // self.network.frames_per_chunk), self.frames, ivector)

    def _computed(self, chunks: int, frames: Frames, ivector: Ivector) -> np.ndarray:
        """The rows of chunks up to a number of them that lie in so many frames."""
        network = self.network
        found = []
        while self._chunks < chunks:
            begin = self._chunks * network.frames_per_chunk
            self._hold_ivector(ivector)
            rows = network.computer.chunk(self._state, self._rows)
            found.append(rows[: -(-(frames - begin) // network.subsampling)])
            self._chunks += 1
        if not found:
            return np.zeros((0, network.output_dim), np.float32)
        self._forget()
        scores = np.concatenate(found)
        if network.log_priors is not None:
            scores = scores - network.log_priors
        if not np.isfinite(scores).all():
            raise DataError("log-likelihoods are not finite (extreme features?)")
        return scores

    def _rows(self, name: str, times: Times) -> np.ndarray:
        """Rows of an input at times from the next chunk's first frame on; before and after all frames the edge's."""
        numbers = times + self._chunks * self.network.frames_per_chunk
        if name == "ivector":
            last = max(self._blocks)
            return np.stack([self._blocks[min(max(block, 0), last)] for block in self._block_of(numbers)])
        return self._feats[np.clip(numbers, 0, self.frames - 1) - self._first]

    def _block_of(self, frames: np.ndarray) -> np.ndarray:
        """The chunk whose i-vector frames have.

        A block of ``frames_per_chunk`` frames has one i-vector, which is given with the first features of the block;
        the first chunk, with its context to the right, brings those of several blocks.
        """
        each, right = self.network.frames_per_chunk, self.network.context.right
        return frames // each - (each + right - 1) // each

    def _hold_ivector(self, ivector: Ivector) -> None:
        dim = self.network.ivector_dim
        if not dim:
            return
        found = ivector() if callable(ivector) else ivector
        if found is None or found.shape != (dim,):
            shape = "none" if found is None else f"the shape {found.shape}"
            raise DataError(f"the network needs i-vectors of dimension {dim}, found {shape}")
        if not np.isfinite(found).all():
            raise DataError("i-vectors are not finite (NaN or infinity)")
        self._blocks[self._chunks] = found.astype(np.float32)

    def _forget(self) -> None:
        """Drops what no later chunk reads."""
        begin = self._chunks * self.network.frames_per_chunk + self.network.computer.first_read
        # At least one frame stays, which may have to stand for those behind it.
        drop = min(begin - self._first, len(self._feats) - 1)
        if drop > 0:
            self._feats, self._first = self._feats[drop:].copy(), self._first + drop
        oldest = int(self._block_of(np.array(begin)))
        self._blocks = {block: row for block, row in self._blocks.items() if block >= min(oldest, self._chunks - 1)}


def _log_priors(priors: np.ndarray | None, path: str) -> np.ndarray | None:
    if priors is None or not len(priors):
        return None
    usable = np.isfinite(priors) & (priors > 0)
    if not usable.all():
        pdf = int(np.argmin(usable))
        raise ModelError(f"{path}: the prior of pdf {pdf} is {priors[pdf]:g}, which has no logarithm")
    return np.log(priors.astype(np.float64)).astype(np.float32)
