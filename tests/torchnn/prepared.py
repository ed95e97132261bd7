"""Prepared networks beside the original ones, in float64 so that rounding hides nothing."""

import torch
from torch import Tensor, nn

from kaldi_quant.quant.distance import SquaredError
from kaldi_quant.quant.graph import Node
from kaldi_quant.torchnn.calls import Call
from kaldi_quant.torchnn.copies import plain_copy
from kaldi_quant.torchnn.host import TorchHost
from kaldi_quant.torchnn.untraced import region_of


def prepared(network: nn.Module, *example: Tensor, fold: bool = True) -> TorchHost:
    """The host of a network as if all were float64."""
    call = Call(example, {}).copied(torch.float64)
    return TorchHost.of(region_of(plain_copy(network).double(), call), fold, call, SquaredError())


def output(network: nn.Module, *inputs: Tensor) -> Tensor:
    """What a network gives in test mode, in float64."""
    with torch.no_grad():
        return plain_copy(network).double()(*[x.double() if x.is_floating_point() else x.clone() for x in inputs])


def output_of(host: TorchHost, *inputs: Tensor) -> Tensor:
    """What a host gives."""
    with torch.no_grad():
        return host.complete().executable()(*[x.clone() for x in inputs])


def assert_unchanged(host: TorchHost, network: nn.Module, *inputs: Tensor) -> None:
    """The prepared network computes what the original does; much closer than the 1e-5 of float32."""
    expected = output(network, *inputs)
    size = float(expected.abs().max()) or 1.0
    torch.testing.assert_close(output_of(host, *inputs), expected, rtol=0, atol=1e-9 * size)


def ops(host: TorchHost) -> dict[str, str]:
    """What each node is."""
    return {name: node.op for name, node in host.nodes.items()}


def reads(node: Node) -> list[str]:
    """The names of the nodes that a node reads."""
    return [read.node for read in node.reads]


def disturbed(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with weights that are not those of a fresh one: BatchNorms have learned something."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_()
                module.running_var.uniform_(0.3, 2)
                module.weight.uniform_(0.3, 2)
                module.bias.normal_()
    return network.eval()
