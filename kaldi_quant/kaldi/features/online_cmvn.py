"""Normalisation that at each frame knows the frames before it alone, as ``apply-cmvn-online`` does it.

The statistics of a frame are those of a window that ends with it. Where the window is not full yet, statistics of the
speaker's earlier utterances fill it up, and then those of the training data, as far as the options let them.

Source: ``src/online2bin/apply-cmvn-online.cc``, ``OnlineCmvn`` in ``src/feat/online-feature.cc``. Kaldi adds frames to
the window and takes them off one by one; here two cumulative sums are subtracted, which are exact enough in float64.
"""

from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.kaldi.features.cmvn import accumulate, check_stats, normalise, without
from kaldi_quant.kaldi.parse_options import integers


@dataclass(frozen=True)
class OnlineCmvnOptions:
    """The options of ``apply-cmvn-online``, with its defaults.

    Attributes:
        cmn_window: frames of the window.
        speaker_frames: so many frames at most stand in for the speaker's earlier utterances.
        global_frames: so many frames at most stand in for the training data.
        norm_means: whether means become 0; without it nothing is done at all.
        norm_vars: whether variances become 1.
        skip_dims: columns that stay as they are, such as ``13:14``.
    """

    cmn_window: int = 600
    speaker_frames: int = 600
    global_frames: int = 200
    norm_means: bool = True
    norm_vars: bool = False
    skip_dims: str = ""

    def __post_init__(self) -> None:
        integers(self.skip_dims, "skip-dims")
        if self.cmn_window < 1:
            raise UsageError(f"--cmn-window={self.cmn_window}: a window has 1 frame or more")
        if self.norm_vars and not self.norm_means:
            raise UsageError("--norm-vars=true with --norm-means=false: variances are normalised with means alone")


def apply_online_cmvn(
    feats: np.ndarray, global_stats: np.ndarray, speaker_stats: np.ndarray | None, options: OnlineCmvnOptions
) -> np.ndarray:
    """Normalises an utterance.

    Args:
        feats: (frames, dim) float32.
        global_stats: (2, dim + 1) float64, of the training data.
        speaker_stats: (2, dim + 1) float64, of all that the speaker said before; None for nothing.
        options: what is done.

    Returns:
        (frames, dim) float32.

    Raises:
        DataError: the statistics of the training data do not fit the features, or are of less than one frame.
    """
    return OnlineCmvnStream(global_stats, speaker_stats, options).push(feats)


class OnlineCmvnStream:
    """Normalises an utterance of which a few frames come at a time.

    Args:
        global_stats: as of ``apply_online_cmvn``; so are the others.
        speaker_stats: see there.
        options: see there.
    """

    def __init__(self, global_stats: np.ndarray, speaker_stats: np.ndarray | None, options: OnlineCmvnOptions) -> None:
        self.options = options
        self._global, self._speaker = global_stats, speaker_stats
        #: Sums over all frames up to each of the last ones: (frames, 2, dim + 1) float64.
        self._sums: np.ndarray | None = None

    def push(self, feats: np.ndarray) -> np.ndarray:
        """Normalises the next frames: (frames, dim) float32; raises as ``apply_online_cmvn`` does."""
        options = self.options
        if not options.norm_means or not len(feats):
            return feats
        check_stats(self._global, feats.shape[1], options.norm_vars, options.skip_dims)
        if len(self._global) == 1:
            raise DataError("the statistics of the training data need two rows, of means and of variances")
        stats = self._window_stats(feats)
        if self._speaker is not None:
            most = min(options.speaker_frames, self._speaker[0, -1])
            _fill_up(stats, self._speaker, most, options.cmn_window)
        _fill_up(stats, self._global, options.global_frames, options.cmn_window)
        return normalise(feats, without(stats, options.skip_dims), options.norm_vars)

    def _window_stats(self, feats: np.ndarray) -> np.ndarray:
        """The statistics of the window that ends with each frame, (frames, 2, dim + 1) float64."""
        window, (frames, dim) = self.options.cmn_window, feats.shape
        values = feats.astype(np.float64)
        before = np.zeros((1, 2, dim + 1)) if self._sums is None else self._sums
        sums = np.zeros((1 + frames, 2, dim + 1))
        sums[0] = before[-1]
        sums[1:, 0, :dim], sums[1:, 1, :dim], sums[1:, 0, dim] = values, np.square(values), 1.0
        sums = np.concatenate([before, np.cumsum(sums, 0)[1:]])
        self._sums = sums[-1 - window :]
        # The sums up to the frame before each window, or before the first frame.
        last = np.arange(len(before), len(sums))
        return np.asarray(sums[last] - sums[np.maximum(last - window, 0)])


def with_utterance(speaker_stats: np.ndarray | None, feats: np.ndarray) -> np.ndarray:
    """A speaker's statistics after one more utterance: (2, dim + 1) float64, feats: (frames, dim) as they were."""
    return accumulate(feats) if speaker_stats is None else speaker_stats + accumulate(feats)


def _fill_up(stats: np.ndarray, more: np.ndarray, most: float, window: int) -> None:
    """Adds statistics of other frames to windows that are not full.

    Args:
        stats: (frames, 2, dim + 1), changed in place.
        more: (2, dim + 1).
        most: they count as so many frames at most.
        window: frames of a full window.
    """
    count = more[0, -1]
    if count <= 0:
        return
    frames = np.minimum(window - stats[:, 0, -1], most).clip(0)
    stats += (frames / count)[:, None, None] * more
