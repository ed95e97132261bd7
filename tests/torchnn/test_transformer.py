"""Encoders and decoders of torch.nn: their layers are found, and they compute what torch's modules do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kaldi_quant.quant.graph import matmuls, products
from kaldi_quant.torchnn.host import TorchHost, TorchSource

torch.set_num_threads(1)

ATTENTION = [f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "out_proj")]
PRODUCTS = ["self_attn.matmul", "self_attn.matmul:2"]


def checked(network: nn.Module, *given: Tensor) -> TorchHost:
    """The host of a network whose outputs are those of torch, at the example's lengths and at others."""
    network = network.eval()
    host = TorchSource(network, given).prepare(fold=True)
    model = host.complete().executable()
    longer = [torch.cat([x, x], 0) for x in given]
    with torch.no_grad():
        for each in (given, longer):
            torch.testing.assert_close(model(*each), network(*each), rtol=0, atol=1e-5)
    return host


class Called(nn.Module):
    """Calls a module with a mask that is given, and with other arguments."""

    def __init__(self, module: nn.Module, name: str, **others: Any) -> None:
        super().__init__()
        self.module, self.name, self.others = module, name, others

    def forward(self, x: Tensor, mask: Tensor, *more: Tensor) -> Tensor:
        return self.module(x, *more, **{self.name: mask}, **self.others)


def layer(**options: Any) -> nn.TransformerEncoderLayer:
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options)


@pytest.mark.parametrize(
    "options", [{}, {"norm_first": True}, {"activation": "gelu"}, {"bias": False}, {"activation": nn.ReLU()}]
)
def test_layers_of_an_encoder_are_layers(options: dict) -> None:
    host = checked(layer(**options), torch.randn(2, 5, 8))
    assert products(host.nodes) == [*ATTENTION, "linear1", "linear2"]
    assert matmuls(host.nodes) == PRODUCTS
    stack = nn.TransformerEncoder(layer(**options), 2, nn.LayerNorm(8), enable_nested_tensor=False)
    host = checked(stack, torch.randn(2, 5, 8))
    assert len(products(host.nodes)) == 12 and matmuls(host.nodes)[2:] == [f"layers.1.{name}" for name in PRODUCTS]


@pytest.mark.parametrize("kind", ["booleans", "floats"])
@pytest.mark.parametrize("norm", [None, nn.LayerNorm(8)])
def test_padding(norm: nn.Module | None, kind: str) -> None:
    padding = torch.zeros(2, 5, dtype=torch.bool)
    padding[1, 3:] = True
    given = padding if kind == "booleans" else torch.zeros(2, 5).masked_fill(padding, -torch.inf)
    # Torch leaves padding out, and puts zeros there, where it finds nested tensors faster.
    for network in (nn.TransformerEncoder(layer(), 2, norm), layer(), layer(norm_first=True)):
        host = checked(Called(network, "src_key_padding_mask"), torch.randn(2, 5, 8), given)
        assert len(matmuls(host.nodes)) in (2, 4)


def test_masks_that_torch_looks_at() -> None:
    causal = nn.Transformer.generate_square_subsequent_mask(5)

    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.TransformerEncoder(layer(), 2, enable_nested_tensor=False)
            self.register_buffer("mask", causal)

        def forward(self, x: Tensor) -> Tensor:
            return self.encoder(x, mask=self.mask)

    assert len(matmuls(checked(Causal(), torch.randn(2, 5, 8)).nodes)) == 4


@pytest.mark.parametrize("norm_first", [False, True])
def test_decoders(norm_first: bool) -> None:
    torch.manual_seed(0)
    one = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first)
    host = checked(nn.TransformerDecoder(one, 2, nn.LayerNorm(8)), torch.randn(2, 5, 8), torch.randn(2, 7, 8))
    assert len(products(host.nodes)) == 20 and len(matmuls(host.nodes)) == 8
    whole = nn.Transformer(8, 2, 1, 1, 16, batch_first=True, norm_first=norm_first)
    host = checked(whole, torch.randn(2, 5, 8), torch.randn(2, 7, 8))
    assert len(products(host.nodes)) == 16 and len(matmuls(host.nodes)) == 6


def test_subclasses_and_hooks_stay_as_they_are() -> None:
    class Doubled(nn.TransformerEncoderLayer):
        def forward(self, src: Tensor, *args: Any, **options: Any) -> Tensor:
            return 2 * super().forward(src, *args, **options)

    torch.manual_seed(0)
    stack = nn.TransformerEncoder(layer(), 2, enable_nested_tensor=False)
    stack.layers[1] = Doubled(8, 2, 16, batch_first=True)
    network = nn.Sequential(nn.Linear(8, 8), stack)
    host = checked(network, torch.randn(2, 5, 8))
    assert len([name for name in products(host.nodes) if name.startswith("1.layers.0")]) == 6
    hooked = layer()
    hooked.register_forward_hook(lambda module, args, output: output + 1)
    host = checked(nn.Sequential(nn.Linear(8, 8), hooked), torch.randn(2, 5, 8))
    assert "1" in host.float_operations() and "it has hooks" in host.float_operations()["1"]
