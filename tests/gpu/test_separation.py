"""Two steps of each network that separates, on a real GPU: ``pytest -m gpu tests/gpu``. Elsewhere all is skipped."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from kaldi_quant.api.quantization import quantize
from kaldi_quant.api.training import qat
from kaldi_quant.frontends.separation.networks.known import NETWORKS
from kaldi_quant.frontends.separation.schemes.scheme import SCHEMES
from kaldi_quant.frontends.separation.schemes.taught import Taught
from kaldi_quant.frontends.separation.training.config import TrainingConfig
from kaldi_quant.frontends.separation.training.training import train_float, training_batches
from kaldi_quant.train.parallel.device_context import DeviceContext
from tests.frontends.separation.toy import noises

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine"),
]

GPU = torch.device("cuda", 0)
SMALL = [name for name in NETWORKS if name.endswith("-small")]


def config(name: str) -> TrainingConfig:
    """Two minibatches of two pieces, once."""
    loss = "l1" if NETWORKS[name].is_ordered else "pit-si-sdr"
    return TrainingConfig(network=name, loss=loss, epochs=1, batch_size=2, seconds=0.4)


def last(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "progress.json").read_text())["iterations"][-1]
    return found


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_float_training(name: str, bf16: bool, tmp_path: Path) -> None:
    """The reduced networks go where they go on the CPU; of the full ones it is enough that they go."""
    kind = NETWORKS[name]
    network = train_float(kind, noises(kind), config(name), tmp_path / "gpu", place=DeviceContext(GPU, bf16))
    assert not any(value.is_cuda for value in network.state_dict().values())
    found = last(tmp_path / "gpu")
    assert found["minibatches"] == 2 and found["skipped"] == 0 and math.isfinite(found["valid"]["loss"])
    if name in SMALL and not bf16:
        train_float(kind, noises(kind), config(name), tmp_path / "cpu")
        assert found["train"]["loss"] == pytest.approx(last(tmp_path / "cpu")["train"]["loss"], rel=1e-2, abs=0.05)


@pytest.mark.parametrize("scheme", ["vanilla-qat", "fqss", "ours-w4a8"])
@pytest.mark.parametrize("name", SMALL)
def test_quantized_training(name: str, scheme: str, tmp_path: Path) -> None:
    """With the float network as the teacher, on the GPU, too; the result is in integers, in the main memory."""
    kind, chosen = NETWORKS[name], SCHEMES[scheme]
    batches: Any = training_batches(noises(kind), config(name))
    inputs = [next(iter(batches.minibatches(0)))[0][:1]]
    network, training = kind.build().eval(), chosen.training
    assert training is not None
    start = quantize(chosen.ends_of(kind, network, inputs), chosen.config_for(kind), calibration=inputs)
    if chosen.teaching(kind) is not None:
        batches = Taught(batches, network, GPU)
    found = qat(
        start,
        batches,
        loss=chosen.loss_of(kind),
        epochs=1,
        method=training.method,
        weights=training.weights,
        offsets=training.offsets,
        place=DeviceContext(GPU),
        folder=tmp_path,
    )
    entry = last(tmp_path)
    assert entry["minibatches"] == 2 and entry["skipped"] == 0
    output = found.network.model()(inputs[0])
    assert output.shape[1] == len(kind.sources) and bool(torch.isfinite(output).all())
