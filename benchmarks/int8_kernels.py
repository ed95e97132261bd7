"""Single layers on one thread: what each back end makes of 8-bit integers, against torch's default float product.

    python benchmarks/int8_kernels.py [--rounds 15]

Layers splice 1, 2 or 3 frames; all integer back ends take and give 8-bit integers, requantized, and those that do not
splice by themselves are given spliced rows for free. "exact" says whether the results are those of integer arithmetic
where inputs and weights are extreme: on a processor without products of 8-bit integers (VNNI), kernels that add two
such products in 16 bits are not. The back ends take turns within each round; a figure is the median over rounds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import click
import numpy as np
import torch
from forward import measure
from onnx import TensorProto, helper, numpy_helper

from kaldi_quant.backends.onnx.session import open_session
from kaldi_quant.nnet3.linear import PackedWeight

#: (input columns, frames spliced, output columns)
LAYERS = ((192, 1, 192), (625, 3, 625), (628, 3, 628), (1536, 2, 160), (160, 2, 1536), (1536, 1, 1536))
ROWS = (50, 333, 1000)
INPUT_SCALE = np.float32(0.02)
IntegerRun = Callable[[], np.ndarray]


@dataclass
class Layer:
    """Random integers of a layer.

    Args:
        frames: (rows + splice - 1, columns) uint8, whose neighbouring rows are spliced.
        weight: (out, splice * columns) int8.
        scale: (out,) float32.
        bias: (out,) int32.
        output_scale: of the result's grid.
    """

    frames: np.ndarray
    splice: int
    weight: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    output_scale: np.float32

    @classmethod
    def random(cls, columns: int, splice: int, out: int, rows: int) -> Layer:
        random = np.random.default_rng(0)
        frames = random.integers(0, 256, (rows + splice - 1, columns)).astype(np.uint8)
        frames[:, : columns // 4] = 255
        weight = random.integers(-127, 128, (out, splice * columns)).astype(np.int8)
        weight[: out // 2, : columns // 4] = 127
        scale = random.uniform(0.0005, 0.002, out).astype(np.float32)
        bias = random.integers(-(2**16), 2**16, out).astype(np.int32)
        return cls(frames, splice, weight, scale, bias, np.float32(0.002 * np.sqrt(splice * columns)))

    @property
    def rows(self) -> np.ndarray:
        """(rows, splice * columns) uint8."""
        count = len(self.frames) - self.splice + 1
        return np.concatenate([self.frames[i : i + count] for i in range(self.splice)], axis=1)

    def expected(self) -> np.ndarray:
        """(rows, out) uint8: the result in integer arithmetic."""
        sums = self.rows.astype(np.int64) @ self.weight.astype(np.int64).T + self.bias
        steps = sums.astype(np.float32) * ((INPUT_SCALE * self.scale) / self.output_scale)
        return np.clip(np.rint(steps), 0, 255).astype(np.uint8)


def onnxruntime_gemm(layer: Layer, unsigned: bool) -> IntegerRun:
    """QGemm on spliced rows."""
    return _session(layer, "QGemm", layer.weight.T, layer.rows, unsigned)


def onnxruntime_convolution(layer: Layer, unsigned: bool) -> IntegerRun:
    """QLinearConv over time, columns last, which is what the fast path runs."""
    weight = layer.weight.reshape(len(layer.weight), layer.splice, -1).transpose(0, 2, 1)
    attributes = {"channels_last": 1, "kernel_shape": [layer.splice]}
    return _session(layer, "QLinearConv", weight, layer.frames[None], unsigned, **attributes)


def _session(
    layer: Layer, kind: str, weight: np.ndarray, x: np.ndarray, unsigned: bool, **attributes: object
) -> IntegerRun:
    dtype, zero = (np.uint8, 128) if unsigned else (np.int8, 0)
    out = len(layer.weight)
    constants = {
        "x_scale": INPUT_SCALE,
        "x_zero": np.uint8(0),
        "w": np.ascontiguousarray(weight.astype(np.int64) + zero).astype(dtype),
        "w_scale": layer.scale,
        "w_zero": np.full(out, zero, dtype),
        "bias": layer.bias,
        "y_scale": layer.output_scale,
        "y_zero": np.uint8(0),
    }
    inputs = ["x", "x_scale", "x_zero", "w", "w_scale", "w_zero"]
    output = ["y_scale", "y_zero"]
    inputs += ["bias", *output] if kind == "QGemm" else [*output, "bias"]
    node = helper.make_node(kind, inputs, ["y"], domain="com.microsoft", **attributes)
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    session = open_session(helper.make_model(graph, opset_imports=opsets, ir_version=8))
    return lambda: session.run(None, {"x": x})[0].reshape(-1, out)


def onednn(layer: Layer) -> IntegerRun:
    """oneDNN's integer product, as torch offers it."""
    rows = torch.from_numpy(layer.rows)
    weight = torch.ops.onednn.qlinear_prepack(torch.from_numpy(layer.weight), list(rows.shape))
    scale, zeros = torch.from_numpy(layer.scale), torch.zeros(len(layer.scale), dtype=torch.int32)
    bias = torch.from_numpy(layer.bias * (INPUT_SCALE * layer.scale)).float()
    x, y = (float(INPUT_SCALE), 0), (float(layer.output_scale), 0, torch.uint8)

    def run() -> np.ndarray:
        qlinear = torch.ops.onednn.qlinear_pointwise
        return qlinear(rows, *x, weight, scale, zeros, bias, *y, "none", [], "").numpy()

    return run


def fbgemm(layer: Layer) -> IntegerRun:
    """FBGEMM's integer product, as torch offers it."""
    torch.backends.quantized.engine = "fbgemm"
    zeros = torch.zeros(len(layer.scale), dtype=torch.int64)
    scale = torch.from_numpy(layer.scale).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weight = torch._make_per_channel_quantized_tensor(torch.from_numpy(layer.weight), scale, zeros, 0)
        x = torch._make_per_tensor_quantized_tensor(torch.from_numpy(layer.rows), float(INPUT_SCALE), 0)
    bias = torch.from_numpy(layer.bias * (INPUT_SCALE * layer.scale)).float()
    packed = torch.ops.quantized.linear_prepack(weight, bias)
    return lambda: torch.ops.quantized.linear(x, packed, float(layer.output_scale), 0).int_repr().numpy()


def floats(layer: Layer) -> dict[str, Callable[[], object]]:
    """torch's default product, and oneDNN's."""
    x = torch.from_numpy(layer.rows).float()
    weight = torch.nn.Parameter(torch.from_numpy(layer.weight).float(), requires_grad=False)
    bias = torch.from_numpy(layer.bias).float()
    packed = PackedWeight(weight)
    return {
        "torch float": lambda: torch.nn.functional.linear(x, weight, bias),
        "oneDNN float": lambda: packed(x, bias),
    }


@click.command()
@click.option("--rounds", default=15, help="Measurements of each back end.")
def main(rounds: int) -> None:
    torch.set_num_threads(1)
    print(f"{'layer':<14}{'rows':>6}  {'back end':<22}{'vs torch float':>16}  exact")
    for (columns, splice, out), rows in product(LAYERS, ROWS):
        layer = Layer.random(columns, splice, out, rows)
        integers = {
            "ORT conv, int8": onnxruntime_convolution(layer, unsigned=False),
            "ORT conv, uint8": onnxruntime_convolution(layer, unsigned=True),
            "ORT gemm, int8": onnxruntime_gemm(layer, unsigned=False),
            "ORT gemm, uint8": onnxruntime_gemm(layer, unsigned=True),
            "oneDNN, int8": onednn(layer),
            "FBGEMM, int8": fbgemm(layer),
        }
        expected = layer.expected()
        runs = floats(layer) | integers
        with torch.inference_mode():
            seconds = measure(runs, rounds)
            exact = {name: np.array_equal(run(), expected) for name, run in integers.items()}
        for name, value in seconds.items():
            ratio = seconds["torch float"] / value
            verdict = {True: "yes", False: "no", None: ""}[exact.get(name)]
            print(f"{f'{splice}x{columns}->{out}':<14}{rows:>6}  {name:<22}{ratio:>16.2f}  {verdict}", flush=True)


if __name__ == "__main__":
    main()
