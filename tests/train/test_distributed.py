"""Several processes share each minibatch, and end where one process does. As a script, this is one of the processes."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kaldi_quant.cli.main import run
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.kaldi.egs import EgsOptions
from kaldi_quant.kaldi.mfcc_options import read_mfcc_config
from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.training.augmentation import AugmentationOptions
from kaldi_quant.nnet3.training.chain_source import SourceOptions
from kaldi_quant.nnet3.training.examples import chain_shares, wanted_examples
from kaldi_quant.nnet3.training.feature_source import FeatureOptions, FeatureSource
from kaldi_quant.nnet3.training.finetune import TrainingData, finetune, prepare
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.train.distillation import Distillation
from kaldi_quant.train.loop import LoopOptions
from kaldi_quant.train.loss import Loss
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.parallel.device_context import DeviceContext, device_context
from kaldi_quant.train.parallel.distributed import Group, GroupError, process_group
from kaldi_quant.train.parameters import TrainedComponent
from kaldi_quant.train.qat.fake_grid import FakeGrid
from kaldi_quant.train.record import IterationRecord
from kaldi_quant.train.schedules import Exponential
from kaldi_quant.train.steps import Trainer
from tests.train import test_finetuning
from tests.train.group_of_processes import free_ports, run_in_group

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[2]
CHAIN = test_finetuning.CHAIN
CPU = torch.device("cpu")
SGD = LoopOptions(OptimizerOptions("sgd", momentum=0.5), average_last=2, schedule=Exponential(1e-4, 5e-5))

egs = test_finetuning.egs


def train(example: Path, egs: Path, folder: Path, place: DeviceContext, stop_after: int | None = None) -> Model | None:
    chain = example / "exp/chain/tdnn1a_sp"
    data = TrainingData(str(egs), str(chain / "den.fst"), 3)
    model = read_model(chain / "final.mdl")
    return finetune(model, data, folder, CHAIN, SourceOptions(2, "3"), SGD, stop_after, place)


class Doubtful:
    """A source whose second minibatch has no finite loss in process 1, and whose third is process 0's alone."""

    def __init__(self, parameter: torch.nn.Parameter, rank: int) -> None:
        self.parameter, self.rank = parameter, rank

    def losses(self, number: int, model: AcousticModel) -> Iterator[Loss]:
        weight = float(1 + self.rank)
        for minibatch in range(3):
            if minibatch == 2 and self.rank:
                yield Loss.none()
                return
            ok = not (minibatch == 1 and self.rank)
            value = self.parameter.sum() * (1 + 3 * self.rank) * (1 if ok else torch.nan)
            yield Loss(value, {"output": weight}, weight, 1 + self.rank, 1 + self.rank, ok)

    def describe(self, number: int) -> tuple[str, int]:
        return "cegs.1.ark", 0


def train_doubtful(group: Group) -> tuple[list[float], IterationRecord]:
    parameter = torch.nn.Parameter(torch.zeros(2))
    options = OptimizerOptions("sgd", clip_norm=0, max_param_change=0)
    trainer = Trainer(SimpleNamespace(), [TrainedComponent("layer", {"weight": parameter})], options, group=group)  # type: ignore[arg-type]
    entry = IterationRecord(0)
    trainer.train(Doubtful(parameter, group.rank), 0, 1.0, entry)  # type: ignore[arg-type]
    return parameter.tolist(), entry


def threads() -> list[str]:
    """The names of this process's threads."""
    folder = Path("/proc/self/task")
    return [path.read_text().strip() for path in folder.glob("*/comm")] if folder.is_dir() else []


def work(example: Path, egs: Path, folder: Path, second_port: str) -> dict[str, object]:
    """What each process does."""
    found: dict[str, object] = {}
    with device_context() as place:
        whole = train(example, egs, folder / "whole", place)
        assert train(example, egs, folder / "killed", place, stop_after=3) is None
        resumed = train(example, egs, folder / "killed", place)
        assert whole is not None and resumed is not None
        found["same"] = whole.getvalue() == resumed.getvalue()
        (folder / f"{place.group.rank}.mdl").write_bytes(whole.getvalue())
        parameter, entry = train_doubtful(place.group)
        found["doubtful"] = [parameter, entry.minibatches, entry.skipped, entry.frames, entry.train]
    found["threads"] = [name for name in threads() if "gloo" in name]
    os.environ["MASTER_PORT"] = second_port
    try:
        with process_group(CPU) as group:
            if group.rank == 1:
                raise DataError("the disk is full")
            for _ in range(100):
                group.gather("another minibatch")
    except (DataError, GroupError) as error:
        found["error"] = f"{type(error).__name__}: {error}"
    return found


@pytest.fixture(scope="module")
def pair(example: Path, egs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, object]]]:
    """Two processes, as torchrun would start them: the folder that they wrote to, and what each of them found."""
    folder = tmp_path_factory.mktemp("pair")
    port, second_port = free_ports(2)
    return folder, run_in_group(__file__, [*map(str, (example, egs, folder)), second_port], port)


def test_two_processes_end_where_one_does(
    pair: tuple[Path, list[dict[str, object]]], example: Path, egs: Path, tmp_path: Path
) -> None:
    folder, _ = pair
    assert (folder / "0.mdl").read_bytes() == (folder / "1.mdl").read_bytes()
    alone = train(example, egs, tmp_path, DeviceContext())
    assert alone is not None
    together, original = read_model(folder / "0.mdl"), read_model(example / "exp/chain/tdnn1a_sp/final.mdl")
    changed = 0
    for name, component in alone.nnet.components.items():
        parts = (found.nnet.components[name].arrays() for found in (together, original))
        for (field, expected), (_, found), (_, before) in zip(component.arrays(), *parts, strict=True):
            # By their norm: where a ReLU's input is zero but for rounding, single rows differ by more.
            size = np.linalg.norm(expected)
            assert np.linalg.norm(found - expected) <= 1e-5 * size, f"{name} {field}"
            changed += bool(np.linalg.norm(expected - before) > 1e-4 * size)
    assert changed > 10
    records = [json.loads((place / "progress.json").read_text()) for place in (folder / "whole", tmp_path)]
    for found, expected in zip(records[0]["iterations"], records[1]["iterations"], strict=True):
        for name in ("frames", "minibatches", "skipped", "learning_rate", "archive"):
            assert found[name] == expected[name]
        for name in ("train", "valid"):
            assert found[name] == pytest.approx(expected[name], rel=1e-5)


def test_two_killed_processes_go_on_to_the_same_bits(pair: tuple[Path, list[dict[str, object]]]) -> None:
    assert [found["same"] for found in pair[1]] == [True, True]


def test_a_minibatch_without_a_finite_loss_anywhere_is_left_out_everywhere(
    pair: tuple[Path, list[dict[str, object]]],
) -> None:
    # Slopes 1 of one frame and 4 of two; then nothing; then 1 of one frame. A step is the sum over frames.
    expected = [[-10.0, -10.0], 3, 1, 4.0, {"output": 1.0}]
    assert [found["doubtful"] for found in pair[1]] == [expected, expected]


def test_an_error_in_one_process_ends_the_others(pair: tuple[Path, list[dict[str, object]]]) -> None:
    assert [found["error"] for found in pair[1]] == [
        "GroupError: process 1 of 2 has failed and says why",
        "DataError: the disk is full",
    ]


def test_nothing_of_a_group_is_left(pair: tuple[Path, list[dict[str, object]]]) -> None:
    assert [found["threads"] for found in pair[1]] == [[], []]


def augmented(example: Path) -> AugmentationOptions:
    return AugmentationOptions(0.1, 4.0, read_mfcc_config(example / "conf/mfcc_hires.conf"))


@pytest.mark.parametrize("augmentation", [None, augmented], ids=["as they are", "augmented"])
def test_the_shares_of_a_minibatch_make_it_up(
    example: Path, egs: Path, augmentation: Callable[[Path], AugmentationOptions] | None
) -> None:
    options = SourceOptions(1, "4", augmentation=augmentation and augmentation(example))
    chain = example / "exp/chain/tdnn1a_sp"
    data, model = TrainingData(str(egs), str(chain / "den.fst"), 3), read_model(chain / "final.mdl")
    sums = []
    for groups in ([Group()], [Group(rank, 3) for rank in range(3)]):
        parts = []
        for group in groups:
            network, _, source = prepare(model, data, CHAIN, options, DeviceContext(group=group))
            with torch.no_grad():
                parts.append([(float(loss.value), loss.weight) for loss in source.losses(1, network)])
        # (minibatches, shares, 2)
        values = np.array(parts).swapaxes(0, 1)
        sums.append([(values[..., 0] * values[..., 1]).sum(1), values[..., 1].sum(1)])
    np.testing.assert_allclose(sums[0], sums[1], rtol=1e-6)


def test_a_process_without_a_share_has_none(example: Path, egs: Path) -> None:
    model = AcousticModel(read_model(example / "exp/chain/tdnn1a_sp/final.mdl").nnet)
    given = (f"ark:{egs}/cegs.1.ark", EgsOptions("4"), model)
    shares = list(chain_shares(wanted_examples(*given, DeviceContext(group=Group(4, 6)))))
    assert shares == [None] * 3
    shares = list(chain_shares(wanted_examples(*given, DeviceContext(group=Group(1, 3)))))
    assert [len(share.feats) for share in shares if share] == [1, 1, 1]


@pytest.mark.parametrize("augmentation", [None, augmented], ids=["as they are", "augmented"])
def test_the_shares_of_pieces_of_utterances_make_them_up(
    example: Path, augmentation: Callable[[Path], AugmentationOptions] | None
) -> None:
    model = AcousticModel(read_model(example / "exp/chain/tdnn1a_sp/final.mdl").nnet)
    generator = np.random.default_rng(0)
    utterances = [(str(n), generator.normal(size=(80, model.input_dim)).astype(np.float32)) for n in range(5)]
    student = AcousticModel(read_model(example / "exp/chain/tdnn1a_sp/final.mdl").nnet)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.mul_(1.01)
    sums = []
    for groups in ([Group()], [Group(rank, 2) for rank in range(2)]):
        options = FeatureOptions(1, 3, augmentation=augmentation and augmentation(example), frames=40)
        sources = [
            FeatureSource(utterances, Distillation(model), options, 3, (), DeviceContext(group=g)) for g in groups
        ]
        with torch.no_grad():
            sums.append(sum(loss.sums["kl"] for source in sources for loss in source.losses(0, student)))
    assert sums[0] == pytest.approx(sums[1], rel=1e-5) and sums[0] > 0


def test_training_in_bfloat16_stays_near_float32(example: Path, egs: Path, tmp_path: Path) -> None:
    models = {
        name: train(example, egs, tmp_path / name, DeviceContext(bf16=name == "bf16")) for name in ("bf16", "fp32")
    }
    assert models["bf16"] is not None and models["fp32"] is not None
    assert models["bf16"].getvalue() != models["fp32"].getvalue()
    found, expected = (json.loads((tmp_path / name / "progress.json").read_text()) for name in models)
    # Of -0.06 per frame: products have 8 bits.
    for one, other in zip(found["iterations"][1:], expected["iterations"][1:], strict=True):
        assert one["train"]["output"] == pytest.approx(other["train"]["output"], abs=2e-3)
        assert one["train"]["output"] != other["train"]["output"]
        assert one["valid"]["output"] == pytest.approx(other["valid"]["output"], abs=2e-3)
    # Before training there is nothing but validation, which is computed in float32.
    assert found["iterations"][0] == expected["iterations"][0]
    with pytest.raises(UsageError, match="other options"):
        train(example, egs, tmp_path / "bf16", DeviceContext())


def test_grids_are_computed_in_float32() -> None:
    grid = Grid.from_range(QSpec(8, signed=False, symmetric=False), torch.tensor(0.0), torch.tensor(17.3))
    x = torch.linspace(0, 17.3, 1000).bfloat16()
    assert torch.equal(FakeGrid(grid, 1)(x), grid.fake(x.float()))


def test_devices_that_are_not_there(example: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = [str(example / "exp/chain/tdnn1a_sp/final.mdl"), str(tmp_path), str(tmp_path / "out")]
    assert run(["train", "--device=tpu", *arguments]) == 1
    assert capsys.readouterr().err == "kaldi-quant train: --device tpu: expected cpu or cuda\n"
    if not torch.cuda.is_available():
        assert run(["train", "--device", "cuda", *arguments]) == 1
        assert "this machine has 0" in capsys.readouterr().err


def test_half_of_torchruns_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(UsageError, match="MASTER_ADDR"), process_group(CPU):
        pass


def test_a_single_process_is_a_group_of_its_own() -> None:
    group = replace(DeviceContext()).group
    assert group.is_main and group.gather({"x": 1}) == [{"x": 1}] and group.broadcast_bytes(b"x") == b"x"
    gradient = torch.ones(2)
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = gradient
    assert group.sum_gradients([parameter], 3.0, 2, True) == (3.0, 2, True)
    assert parameter.grad is gradient


if __name__ == "__main__":
    print(json.dumps(work(*map(Path, sys.argv[1:4]), sys.argv[4])))
