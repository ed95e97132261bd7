"""Checkpoints: with everything that made them, of the ancestor's programs, and of other networks."""

from pathlib import Path

import pytest
import torch

from kaldi_quant.errors import FormatError, KaldiQuantError, ModelError
from kaldi_quant.frontends.keywords.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from kaldi_quant.frontends.keywords.config import BaseCnn
from kaldi_quant.frontends.keywords.networks.m5 import M5

SHAPE = BaseCnn(n_channel=4)


def network() -> M5:
    torch.manual_seed(0)
    return M5(n_output=3, n_channel=4).eval()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = Checkpoint(network(), ("a", "b", "c"), 8000, {"train": {"lr": 0.1}})
    write_checkpoint(tmp_path / "m.pth", written)
    found = read_checkpoint(tmp_path / "m.pth", SHAPE)
    assert (found.classes, found.sample_rate, found.made) == (written.classes, 8000, written.made)
    waves = torch.randn(2, 1, 8000)
    assert torch.equal(found.network(waves), written.network(waves))


@pytest.mark.parametrize("as_blocks", [False, True])
def test_parameters_alone_are_read(as_blocks: bool, tmp_path: Path) -> None:
    state = network().state_dict()
    if as_blocks:
        for block in "1234":
            names = {f"conv{block}.": f"block{block}.block.0.", f"bn{block}.": f"block{block}.block.1."}
            for old, new in names.items():
                state = {name.replace(old, new): value for name, value in state.items()}
    torch.save(state, tmp_path / "m.pth")
    found = read_checkpoint(tmp_path / "m.pth", SHAPE)
    assert found.classes == () and torch.equal(found.network.conv3.weight, network().conv3.weight)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (lambda: M5(n_output=3, n_channel=8).state_dict(), "its conv1.weight has the shape (8, 1, 80), expected (4, 1"),
        (lambda: torch.nn.Linear(2, 3).state_dict(), "is a checkpoint of another network: it has no conv1.weight"),
        (lambda: {**network().state_dict(), "gru.weight": torch.zeros(1)}, "M5 has no gru.weight"),
        (lambda: {"network": "nsnet2", "state_dict": {}}, "of the network 'nsnet2', expected 'm5'"),
        (lambda: {**network().state_dict(), "bn1.bias": torch.full((4,), torch.nan)}, "bn1.bias has values that are"),
        (lambda: [1, 2], "expected parameters by name, found list"),
        (lambda: {"conv1.weight": "text"}, "expected the parameters of a network by name, found other things"),
        (network, "it is no checkpoint that torch can read without executing it"),
    ],
)
def test_other_content_is_one_sentence(content: object, sentence: str, tmp_path: Path) -> None:
    torch.save(content(), tmp_path / "m.pth")  # type: ignore[operator]
    with pytest.raises(KaldiQuantError) as caught:
        read_checkpoint(tmp_path / "m.pth", SHAPE)
    assert sentence in str(caught.value) and isinstance(caught.value, FormatError | ModelError)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 broken", b"text"])
def test_missing_and_broken_files_are_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FormatError, match=r"m\.pth: (there is no such file|it is no checkpoint)"):
        read_checkpoint(path, SHAPE)
