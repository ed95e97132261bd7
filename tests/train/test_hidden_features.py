"""Hidden layers of the float network as teachers: of the distance itself, and through ``kq.qat``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import kaldi_quant as kq
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.errors import KaldiQuantError, UsageError
from kaldi_quant.kaldi.model import Model
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.torchnn.host import TorchSource
from kaldi_quant.train.hidden_features import ErrorAndAngle, HiddenFeatures, matching_nodes, share_of_variance

torch.set_num_threads(1)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_error_and_the_angle_are_those_of_the_definition(alpha: float) -> None:
    random = np.random.default_rng(0)
    x, y = random.standard_normal((2, 3, 5, 4))
    unit = [values.reshape(3, -1) / np.linalg.norm(values.reshape(3, -1), axis=1)[:, None] for values in (x, y)]
    expected = alpha * np.mean((x - y) ** 2) + (1 - alpha) * np.mean(1 - np.sum(unit[0] * unit[1], 1))
    student = torch.from_numpy(x).requires_grad_()
    found = ErrorAndAngle(alpha)(student, torch.from_numpy(y))
    found.backward()
    assert float(found.detach()) == pytest.approx(expected) and student.grad is not None
    assert float(ErrorAndAngle(alpha)(torch.from_numpy(y), torch.from_numpy(y))) == pytest.approx(0, abs=1e-12)
    # All rows count for the variance, however many axes they have.
    assert float(share_of_variance(*map(torch.from_numpy, (x, y)))) == pytest.approx(
        float(share_of_variance(*(torch.from_numpy(values.reshape(15, 4)) for values in (x, y))))
    )


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(4, 8, 3, padding=1), nn.ReLU(), nn.Conv1d(8, 8, 3, padding=1), nn.Conv1d(8, 3, 1))


def inputs(number: int = 6, seed: int = 1) -> list[Tensor]:
    return list(torch.randn(number, 4, 4, 20, generator=torch.Generator().manual_seed(seed)))


@pytest.fixture(scope="module")
def start() -> Quantized:
    return kq.quantize(network(), PtqConfig(LayerConfig(bits=3, method="minmax")), calibration=inputs())


def errors(quantized: Quantized) -> list[float]:
    """How far two hidden layers with dequantized weights are from float, on other inputs."""
    student, teacher = quantized.network.dequantized().executable(), TorchSource(network(), inputs(1)[0])
    other = teacher.prepare(fold=True).executable()
    found = []
    for node in ("0", "2"):
        features = HiddenFeatures(student, other, [node])
        with torch.no_grad():
            for model in (student, other):
                model(torch.cat(inputs(seed=2)))
        found.append(float(features.error()))
    return found


def test_the_networks_may_run_in_either_order() -> None:
    student, teacher = (TorchSource(network(), inputs(1)[0]).prepare(fold=False).executable() for _ in range(2))
    student.taps["0"] = lambda x: x + 1
    features = HiddenFeatures(student, teacher, ["0"], ErrorAndAngle())
    x, other = inputs(2)
    found = []
    for order in ((student, teacher), (teacher, student)):
        student(other)
        for model in order:
            model(x)
        found.append(float(features.error().detach()))
    assert found[0] == found[1]


@pytest.mark.parametrize("with_targets", [False, True])
def test_a_quantized_network_learns_hidden_layers(start: Quantized, with_targets: bool) -> None:
    targets = [(x, torch.zeros(4, 3, 20)) for x in inputs()]
    options: dict[str, Any] = {"epochs": 15, "lr_initial": 1e-2, "lr_final": 1e-3}
    led_away = kq.qat(start, targets, loss=functional.mse_loss, **options)
    data: Any = targets if with_targets else inputs()
    if with_targets:
        options["loss"] = functional.mse_loss
    alone = kq.qat(led_away, data, **options, features=["0", "2"], feature_share=1.0)
    assert sum(errors(alone)) < 0.1 * sum(errors(led_away))
    # What no compared node reads has learned nothing.
    layers = [each.network.layers["3"].weight.integers for each in (led_away, alone)]
    assert torch.equal(*layers)
    both = kq.qat(led_away, data, **options, features=["[02]"], feature_share=0.5)
    output_alone = kq.qat(led_away, data, **options)
    assert not torch.equal(both.network.layers["3"].weight.integers, layers[0])
    assert sum(errors(alone)) < sum(errors(both)) < 0.5 * sum(errors(output_alone))


def test_a_training_goes_on_with_the_same_features(start: Quantized, tmp_path: Path) -> None:
    kq.qat(start, inputs(), features=["2"], epochs=1, folder=tmp_path)
    with pytest.raises(KaldiQuantError):
        kq.qat(start, inputs(), features=["0"], epochs=1, folder=tmp_path)
    with pytest.raises(KaldiQuantError):
        kq.qat(start, inputs(), features=["2"], feature_loss=ErrorAndAngle(0.1), epochs=1, folder=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": ["0", "conv*"]}, r"features: 'conv\*' is no hidden node of the network; these are 0, 1, 2, 3"),
        ({"features": ["input*"]}, "features: 'input"),
        ({"features": "0"}, "features: expected a list of names of nodes, found '0'"),
        ({"features": ["0"], "feature_share": 0.0}, "feature_share 0: expected a share above 0, up to 1"),
        ({"features": ["0"], "feature_share": 1.5}, r"feature_share 1\.5: expected a share above 0, up to 1"),
    ],
)
def test_features_that_do_not_exist(start: Quantized, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        kq.qat(start, inputs(), **options)


def test_wrong_shares_and_networks(start: Quantized, model: Model) -> None:
    with pytest.raises(UsageError, match="alpha 2: expected a share from 0 to 1"):
        ErrorAndAngle(2)
    assert matching_nodes(start.network.host.nodes, ["3", "0"]) == ["0", "3"]
    kaldi = replace(start, origin=kq.KaldiNetwork(model, 3))
    with pytest.raises(UsageError, match=r"features are for networks of torch\.nn"):
        kq.qat(kaldi, [], features=["0"])
