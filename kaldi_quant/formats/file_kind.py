"""Whether a file is an integer model, told by its first bytes."""

import os
from pathlib import Path


def is_artefact(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a safetensors file: eight bytes of a length, then the brace of its header."""
    try:
        with Path(path).open("rb") as stream:
            return stream.read(9)[8:] == b"{"
    except OSError:
        return False
