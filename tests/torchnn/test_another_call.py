"""Networks that take and give states: streams have the integers of whole recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import kaldi_quant as kq
from kaldi_quant.errors import ModelError, UsageError
from kaldi_quant.torchnn.host import TorchHost
from kaldi_quant.torchnn.onnx.file import onnx_graph
from tests.torchnn.onnx_runs import assert_integer_products, run

FRAMES = 12


class Causal(nn.Module):
    """A convolution over time, a normalization that stays in float, and one that is silent at the first frame."""

    def __init__(self, wide: int = 6) -> None:
        super().__init__()
        self.first = nn.Conv1d(3, wide, 2)
        self.act = nn.ELU(0.7)
        self.norm = nn.BatchNorm1d(wide)
        self.second = nn.Conv1d(wide, 4, 1)
        nn.init.normal_(self.norm.running_mean)
        nn.init.normal_(self.norm.bias)

    def forward(
        self, x: Tensor, state: Tensor | None = None, came: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """x: (N, 3, T); state: (N, 3, 1); came: (N, 1, 1), whether a frame came before."""
        whole = functional.pad(x, (1, 0)) if state is None else torch.cat([state, x], 2)
        y = self.first(whole)
        if came is None:
            return self.second(self.act(self.norm(functional.pad(y[:, :, 1:], (1, 0)))))
        there = torch.cat([came, torch.ones_like(x[:, :1])], 2)
        y = self.second(self.act(self.norm(y.masked_fill(there[:, :, :-1] == 0, 0))))
        return y, whole[:, :, -1:], there[:, :, -1:]


NOTHING = (torch.zeros(1, 3, 1), torch.zeros(1, 1, 1))


def made(seed: int = 0) -> tuple[Causal, kq.Quantized, Tensor]:
    torch.manual_seed(seed)
    network = Causal().eval()
    x = torch.randn(3, 1, 3, FRAMES)
    return network, kq.quantize(network, "w8a8", calibration=list(x)), x[0]


def in_pieces(network: object, x: Tensor, sizes: list[int]) -> Tensor:
    state, found = NOTHING, []
    for piece in x.split(sizes, 2):
        output, *state = network(piece, *state)  # type: ignore[operator]
        found.append(output)
    return torch.cat(found, 2)


@torch.no_grad()
@pytest.mark.parametrize("saved", [False, True])
def test_a_stream_has_the_integers_of_the_whole(saved: bool, tmp_path: Path) -> None:
    network, quantized, x = made()
    whole = quantized.network.model()(x)
    if saved:
        kq.save(quantized, tmp_path / "network.safetensors")
        quantized, network = kq.load(tmp_path / "network.safetensors"), made(1)[0]
    stream = kq.called_with(quantized, kq.TorchNetwork(network, output=0), (x[..., :1], *NOTHING))
    assert not stream.float_layers
    for sizes in ([1] * FRAMES, [5, 1, 6]):
        assert torch.equal(in_pieces(stream.network.model(), x, sizes), whole)
    assert torch.equal(in_pieces(kq.compile(stream), x, [1] * FRAMES), whole)
    graph = onnx_graph(stream.network, (x[..., :1], *NOTHING), dynamic_axes=False)
    assert_integer_products(graph)

    def in_onnxruntime(*inputs: Tensor) -> list[Tensor]:
        return [torch.from_numpy(value) for value in run(graph.model, *inputs).values()]

    assert torch.equal(in_pieces(in_onnxruntime, x, [1] * FRAMES), whole)


def test_what_is_masked_with_zeros_stays_on_its_grid() -> None:
    network, _, x = made()
    quantized = kq.quantize(kq.TorchNetwork(network, output=0), "w8a8", calibration=[(x, *NOTHING)])
    host = quantized.network.host
    assert isinstance(host, TorchHost)
    assert not any("masked_fill" in name for name in host.nodes)


@pytest.mark.parametrize("value", [0.5, 0])
def test_other_numbers_are_filled_in_in_float(value: float) -> None:
    class Filling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return self.layers[1](self.layers[0](x).masked_fill(mask, value))

    torch.manual_seed(0)
    calls = [(torch.randn(5, 4), torch.rand(5, 4) < 0.5) for _ in range(3)]
    quantized = kq.quantize(Filling().eval(), "w8a8", calibration=calls)
    assert ("masked_fill" in quantized.network.host.nodes) == (value != 0)
    graph = onnx_graph(quantized.network, calls[0])
    with torch.no_grad():
        expected = quantized.network.model()(*calls[1])
        np.testing.assert_array_equal(run(graph.model, *calls[1])["output"], expected)


def test_another_network_is_refused() -> None:
    _, quantized, x = made()
    call = (x[..., :1], *NOTHING)
    with pytest.raises(ModelError, match="the layer first is not the same there"):
        kq.called_with(quantized, Causal(wide=7).eval(), call)
    with pytest.raises(ModelError, match="it does not compute first"):
        kq.called_with(quantized, nn.Conv1d(3, 6, 2), x)
    other = Causal().eval()
    other.norm = nn.BatchNorm1d(6, affine=False).eval()
    with pytest.raises(ModelError, match=r"norm\.(weight|bias) is not the same there"):
        kq.called_with(quantized, other, call)
    with pytest.raises(UsageError, match="expected a model"):
        kq.called_with(quantized, 3, call)


@torch.no_grad()
def test_elus_are_the_same_in_onnxruntime_to_the_last_bit() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 64), nn.ELU(), nn.Linear(64, 64), nn.ELU(0.3, inplace=True), nn.Linear(64, 4))
    x = torch.randn(20000, 4)
    quantized = kq.quantize(network, "w8a8", calibration=[x[:50]])
    found = run(onnx_graph(quantized.network, x[:50]).model, x)
    np.testing.assert_array_equal(found["output"], quantized.network.model()(x))


def test_gradients_of_elus_pass() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.ELU(0.3), nn.Linear(4, 1))
    executable = kq.quantize(network, "w8a8", calibration=[torch.randn(5, 4)]).network.host.executable()
    x = torch.tensor([[-1e4, -1.0, 0.5, 1e4]], requires_grad=True)
    expected = torch.autograd.grad(network(x).sum(), x)[0]
    torch.testing.assert_close(torch.autograd.grad(executable(x).sum(), x)[0], expected)
