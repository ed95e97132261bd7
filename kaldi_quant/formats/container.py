"""A safetensors file with a format version and a checksum: whole and as it was written, or refused.

Source: https://github.com/huggingface/safetensors#format. Nothing in such a file can be executed. The metadata has one
key, because the order of several would differ from one writing to the next: a JSON object with the version and the
record of how the file came about, which any program can show. The rest of the content is JSON, too, and compressed by
zlib in the tensor ``description``: it tells of each node and layer in the same words.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import safetensors
import safetensors.numpy

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import FormatError, ModelError
from kaldi_quant.formats.compression import LARGEST, compressed, decompressed

#: Written into every file.
VERSION = 4
#: The oldest one that is read. Version 2 has no networks of torch, version 3 all of its content in the metadata.
OLDEST_VERSION = 2
_FIRST_COMPRESSED = 4

#: By name.
Tensors = dict[str, np.ndarray]

_KEY = "kaldi_quant"
_RECORD, _DESCRIPTION = "record", "description"
_CHECKSUM = "checksum"
_CHECKSUM_BYTES = 32
_DTYPES: dict[str, np.dtype[Any]] = {"U8": np.dtype("u1"), "I32": np.dtype("<i4"), "F32": np.dtype("<f4")}
_LENGTH_BYTES = 8


@dataclass
class Container:
    """What such a file holds.

    Args:
        path: of the file.
        tensors: by name; uint8, int32 or float32. A reader takes them out one after the other.
        content: a JSON object.
    """

    path: str
    tensors: dict[str, np.ndarray]
    content: dict[str, Any]

    def fail(self, message: str) -> NoReturn:
        """Raises FormatError."""
        raise FormatError(self.path, None, message)

    def take(self, name: str, dtype: str, size: int | None = None) -> np.ndarray:
        """Takes a vector out.

        Args:
            name: of the tensor.
            dtype: uint8, int32 or float32.
            size: how many elements it must have; None for any number.

        Raises:
            FormatError: it is missing, or of another kind.
        """
        found = self.tensors.pop(name, None)
        wanted = f"{dtype} of {'any size' if size is None else size}"
        if found is None:
            self.fail(f"the tensor {name} is missing, a vector of {wanted}")
        if found.dtype != dtype or found.ndim != 1 or size not in (None, found.size):
            shape = " x ".join(map(str, found.shape))
            self.fail(f"the tensor {name} should be a vector of {wanted}, and is {found.dtype} of {shape}")
        return found

    def finish(self) -> None:
        """Raises FormatError where a tensor is left that nothing asked for."""
        if self.tensors:
            self.fail(f"it has the tensor {min(self.tensors)[:80]!r}, which does not belong to any layer")


def write_container(path: str | os.PathLike[str], tensors: dict[str, np.ndarray], content: dict[str, Any]) -> int:
    """Writes a file under its final name at once.

    Args:
        path: of the file.
        tensors: vectors of uint8, int32 or float32, by name.
        content: a JSON object.

    Returns:
        the file's size in the file system, in bytes.

    Raises:
        DataError: the folder cannot be written, or the disk is full.
        ModelError: the content is larger than what is read again.
    """
    text = _json({"version": VERSION, **{key: content[key] for key in content if key == _RECORD}})
    described = _json({key: value for key, value in content.items() if key != _RECORD}).encode()
    if len(described) > LARGEST:
        raise ModelError(f"{os.fspath(path)}: a network whose description takes {len(described)} bytes has no file")
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    tensors[_DESCRIPTION] = compressed(described)
    tensors[_CHECKSUM] = _checksum(text, tensors)
    data = safetensors.numpy.save(tensors, {_KEY: text})
    with atomic_write(path) as stream:
        stream.write(data)
    return Path(path).stat().st_size


def read_container(path: str | os.PathLike[str]) -> Container:
    """Reads a file.

    Raises:
        FormatError: the file is missing, truncated, was changed after it was written, or is of another format.
    """
    container = Container(os.fspath(path), {}, {})
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        container.fail(f"cannot be read: {error.strerror or error}")
    try:
        found = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        reason = " ".join(str(error).split())[:200]
        container.fail(f"it is not a complete safetensors file ({reason}): it is truncated or something else")
    text = _text(container, data)
    container.content, version = _content(container, text)
    container.tensors = _tensors(container, found)
    stored = container.take(_CHECKSUM, "uint8", _CHECKSUM_BYTES)
    if not np.array_equal(stored, _checksum(text, container.tensors)):
        container.fail("the checksum is wrong: the file was changed after it was written; write or copy it again")
    if version >= _FIRST_COMPRESSED:
        described = decompressed(container.take(_DESCRIPTION, "uint8"), f"{container.path} ({_DESCRIPTION})")
        container.content |= _object(container, described)
    return container


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"))


def _checksum(text: str, tensors: dict[str, np.ndarray]) -> np.ndarray:
    """(32,) uint8: BLAKE2b of everything else."""
    digest = hashlib.blake2b(digest_size=_CHECKSUM_BYTES)
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode() + b"\n")
        digest.update(array.data)
    digest.update(text.encode())
    return np.frombuffer(digest.digest(), np.uint8)


def _tensors(container: Container, found: list[tuple[str, dict[str, Any]]]) -> dict[str, np.ndarray]:
    tensors = {}
    for name, tensor in found:
        dtype, shape = _DTYPES.get(tensor["dtype"]), tensor["shape"]
        if dtype is None or math.prod(shape) * dtype.itemsize != len(tensor["data"]):
            container.fail(f"the tensor {name[:80]!r} is of the kind {tensor['dtype']}, which nothing here has")
        tensors[name] = np.frombuffer(tensor["data"], dtype).reshape(shape)
    return tensors


def _text(container: Container, data: bytes) -> str:
    """The JSON text in the header."""
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])
    text = (header.get("__metadata__") or {}).get(_KEY)
    if not isinstance(text, str):
        container.fail("it is a safetensors file, but not a quantized network written by this project")
    return text


def _object(container: Container, text: str | bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
        # Half a pair of surrogates would be an error wherever it is printed.
        json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        container.fail(f"its description is not JSON: {str(error)[:100] or 'nested too deep'}")
    if not isinstance(content, dict):
        container.fail(f"its description should be a JSON object, found {str(content)[:40]!r}")
    return content


def _content(container: Container, text: str) -> tuple[dict[str, Any], int]:
    """What the metadata hold, and the version of the format."""
    content = _object(container, text)
    version = content.pop("version", None)
    if type(version) is not int or version < 1:
        container.fail(f"its description should be a JSON object with a version, found {text[:40]!r}")
    if not OLDEST_VERSION <= version <= VERSION:
        remedy = "read it with a newer kaldi_quant" if version > VERSION else "write it again with this kaldi_quant"
        container.fail(
            f"it has version {version} of the format, and {OLDEST_VERSION} to {VERSION} are read here: {remedy}"
        )
    return content, version
