"""The options of Kaldi's ``compute-mfcc-feats`` and the files (``conf/mfcc_hires.conf``) that hold them.

Source: ``src/featbin/compute-mfcc-feats.cc``; ``feature-mfcc.h``, ``feature-window.h`` and ``mel-computations.h`` in
``src/feat``; ``ReadConfigFile`` in ``src/util/parse-options.cc``.
"""

import math
import os
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.parse_options import read_config

WINDOW_TYPES = ("hamming", "hanning", "povey", "rectangular", "sine", "blackman")
LOWEST_FREQUENCY, HIGHEST_FREQUENCY = 100, 1_000_000  # Hz


@dataclass(frozen=True)
class MfccOptions:
    """Every option of ``compute-mfcc-feats`` that shapes the features, under Kaldi's name with ``_`` for ``-``.

    The defaults are Kaldi's but for one: ``dither`` is 0 and not 1, since dither adds random noise, and the same audio
    shall give the same features. A configuration file that asks for dither gets it.

    Frequencies are in Hz, ``frame_length`` and ``frame_shift`` in milliseconds, ``min_duration`` in seconds.
    """

    allow_downsample: bool = False
    allow_upsample: bool = False
    blackman_coeff: float = 0.42
    cepstral_lifter: float = 22.0
    channel: int = -1
    debug_mel: bool = False
    dither: float = 0.0
    energy_floor: float = 0.0
    frame_length: float = 25.0
    frame_shift: float = 10.0
    high_freq: float = 0.0
    htk_compat: bool = False
    low_freq: float = 20.0
    max_feature_vectors: int = -1
    min_duration: float = 0.0
    num_ceps: int = 13
    num_mel_bins: int = 23
    output_format: str = "kaldi"
    preemphasis_coefficient: float = 0.97
    raw_energy: bool = True
    remove_dc_offset: bool = True
    round_to_power_of_two: bool = True
    sample_frequency: float = 16000.0
    snip_edges: bool = True
    subtract_mean: bool = False
    use_energy: bool = True
    utt2spk: str = ""
    vtln_high: float = -500.0
    vtln_low: float = 100.0
    vtln_map: str = ""
    vtln_warp: float = 1.0
    window_type: str = "povey"
    write_utt2dur: str = ""

    def __post_init__(self) -> None:
        _check(self)

    def window_samples(self) -> int:
        """The length of a frame in samples."""
        return int(np.float32(self.sample_frequency) * np.float32(0.001) * np.float32(self.frame_length))

    def shift_samples(self) -> int:
        """The distance between two frames in samples."""
        return int(np.float32(self.sample_frequency) * np.float32(0.001) * np.float32(self.frame_shift))

    def highest(self) -> float:
        """The frequency at which the mel bins end, in Hz."""
        return self.high_freq if self.high_freq > 0 else self.sample_frequency / 2 + self.high_freq


def read_mfcc_config(path: str | os.PathLike[str], options: MfccOptions | None = None) -> MfccOptions:
    """Reads a configuration file: ``--name=value`` on each line, ``#`` begins a comment, blank lines are skipped.

    Args:
        path: such as ``conf/mfcc_hires.conf``.
        options: the values of what the file does not name; Kaldi's defaults where None.

    Raises:
        FormatError: the file is missing, or a line is no option; names the line and what is allowed.
        UsageError: options contradict each other or are not supported.
    """
    defaults = {field.name.replace("_", "-"): field.default for field in fields(MfccOptions)}
    values = {key.replace("-", "_"): value for key, value in read_config(path, defaults).items()}
    return replace(options or MfccOptions(), **values)


_KINDS: dict[str, type] = {field.name: type(field.default) for field in fields(MfccOptions)}
# Options that compute-mfcc-feats has and this project does not: the only value that each may have.
_UNSUPPORTED: dict[str, Any] = {
    "output_format": "kaldi",
    "vtln_warp": 1.0,
    "vtln_map": "",
    "utt2spk": "",
    "write_utt2dur": "",
    "debug_mel": False,
}


def _check(options: MfccOptions) -> None:
    """Refuses what the feature extraction would answer by ending the process."""
    for key, only in _UNSUPPORTED.items():
        if getattr(options, key) != only:
            raise UsageError(f"--{key.replace('_', '-')}={getattr(options, key)} is not supported: leave it out")
    numbers = {key: getattr(options, key) for key, kind in _KINDS.items() if kind is float}
    for key, value in numbers.items():
        if not math.isfinite(value):
            raise UsageError(f"--{key.replace('_', '-')}={value} is not a finite number")
    if options.window_type not in WINDOW_TYPES:
        raise UsageError(f"--window-type={options.window_type} is unknown: allowed are {', '.join(WINDOW_TYPES)}")
    if not LOWEST_FREQUENCY <= options.sample_frequency <= HIGHEST_FREQUENCY:
        raise UsageError(
            f"--sample-frequency={options.sample_frequency:g} must lie between {LOWEST_FREQUENCY} and "
            f"{HIGHEST_FREQUENCY} Hz"
        )
    if not (options.frame_length <= 10000 and options.window_samples() >= 2 and options.shift_samples() >= 1):
        raise UsageError(
            f"--frame-length={options.frame_length:g} and --frame-shift={options.frame_shift:g} are milliseconds: "
            "a frame must hold at least 2 samples and move by at least 1"
        )
    if not options.round_to_power_of_two and options.window_samples() % 2:
        raise UsageError(f"--round-to-power-of-two=false needs frames of even length, not {options.window_samples()}")
    if not 0 <= options.preemphasis_coefficient <= 1:
        raise UsageError(f"--preemphasis-coefficient={options.preemphasis_coefficient:g} must lie between 0 and 1")
    if options.dither < 0 or options.energy_floor < 0:
        raise UsageError("--dither and --energy-floor must not be negative")
    if not 3 <= options.num_mel_bins <= 10000 or not 1 <= options.num_ceps <= options.num_mel_bins:
        raise UsageError(
            f"--num-mel-bins={options.num_mel_bins} must be 3 or more, and --num-ceps={options.num_ceps} "
            "between 1 and the number of mel bins"
        )
    _check_mel_bins(options)


def _check_mel_bins(options: MfccOptions) -> None:
    """Each mel bin must hold at least one bin of the FFT."""
    nyquist = options.sample_frequency / 2
    high = options.highest()
    if not 0 <= options.low_freq < high <= nyquist:
        raise UsageError(
            f"--low-freq={options.low_freq:g} and --high-freq={options.high_freq:g} must be frequencies in this order, "
            f"below {nyquist:g} Hz (half of --sample-frequency; a high frequency of 0 or less counts from there)"
        )
    size = options.window_samples()
    if options.round_to_power_of_two:
        size = 1 << (size - 1).bit_length()
    mel_low, mel_high = mel(np.array([options.low_freq, high], np.float64))
    edges = np.linspace(mel_low, mel_high, options.num_mel_bins + 2)
    centres = mel(np.arange(size // 2) * options.sample_frequency / size)
    # The extraction computes in float32, which may miss a frequency that lies in a bin by a hair.
    hair = 1e-6 * mel_high
    inside = np.searchsorted(centres, edges[2:] - hair, "left") - np.searchsorted(centres, edges[:-2] + hair, "right")
    if inside.min() < 1:
        raise UsageError(
            f"--num-mel-bins={options.num_mel_bins} is too many for a frame of {options.frame_length:g} ms between "
            f"{options.low_freq:g} and {high:g} Hz: some mel bins hold no frequency; use fewer bins or longer frames"
        )


def mel(frequency: np.ndarray) -> np.ndarray:
    """Kaldi's mel scale, of frequencies in Hz."""
    return 1127.0 * np.log1p(frequency / 700.0)


def hertz(mels: np.ndarray) -> np.ndarray:
    """The frequencies that lie there on Kaldi's mel scale."""
    return 700.0 * np.expm1(mels / 1127.0)
