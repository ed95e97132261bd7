"""The files that belong to a model and lie beside it: they go where the model goes.

A ``.mdl`` says neither how its features are normalised nor how many frames make a row of its output, nor which phones
and which tree it was made with. Kaldi's recipes keep that in small files in the model's folder.

Source: ``copy_egs_properties_to_exp_dir`` in ``steps/libs/nnet3/train/common.py``, ``steps/nnet3/chain/train.py``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError, FormatError
from kaldi_quant.kaldi.frame_subsampling import FACTOR_NAME, find_factor, folder_of

_log = logging.getLogger(__name__)

#: Which extractor made the i-vectors that the model was trained with.
IVECTOR_ID_NAME = "final.ie.id"
#: What decides what a model computes, so that it may neither be lost nor come from another model.
DECISIVE_NAMES = (
    "cmvn_opts",
    "online_cmvn",
    "global_cmvn.stats",
    "delta_opts",
    "splice_opts",
    "final.mat",
    IVECTOR_ID_NAME,
)
#: What else decoding with a model, and making graphs for it, need.
OTHER_NAMES = ("tree", "phones.txt")

# Remembers which companions this program wrote into a folder, and for which models.
_MANIFEST = ".companions.json"
# Larger files are not kept inside an integer model.
_MOST_CARRIED = 1 << 16
_MOST_BYTES = 1 << 28


@dataclass(frozen=True)
class Companions:
    """What belongs to a model.

    Args:
        files: contents by name.
        factor: the frame-subsampling factor; None where it is not known.
        source: where they come from, for messages.
        missing: names of what an integer model's record tells of, and what can no longer be found.
    """

    files: Mapping[str, bytes]
    factor: int | None
    source: str
    missing: tuple[str, ...] = ()

    @classmethod
    def beside(cls, model: str | os.PathLike[str], factor: int | None, more: Collection[str] = ()) -> Companions:
        """What lies beside a model's file.

        Args:
            model: the file.
            factor: the frame-subsampling factor that the model is run with.
            more: names of other files that go with it, where they are there.
        """
        folder = folder_of(model)
        names = (*DECISIVE_NAMES, *OTHER_NAMES, *more) if folder is not None else ()
        found = {name: folder / name for name in names if folder is not None and (folder / name).is_file()}
        return cls({name: _read(path) for name, path in found.items()}, factor, str(folder))

    @classmethod
    def of_record(cls, record: Mapping[str, Any], artefact: str | os.PathLike[str], factor: int) -> Companions:
        """What belongs to an integer model: what its record holds, and what else lies beside it unchanged.

        Args:
            record: of the integer model.
            artefact: its file.
            factor: its frame-subsampling factor.

        Raises:
            FormatError: the record is malformed.
        """
        kept = record.get("companions", {})
        if not isinstance(kept, dict):
            raise FormatError(os.fspath(artefact), None, "expected companions by name in its record")
        files, missing = {}, []
        for name, entry in kept.items():
            content, digest = _carried(entry, name, os.fspath(artefact))
            path = Path(artefact).parent / name
            if content is None and path.is_file() and _digest(beside := _read(path)) == digest:
                content = beside
            if content is None:
                missing.append(name)
            else:
                files[name] = content
        return cls(files, factor, os.fspath(artefact), tuple(missing))

    def as_record(self) -> dict[str, Any]:
        """What an integer model's record keeps: small files whole, of the others what tells them from others."""
        record: dict[str, Any] = {}
        for name, content in self.files.items():
            if name not in DECISIVE_NAMES or len(content) > _MOST_CARRIED:
                record[name] = {"sha256": _digest(content)}
            else:
                text = _as_text(content)
                record[name] = {"base64": base64.b64encode(content).decode()} if text is None else text
        return record

    @property
    def ivector_id(self) -> str | None:
        """The extractor of the model's i-vectors, where it is known."""
        content = self.files.get(IVECTOR_ID_NAME)
        return content.decode("utf-8", "replace").strip() or None if content is not None else None

    def check(self, folder: Path, model: str, outdated: Collection[str] = ()) -> None:
        """Refuses a folder in which another model's companions lie; arguments as for ``write``.

        Raises:
            DataError: a file there contradicts these.
        """
        self._changes(folder, model, outdated)

    def write(self, folder: Path, model: str, outdated: Collection[str] = ()) -> None:
        """Writes them beside a model.

        What lies there already and is the same stays as it is. What differs is replaced only if this program wrote
        it, and for no other model that is still there.

        Args:
            folder: of the model.
            model: its file's name.
            outdated: names of models in that folder that are no longer valid once this one is there.

        Raises:
            DataError: a file there contradicts these, or cannot be written.
        """
        changes = self._changes(folder, model, outdated)
        if self.missing:
            _log.warning(
                "not written beside %s, since no longer beside %s: %s of the float model",
                *(folder / model, self.source, " and ".join(self.missing)),
            )
        manifest = _Manifest.read(folder)
        for name, content in changes.items():
            if content is None:
                (folder / name).unlink()
                _log.info("%s is removed: %s has none", folder / name, self.source)
            else:
                if (folder / name).exists():
                    _log.info("%s is replaced by that of %s", folder / name, self.source)
                with atomic_write(folder / name) as stream:
                    stream.write(content)
        manifest.updated(model, changes, outdated).write(folder)

    def _changes(self, folder: Path, model: str, outdated: Collection[str]) -> dict[str, bytes | None]:
        """What has to be written, by name; None for what has to go."""
        wanted: dict[str, bytes | None] = dict.fromkeys(DECISIVE_NAMES)
        wanted |= dict(self.files)
        manifest = _Manifest.read(folder)
        changes: dict[str, bytes | None] = {}
        for name, content in wanted.items():
            path = folder / name
            present = _read(path) if path.is_file() else None
            if present == content:
                continue
            if present is not None:
                manifest.require_replaceable(path, present, self.source, model, outdated)
            changes[name] = content
        if self.factor is not None:
            changes |= self._factor_change(folder, manifest, model, outdated)
        return changes

    def _factor_change(
        self, folder: Path, manifest: _Manifest, model: str, outdated: Collection[str]
    ) -> dict[str, bytes]:
        path, content = folder / FACTOR_NAME, f"{self.factor}\n".encode()
        if path.is_file() and manifest.is_ours(path.name, present := _read(path)):
            if present.strip() == content.strip():
                return {}
            manifest.require_replaceable(path, present, self.source, model, outdated)
            return {path.name: content}
        stated = find_factor(folder) if folder.is_dir() else None
        if stated not in (None, self.factor):
            raise DataError(
                f"{folder} holds models with frame-subsampling factor {stated}, and that of {self.source} is "
                f"{self.factor}: give another folder"
            )
        return {} if stated is not None else {path.name: content}


@dataclass(frozen=True)
class _Manifest:
    """The companions that this program wrote into a folder: digests by name, and the models that they are for."""

    files: dict[str, str]
    models: list[str]

    @classmethod
    def read(cls, folder: Path) -> _Manifest:
        """What the folder's manifest says; nothing where there is none, or one that is broken."""
        try:
            content = json.loads((folder / _MANIFEST).read_bytes())
            files, models = content["files"], content["models"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return cls({}, [])
        if not isinstance(files, dict) or not isinstance(models, list):
            return cls({}, [])
        return cls({str(name): str(digest) for name, digest in files.items()}, [str(name) for name in models])

    def is_ours(self, name: str, content: bytes) -> bool:
        return self.files.get(name) == _digest(content)

    def require_replaceable(
        self, path: Path, content: bytes, source: str, model: str, outdated: Collection[str]
    ) -> None:
        """Raises DataError where a file must stay as it is."""
        if not self.is_ours(path.name, content):
            raise DataError(
                f"{path} is not what {source} has under this name: give another folder, or remove it if no model there "
                "needs it"
            )
        others = [name for name in self.models if name not in (model, *outdated) and (path.parent / name).exists()]
        if others:
            raise DataError(
                f"{path} belongs to {path.parent / others[0]}, and is not what {source} has under this name: give "
                "another folder"
            )

    def updated(self, model: str, changes: Mapping[str, bytes | None], outdated: Collection[str]) -> _Manifest:
        files = {name: digest for name, digest in self.files.items() if changes.get(name, b"") is not None}
        files |= {name: _digest(content) for name, content in changes.items() if content is not None}
        return _Manifest(files, [*(name for name in self.models if name not in (model, *outdated)), model])

    def write(self, folder: Path) -> None:
        if not self.files:
            return
        with atomic_write(folder / _MANIFEST, "w") as stream:
            stream.write(json.dumps({"models": self.models, "files": self.files}, indent=1) + "\n")


def _carried(entry: object, name: str, path: str) -> tuple[bytes | None, str]:
    """A file's content, where the record holds it, and its digest."""
    if name not in DECISIVE_NAMES and name not in OTHER_NAMES:
        raise FormatError(path, None, f"its record has an unknown companion {name[:40]!r}")
    if isinstance(entry, str):
        return entry.encode(), ""
    if isinstance(entry, dict) and isinstance(entry.get("sha256"), str):
        return None, entry["sha256"]
    if isinstance(entry, dict) and isinstance(entry.get("base64"), str):
        try:
            return base64.b64decode(entry["base64"], validate=True), ""
        except ValueError:
            pass
    raise FormatError(path, None, f"the companion {name} in its record is malformed")


def _as_text(content: bytes) -> str | None:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path}: has {path.stat().st_size} bytes, which no such file needs")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
