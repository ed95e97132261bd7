"""Fixtures that every test may use."""

import importlib.util
from pathlib import Path

import pytest

from kaldi_quant.kaldi.model import Model, read_model
from tests.vosk_layout import vosk_layout

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
def vosk_model(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's online model as a Vosk folder, which tests leave as it is."""
    return vosk_layout(tmp_path_factory.mktemp("vosk") / "model", example)


@pytest.fixture(scope="session")
def torchao() -> None:
    """For tests of PyTorch's quantization of exported graphs."""
    needs("torchao")


@pytest.fixture(scope="session")
def vosk() -> None:
    """For tests of what Vosk makes of the models that this project writes."""
    needs("vosk")


def needs(package: str) -> None:
    """Skips a test without an optional package: an extra of setup.py of the same name."""
    # Not imported here: what Vosk's library brings clashes with the libraries that other tests have loaded.
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: KALDI_QUANT_EXTRAS={package} bash tests/run.sh")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The larger reference data, which lies beside a developer's checkout and not in the project."""
    folder = ROOT.parent / "shared"
    if not (folder / "parity").is_dir():
        pytest.skip(f"the reference data in {folder} is not on this machine")
    return folder
