"""What a killed quantization had made is not made again, and never taken for what other settings make."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import InferenceOptions
from kaldi_quant.nnet3.preparation.prepared import Nnet3Source
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant import kept_layers, ptq
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.kept_layers import FOLDER_NAME, Keeping, key_of
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from tests.references import NNET3, load, model_file, read_archive

OPTIONS = InferenceOptions(ChunkOptions(3))
CONFIG = PtqConfig(LayerConfig(bits=5), observer="minmax", sequential=True)


class KilledError(Exception):
    """Stands for the end of a process."""


@pytest.fixture(scope="module")
def nnet() -> Nnet:
    return load(model_file(NNET3 / "tdnnf_small")).nnet


def data(nnet: Nnet) -> UtteranceSet:
    feats = list(read_archive(NNET3 / f"feats{nnet.input_dim()}.ark").items())[:3]
    broken = ("broken", np.full((50, nnet.input_dim()), np.nan, np.float32))
    return UtteranceSet([*feats, broken], OPTIONS, max_bad_share=0.5)


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The layers that are fitted; the fourth one kills the run as long as the list's first entry is "kill"."""
    seen: list[str] = []
    whole = ptq.Quantizer._fit

    def fit(self: ptq.Quantizer, name: str, *arguments: object) -> object:
        if seen and seen[0] == "kill" and len(seen) == 4:
            raise KilledError
        seen.append(name)
        return whole(self, name, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ptq.Quantizer, "_fit", fit)
    return seen


def same(one: QuantizedNetwork, other: QuantizedNetwork) -> bool:
    layers = zip(one.layers.values(), other.layers.values(), strict=True)
    equal = [torch.equal(x.weight.integers, y.weight.integers) and torch.equal(x.bias, y.bias) for x, y in layers]
    grids = [torch.equal(grid.scale, other.activations[name].scale) for name, grid in one.activations.items()]
    return all(equal) and all(grids) and list(one.layers) == list(other.layers)


@pytest.mark.parametrize(
    "config",
    [CONFIG, replace(CONFIG, sequential=False), PtqConfig(LayerConfig(ranges="dynamic", symmetric=False))],
    ids=["sequential", "at once", "dynamic"],
)
def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(
    nnet: Nnet, config: PtqConfig, fitted: list[str], tmp_path: Path
) -> None:
    expected = quantize(nnet, config, data(nnet))
    layers = list(fitted)
    keeping = Keeping(tmp_path)
    fitted[:] = ["kill"]
    with pytest.raises(KilledError):
        quantize(nnet, config, data(nnet), keeping=keeping)
    fitted[:] = []
    again = data(nnet)
    found = quantize(nnet, config, again, keeping=keeping)
    assert fitted == layers[3:]
    assert same(found, expected)
    assert "broken" not in dict(again.utterances)
    fitted[:] = []
    assert same(quantize(nnet, config, data(nnet), keeping=keeping), expected)
    assert not fitted
    keeping.finish()
    assert not list(tmp_path.iterdir())


def test_no_pass_over_the_data_where_all_layers_are_kept(
    nnet: Nnet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = replace(CONFIG, sequential=False)
    expected = quantize(nnet, config, data(nnet), keeping=Keeping(tmp_path))
    monkeypatch.setattr(ptq, "input_statistics", lambda *arguments, **options: pytest.fail("statistics for no layer"))
    assert same(quantize(nnet, config, data(nnet), keeping=Keeping(tmp_path)), expected)


def test_what_is_damaged_is_made_again(nnet: Nnet, fitted: list[str], tmp_path: Path) -> None:
    expected = quantize(nnet, CONFIG, data(nnet), keeping=Keeping(tmp_path))
    layers = list(fitted)
    for kept in (tmp_path / FOLDER_NAME).glob("*/layer1.pt"):
        kept.write_bytes(kept.read_bytes()[:100])
    fitted[:] = []
    assert same(quantize(nnet, CONFIG, data(nnet), keeping=Keeping(tmp_path)), expected)
    assert fitted == layers[1:]


def test_everything_that_decides_the_result_is_in_the_key(nnet: Nnet, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = data(nnet)
    key = key_of(Nnet3Source(nnet), CONFIG, whole, None)
    assert key_of(Nnet3Source(nnet), CONFIG, data(nnet), None) == key
    fewer = UtteranceSet(whole.utterances[:2], OPTIONS)
    louder = UtteranceSet([(name, 2 * feats) for name, feats in whole.utterances], OPTIONS, None, 0.5)
    speakers = UtteranceSet(whole.utterances, OPTIONS, lambda name: np.ones(3, np.float32), 0.5)
    on_gpu = UtteranceSet(whole.utterances, OPTIONS, None, 0.5, torch.device("cuda"))
    chunks = UtteranceSet(whole.utterances, InferenceOptions(ChunkOptions(3, 150)), None, 0.5)
    other = load(model_file(NNET3 / "tdnn_lda")).nnet
    others = [
        key_of(Nnet3Source(nnet), CONFIG, on_gpu, None),
        key_of(Nnet3Source(other), CONFIG, whole, None),
        key_of(Nnet3Source(nnet), replace(CONFIG, bias_correction=False), whole, None),
        *(key_of(Nnet3Source(nnet), CONFIG, one, None) for one in (fewer, louder, speakers, chunks)),
        key_of(Nnet3Source(nnet), CONFIG, whole, {"input": (torch.zeros(1), torch.ones(1))}),
    ]
    assert len({key, *others}) == 1 + len(others)
    monkeypatch.setattr(kept_layers, "program_digest", lambda: "another program")
    assert key_of(Nnet3Source(nnet), CONFIG, whole, None) != key
