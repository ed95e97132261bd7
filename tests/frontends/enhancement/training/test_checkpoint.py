"""Checkpoints of float networks: ours and MBQAT's; others are refused in a sentence."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from kaldi_quant.errors import FormatError, KaldiQuantError, ModelError
from kaldi_quant.frontends.enhancement.networks.crn import CRN, crn_100k
from kaldi_quant.frontends.enhancement.networks.tcn import TCN
from kaldi_quant.frontends.enhancement.training.checkpoint import read_network, write_network


def crn() -> CRN:
    torch.manual_seed(0)
    network = crn_100k().eval()
    for norm in [*network.encoder_norm, *network.decoder_norm]:
        nn.init.normal_(norm.running_mean)
    return network


def as_mbqat(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """CRN's parameters by MBQAT's names."""
    found = {}
    for name, value in state.items():
        part, *rest = name.split(".")
        if part in ("encoder", "encoder_norm"):
            name = f"{'bn' if 'norm' in part else 'conv'}{int(rest[0]) + 1}.{rest[1]}"
        elif part in ("decoder", "decoder_norm"):
            name = f"{'bn' if 'norm' in part else 'conv'}{5 - int(rest[0])}_t.{rest[1]}"
        found[name] = value
    return found


def tcn_as_mbqat(network: TCN) -> dict[str, Tensor]:
    """TCN's parameters by MBQAT's names, weights normalized and each convolution twice."""
    found: dict[str, Tensor] = {}
    for place, block in enumerate(network.blocks):
        for number, layer in ((1, block.conv1), (2, block.conv2)):
            norm = layer.weight.detach().flatten(1).norm(dim=1).view(-1, 1, 1)
            parts = {"bias": layer.bias, "weight_g": norm, "weight_v": 3 * layer.weight.detach()}
            for where in (f"conv{number}", f"net.{0 if number == 1 else 4}"):
                found |= {f"tcn.network.{place}.{where}.{name}": value for name, value in parts.items()}
        found |= {f"tcn.network.{place}.downsample.{k}": v for k, v in block.around.state_dict().items()}
    return found | {f"out.{name}": value for name, value in network.linear.state_dict().items()}


def mbqat_checkpoint(state: dict[str, Tensor]) -> dict[str, Any]:
    return {"start_epoch": 3, "train_loss": 0.1, "best_loss": 0.2, "state_dict": state, "optimizer": {"state": {}}}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    network = TCN(channels=[4, 4]).eval()
    write_network(tmp_path / "t.pt", "tcn-100k", network, {"training": {"loss": "x"}}, {"channels": [4, 4]})
    found = read_network(tmp_path / "t.pt")
    assert (found.name, found.made) == ("tcn-100k", {"training": {"loss": "x"}})
    inputs = torch.rand(1, 9, 161)
    assert torch.equal(found.network(inputs), network(inputs)) and not found.network.training


@pytest.mark.parametrize("prefix", ["", "module."])
def test_crn_of_mbqat_is_read(prefix: str, tmp_path: Path) -> None:
    network = crn()
    state = {f"{prefix}{name}": value for name, value in as_mbqat(network.state_dict()).items()}
    torch.save(mbqat_checkpoint(state), tmp_path / "best.ckpt")
    found = read_network(tmp_path / "best.ckpt")
    inputs = torch.rand(1, 9, 161)
    assert found.name == "crn-100k" and torch.equal(found.network(inputs), network(inputs))


def test_normalized_weights_of_mbqat_s_tcn_are_multiplied_out(tmp_path: Path) -> None:
    network = TCN().eval()
    torch.save(mbqat_checkpoint(tcn_as_mbqat(network)), tmp_path / "best.ckpt")
    found = read_network(tmp_path / "best.ckpt")
    inputs = torch.rand(1, 9, 161)
    assert found.name == "tcn-100k"
    assert torch.allclose(found.network(inputs), network(inputs), atol=1e-6)


def test_weight_normalization_is_torch_s() -> None:
    layer = parametrizations.weight_norm(nn.Conv1d(2, 3, 3))
    state = layer.state_dict()
    g, v = state["parametrizations.weight.original0"], state["parametrizations.weight.original1"]
    assert torch.allclose(torch._weight_norm(v, g * 2, 0), 2 * layer.weight)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (lambda: {"network": "m5", "state_dict": {}}, "is a checkpoint of the network 'm5', expected one of crn, crn-"),
        (lambda: {"network": "crn-100k", "state_dict": {}}, "it has no encoder.0.weight, "),
        (lambda: nn.Linear(2, 3).state_dict(), "its names are not those of MBQAT's CRN or TCN"),
        (
            lambda: mbqat_checkpoint({**as_mbqat(crn().state_dict()), "conv1.weight_quantizer.s": torch.ones(1)}),
            "holds a network with scales of quantization (conv1.weight_quantizer.s): expected a float network",
        ),
        (
            lambda: mbqat_checkpoint({**as_mbqat(crn().state_dict()), "conv1.bias": torch.ones(3)}),
            "its encoder.0.bias has the shape (3,), expected (2,)",
        ),
        (lambda: {"network": "tcn-100k", "sizes": {"depth": 1}, "state_dict": {}}, "cannot be built with the sizes"),
        (crn, "it is no checkpoint that torch can read without executing it"),
    ],
)
def test_others_are_one_sentence(content: object, sentence: str, tmp_path: Path) -> None:
    torch.save(content(), tmp_path / "n.pt")  # type: ignore[operator]
    with pytest.raises(KaldiQuantError) as caught:
        read_network(tmp_path / "n.pt")
    assert sentence in str(caught.value) and isinstance(caught.value, FormatError | ModelError)
