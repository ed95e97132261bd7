"""Functions that are rounded once, beside torch's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import kaldi_quant as kq
from kaldi_quant.backends.onnx.session import open_session
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.torchnn import rounded_once
from kaldi_quant.torchnn.host import TorchHost
from kaldi_quant.torchnn.rounded_once import group_norm
from tests.torchnn.recurrent_networks import quantized

Function = Callable[..., Tensor]


@pytest.mark.parametrize(("groups", "is_learned"), [(1, True), (3, True), (6, False)])
def test_group_norm_is_torchs(groups: int, is_learned: bool) -> None:
    torch.manual_seed(0)
    given = [torch.randn(2, 6, 5, 7) + 3, *(torch.randn(6) for _ in range(2 if is_learned else 0))]

    def results(function: object, dtype: torch.dtype) -> list[Tensor]:
        tensors = [value.to(dtype).requires_grad_() for value in given]
        weight, bias = tensors[1:] if is_learned else (None, None)
        found = function(tensors[0], groups, weight, bias, 1e-3)  # type: ignore[operator]
        return [found, *torch.autograd.grad((found * torch.arange(7)).sum(), tensors)]

    own, exact = results(group_norm, torch.float32), results(functional.group_norm, torch.float64)
    for one, other in zip(own, exact, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 5), (20, 70, 5, 40), (0, 4)])
@pytest.mark.parametrize("is_transposed", [False, True])
def test_functions_are_torchs_rounded_once(shape: tuple[int, ...], is_transposed: bool) -> None:
    torch.manual_seed(0)
    given = 3 * torch.randn(shape)
    given = given.transpose(0, -1) if is_transposed else given
    weight = torch.rand(given.shape[-1])

    def normalized(function: Function) -> Function:
        return lambda y: function(y, y.shape[-1:], weight.to(y.dtype), None)

    pairs: list[tuple[Function, Function]] = [
        (rounded_once.sigmoid, torch.sigmoid),
        (rounded_once.tanh, torch.tanh),
        (partial(rounded_once.elu, alpha=0.5), partial(functional.elu, alpha=0.5)),
        (partial(rounded_once.celu, alpha=0.5), partial(functional.celu, alpha=0.5)),
        (rounded_once.softplus, functional.softplus),
        (
            partial(rounded_once.softplus, beta=2.0, threshold=3.0),
            partial(functional.softplus, beta=2.0, threshold=3.0),
        ),
        (partial(rounded_once.gelu, approximate="tanh"), partial(functional.gelu, approximate="tanh")),
        (partial(rounded_once.softmax, dim=-1), partial(torch.softmax, dim=-1)),
        (partial(rounded_once.softmax, dim=0), partial(torch.softmax, dim=0)),
        (normalized(rounded_once.layer_norm), normalized(functional.layer_norm)),
    ]
    for own, exact in pairs:
        x, y = given.clone().requires_grad_(), given.double().requires_grad_()
        found, expected = own(x), exact(y)
        assert torch.equal(own(x.detach()), found)
        torch.testing.assert_close(found.double(), expected, rtol=6e-8, atol=1e-15)
        of_x, of_y = (
            torch.autograd.grad((each * each.detach()).sum(), to)[0] for each, to in ((found, x), (expected, y))
        )
        torch.testing.assert_close(of_x.double(), of_y, rtol=1e-4, atol=1e-4)


def test_group_norm_does_not_depend_on_the_order_of_values() -> None:
    torch.manual_seed(0)
    x, order = 100 + torch.randn(1, 4, 5000), torch.randperm(5000)
    assert torch.equal(group_norm(x, 2)[..., order], group_norm(x[..., order], 2))


def test_layers_that_no_output_depends_on_are_left_out() -> None:
    class WithMore(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.unread, self.last = nn.Linear(4, 5), nn.Conv1d(5, 3, 1), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x).relu()
            self.unread(y.transpose(1, 2))
            return self.last(y)

    found = quantized(WithMore().eval(), PtqConfig(), [torch.randn(2, 7, 4)])
    assert isinstance(found.host, TorchHost) and set(found.layers) == {"first", "last"}


def test_selu_is_torchs() -> None:
    x = torch.linspace(-9, 9, 70_000, requires_grad=True)
    found, expected = rounded_once.selu(x), functional.selu(x)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    own, torchs = (torch.autograd.grad(each.sum(), x)[0] for each in (found, expected))
    torch.testing.assert_close(own, torchs, rtol=1e-5, atol=1e-6)


def test_gelu_depends_on_values_alone() -> None:
    torch.manual_seed(0)
    x, order = 2 * torch.randn(70_000), torch.randperm(70_000)
    found = rounded_once.gelu(x)
    torch.testing.assert_close(found, functional.gelu(x))
    assert torch.equal(rounded_once.gelu(x[order]), found[order])
    assert torch.equal(torch.stack([rounded_once.gelu(one) for one in x[:50]]), found[:50])


class Between(nn.Module):
    """Functions over channels, which kernels have last in memory and torch has not."""

    def __init__(self, one: nn.Module, other: Function) -> None:
        super().__init__()
        self.first, self.gate = nn.Conv1d(4, 14, 3, padding=1), nn.GLU(1)
        self.second, self.one, self.last = nn.Conv1d(7, 9, 1), one, nn.Linear(9, 4)
        self.other = other

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(self.second(self.gate(self.first(x)))).transpose(1, 2)
        return self.other(self.last(self.other(y)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (nn.SiLU(), functional.silu),
        (nn.GELU(), functional.gelu),
        (nn.GELU("tanh"), torch.tanh),
        (nn.Softplus(2.0, 3.0), functional.softplus),
        (nn.Mish(), functional.mish),
        (nn.SELU(), functional.selu),
        (nn.CELU(0.5), functional.celu),
        (nn.InstanceNorm1d(9, affine=True), functional.instance_norm),
    ],
)
def test_functions_are_the_same_everywhere(one: nn.Module, other: Function, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Between(one, other).eval()
    found = kq.quantize(network, "w8a8", calibration=[torch.randn(2, 4, 50) for _ in range(4)])
    kq.save(found, tmp_path / "saved.safetensors")
    session = open_session(kq.export(found, tmp_path / "network.onnx").read_bytes())
    model, again = found.network.model(), kq.load(tmp_path / "saved.safetensors").network.model()
    compiled = kq.compile(found) if find_spec("numba") is not None else model
    for _ in range(20):
        x = torch.randn(2, 4, 301)
        expected = model(x)
        assert (expected - network(x)).norm() < 0.05 * expected.norm()
        assert torch.equal(compiled(x), expected) and torch.equal(again(x), expected)
        (in_onnx,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        if isinstance(one, nn.GELU) and one.approximate == "none":
            # onnxruntime's is in float32: one value in a thousand may go to the next step.
            assert np.isclose(in_onnx, expected.detach().numpy(), rtol=1e-5, atol=1e-6).mean() > 0.999
        else:
            assert np.array_equal(in_onnx, expected.detach().numpy())
