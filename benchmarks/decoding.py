"""Memory and time of decoding with graphs and utterances of real size, on the embedded back end.

    python benchmarks/decoding.py [--megabytes 200] [--form const] [--nj 1,2,4] [--utterances 8] [--long 2]

1. A synthetic HCLG.fst of a size (``decoding_graph.py``), in a temporary folder that is removed.
2. ``kaldi-quant decode`` with several --nj: the largest memory of all its processes together, and its times.
3. The same work in this process, step by step, in seconds of the processor: the checks of the graph, loading it, and,
   for ordinary utterances and for long ones, search, determinization, writing and reading lattices, and the sweep over
   language-model weights and penalties. Long utterances are decoded with the example's graph, too, from the example's
   own log-likelihoods one behind the other.
"""

from __future__ import annotations

import gzip
import io
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from decoding_graph import SyntheticGraph
from watch import watch

from kaldi_quant.decode import embedded_decoder
from kaldi_quant.decode.checks import check_graph
from kaldi_quant.decode.embedded_decoder import EmbeddedDecoder
from kaldi_quant.decode.graph import load_graph
from kaldi_quant.decode.options import DecodeOptions, ScoreOptions
from kaldi_quant.decode.sweep import best_paths
from kaldi_quant.kaldi.fst import FstBytes
from kaldi_quant.kaldi.fst_file import FstFile
from kaldi_quant.kaldi.lattice import CompactLattice
from kaldi_quant.kaldi.tables import matrix_writer, read_matrices
from kaldi_quant.kaldi.text_tables import read_symbol_table
from kaldi_quant.kaldi.transition_model import TransitionModel, read_transition_model
from kaldi_quant.made import digest_of_file

EXAMPLE = Path(__file__).resolve().parent.parent / "egs" / "alphadigits"
FOLDER = EXAMPLE / "exp" / "chain" / "tdnn1a_sp"
MODEL = str(FOLDER / "final.mdl")
FRAMES_PER_SECOND = 100 / 3  # of the network's output: each stands for 3 frames of 10 ms
LONG_FRAMES = 2000  # 60 seconds
# Chosen so that lattices have the density of real ones, tens of arcs for each frame, with the beams of recipes.
NOISE, MARGIN = 0.5, 6.0
Table = dict[str, np.ndarray]


class Stopwatch:
    """Seconds of the processor for each of several things."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        begin = time.process_time()
        yield
        self.seconds[name] += time.process_time() - begin

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose time is taken from now on."""

        def call(*arguments: object) -> object:
            with self.running(name):
                return function(*arguments)

        return call


def made_utterances(graph: SyntheticGraph, count: int, frames: int) -> Table:
    random = np.random.default_rng(frames)
    return {f"utt{frames}-{number:03d}": graph.loglikes(frames, random, NOISE, MARGIN) for number in range(count)}


def example_utterances(count: int) -> Table:
    """The example's log-likelihoods one behind the other, each time from another place on."""
    rows = np.concatenate(list(dict(read_matrices(f"ark:{EXAMPLE}/reference/nnet3_compute.test_first4.ark")).values()))
    repeated = np.tile(rows, (-(-LONG_FRAMES // len(rows)) + 1, 1))
    return {f"example-{number:03d}": repeated[number * 37 :][:LONG_FRAMES] for number in range(count)}


def steps(graph: Any, model: TransitionModel, table: Table, options: DecodeOptions) -> tuple[dict[str, float], str]:
    """Seconds of each step for all utterances of a table, and how large lattices are."""
    stopwatch, raw_arcs, arcs = Stopwatch(), 0, 0
    determinize = embedded_decoder.determinize

    def counted(raw: CompactLattice, beam: float) -> CompactLattice:
        nonlocal raw_arcs
        raw_arcs += raw.num_arcs
        return determinize(raw, beam)

    embedded_decoder.determinize = stopwatch.timed("determinization", counted)
    points = ScoreOptions().points
    with tempfile.TemporaryDirectory() as folder:
        decoder = EmbeddedDecoder(graph, model.transition_id_to_pdf, options, Path(folder))
        lattices = [stopwatch.timed("decoding", decoder.decode)(*item) for item in table.items()]
    embedded_decoder.determinize = determinize
    for lattice in lattices:
        arcs += lattice.num_arcs
        packed = io.BytesIO()
        with stopwatch.running("writing"), gzip.GzipFile("", "wb", 6, packed, mtime=0) as stream:
            stream.write(lattice.to_bytes())
        with stopwatch.running("reading"):
            read = CompactLattice.read(FstBytes(gzip.decompress(packed.getvalue()), "lattice"))
        stopwatch.timed("sweep", best_paths)(read, points)
    seconds = stopwatch.seconds
    seconds["search"] = seconds["decoding"] - seconds["determinization"]
    frames = sum(map(len, table.values()))
    density = f"{frames} frames, {raw_arcs / frames:.1f} arcs for each in raw lattices, {arcs / frames:.2f} in others"
    return {name: seconds[name] for name in ("search", "determinization", "writing", "reading", "sweep")}, density


def print_steps(name: str, found: tuple[dict[str, float], str]) -> None:
    seconds, density = found
    print(f"{name}: {density}")
    print("  " + ", ".join(f"{step} {value:.2f} s" for step, value in seconds.items()))
    search = seconds["search"]
    print("  of the search: " + ", ".join(f"{step} {value / search:.2f}" for step, value in seconds.items()))


def print_graph(path: Path, model: TransitionModel) -> Any:
    """Prints what comes before decoding; returns the graph."""
    stopwatch = Stopwatch()
    words = read_symbol_table(path.parent / "words.txt")
    with stopwatch.running("checks"):
        check_graph(FstFile(path), str(path), model, MODEL, words, "words.txt")
    with stopwatch.running("digest"):
        digest_of_file(path)
    with stopwatch.running("loading"):
        graph = load_graph(str(path))
    print("the graph: " + ", ".join(f"{step} {value:.2f} s" for step, value in stopwatch.seconds.items()))
    return graph


def print_memory(path: Path, table: Table, jobs: list[int], options: DecodeOptions, folder: Path) -> None:
    with matrix_writer(f"ark:{folder}/loglikes.ark") as writer:
        for utterance, values in table.items():
            writer.write(utterance, values)
    size = path.stat().st_size / (1 << 20)
    for number in jobs:
        command = [sys.executable, "-m", "kaldi_quant", "decode", "--backend", "embedded", "--nj", str(number)]
        command += [f"--beam={options.beam:g}", f"--lattice-beam={options.lattice_beam:g}", MODEL, str(path)]
        found = watch([*command, f"ark:{folder}/loglikes.ark", str(folder / f"decode{number}")])
        print(
            f"--nj {number}: PSS {found.pss:.0f} MB ({found.pss / size:.2f} of the graph), RSS {found.rss:.0f} MB, "
            f"anonymous {found.anonymous:.0f} MB; {found.processor_seconds:.1f} s of the processor, "
            f"{found.seconds:.1f} s of the clock"
        )


@click.command()
@click.option("--megabytes", default=200.0, show_default=True, help="Size of the graph, in millions of bytes.")
@click.option("--form", type=click.Choice(["const", "vector"]), default="const", show_default=True)
@click.option("--nj", default="1,2,4", show_default=True, help="Numbers of jobs.")
@click.option("--utterances", default=8, show_default=True, help="Number of ordinary utterances.")
@click.option("--seconds", default=5.0, show_default=True, help="How long these are.")
@click.option("--long", "long_utterances", default=2, show_default=True, help="Long utterances, of 60 seconds.")
@click.option("--beam", default=13.0, show_default=True)
@click.option("--lattice-beam", default=8.0, show_default=True)
def main(
    megabytes: float,
    form: str,
    nj: str,
    utterances: int,
    seconds: float,
    long_utterances: int,
    beam: float,
    lattice_beam: float,
) -> None:
    """Print memory and times of decoding."""
    model, options = read_transition_model(MODEL), DecodeOptions(beam=beam, lattice_beam=lattice_beam)
    with tempfile.TemporaryDirectory(prefix="kaldi_quant.") as temporary:
        folder = Path(temporary)
        path = folder / "HCLG.fst"
        synthetic = SyntheticGraph.of_size(model, int(megabytes * 1e6), form)
        synthetic.write(path, form)
        synthetic.write_words(folder / "words.txt")
        size = path.stat().st_size / 1e6
        print(f"{form} graph: {size:.0f} MB, {synthetic.num_states} states, {synthetic.num_arcs} arcs")
        ordinary = made_utterances(synthetic, utterances, round(seconds * FRAMES_PER_SECOND))
        print_memory(path, ordinary, [int(number) for number in nj.split(",")], options, folder)
        graph = print_graph(path, model)
        print_steps("ordinary utterances", steps(graph, model, ordinary, options))
        if not long_utterances:
            return
        long = made_utterances(synthetic, long_utterances, LONG_FRAMES)
        print_steps("long utterances", steps(graph, model, long, options))
    graph = load_graph(str(FOLDER / "graph_alphadigits" / "HCLG.fst"))
    print_steps(
        "long utterances, the example's graph", steps(graph, model, example_utterances(long_utterances), options)
    )


if __name__ == "__main__":
    main()
