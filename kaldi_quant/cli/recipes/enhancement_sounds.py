"""Recordings for a page: noisy, clean, and as each cell has them, with spectrograms, within a number of bytes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

from kaldi_quant.frontends.enhancement.scores.predictions import CLEAN, ENHANCED, NOISY, predictions_in, read_prediction
from kaldi_quant.frontends.signals.encoding import CODECS, encoded
from kaldi_quant.frontends.signals.spectrogram import spectrogram
from kaldi_quant.report.pages.listening import Recording, Sound, bytes_in_page
from kaldi_quant.report.pages.picture import picture

_log = logging.getLogger(__name__)
# All that is heard here.
_RATE = 16000
# Without loss where the page has room for it.
_CODECS = ("flac", "opus")
# In dB below full scale: what is softer is not seen, and hardly heard.
_DARKEST, _LIGHTEST = -80.0, -10.0


def recordings_of(networks: Mapping[str, Sequence[Path]], number: int, most: int) -> dict[str, list[Recording]]:
    """What is to be heard of each network, in as good a form as there is room for.

    Args:
        networks: name → the folders of its cells.
        number: of recordings of each, spread over the test set.
        most: bytes of all together in the page; there are fewer recordings where they need more.

    Raises:
        DataError: a file of a prediction is broken.
    """
    # Of what is tried in several forms, and of fewer recordings, each is made once.
    sound = cache(_sound)
    chosen = {name: _chosen(cells, number) for name, cells in networks.items()}
    while True:
        for codec in _CODECS:
            found = {
                name: [_recording(stem, cells, partial(sound, codec)) for stem, cells in those]
                for name, those in chosen.items()
            }
            size = sum(bytes_in_page(one) for those in found.values() for each in those for one in each.sounds)
            if size <= most:
                return found
        _log.warning("%d bytes of recordings do not fit into %d: there are fewer of them", size, most)
        chosen = {name: those[:-1] for name, those in chosen.items()}


def _chosen(cells: Sequence[Path], number: int) -> list[tuple[str, dict[str, dict[str, Path]]]]:
    """Stems that all cells with predictions have, each with the files of these cells."""
    by_cell = {cell.name: found for cell in cells if (found := predictions_in(cell))}
    if not by_cell or not number:
        return []
    first, *others = by_cell.values()
    stems = [stem for stem in first if all(stem in other for other in others)]
    places = [round(place * (len(stems) - 1) / max(number - 1, 1)) for place in range(min(number, len(stems)))]
    return [
        (stems[place], {name: found[stems[place]] for name, found in by_cell.items()})
        for place in dict.fromkeys(places)
    ]


def _recording(stem: str, cells: Mapping[str, Mapping[str, Path]], sound: Callable[[str, Path], Sound]) -> Recording:
    files = next(iter(cells.values()))
    sounds = [sound(name, files[what]) for name, what in (("noisy", NOISY), ("clean", CLEAN))]
    sounds += [sound(name, those[ENHANCED]) for name, those in cells.items()]
    return Recording(stem, sounds)


def _sound(codec: str, name: str, path: Path) -> Sound:
    wave = read_prediction(path, _RATE)
    image = picture(spectrogram(wave, _RATE), _DARKEST, _LIGHTEST)
    return Sound(name, "", encoded(wave, _RATE, codec), CODECS[codec].mime, image)
