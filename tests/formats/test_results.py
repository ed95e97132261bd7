"""What is said beside a result: that it is far from float, or slower."""

import logging
from pathlib import Path

import pytest

from kaldi_quant.formats.results import write_result
from kaldi_quant.kaldi.companions import Companions
from kaldi_quant.kaldi.model import Model
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import InferenceOptions
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.distance import KullbackLeibler
from kaldi_quant.quant.divergence import Divergence, warning_of
from kaldi_quant.quant.layer_config import LayerConfig
from tests.references import NNET3, load, model_file, read_archive

PLAIN = PtqConfig(LayerConfig(method="minmax"), observer="minmax", bias_correction=False)


def lines_of(name: str, config: PtqConfig, folder: Path, caplog: pytest.LogCaptureFixture) -> str:
    model: Model = load(model_file(NNET3 / name))
    feats = list(read_archive(NNET3 / f"feats{model.nnet.input_dim()}.ark").items())[:2]
    data = UtteranceSet(feats, InferenceOptions(ChunkOptions(3)))
    with caplog.at_level(logging.INFO, "kaldi_quant"):
        companions = Companions.beside(model.path, 3)
        write_result(folder, quantize(model.nnet, config, data), model, companions, config, "ark:feats.ark", data)
    return "\n".join(record.getMessage() for record in caplog.records)


def test_a_model_that_is_far_from_float_is_warned_of_with_its_worst_layers() -> None:
    noise = {"tdnn1": 30.0, "tdnn2": 1.04, "tdnn3": 12.0, "tdnn4": 25.0}
    text = warning_of(Divergence(0.6123, "nats", noise, 100), KullbackLeibler.far)
    assert "diverges by 0.612 nats per frame" in text
    assert "tdnn2 (1.0 dB), tdnn3 (12.0 dB), tdnn4 (25.0 dB)" in text
    assert "--per-channel=true" in text
    assert not warning_of(Divergence(0.04, "nats", noise, 100), KullbackLeibler.far)
    assert not warning_of(Divergence(0.6123, "per row", noise, 100), None)


def test_a_feed_forward_network_has_nothing_to_say(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert "slower" not in lines_of("tdnnf_small", PLAIN, tmp_path, caplog)


@pytest.mark.parametrize("name", ["fast_lstmp", "fast_gru"])
def test_recurrent_networks_say_that_integers_are_slower(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = lines_of(name, PLAIN, tmp_path, caplog)
    assert "in integers the network runs several times slower than in float, because the reference alone" in text


def test_convolutions_say_so_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = lines_of("conv_usual", PLAIN, tmp_path, caplog)
    assert "convolutions take about twice as long in integers as in float: " in text
