"""Schemes on small networks: what is in integers, how wide, that it learns, and files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kaldi_quant.api.quantization import Quantized
from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.networks.known import Kind
from kaldi_quant.frontends.separation.schemes.quantization import quantize_by
from kaldi_quant.frontends.separation.schemes.scheme import SCHEMES
from kaldi_quant.quant.integer_linear import IntegerLinear
from tests.frontends.separation.quantized.toys import (
    BRANCHES,
    KIND,
    STEREO,
    Spectral,
    Toy,
    check_files,
    lost_db,
    made,
    mixtures,
)

#: For each scheme the bits of weights within the network, and at its ends.
WIDTHS = {"vanilla-qat": (8, 8), "fqss": (8, 8), "ours-w8a8": (8, 8), "ours-w4a8": (4, 8)}


def minibatches(network: nn.Module, channels: int = 1) -> list[tuple[Tensor, Tensor]]:
    """Mixtures with sources that the network does not quite make."""
    return [(x, (network(x) * 0.9 + 0.02 * x.unsqueeze(1)).detach()) for x in mixtures(3, channels, seed=2)]


def made_by(name: str, network: nn.Module, kind: Kind = KIND, epochs: int = 2, **options: object) -> Quantized:
    channels = kind.channels
    return quantize_by(
        name,
        kind,
        network,
        mixtures(3, channels),
        minibatches(network, channels),
        epochs=epochs,
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("name", WIDTHS)
def test_schemes_end_in_integers_of_their_widths(name: str, tmp_path: Path) -> None:
    network = made()
    found = made_by(name, network, folder=tmp_path / "training")
    assert not found.float_layers and not found.float_matmuls
    inner, ends = WIDTHS[name]
    for layer, integers in found.network.layers.items():
        assert isinstance(integers, IntegerLinear), layer
        assert integers.weight.spec.bits == (inner if layer.endswith("masks") else ends), layer
        assert integers.weight.spec.per_channel
    bits = {grid.spec.bits for grid in found.network.activations.values()}
    assert bits == ({8, 16} if name.startswith("ours") else {8})
    declared = [node.declared for node in found.network.host.nodes.values() if node.declared]
    wanted = {"vanilla-qat": 1, "fqss": 5}.get(name, 2)
    assert len(declared) == wanted
    assert ("snapping" in found.notes) == (name == "fqss")
    assert (tmp_path / "training").is_dir()
    check_files(found, mixtures(1, seed=6)[0], tmp_path)


@pytest.mark.parametrize("name", WIDTHS)
def test_training_learns(name: str) -> None:
    network = made()
    # The plain scheme has one grid for mixtures of all levels.
    loud = [(x[:1], sources[:1]) for x, sources in minibatches(network)]
    scheme = SCHEMES[name]
    loss, taught = scheme.loss_of(KIND), scheme.teaching(KIND) is not None
    # Weights in float learn at other rates than their places between integers.
    rate = 3e-4 if scheme.training.weights == "values" else 3e-3
    scheme = replace(scheme, training=replace(scheme.training, lr_initial=rate, lr_final=rate / 3))
    before, after = (
        quantize_by(each, KIND, network, [x for x, _ in loud], loud, epochs=8) for each in (scheme.untrained(), scheme)
    )

    def lost(quantized: Quantized) -> float:
        targets = [(sources, network(x).detach()) if taught else sources for x, sources in loud]
        outputs = [quantized.network.model()(x).detach() for x, _ in loud]
        return sum(float(loss(*each)) for each in zip(outputs, targets, strict=True))

    assert lost(after) < lost(before) - 0.3
    assert "snapping" not in before.notes


@pytest.mark.parametrize("name", ["fqss", "ours-w4a8"])
def test_music_in_stereo_and_two_branches(name: str, tmp_path: Path) -> None:
    network = made(Toy, channels=2, linear=True)
    found = made_by(name, network, STEREO, epochs=1)
    assert not found.float_layers
    check_files(found, mixtures(1, 2, seed=6)[0], tmp_path)
    branches = made_by(name, made(Spectral), BRANCHES, epochs=0)
    assert not branches.float_layers
    check_files(branches, mixtures(1, 2, seed=6)[0], tmp_path)


def test_no_passes_are_no_training() -> None:
    network = made()
    lost = {}
    x = mixtures(1, seed=3)[0]
    for name in WIDTHS:
        found = quantize_by(name, KIND, network, mixtures(3))
        lost[name] = lost_db(found.network.model()(x), network(x))
    assert lost["ours-w8a8"] < min(lost["vanilla-qat"] - 3, lost["ours-w4a8"])


def test_a_loss_of_ones_own_and_unknown_schemes() -> None:
    network, asked = made(), []

    def loss(output: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
        asked.append(target)
        return (output - target[0]).square().mean()

    made_by("ours-w8a8", network, loss=loss, epochs=1, held_out=minibatches(network)[:1])
    assert all(len(target) == 2 for target in asked) and len(asked) > 3
    with pytest.raises(UsageError, match="the scheme of quantization 'qat' is not one of vanilla-qat, fqss"):
        made_by("qat", network)
    assert torch.equal(network.encoder.weight, made().encoder.weight)
