"""From samples to log-likelihoods, while audio comes in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kaldi_quant.kaldi.ivectors.online import OnlineIvectors
from kaldi_quant.recogniser.features import FeatureStream
from kaldi_quant.recogniser.model import Model
from kaldi_quant.recogniser.network import NetworkStream
from kaldi_quant.recogniser.silence_weighting import SilenceWeighting
from kaldi_quant.units import Frames


class Pipeline:
    """Features, i-vectors and log-likelihoods of a stream, which may have many utterances.

    Args:
        model: with all that it needs.
        rate: of the audio, in Hz.

    Raises:
        DataError: the audio's rate is impossible.
        UsageError: the features need the whole utterance.
    """

    def __init__(self, model: Model, rate: float) -> None:
        self._model = model
        self._features = FeatureStream(model.mfcc_options, rate, model.global_cmvn)
        self._network = NetworkStream(model.network)
        self._ivectors = OnlineIvectors(model.extraction) if model.extraction else None
        self._weighting: SilenceWeighting | None = None
        self.begin_utterance(0)

    def begin_utterance(self, frame: Frames) -> None:
        """Says that an utterance begins.

        Args:
            frame: of the network's output, with which it does.
        """
        options = self._model.options
        silence = options.endpoint.silence()
        if self._ivectors is not None and silence:
            first = frame * options.frame_subsampling_factor
            self._weighting = SilenceWeighting(
                self._model.transitions, silence, options.frame_subsampling_factor, first
            )

    def accept(self, samples: np.ndarray, path: Sequence[int]) -> np.ndarray:
        """Takes the next samples.

        Args:
            samples: (samples,) float32 in the scale of 16-bit integers.
            path: transition-ids of the best path of this utterance so far; they tell what is silence.

        Returns:
            (rows, pdfs) float32, the log-likelihoods that are ready, (0, pdfs) perhaps.

        Raises:
            DataError: samples are not finite, or log-likelihoods are not.
        """
        feats = self._features.accept(samples)
        self._hear(path)
        return self._network.accept(feats, self._ivector)

    def finish(self, path: Sequence[int]) -> np.ndarray:
        """No more samples come: the log-likelihoods that waited for them; ``path`` as for ``accept``."""
        feats = self._features.finish()
        self._hear(path, is_last=True)
        rows = self._network.accept(feats, self._ivector)
        return np.concatenate([rows, self._network.finish(self._ivector)])

    def _hear(self, path: Sequence[int], is_last: bool = False) -> None:
        """The features that came last go to the i-vectors, and weights change."""
        if self._ivectors is None:
            return
        self._ivectors.accept(self._features.plain)
        if is_last:
            self._ivectors.finish()
        if self._weighting is not None and self._features.frames:
            self._ivectors.weigh(self._weighting.changes(path, self._features.frames))

    def _ivector(self) -> np.ndarray:
        """The i-vector of a chunk that is computed now: the most recent one; zeros before there is any."""
        assert self._ivectors is not None
        ready = self._ivectors.frames_ready
        if not ready:
            return np.zeros(self._ivectors.info.extractor.ivector_dim, np.float32)
        return self._ivectors.ivector(ready - 1)
