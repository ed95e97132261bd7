"""What the main job costs by stage, and how much faster than speech it is, in float and in 8-bit integers.

    python benchmarks/end_to_end.py [--part stages] [--part words] [--part networks] [--rounds 3]

``stages`` runs the recipes on the embedded example: for each step of a recipe the time that passed and the processor
time of this step and all its processes, each as a share of the whole job's, too.

``words`` runs the verbs one after the other on one thread. A real-time factor is processor time per second of speech:
from the difference between many and few utterances, so that starting and loading, the second column, are apart.

``networks`` is the real-time factor of networks of published size alone, with random weights, on one thread.

Figures are medians over rounds, in which all take turns.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from forward import EXAMPLE, SUBSAMPLING, Case, measure, torch_run

from kaldi_quant.cores import ONE_THREAD
from kaldi_quant.kaldi.tables import read_matrices
from kaldi_quant.kaldi.waves import read_waves
from kaldi_quant.nnet3.inference import FRAMES_PER_SECOND

ROOT = Path(__file__).resolve().parent.parent
JOBS = {
    "float": ["run_forward_pass.sh"],
    "W4A8": ["run_forward_pass_quantization.sh", "--bits=4"],
    "W8A8": ["run_forward_pass_quantization.sh", "--preset=w8a8"],
}
MODEL, GRAPH = "exp/chain/tdnn1a_sp/final.mdl", "exp/chain/tdnn1a_sp/graph_alphadigits"
# Few and many utterances, and how often the example's few recordings are taken.
UTTERANCES, COPIES = (40, 200), (5, 25)

# Runs a recipe, and writes what each verb took: the last line of its output.
_STAGED = """
import json, resource, sys, time
from importlib import import_module
from kaldi_quant.cores import prepare_libraries
prepare_libraries()
from kaldi_quant.cli.recipes import verbs
from kaldi_quant.cli.recipes.__main__ import main

def clock():
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return time.perf_counter(), sum(used.ru_utime + used.ru_stime for used in (own, others))

def timed(verb, *arguments):
    begin = clock()
    call(verb, *arguments)
    spent[verb] = [end - start for start, end in zip(begin, clock())]

spent, call = {}, verbs.call_verb
verbs.call_verb = timed
status = main(sys.argv[1:])
print(json.dumps(spent))
sys.exit(status)
"""


@dataclass(frozen=True)
class Cost:
    """Seconds that passed, and seconds of the processor."""

    wall: float
    processor: float


@contextmanager
def costs() -> Iterator[list[Cost]]:
    """Measures what the processes take that are started in the block and have ended; it is the list's only entry."""

    def used() -> float:
        found = resource.getrusage(resource.RUSAGE_CHILDREN)
        return found.ru_utime + found.ru_stime

    found: list[Cost] = []
    begin, before = time.perf_counter(), used()
    yield found
    found.append(Cost(time.perf_counter() - begin, used() - before))


def run(command: Sequence[object], **variables: str) -> str:
    """Runs a command in the example's folder; returns what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KALDI_ROOT": "", **variables}
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=EXAMPLE, check=False)
    if done.returncode:
        raise click.ClickException(f"{words[:5]}: {done.stderr[-500:]}")
    return done.stdout


def medians(found: Sequence[Cost]) -> Cost:
    """Of either."""
    return Cost(statistics.median(cost.wall for cost in found), statistics.median(cost.processor for cost in found))


def stages(rounds: int) -> None:
    """Prints what each step of the recipes takes."""
    found: dict[str, dict[str, list[Cost]]] = {name: {} for name in JOBS}
    for _ in range(rounds):
        for name, words in JOBS.items():
            with tempfile.TemporaryDirectory() as folder, costs() as whole:
                printed = run([sys.executable, "-c", _STAGED, *words, f"--out-dir={folder}"])
            steps = {verb: Cost(*cost) for verb, cost in json.loads(printed.splitlines()[-1]).items()}
            rest = [whole[0].wall, whole[0].processor]
            for cost in steps.values():
                rest = [rest[0] - cost.wall, rest[1] - cost.processor]
            for step, cost in {**steps, "start, checks": Cost(*rest), "all": whole[0]}.items():
                found[name].setdefault(step, []).append(cost)
    print(f"{'job':<8}{'step':<16}{'wall s':>8}{'share':>7}{'processor s':>13}{'share':>7}")
    for name, steps in found.items():
        whole_job = medians(steps["all"])
        for step, listed in steps.items():
            cost = medians(listed)
            shares = f"{cost.wall / whole_job.wall:>7.0%}", f"{cost.processor / whole_job.processor:>7.0%}"
            print(f"{name:<8}{step:<16}{cost.wall:>8.2f}{shares[0]}{cost.processor:>13.2f}{shares[1]}", flush=True)


class Words:
    """The way from audio to scored words, a verb at a time, for few utterances and for many.

    Args:
        folder: for what the verbs write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        quantizing = ["quantize", "--preset=w8a8", MODEL, "scp:data/train_sub_hires/feats.scp", folder]
        run([sys.executable, "-m", "kaldi_quant", *quantizing])
        self.models = {"float": EXAMPLE / MODEL, "W8A8": folder / "quantized.safetensors"}
        self.speech = {"make-mfcc": self._audio(), **dict.fromkeys(("forward", "decode", "score"), self._features())}

    def _audio(self) -> list[float]:
        """Tables of audio; the seconds of speech in each."""
        lines = (EXAMPLE / "data/test_wav/wav.scp").read_text().splitlines()
        seconds = sum(wave.samples.shape[1] / wave.rate for _, wave in read_waves("scp:data/test_wav/wav.scp"))
        for part, copies in enumerate(COPIES):
            listed = [f"{copy}-{line}\n" for copy in range(copies) for line in lines]
            (self.folder / f"wav.{part}.scp").write_text("".join(listed))
        return [seconds * copies for copies in COPIES]

    def _features(self) -> list[float]:
        """Data folders; the seconds of speech in each."""
        found = []
        for part, count in enumerate(UTTERANCES):
            data = self.folder / f"data.{part}"
            data.mkdir()
            for name in ("feats.scp", "text"):
                lines = (EXAMPLE / "data/test_hires" / name).read_text().splitlines(keepends=True)
                (data / name).write_text("".join(lines[:count]))
            frames = sum(len(feats) for _, feats in read_matrices(f"scp:{data}/feats.scp"))
            found.append(frames / FRAMES_PER_SECOND)
        return found

    def command(self, verb: str, model: str, part: int) -> list[object]:
        """The command line of a verb."""
        data, out = self.folder / f"data.{part}", self.folder / f"{model}.{part}"
        loglikes = f"ark:{self.folder}/{model}.{part}.ark"
        match verb:
            case "make-mfcc":
                tables: list[object] = [f"scp:{self.folder}/wav.{part}.scp", f"ark:{self.folder}/feats.{part}.ark"]
                return [verb, "--config=conf/mfcc_hires.conf", *tables]
            case "forward":
                return [verb, "--num-threads=1", self.models[model], f"scp:{data}/feats.scp", loglikes]
            case "decode":
                return [verb, "--nj=1", "--backend=embedded", MODEL, f"{GRAPH}/HCLG.fst", loglikes, out]
        return [verb, "--backend=embedded", data, GRAPH, out]

    def costs(self, rounds: int) -> dict[tuple[str, str], list[Cost]]:
        """The cost of each verb by model, of few and of many utterances."""
        found: dict[tuple[str, str, int], list[Cost]] = {}
        for _ in range(rounds):
            for verb in self.speech:
                for model in self.models:
                    for part in range(2):
                        if verb == "decode":
                            shutil.rmtree(self.folder / f"{model}.{part}", ignore_errors=True)
                        with costs() as cost:
                            words = self.command(verb, model, part)
                            run([sys.executable, "-m", "kaldi_quant", *words], **ONE_THREAD)
                        found.setdefault((verb, model, part), []).extend(cost)
        return {(verb, model): [medians(found[verb, model, part]) for part in range(2)] for verb, model, _ in found}


def words(rounds: int) -> None:
    """Prints the real-time factor of each verb and of their sum."""
    with tempfile.TemporaryDirectory() as folder, _within(EXAMPLE):
        way = Words(Path(folder))
        found = way.costs(rounds)
    print(f"{'model':<8}{'step':<12}{'start s':>9}{'real-time factor':>18}{'share':>7}{'times float':>13}")
    factors: dict[str, dict[str, tuple[float, float]]] = {}
    for (verb, model), (few, many) in found.items():
        short, long = way.speech[verb]
        factor = (many.processor - few.processor) / (long - short)
        factors.setdefault(model, {})[verb] = few.processor - factor * short, factor
    for model, steps in factors.items():
        steps["all"] = tuple(map(sum, zip(*steps.values(), strict=True)))  # type: ignore[assignment]
        for verb, (start, factor) in steps.items():
            share, ratio = factor / steps["all"][1], factor / factors["float"][verb][1]
            print(f"{model:<8}{verb:<12}{start:>9.2f}{factor:>18.5f}{share:>7.0%}{ratio:>13.2f}", flush=True)


@contextmanager
def _within(folder: Path) -> Iterator[None]:
    """The current folder of the block."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def published(rounds: int) -> None:
    """Prints the real-time factor of networks of published size."""
    import networks
    import torch
    from int8 import check, integer_run, quantized

    from kaldi_quant.nnet3.execution import OnnxruntimeNetwork, executable
    from kaldi_quant.nnet3.preparation.prepared import prepare

    torch.set_num_threads(1)
    frames = 1000
    print(f"{'network':<22}{'model':<8}{'real-time factor':>18}{'times float':>13}")
    for name, make in {"TDNN 7 x 625": networks.tdnn, "TDNN-F 17 x 1536/160": networks.tdnnf}.items():
        fast = executable(quantized(make(), 8, 8, 8), SUBSAMPLING, "onnxruntime")
        assert isinstance(fast, OnnxruntimeNetwork)
        case = Case(prepare(make()).complete().nnet, frames)
        check(fast, case)
        seconds = measure({"float": torch_run(case, "onednn"), "W8A8": integer_run(fast, case)}, rounds)
        for model, value in seconds.items():
            factor = value * FRAMES_PER_SECOND / frames
            print(f"{name:<22}{model:<8}{factor:>18.5f}{value / seconds['float']:>13.2f}", flush=True)


PARTS: Mapping[str, Callable[[int], None]] = {"stages": stages, "words": words, "networks": published}


@click.command()
@click.option("--part", "parts", type=click.Choice(list(PARTS)), multiple=True, help="By default all.")
@click.option("--rounds", default=3, help="Measurements of each.")
def main(parts: tuple[str, ...], rounds: int) -> None:
    for part in parts or PARTS:
        PARTS[part](rounds)


if __name__ == "__main__":
    main()
