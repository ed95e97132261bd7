"""Post-training quantization on a GPU, which is pretended: what is forgotten on one side or the other fails."""

from typing import Any

import pytest
import torch
from torch import Tensor

from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import InferenceOptions
from kaldi_quant.nnet3.linear import float_backend
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.divergence import divergence
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.layer_config import LayerConfig
from tests.references import NNET3, load, model_file, read_archive
from tests.train.pretend_gpu import DEVICE, pretend_gpu

CASES = {
    "sequential": ("tdnnf_small", PtqConfig(LayerConfig(bits=5, method="gptq"), sequential=True, observer="minmax")),
    "learned rounding": ("tdnn_lda", PtqConfig(LayerConfig(bits=4, method="adaround"), observer="minmax")),
    "dynamic": ("tdnn_lda", PtqConfig(LayerConfig(ranges="dynamic", symmetric=False, method="minmax"))),
    "equalized": ("tdnn_lda", PtqConfig(LayerConfig(method="minmax"), equalization="smoothquant", observer="minmax")),
    "recurrent": ("fast_lstmp", PtqConfig(LayerConfig(method="minmax"), observer="minmax")),
}


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
