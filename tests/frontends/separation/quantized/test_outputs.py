"""Decoders whose signals are given in parts: what these make together, what is learned, and files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import kaldi_quant as kq
from kaldi_quant.errors import DataError, ModelError, UsageError
from kaldi_quant.frontends.separation.quantized.mirrored import mirrored, right_inverse, with_frames_beyond
from kaldi_quant.frontends.separation.quantized.outputs import ResidualOutput, with_outputs
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

INVERSE = {"own": True, "start": "inverse", "residual_bits": 16}
DECODERS = {
    "transposed": (nn.ConvTranspose1d(40, 2, 8, 4, padding=2), (3, 40, 9)),
    "odd": (nn.ConvTranspose1d(40, 1, 7, 3), (3, 40, 9)),
    "linear": (nn.Linear(24, 10), (3, 7, 24)),
    "planes": (nn.ConvTranspose2d(40, 2, (4, 2), (2, 1)), (3, 40, 5, 6)),
}


@pytest.mark.parametrize("name", DECODERS)
def test_the_mirrored_layer_can_be_the_way_back(name: str) -> None:
    torch.manual_seed(0)
    decoder, shape = DECODERS[name]
    first = with_frames_beyond(decoder)
    first.bias = None
    back = mirrored(first)
    inverse = right_inverse(decoder)
    assert inverse is not None and inverse.shape == back.weight.shape
    back.weight.data.copy_(inverse)
    signal = torch.randn_like(decoder(torch.zeros(shape)))
    torch.testing.assert_close(first(back(signal)), signal, rtol=0, atol=1e-4)
    assert back(decoder(torch.zeros(shape))).shape[:2] == torch.Size(shape)[:2]


def test_there_is_no_way_back_through_too_few_channels() -> None:
    assert right_inverse(nn.ConvTranspose1d(7, 1, 8, 4)) is None
    assert right_inverse(nn.Linear(7, 8)) is None


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize(("parts", "bits"), [(2, 6), (3, 4)])
def test_each_part_gives_what_the_one_before_lacks(name: str, parts: int, bits: int) -> None:
    """No layer is quantized: what is left is the rounding of the last part."""
    torch.manual_seed(0)
    decoder, shape = DECODERS[name]
    x = torch.randn(shape)
    wanted = decoder(x)
    reach = float(wanted.abs().amax()) * 1.25
    output = ResidualOutput(decoder, parts, bits, own=True, start="inverse", residual_bits=16, reach=reach)
    found = kq.quantize(
        output.eval(), PtqConfig(LayerConfig(float_reason="not in question")), calibration=[x]
    ).network.model()(x)
    step = 2 * reach / 2**bits
    error = float((found - wanted).abs().amax())
    first = float((ResidualOutput(decoder, 1, bits, reach=reach)(x) - wanted).abs().amax())
    assert 0.4 * step < first <= 0.51 * step
    # The rounding of what decoders read comes on top.
    assert error < 2.5 * first / 2 ** (bits * (parts - 1)) + 2e-3


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("own", [False, True])
def test_parts_count_by_powers_of_their_width(parts: int, own: bool) -> None:
    """In float: y = sum of y_i 2^(-bits i), with the published residuals."""
    torch.manual_seed(1)
    decoder = nn.ConvTranspose1d(6, 1, 8, 4, bias=False)
    output = ResidualOutput(decoder, parts, 8, own=own, residual_bits=16)
    x = torch.randn(2, 6, 5)
    wanted = part = decoder(x)
    rest = x
    for place in range(1, parts):
        rest = rest - output.encoders[place - 1](part)
        part = nn.functional.conv_transpose1d(rest, decoder.weight, None, 4)
        wanted = wanted + part / 256**place
    torch.testing.assert_close(output(x), wanted)
    assert len(output.decoders) == (parts if own else 1)


@pytest.mark.parametrize(
    ("linear", "options"),
    [(False, {}), (True, {}), (False, INVERSE), (True, {"parts": 3, **INVERSE}), (True, {"parts": 1})],
)
def test_whole_networks_in_integers_and_in_files(linear: bool, options: dict, tmp_path: Path) -> None:
    network, xs = made(Toy, channels=2, linear=linear), mixtures(3, 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    changed = with_outputs(network, STEREO, xs, **options)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    quantized = kq.quantize(changed, "w8a8", calibration=xs)
    assert not quantized.float_layers
    parts = options.get("parts", 2)
    layers = [name for name in quantized.network.layers if name.startswith("decoder")]
    assert len(layers) == (2 * parts - 1 if options.get("own") else parts)
    assert all(grid.zero_point.dtype == torch.int32 for grid in quantized.network.activations.values())
    x = xs[0]
    plain = kq.quantize(network, "w8a8", calibration=xs)
    assert lost_db(quantized.network.model()(x), network(x)) < lost_db(plain.network.model()(x), network(x)) + 3
    check_files(quantized, x, tmp_path)


def test_beginning_with_the_inverse_loses_no_more_than_the_decoder_alone() -> None:
    network, xs = made(), mixtures(3)
    x = mixtures(1, seed=9)[0]
    lost = {}
    for name, options in {"one": {"parts": 1}, "two": INVERSE, "wide": {"parts": 1, "bits": 16}}.items():
        quantized = kq.quantize(with_outputs(network, KIND, xs, **options), "w8a8", calibration=xs)
        lost[name] = lost_db(quantized.network.model()(x), network(x))
    assert lost["two"] < lost["one"] and abs(lost["two"] - lost["wide"]) < 0.5


def test_two_branches_and_a_bias(tmp_path: Path) -> None:
    network, xs = made(Spectral), mixtures(2, 2)
    changed = with_outputs(network, BRANCHES, xs)
    assert isinstance(changed.decoder, ResidualOutput) and isinstance(changed.tdecoder, ResidualOutput)
    assert changed.decoder.bias is not None
    quantized = kq.quantize(changed, "w8a8", calibration=xs)
    assert not quantized.float_layers
    check_files(quantized, xs[0], tmp_path)


@pytest.mark.parametrize("own", [False, True])
def test_gradients_reach_the_way_back(own: bool) -> None:
    network, xs = made(), mixtures(2)
    quantized = kq.quantize(with_outputs(network, KIND, xs, own=own), "w8a8", calibration=xs)
    batches = [(x, network(x).detach() * 0.5) for x in xs]
    trained = kq.qat(quantized, batches, loss=nn.functional.mse_loss, epochs=4, lr_initial=3e-2)
    for name in quantized.network.layers:
        before, after = (each.network.layers[name].dequantized_weight() for each in (quantized, trained))
        assert not torch.equal(before, after), name


def test_companded_output(tmp_path: Path) -> None:
    network, xs = made(), mixtures(2)
    changed = with_outputs(network, KIND, xs, 1, 8, companding="mu-law")
    x = xs[0]
    assert -50 < lost_db(changed(x), network(x)) < -25
    quantized = kq.quantize(changed, "w8a8", calibration=xs)
    check_files(quantized, x, tmp_path, exact=False)


def test_what_is_no_output() -> None:
    network, xs = made(), mixtures(1)
    with pytest.raises(UsageError, match="an output of 0 parts"):
        with_outputs(network, KIND, xs, 0)
    with pytest.raises(UsageError, match="needs decoders of its own for them"):
        with_outputs(network, KIND, xs, start="inverse")
    with pytest.raises(UsageError, match="start 'zeros' is not one of drawn, inverse"):
        with_outputs(network, KIND, xs, start="zeros")
    with pytest.raises(UsageError, match="companding is for signals in one part"):
        with_outputs(network, KIND, xs, companding="mu-law")
    with pytest.raises(DataError, match="no mixture to calibrate on"):
        with_outputs(network, KIND, **INVERSE)
    with pytest.raises(ModelError, match="the network has no module tdecoder"):
        with_outputs(network, BRANCHES, xs)
    network.decoder = nn.Conv1d(24, 1, 1)
    with pytest.raises(ModelError, match="the decoder decoder is a Conv1d: expected a Linear"):
        with_outputs(network, KIND, xs)
