"""A stage counts as done only when it has ended: a marker beside what it makes says so, and what it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import FormatError
from kaldi_quant.kaldi.table_files import table_files
from kaldi_quant.made import known_digest

#: What a stage's results depend on: file or option → content or value; None where there is no such file.
Facts = Mapping[str, str | None]


@dataclass(frozen=True)
class EndMarker:
    """The marker of a stage.

    Args:
        path: the file.
    """

    path: Path

    @classmethod
    def of(cls, folder: Path, stage: int) -> EndMarker:
        """The marker of a stage, in the folder that it writes to."""
        return cls(folder / f".stage_{stage}.json")

    def exists(self) -> bool:
        """Whether this project has begun the stage."""
        return self.path.exists()

    def ended(self) -> bool:
        """Whether it has also ended."""
        return self.exists() and bool(self._read()["ended"])

    def is_open(self) -> bool:
        """Whether it was begun and has not ended."""
        return self.exists() and not self.ended()

    def changed(self, facts: Facts) -> list[str]:
        """Which facts are others than when the stage ran. Files that are gone since then have not changed."""
        before = self._read()["facts"]
        return [
            name for name, value in facts.items() if None not in (value, before.get(name)) and before[name] != value
        ]

    @contextmanager
    def around(self, facts: Facts) -> Iterator[None]:
        """Around the work: without an exception, and unless the process is killed, the stage has ended behind it."""
        self._write(facts, ended=False)
        yield
        self._write(facts, ended=True)

    def _write(self, facts: Facts, ended: bool) -> None:
        with atomic_write(self.path, "w") as stream:
            json.dump({"ended": ended, "facts": dict(facts)}, stream, indent=1)

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self.path.read_text("utf-8"))
            if isinstance(found["facts"], dict) and isinstance(found["ended"], bool):
                return dict(found)
        except (ValueError, KeyError, TypeError):
            pass
        raise FormatError(str(self.path), None, "expected the marker of a stage; remove what the stage has made")


def contents(*paths: Path) -> dict[str, str | None]:
    """Facts about files: what they hold."""
    return {str(path): digest(path) for path in paths}


def content(name: str, *paths: Path) -> dict[str, str | None]:
    """One fact about all files of a kind: what they hold, in their order."""
    digests = [found for path in paths if (found := digest(path)) is not None]
    return {name: hashlib.sha256(" ".join(digests).encode()).hexdigest() if digests else None}


def table(scp: Path) -> dict[str, str | None]:
    """Facts about a table: its scp file, and what the archives hold that it names."""
    archives = table_files(f"scp:{scp}").files[1:] if scp.is_file() else ()
    return {**contents(scp), **content(f"the archives of {scp}", *archives)}


def digest(path: Path) -> str | None:
    """A short form of what a file holds; None where there is none."""
    return known_digest(path) if path.is_file() else None
