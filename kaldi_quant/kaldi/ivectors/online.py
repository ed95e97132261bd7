"""I-vectors while features come in, a few frames at a time.

Source: ``OnlineIvectorFeature`` in ``src/online2/online-ivector-feature.cc``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.features.online_cmvn import OnlineCmvnStream, with_utterance
from kaldi_quant.kaldi.features.splice import SpliceStream, transform
from kaldi_quant.kaldi.ivectors.diag_gmm import pruned_posteriors
from kaldi_quant.kaldi.ivectors.options import ExtractionInfo
from kaldi_quant.kaldi.ivectors.statistics import Statistics

# A frame's weight may change for so long after it was heard (``OnlineSilenceWeighting::GetDeltaWeights``: 100 frames
# of a decoder, of which each may stand for several here).
_WEIGHED_FRAMES = 1000


@dataclass
class AdaptationState:
    """What is known of a speaker when an utterance begins.

    Args:
        speaker_stats: (2, dim + 1) float64, of all features so far; None for nothing.
        statistics: what was heard.
    """

    speaker_stats: np.ndarray | None
    statistics: Statistics

    @classmethod
    def of_nobody(cls, info: ExtractionInfo) -> AdaptationState:
        """Before anything was heard."""
        return cls(None, Statistics.of_nobody(info.extractor, info.options.max_count))


def _overflows() -> np.errstate:
    """What overflows is told by who looks at the result."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


class OnlineIvectors:
    """The i-vectors of an utterance.

    Memory does not grow with the utterance, but for one i-vector for each period where the most recent one does not
    serve all frames.

    Args:
        info: the extractor.
        state: what is known of the speaker; None for nothing.

    Example:
        >>> ivectors = OnlineIvectors(read_extraction(Path("exp/nnet3/extractor")))
        >>> ivectors.accept(feats)
        >>> ivectors.finish()
        >>> ivectors.ivector(len(feats) - 1)
    """

    def __init__(self, info: ExtractionInfo, state: AdaptationState | None = None) -> None:
        self.info = info
        state = state or AdaptationState.of_nobody(info)
        self._speaker = state.speaker_stats
        self._statistics = state.statistics.copy()
        self._plain = SpliceStream(info.splice)
        self._normalised = SpliceStream(info.splice)
        self._cmvn = OnlineCmvnStream(info.global_stats, state.speaker_stats, info.cmvn)
        self._frames: deque[tuple[np.ndarray, np.ndarray]] = deque()
        # The number of the first frame of ``_frames``, and of the next one that counts.
        self._first = self._next = 0
        self._prior = np.zeros(info.extractor.ivector_dim, np.float32)
        self._prior[0] = info.extractor.prior_offset
        self._current = self._prior.astype(np.float64)
        self._is_recent = info.options.use_most_recent_ivector or info.options.greedy_ivector_extractor
        self._history: list[np.ndarray] = []
        self._weights: dict[int, float] | None = None

    @property
    def frames_ready(self) -> int:
        """Frames that can be heard: of those that came in, some wait for their neighbours."""
        return self._first + len(self._frames)

    def accept(self, feats: np.ndarray) -> None:
        """Takes the next frames.

        Args:
            feats: (frames, dim) float32, not normalised.

        Raises:
            DataError: they have another dimension, or values that are not finite.
        """
        dim = self.info.feat_dim
        if feats.ndim != 2 or feats.shape[1] != dim:
            raise DataError(f"i-vectors need features of dimension {dim}, found {feats.shape}")
        if not np.isfinite(feats).all():
            raise DataError("features hold values that are not finite (NaN or infinity)")
        if not len(feats):
            return
        feats = feats.astype(np.float32, copy=False)
        with _overflows():
            self._speaker = with_utterance(self._speaker, feats)
            self._take(self._plain.push(feats), self._normalised.push(self._cmvn.push(feats)))

    def finish(self) -> None:
        """No more frames come."""
        with _overflows():
            self._take(self._plain.finish(), self._normalised.finish())

    def _take(self, plain: np.ndarray, normalised: np.ndarray) -> None:
        if len(plain):
            lda = self.info.lda
            self._frames.extend(zip(transform(plain, lda), transform(normalised, lda), strict=True))

    def weigh(self, changes: Mapping[int, float]) -> None:
        """Changes the weights of frames, which are 0 from the first call on: of silence in speech, for instance.

        Args:
            changes: by frame, what is added to its weight; a frame may come again as long as it is not long ago.
        """
        self._weights = self._weights or {}
        for frame, change in changes.items():
            self._weights[frame] = self._weights.get(frame, 0.0) + change

    def ivector(self, frame: int) -> np.ndarray:
        """The i-vector for a frame.

        Args:
            frame: that is ready; frames are asked for in order.

        Returns:
            (dim,) float32, without the prior's offset.

        Raises:
            DataError: it is not finite, because the extractor is broken.
        """
        assert 0 <= frame < self.frames_ready, f"frame {frame} of {self.frames_ready}"
        options = self.info.options
        broken = f"i-vectors of the extractor in {self.info.folder} are not finite: its files are broken"
        try:
            with _overflows():
                self._hear(self.frames_ready - 1 if options.greedy_ivector_extractor else frame)
                found = self._current if self._is_recent else self._history[frame // options.ivector_period]
                found = found.astype(np.float32) - self._prior
        except np.linalg.LinAlgError as error:
            raise DataError(broken) from error
        if not np.isfinite(found).all():
            raise DataError(broken)
        return np.asarray(found)

    def _hear(self, last: int) -> None:
        """Accumulates frames up to the last one, and finds i-vectors on the way."""
        options = self.info.options
        while self._next <= last:
            if self._is_recent:
                end = last
            else:
                # The next frame at which there is an i-vector, if it is not too far.
                end = min(last, -(-self._next // options.ivector_period) * options.ivector_period)
            self._accumulate(end)
            if self._is_recent or end % options.ivector_period == 0:
                self._current = self._statistics.ivector(self._current, options.num_cg_iters)
                if not self._is_recent:
                    self._history.append(self._current)

    def _accumulate(self, end: int) -> None:
        """Accumulates all frames up to ``end`` that were not, with their weights."""
        if self._weights is None:
            numbers, weights = list(range(self._next, end + 1)), np.ones(end + 1 - self._next, np.float32)
        else:
            numbers = sorted(frame for frame in self._weights if self._first <= frame <= end)
            weights = np.array([self._weights.pop(frame) for frame in numbers], np.float32)
        self._next = end + 1
        if numbers and weights.any():
            chosen = [self._frames[number - self._first] for number in numbers]
            plain, normalised = (np.stack(side) for side in zip(*chosen, strict=True))
            options, ubm = self.info.options, self.info.ubm
            limits = np.float32(options.min_post) / np.abs(weights)
            posteriors = pruned_posteriors(ubm.log_likelihoods(normalised), options.num_gselect, limits)
            posteriors *= (np.float32(options.posterior_scale) * weights)[:, None]
            feats = normalised if options.online_cmvn_iextractor else plain
            self._statistics.accumulate(self.info.extractor, feats, posteriors)
        kept = 0 if self._weights is None else _WEIGHED_FRAMES
        while self._first < self._next - kept:
            self._frames.popleft()
            self._first += 1

    def state(self) -> AdaptationState:
        """What is known of the speaker after the frames that were heard."""
        options = self.info.options
        speaker = self._speaker
        if speaker is not None and speaker[0, -1] > options.max_remembered_frames:
            speaker = speaker * (options.max_remembered_frames / speaker[0, -1])
        statistics = self._statistics.copy()
        statistics.limit(options.max_remembered_frames * options.posterior_scale)
        return AdaptationState(speaker, statistics)


def ivectors_of_utterance(
    info: ExtractionInfo, feats: np.ndarray, state: AdaptationState | None = None, repeat: bool = False
) -> tuple[np.ndarray, AdaptationState]:
    """All i-vectors of an utterance, as ``ivector-extract-online2`` finds them.

    Args:
        info: the extractor; whether the most recent i-vector serves all frames is ignored, as there.
        feats: (frames, dim) float32, not normalised; three columns more are taken for pitch and left out, as there.
        state: what is known of the speaker; None for nothing.
        repeat: a row for each frame in the place of one for each period.

    Returns:
        (rows, ivector dim) float32, and what is known of the speaker afterwards.

    Raises:
        DataError: features have another dimension, values that are not finite, or no frame.
    """
    if not len(feats):
        raise DataError("an utterance without frames has no i-vectors")
    if feats.ndim == 2 and feats.shape[1] == info.feat_dim + 3:
        feats = feats[:, :-3]
    is_greedy = info.options.greedy_ivector_extractor
    info = info.with_options(use_most_recent_ivector=is_greedy)
    found = OnlineIvectors(info, state)
    found.accept(feats)
    found.finish()
    step = 1 if repeat else info.options.ivector_period
    rows = np.stack([found.ivector(frame) for frame in range(0, len(feats), step)])
    return rows, found.state()
