"""A part of a quantized network has the integers that it has in the whole."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

import kaldi_quant as kq
from kaldi_quant.errors import ModelError, UsageError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.torchnn.onnx.file import onnx_graph
from tests.torchnn.onnx_runs import assert_integer_products, assert_same, run

torch.set_num_threads(1)


class Scaled(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        size = x.std() + 1e-5
        return x / size, size


class Part(nn.Module):
    """Two branches with sums, products of values and functions in float."""

    def __init__(self, wide: int = 6) -> None:
        super().__init__()
        self.first, self.other = nn.Conv1d(3, wide, 3, padding=1), nn.Linear(3, wide)
        self.norm = nn.GroupNorm(1, wide)
        self.last = nn.Conv1d(wide, 3, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        one, other = self.first(x), self.other(y.transpose(1, 2)).transpose(1, 2)
        one = one + torch.matmul(one, torch.softmax(torch.matmul(other.mT, one), -1))
        return self.last(torch.tanh(self.norm(one + other)))


class Whole(Part):
    """The part between what is in float."""

    def __init__(self, wide: int = 6) -> None:
        super().__init__(wide)
        self.scaled = Scaled()

    def forward(self, x: Tensor) -> Tensor:
        inner, size = self.scaled(x)
        return super().forward(inner, torch.fft.irfft(torch.fft.rfft(x), x.shape[-1])) * size


def made(seed: int = 0) -> tuple[Whole, kq.Quantized]:
    torch.manual_seed(seed)
    network = Whole().eval()
    return network, kq.quantize(network, "w8a8", calibration=[torch.randn(1, 3, 20) for _ in range(3)])


def part_of(network: Whole) -> Part:
    part = Part()
    for name, _ in list(part.named_children()):
        setattr(part, name, getattr(network, name))
    return part.eval()


@torch.no_grad()
@pytest.mark.parametrize("saved", [False, True])
def test_a_part_has_the_integers_of_the_whole(saved: bool, tmp_path: Path) -> None:
    network, quantized = made()
    if saved:
        kq.save(quantized, tmp_path / "network.safetensors")
        quantized, network = kq.load(tmp_path / "network.safetensors"), made(1)[0]
    example = torch.randn(1, 3, 20)
    part = kq.part_of(quantized, part_of(network), (example, example))
    assert not part.float_layers and not part.float_matmuls
    x = torch.randn(2, 3, 31)
    inner, size = network.scaled(x)
    y = torch.fft.irfft(torch.fft.rfft(x), 31)
    assert torch.equal(part.network.model()(inner, y) * size, quantized.network.model()(x))
    graph = onnx_graph(part.network, (example, example))
    assert_integer_products(graph)
    assert assert_same(part.network, graph, inner, y) > 0
    kq.export(part, tmp_path / "part.onnx")
    assert set(run(onnx.load(tmp_path / "part.onnx"), inner, y)) == {"output"}


def test_layers_that_stay_in_float_have_the_parameters_of_the_whole() -> None:
    network, _ = made()
    config = PtqConfig(layers={"last": {"float_reason": "wanted"}})
    quantized = kq.quantize(network, config, calibration=[torch.randn(1, 3, 20) for _ in range(3)])
    other, x = part_of(made(1)[0]), torch.randn(1, 3, 20)
    part = kq.part_of(quantized, other, (x, x))
    assert part.float_layers == {"last": "wanted"}
    assert torch.equal(part.network.host.weight("last"), network.last.weight.flatten(1))


def test_what_is_no_part_is_refused() -> None:
    _, quantized = made()
    x = torch.randn(1, 3, 20)
    with pytest.raises(ModelError, match="the layer first is not the same there"):
        kq.part_of(quantized, Part(wide=7).eval(), (x, x))

    class Another(Part):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.last(self.first(x).relu())

    with pytest.raises(ModelError, match="no part of the network that was quantized: it computes relu"):
        kq.part_of(quantized, Another().eval(), (x, x))

    class Otherwise(Part):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.last(self.first(x))

    with pytest.raises(ModelError, match="its last reads first, and there tanh"):
        kq.part_of(quantized, Otherwise().eval(), (x, x))

    class Same(Part):
        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(x, x)

    with pytest.raises(ModelError, match=r"what it reads as x is several values there: fft_irfft, scaled\.truediv"):
        kq.part_of(quantized, Same().eval(), x)
    with pytest.raises(UsageError, match=r"part_of is for networks of torch\.nn"):
        kq.part_of(quantized, kq.KaldiNetwork(None), x)
