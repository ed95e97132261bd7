"""Folders of chain examples, as Kaldi's ``get_egs.sh`` and its chain2 recipes leave them.

Sources: ``steps/nnet3/chain/get_egs.sh``; ``process_egs.sh``, ``randomize_egs.sh`` and ``combine_egs.sh`` in
``steps/nnet3/chain2``; ``get_successful_models`` and ``train_new_models`` in
``steps/libs/nnet3/train/chain_objf/acoustic_model.py``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kaldi_quant.errors import FormatError, UsageError
from kaldi_quant.kaldi.table_files import table_files
from kaldi_quant.kaldi.text import read_text

_log = logging.getLogger(__name__)

_TRAINING = "train_diagnostic.cegs"
_KINDS_OF_CHAIN2 = ("randomized_chain_egs", "processed_chain_egs")
_MOST_DIGITS = 6


@dataclass(frozen=True)
class EgsInfo:
    """What a folder of examples says of them; None where it does not say.

    Args:
        path: the folder ``info``, or chain2's file ``info.txt``.
        archives: how many there are.
        feat_dim, ivector_dim, num_pdfs: of the model that they are for.
        left_context, right_context: frames of features before the first output and behind the last.
        subsampling: frames from one output to the next.
        languages: of chain2's examples; empty for others.
    """

    path: Path
    archives: int | None = None
    feat_dim: int | None = None
    ivector_dim: int | None = None
    num_pdfs: int | None = None
    left_context: int | None = None
    right_context: int | None = None
    subsampling: int | None = None
    languages: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> EgsInfo:
        """Reads ``info.txt`` where there is one, and else the files in ``info``.

        Raises:
            FormatError: a number is malformed.
            UsageError: these are examples of chain2 that are not ready for training.
        """
        path = folder / "info.txt"
        if path.exists():
            return cls._of_chain2(folder, path)
        path = folder / "info"
        names = ("num_archives", "feat_dim", "ivector_dim", "num_pdfs", "left_context", "right_context")
        found = {name: read_text(path / name) for name in names if (path / name).is_file()}
        return cls._of(path, {name: _number(path / name, found[name]) for name in names if name in found}, names)

    @classmethod
    def _of_chain2(cls, folder: Path, path: Path) -> EgsInfo:
        found = _read_lines(path)
        kind = found.get("dir_type", "none")
        if kind not in _KINDS_OF_CHAIN2:
            raise UsageError(
                f"{path}: the dir_type is {kind}, and examples that can be trained on are "
                f"{' or '.join(_KINDS_OF_CHAIN2)}: see steps/chain2/process_egs.sh and randomize_egs.sh"
            )
        languages = tuple(found.get("langs", found.get("lang", "default")).split())
        for language in languages:
            of_language = folder / f"info_{language}.txt"
            if of_language.exists():
                found = {**_read_lines(of_language), **found}
        names = ("num_scp_files", "feat_dim", "ivector_dim", "num_leaves", "left_context", "right_context")
        more = "frame_subsampling_factor"
        values = {name: _number(path, found[name], name) for name in (*names, more) if name in found}
        return replace(cls._of(path, values, names), subsampling=values.get(more), languages=languages)

    @classmethod
    def _of(cls, path: Path, values: dict[str, int], names: Sequence[str]) -> EgsInfo:
        archives, feats, ivectors, pdfs, left, right = (values.get(name) for name in names)
        return cls(path, archives, feats, ivectors, pdfs, left, right)


def _read_lines(path: Path) -> dict[str, str]:
    """A file of names and values."""
    lines = (line.split(maxsplit=1) for line in read_text(path).split("\n"))
    return {words[0]: words[1].strip() for words in lines if len(words) == 2}


def _number(path: Path, text: str, name: str = "") -> int:
    text = text.strip()
    if not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS:
        of_name = f" as {name}" if name else ""
        raise FormatError(str(path), None, f"expected a number{of_name}, found {text[:40]!r}")
    return int(text)


@dataclass(frozen=True)
class EgsFolder:
    """The examples that training reads.

    Args:
        archives: of training, in order; chain2's are scp files.
        validation: the file of held-out examples, None where there is none.
        combination: the file of training examples on which averages of models are compared, likewise.
        info: what the folder says of them.
    """

    archives: Sequence[Path]
    validation: Path | None
    combination: Path | None
    info: EgsInfo

    @classmethod
    def find(cls, folder: str | Path, quiet: bool = False) -> EgsFolder:
        """Looks for examples and diagnostics by Kaldi's names, and whether all are there.

        ``cegs.N.ark``, ``valid_diagnostic.cegs``, ``train_diagnostic.cegs``, ``combine.cegs``; of chain2:
        ``train.N.scp``, ``heldout_subset.scp``, ``train_subset.scp``.

        Args:
            folder: of the examples.
            quiet: without warnings, where they are not read yet.

        Raises:
            UsageError: there are no examples, or some of those that are announced are missing or empty.
            FormatError: what the folder says of its examples is malformed.
        """
        folder = Path(folder)
        info = EgsInfo.read(folder)
        names = _OF_CHAIN2 if info.languages else _OF_CHAIN
        numbered = names.numbered(folder)
        archives, beyond = _all_of(folder, names, numbered, info)
        if beyond and not quiet:
            _log.warning("%s: %s are more than %s announces, and left out", folder, ", ".join(beyond), names.announced)
        if not numbered and not info.languages and _has_content(folder / _TRAINING):
            if not quiet:
                _log.warning("%s has no cegs.*.ark: the examples in %s are trained on instead", folder, _TRAINING)
            archives = [folder / _TRAINING]
        elif not archives:
            raise UsageError(f"{folder} has no examples, {names.example} and so on, as {names.script} makes them")
        for path in archives:
            _require_content(path)
        diagnostics = [folder / name for name in (names.validation, *names.combination)]
        present = [path for path in diagnostics if path.exists()]
        for path in present:
            _require_content(path)
        validation, combination = diagnostics[0], [path for path in present if path != diagnostics[0]]
        return cls(archives, validation if validation in present else None, next(iter(combination), None), info)

    @property
    def validation_name(self) -> str:
        """What the file of held-out examples is called in such a folder."""
        return (_OF_CHAIN2 if self.info.languages else _OF_CHAIN).validation

    def iteration(self, number: int, shifts: Sequence[int]) -> tuple[Path, int]:
        """The archive of an iteration, counted from 0, and the shift of its features: another one at each pass."""
        count = len(self.archives)
        return self.archives[number % count], shifts[(number % count + 1 + number // count) % len(shifts)]

    def files(self) -> Iterator[Path]:
        """All that the examples are read from."""
        for path in (*self.archives, self.validation, self.combination):
            if path is not None:
                yield from table_files(examples_in(path)).files


@dataclass(frozen=True)
class _Names:
    """How one of Kaldi's recipes calls its files."""

    archive: re.Pattern[str]
    example: str
    script: str
    announced: str
    validation: str
    combination: tuple[str, ...]

    def numbered(self, folder: Path) -> dict[int, Path]:
        """The archives by number; links that lead nowhere, too."""
        if not folder.is_dir():
            return {}
        matches = ((self.archive.fullmatch(path.name), path) for path in folder.iterdir())
        return {int(match[1]): path for match, path in matches if match}

    def name(self, number: int) -> str:
        """Of an archive."""
        return self.example.replace("1", str(number), 1)


_OF_CHAIN = _Names(
    re.compile(r"cegs\.(\d+)\.ark"),
    "cegs.1.ark",
    "steps/nnet3/chain/get_egs.sh",
    "num_archives",
    "valid_diagnostic.cegs",
    ("combine.cegs", _TRAINING),
)
_OF_CHAIN2 = _Names(
    re.compile(r"train\.(\d+)\.scp"),
    "train.1.scp",
    "steps/chain2/randomize_egs.sh",
    "num_scp_files",
    "heldout_subset.scp",
    ("train_subset.scp",),
)


def _all_of(folder: Path, names: _Names, numbered: dict[int, Path], info: EgsInfo) -> tuple[list[Path], list[str]]:
    """The archives from 1 up to the last that is announced, or that is there, and the names of those beyond."""
    if not numbered:
        return [], []
    last = info.archives if info.archives is not None else max(numbered)
    missing = [names.name(number) for number in range(1, last + 1) if number not in numbered]
    if missing:
        says = f"{info.path.name} announces {last}" if info.archives is not None else f"there is one with number {last}"
        some = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise UsageError(
            f"{folder} has {last - len(missing)} of its archives, and {says} ({names.announced}): {some} missing; "
            f"{names.script} makes them"
        )
    beyond = [numbered[number].name for number in sorted(numbered) if number > last or number < 1]
    return [numbered[number] for number in range(1, last + 1)], beyond


def has_examples(folder: Path) -> bool:
    """Whether a folder has examples of any kind; whether all that are announced are there shows ``EgsFolder.find``."""
    names = (_OF_CHAIN, _OF_CHAIN2)
    return any(kind.numbered(folder) for kind in names) or (folder / _TRAINING).exists()


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _require_content(path: Path) -> None:
    if not _has_content(path):
        what = "is empty" if path.is_file() else "is a link that leads nowhere"
        raise UsageError(f"{path} {what}: what made it was interrupted, or its disk is full; make the examples again")


def examples_in(path: Path) -> str:
    """The rspecifier of a file of examples."""
    return f"{'scp' if path.suffix == '.scp' else 'ark'}:{path}"
