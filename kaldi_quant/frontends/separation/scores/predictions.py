"""WAV files of a test set: ``S000_NAME_mix.wav``, ``…_ref-s1.wav`` for each source, ``…_est-s1.wav`` for what was made.

Each file's loudest sample is at full scale. Of kinds without order, what was made is in the order of the sources. Stems
of music have levels that mean something: all files of a recording have the gain that brings its mixture to full scale.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from kaldi_quant.frontends.predictions import FOLDER, chosen, files_in
from kaldi_quant.frontends.separation.networks.known import Kind
from kaldi_quant.frontends.separation.scores.measured import ScoredMixture
from kaldi_quant.frontends.separation.scores.measures import ordered
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.frontends.signals.wave_files import peak_normalized, write_wav

MIXTURE, SOURCE, ESTIMATE = "mix", "ref-", "est-"
_LISTED = re.compile(rf"(?P<stem>S\d{{3,}}_.*)_(?P<what>{MIXTURE}|(?:{SOURCE}|{ESTIMATE})[^_]+)\.wav")


def write_predictions(
    cell: Path,
    mixtures: Iterable[ScoredMixture],
    estimates: Mapping[str, Array],
    kind: Kind,
    numbers: Iterable[int] = (),
) -> list[Path]:
    """Writes recordings into a cell's folder ``est_predictions``, and returns the paths.

    Args:
        cell: its folder.
        mixtures: the test set.
        estimates: (S, C, T) by name.
        kind: of the network.
        numbers: which recordings, by their places; by default all.

    Raises:
        DataError: a recording was not separated, or a file cannot be written.
    """
    found = []
    for number, mixture, estimate in chosen(mixtures, estimates, numbers, "separated"):
        made = ordered(kind, mixture.sources, estimate)
        waves = {MIXTURE: mixture.mixture}
        waves.update({SOURCE + name: wave for name, wave in zip(kind.sources, mixture.sources, strict=True)})
        waves.update({ESTIMATE + name: wave for name, wave in zip(kind.sources, made, strict=True)})
        peak = float(np.abs(mixture.mixture).max(initial=0.0)) or 1.0
        stem = f"S{number:03d}_{re.sub(r'[^A-Za-z0-9-]', '-', mixture.name)}"
        for what, wave in waves.items():
            path = cell / FOLDER / f"{stem}_{what}.wav"
            write_wav(path, (wave / peak if kind.is_ordered else peak_normalized(wave)).T, kind.rate)
            found.append(path)
    return found


def predictions_in(cell: Path) -> dict[str, dict[str, Path]]:
    """The recordings in a cell's folder: stem → mix, ref-SOURCE or est-SOURCE → the file.

    There are those with a mixture and as many estimates as sources.
    """
    return {
        stem: files for stem, files in files_in(cell, _LISTED).items() if MIXTURE in files and _names(files, SOURCE)
    }


def given_files(files: Mapping[str, Path]) -> list[tuple[str, Path]]:
    """Of a recording's files the mixture and its sources, with names."""
    return [("mixture", files[MIXTURE]), *((name, files[SOURCE + name]) for name in _names(files, SOURCE))]


def made_files(files: Mapping[str, Path]) -> list[tuple[str, Path]]:
    """Of a recording's files what was made of it, with the names of sources."""
    return [(name, files[ESTIMATE + name]) for name in _names(files, ESTIMATE)]


def _names(files: Mapping[str, Path], what: str) -> list[str]:
    return [name.removeprefix(what) for name in files if name.startswith(what)]
