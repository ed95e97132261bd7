"""Kaldi data folders of noisy and of enhanced speech, made from one with audio and text."""

from __future__ import annotations

import io
import logging
import wave as wave_format
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.kaldi.features.speakers import by_speaker, read_utt2spk
from kaldi_quant.kaldi.text_tables import read_text_map
from kaldi_quant.kaldi.waves import read_waves
from kaldi_quant.units import Hertz

_log = logging.getLogger(__name__)
#: What stands in a folder that is made here, the first as its sign.
FILES = ("wav.scp", "wav.ark", "text", "utt2spk", "spk2utt", "source", "conditions.tsv")
#: The utterance that each one was made from: what is drawn as one by a bootstrap.
SOURCE = "source"
#: Of speech to which no noise was added; it may hold noise of its own.
CLEAN = "clean"

Array = np.ndarray[Any, np.dtype[Any]]
_FULL_SCALE = 32768.0
# Where samples would go beyond full scale, the mixture is softer.
_PEAK = 0.99


@dataclass(frozen=True)
class NoiseChoice:
    """What noise is added.

    Args:
        noises: kinds, of the conditions.
        snrs: ratios of speech to noise, in dB; each is mixed with each kind.
        conditions: of ``CONDITIONS``: the ranges that noises are drawn from.
        seed: all else follows from it and from the utterance.

    Raises:
        UsageError: a kind is unknown, a ratio is none, or there are none.
    """

    noises: tuple[str, ...]
    snrs: tuple[float, ...]
    conditions: str
    seed: int

    def __post_init__(self) -> None:
        from kaldi_quant.frontends.speech.conditions import CONDITIONS

        known = CONDITIONS[self.conditions].noises
        for noise in self.noises:
            if noise not in known:
                raise UsageError(f"--noises: {noise} is not one of {', '.join(known)}")
        for what, values in (("--noises", self.noises), ("--snrs", self.snrs)):
            if not values or len(set(values)) < len(values):
                raise UsageError(f"{what}: expected values that differ, with commas between them")
        if not np.isfinite(self.snrs).all():
            raise UsageError(f"--snrs: expected ratios in dB, found {', '.join(f'{snr:g}' for snr in self.snrs)}")


def noisy_data(data: Path, out: Path, choice: NoiseChoice, rate: Hertz, allow_pipes: bool = False) -> None:
    """Makes a data folder in which each utterance of another stands as it is, and with each noise at each ratio.

    Args:
        data: with ``wav.scp`` and ``text``, and ``segments`` or ``utt2spk`` where there are any.
        out: for the files of ``FILES``.
        choice: what noise.
        rate: that the audio has to have.
        allow_pipes: whether commands in ``wav.scp`` run.

    Raises:
        DataError: audio has another rate or several channels, is silent, or lacks its text; names the utterance.
    """
    from kaldi_quant.frontends.enhancement.scores.conditions import Condition, write_conditions

    text = read_text_map(data / "text")
    speakers = read_utt2spk(str(data / "utt2spk")) if (data / "utt2spk").is_file() else {}
    speech = dict(_speech(data, text, rate, allow_pipes))
    made: dict[str, tuple[str, Condition]] = {}
    for utterance in speech:
        made[f"{utterance}-{CLEAN}"] = utterance, Condition(CLEAN)
        for noise in choice.noises:
            for snr in choice.snrs:
                made[f"{utterance}-{noise}_{snr:g}"] = utterance, Condition(noise, snr)
    made = dict(sorted(made.items()))
    waves = (
        (name, speech[utterance] if condition.snr is None else _mixed(utterance, speech, condition, choice, rate))
        for name, (utterance, condition) in made.items()
    )
    write_waves(out, waves, rate)
    source = {name: utterance for name, (utterance, _) in made.items()}
    write_conditions(out, {name: condition for name, (_, condition) in made.items()})
    spoken_by = {name: speakers.get(utterance, utterance) for name, utterance in source.items()}
    write_lines(out / "text", {name: " ".join(text[utterance]) for name, utterance in source.items()})
    write_lines(out / "utt2spk", spoken_by)
    write_lines(out / "spk2utt", {speaker: " ".join(names) for speaker, names in by_speaker(spoken_by).items()})
    write_lines(out / SOURCE, source)


def enhanced_data(data: Path, out: Path, enhance: Any, rate: Hertz) -> None:
    """Makes a data folder with what a network makes of another's audio; the rest is the same.

    Args:
        data: as ``noisy_data`` makes it.
        out: for the same files.
        enhance: (S,) float32 for (S,).
        rate: of the audio.

    Raises:
        DataError: the network gives another length, or samples that are not finite; names the utterance.
    """
    for name in FILES[2:]:
        with atomic_write(out / name) as stream:
            stream.write((data / name).read_bytes())
    write_waves(out, _enhanced(data, enhance, rate), rate)


def _enhanced(data: Path, enhance: Any, rate: Hertz) -> Iterator[tuple[str, Array]]:
    for name, wave in _speech(data, None, rate, allow_pipes=False):
        found = enhance(wave)
        if found.shape != wave.shape or not np.isfinite(found).all():
            raise DataError(f"{name}: expected {wave.shape} enhanced samples that are finite, found {found.shape}")
        yield name, found


def _speech(
    data: Path, text: Mapping[str, Sequence[str]] | None, rate: Hertz, allow_pipes: bool
) -> Iterator[tuple[str, Array]]:
    segments = str(data / "segments") if (data / "segments").is_file() else ""
    for name, wave in read_waves(f"scp:{data}/wav.scp", allow_pipes, segments):
        if wave.rate != rate or wave.samples.shape[0] != 1:
            raise DataError(
                f"{name}: expected {rate} Hz and one channel, found {wave.rate} Hz and {wave.samples.shape[0]}"
            )
        if text is not None and name not in text:
            raise DataError(f"{name} has audio, but no text in {data / 'text'}")
        if text is not None and not wave.samples.any():
            raise DataError(f"{name}: the recording is silent, or empty")
        yield name, (wave.samples[0] / np.float32(_FULL_SCALE)).astype(np.float32)


def _mixed(utterance: str, speech: Mapping[str, Array], condition: Any, choice: NoiseChoice, rate: Hertz) -> Array:
    """An utterance with noise; babble is made of the others, of which there has to be one at least."""
    from kaldi_quant.frontends.signals.level import mix
    from kaldi_quant.frontends.speech.conditions import CONDITIONS

    key = zlib.crc32(f"{utterance}/{condition.noise}/{condition.snr:g}".encode("utf-8", "surrogateescape"))
    random = np.random.default_rng([choice.seed, key])
    wave = speech[utterance]
    voices = [other for name, other in speech.items() if name != utterance] or [wave]
    noise = CONDITIONS[choice.conditions].noises[condition.noise].make(len(wave), rate, random, voices)
    mixture = mix(wave, noise, condition.snr, rate)
    return mixture * np.float32(min(1.0, _PEAK / float(np.abs(mixture).max())))


def write_waves(out: Path, waves: Iterable[tuple[str, Array]], rate: Hertz) -> None:
    """Writes ``wav.ark`` and ``wav.scp`` of recordings, (S,) in ±1, as 16-bit PCM; what is beyond is cut off."""
    lines, place = [], 0
    ark = (out / "wav.ark").absolute()
    with atomic_write(ark) as stream:
        for name, wave in waves:
            head = f"{name} ".encode("utf-8", "surrogateescape")
            content = _wav(wave, rate)
            stream.write(head + content)
            lines.append((name, f"{ark}:{place + len(head)}"))
            place += len(head) + len(content)
    write_lines(out / "wav.scp", dict(lines))


def _wav(wave: Array, rate: Hertz) -> bytes:
    samples = np.clip(np.rint(wave * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype("<i2").tobytes()
    stream = io.BytesIO()
    with wave_format.open(stream, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", "not compressed"))
        file.writeframes(samples)
    return stream.getvalue()


def write_lines(path: Path, entries: Mapping[str, str]) -> None:
    """Writes a text table of Kaldi, sorted."""
    with atomic_write(path, "w") as stream:
        stream.writelines(f"{key} {value}\n" for key, value in sorted(entries.items()))
