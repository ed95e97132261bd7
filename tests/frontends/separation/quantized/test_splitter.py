"""Signals in parts: what they are, that they go through exactly, and that nothing divides by zero."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import kaldi_quant as kq
from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.quantized.splitter import Splitter
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig

SIZES = [(1, 8), (1, 16), (2, 2), (2, 8), (2, 12), (3, 5), (3, 8), (4, 6), (12, 2)]


def signals(level: float, seed: int = 0) -> Tensor:
    x = (2 * torch.rand(3, 2, 500, generator=torch.Generator().manual_seed(seed)) - 1) * level
    x[0, 0, :3] = torch.tensor([level, -level, 0.0])
    return x


@pytest.mark.parametrize(("parts", "bits"), SIZES)
@pytest.mark.parametrize("digits", ["nearest", "floor"])
def test_parts_make_the_signal_again(parts: int, bits: int, digits: str) -> None:
    splitter = Splitter(parts, bits, digits)  # type: ignore[arg-type]
    x = signals(splitter.level)
    found = splitter(x)
    assert found.shape == (3, 2 * parts, 500) and found.dtype == torch.float32
    integers = found.double() * 2 ** (bits - 1)
    assert torch.equal(integers, integers.round())
    assert -(2 ** (bits - 1)) <= float(integers.min()) and float(integers.max()) <= 2 ** (bits - 1) - 1
    steps = (splitter.joined(found.double()) - x.double()).abs().max() * 2 ** (parts * bits - 1)
    assert float(steps) <= (0.5 if digits == "nearest" else 1.0)


def test_two_parts_of_eight_bits_as_they_were_published() -> None:
    """Rounded down, the rest stretched to the whole range; the inverse is that of FQSS."""
    x = signals(1.0).double()
    step = 1 / 128
    high = (x / step).floor().clamp(-128, 127) * step
    rest = 2 * (x - high) / step - 1
    low = (rest / step).floor().clamp(-128, 127) * step
    found = Splitter(2, 8, "floor")(x.float()).double()
    assert torch.equal(found, torch.cat([high, low], 1))
    assert float((high + (low + 1) * step / 2 - x).abs().max()) <= 2**-15


def test_silence_is_nothing_in_all_balanced_parts() -> None:
    silence = torch.zeros(2, 1, 9)
    assert Splitter(3, 8)(silence).count_nonzero() == 0
    assert torch.equal(Splitter(3, 8, "floor")(silence)[0, :, 0], torch.tensor([0.0, -1.0, -1.0]))
    assert Splitter(2, 8)(-silence + 1e-7).count_nonzero() == 0


def test_beyond_its_level_a_signal_is_clipped() -> None:
    splitter = Splitter(2, 8)
    ends = splitter(torch.tensor([[[3.0, -3.0]]]))[0] * 128
    assert ends.tolist() == [[127, -128], [127, -128]]


class Read(nn.Module):
    """Gives what it reads, by a layer that can tell all of it."""

    def __init__(self, splitter: Splitter) -> None:
        super().__init__()
        self.splitter, self.layer = splitter, nn.Conv1d(splitter.parts, splitter.parts, 1, bias=False)
        nn.init.dirac_(self.layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.splitter(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("parts", "bits"), [(2, 8), (3, 4), (1, 16)])
def test_parts_are_exact_in_integers_and_in_onnxruntime(parts: int, bits: int, tmp_path: Path) -> None:
    network = Read(Splitter(parts, bits)).eval()
    x = signals(network.splitter.level)[:, :1]
    # Softer by far than what comes later: grids do not depend on it.
    config = PtqConfig(LayerConfig(method="minmax"), bias_correction=False)
    quantized = kq.quantize(network, config, calibration=[x * 0.01])
    expected = network.splitter(x)
    seen = {}
    model = quantized.network.model()
    for name, tap in list(model.taps.items()):
        model.taps[name] = lambda value, name=name, tap=tap: seen.setdefault(name, tap(value))
    found = model(x)
    assert torch.equal(torch.cat(list(seen.values()), 1), expected)
    # One is 127 steps of its weight, which is exact to the last bits of float32.
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    kq.export(quantized, tmp_path / "parts.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "parts.onnx", providers=["CPUExecutionProvider"])
    (by_onnx,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_array_equal(by_onnx, found.detach().numpy())


@pytest.mark.parametrize(
    ("parts", "bits", "digits", "message"),
    [
        (0, 8, "nearest", "a signal in 0 parts of 8 bits"),
        (4, 8, "nearest", "at most 24 bits together"),
        (2, 1, "nearest", "a width of 1 bits is not possible"),
        (2, 8, "ceil", "digits 'ceil' is not one of nearest, floor"),
    ],
)
def test_parts_that_there_are_not(parts: int, bits: int, digits: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Splitter(parts, bits, digits)  # type: ignore[arg-type]
