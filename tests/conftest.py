"""Fixtures that every test may use."""

from pathlib import Path

import pytest

from kaldi_quant.kaldi.model import Model, read_model

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def example() -> Path:
    """The embedded example: a small Kaldi experiment."""
    return ROOT / "egs" / "alphadigits"


@pytest.fixture(scope="module")
def model(example: Path) -> Model:
    """The example's TDNN."""
    return read_model(example / "exp/chain/tdnn1a_sp/final.mdl")


@pytest.fixture(scope="module")
def tdnnf(example: Path) -> Model:
    """The example's factorised TDNN."""
    return read_model(example / "exp/chain/tdnnf1b_sp/final.mdl")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The larger reference data, which lies beside a developer's checkout and not in the project."""
    folder = ROOT.parent / "shared"
    if not (folder / "parity").is_dir():
        pytest.skip(f"the reference data in {folder} is not on this machine")
    return folder
