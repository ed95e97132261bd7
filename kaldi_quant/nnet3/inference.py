"""Log-likelihoods of many utterances: cut, sorted by length, computed in batches, given back in the order they came.

Source: ``src/nnet3bin/nnet3-compute.cc``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
import torch

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.errors import DataError, KaldiQuantError, ModelError
from kaldi_quant.nnet3.chunks import Chunk, ChunkOptions, cut
from kaldi_quant.nnet3.inference_options import InferenceOptions
from kaldi_quant.nnet3.ivectors_in_time import IvectorsInTime, IvectorSource
from kaldi_quant.nnet3.runnable import Runnable
from kaldi_quant.nnet3.schedule import Availability, Request, Span
from kaldi_quant.nnet3.time_access import Times

#: Kaldi's frame shift, which turns seconds into frames.
FRAMES_PER_SECOND = 100

# Utterances are read ahead for sorting until they make up this many batches.
_BATCHES_AHEAD = 16

#: What a model is called with: features, spans, output times, i-vectors (``AcousticModel.forward``).
ModelCall = tuple[torch.Tensor, list[Span], Times, torch.Tensor | None]


@dataclass
class _Piece:
    """A chunk of an utterance, waiting to be computed; its output goes to the utterance's rows from ``place`` on."""

    utterance: _Utterance
    chunk: Chunk
    ivector: np.ndarray | None
    place: int

    @property
    def input_frames(self) -> int:
        return self.chunk.span[1] - self.chunk.span[0]


@dataclass
class _Utterance:
    name: str
    feats: np.ndarray
    rows: np.ndarray
    pieces: list[_Piece] = field(default_factory=list)
    is_finite: bool = True


class Inference:
    """Computes log-likelihoods with a model.

    Args:
        model: in the dtype and on the device to compute with.
        priors: (num_pdfs,) or (0,): their logarithm is subtracted from the output.
        options: how.
        ivectors: tells an utterance's i-vectors, where the model has that input.
        bad: counts the utterances, and is told of those that cannot be used.
        chosen: of which chunks of an utterance the output is wanted, by number; of others that of all chunks.
    """

    def __init__(
        self,
        model: Runnable,
        priors: np.ndarray | None = None,
        options: InferenceOptions | None = None,
        ivectors: IvectorSource | None = None,
        bad: BadUtterances | None = None,
        chosen: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.model = model.eval()
        self.options = options or InferenceOptions()
        self.ivectors = IvectorsInTime(model.ivector_dim, ivectors, self.options.online_ivector_period)
        self.bad = bad or BadUtterances()
        self.chosen = chosen or {}
        parameters = next(iter(model.parameters()), torch.zeros(0))
        self.device, self.dtype = parameters.device, parameters.dtype
        self._batch_frames = max(1, int(self.options.batch_seconds * FRAMES_PER_SECOND))
        self._chunks = self._bounded_chunks()
        self._computable: dict[tuple[Span, int], bool] = {}
        self._log_priors = self._logarithm(priors) if priors is not None and len(priors) else None

    def _logarithm(self, priors: np.ndarray) -> np.ndarray:
        usable = np.isfinite(priors) & (priors > 0)
        if not usable.all():
            pdf = int(np.argmin(usable))
            raise ModelError(
                f"{self.model.nnet.path}: the prior of pdf {pdf} is {priors[pdf]:g}, which has no logarithm "
                "(--use-priors=false leaves the priors out)"
            )
        return np.log(priors.astype(np.float64)).astype(np.float32)

    def _bounded_chunks(self) -> ChunkOptions:
        """Where the output depends on nearby frames alone, utterances are cut into pieces of a batch at most.

        The result is the same, and an hour of speech does not need an hour's activations.
        """
        options = self.options.chunks
        if options.frames_per_chunk or self.model.graph.has_optional_inputs or self.model.ivector_dim:
            return options
        return ChunkOptions(options.frame_subsampling_factor, self._batch_frames)

    def compute(self, utterances: Iterable[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
        """Computes log-likelihoods.

        Args:
            utterances: (name, features) pairs, features: (frames, input_dim) float32.

        Yields:
            (name, log-likelihoods), (ceil(frames / subsampling), num_pdfs) float32, in the order of the input; of
            utterances of which only some chunks are wanted the rows of these.
            Utterances that cannot be used are reported to ``bad`` and left out.
        """
        for waiting in self._together(utterances):
            for piece, rows in self._outputs(waiting):
                scores = rows if self._log_priors is None else rows - self._log_priors
                if self.options.acoustic_scale != 1.0:
                    scores = scores * np.float32(self.options.acoustic_scale)
                piece.utterance.rows[piece.place : piece.place + len(scores)] = scores
                piece.utterance.is_finite &= bool(np.isfinite(scores).all())
            yield from ((utterance.name, utterance.rows) for utterance in self._good(waiting))

    def usable(self, utterances: Iterable[tuple[str, np.ndarray]]) -> Iterator[str]:
        """Computes utterances for what sees the model's values: the outputs, which may be large, are not kept.

        Args:
            utterances: as of ``compute``.

        Yields:
            The names of those that can be used, in the order of the input; the others are reported to ``bad``.
        """
        for waiting in self._together(utterances):
            for piece, rows in self._outputs(waiting):
                piece.utterance.is_finite &= bool(np.isfinite(rows).all())
            yield from (utterance.name for utterance in self._good(waiting))

    def _together(self, utterances: Iterable[tuple[str, np.ndarray]]) -> Iterator[list[_Utterance]]:
        """Utterances that are sorted and put in batches together."""
        waiting: list[_Utterance] = []
        frames = 0
        for name, feats in utterances:
            try:
                utterance = self._prepare(name, feats)
            except KaldiQuantError as error:
                self.bad.report(name, error)
                continue
            waiting.append(utterance)
            frames += len(feats)
            if frames >= self._batch_frames * _BATCHES_AHEAD:
                yield waiting
                waiting, frames = [], 0
        yield waiting

    def _prepare(self, name: str, feats: np.ndarray) -> _Utterance:
        """Checks an utterance and cuts it.

        Raises:
            DataError: its features or i-vectors cannot be used.
        """
        if feats.ndim != 2 or len(feats) == 0:
            raise DataError("it has no frames")
        if feats.shape[1] != self.model.input_dim:
            raise DataError(f"its features have {feats.shape[1]} columns, but the model needs {self.model.input_dim}")
        finite = np.isfinite(feats).all(axis=1)
        if not finite.all():
            raise DataError(f"its features are not finite (NaN or infinity) at frame {int(np.argmin(finite))}")
        chunks = cut(len(feats), self.model.context, self._chunks)
        if name in self.chosen:
            chunks = [chunks[number] for number in self.chosen[name]]
        *places, end = accumulate((chunk.num_outputs for chunk in chunks), initial=0)
        utterance = _Utterance(name, feats, np.empty((end, self.model.output_dim), np.float32))
        ivectors = self.ivectors.of(name)
        for chunk, place in zip(chunks, places, strict=True):
            self._require_input(chunk)
            utterance.pieces.append(_Piece(utterance, chunk, self.ivectors.at(ivectors, chunk.middle), place))
        return utterance

    def _require_input(self, chunk: Chunk) -> None:
        """Where a network takes one of several inputs, the context may not suffice for a short piece."""
        graph = self.model.graph
        if not graph.has_alternatives:
            return
        key = (chunk.span, chunk.num_outputs)
        if key not in self._computable:
            request = Request((chunk.span,), chunk.output_times)
            computable = Availability(graph, request).of_input(graph.output, request.output_times)
            self._computable[key] = bool(computable.all())
        if not self._computable[key]:
            raise DataError(
                f"the {chunk.num_outputs} output rows from frame {chunk.first_frame} on need more input than the "
                "model's context gives them: use longer chunks, or more extra context"
            )

    def _good(self, utterances: list[_Utterance]) -> Iterator[_Utterance]:
        """Those whose log-likelihoods are finite; the others are reported."""
        for utterance in utterances:
            if utterance.is_finite:
                self.bad.good += 1
                yield utterance
            else:
                self.bad.report(utterance.name, DataError("its log-likelihoods are not finite (extreme features?)"))

    def _batches(self, pieces: list[_Piece]) -> Iterator[list[_Piece]]:
        """Batches of similar length whose padded size stays within the limit."""
        batch: list[_Piece] = []
        for piece in sorted(pieces, key=lambda piece: (piece.input_frames, piece.chunk.span)):
            # Sorted by length, so that the newest piece is the longest: its length is what all are padded to.
            full = (len(batch) + 1) * piece.input_frames > self._batch_frames
            if batch and (full or (self.model.batches_of_one_length and piece.chunk.span != batch[0].chunk.span)):
                yield batch
                batch = []
            batch.append(piece)
        if batch:
            yield batch

    @torch.inference_mode()
    def calls(self, utterances: Iterable[tuple[str, np.ndarray]]) -> Iterator[ModelCall]:
        """What the model is called with, batch after batch, to compute utterances; those not usable are left out."""
        for waiting in self._together(utterances):
            for batch in self._batches(_pieces(waiting)):
                yield self._call(batch)

    def _outputs(self, utterances: list[_Utterance]) -> Iterator[tuple[_Piece, np.ndarray]]:
        """Pieces in the order of their computation, with what the model gives for each: (outputs, num_pdfs)."""
        for batch in self._batches(_pieces(utterances)):
            with torch.inference_mode():
                output = self.model(*self._call(batch)).float().cpu().numpy()
            for piece, rows in zip(batch, output, strict=True):
                yield piece, rows[: piece.chunk.num_outputs]

    def _call(self, batch: list[_Piece]) -> ModelCall:
        spans = [piece.chunk.span for piece in batch]
        start, end = min(span[0] for span in spans), max(span[1] for span in spans)
        feats = np.empty((len(batch), end - start, self.model.input_dim), np.float32)
        for row, piece in zip(feats, batch, strict=True):
            row[:] = piece.utterance.feats[piece.chunk.frames(len(piece.utterance.feats), (start, end))]
        ivectors = None
        if self.model.ivector_dim:
            stacked = np.stack([piece.ivector for piece in batch if piece.ivector is not None])
            ivectors = torch.from_numpy(stacked).to(self.device, self.dtype)
        longest = max(batch, key=lambda piece: piece.chunk.num_outputs).chunk
        return torch.from_numpy(feats).to(self.device, self.dtype), spans, longest.output_times, ivectors


def _pieces(utterances: list[_Utterance]) -> list[_Piece]:
    """The pieces of all, which utterances let go of: in a circle of references, outputs would outlive their use."""
    pieces = [piece for utterance in utterances for piece in utterance.pieces]
    for utterance in utterances:
        utterance.pieces = []
    return pieces
