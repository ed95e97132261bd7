"""Fixtures that every test may use."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def example() -> Path:
    """The embedded example: a small Kaldi experiment."""
    return ROOT / "egs" / "alphadigits"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The larger reference data, which lies beside a developer's checkout and not in the project."""
    folder = ROOT.parent / "shared"
    if not (folder / "parity").is_dir():
        pytest.skip(f"the reference data in {folder} is not on this machine")
    return folder
