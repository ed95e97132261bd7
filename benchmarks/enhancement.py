"""Speech enhancement frame by frame on one thread: integers against float, and what share of the time it takes.

    python benchmarks/enhancement.py [--rounds 300] [--network crn-100k] [--no-compiled]

Networks have random parameters. A round is one block of a stream: its spectrum, the network with its states, and the
samples that it gives. "frame" is the network alone in relation to the float network in onnxruntime; above 1 it is
faster. "real time" is the whole round's share of the block's duration. The ways of running take turns within each
round; a figure is the median over rounds.
"""

from __future__ import annotations

import tempfile
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


def push(stream: EnhancementStream, block: torch.Tensor) -> Callable[[], object]:
    return lambda: stream.push(block)


def one_frame(network: FrameNetwork, frame: torch.Tensor) -> Callable[[], object]:
    return lambda: network.run(frame, network.states)


@click.command()
@click.option("--rounds", default=300, help="Measurements of each way.")
@click.option("--network", "names", multiple=True, default=STREAMING[:-1], type=click.Choice(STREAMING))
@click.option("--compiled/--no-compiled", default=True, help="Whether the kernels of numba are measured, too.")
def main(rounds: int, names: tuple[str, ...], compiled: bool) -> None:
    torch.set_num_threads(1)
    print(f"{'network':<18}{'way':<22}{'frame':>8}{'real time':>12}")
    for name in names:
        kind = NETWORKS[name]
        around, block = kind.around, torch.randn(kind.around.stft.hop)
        with tempfile.TemporaryDirectory() as folder:
            ways = runs(kind, Path(folder), compiled)
        frame = frame_of(around).contiguous()
        with torch.inference_mode():
            of_frame = measure({way: one_frame(network, frame) for way, network in ways.items()}, rounds)
            of_block = measure({way: push(EnhancementStream(kind, net), block) for way, net in ways.items()}, rounds)
        for way, seconds in of_block.items():
            share = seconds * RATE / around.stft.hop
            print(f"{name:<18}{way:<22}{of_frame[BASELINE] / of_frame[way]:>8.2f}{share:>12.4f}", flush=True)


if __name__ == "__main__":
    main()
