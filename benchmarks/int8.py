"""Frames per second of 8-bit networks, features in to log-likelihoods out on one thread, against the best float path.

    python benchmarks/int8.py [--rounds 7] [--bits 8] [--act-bits 8] [--feature-bits 8]

The networks have random weights, their grids come from random features. The float network is the prepared one, its
normalizations folded: a float path has no faster form. All back ends take turns within each round; a figure is the
median over rounds. On a processor without products of 8-bit integers (VNNI), 8-bit weights run on kernels that widen
them first, which are no faster than float ones; ``--bits 7`` shows what the others do there.
"""

from __future__ import annotations

import click
import networks
import numpy as np
import torch
from forward import SUBSAMPLING, Case, Run, measure, onnxruntime_run, torch_run

from kaldi_quant.backends.onnx.session import optimized_graph
from kaldi_quant.formats.onnx_qdq import check_integer
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.execution import OnnxruntimeNetwork, executable
from kaldi_quant.nnet3.inference import InferenceOptions
from kaldi_quant.nnet3.preparation.prepared import prepare
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork

#: (network, speed over the best float path that is aimed at)
CASES = {"TDNN 7 x 625": (networks.tdnn, 3.5), "TDNN-F 17 x 1536/160": (networks.tdnnf, 3.0)}
CALIBRATION_FRAMES = 300


def quantized(nnet: Nnet, bits: int, act_bits: int, feature_bits: int) -> QuantizedNetwork:
    """A network on grids from random features."""
    feats = np.random.default_rng(0).standard_normal((CALIBRATION_FRAMES, networks.FEATURES)).astype(np.float32)
    default, features = LayerConfig(bits, act_bits, method="minmax"), {"@input": {"act_bits": feature_bits}}
    config = PtqConfig(default, features, observer="minmax", bias_correction=False)
    data = UtteranceSet([("random", feats)], InferenceOptions(ChunkOptions(SUBSAMPLING)))
    return quantize(nnet, config, data)


def integer_run(network: OnnxruntimeNetwork, case: Case) -> Run:
    return lambda: network(case.feats, case.spans, case.times)


def check(network: OnnxruntimeNetwork, case: Case) -> None:
    """Fails where the fast path's results are not the reference's, or a quantized layer runs in float."""
    with torch.inference_mode():
        expected = network.reference(case.feats, case.spans, case.times)
    if not torch.equal(integer_run(network, case)(), expected):
        raise click.ClickException("the fast path's results are not the reference's")
    model = network.onnx(SUBSAMPLING).model
    check_integer(model, optimized_graph(model))


@click.command()
@click.option("--rounds", default=7, help="Measurements of each back end.")
@click.option("--frames", default=1000, help="Frames of a whole utterance.")
@click.option("--bits", default=8, help="Width of the weights.")
@click.option("--act-bits", default=8, help="Width of the activations.")
@click.option("--feature-bits", default=8, help="Width of the features; more than 8 take two products.")
def main(rounds: int, frames: int, bits: int, act_bits: int, feature_bits: int) -> None:
    torch.set_num_threads(1)
    columns = f"{'network':<22}{'frames':>7}  {'back end':<18}{'frames/s':>10}"
    print(f"{columns}{'vs torch':>10}{'vs best float':>15}{'goal':>7}")
    for name, (make, goal) in CASES.items():
        network = quantized(make(), bits, act_bits, feature_bits)
        fast = executable(network, SUBSAMPLING, "onnxruntime")
        assert isinstance(fast, OnnxruntimeNetwork)
        for length in (frames, 150):
            case = Case(prepare(make()).complete().nnet, length)
            check(fast, case)
            floats = {"torch": torch_run(case, "torch"), "oneDNN": torch_run(case, "onednn")}
            exported = onnxruntime_run(case)
            if exported is not None:
                floats["onnxruntime"] = exported
            integers = f"W{bits}A{act_bits} {fast.form}"
            seconds = measure(floats | {integers: integer_run(fast, case)}, rounds)
            best = min(seconds[key] for key in floats)
            for key, value in seconds.items():
                aim = f"{goal:.1f}" if key == integers else ""
                ratios = f"{seconds['torch'] / value:>10.2f}{best / value:>15.2f}{aim:>7}"
                print(f"{name:<22}{length:>7}  {key:<18}{length / value:>10.0f}{ratios}", flush=True)


if __name__ == "__main__":
    main()
