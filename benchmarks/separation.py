"""Source separation of full size on one thread: bytes and speed of integers against float, and what making them costs.

    python benchmarks/separation.py [--network conv-tasnet] [--preset w8a8] [--seconds 4] [--rounds 7] [--no-compiled]

Networks have random parameters and read noise. "bytes" is the integer model's file as a share of the float parameters.
"speed" is in relation to the fastest float way, which is onnxruntime with all its optimizations or PyTorch; above 1 it
is faster. The ways of running take turns, each in the other order in every second round; a figure is the median of
processor time, which other processes on the machine change least. "equal" says whether the way gives what the integer
reference gives, to the last bit, or else the share of samples that differ. Below stand the processor time in seconds of
quantizing, saving and exporting, on a piece of --calibration seconds, and the most memory that the process has had.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn

import kaldi_quant as kq
from kaldi_quant.frontends.onnx_files import in_float
from kaldi_quant.frontends.separation.networks.known import NETWORKS

Run = Callable[[], np.ndarray]
FLOAT_ONNX, FLOAT_TORCH = "float, onnxruntime", "float, torch"


def on_onnxruntime(path: Path, x: Tensor) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: x.numpy()}
    return lambda: session.run(None, given)[0]


def on_torch(network: Callable[[Tensor], Tensor], x: Tensor) -> Run:
    return lambda: network(x).numpy()


def processor_times(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Median seconds of each, all taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs)[:: -1 if number % 2 else 1]:
            begin = time.process_time()
            runs[name]()
            seconds[name].append(time.process_time() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


class Costs:
    """Processor time of what is done, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def of(self, name: str, compute: Callable[[], object]) -> object:
        begin = time.process_time()
        found = compute()
        self.seconds[name] = time.process_time() - begin
        return found

    def __str__(self) -> str:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items()) + f"; {peak:.0f} MiB"


def examine(
    name: str, network: nn.Module, preset: str, x: Tensor, piece: Tensor, rounds: int, compiled: bool, one_length: bool
) -> None:
    """Prints the figures of a network at one preset."""
    costs, ways = Costs(), {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        quantized: kq.Quantized = costs.of("quantize", lambda: kq.quantize(network, preset, calibration=[piece]))
        costs.of("save", lambda: kq.save(quantized, folder / "integers.safetensors"))
        costs.of("export", lambda: kq.export(quantized, folder / "integers.onnx", example=piece))
        if one_length:
            fixed = folder / "fixed.onnx"
            costs.of("export of one length", lambda: kq.export(quantized, fixed, example=x, dynamic_axes=False))
        kq.export(in_float(quantized), folder / "float.onnx", example=piece)
        loaded = costs.of("load", lambda: kq.load(folder / "integers.safetensors"))
        count = sum(parameter.numel() for parameter in network.parameters())
        share = (folder / "integers.safetensors").stat().st_size / (4 * count)
        expected = on_torch(quantized.network.model(), x)()
        ways[FLOAT_ONNX], ways[FLOAT_TORCH] = on_onnxruntime(folder / "float.onnx", x), on_torch(network, x)
        ways["onnxruntime"] = on_onnxruntime(folder / "integers.onnx", x)
        if one_length:
            ways["onnxruntime, one length"] = on_onnxruntime(fixed, x)
    if compiled:
        ways["compiled"] = on_torch(kq.compile(loaded), x)
    different = {way: float((run() != expected).mean()) for way, run in ways.items()}
    seconds = processor_times(ways, rounds)
    fastest = min(seconds[FLOAT_ONNX], seconds[FLOAT_TORCH])
    print(f"{name} ({count} parameters) in {preset}: {share:.4f} of the float bytes")
    for way, taken in seconds.items():
        equal = "" if "float" in way else f"{different[way]:.6f} differ" if different[way] else "equal"
        print(f"  {way:<26}{fastest / taken:>6.2f} x{equal:>20}")
    print(f"  {costs}", flush=True)


@click.command()
@click.option("--network", "names", multiple=True, default=("conv-tasnet",), type=click.Choice(list(NETWORKS)))
@click.option("--preset", "presets", multiple=True, default=("w8a8",), help="Of quantize.")
@click.option("--seconds", default=4.0, help="Of the recording that is separated.")
@click.option("--calibration", default=0.2, help="Seconds of the piece that ranges are found on.")
@click.option("--rounds", default=7, help="Measurements of each way.")
@click.option("--compiled/--no-compiled", default=True, help="Whether the kernels of numba are measured, too.")
@click.option("--one-length", is_flag=True, help="Measures a file for this length alone, too.")
def main(
    names: tuple[str, ...],
    presets: tuple[str, ...],
    seconds: float,
    calibration: float,
    rounds: int,
    compiled: bool,
    one_length: bool,
) -> None:
    torch.set_num_threads(1)
    for name in names:
        kind = NETWORKS[name]
        torch.manual_seed(0)
        network = kind.build().eval()
        x, piece = (0.1 * torch.randn(1, kind.channels, int(kind.rate * length)) for length in (seconds, calibration))
        with torch.no_grad():
            for preset in presets:
                examine(name, network, preset, x, piece, rounds, compiled, one_length)


if __name__ == "__main__":
    main()
