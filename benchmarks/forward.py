"""Frames per second of the float forward pass on one thread, as ratios between back ends.

    python benchmarks/forward.py [--rounds 7] [--frames 1000]

The back ends take turns within each round, so that what else the machine does hits all alike; a figure is the median
over rounds. onnxruntime runs an export of the same network where it is installed; nnet3-compute runs where KALDI_ROOT
is set, its start-up time subtracted.
"""

from __future__ import annotations

import io
import os
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import click
import networks
import numpy as np
import torch

from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.kaldi.tables import matrix_writer
from kaldi_quant.nnet3.linear import FloatBackend, float_backend
from kaldi_quant.nnet3.model import AcousticModel

EXAMPLE = Path(__file__).resolve().parent.parent / "egs" / "alphadigits"
SUBSAMPLING = 3
Run = Callable[[], object]


class Case(torch.nn.Module):
    """A network and an input of random features, as one call.

    Args:
        nnet: the network.
        frames: feature frames per sequence.
    """

    def __init__(self, nnet: Nnet, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.model = AcousticModel(nnet).eval()
        last = (frames - 1) // SUBSAMPLING * SUBSAMPLING
        context = self.model.context
        self.spans = [(-context.left, last + context.right + 1)]
        self.times = np.arange(0, last + 1, SUBSAMPLING)
        length = self.spans[0][1] - self.spans[0][0]
        self.feats = torch.randn(1, length, self.model.input_dim, generator=torch.Generator().manual_seed(0))

    def forward(self, feats: torch.Tensor) -> torch.Tensor:
        return self.model(feats, self.spans, self.times)


def torch_run(case: Case, backend: FloatBackend) -> Run:
    def run() -> torch.Tensor:
        with torch.inference_mode(), float_backend(backend):
            return case(case.feats)

    return run


def onnxruntime_run(case: Case) -> Run | None:
    """The network as an ONNX graph of fixed length; None where onnx or onnxruntime is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError:
        return None
    stream = io.BytesIO()
    with torch.no_grad(), float_backend("torch"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(case, (case.feats,), stream, dynamo=False, input_names=["feats"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(stream.getvalue(), options, providers=["CPUExecutionProvider"])
    feed = {"feats": case.feats.numpy()}
    return lambda: session.run(None, feed)


def kaldi_seconds(nnet: Nnet, frames: int, copies: int = 9) -> float | None:
    """Seconds of nnet3-compute per sequence of ``frames`` frames; None without KALDI_ROOT."""
    root = os.environ.get("KALDI_ROOT")
    if not root:
        return None
    feats = np.random.default_rng(0).standard_normal((frames, nnet.input_dim("input"))).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "final.raw"
        model.write_bytes(Model(nnet, None, True, "").getvalue())
        walls = []
        for number in (1, copies):
            with matrix_writer(f"ark:{folder}/feats.ark") as writer:
                for i in range(number):
                    writer.write(f"utterance{i}", feats)
            begin = time.perf_counter()
            subprocess.run(
                [
                    f"{root}/src/nnet3bin/nnet3-compute",
                    "--use-priors=false",
                    f"--frame-subsampling-factor={SUBSAMPLING}",
                    f"--frames-per-chunk={-(-frames // SUBSAMPLING) * SUBSAMPLING}",
                    str(model),
                    f"ark:{folder}/feats.ark",
                    f"ark:{folder}/out.ark",
                ],
                check=True,
                capture_output=True,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
            walls.append(time.perf_counter() - begin)
    return (walls[1] - walls[0]) / (copies - 1)


def measure(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Median seconds of each run, all taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


@click.command()
@click.option("--rounds", default=7, help="Measurements of each back end.")
@click.option("--frames", default=1000, help="Frames of a whole utterance.")
def main(rounds: int, frames: int) -> None:
    torch.set_num_threads(1)
    cases: dict[str, Nnet] = {
        "example TDNN 192": read_model(EXAMPLE / "exp/chain/tdnn1a_sp/final.mdl").nnet,
        "example TDNN-F 256/64": read_model(EXAMPLE / "exp/chain/tdnnf1b_sp/final.mdl").nnet,
        "TDNN 7 x 625": networks.tdnn(),
        "TDNN-F 17 x 1536/160": networks.tdnnf(),
    }
    print(f"{'network':<24}{'frames':>7}  {'back end':<15}{'frames/s':>10}{'vs torch':>10}")
    for name, nnet in cases.items():
        for length in (frames, 150):
            case = Case(nnet, length)
            runs = {"torch": torch_run(case, "torch"), "oneDNN": torch_run(case, "onednn")}
            exported = onnxruntime_run(case)
            if exported is not None:
                runs["onnxruntime"] = exported
            seconds = measure(runs, rounds)
            kaldi = kaldi_seconds(nnet, length)
            if kaldi is not None:
                seconds["nnet3-compute"] = kaldi
            for backend, value in seconds.items():
                ratio = seconds["torch"] / value
                print(f"{name:<24}{length:>7}  {backend:<15}{length / value:>10.0f}{ratio:>10.2f}", flush=True)


if __name__ == "__main__":
    main()
