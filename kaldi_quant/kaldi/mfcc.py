"""MFCC features from audio, as Kaldi's ``compute-mfcc-feats`` computes them.

Source: ``src/feat/feature-mfcc.cc``; computed by kaldi-native-fbank, which is Kaldi's code without Kaldi.
"""

import logging

import numpy as np

from kaldi_quant.errors import DataError, MissingDependencyError
from kaldi_quant.kaldi.mfcc_options import HIGHEST_FREQUENCY, MfccOptions
from kaldi_quant.kaldi.resample import resample
from kaldi_quant.kaldi.wave_reader import WaveData

try:
    import kaldi_native_fbank
except ImportError as error:
    raise MissingDependencyError(
        "features from audio need the package kaldi-native-fbank: pip install kaldi-native-fbank"
    ) from error

_log = logging.getLogger(__name__)

# Audio that claims a lower rate is none, and would grow beyond bounds when it is resampled.
_LOWEST_RATE = 1000


class Mfcc:
    """Computes MFCC features.

    Args:
        options: as read from ``conf/mfcc_hires.conf``.
    """

    def __init__(self, options: MfccOptions) -> None:
        self.options = options
        self._native = native_options(options)
        self._warned = False

    def compute(self, utterance: str, wave: WaveData) -> np.ndarray:
        """The features of one utterance.

        Args:
            utterance: for messages.
            wave: audio, which is resampled where it has another sampling frequency than the options and they allow it;
                of several channels the chosen one is used.

        Returns:
            (frames, num_ceps) float32.

        Raises:
            DataError: the audio has another sampling frequency and may not be resampled, is too short, or lacks the
                channel.
        """
        options = self.options
        if wave.samples.shape[1] < options.min_duration * wave.rate:
            raise DataError(f"utterance {utterance}: shorter than --min-duration={options.min_duration:g} s")
        samples = self._resampled(utterance, self._channel(utterance, wave).astype(np.float32), wave.rate)
        # Fewer would be no frame, or one that is reflected from almost nothing.
        shortest = options.window_samples() if options.snip_edges else options.shift_samples()
        if len(samples) < shortest:
            raise DataError(f"utterance {utterance}: {len(samples)} samples are too few, one frame needs {shortest}")
        extractor = kaldi_native_fbank.OnlineMfcc(self._native)
        extractor.accept_waveform(options.sample_frequency, samples)
        extractor.input_finished()
        features = np.stack([extractor.get_frame(frame) for frame in range(extractor.num_frames_ready)])
        if options.subtract_mean:
            features = features - features.mean(axis=0, dtype=np.float32)
        return features.astype(np.float32, copy=False)

    def _channel(self, utterance: str, wave: WaveData) -> np.ndarray:
        """The samples of the chosen channel; the first one where none is chosen."""
        channel = max(self.options.channel, 0)
        if self.options.channel < 0 and len(wave.samples) > 1 and not self._warned:
            self._warned = True
            _log.warning(
                "utterance %s has %d channels, and --channel is not given: the first one is taken, also of others",
                *(utterance, len(wave.samples)),
            )
        if channel >= len(wave.samples):
            raise DataError(
                f"utterance {utterance}: has {len(wave.samples)} channels, and --channel={channel} is asked for"
            )
        return wave.samples[channel]

    def _resampled(self, utterance: str, samples: np.ndarray, rate: int) -> np.ndarray:
        """The samples (samples,) float32 at the sampling frequency of the options."""
        try:
            new_rate = target_rate(self.options, rate)
        except DataError as error:
            raise DataError(f"utterance {utterance}: {error}") from error
        return samples if new_rate is None else resample(samples, rate, new_rate)


def target_rate(options: MfccOptions, rate: float) -> int | None:
    """The rate to which audio is resampled; None where it stays as it is.

    Args:
        options: of the features.
        rate: of the audio, in Hz.

    Raises:
        DataError: it has another sampling frequency and may not be resampled, or has an impossible one.
    """
    wanted = options.sample_frequency
    if rate == wanted:
        return None
    option, allowed = "--allow-upsample", options.allow_upsample
    if rate > wanted:
        option, allowed = "--allow-downsample", options.allow_downsample
    if not allowed:
        raise DataError(
            f"sampled at {rate:.10g} Hz and not at --sample-frequency={wanted:g}: {option}=true resamples it"
        )
    if wanted != int(wanted) or rate != int(rate) or not _LOWEST_RATE <= rate <= HIGHEST_FREQUENCY:
        raise DataError(
            f"from {rate:.10g} to {wanted:g} Hz cannot be resampled: expected whole numbers, and "
            f"audio of {_LOWEST_RATE} to {HIGHEST_FREQUENCY} Hz"
        )
    return int(wanted)


def native_options(options: MfccOptions) -> "kaldi_native_fbank.MfccOptions":
    """The options as kaldi-native-fbank has them."""
    native = kaldi_native_fbank.MfccOptions()
    frame = native.frame_opts
    frame.samp_freq = options.sample_frequency
    frame.frame_shift_ms = options.frame_shift
    frame.frame_length_ms = options.frame_length
    frame.dither = options.dither
    frame.preemph_coeff = options.preemphasis_coefficient
    frame.remove_dc_offset = options.remove_dc_offset
    frame.window_type = options.window_type
    frame.round_to_power_of_two = options.round_to_power_of_two
    frame.blackman_coeff = options.blackman_coeff
    frame.snip_edges = options.snip_edges
    native.mel_opts.num_bins = options.num_mel_bins
    native.mel_opts.low_freq = options.low_freq
    native.mel_opts.high_freq = options.high_freq
    native.num_ceps = options.num_ceps
    native.use_energy = options.use_energy
    native.energy_floor = options.energy_floor
    native.raw_energy = options.raw_energy
    native.cepstral_lifter = options.cepstral_lifter
    native.htk_compat = options.htk_compat
    return native
