"""Float training: it learns, is repeatable, goes on where it was stopped, and keeps the best pass."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.frontends.enhancement.networks.crn import CRN
from kaldi_quant.frontends.enhancement.networks.known import NETWORKS, Around, Kind
from kaldi_quant.frontends.enhancement.networks.tcn import TCN
from kaldi_quant.frontends.enhancement.training.config import TrainingConfig, read_training_config
from kaldi_quant.frontends.enhancement.training.training import train_float
from kaldi_quant.frontends.enhancement.training.validation import mean_score
from kaldi_quant.frontends.training.config import OptimizerConfig, PenaltyConfig, ScheduleConfig, ValidationConfig
from tests.frontends.enhancement.training.sounds import RATE, Pair, data, pair

SMALL_TCN = Kind(TCN, Around())
CONFIG = TrainingConfig(
    network="tcn-100k",
    sizes={"channels": [4, 4]},
    loss="compressed-mse",
    epochs=3,
    batch_size=3,
    seconds=0.2,
    schedule=ScheduleConfig(lr=3e-3),
)


def record(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "progress.json").read_text())["iterations"]
    return found


def test_it_learns_and_is_repeatable(tmp_path: Path) -> None:
    first = train_float(SMALL_TCN, data(), CONFIG, tmp_path / "a")
    again = train_float(SMALL_TCN, data(), CONFIG, tmp_path / "b")
    assert not first.training
    assert all(map(torch.equal, first.state_dict().values(), again.state_dict().values()))
    passes = record(tmp_path / "a")
    assert passes[-1]["valid"]["loss"] < 0.9 * passes[0]["valid"]["loss"]


def test_running_statistics_are_those_of_training(tmp_path: Path) -> None:
    kind = Kind(CRN, Around())
    config = replace(CONFIG, network="crn-100k", sizes={"channels": [1, 1], "decoder": [1, 1], "layers": 1}, epochs=1)
    network = train_float(kind, data(3, 1), config, tmp_path)
    assert int(network.encoder_norm[0].num_batches_tracked) == 1


def test_a_start_is_trained_further_and_left_as_it_is(tmp_path: Path) -> None:
    start = TCN(channels=[4, 4])
    before = {name: value.clone() for name, value in start.state_dict().items()}
    trained = train_float(SMALL_TCN, data(3, 1), replace(CONFIG, epochs=1), tmp_path, start)
    assert all(torch.equal(value, before[name]) for name, value in start.state_dict().items())
    assert not torch.equal(trained.linear.weight, start.linear.weight)


def test_a_score_chooses_the_best_pass(tmp_path: Path) -> None:
    config = replace(
        CONFIG,
        epochs=8,
        # Steps so large that the first passes are the best.
        schedule=ScheduleConfig("constant", lr=1.0),
        validation=ValidationConfig("SI-SDR", every=2, patience=4),
    )
    network = train_float(SMALL_TCN, data(), config, tmp_path)
    passes = record(tmp_path)
    scored = {entry["iteration"]: entry["valid"]["SI-SDR"] for entry in passes[1:] if entry["valid"]}
    assert all(place % 2 == 1 for place in scored) and not passes[1]["valid"]
    dev = data().dev
    found = mean_score("SI-SDR", dev, SMALL_TCN.around, RATE, "").measure(network)  # type: ignore[arg-type]
    assert found >= max(scored.values()) - 1e-4


def test_scores_that_are_not_defined_do_not_count() -> None:
    silence = Pair(np.zeros(4000, np.float32), np.zeros(4000, np.float32))
    network, around = TCN().eval(), Around()
    both = mean_score("SI-SDR", [pair(1), silence], around, RATE, "").measure(network)  # type: ignore[arg-type]
    alone = mean_score("SI-SDR", [pair(1)], around, RATE, "").measure(network)  # type: ignore[arg-type]
    assert both == alone
    with pytest.raises(DataError, match="SI-SDR is not defined for any of the development data: the reference is"):
        mean_score("SI-SDR", [silence], around, RATE, "").measure(network)  # type: ignore[arg-type]


def test_weights_are_clipped_and_large_activations_cost(tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=1, optimizer=OptimizerConfig(max_weight=0.01))
    clipped = train_float(SMALL_TCN, data(3, 1), config, tmp_path / "a")
    assert max(float(value.detach().abs().max()) for value in clipped.parameters()) == pytest.approx(0.01)
    config = replace(CONFIG, epochs=1, penalty=PenaltyConfig(10.0, 0.0, "l2", ("Linear",)))
    plain = train_float(SMALL_TCN, data(3, 1), replace(CONFIG, epochs=1), tmp_path / "b")
    punished = train_float(SMALL_TCN, data(3, 1), config, tmp_path / "c")
    assert not torch.equal(plain.linear.weight, punished.linear.weight)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("netwrk: crn", "there is no key 'netwrk'; keys and defaults are network (crn-100k)"),
        ("network: crm", "the enhancement network 'crm' is not one of crn, crn-100k"),
        ("loss: mse", "the loss 'mse' is not one of magnitude-mse"),
        ("epochs: 0", "epochs must be above 0, found 0"),
        (
            "validation: {score: MOS}",
            "validation, score 'MOS' is not one of loss, PESQ, PESQ-nb, STOI, SI-SDR, SNR, MSE",
        ),
        ("schedule: {name: step, lr_final: 0.1}", "--lr-final 0.1 has an effect only with --lr-schedule"),
        ("optimizer: {name: sgd, amsgrad: true}", "--amsgrad has an effect only with --optimizer adam"),
        ("penalty: {factor: 1.0, norm: l3}", "the norm 'l3' of a penalty is not one of l1, l2"),
    ],
)
def test_settings_are_checked(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_training_config(path)
    assert sentence in str(caught.value) and str(path) in str(caught.value)


def test_mbqat_s_and_the_zoo_s_schedules_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("optimizer: {amsgrad: true}\nschedule: {name: step, lr: 2.0e-4, every: 2, factor: 0.97}\n")
    found = read_training_config(path)
    schedule, options = found.schedule.schedule(), found.optimizer.options()
    assert [schedule.rate(place, 600, []) for place in (0, 2, 4)] == pytest.approx([2e-4, 1.94e-4, 1.8818e-4])
    assert options.amsgrad and options.max_param_change == 0


def test_sizes_that_do_not_exist_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"tcn-100k cannot be built with the sizes \{'depth': 3\}"):
        train_float(NETWORKS["tcn-100k"], data(), replace(CONFIG, sizes={"depth": 3}), tmp_path)
