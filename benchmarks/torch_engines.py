"""PyTorch's own quantization: how fast its engines are, and how near it comes to float beside ours.

    python benchmarks/torch_engines.py [--rounds 7] [--frames 1000]

Speed: frames per second of 8-bit networks, features in to log-likelihoods out on one thread, against the best float
path and onnxruntime. The networks have random weights. All take turns within each round; a figure is the median over
rounds. Engines whose 8-bit products overflow on this processor compute with activations of 7 bits, as they always do.

Divergence: of the log-likelihoods from those of the float network, at the same settings by our quantizers and by
PyTorch's, and their ratio; calibrated on training data of the example, measured on its development data.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import click
import numpy as np
import torch
from forward import EXAMPLE, SUBSAMPLING, Case, Run, measure, torch_run
from int8 import CASES, quantized

from kaldi_quant.backends.torch_engines.kernels import supported_engines
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.kaldi.tables import read_matrices
from kaldi_quant.nnet3 import execution
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import Inference, InferenceOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.preparation.prepared import prepare
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.runnable import Runnable
from kaldi_quant.nnet3.torch_engines.network import executable
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.distance import KullbackLeibler
from kaldi_quant.quant.layer_config import LayerConfig

MODELS = ("tdnn1a_sp", "tdnnf1b_sp")
OPTIONS = InferenceOptions(ChunkOptions(SUBSAMPLING))
CALIBRATION, MEASURED = 60, 40
SETTINGS = {
    "static, per channel": LayerConfig(method="minmax"),
    "static, per tensor": LayerConfig(method="minmax", per_channel=False),
    "dynamic, per channel": LayerConfig(method="minmax", ranges="dynamic"),
}


def integer_run(network: Runnable, case: Case) -> Run:
    def run() -> torch.Tensor:
        with torch.inference_mode():
            return network(case.feats, case.spans, case.times)

    return run


def speeds(rounds: int, frames: int) -> None:
    print(f"{'network':<22}{'back end':<14}{'frames/s':>10}{'vs best float':>15}{'activations':>13}", flush=True)
    for name, (make, _) in CASES.items():
        case, network = Case(prepare(make()).complete().nnet, frames), quantized(make(), 8, 8)
        engines = {engine: executable(network, engine) for engine in supported_engines()}
        bits = {engine: max(map(running.network.act_bits, network.layers)) for engine, running in engines.items()}
        floats = {"float": torch_run(case, "torch"), "float oneDNN": torch_run(case, "onednn")}
        integers: dict[str, Runnable] = {
            "onnxruntime": execution.executable(network, SUBSAMPLING, "onnxruntime"),
            **engines,
        }
        runs = {key: integer_run(one, case) for key, one in integers.items()}
        seconds = measure(floats | runs, rounds)
        best = min(seconds[key] for key in floats)
        for key, value in seconds.items():
            width = "" if key in floats else bits.get(key, 8)
            print(f"{name:<22}{key:<14}{frames / value:>10.0f}{best / value:>15.2f}{width:>13}", flush=True)


def features(data: str, count: int) -> list[tuple[str, np.ndarray]]:
    table = list(read_matrices(f"scp:{EXAMPLE}/data/{data}/feats.scp"))
    return table[:: max(1, len(table) // count)][:count]


def divergence(expected: dict[str, np.ndarray], nnet: Nnet, config: PtqConfig, data: UtteranceSet) -> float:
    network = quantize(nnet, config, data).model()
    found = dict(Inference(network, None, OPTIONS).compute(features("dev_hires", MEASURED)))
    frames = sum(map(len, expected.values()))
    return sum(KullbackLeibler().sum(expected[name], found[name]) for name in expected) / frames


def divergences() -> None:
    print(f"\n{'model':<14}{'settings, min-max':<24}{'KL, ours':>10}{'torch':>10}{'torch / ours':>14}", flush=True)
    data = UtteranceSet(features("train_sub_hires", CALIBRATION), OPTIONS)
    for name in MODELS:
        nnet = read_model(EXAMPLE / f"exp/chain/{name}/final.mdl").nnet
        expected = dict(Inference(AcousticModel(nnet), None, OPTIONS).compute(features("dev_hires", MEASURED)))
        for settings, layer in SETTINGS.items():
            ours = PtqConfig(layer, observer="minmax", bias_correction=False)
            losses = [divergence(expected, nnet, config, data) for config in (ours, replace(ours, backend="torch"))]
            ratio = losses[1] / losses[0]
            print(f"{name:<14}{settings:<24}{losses[0]:>10.5f}{losses[1]:>10.5f}{ratio:>14.3f}", flush=True)


@click.command()
@click.option("--rounds", default=7, help="Measurements of each back end.")
@click.option("--frames", default=1000, help="Frames of the utterance.")
def main(rounds: int, frames: int) -> None:
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    speeds(rounds, frames)
    divergences()


if __name__ == "__main__":
    main()
