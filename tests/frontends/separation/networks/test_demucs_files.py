"""Files as demucs writes them give parameters and sizes, nothing in them is executed, and others are refused."""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kaldi_quant.errors import FormatError, ModelError
from kaldi_quant.frontends.separation.networks.known import NETWORKS, STEMS
from kaldi_quant.frontends.separation.networks.pretrained import load_pretrained, pretrained_sizes
from tests.frontends.separation.networks.test_music import TINY, tiny

torch.set_num_threads(1)

#: What demucs calls the sizes of the tiny networks.
CALLED = {
    "htdemucs": {**TINY["htdemucs"], "segment": Fraction(39, 5), "samplerate": 44100, "t_layer_scale": True},
    "conv-tasnet-music": {"N": 16, "L": 8, "B": 8, "H": 12, "X": 2, "R": 1, "norm_type": "gLN", "causal": False},
}
CLASSES = {"htdemucs": ("demucs.htdemucs", "HTDemucs"), "conv-tasnet-music": ("demucs.tasnet", "ConvTasNet")}


@pytest.fixture
def demucs(monkeypatch: pytest.MonkeyPatch) -> dict[str, type]:
    """Classes that are named as those of demucs."""
    monkeypatch.setitem(sys.modules, "demucs", ModuleType("demucs"))
    found = {}
    for module, name in [*CLASSES.values(), ("demucs.hdemucs", "HDemucs")]:
        monkeypatch.setitem(sys.modules, module, ModuleType(module))
        found[name] = type(name, (), {"__module__": module})
        setattr(sys.modules[module], name, found[name])
    return found


def state_of(name: str, network: nn.Module) -> dict[str, Tensor]:
    """A network's parameters as demucs has them."""
    state = network.state_dict()
    if name == "htdemucs":
        return {key: value.half() for key, value in state.items()}
    found = {}
    for key, value in state.items():
        key = key.replace("encoder.", "encoder.conv1d_U.").replace("decoder.", "decoder.basis_signals.")
        if ".net.2." in key or "network.0." in key:
            key, value = key.replace("weight", "gamma").replace("bias", "beta"), value.reshape(1, -1, 1)
        found[key] = value
    return found


def package(name: str, demucs: dict[str, type], network: nn.Module, **more: Any) -> dict[str, Any]:
    options = {**CALLED[name], **more}
    sources = options.pop("sources", list(STEMS))
    given = {"args": (), "kwargs": {"sources": sources, **options}}
    if name != "htdemucs":
        given = {"args": (sources,), "kwargs": options}
    klass = demucs[CLASSES[name][1]]
    return {"klass": klass, **given, "state": state_of(name, network), "training_args": argparse.Namespace(lr=3e-4)}


@torch.no_grad()
@pytest.mark.parametrize("name", CLASSES)
def test_files_of_demucs_give_the_network(name: str, demucs: dict[str, type], tmp_path: Path) -> None:
    network, path, mixture = tiny(name), tmp_path / "network.th", torch.randn(1, 2, 300)
    torch.save(package(name, demucs, network), path)
    sizes = pretrained_sizes(name, path)
    assert {key: sizes[key] for key in TINY[name]} == TINY[name]
    found = NETWORKS[name].build(**sizes).eval()
    load_pretrained(name, found, path)
    expected = network(mixture)
    assert (found(mixture) - expected).abs().max() < 0.01 * expected.abs().max()
    torch.save({"state_dict": network.state_dict()}, path)
    alone = pretrained_sizes(name, path)
    # Heads are not seen in parameters.
    assert {**alone, "t_heads": sizes.get("t_heads")} == {**sizes, "t_heads": sizes.get("t_heads")}
    load_pretrained(name, found, path)
    assert torch.equal(found(mixture), expected)


def test_parameters_of_fqss_give_conv_tasnet(tmp_path: Path) -> None:
    network, path = tiny("conv-tasnet-music"), tmp_path / "model.pth"
    names = (("encoder.", "encoder.0."), ("network.0.", "network.0.norm."))
    state = network.state_dict()
    for ours, theirs in names:
        state = {key.replace(ours, theirs): value for key, value in state.items()}
    torch.save({"state_dict": state}, path)
    found = NETWORKS["conv-tasnet-music"].build(**pretrained_sizes("conv-tasnet-music", path))
    load_pretrained("conv-tasnet-music", found, path)
    assert all(torch.equal(value, found.state_dict()[key]) for key, value in network.state_dict().items())


def test_networks_of_one_size_need_none(tmp_path: Path) -> None:
    assert pretrained_sizes("conv-tasnet", tmp_path / "any") == {}


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("htdemucs", {"sources": ["vocals", "other"]}, r"separates \['vocals', 'other'\], expected drums, bass, other"),
        ("htdemucs", {"sources": 4}, "separates 4, expected drums"),
        ("htdemucs", {"t_emb": "cape"}, "its t_emb is 'cape', expected 'sin'"),
        ("htdemucs", {"t_heads": 4}, "its t_heads is 4, expected 2"),
        ("htdemucs", {"samplerate": 16000}, "its samplerate is 16000, expected 44100"),
        ("htdemucs", {"multi_freqs": [0.5]}, r"its multi_freqs is \[0.5\], expected None"),
        ("conv-tasnet-music", {"causal": True}, "its causal is True, expected False"),
        ("conv-tasnet-music", {"norm_type": "BN"}, "its norm_type is 'BN', expected 'gLN'"),
    ],
)
def test_networks_that_parameters_do_not_tell_from_ours(
    name: str, more: dict[str, Any], said: str, demucs: dict[str, type], tmp_path: Path
) -> None:
    network, path = tiny(name), tmp_path / "network.th"
    torch.save(package(name, demucs, network, **more), path)
    with pytest.raises(ModelError, match=said):
        load_pretrained(name, network, path)


def test_files_of_other_networks(demucs: dict[str, type], tmp_path: Path) -> None:
    network, path = tiny("htdemucs"), tmp_path / "network.th"
    content = package("htdemucs", demucs, network)
    torch.save({**content, "klass": demucs["HDemucs"]}, path)
    with pytest.raises(FormatError, match=r"it names demucs\.hdemucs\.HDemucs, which is code"):
        load_pretrained("htdemucs", network, path)
    torch.save(content, path)
    with pytest.raises(ModelError, match="of htdemucs, expected conv-tasnet-music"):
        pretrained_sizes("conv-tasnet-music", path)
    with pytest.raises(ModelError, match="its encoder"):
        load_pretrained("htdemucs", tiny("htdemucs", channels=8), path)
    torch.save({**content, "state": {"__quantized": True, "quantized": []}}, path)
    with pytest.raises(ModelError, match=r"stored as integers \(diffq\)"):
        load_pretrained("htdemucs", network, path)
    for state in ({}, {"encoder.0.conv.weight": torch.zeros(3)}):
        torch.save({**content, "state": state}, path)
        with pytest.raises(ModelError, match="its parameters are not those of htdemucs"):
            pretrained_sizes("htdemucs", path)
    torch.save({"klass": demucs["HTDemucs"], "args": 3}, path)
    with pytest.raises(FormatError, match="it is no checkpoint as demucs writes it"):
        load_pretrained("htdemucs", network, path)


class Code:
    """What a file can call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("executed", "w")


def test_nothing_is_executed(demucs: dict[str, type], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    network, path = tiny("htdemucs"), tmp_path / "network.th"
    content = package("htdemucs", demucs, network)
    for hostile in ({**content, "training_args": Code()}, {**content, "state": Code()}):
        torch.save(hostile, path)
        for read in (lambda: load_pretrained("htdemucs", network, path), lambda: pretrained_sizes("htdemucs", path)):
            with pytest.raises(FormatError, match="which is code that is not executed; if you trust it, save its"):
                read()
    assert not (tmp_path / "executed").exists()


def test_files_that_are_broken(demucs: dict[str, type], tmp_path: Path) -> None:
    network, path = tiny("htdemucs"), tmp_path / "network.th"
    with pytest.raises(FormatError, match="there is no such file"):
        pretrained_sizes("htdemucs", path)
    torch.save(package("htdemucs", demucs, network), path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(FormatError, match="no checkpoint that torch can read"):
        load_pretrained("htdemucs", network, path)
