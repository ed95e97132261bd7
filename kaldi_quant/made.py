"""What was made from what: a result is kept only while everything that made it is the same.

A step declares its sources: files, by their content, and settings. When it has ended, a record of them is left in the
folder ``.made`` beside its outputs. The next run keeps the outputs if they are as the step left them and the record
fits; else it says what has changed, and the step runs again. The program itself and the libraries that compute are
sources of every step, but for those that other programs do.

A file's content is read again only where its size, times or inode differ from those in the record: the time of the last
change of an inode cannot be set back, so that a model replaced under its old time stamp is noticed.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError

_FORMAT = 1
_FOLDER = ".made"
_MISSING = "missing"
_PACKAGE = Path(__file__).resolve().parent
# Libraries whose version may change a result.
_LIBRARIES = ("torch", "numpy", "scipy", "onnxruntime", "kaldi-decoder", "kaldifst", "kaldi-native-fbank", "kaldialign")


@dataclass(frozen=True)
class Sources:
    """Everything that a step's result depends on, beside the program.

    Args:
        settings: options and other values, JSON can hold each; the names are those that a user knows.
        files: what a file is (``"the model"``) → the files, of which the content counts and not the name.
        repeatable: False where something is read whose content cannot be known before: it is made again each time.
        external: whether other programs do the work, such as Kaldi's scripts. Then this one is no source; and a file
            that is gone has not changed, since what such steps read is large and often removed.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    repeatable: bool = True
    external: bool = False

    def __or__(self, other: Sources) -> Sources:
        """What a result depends on that depends on both."""
        settings, files = {**self.settings, **other.settings}, {**self.files, **other.files}
        return Sources(settings, files, self.repeatable and other.repeatable, self.external and other.external)


class Made:
    """A step's result in a folder, and the record of what made it.

    Args:
        output: the file that the step leaves, or the first of several; the record has its name.
        sources: what it is made from.
        name: what the result is called, in the singular; by default the file.
    """

    def __init__(self, output: Path, sources: Sources = Sources(), name: str = "") -> None:
        self.output = output
        self.sources = sources
        self.name = name or str(output)
        self._record = output.parent / _FOLDER / f"{output.name}.json"
        self._before = _read(self._record)

    @functools.cached_property
    def _now(self) -> dict[str, Any]:
        """The record as it would be now; what it is compared with is read where there is a use for it."""
        known = _Digests(entry for group in self._before.get("files", {}).values() for entry in group)
        files = self.sources.files
        return {
            "format": _FORMAT,
            "program": "external" if self.sources.external else program_digest(),
            "settings": json.loads(json.dumps(dict(self.sources.settings), default=str)),
            "files": {what: [known.describe(path) for path in paths] for what, paths in files.items()},
        }

    def is_recorded(self) -> bool:
        """Whether this program has begun the step."""
        return bool(self._before)

    def is_open(self) -> bool:
        """Whether the step was begun and has not ended."""
        return bool(self._before) and "outputs" not in self._before

    def why_again(self) -> str | None:
        """Why the step has to run: what has changed first, as half a sentence; None where all is as it was.

        Raises:
            DataError: a source cannot be read; so do the others that ask for changes.
        """
        if not self.output.exists() and not self._before:
            return "it was not made before"
        if not self._before:
            return "it is not known what it was made from"
        if not self.sources.repeatable:
            return "it reads commands or standard input, whose output may differ"
        return self.change() or self.damage()

    def is_unfinished(self) -> bool:
        """Whether the step began with these very sources and did not end: what it left can be gone on from."""
        return self.is_open() and self.change() is None

    def change(self) -> str | None:
        """Which source of a step that is recorded is another one, as half a sentence; None where none is."""
        before, now = self._before, self._now
        if before["program"] != now["program"]:
            return "the program or a library that computes has changed"
        for what in {**before["files"], **now["files"]}:
            old, new = (side["files"].get(what, []) for side in (before, now))
            if self.sources.external:
                new = _without_those_gone(old, new)
            if [entry["digest"] for entry in old] != [entry["digest"] for entry in new]:
                return _changed_file(what, old, new)
        for name in {**before["settings"], **now["settings"]}:
            old, new = (side["settings"].get(name) for side in (before, now))
            if old != new:
                return f"{name} was {_shown(old)} and is {_shown(new)}"
        return None

    def damage(self) -> str | None:
        """What happened to the outputs of a step that is recorded, as half a sentence; None where nothing did."""
        if "outputs" not in self._before:
            return "it was not finished"
        known = _Digests(self._before["outputs"])
        for entry in self._before["outputs"]:
            path = self.output.parent / entry["path"]
            if not path.exists():
                return f"{path} is missing"
            if known.describe(path, entry["path"])["digest"] != entry["digest"]:
                return f"{path} was changed since"
        return None

    def begin(self) -> None:
        """Notes that the step has begun; to be called before it writes anything.

        Raises:
            DataError: a source cannot be read, or the folder cannot be written.
        """
        self._write(self._now)

    def finish(self, others: Sequence[Path] = ()) -> None:
        """Notes that the step has ended, and what it left.

        Args:
            others: outputs beside the first, in the same folder or below it.

        Raises:
            DataError: an output cannot be read, or the folder cannot be written.
        """
        known, folder = _Digests(()), self.output.parent
        paths = dict.fromkeys((self.output, *others))
        outputs = [known.describe(path, os.path.relpath(path, folder)) for path in paths]
        self._write({**self._now, "outputs": outputs})

    def _write(self, content: dict[str, Any]) -> None:
        with atomic_write(self._record, "w") as stream:
            stream.write(json.dumps(content, indent=1) + "\n")
        self._before = content


def make(made: Made, work: Callable[[], Sequence[Path] | None], say: Callable[[str], None]) -> bool:
    """Runs a step unless its result can be kept.

    Args:
        made: the result.
        work: makes it; returns the outputs beside the first, if there are others.
        say: is told, in a sentence, that the result is kept, or why it is made again.

    Returns:
        whether the step ran.

    Raises:
        DataError: the folder cannot be written; and what ``work`` raises.
    """
    reason = made.why_again()
    if reason is None:
        say(f"{made.name} is kept: nothing that it was made from has changed")
        return False
    if made.output.exists():
        say(f"{made.name} is made again: {reason}")
    made.begin()
    made.finish(work() or ())
    return True


def changed_facts(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The names of facts that are others now than in a file of measurements.

    Args:
        before: as read from JSON.
        now: values that JSON can hold.
    """
    known = json.loads(json.dumps(dict(now)))
    return [name for name in {**before, **known} if before.get(name) != known.get(name)]


class _Digests:
    """Digests of files, those of a record by the state that the file had when it was read."""

    _read: ClassVar[dict[tuple[Any, ...], str]] = {}

    def __init__(self, entries: Iterable[Mapping[str, Any]]) -> None:
        self._known = {(entry["path"], *entry["state"]): entry["digest"] for entry in entries}

    def describe(self, path: Path, name: str | None = None) -> dict[str, Any]:
        """The entry of a file in a record, under its absolute path or another name."""
        place = str(path.absolute())
        name = name or place
        if not path.exists():
            # An utterance of which the file is missing is left out, and is back when the file is.
            return {"path": name, "state": [0, 0, 0, 0], "digest": _MISSING}
        state = _state(path)
        digest = self._known.get((name, *state)) or self._read.get((place, *state)) or digest_of_file(path)
        self._read[(place, *state)] = digest
        return {"path": name, "state": state, "digest": digest}


def _state(path: Path) -> list[int]:
    found = os.stat(path)
    return [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def known_digest(path: Path) -> str:
    """SHA-256 of a file's content, which is read once as long as its state is the same: some files are large.

    Raises:
        DataError: it cannot be read.
    """
    if not path.exists():
        raise DataError(f"{path}: cannot be read: {os.strerror(errno.ENOENT)}")
    return str(_Digests(()).describe(path)["digest"])


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file's content.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


@functools.cache
def program_digest() -> str:
    """What tells this program from others: its code, its presets, and the versions of the libraries that compute."""
    found = hashlib.sha256()
    for path in sorted([*_PACKAGE.rglob("*.py"), *_PACKAGE.rglob("*.yaml")]):
        found.update(f"{path.relative_to(_PACKAGE)}\0".encode() + path.read_bytes())
    for name in _LIBRARIES:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            version = "none"
        found.update(f"{name} {version}\n".encode())
    return found.hexdigest()


def _read(path: Path) -> dict[str, Any]:
    """A record; empty where there is none that this version understands."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        return {}
    try:
        groups = [*content["files"].values(), content.get("outputs", [])]
        sound = all(
            isinstance(entry["digest"], str) and len(entry["state"]) == 4 for group in groups for entry in group
        )
        return content if sound and isinstance(content["settings"], dict) and content["program"] else {}
    except (KeyError, TypeError, AttributeError):
        return {}


def _without_those_gone(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What files are now; those that are gone, one by one or all of them, as they were."""
    if not now or len(now) != len(before):
        return now or before
    return [old if new["digest"] == _MISSING else new for old, new in zip(before, now, strict=True)]


def _changed_file(what: str, before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> str:
    """Which file of a group is another one."""
    if not before or not now:
        return f"there {'was no' if now else 'is no longer'} {what.removeprefix('the ')}{' before' if now else ''}"
    for old, new in zip(before, now, strict=False):
        if old["digest"] != new["digest"]:
            return f"other content in {what} ({new['path']})"
    return f"other files in {what} ({len(before)} before, {len(now)} now)"


def _shown(value: object) -> str:
    text = "not given" if value is None else json.dumps(value) if not isinstance(value, str) else value or "empty"
    return text if len(text) <= 60 else f"{text[:57]}..."
