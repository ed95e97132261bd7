"""Training of separation by two processes and on a pretended GPU. As a script, this is one of the processes."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from kaldi_quant.frontends.separation.networks.known import NETWORKS
from kaldi_quant.frontends.separation.training.config import TrainingConfig
from kaldi_quant.frontends.separation.training.training import train_float
from kaldi_quant.frontends.training.config import OptimizerConfig, ScheduleConfig, ValidationConfig
from kaldi_quant.train import loop
from kaldi_quant.train.parallel.device_context import DeviceContext, device_context
from tests.frontends.separation.toy import TOY, data, noises
from tests.train.group_of_processes import free_ports, run_in_group
from tests.train.pretend_gpu import DEVICE, is_on_gpu, pretend_gpu

# Of plain gradients, so that what differs in the last bit does not become a step in the other direction.
CONFIG = TrainingConfig(
    epochs=3,
    batch_size=4,
    seconds=0.2,
    optimizer=OptimizerConfig("sgd"),
    schedule=ScheduleConfig("constant", 1e-3),
    validation=ValidationConfig("SI-SDRi", patience=3),
)
SIZES = {"filters": 8, "bottleneck": 4, "hidden": 8, "blocks": 2, "repeats": 1}


@pytest.fixture(autouse=True)
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "plot_progress", lambda *_: None)


def passes(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "progress.json").read_text())["iterations"]
    return found


def work(folder: Path) -> list[float]:
    """What each process does."""
    loop.plot_progress = lambda *_: None  # type: ignore[attr-defined]
    with device_context() as place:
        network = train_float(TOY, data(6), CONFIG, folder, place=place)
    return [float(value.detach().double().sum()) for value in network.parameters()]


def test_two_processes_have_the_loss_of_one_with_the_same_minibatches(tmp_path: Path) -> None:
    found = run_in_group(__file__, [str(tmp_path / "two")], free_ports(1)[0])
    assert found[0] == found[1]
    network = train_float(TOY, data(6), CONFIG, tmp_path / "one")
    for one, other in zip(passes(tmp_path / "one"), passes(tmp_path / "two"), strict=True):
        for part in ("train", "valid"):
            assert other[part] == pytest.approx(one[part], rel=1e-4, abs=1e-4)
        assert (one["frames"], one["minibatches"]) == (other["frames"], other["minibatches"])
    assert found[0] == pytest.approx([float(value.detach().double().sum()) for value in network.parameters()], abs=1e-3)
    assert passes(tmp_path / "one")[-1]["train"]["loss"] < passes(tmp_path / "one")[1]["train"]["loss"]


def test_a_gpu_does_all_the_work(tmp_path: Path) -> None:
    """What is forgotten in the main memory, or not brought back to it, fails."""
    name = "conv-tasnet-small"
    kind, config = NETWORKS[name], replace(CONFIG, network=name, sizes=SIZES, epochs=1, batch_size=2)
    networks: list[nn.Module] = [train_float(kind, noises(kind), config, tmp_path / "cpu")]
    with pretend_gpu() as gpu:
        networks.append(train_float(kind, noises(kind), config, tmp_path / "gpu", place=DeviceContext(DEVICE)))
        assert gpu.operations > 500
        assert not any(map(is_on_gpu, networks[1].state_dict().values()))
    for one, other in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


if __name__ == "__main__":
    print(json.dumps(work(Path(sys.argv[1]))))
