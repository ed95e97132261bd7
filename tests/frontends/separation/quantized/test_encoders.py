"""Networks that read mixtures in parts: the same outputs, each mixture at its own level, and files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import kaldi_quant as kq
from kaldi_quant.errors import DataError, ModelError, UsageError
from kaldi_quant.frontends.separation.quantized.encoders import PeakNormalized, SplitEncoder, widened, with_splitter
from kaldi_quant.frontends.separation.quantized.splitter import Splitter
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
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


@pytest.mark.parametrize("digits", ["nearest", "floor"])
@pytest.mark.parametrize(("parts", "bits", "bias"), [(1, 16, False), (2, 8, True), (3, 8, False), (3, 5, True)])
def test_the_widened_encoder_computes_what_the_float_one_does(digits: str, parts: int, bits: int, bias: bool) -> None:
    network = made(Toy, bias=bias)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    xs = mixtures(2)
    split = with_splitter(network, KIND, xs, parts, bits, digits=digits)  # type: ignore[arg-type]
    layer = split.network.encoder.layer
    assert isinstance(split.network.encoder, SplitEncoder) and layer.in_channels == parts
    assert torch.equal(layer.weight[:, :1], before["encoder.weight"])
    # The second mixture is a hundredth of the first, and has as many digits.
    for one in (one[None] for x in xs for one in x):
        wanted = PeakNormalized(network, split.level)(one)
        assert lost_db(split(one), wanted) < (-45 if parts * bits == 15 else -55)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_mixture_does_not_depend_on_its_minibatch() -> None:
    split = with_splitter(made(), KIND, mixtures(2))
    x = mixtures(1, seed=5)[0]
    torch.testing.assert_close(split(x)[1:], split(x[1:]))
    # Levels come out as they went in.
    torch.testing.assert_close(split(4 * x), 4 * split(x))


def test_silence_stays_silence() -> None:
    split = with_splitter(made(Toy, channels=2), STEREO, mixtures(2, 2))
    silence = torch.zeros(1, 2, 400)
    assert torch.isfinite(split(silence)).all() and split(silence).count_nonzero() == 0
    quantized = kq.quantize(split, "w8a8", calibration=mixtures(2, 2))
    assert quantized.network.model()(silence).count_nonzero() == 0


def test_stereo_in_two_parts_and_in_files(tmp_path: Path) -> None:
    network = made(Toy, channels=2)
    split = with_splitter(network, STEREO, mixtures(2, 2))
    layer = split.network.encoder.layer
    assert layer.in_channels == 4
    assert torch.equal(layer.weight[:, 2:], layer.weight[:, :2] / 256)
    quantized = kq.quantize(split, "w8a8", calibration=mixtures(3, 2))
    assert not quantized.float_layers
    x = mixtures(1, 2, seed=7)[0]
    assert lost_db(quantized.network.model()(x), network(x)) < -25
    check_files(quantized, x, tmp_path)


def test_sixteen_bits_in_one_part_lose_less_than_eight(tmp_path: Path) -> None:
    network, xs, x = made(), mixtures(3), mixtures(1, seed=7)[0][1:]
    wanted = PeakNormalized(network)(x)
    # Nothing else loses anything that counts.
    fine = {"float_reason": "", "bits": 12}
    config = PtqConfig(LayerConfig(method="minmax", float_reason="not in question"), {"network.encoder.layer": fine})
    lost = {}
    for bits in (8, 16):
        quantized = kq.quantize(with_splitter(network, KIND, xs, 1, bits), config, calibration=xs)
        lost[bits] = lost_db(quantized.network.model()(x), wanted)
    assert lost[16] < -60 and lost[16] < lost[8] - 20
    # Soft mixtures are next to nothing on the grid of loud ones.
    plain = kq.quantize(network, "w8a8", calibration=xs)
    assert lost[8] < lost_db(plain.network.model()(x), network(x)) - 20
    quantized = kq.quantize(with_splitter(network, KIND, xs, 1, 16), "w8a8", calibration=xs)
    check_files(quantized, x, tmp_path)


def test_two_branches_of_which_one_reads_no_signal(tmp_path: Path) -> None:
    network = made(Spectral)
    xs = mixtures(2, 2)
    split = with_splitter(network, BRANCHES, xs)
    spectral, timed = split.network.encoder[0][0], split.network.tencoder
    assert timed.threshold == 1 and spectral.threshold in (8, 16)
    assert torch.equal(spectral.layer.weight[:, :2], network.encoder[0][0].weight * spectral.threshold)
    assert lost_db(split(xs[0]), PeakNormalized(network, split.level)(xs[0])) < -55
    quantized = kq.quantize(split, "w8a8", calibration=xs)
    assert not quantized.float_layers
    check_files(quantized, xs[1], tmp_path)


def test_extra_channels_that_are_drawn() -> None:
    layer = nn.Conv1d(1, 200, 20, bias=False)
    found = widened(layer, Splitter(3), extra="drawn")
    assert torch.equal(found.weight[:, :1], layer.weight)
    spread = float(layer.weight.std())
    for place in (1, 2):
        assert float(found.weight[:, place].std()) == pytest.approx(spread**place, rel=0.1)
    assert not torch.equal(found.weight[:, 1:], widened(layer, Splitter(3), extra="drawn", seed=1).weight[:, 1:])


def test_gradients_reach_the_weights_of_lower_parts() -> None:
    network, xs = made(), mixtures(3)
    quantized = kq.quantize(with_splitter(network, KIND, xs), "w8a8", calibration=xs)
    batches = [(x, network(x).detach() * 0.5) for x in xs]
    trained = kq.qat(quantized, batches, loss=nn.functional.mse_loss, epochs=2, lr_initial=1e-2, weights="values")
    before, after = (x.network.layers["network.encoder.layer"].weight.integers for x in (quantized, trained))
    assert (after != before).unflatten(1, (2, -1)).any(2).any(0).all()
    assert trained.network.activations.keys() == quantized.network.activations.keys()


@pytest.mark.parametrize("learned", [False, True])
def test_companded_input_of_few_bits(learned: bool, tmp_path: Path) -> None:
    network, xs = made(), mixtures(3)
    split = with_splitter(network, KIND, xs, bits=8, companding="mu-law", learned=learned)
    plain = with_splitter(network, KIND, xs, 1, 8)
    soft = mixtures(1, seed=7)[0][:1]
    soft[..., 0] = 5.0
    # Beside one loud sample all others are soft.
    assert lost_db(split(soft)[..., 20:], network(soft)[..., 20:]) < lost_db(
        plain(soft)[..., 20:], network(soft)[..., 20:]
    )
    split(xs[0]).square().sum().backward()
    law = split.network.encoder.splitter.law
    assert (law.log_mu.grad is not None) == learned
    quantized = kq.quantize(split, "w8a8", calibration=xs)
    check_files(quantized, xs[0], tmp_path, exact=False)


def test_what_cannot_be_split() -> None:
    network = made()
    with pytest.raises(ModelError, match=r"the network has no module encoder\.0\.0: it is not of the kind"):
        with_splitter(network, BRANCHES, mixtures(1))
    with pytest.raises(DataError, match="no mixture to calibrate on"):
        with_splitter(network, KIND, [])
    with pytest.raises(DataError, match="all mixtures to calibrate on are silent"):
        with_splitter(network, KIND, [torch.zeros(1, 1, 99)])
    with pytest.raises(UsageError, match="extra 'zeros' is not one of scaled, drawn"):
        with_splitter(network, KIND, mixtures(1), extra="zeros")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="companding 'a-law' is not one of"):
        with_splitter(network, KIND, mixtures(1), companding="a-law")
    network.encoder = nn.Linear(3, 3)
    with pytest.raises(ModelError, match="the encoder encoder is a Linear: expected a Conv1d or Conv2d"):
        with_splitter(network, KIND, mixtures(1))
