"""Quantization and search on a GPU, which is pretended: what is forgotten on one side or the other fails."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import InferenceOptions
from kaldi_quant.nnet3.linear import float_backend
from kaldi_quant.nnet3.preparation.prepared import Nnet3Source
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant import ptq
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.divergence import divergence
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.host import Data, Source
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.search.measurements import Store
from kaldi_quant.quant.search.options import FLOAT_BITS, Estimate, SearchOptions, parse_budget
from kaldi_quant.quant.search.outcome import Models
from kaldi_quant.quant.search.search import Search
from kaldi_quant.quant.sensitivity import sensitivity
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.torchnn.host import TorchSource
from tests.references import NNET3, load, model_file, read_archive
from tests.train.pretend_gpu import DEVICE, pretend_gpu

CASES = {
    "sequential": ("tdnnf_small", PtqConfig(LayerConfig(bits=5, method="gptq"), sequential=True, observer="minmax")),
    "learned rounding": ("tdnn_lda", PtqConfig(LayerConfig(bits=4, method="adaround"), observer="minmax")),
    "dynamic": ("tdnn_lda", PtqConfig(LayerConfig(ranges="dynamic", symmetric=False, method="minmax"))),
    "equalized": ("tdnn_lda", PtqConfig(LayerConfig(method="minmax"), equalization="smoothquant", observer="minmax")),
    "recurrent": ("fast_lstmp", PtqConfig(LayerConfig(method="minmax"), observer="minmax")),
}


STATIC = PtqConfig(LayerConfig(method="minmax"), observer="minmax")


def not_learned(weight: Tensor, grid: Grid, integers: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    """Stands for learning, which is done on the CPU anyway."""
    return integers, torch.zeros(len(weight), dtype=torch.float64)


def data(nnet: Nnet, device: torch.device | None = None) -> UtteranceSet:
    feats = list(read_archive(NNET3 / f"feats{nnet.input_dim()}.ark").items())[:2]
    feats = [(name, rows[:50]) for name, rows in feats]
    return UtteranceSet(feats, InferenceOptions(ChunkOptions(3)), device=device)


@pytest.mark.parametrize("case", CASES)
def test_a_gpu_gives_the_network_that_the_cpu_gives(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kaldi_quant.quant.weight_rounding.adaround", not_learned)
    name, config = CASES[case]
    nnet = load(model_file(NNET3 / name)).nnet
    with float_backend("torch"):
        expected = quantize(nnet, config, data(nnet))
        lost = divergence(expected, data(nnet))
        with pretend_gpu() as gpu:
            found = quantize(nnet, config, data(nnet, DEVICE))
            assert gpu.operations > 20
            lost_there = divergence(found, data(nnet, DEVICE))
    assert list(found.layers) == list(expected.layers)
    for one, other in zip(found.layers.values(), expected.layers.values(), strict=True):
        assert torch.equal(one.weight.integers, other.weight.integers)
        torch.testing.assert_close(one.bias, other.bias)
    assert lost_there.distance == pytest.approx(lost.distance, rel=1e-3, abs=1e-9)


def torch_network() -> tuple[TorchSource, list[Tensor]]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    return TorchSource(network, torch.randn(5, 4)), [torch.randn(5, 4) for _ in range(2)]


def test_sensitivity_on_a_gpu(tmp_path: Path) -> None:
    name, config = CASES["dynamic"]
    nnet = load(model_file(NNET3 / name)).nnet
    source, inputs = torch_network()
    for kind, network, there in (
        ("nnet3", quantize(nnet, config, data(nnet)), lambda device: data(nnet, device)),
        ("torch", ptq.quantize(source, STATIC, TensorData(inputs)), lambda device: TensorData(inputs, device=device)),
    ):
        with float_backend("torch"):
            expected = list(sensitivity(network, there(None), tmp_path / f"{kind}.json", {}))
            with pretend_gpu() as gpu:
                found = list(sensitivity(network, there(DEVICE), tmp_path / f"{kind}_gpu.json", {}))
                assert gpu.operations > 20
        assert [one.key for one in found] == [one.key for one in expected]
        assert [one.kl for one in found] == pytest.approx([one.kl for one in expected], rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("estimate", ["measured", "second-order"])
@pytest.mark.parametrize("kind", ["nnet3", "torch"])
def test_a_search_on_a_gpu(tmp_path: Path, kind: str, estimate: Estimate) -> None:
    def searched(path: Path, source: Source, calibration: Data, held_out: Data) -> tuple[list[float], float]:
        # Each operation takes its time here.
        few = kind == "nnet3" and estimate == "measured"
        options = SearchOptions((4, 8) if few else (4, 8, FLOAT_BITS), (8,) if few else (6, 8), estimate=estimate)
        search = Search(source, STATIC, calibration, held_out, Store(path, {}), options, lambda *_: 1000)
        costs = {one.choice: one.divergence for one in search.measure()}
        # And a whole model.
        measured = Models(search).measured(search.proposals(parse_budget("5 bits"), 1)[0])
        return [costs[choice] for choice in search.measuring.choices()], measured.divergence

    nnet = load(model_file(NNET3 / "tdnn_lda")).nnet
    torch_source, inputs = torch_network()

    def on(device: torch.device | None) -> tuple[Source, Data, Data]:
        if kind == "nnet3":
            return Nnet3Source(nnet), data(nnet, device), data(nnet, device)
        return torch_source, TensorData(inputs, device=device), TensorData(inputs, device=device)

    with float_backend("torch"):
        expected, whole = searched(tmp_path / "cpu.json", *on(None))
        with pretend_gpu() as gpu:
            found, whole_there = searched(tmp_path / "gpu.json", *on(DEVICE))
            assert gpu.operations > 20
    assert found == pytest.approx(expected, rel=2e-2, abs=1e-6)
    assert whole_there == pytest.approx(whole, rel=1e-3)
