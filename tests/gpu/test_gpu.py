"""All that a GPU computes, on a real one: ``pytest -m gpu tests/gpu``. Elsewhere all of it is skipped.

What does not need one is tested by a pretended GPU and by a stand-in for CUDA graphs, in ``tests/train`` and
``tests/quant``.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, distributed

from kaldi_quant.kaldi.egs import EgsOptions
from kaldi_quant.kaldi.model import Model
from kaldi_quant.kaldi.tables import read_matrices
from kaldi_quant.nnet3.chain.den_graph import DenominatorGraph, read_denominator_graph
from kaldi_quant.nnet3.chain.objective import ChainObjective, chain_objective
from kaldi_quant.nnet3.chain.options import ChainOptions
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import InferenceOptions
from kaldi_quant.nnet3.linear import float_backend
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.preparation.prepared import Nnet3Source
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.training.chain_source import SourceOptions
from kaldi_quant.nnet3.training.examples import ChainBatch, chain_batches
from kaldi_quant.nnet3.training.finetune import TrainingData, finetune
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.divergence import divergence
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.search.measurements import Store
from kaldi_quant.quant.search.options import SearchOptions
from kaldi_quant.quant.search.search import Search
from kaldi_quant.quant.sensitivity import sensitivity
from kaldi_quant.train.loop import LoopOptions
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.parallel.device_context import DeviceContext
from kaldi_quant.train.parallel.distributed import Group
from kaldi_quant.train.schedules import Exponential
from tests.train.small_egs import small_egs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine"),
]

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
RECIPE = ChainOptions(0.1, 0.1, 5e-5, 0.01)
# Feature frames per second of a step on the example on one H200 before the objective was recorded.
BEFORE = 198_000
PTQ = {
    "minmax": PtqConfig(LayerConfig(method="minmax"), observer="minmax"),
    "gptq": PtqConfig(LayerConfig(bits=4, method="gptq"), sequential=True, observer="minmax"),
    "dynamic": PtqConfig(LayerConfig(ranges="dynamic", symmetric=False, method="minmax")),
}


@pytest.fixture(scope="module")
def folder(example: Path) -> Path:
    return example / "exp/chain/tdnn1a_sp"


@pytest.fixture
def graph(folder: Path) -> DenominatorGraph:
    """Made anew, so that nothing is recorded yet."""
    return read_denominator_graph(folder / "den.fst", 208)


@pytest.fixture(scope="module")
def utterances(example: Path) -> list[tuple[str, np.ndarray]]:
    table = read_matrices(f"scp:{example}/data/train_sub_hires/feats.scp")
    return [(name, feats[:200]) for (name, feats), _ in zip(table, range(4), strict=False)]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "chain.py"
    spec = importlib.util.spec_from_file_location("chain_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def what_cannot_be_recorded_fails(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.WARNING, "kaldi_quant"):
        yield
    assert not [line for line in caplog.messages if "cannot be recorded" in line]


def batches(folder: Path, model: AcousticModel) -> list[ChainBatch]:
    archive = f"ark:{folder}/egs/valid_diagnostic.cegs"
    return [batch for _, batch in chain_batches(archive, EgsOptions("32"), model)]


def gradients(
    graph: DenominatorGraph, batch: ChainBatch, outputs: list[Tensor]
) -> tuple[ChainObjective, list[Tensor | None]]:
    outputs = [values.clone().requires_grad_() for values in outputs]
    result = chain_objective(graph, batch.arcs, outputs[0], outputs[1], RECIPE, batch.deriv_weights)
    (result.loss / result.weight).backward()
    return result, [values.grad for values in outputs]


# The objective


def test_the_objective_and_its_gradients(folder: Path, model: Model, graph: DenominatorGraph) -> None:
    """Computed step by step, recorded and replayed: each minibatch three times, in turns with others of its shape."""
    network = AcousticModel(model.nnet, "output", ["output-xent"])
    given = batches(folder, network)
    cases = []
    for batch in given:
        with torch.no_grad():
            outputs = list(network.outputs(batch.feats, [batch.span] * len(batch.feats), batch.output_times).values())
        cases.append((batch, batch.to(GPU), outputs, gradients(graph, batch, outputs)))
    for _ in range(3):
        for _, there, outputs, (expected, grads) in cases:
            found, grads_there = gradients(graph, there, [values.to(GPU) for values in outputs])
            frames = expected.weight
            assert found.ok and found.objf / frames == pytest.approx(expected.objf / frames, abs=2e-6)
            assert expected.xent_objf is not None and found.xent_objf is not None
            assert found.xent_objf / frames == pytest.approx(expected.xent_objf / frames, abs=2e-6)
            assert found.l2_term == pytest.approx(expected.l2_term, rel=1e-5)
            for one, other in zip(grads_there, grads, strict=True):
                assert one is not None and other is not None
                torch.testing.assert_close(one.cpu(), other, rtol=1e-3, atol=1e-7)
    recorder = graph.recorder(GPU)
    assert recorder._record is not None and any(recording is not None for recording in recorder._known.values())


def test_an_objective_that_is_not_finite(folder: Path, model: Model, graph: DenominatorGraph) -> None:
    """Also where it is replayed, and what comes behind it is right again."""
    (batch, *_) = batches(folder, AcousticModel(model.nnet))
    there = batch.to(GPU)
    outputs = [torch.randn(batch.arcs.shape) for _ in range(2)]
    expected, _ = gradients(graph, batch, outputs)
    for broken in (False, False, True, False):
        values = [output.to(GPU, copy=True) for output in outputs]
        if broken:
            values[0][1, 1] = torch.nan
        found, (grad, _) = gradients(graph, there, values)
        assert found.ok is not broken and grad is not None and bool(grad.any()) is not broken
        if not broken:
            assert found.objf == pytest.approx(expected.objf, rel=1e-5)


# Training


@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 2e-6), (True, 2e-4)])
def test_training_gives_the_objective_of_the_cpu(
    bf16: bool, tolerance: float, example: Path, folder: Path, model: Model, tmp_path: Path
) -> None:
    """On held-out examples, after two passes of two archives."""
    (tmp_path / "egs").mkdir()
    data = TrainingData(str(small_egs(example, tmp_path / "egs", 128)), str(folder / "den.fst"), 3)
    loop = LoopOptions(OptimizerOptions("adam"), average_last=1, schedule=Exponential(1e-5, 5e-6))
    results = []
    for place in (DeviceContext(CPU), DeviceContext(GPU, bf16)):
        out = tmp_path / place.device.type
        assert finetune(model, data, out, RECIPE, SourceOptions(2, "32"), loop, place=place) is not None
        results.append(json.loads((out / "progress.json").read_text())["iterations"])
    expected, found = results
    assert len(found) == len(expected) == 5
    assert expected[-1]["valid"]["output"] != expected[0]["valid"]["output"]
    for name, value in expected[-1]["valid"].items():
        assert found[-1]["valid"][name] == pytest.approx(value, abs=tolerance)


def test_gradients_of_a_group_go_over_nccl(graph: DenominatorGraph, folder: Path, model: Model, tmp_path: Path) -> None:
    """One process, and recording beside the thread that watches it."""
    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("cpu:gloo,cuda:nccl", store=store, rank=0, world_size=1)
    try:
        values = torch.arange(1000.0, device=GPU)
        Group._call(distributed.all_reduce, values)
        assert torch.equal(values.cpu(), torch.arange(1000.0))
        network = AcousticModel(model.nnet, "output", ["output-xent"]).to(GPU)
        batch = batches(folder, network)[0].to(GPU)
        found = []
        for _ in range(3):
            outputs = network.outputs(batch.feats, [batch.span] * len(batch.feats), batch.output_times)
            loss = chain_objective(graph, batch.arcs, *outputs.values(), RECIPE).loss
            network.zero_grad()
            loss.backward()
            Group._call(distributed.all_reduce, torch.cat([p.grad.flatten() for p in network.parameters()]))
            found.append(loss.item())
        assert found == pytest.approx([found[0]] * 3, rel=1e-6)
    finally:
        distributed.destroy_process_group()


# Speed


@pytest.fixture(scope="module")
def timing(benchmark: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    task = next(benchmark.tasks(tmp_path_factory.mktemp("task"), 64, 32))
    found = benchmark.time_step(task, 5, DeviceContext(GPU))
    print({name: round(found.rate(name)) for name in found.seconds}, found.share("objective alone"))
    return found


def test_speed_of_a_step(timing: Any) -> None:
    """Three times what it was, and two fifths of it in the objective."""
    assert timing.share("objective alone") <= 0.4
    assert timing.rate("step") >= 3 * BEFORE


def test_examples_come_as_fast_as_they_are_used(benchmark: ModuleType, timing: Any) -> None:
    assert timing.rate(benchmark.BY_PROCESSES) >= timing.rate("step")


@pytest.mark.parametrize("bf16", [False, True])
def test_a_step_of_published_size(benchmark: ModuleType, tmp_path: Path, bf16: bool) -> None:
    _, task = benchmark.tasks(tmp_path, 64, 32)
    torch.cuda.reset_peak_memory_stats(GPU)
    timing = benchmark.time_step(task, 3, DeviceContext(GPU, bf16))
    peak = torch.cuda.max_memory_allocated(GPU) / 2**30
    print({name: round(timing.rate(name)) for name in timing.seconds}, timing.share("objective alone"), f"{peak} GiB")
    assert peak < 32


def test_the_objective_of_published_size(benchmark: ModuleType, tmp_path: Path) -> None:
    _, task = benchmark.tasks(tmp_path, 64, 4)
    network = AcousticModel(task.nnet)
    batch = next(batch for _, batch in chain_batches(task.archive, EgsOptions("4"), network))
    output = 3 * torch.randn(batch.arcs.shape, generator=torch.Generator().manual_seed(0))
    expected = chain_objective(task.graph, batch.arcs, output, options=RECIPE)
    for _ in range(3):
        found = chain_objective(task.graph, batch.to(GPU).arcs, output.to(GPU), options=RECIPE)
        assert found.ok and found.objf == pytest.approx(expected.objf, rel=2e-6)


# Quantization


@pytest.mark.parametrize("case", PTQ)
def test_post_training_quantization(case: str, model: Model, utterances: list[tuple[str, np.ndarray]]) -> None:
    """The integers are those of the CPU but where a value lies at the middle between two steps."""
    with float_backend("torch"):
        expected, found = (quantize(model.nnet, PTQ[case], data(utterances, device)) for device in (CPU, GPU))
        losses = [divergence(found, data(utterances, device)).distance for device in (CPU, GPU)]
    different = total = 0
    for one, other in zip(found.layers.values(), expected.layers.values(), strict=True):
        steps = (one.weight.integers.int() - other.weight.integers.int()).abs()
        assert steps.max() <= 1
        different, total = different + int(steps.sum()), total + steps.numel()
        torch.testing.assert_close(one.bias, other.bias, rtol=1e-3, atol=1e-4)
    assert different <= 1e-3 * total
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_sensitivity(model: Model, utterances: list[tuple[str, np.ndarray]], tmp_path: Path) -> None:
    with float_backend("torch"):
        network = quantize(model.nnet, PTQ["minmax"], data(utterances, CPU))
        expected, found = (
            [one.kl for one in sensitivity(network, data(utterances, device), tmp_path / device.type, {})]
            for device in (CPU, GPU)
        )
    assert found == pytest.approx(expected, rel=1e-2, abs=1e-7)


def test_search(model: Model, utterances: list[tuple[str, np.ndarray]], tmp_path: Path) -> None:
    results = []
    for device in (CPU, GPU):
        given = data(utterances, device)
        store = Store(tmp_path / f"{device.type}.json", {"model": model.nnet.path})
        options = SearchOptions((2, 4, 8))
        with float_backend("torch"):
            search = Search(Nnet3Source(model.nnet), PTQ["minmax"], given, given, store, options, lambda *_: 0)
            results.append([measurement.divergence for measurement in search.measure()])
    assert len(results[0]) > 10
    assert results[1] == pytest.approx(results[0], rel=1e-2, abs=1e-7)


def data(utterances: list[tuple[str, np.ndarray]], device: torch.device) -> UtteranceSet:
    return UtteranceSet(utterances, InferenceOptions(ChunkOptions(3)), device=device)
