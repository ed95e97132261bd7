"""Speed and memory of the chain objective on one thread or on a GPU, as ratios.

    python benchmarks/chain.py [--device cpu] [--bf16] [--rounds 5] [--sequences 64] [--large-sequences 32]

1. A training step, with the example's network and graph on its diagnostics, merged as Kaldi merges them, and with a
   network and a graph of published size (TDNN-F of 17 layers of 1536; 30,000 states, 300,000 arcs, 3,000 pdfs) on
   examples made here: feature frames per second (context left out, as Kaldi counts) of network and objective together,
   forward and backward, the objective's share, and how fast the examples are read.
2. How many operations the objective starts for each output frame, in the form for CPUs and in that for GPUs.
3. The sparse products of the denominator by several kernels.
4. The denominator, forward and backward, on both graphs: time per frame and arc, and the peak of the memory.

What is compared takes turns within each round; a figure is the median over rounds, in seconds of the processor (on a
GPU, and for processes that read, of the clock), so that other programs on the machine count little.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch.utils._python_dispatch import TorchDispatchMode

from kaldi_quant.cores import helpers
from kaldi_quant.kaldi.egs import EgsOptions, minibatches
from kaldi_quant.kaldi.fst import Fst
from kaldi_quant.kaldi.fst_file import read_fst
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.chain.den_graph import DenominatorGraph
from kaldi_quant.nnet3.chain.denominator import denominator
from kaldi_quant.nnet3.chain.objective import chain_objective
from kaldi_quant.nnet3.chain.options import ChainOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.training.example_readers import ExampleReaders
from kaldi_quant.nnet3.training.examples import ChainBatch, chain_batches, chain_shares, wanted_examples
from kaldi_quant.train.parallel.device_context import DeviceContext

sys.path.insert(0, str(Path(__file__).parent))

from chain_examples import FRAMES, published_fst, write_examples
from networks import FEATURES, tdnnf

FOLDER = Path(__file__).resolve().parent.parent / "egs" / "alphadigits" / "exp" / "chain" / "tdnn1a_sp"
RECIPE = ChainOptions(0.1, 0.1, 5e-5, 0.01)
PDFS, LARGE_PDFS = 208, 3_000
READERS, PASSES = helpers(8), 5
BY_PROCESSES = f"by {READERS} processes"
CPU = torch.device("cpu")
Run = Callable[[], object]


def measure(runs: dict[str, Run], rounds: int, device: torch.device = CPU) -> dict[str, float]:
    """Median seconds of each run, all taking turns: of the processor, or on a GPU of the clock."""
    clock = time.process_time if device == CPU else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        # The first makes ready, the second may record.
        run()
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            begin = clock()
            run()
            if device != CPU:
                torch.cuda.synchronize(device)
            seconds[name].append(clock() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


@dataclass
class Task:
    """A network with its graph and examples."""

    name: str
    nnet: Nnet
    xent: list[str]
    graph: DenominatorGraph
    archive: str
    sequences: int


@dataclass
class Timing:
    """Seconds of what is done with so many feature frames, by name."""

    frames: int
    seconds: dict[str, float]

    def rate(self, name: str) -> float:
        """Feature frames per second."""
        return self.frames / self.seconds[name]

    def share(self, name: str) -> float:
        """Of a step."""
        return self.seconds[name] / self.seconds["step"]


def time_step(task: Task, rounds: int, place: DeviceContext) -> Timing:
    """Network, objective and both together, forward and backward; and reading."""
    device = place.device
    model = AcousticModel(task.nnet, "output", task.xent).to(device)
    options = EgsOptions(str(task.sequences), read_ahead=0)
    begin = time.process_time()
    read = [batch for _, batch in chain_batches(task.archive, options, model)]
    reading = time.process_time() - begin
    batches = [batch.to(device) for batch in read]
    frames = sum(batch.num_frames for batch in batches)

    def outputs(batch: ChainBatch) -> list[torch.Tensor]:
        with place.forward():
            found = model.outputs(batch.feats, [batch.span] * len(batch.feats), batch.output_times)
        return list(found.values())

    def loss(batch: ChainBatch, output: torch.Tensor, xent: torch.Tensor | None = None) -> torch.Tensor:
        return chain_objective(task.graph, batch.arcs, output, xent, RECIPE, batch.deriv_weights).loss

    detached = []
    for batch in batches:
        with torch.no_grad():
            detached.append([values.clone().requires_grad_() for values in outputs(batch)])

    def network() -> None:
        for batch in batches:
            sum(values.float().sum() for values in outputs(batch)).backward()  # type: ignore[union-attr]

    def objective() -> None:
        for batch, values in zip(batches, detached, strict=True):
            loss(batch, *values).backward()

    def step() -> None:
        for batch in batches:
            loss(batch, *outputs(batch)).backward()

    seconds = measure({"network alone": network, "objective alone": objective, "step": step}, rounds, device)
    seconds["reading the egs"] = reading
    seconds[BY_PROCESSES] = read_by_processes(task, model, place)
    return Timing(frames, seconds)


def training_step(task: Task, rounds: int, place: DeviceContext) -> None:
    found = time_step(task, rounds, place)
    print(
        f"Training step, {task.name}: minibatches of {task.sequences} sequences, {found.frames} feature frames, "
        f"on {place.device}{' in bfloat16' if place.bf16 else ''}"
    )
    for name in found.seconds:
        print(f"  {name:<18}{found.rate(name):>9.0f} frames/s {found.share(name):>6.2f} of a step")
    if place.device.type == "cuda":
        print(f"  peak of the memory{torch.cuda.max_memory_allocated(place.device) / 2**20:>9.0f} MiB")


def read_by_processes(task: Task, model: AcousticModel, place: DeviceContext) -> float:
    """Seconds of a pass, where one follows the other."""
    readers = ExampleReaders(READERS)
    wanted = wanted_examples(task.archive, EgsOptions(str(task.sequences)), model, place)
    passes = [replace(wanted, options=replace(wanted.options, srand=srand)) for srand in range(PASSES + 1)]
    for number, each in enumerate(passes):
        if number == 1:
            begin = time.perf_counter()
        for _ in chain_shares(each, readers, passes[number + 1] if number < PASSES else None):
            pass
    seconds = time.perf_counter() - begin
    readers.close()
    return seconds / PASSES


class _Count(TorchDispatchMode):
    """Counts operations that compute; views and empty tensors are none."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        empty = func.overloadpacket in (torch.ops.aten.empty, torch.ops.aten.empty_like, torch.ops.aten.new_empty)
        self.operations += not (func.is_view or empty)
        return func(*args, **(kwargs or {}))


def operations(task: Task) -> None:
    """Of the objective, forward and backward, for one output frame more."""
    counts: dict[bool, dict[int, int]] = {False: {}, True: {}}
    for _, example in minibatches(task.archive, EgsOptions(str(task.sequences), read_ahead=0)):
        batch = ChainBatch.of(example)
        for padded, found in counts.items():
            arcs = batch.arcs.padded(CPU) if padded else batch.arcs
            output = torch.randn(arcs.shape, requires_grad=True)
            with _Count() as count:
                chain_objective(task.graph, arcs, output, None, RECIPE).loss.backward()
            found[arcs.shape[1]] = count.operations
    print("Operations of the objective for each output frame")
    for padded, found in counts.items():
        first, last = min(found), max(found)
        per_frame = (found[last] - found[first]) / (last - first)
        print(f"  {'for GPUs' if padded else 'for CPUs':<18}{per_frame:>9.1f}")


def products(name: str, fst: Fst, pdfs: int, sequences: int, rounds: int) -> None:
    matrices = DenominatorGraph(fst, pdfs).matrices(torch.float32, CPU)
    keys, pair = np.unique(fst.nextstate.astype(np.int64) * pdfs + fst.ilabel, return_inverse=True)
    pairs, values = len(keys), np.exp(-fst.weight)
    arcs = csr_matrix((values, (pair, fst.source)), (pairs, fst.num_states))
    x = torch.rand(fst.num_states, sequences)
    rows, columns, probs = (
        torch.from_numpy(pair),
        torch.from_numpy(fst.source).long(),
        torch.from_numpy(values)[:, None],
    )
    offsets, indices = torch.from_numpy(arcs.indptr), torch.from_numpy(arcs.indices)
    warnings.simplefilter("ignore", UserWarning)
    csr = torch.sparse_csr_tensor(offsets.long(), indices.long(), torch.from_numpy(arcs.data), size=arcs.shape)
    runs: dict[str, Run] = {
        "embedding bag": lambda: matrices.arcs @ x,
        "torch CSR": lambda: csr @ x,
        "scipy CSR": lambda: arcs @ x.numpy(),
        "index_add": lambda: torch.zeros(pairs, sequences).index_add_(0, rows, x.index_select(0, columns) * probs),
    }
    if pairs * fst.num_states < 10_000_000:
        dense = torch.from_numpy(arcs.toarray())
        runs["dense"] = lambda: dense @ x
    seconds = measure(runs, rounds)
    print(f"Arcs of the {name} graph ({fst.num_states} states, {len(fst.arcs)} arcs, {pairs} pairs) x {sequences}")
    for kernel, value in seconds.items():
        print(f"  {kernel:<18}{1e3 * value:>9.3f} ms {value / seconds['embedding bag']:>10.2f} x embedding bag")


def denominators(graphs: dict[str, tuple[Fst, int, int]], rounds: int, device: torch.device) -> None:
    runs: dict[str, Run] = {}
    work = {}
    for name, (fst, pdfs, sequences) in graphs.items():
        graph = DenominatorGraph(fst, pdfs)
        output = torch.randn(sequences, FRAMES, pdfs, device=device)

        def run(graph: DenominatorGraph = graph, output: torch.Tensor = output) -> None:
            # .item() waits for a GPU.
            denominator(graph, output, 0.1, with_derivative=True).log_prob.sum().item()

        runs[name], work[name] = run, (graph, sequences)
    seconds = measure(runs, rounds, device)
    print(f"Denominator, forward and backward, {FRAMES} output frames, on {device}")
    first = None
    for name, (graph, sequences) in work.items():
        per_arc = seconds[name] / (sequences * FRAMES * graph.num_arcs)
        first = first or per_arc
        rate = sequences * FRAMES * 3 / seconds[name]
        print(
            f"  {name:<18}{sequences:>4} sequences {seconds[name]:>8.3f} s {rate:>9.0f} feature frames/s "
            f"{per_arc / first:>6.2f} x the time per arc"
        )
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 2**20
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"  peak of the memory{peak:>9.0f} MiB")


def tasks(folder: Path, sequences: int, large_sequences: int) -> Iterator[Task]:
    """The example's, and one of published size whose examples are written to a folder."""
    example = DenominatorGraph(read_fst(FOLDER / "den.fst"), PDFS)
    archive = f"ark:{FOLDER}/egs/train_diagnostic.cegs"
    yield Task("example", read_model(FOLDER / "final.mdl").nnet, ["output-xent"], example, archive, sequences)
    fst, nnet = published_fst(pdfs=LARGE_PDFS), tdnnf(pdfs=LARGE_PDFS)
    context = AcousticModel(nnet).context
    path, number = folder / "egs.ark", 2 * large_sequences
    write_examples(path, number, fst, LARGE_PDFS, FEATURES, (context.left, context.right))
    yield Task("published size", nnet, [], DenominatorGraph(fst, LARGE_PDFS), f"ark:{path}", large_sequences)


@click.command()
@click.option("--rounds", default=5, help="Measurements of each.")
@click.option("--sequences", default=64, help="Sequences in a minibatch of the example.")
@click.option("--large-sequences", default=32, help="Sequences in a minibatch for the graph of published size.")
@click.option("--device", default="cpu", help="cpu or cuda.")
@click.option("--bf16", is_flag=True, help="The networks compute their products in bfloat16.")
def main(rounds: int, sequences: int, large_sequences: int, device: str, bf16: bool) -> None:
    torch.set_num_threads(1)
    place = DeviceContext(torch.device(device), bf16)
    with TemporaryDirectory() as folder:
        for task in tasks(Path(folder), sequences, large_sequences):
            training_step(task, rounds, place)
            if task.name == "example":
                operations(task)
    example, published = read_fst(FOLDER / "den.fst"), published_fst(pdfs=LARGE_PDFS)
    products("example's", example, PDFS, sequences, 5 * rounds)
    products("published", published, LARGE_PDFS, large_sequences, rounds)
    graphs = {"example": (example, PDFS, sequences), "published": (published, LARGE_PDFS, large_sequences)}
    denominators(graphs, rounds, place.device)


if __name__ == "__main__":
    main()
