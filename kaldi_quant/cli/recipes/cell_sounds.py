"""Recordings for a page: what was given, and what each cell made of it, with spectrograms, within a number of bytes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from kaldi_quant.frontends.signals.audio import read_audio, read_header
from kaldi_quant.frontends.signals.encoding import CODECS, encoded
from kaldi_quant.frontends.signals.spectrogram import spectrogram
from kaldi_quant.report.pages.listening import Recording, Sound, bytes_in_page
from kaldi_quant.report.pages.picture import picture

_log = logging.getLogger(__name__)
# Those of Opus: sounds are heard at the highest that is not above their own.
_RATES = (8000, 12000, 16000, 24000, 48000)
# Without loss where the page has room for it.
_CODECS = ("flac", "opus")
# In dB below full scale: what is softer is not seen, and hardly heard.
_DARKEST, _LIGHTEST = -80.0, -10.0
# Of a recording what each file is → the file.
_Files = Mapping[str, Path]


@dataclass(frozen=True)
class Heard:
    """What is to be heard of a task's cells.

    Args:
        predictions: the recordings in a cell's folder: stem → what each file is → the file.
        given: of a recording's files those that are the same for all cells, with their names on the page.
        made: those that a cell made, with what is added to its name.
    """

    predictions: Callable[[Path], Mapping[str, _Files]]
    given: Callable[[_Files], list[tuple[str, Path]]]
    made: Callable[[_Files], list[tuple[str, Path]]]


def recordings_of(
    networks: Mapping[str, Sequence[Path]], number: int, most: int, heard: Heard
) -> dict[str, list[Recording]]:
    """What is to be heard of each network, in as good a form as there is room for.

    Args:
        networks: name → the folders of its cells.
        number: of recordings of each, spread over the test set.
        most: bytes of all together in the page; there are fewer recordings where they need more.
        heard: what there is.

    Raises:
        DataError: a file of a prediction is broken.
    """
    # Of what is tried in several forms, and of fewer recordings, each is made once.
    sound = cache(_sound)
    chosen = {name: _chosen(cells, number, heard) for name, cells in networks.items()}
    while True:
        for codec in _CODECS:
            found = {
                name: [_recording(stem, cells, partial(sound, codec), heard) for stem, cells in those]
                for name, those in chosen.items()
            }
            size = sum(bytes_in_page(one) for those in found.values() for each in those for one in each.sounds)
            if size <= most:
                return found
        _log.warning("%d bytes of recordings do not fit into %d: there are fewer of them", size, most)
        chosen = {name: those[:-1] for name, those in chosen.items()}


def _chosen(cells: Sequence[Path], number: int, heard: Heard) -> list[tuple[str, dict[str, _Files]]]:
    """Stems that all cells with predictions have, each with the files of these cells."""
    by_cell = {cell.name: found for cell in cells if (found := heard.predictions(cell))}
    if not by_cell or not number:
        return []
    first, *others = by_cell.values()
    stems = [stem for stem in first if all(stem in other for other in others)]
    places = [round(place * (len(stems) - 1) / max(number - 1, 1)) for place in range(min(number, len(stems)))]
    return [
        (stems[place], {name: found[stems[place]] for name, found in by_cell.items()})
        for place in dict.fromkeys(places)
    ]


def _recording(stem: str, cells: Mapping[str, _Files], sound: Callable[[str, Path], Sound], heard: Heard) -> Recording:
    sounds = [sound(name, path) for name, path in heard.given(next(iter(cells.values())))]
    for cell, files in cells.items():
        sounds += [sound(f"{cell} {name}".strip(), path) for name, path in heard.made(files)]
    return Recording(stem, sounds)


def _sound(codec: str, name: str, path: Path) -> Sound:
    rate = read_header(path).rate
    rate = max([each for each in _RATES if each <= rate], default=_RATES[0])
    wave = read_audio(path, rate)
    image = picture(spectrogram(wave, rate), _DARKEST, _LIGHTEST)
    return Sound(name, "", encoded(wave, rate, codec), CODECS[codec].mime, image)
