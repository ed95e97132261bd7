"""Time of a chunk of a stream, features in to log-likelihoods out on one thread, in floats and in 8-bit integers.

    python benchmarks/streaming.py [--rounds 20] [--frames-per-chunk 20] [MODEL ...]

``states`` carries from chunk to chunk what the next one needs again, ``recompute`` computes the whole context of each
chunk; ``torch`` is the first in PyTorch, which runs every network. Networks are those of ``networks.py``, with random
weights, and files that are given; grids come from random features. All take turns within each round; a figure is the
median over rounds of the processor's time, which other programs disturb little.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import click
import networks
import numpy as np
import torch

from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.execution.chunks import OnnxruntimeChunks, in_float
from kaldi_quant.nnet3.execution.self_test import trusted_form
from kaldi_quant.nnet3.incremental import IncrementalNetwork
from kaldi_quant.nnet3.inference import InferenceOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.recogniser.network import ChunkComputer, StreamingNetwork

SUBSAMPLING = 3
FRAME_SHIFT = 0.01
CALIBRATION_FRAMES = 300


def quantized(nnet: Nnet) -> QuantizedNetwork:
    """A network in 8 bits on grids from random features."""
    random = np.random.default_rng(0)
    feats = random.standard_normal((CALIBRATION_FRAMES, nnet.input_dim())).astype(np.float32)
    ivector = random.standard_normal(nnet.input_dim("ivector")).astype(np.float32)
    config = PtqConfig(LayerConfig(8, 8, method="minmax"), observer="minmax", bias_correction=False)
    data = UtteranceSet([("random", feats)], InferenceOptions(ChunkOptions(SUBSAMPLING)), lambda utterance: ivector)
    return quantize(nnet, config, data)


def runner(computer: ChunkComputer, feats: np.ndarray, ivectors: np.ndarray) -> Callable[[], None]:
    """Computes the next chunk of an endless utterance."""
    state = computer.begin()

    def chunk() -> None:
        computer.chunk(state, lambda name, times: (feats if name == "input" else ivectors)[: len(times)])

    chunk()
    chunk()
    return chunk


@click.command()
@click.option("--rounds", default=20, help="Chunks of each.")
@click.option("--frames-per-chunk", default=20, help="Frames of a chunk, about.")
@click.argument("models", nargs=-1, type=click.Path(exists=True, path_type=Path))
def main(rounds: int, frames_per_chunk: int, models: tuple[Path, ...]) -> None:
    torch.set_num_threads(1)
    cases: dict[str, Callable[[], Nnet]] = {"TDNN 7 x 625": networks.tdnn, "TDNN-F 17 x 1536/160": networks.tdnnf}
    cases |= {path.parent.name: lambda path=path: read_model(path).nnet for path in models}  # type: ignore[misc]
    print(f"{'network':<22}{'chunks':<18}{'ms':>8}{'real time':>11}{'vs float states':>17}")
    for title, make in cases.items():
        nnet = make()
        network = StreamingNetwork(AcousticModel(nnet), SUBSAMPLING, frames_per_chunk, execution="reference")
        integers, form, floats = quantized(nnet), trusted_form() or "exact", in_float(nnet)
        each, context = network.frames_per_chunk, network.context
        random = np.random.default_rng(0)
        feats = random.standard_normal((1000, network.input_dim)).astype(np.float32)
        ivectors = random.standard_normal((1000, max(network.ivector_dim, 1))).astype(np.float32)
        computers: dict[str, ChunkComputer] = {
            "float states": OnnxruntimeChunks(floats, context, SUBSAMPLING, each),
            "float recompute": OnnxruntimeChunks(floats, context, SUBSAMPLING, each, carried=False),
            "float torch": IncrementalNetwork(AcousticModel(nnet), SUBSAMPLING, each),
            "integer states": OnnxruntimeChunks(integers, context, SUBSAMPLING, each, form),
            "integer recompute": OnnxruntimeChunks(integers, context, SUBSAMPLING, each, form, carried=False),
        }
        runs = {name: runner(computer, feats, ivectors) for name, computer in computers.items()}
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                begin = time.thread_time()
                run()
                times[name].append(time.thread_time() - begin)
        medians = {name: float(np.median(found)) for name, found in times.items()}
        for name, median in medians.items():
            ratio = medians["float states"] / median
            print(f"{title:<22}{name:<18}{median * 1e3:>8.2f}{median / (each * FRAME_SHIFT):>11.4f}{ratio:>17.2f}")


if __name__ == "__main__":
    main()
