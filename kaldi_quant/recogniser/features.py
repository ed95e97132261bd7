"""Features while audio comes in, a few samples at a time.

Source: ``OnlineNnet2FeaturePipeline`` in ``src/online2/online-nnet2-feature-pipeline.cc``, ``OnlineGenericBaseFeature``
in ``src/feat/online-feature.cc``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.kaldi.features.online_cmvn import OnlineCmvnOptions, OnlineCmvnStream
from kaldi_quant.kaldi.mfcc import kaldi_native_fbank, native_options, target_rate
from kaldi_quant.kaldi.mfcc_options import MfccOptions
from kaldi_quant.kaldi.resample import ResampleStream

# So many samples go to the extraction at once: its memory is that of their frames.
_BLOCK = 16000


class FeatureStream:
    """The MFCC features of an utterance: all frames together are those of the whole audio.

    Audio at another rate is resampled as Kaldi's streams do it (``ResampleStream``), which is not quite the filter that
    ``compute-mfcc-feats`` has for files; a higher rate always may be, as in Vosk. Memory does not grow with the
    utterance.

    Args:
        options: of the features; dither, if they have it, is random noise here, too.
        rate: of the audio, in Hz.
        global_cmvn: (2, dim + 1) float64, for features that are normalised online: statistics of the training data.
        cmvn: how they are.

    Attributes:
        plain: (frames, dim) float32: the frames of the last call before they were normalised, as i-vectors want them.

    Raises:
        DataError: the audio's rate is impossible, or lower than the features' and they do not allow that.
        UsageError: the features need the whole utterance.

    Example:
        >>> stream = FeatureStream(read_mfcc_config("conf/mfcc_hires.conf"), 16000)
        >>> feats = np.concatenate([stream.accept(samples) for samples in pieces] + [stream.finish()])
    """

    def __init__(
        self,
        options: MfccOptions,
        rate: float,
        global_cmvn: np.ndarray | None = None,
        cmvn: OnlineCmvnOptions | None = None,
    ) -> None:
        if options.subtract_mean:
            raise UsageError("--subtract-mean=true needs the whole utterance: it has no features while audio comes in")
        self.options = options
        new_rate = target_rate(replace(options, allow_downsample=True), rate)
        self._resampling = None if new_rate is None else ResampleStream(int(rate), new_rate)
        self._native = kaldi_native_fbank.OnlineMfcc(native_options(options))
        self._cmvn = None if global_cmvn is None else OnlineCmvnStream(global_cmvn, None, cmvn or OnlineCmvnOptions())
        self._taken = 0
        self._finished = False
        self.plain = np.zeros((0, options.num_ceps), np.float32)

    @property
    def frames(self) -> int:
        """The frames that were given so far."""
        return self._taken

    def accept(self, samples: np.ndarray) -> np.ndarray:
        """Takes the next samples.

        Args:
            samples: (samples,), floats in the scale of 16-bit integers, or these.

        Returns:
            (frames, num_ceps) float32: the frames that are complete now, (0, num_ceps) perhaps.

        Raises:
            DataError: they have more than one channel, or values that are not finite.
            UsageError: the stream is finished.
        """
        if self._finished:
            raise UsageError("the stream of features is finished: another utterance needs another one")
        samples = np.asarray(samples)
        if samples.ndim != 1:
            raise DataError(f"audio of one channel is expected, (samples,), found the shape {samples.shape}")
        samples = samples.astype(np.float32, copy=False)
        if not np.isfinite(samples).all():
            raise DataError("the audio holds values that are not finite (NaN or infinity)")
        if self._resampling is not None:
            samples = self._resampling.push(samples)
        return self._normalised(self._heard(samples))

    def finish(self) -> np.ndarray:
        """No more samples come: the frames that waited for them, (frames, num_ceps) float32."""
        if self._finished:
            return self._normalised([])
        self._finished = True
        found = []
        if self._resampling is not None:
            found = self._heard(self._resampling.push(np.zeros(0, np.float32), is_last=True))
        self._native.input_finished()
        return self._normalised(found + self._complete())

    def _heard(self, samples: np.ndarray) -> list[np.ndarray]:
        frames: list[np.ndarray] = []
        for begin in range(0, len(samples), _BLOCK):
            self._native.accept_waveform(self.options.sample_frequency, samples[begin : begin + _BLOCK])
            frames += self._complete()
        return frames

    def _complete(self) -> list[np.ndarray]:
        """Frames that the extraction has, which then forgets them."""
        ready = self._native.num_frames_ready
        frames = [np.array(self._native.get_frame(number), np.float32) for number in range(self._taken, ready)]
        self._native.pop(len(frames))
        self._taken = ready
        return frames

    def _normalised(self, frames: list[np.ndarray]) -> np.ndarray:
        self.plain = np.stack(frames) if frames else np.zeros((0, self.options.num_ceps), np.float32)
        return self.plain if self._cmvn is None else self._cmvn.push(self.plain)
