"""Speech enhancement frame by frame on one thread: integers against float, and what share of the time it takes.

    python benchmarks/enhancement.py [--rounds 50] [--blocks 20] [--network crn-100k] [--no-compiled]

Networks have random parameters. "frame" is the network alone, with its states, in relation to the float network in
onnxruntime; above 1 it is faster. For it the ways of running take turns: in a round each runs some frames, one behind
the other; with --blocks 1 other networks run between two frames, so that a network finds nothing of its own in the
caches.

"real time" is a whole block's share of its duration: its spectrum, the network, and the samples that it gives. Here
each way runs by itself, as a stream does in a user's program: after a turn of another way the first two blocks take up
to twice as long as those behind them. It is the processor's time, of all threads together; that of other programs does
not count. A figure is the median over rounds.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from forward import measure

import kaldi_quant as kq
from kaldi_quant.frontends.enhancement.networks.known import NETWORKS, Kind
from kaldi_quant.frontends.enhancement.streaming import (
    EnhancementStream,
    FrameNetwork,
    frame_of,
    states_of,
    streaming,
    write_onnx_frame,
)
from kaldi_quant.frontends.onnx_files import in_float

STREAMING = ("crn-100k", "tcn-100k", "stft-tcnn-causal", "conv-lstm", "crn")
PRESETS = ("w8a8", "w4a8")
BASELINE = "float, onnxruntime"
RATE = 16000


def runs(kind: Kind, folder: Path, compiled: bool) -> dict[str, FrameNetwork]:
    """The ways of running a network, by name."""
    network = kind.build().eval()
    found = {"float, torch": FrameNetwork.of(network)}
    for preset in PRESETS:
        quantized = kq.quantize(network, preset, calibration=[frame_of(kind.around, 30)])
        stream = streaming(quantized, network)
        if BASELINE not in found:
            path = write_onnx_frame(in_float(stream), network, kind.around, folder / "float.onnx")
            found[BASELINE] = FrameNetwork.of_onnx(path)
        path = write_onnx_frame(stream, network, kind.around, folder / f"{preset}.onnx")
        found[f"{preset}, onnxruntime"] = FrameNetwork.of_onnx(path)
        if compiled:
            found[f"{preset}, compiled"] = FrameNetwork(kq.compile(stream), states_of(network))
    return found


def push(stream: EnhancementStream, block: torch.Tensor, blocks: int) -> Callable[[], object]:
    return lambda: [stream.push(block) for _ in range(blocks)]


def by_itself(run: Callable[[], object], rounds: int) -> float:
    """Median seconds of the processor; the first round makes ready."""
    run()
    seconds = []
    for _ in range(rounds):
        begin = time.process_time()
        run()
        seconds.append(time.process_time() - begin)
    return statistics.median(seconds)


def frames(network: FrameNetwork, frame: torch.Tensor, blocks: int) -> Callable[[], object]:
    return lambda: [network.run(frame, network.states) for _ in range(blocks)]


@click.command()
@click.option("--rounds", default=50, help="Measurements of each way.")
@click.option("--blocks", default=20, help="Of a stream in each of them.")
@click.option("--network", "names", multiple=True, default=STREAMING[:-1], type=click.Choice(STREAMING))
@click.option("--compiled/--no-compiled", default=True, help="Whether the kernels of numba are measured, too.")
def main(rounds: int, blocks: int, names: tuple[str, ...], compiled: bool) -> None:
    torch.set_num_threads(1)
    print(f"{'network':<18}{'way':<22}{'frame':>8}{'real time':>12}")
    for name in names:
        kind = NETWORKS[name]
        around, block = kind.around, torch.randn(kind.around.stft.hop)
        with tempfile.TemporaryDirectory() as folder:
            ways = runs(kind, Path(folder), compiled)
        frame = frame_of(around).contiguous()
        with torch.inference_mode():
            of_frame = measure({way: frames(network, frame, blocks) for way, network in ways.items()}, rounds)
        for way, network in ways.items():
            with torch.inference_mode():
                seconds = by_itself(push(EnhancementStream(kind, network), block, blocks), rounds)
            share = seconds / blocks * RATE / around.stft.hop
            print(f"{name:<18}{way:<22}{of_frame[BASELINE] / of_frame[way]:>8.2f}{share:>12.4f}", flush=True)


if __name__ == "__main__":
    main()
