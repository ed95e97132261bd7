"""Grids that a network itself declares: the same in integers, in files, in training and in onnxruntime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import kaldi_quant as kq
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.errors import ModelError, UsageError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.declared_grid import DeclaredGrid
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.presets import read_preset
from kaldi_quant.torchnn.on_grid import on_grid

torch.set_num_threads(1)

STEP = 1 / 128


class InAndOut(nn.Module):
    """A network that says which grid its input lies on, and that its output lies on one."""

    def __init__(self, bits: int = 8, output_bits: int = 8) -> None:
        super().__init__()
        self.bits, self.output_bits = bits, output_bits
        self.first, self.last = nn.Conv1d(1, 4, 3), nn.Conv1d(4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = on_grid(x, self.bits, 2.0 ** (1 - self.bits), 1 << (self.bits - 1))
        return on_grid(self.last(torch.relu(self.first(x))), self.output_bits)


def waves(number: int, seed: int = 0, loudest: float = 0.5) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [loudest * (2 * torch.rand(2, 1, 40, generator=random) - 1) for _ in range(number)]


def quantized(network: nn.Module, config: PtqConfig | str = "w8a8") -> Quantized:
    torch.manual_seed(1)
    return kq.quantize(network, config, calibration=waves(3))


def node_of(found: Quantized, fixed: bool) -> str:
    nodes = found.network.host.nodes.values()
    return next(node.name for node in nodes if node.declared is not None and node.declared.is_fixed == fixed)


def test_values_are_rounded_half_to_even_and_clamped() -> None:
    x = torch.tensor([0.5, 1.5, 2.5, -1.5, 200.0, -200.0, 3.0]) * STEP
    found = on_grid(x, 8, STEP, 128)
    assert (found / STEP).tolist() == [0, 2, 2, -2, 127, -128, 3]
    assert torch.equal(on_grid(found, 8, STEP, 128), found)
    assert on_grid(x, 8) is x
    x.requires_grad_()
    on_grid(x, 8, STEP, 128).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1, 1, 1, 1, 0, 0, 1]


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_the_grid_is_exactly_the_declared_one(bits: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = InAndOut(bits).eval()
    found = quantized(network)
    name = node_of(found, fixed=True)
    grid = found.network.activations[name]
    assert (grid.spec.bits, float(grid.scale), int(grid.zero_point)) == (bits, 2.0 ** (1 - bits), 1 << (bits - 1))
    # Signals are louder than those of the calibration set, and lie on the grid.
    x = (waves(1, 5, loudest=1.0)[0] * 2 ** (bits - 1)).floor() / 2 ** (bits - 1)
    model, seen = found.network.model(), []
    tap = model.taps[name]
    model.taps[name] = lambda value: seen.append((value, tap(value))) or seen[-1][1]
    expected = model(x)
    assert torch.equal(seen[0][0], x) and torch.equal(seen[0][1], x)
    assert not found.float_layers
    assert name not in found.network.host.float_operations()  # type: ignore[attr-defined]
    kq.save(found, tmp_path / "saved.safetensors")
    again = kq.load(tmp_path / "saved.safetensors")
    assert again.network.host.nodes == found.network.host.nodes
    assert torch.equal(again.network.model()(x), expected)
    kq.export(again, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    (by_onnx,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_array_equal(by_onnx, expected.detach().numpy())


@pytest.mark.parametrize("bits", [6, 8, 12])
def test_an_output_without_readers_lies_on_a_grid_of_its_width(bits: int) -> None:
    torch.manual_seed(0)
    found = quantized(InAndOut(output_bits=bits).eval())
    grid = found.network.activations[node_of(found, fixed=False)]
    assert grid.spec.bits == bits
    output = found.network.model()(waves(1, 2)[0]).detach()
    assert torch.equal(grid.fake(output), output)
    assert len(output.unique()) > 10


@pytest.mark.parametrize("method", ["lsq", "recomputed", "fixed"])
def test_training_keeps_what_is_fixed_and_learns_the_rest(method: str) -> None:
    torch.manual_seed(0)
    found = quantized(InAndOut().eval())
    batches = [(x, 3 * x[..., 2:].cumsum(-1)) for x in waves(4, 3)]
    options = {"offsets": "floats"} if method == "lsq" else {}
    trained = kq.qat(
        found,
        batches,
        loss=nn.functional.mse_loss,
        epochs=3,
        lr_initial=1e-2,
        method=method,
        weights="values",
        **options,  # type: ignore[arg-type]
    )
    before, after = found.network.activations, trained.network.activations
    fixed, learned = node_of(found, fixed=True), node_of(found, fixed=False)
    assert after[fixed] == before[fixed]
    assert torch.equal(after[learned].scale, before[learned].scale) == (method == "fixed")


def test_widths_that_are_asked_for_elsewhere_do_not_change_it() -> None:
    torch.manual_seed(0)
    config = PtqConfig(LayerConfig(act_bits=4, act_symmetric=True), observer="minmax")
    found = quantized(InAndOut().eval(), config)
    assert {grid.spec.bits for grid in found.network.activations.values()} == {4, 8}
    weights_alone = quantized(InAndOut().eval(), replace(read_preset("awq-w4"), sequential=False))
    assert node_of(weights_alone, fixed=True) in weights_alone.network.activations


class SideBySide(nn.Module):
    """Reads two values side by side, the second of which may declare another grid, or none."""

    def __init__(self, second: tuple[int, float, int] | None) -> None:
        super().__init__()
        self.second, self.layer = second, nn.Conv1d(2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        other = torch.sin(x) if self.second is None else on_grid(torch.sin(x), *self.second)
        return self.layer(torch.cat([on_grid(x, 8, STEP, 128), other], 1))


def test_grids_of_values_side_by_side_must_agree() -> None:
    both = quantized(SideBySide((8, STEP, 128)).eval()).network.activations
    assert {float(grid.scale) for grid in both.values()} == {STEP}
    for second in (None, (8, 2 * STEP, 128), (8, 0.0, 0)):
        with pytest.raises(ModelError, match="are read side by side and need one grid, and"):
            quantized(SideBySide(second).eval())


@pytest.mark.parametrize(
    ("bits", "scale", "zero_point", "message"),
    [
        (17, 1.0, 0, "a width of 17 bits is not possible"),
        (8, -1.0, 0, "a grid's scale must be positive and finite"),
        (8, float("nan"), 0, "a grid's scale must be positive and finite"),
        (8, 1.0, 256, "the zero point 256 is not one of a grid of 8 bits"),
        (8, 0.0, 1, "the zero point 1 is not one"),
    ],
)
def test_grids_that_there_are_not(bits: int, scale: float, zero_point: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        on_grid(torch.ones(2), bits, scale, zero_point)
    with pytest.raises(UsageError, match=message):
        DeclaredGrid(bits, scale, zero_point)
