"""Files of float networks: what is written is read, and what is something else is refused in a sentence."""

from pathlib import Path

import pytest
import torch

from kaldi_quant.errors import FormatError, ModelError, UsageError
from kaldi_quant.frontends.separation.networks.known import NETWORKS
from kaldi_quant.frontends.separation.training.checkpoint import read_network, write_network

NAME = "conv-tasnet-small"
SIZES = {"filters": 8, "bottleneck": 4, "hidden": 8, "blocks": 2, "repeats": 1}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "network.pth"
    write_network(found, NAME, NETWORKS[NAME].build(**SIZES), {"epochs": 3}, SIZES)
    return found


def test_what_is_written_is_read(path: Path) -> None:
    found = read_network(path)
    assert (found.name, found.sizes, found.made) == (NAME, SIZES, {"epochs": 3})
    assert not found.network.training
    content = torch.load(path, weights_only=True)
    assert all(torch.equal(value, content["state_dict"][name]) for name, value in found.network.state_dict().items())


def test_a_network_without_a_name_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the separation network 'tasnet' is not one of"):
        write_network(tmp_path / "n.pth", "tasnet", torch.nn.Linear(1, 1), {})
    assert not (tmp_path / "n.pth").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"network": "crn"}, "is a checkpoint of the network 'crn', expected one of conv-tasnet"),
        ({"sizes": {"depth": 1}}, "the network conv-tasnet-small cannot be built with the sizes"),
        ({"sizes": {}}, r"is a checkpoint of another network: .*its encoder\.weight has the shape \(8, 1, 32\)"),
    ],
)
def test_files_of_other_networks_are_refused(change: dict[str, object], sentence: str, path: Path) -> None:
    torch.save({**torch.load(path, weights_only=True), **change}, path)
    with pytest.raises(ModelError, match=sentence):
        read_network(path)


def test_parameters_alone_do_not_say_what_they_are_of(path: Path) -> None:
    torch.save(torch.load(path, weights_only=True)["state_dict"], path)
    with pytest.raises(ModelError, match="does not say of which network it is"):
        read_network(path)


def test_values_that_are_not_finite_are_refused(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["state_dict"]["encoder.weight"][0, 0, 0] = torch.nan
    torch.save(content, path)
    with pytest.raises(ModelError, match=r"encoder\.weight has values that are not finite"):
        read_network(path)


@pytest.mark.parametrize("content", [b"", b"no checkpoint"])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "n.pth").write_bytes(content)
    with pytest.raises(FormatError, match="it is no checkpoint that torch can read"):
        read_network(tmp_path / "n.pth")
    with pytest.raises(FormatError, match="there is no such file"):
        read_network(tmp_path / "none.pth")
