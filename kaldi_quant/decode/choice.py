"""Which back end decodes and scores."""

import os
from pathlib import Path

from kaldi_quant.decode.backend import Backend
from kaldi_quant.decode.embedded import EmbeddedBackend
from kaldi_quant.decode.kaldi_programs import KaldiBackend, missing_programs
from kaldi_quant.errors import MissingDependencyError


def choose_backend(name: str) -> Backend:
    """The back end of a name; ``auto`` is Kaldi where KALDI_ROOT is set and has its programs, else the embedded one.

    Raises:
        MissingDependencyError: what the back end needs is not there.
    """
    if name == "embedded" or (name == "auto" and missing_programs(os.environ.get("KALDI_ROOT"))):
        return EmbeddedBackend()
    root = os.environ.get("KALDI_ROOT")
    if not root:
        raise MissingDependencyError("--backend kaldi: KALDI_ROOT is not set; set it to a compiled Kaldi")
    missing = missing_programs(root)
    if missing:
        raise MissingDependencyError(f"--backend kaldi: KALDI_ROOT ({root}) lacks {', '.join(missing)}")
    return KaldiBackend(Path(root))
