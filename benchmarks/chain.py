"""Speed and memory of the chain objective on one thread, as ratios.

    python benchmarks/chain.py [--rounds 5] [--sequences 64] [--large-sequences 32] [--device cpu]

1. A training step on the example's diagnostics, merged as Kaldi merges them: feature frames per second (context left
   out, as Kaldi counts) of network and objective together, forward and backward, and the objective's share.
2. The sparse products of the denominator by several kernels, on the example's graph and on one of published size
   (30,000 states, 300,000 arcs, 3,000 pdfs, made here).
3. The denominator, forward and backward, on both graphs: time per frame and arc, and the peak of the memory.

What is compared takes turns within each round; a figure is the median over rounds, in seconds of the processor (on a
GPU of the clock), so that other programs on the machine count little.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from scipy.sparse import csr_matrix

from kaldi_quant.kaldi.egs import EgsOptions, minibatches
from kaldi_quant.kaldi.fst import ARC, Fst
from kaldi_quant.kaldi.fst_file import read_fst
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.nnet3.chain.den_graph import DenominatorGraph
from kaldi_quant.nnet3.chain.denominator import denominator
from kaldi_quant.nnet3.chain.objective import chain_objective
from kaldi_quant.nnet3.chain.options import ChainOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.training.examples import ChainBatch

FOLDER = Path(__file__).resolve().parent.parent / "egs" / "alphadigits" / "exp" / "chain" / "tdnn1a_sp"
RECIPE = ChainOptions(0.1, 0.1, 5e-5, 0.01)
PDFS = 208
# What a chunk of 150 feature frames leaves behind subsampling.
FRAMES = 50
CPU = torch.device("cpu")
Run = Callable[[], object]


def published_fst(states: int = 30_000, arcs: int = 300_000, pdfs: int = 3_000) -> Fst:
    """A graph of the size of published ones: each state is entered by two pdfs, one of them in a loop to itself."""
    rng = np.random.default_rng(0)
    per_state = arcs // states
    entry = rng.integers(1, pdfs + 1, (states, 2))
    packed = np.empty((states, per_state), ARC)
    # Most arcs lead to states of a similar history, which have similar numbers.
    near = (np.arange(states)[:, None] + rng.integers(1, 200, (states, per_state))) % states
    far = rng.integers(0, states, (states, per_state))
    packed["nextstate"] = np.where(rng.random((states, per_state)) < 0.7, near, far)
    packed["nextstate"][:, 0] = np.arange(states)
    packed["ilabel"] = entry[packed["nextstate"], 0]
    packed["ilabel"][:, 0] = entry[:, 1]
    packed["olabel"] = packed["ilabel"]
    packed["weight"] = rng.uniform(1, 4, packed.shape)
    offsets = np.arange(states + 1) * per_state
    return Fst("vector", 0, np.zeros(states, np.float32), offsets, packed.reshape(-1))


def measure(runs: dict[str, Run], rounds: int, device: torch.device = CPU) -> dict[str, float]:
    """Median seconds of each run, all taking turns: of the processor, or on a GPU of the clock."""
    clock = time.process_time if device == CPU else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            begin = clock()
            run()
            if device != CPU:
                torch.cuda.synchronize(device)
            seconds[name].append(clock() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


def training_step(rounds: int, sequences: int, device: torch.device) -> None:
    model = AcousticModel(read_model(FOLDER / "final.mdl").nnet, "output", ["output-xent"]).to(device)
    graph = DenominatorGraph(read_fst(FOLDER / "den.fst"), PDFS)
    archive = f"ark:{FOLDER}/egs/train_diagnostic.cegs"
    begin = time.process_time()
    merged = [example for _, example in minibatches(archive, EgsOptions(str(sequences), read_ahead=0))]
    batches = [ChainBatch.of(example).to(device) for example in merged]
    reading = time.process_time() - begin
    frames = sum(batch.num_frames for batch in batches)

    def outputs(batch: ChainBatch) -> dict[str, torch.Tensor]:
        return model.outputs(batch.feats, [batch.span] * len(batch.feats), batch.output_times)

    detached = []
    for batch in batches:
        with torch.no_grad():
            detached.append([values.clone().requires_grad_() for values in outputs(batch).values()])

    def network() -> None:
        for batch in batches:
            sum(values.sum() for values in outputs(batch).values()).backward()  # type: ignore[union-attr]

    def objective() -> None:
        for batch, (output, xent) in zip(batches, detached, strict=True):
            chain_objective(graph, batch.arcs, output, xent, RECIPE, batch.deriv_weights).loss.backward()

    def step() -> None:
        for batch in batches:
            output, xent = outputs(batch).values()
            chain_objective(graph, batch.arcs, output, xent, RECIPE, batch.deriv_weights).loss.backward()

    seconds = measure({"network alone": network, "objective alone": objective, "step": step}, rounds, device)
    print(f"Training step: {len(batches)} minibatches of {sequences} sequences, {frames} feature frames")
    for name, value in seconds.items():
        print(f"  {name:<18}{frames / value:>9.0f} frames/s {value / seconds['step']:>6.2f} of a step")
    print(f"  {'reading the egs':<18}{frames / reading:>9.0f} frames/s {reading / seconds['step']:>6.2f} of a step")


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
    runs: dict[str, Run] = {
        "torch CSR": lambda: matrices.arcs @ x,
        "scipy CSR": lambda: arcs @ x.numpy(),
        "index_add": lambda: torch.zeros(pairs, sequences).index_add_(0, rows, x.index_select(0, columns) * probs),
    }
    if pairs * fst.num_states < 10_000_000:
        dense = torch.from_numpy(arcs.toarray())
        runs["dense"] = lambda: dense @ x
    seconds = measure(runs, rounds)
    print(f"Arcs of the {name} graph ({fst.num_states} states, {len(fst.arcs)} arcs, {pairs} pairs) x {sequences}")
    for kernel, value in seconds.items():
        print(f"  {kernel:<18}{1e3 * value:>9.3f} ms {value / seconds['torch CSR']:>10.2f} x torch CSR")


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


@click.command()
@click.option("--rounds", default=5, help="Measurements of each.")
@click.option("--sequences", default=64, help="Sequences in a minibatch of the example.")
@click.option("--large-sequences", default=32, help="Sequences in a minibatch for the graph of published size.")
@click.option("--device", default="cpu", help="cpu or cuda.")
def main(rounds: int, sequences: int, large_sequences: int, device: str) -> None:
    torch.set_num_threads(1)
    example, published = read_fst(FOLDER / "den.fst"), published_fst()
    training_step(rounds, sequences, torch.device(device))
    products("example's", example, PDFS, sequences, 5 * rounds)
    products("published", published, 3_000, large_sequences, rounds)
    graphs = {"example": (example, PDFS, sequences), "published": (published, 3_000, large_sequences)}
    denominators(graphs, rounds, torch.device(device))


if __name__ == "__main__":
    main()
