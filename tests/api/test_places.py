"""Where networks of torch.nn are trained: by several processes, in bfloat16, on a GPU that is pretended.

As a script, this is one of the processes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import kaldi_quant as kq
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.errors import UsageError
from kaldi_quant.torchnn.batches import HeldOutScore
from kaldi_quant.train import loop
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.parallel.device_context import DeviceContext, device_context
from kaldi_quant.train.record import IterationRecord
from tests.references import NNET3, load, model_file
from tests.train.group_of_processes import free_ports, run_in_group
from tests.train.pretend_gpu import DEVICE, is_on_gpu, pretend_gpu

torch.set_num_threads(1)
# Of plain gradients, so that what differs in the last bit does not become a step in the other direction.
SGD = OptimizerOptions("sgd", max_param_change=0.0, clip_norm=0.0)


@pytest.fixture(autouse=True)
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "plot_progress", lambda *_: None)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 8, 3, padding=1), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 2, 1))


def batches(rows: tuple[int, ...] = (4, 5, 1), seed: int = 1) -> list[tuple[Tensor, tuple[Tensor, Tensor]]]:
    """Inputs, and targets of two tensors; of the last minibatch one process of two has no share."""
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randn(number, 2, 30, generator=generator) for number in rows]
    return [(x, (x.cumsum(-1).tanh(), x.abs())) for x in found]


def loss(output: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
    return functional.mse_loss(output, target[0]) + functional.l1_loss(output, target[1])


def score() -> HeldOutScore:
    def measure(model: Any) -> float:
        inputs, target = batches(seed=2)[0]
        device = next(model.parameters()).device
        with torch.no_grad():
            return -float(loss(model(inputs.to(device)), tuple(x.to(device) for x in target)))  # type: ignore[arg-type]

    return HeldOutScore("minus", measure)


def finetuned(folder: Path, place: DeviceContext | None) -> nn.Module:
    found: nn.Module = kq.finetune(
        network(),
        batches(),
        loss=loss,
        epochs=3,
        held_out=batches(seed=2),
        lr_initial=1e-2,
        optimizer=SGD,
        early_stopping=3,
        score=score(),
        folder=folder,
        place=place,
    )
    return found


def quantized(folder: Path, place: DeviceContext | None) -> nn.Module:
    start = kq.quantize(network().eval(), "w8a8", calibration=[x for x, _ in batches()])
    trained = kq.qat(
        start,
        batches(),
        loss=loss,
        epochs=2,
        held_out=batches(seed=2),
        lr_initial=1e-2,
        optimizer=SGD,
        offsets="floats",
        folder=folder,
        place=place,
    )
    return trained.network.model()


def passes(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "progress.json").read_text())["iterations"]
    return found


def work(folder: Path) -> dict[str, Any]:
    """What each process does."""
    loop.plot_progress = lambda *_: None  # type: ignore[attr-defined]
    with device_context() as place:
        finetuned(folder / "finetuned", place)
        quantized(folder / "quantized", place)
        # Each has a folder of its own: what it has is its own work.
        whole = finetuned(folder / f"{place.group.rank}", place)
    return {"sum": float(sum(value.double().sum() for value in whole.parameters()))}


def test_two_processes_go_where_one_goes(tmp_path: Path) -> None:
    found = run_in_group(__file__, [str(tmp_path)], free_ports(1)[0])
    assert found[0] == found[1]
    for name, train in (("finetuned", finetuned), ("quantized", quantized)):
        alone = tmp_path / f"{name} alone"
        train(alone, None)
        for one, other in zip(passes(tmp_path / name), passes(alone), strict=True):
            for part in ("train", "valid"):
                assert one[part] == pytest.approx(other[part], rel=2e-4)
            assert one["frames"] == other["frames"]
        assert passes(alone)[-1]["train"]["loss"] < passes(alone)[1]["train"]["loss"]


@pytest.mark.parametrize("train", [finetuned, quantized])
def test_a_gpu_does_all_the_work(train: Callable[[Path, DeviceContext | None], nn.Module], tmp_path: Path) -> None:
    """What is forgotten in the main memory, or not brought back to it, fails."""
    expected = train(tmp_path / "cpu", None)
    with pretend_gpu() as gpu:
        found = train(tmp_path / "gpu", DeviceContext(DEVICE))
        assert gpu.operations > 500
        assert not any(map(is_on_gpu, found.state_dict().values()))
    x = batches()[0][0]
    with torch.no_grad():
        torch.testing.assert_close(found(x), expected(x), rtol=1e-4, atol=1e-4)


def test_bf16_is_in_the_products_alone(tmp_path: Path) -> None:
    types: list[torch.dtype] = []

    def seen(output: Tensor, target: Any) -> Tensor:
        types.append(output.dtype)
        return loss(output, target)

    place = DeviceContext(bf16=True)
    kq.finetune(network(), batches(), loss=seen, epochs=1, folder=tmp_path / "bf16", place=place)
    kq.finetune(network(), batches(), loss=loss, epochs=1, folder=tmp_path / "f32")
    assert set(types) == {torch.float32}
    found, exact = (passes(tmp_path / name)[-1]["train"]["loss"] for name in ("bf16", "f32"))
    assert found != exact and found == pytest.approx(exact, rel=1e-2)
    with pytest.raises(UsageError, match="belongs to a training with other options"):
        kq.finetune(network(), batches(), loss=loss, epochs=1, folder=tmp_path / "bf16")


def test_quantized_training_is_decided_by_a_score_and_tells_each_pass(tmp_path: Path) -> None:
    start = kq.quantize(network().eval(), "w8a8", calibration=[x for x, _ in batches()])
    told: list[tuple[int, Tensor]] = []

    def after(entry: IterationRecord, converted: Callable[[], Quantized]) -> None:
        told.append((entry.iteration, converted().network.model()(batches()[0][0])))

    given = {"loss": loss, "epochs": 3, "early_stopping": 3, "score": score(), "folder": tmp_path}
    trained = kq.qat(start, batches(), lr_initial=1e-2, after_pass=after, **given)
    assert [place for place, _ in told] == [0, 1, 2]
    assert not torch.equal(told[0][1], told[2][1])
    record = json.loads((tmp_path / "progress.json").read_text())
    assert all("minus" in entry["valid"] for entry in record["iterations"])
    best = max(record["iterations"][1:], key=lambda entry: entry["valid"]["minus"])
    assert record["result"]["valid"]["minus"] >= best["valid"]["minus"]
    if "iteration" in record["result"]:
        torch.testing.assert_close(trained.network.model()(batches()[0][0]), told[record["result"]["iteration"]][1])


def test_kaldi_models_have_a_command_for_it() -> None:
    model = load(model_file(NNET3 / "tdnnf_small"))
    with pytest.raises(UsageError, match="Kaldi models are trained so by kaldi-quant train"):
        kq.finetune(model, "egs", place=DeviceContext())


if __name__ == "__main__":
    print(json.dumps(work(Path(sys.argv[1]))))
