"""Float training: it learns, is repeatable, goes on where it was stopped, and refuses what does not fit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.networks.known import NETWORKS
from kaldi_quant.frontends.separation.training.config import TrainingConfig, read_training_config
from kaldi_quant.frontends.separation.training.training import train_float, training_batches
from kaldi_quant.frontends.separation.training.validation import mean_score
from kaldi_quant.frontends.training.config import ScheduleConfig, ValidationConfig
from tests.frontends.separation.toy import TOY, Masks, Train, data, mixture

CONFIG = TrainingConfig(epochs=4, batch_size=3, seconds=0.2, schedule=ScheduleConfig(lr=1e-2))


@pytest.fixture(autouse=True)
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kaldi_quant.train.loop.plot_progress", lambda *_: None)


def record(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "progress.json").read_text())["iterations"]
    return found


def parameters(network: torch.nn.Module) -> dict[str, Tensor]:
    return dict(network.state_dict())


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(map(torch.equal, parameters(one).values(), parameters(other).values()))


def test_it_learns_and_is_repeatable(tmp_path: Path) -> None:
    first = train_float(TOY, data(), CONFIG, tmp_path / "a")
    again = train_float(TOY, data(), CONFIG, tmp_path / "b")
    assert not first.training and same(first, again)
    passes = record(tmp_path / "a")
    assert passes[-1]["valid"]["loss"] < passes[0]["valid"]["loss"] - 3


def test_it_goes_on_to_the_same_bits_where_it_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train_float(TOY, data(), CONFIG, tmp_path / "whole")

    def killed(self: Train, index: int, number_of_pass: int) -> Any:
        if number_of_pass == 2:
            raise KeyboardInterrupt
        return mixture(1000 * number_of_pass + index)

    with monkeypatch.context() as patch:
        patch.setattr(Train, "item", killed)
        with pytest.raises(KeyboardInterrupt):
            train_float(TOY, data(), CONFIG, tmp_path / "killed")
    assert len(record(tmp_path / "killed")) == 3
    assert same(whole, train_float(TOY, data(), CONFIG, tmp_path / "killed"))


def test_a_score_chooses_the_best_pass(tmp_path: Path) -> None:
    # Steps so large that the first passes are the best.
    schedule, validation = ScheduleConfig("constant", lr=0.3), ValidationConfig("SI-SDRi", every=2, patience=4)
    config = replace(CONFIG, epochs=8, schedule=schedule, validation=validation)
    network = train_float(TOY, data(), config, tmp_path)
    passes = record(tmp_path)
    scored = {entry["iteration"]: entry["valid"]["SI-SDRi"] for entry in passes[1:] if entry["valid"]}
    assert all(place % 2 == 1 for place in scored) and not passes[1]["valid"]
    found = mean_score("SI-SDRi", list(data().dev), TOY, "").measure(network)  # type: ignore[arg-type]
    assert found >= max(scored.values()) - 1e-4


def test_a_start_is_trained_further_and_left_as_it_is(tmp_path: Path) -> None:
    start = Masks()
    before = {name: value.clone() for name, value in parameters(start).items()}
    trained = train_float(TOY, data(3, 1), replace(CONFIG, epochs=1), tmp_path, start)
    assert all(torch.equal(value, before[name]) for name, value in parameters(start).items())
    assert not same(start, trained)


def test_pieces_are_changed_as_settings_say(tmp_path: Path) -> None:
    plain = train_float(TOY, data(3, 1), replace(CONFIG, epochs=1), tmp_path / "a")
    changed = replace(CONFIG, epochs=1, augmentations={"flip-sign": None, "scale": {"low": 0.5}})
    assert not same(plain, train_float(TOY, data(3, 1), changed, tmp_path / "b"))


def test_threads_make_the_same_minibatches() -> None:
    plain, threaded = (training_batches(data(), replace(CONFIG, workers=workers)) for workers in (0, 3))
    assert plain.digest() == threaded.digest()
    for number in range(2):
        for one, other in zip(plain.minibatches(number), threaded.minibatches(number), strict=True):
            assert all(map(torch.equal, one, other))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rate": 16000}, "the network is for 8000 Hz, and the data have 16000"),
        ({"channels": 2}, "the network is for 1 channels, and the data have 2"),
        ({"sources": ("s1", "s2", "s3")}, "the network is for 2 sources, and the data have 3"),
    ],
)
def test_data_of_another_kind_are_refused(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=sentence):
        train_float(TOY, replace(data(), **changes), CONFIG, tmp_path)


def test_sources_with_an_order_have_their_names(tmp_path: Path) -> None:
    ordered = replace(TOY, is_ordered=True, sources=("voice", "drums"))
    with pytest.raises(UsageError, match="the network gives voice, drums, and the data have s1, s2"):
        train_float(ordered, data(), replace(CONFIG, loss="l1"), tmp_path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("netwrk: crn", "there is no key 'netwrk'; keys and defaults are network (conv-tasnet-small)"),
        ("network: tasnet", "the separation network 'tasnet' is not one of conv-tasnet, conv-tasnet-small"),
        ("loss: mse", "the loss 'mse' is not one of pit-si-sdr"),
        ("epochs: 0", "epochs must be above 0, found 0"),
        ("validation: {score: NSDR}", "validation, score 'NSDR' is not one of loss, SI-SDR, SI-SDRi"),
        ("workers: -1", "workers must be 0 or more, found -1"),
        ("portions: 0", "portions must be above 0, found 0"),
        ("gain: -1.0", "gain must be 0 or more, found -1.0"),
        ("augmentations: {echo: null}", "the augmentation 'echo' is not one of"),
        ("augmentations: {scale: {high: 0.1}}", "expected the least and the greatest"),
        ("epochs: [", "cannot be read as YAML"),
        ("- epochs", "expected keys and values"),
    ],
)
def test_settings_are_checked(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_training_config(path)
    assert sentence in str(caught.value) and str(path) in str(caught.value)


def test_no_settings_at_all_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml: cannot be read as YAML"):
        read_training_config(tmp_path / "none.yaml")


def test_sizes_that_do_not_exist_are_one_sentence(tmp_path: Path) -> None:
    config = replace(CONFIG, network="conv-tasnet-small", sizes={"depth": 3})
    with pytest.raises(UsageError, match=r"conv-tasnet-small cannot be built with the sizes \{'depth': 3\}"):
        train_float(NETWORKS["conv-tasnet-small"], data(), config, tmp_path)


def test_what_made_a_network_is_told() -> None:
    made = CONFIG.made(data().train.digest())
    assert made["training"]["epochs"] == 4 and made["data"] == "6 1600 2" and json.dumps(made)
