"""The frame-subsampling factor of a model: how many feature frames make one row of its output.

A ``.mdl`` does not hold it. Kaldi's chain recipes write it to ``frame_subsampling_factor`` beside the model, its chain2
recipes to ``init/info.txt`` alone, and Vosk to ``conf/model.conf``, or nowhere in folders of its first layout.

Source: ``steps/nnet3/decode.sh``, ``steps/chain2/train.sh``; ``Model::ConfigureV1`` and ``ConfigureV2`` in Vosk's
``src/model.cc``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kaldi_quant.errors import DataError, FormatError, UsageError

if TYPE_CHECKING:
    from kaldi_quant.kaldi.model import Model

_log = logging.getLogger(__name__)

#: The file of Kaldi's chain recipes.
FACTOR_NAME = "frame_subsampling_factor"
_OPTION = "--frame-subsampling-factor"

#: Recipes have 3, some 4; more than this is a mistake.
LARGEST_FACTOR = 999
# Far more than any of these files holds.
_MOST_BYTES = 1 << 20
# What Vosk takes for folders of its first layout, which have no model.conf.
_OF_FIRST_VOSK = 3


@dataclass(frozen=True)
class StatedFactor:
    """A factor, and the file that states it."""

    factor: int
    path: Path


def factor_of(model: Model, given: int | None = None) -> int:
    """The factor to run a model with.

    Args:
        model: as read from its file.
        given: what an option says, which decides whatever files say.

    Raises:
        DataError: the model's folder states two factors; or it is a chain model, and nothing states its factor.
        FormatError: a file states something that is no factor.
        UsageError: ``given`` is no factor.
    """
    folder = folder_of(model.path)
    if given is not None:
        if not 0 < given <= LARGEST_FACTOR:
            raise UsageError(f"{_OPTION} must be from 1 to {LARGEST_FACTOR}, found {given}")
        for stated in stated_factors(folder) if folder is not None else ():
            if stated.factor != given:
                _log.warning("%s %d is used, though %s says %d", _OPTION, given, stated.path, stated.factor)
        return given
    found = find_factor(folder) if folder is not None else None
    if found is not None:
        return found
    if model.transition_model is None:
        _log.info("%s: no file states a frame-subsampling factor: it is 1, as in nnet3-compute", model.path)
        return 1
    if len(model.priors):
        return 1
    where = f" in {folder / FACTOR_NAME}, {folder / 'init' / 'info.txt'} or Vosk's conf/model.conf" if folder else ""
    raise DataError(
        f"{model.path}: a chain model (it has no priors) needs a frame-subsampling factor, and none is stated{where}: "
        f"give {_OPTION}, which is 3 in nearly all recipes"
    )


def folder_of(path: str | os.PathLike[str]) -> Path | None:
    """The folder of a model's file; None for standard input and commands."""
    name = os.fspath(path)
    return None if name == "-" or name.rstrip().endswith("|") else Path(name).parent


def folder_around(folder: Path) -> Path:
    """The folder in which a folder lies, also where it is named ``.`` or ends with ``..``."""
    return folder.parent if folder.name not in ("", "..") else folder / ".."


def find_factor(folder: Path) -> int | None:
    """The factor of the models in a folder; None where nothing states it.

    Raises:
        DataError: two files state different ones.
        FormatError: a file states something that is no factor.
    """
    found = stated_factors(folder)
    if not found:
        return _of_first_vosk_layout(folder)
    for other in found[1:]:
        if other.factor != found[0].factor:
            raise DataError(
                f"{found[0].path} says that the frame-subsampling factor is {found[0].factor}, and {other.path} says "
                f"{other.factor}: correct one of them, or give {_OPTION}"
            )
    return found[0].factor


def stated_factors(folder: Path) -> list[StatedFactor]:
    """All that files of a model's folder, or of the Vosk folder around it, state; Kaldi's own file first.

    Raises:
        FormatError: a file states something that is no factor.
    """
    around = folder_around(folder)
    places: list[tuple[Path, Callable[[str], str | None]]] = [
        (folder / FACTOR_NAME, str.strip),
        (folder / "init" / "info.txt", _in_info),
        # Beside the first models of chain2, init/default.mdl.
        (folder / "info.txt", _in_info),
        (folder / "egs" / "info" / FACTOR_NAME, str.strip),
        (folder / "egs" / "info.txt", _in_info),
        (folder / "model.conf", _in_config),
        (folder / "conf" / "model.conf", _in_config),
        # Vosk: am/final.mdl, conf/model.conf.
        (around / "conf" / "model.conf", _in_config),
    ]
    found = []
    for path, find in places:
        text = _read(path)
        value = find(text) if text is not None else None
        if value is not None:
            found.append(StatedFactor(_as_factor(value, path), path))
    return found


def _of_first_vosk_layout(folder: Path) -> int | None:
    """What Vosk takes where final.mdl, mfcc.conf and the graph lie in one folder."""
    if not (folder / "mfcc.conf").is_file() or not any((folder / f"{name}.fst").is_file() for name in ("HCLG", "HCLr")):
        return None
    _log.info("%s is a model folder of Vosk's first layout: the frame-subsampling factor is 3, as in Vosk", folder)
    return _OF_FIRST_VOSK


def _in_info(text: str) -> str | None:
    """The value in lines such as ``frame_subsampling_factor 3``."""
    for line in text.split("\n"):
        words = line.split(maxsplit=1)
        if words and words[0] == FACTOR_NAME:
            return words[1].strip() if len(words) > 1 else ""
    return None


def _in_config(text: str) -> str | None:
    """The value in a file of Kaldi's options, of which the last one counts; ``#`` begins a comment."""
    value = None
    for line in text.split("\n"):
        name, _, after = line.split("#", 1)[0].strip().partition("=")
        if name.strip().lower().replace("_", "-") == _OPTION:
            value = after.strip()
    return value


def _read(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        with path.open("rb") as stream:
            return stream.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _as_factor(text: str, path: Path) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or not 0 < int(text) <= LARGEST_FACTOR:
        raise FormatError(str(path), None, f"expected a frame-subsampling factor such as 3, found {text[:40]!r}")
    return int(text)
