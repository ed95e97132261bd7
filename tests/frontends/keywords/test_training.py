"""Float training of M5: it goes on learning behind the first epoch, and does not look at test data."""

import json
from dataclasses import replace
from pathlib import Path

import torch

from kaldi_quant.frontends.keywords.config import BaseCnn, KeywordConfig, ModelConfig, TrainConfig
from kaldi_quant.frontends.keywords.data import KeywordSet, read_keywords
from kaldi_quant.frontends.keywords.evaluation import accuracy_of, run_integers, run_module
from kaldi_quant.frontends.keywords.training import quantize, train_float, train_quantized

CONFIG = KeywordConfig(
    model=ModelConfig(BaseCnn(n_channel=4), preset="w4a8", calibration=24),
    train=TrainConfig(lr=0.01, n_epoch=10, batch_size=6, step_size=7, gamma=0.3),
)


def without_test(keywords: KeywordSet) -> KeywordSet:
    """The set with test recordings that cannot be read."""
    lost = tuple(replace(recording, path=recording.path.with_name("gone.wav")) for recording in keywords.test)
    return replace(keywords, test=lost)


def test_it_learns_in_training_mode_in_all_epochs(words: Path, tmp_path: Path) -> None:
    found = train_float(without_test(read_keywords(words)), CONFIG, tmp_path)
    epochs = json.loads((tmp_path / "history.json").read_text())["epochs"]
    assert [entry["epoch"] for entry in epochs] == list(range(1, 11))
    assert [round(entry["lr"], 4) for entry in epochs] == [0.01] * 7 + [0.003] * 3
    assert epochs[-1]["train_loss"] < 0.5 * epochs[0]["train_loss"] and epochs[-1]["dev_accuracy"] == 100
    # Each of eight minibatches of each epoch was seen by the normalizations.
    assert found.network.bn1.num_batches_tracked == 10 * 8 and not found.network.training
    assert (found.classes, found.sample_rate) == (("0", "1", "2"), 8000)


def test_the_seed_decides(words: Path, tmp_path: Path) -> None:
    short = replace(CONFIG, train=replace(CONFIG.train, n_epoch=1))
    other = replace(short, train=replace(short.train, seed=7))
    keywords = read_keywords(words)
    weights = [
        train_float(keywords, config, tmp_path / str(place)).network.conv1.weight
        for place, config in enumerate((short, short, other))
    ]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_quantized_training_keeps_what_float_has_learned(words: Path, tmp_path: Path) -> None:
    keywords = read_keywords(words)
    network = train_float(keywords, CONFIG, tmp_path / "float").network
    start = quantize(keywords, CONFIG, network)
    config = replace(CONFIG, train=replace(CONFIG.train, lr=1e-3, n_epoch=2, teacher=0.5))
    trained = train_quantized(without_test(keywords), config, start, tmp_path / "qat")
    assert not trained.float_layers and len(trained.network.layers) == 5
    integers = [layer.weight.integers for layer in (start.network.layers["conv2"], trained.network.layers["conv2"])]
    assert not torch.equal(*integers)
    scores = [accuracy_of(run, keywords.test, 8000, 16).value for run in (run_module(network), run_integers(trained))]
    assert scores == [100, 100]
