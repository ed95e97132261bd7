"""Training that ends when held-out examples gain nothing any more, and learning rates that follow them."""

import json
import math
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from kaldi_quant.cli.main import run
from kaldi_quant.errors import FormatError, UsageError
from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.nnet3.training.chain_source import SourceOptions
from kaldi_quant.nnet3.training.finetune import TrainingData, finetune
from kaldi_quant.train.early_stopping import is_best, is_over
from kaldi_quant.train.loop import Loop, LoopOptions
from kaldi_quant.train.loss import Loss
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.parameters import TrainedComponent
from kaldi_quant.train.schedules import Constant, Cosine, Exponential, Plateau, Schedule
from tests.train import test_finetuning

torch.set_num_threads(1)
SGD = OptimizerOptions("sgd", clip_norm=0, max_param_change=0)

egs = test_finetuning.egs


class Walk:
    """A source under which a parameter grows by the learning rate in each of ten iterations, and ranges follow it.

    Args:
        score: of the parameter's value, on held-out examples; None where there are none.
    """

    def __init__(self, score: Callable[[float], float] | None) -> None:
        self.parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.range, self.frozen = torch.zeros(1, dtype=torch.float64), torch.tensor(False)
        self.held_out = score

    def __len__(self) -> int:
        return 10

    def describe(self, number: int) -> tuple[str, int]:
        return "walk", 0

    def losses(self, number: int, model: object) -> Iterator[Loss]:
        assert not self.frozen
        yield Loss(-self.parameter.sum(), {"output": float(self.parameter.detach())}, 1.0, 1, 1, True)
        self.range.copy_(self.parameter.detach() * 10)

    def validate(self, model: object) -> dict[str, float]:
        if not self.frozen:
            self.range += 0.5
        return {} if self.held_out is None else {"output": self.held_out(float(self.parameter.detach()))}

    @property
    def has_held_out(self) -> bool:
        return self.held_out is not None

    def objective(self, parts: dict[str, float]) -> float:
        return parts["output"]

    def score(self, model: object) -> float | None:
        """On examples for combination, on which more training always looks better."""
        return float(self.parameter.detach())

    def freeze(self, frozen: bool) -> None:
        self.frozen.fill_(frozen)

    def tensors(self) -> dict[str, torch.Tensor]:
        # As of PyTorch's observers: whether they are frozen is one of their tensors.
        return {"range": self.range, "frozen": self.frozen}


def walk(
    folder: Path, score: Callable[[float], float] | None, options: LoopOptions, stop_after: int | None = None
) -> tuple[dict[str, Any], Walk]:
    source = Walk(score)
    parts = [TrainedComponent("layer", {"weight": source.parameter})]
    loop = Loop(torch.nn.Module(), parts, source, options, folder, {}, observers=source)  # type: ignore[arg-type]
    return loop.run(stop_after), source


def options(early_stopping: int, average_last: int = 4, schedule: Schedule | None = None) -> LoopOptions:
    return LoopOptions(SGD, average_last, 1.0, schedule or Constant(1.0), early_stopping)


def iterations(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "progress.json").read_text())["iterations"][1:]


def test_when_training_is_over() -> None:
    assert [is_over([1.0, 3.0, 2.0, 3.0, 1.0][:n], 3) for n in range(6)] == [False] * 5 + [True]
    assert not is_over([1.0, 0.0, 0.0, 0.0], 0)
    assert [is_best([1.0, 3.0, 2.0, 3.0, 3.5][:n]) for n in range(1, 6)] == [True, True, False, False, True]
    # What is no number counts as this.
    assert is_over([-math.inf, -math.inf], 1) and is_best([-math.inf, -1.0]) and not is_best([-math.inf, -math.inf])


def test_the_best_iteration_is_the_result_with_its_ranges(tmp_path: Path) -> None:
    result, source = walk(tmp_path, lambda x: -abs(x - 3), options(2))
    assert (float(source.parameter.detach()), result) == (
        3.0,
        {"averaged": 1, "iteration": 2, "valid": {"output": 0.0}},
    )
    # After validation, which moves ranges as long as they are not frozen.
    assert float(source.range) == 30.5 and source.frozen
    assert len(iterations(tmp_path)) == 5
    assert json.loads((tmp_path / "progress.json").read_text())["result"] == result


def test_an_average_of_the_last_is_the_result_where_it_does_better(tmp_path: Path) -> None:
    # 2, 3, 4 and 5 are averaged; 3 is the best iteration.
    result, source = walk(tmp_path, lambda x: -abs(x - 3.45), options(2))
    assert (float(source.parameter.detach()), result["averaged"]) == (3.5, 4)
    assert "iteration" not in result and float(source.range) == 50.5
    result, source = walk(tmp_path / "last alone", lambda x: -abs(x - 3.45), options(2, 1))
    assert (float(source.parameter.detach()), result["iteration"]) == (3.0, 2)


def test_training_that_gets_better_goes_to_the_end(tmp_path: Path) -> None:
    result, source = walk(tmp_path, lambda x: x, options(1))
    assert (float(source.parameter.detach()), result["iteration"], len(iterations(tmp_path))) == (10.0, 9, 10)


def test_without_early_stopping_nothing_is_kept_of_the_best(tmp_path: Path) -> None:
    result, source = walk(tmp_path, lambda x: -abs(x - 3), options(0))
    assert (float(source.parameter.detach()), len(iterations(tmp_path))) == (10.0, 10)
    assert result == {"averaged": 1, "valid": {"output": -7.0}}


def test_scores_that_are_no_number_are_no_improvement(tmp_path: Path) -> None:
    result, source = walk(tmp_path, lambda x: math.nan if x != 4 else 1.0, options(4, 1))
    assert (float(source.parameter.detach()), result["iteration"], len(iterations(tmp_path))) == (4.0, 3, 8)
    result, _ = walk(tmp_path / "never", lambda x: math.nan, options(2, 1))
    assert result["iteration"] == 0 and len(iterations(tmp_path / "never")) == 3


def test_the_model_before_training_does_not_count(tmp_path: Path) -> None:
    result, _ = walk(tmp_path, lambda x: -abs(x - 6) if x else 1.0, options(2, 1))
    assert result["iteration"] == 5


def test_learning_rates_follow_held_out_scores(tmp_path: Path) -> None:
    schedule = Plateau(1.0, 0.3, patience=2, factor=0.5)
    walk(tmp_path, lambda x: -abs(x - 2), options(0, schedule=schedule))
    assert [entry["learning_rate"] for entry in iterations(tmp_path)] == [1, 1, 1, 1, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3]


@pytest.mark.parametrize("schedule", [Constant(1.0), Plateau(1.0, 0.1, patience=2, factor=0.5)], ids=lambda s: s.name)
@pytest.mark.parametrize("stops", [[3], [4], [2, 3, 4], [5, 6]])
def test_what_was_killed_ends_as_what_was_not(schedule: Schedule, stops: list[int], tmp_path: Path) -> None:
    def score(x: float) -> float:
        return -abs(x - 3)

    chosen = options(4, 2, schedule)
    result, whole = walk(tmp_path / "whole", score, chosen)
    for stop in stops:
        assert walk(tmp_path / "killed", score, chosen, stop)[0] == {}
    again, resumed = walk(tmp_path / "killed", score, chosen)
    finished, once_more = walk(tmp_path / "killed", score, chosen)
    assert result == again == finished and result["iteration"] == 2
    for source in (resumed, once_more):
        assert torch.equal(source.parameter, whole.parameter) and torch.equal(source.range, whole.range)
    found, expected = (
        [{name: value for name, value in entry.items() if name != "seconds"} for entry in iterations(tmp_path / name)]
        for name in ("killed", "whole")
    )
    assert found == expected and len(found) == 7


@pytest.mark.parametrize(
    ("loop", "sentence"),
    [
        (options(3), "^--early-stopping 3 needs held-out examples: there are none$"),
        (options(0, schedule=Plateau()), "^--lr-schedule plateau needs held-out examples: there are none$"),
    ],
)
def test_without_held_out_examples_it_is_refused(loop: LoopOptions, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=sentence):
        walk(tmp_path, None, loop)
    assert not list(tmp_path.iterdir())
    walk(tmp_path, None, options(0))


def test_impossible_values() -> None:
    with pytest.raises(UsageError, match=r"^--early-stopping -1: expected a number of iterations, or 0 for none$"):
        options(-1)


@pytest.mark.parametrize("other", [options(2), options(0, schedule=Cosine(1.0, 0.5))], ids=["stopping", "schedule"])
def test_a_checkpoint_of_other_options_is_refused(other: LoopOptions, tmp_path: Path) -> None:
    walk(tmp_path, lambda x: x, options(0, schedule=Exponential(1.0, 0.5)), 1)
    with pytest.raises(UsageError, match="belongs to a training with other options"):
        walk(tmp_path, lambda x: x, other)


def test_a_checkpoint_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    walk(tmp_path, lambda x: x, options(0), 1)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    torch.save({**state, "format": 1}, tmp_path / "checkpoint.pt")
    with pytest.raises(FormatError, match="is a checkpoint of another version: delete it to start again"):
        walk(tmp_path, lambda x: x, options(0))


PLATEAU = LoopOptions(OptimizerOptions(), schedule=Plateau(3e-3, 1e-4, patience=1, factor=0.5), average_last=2)
STOPPING = LoopOptions(
    OptimizerOptions(amsgrad=True, weight_decay=0.1), schedule=Constant(3e-3), average_last=2, early_stopping=2
)


def train(example: Path, egs: Path, folder: Path, loop: LoopOptions, stop_after: int | None = None) -> Model | None:
    chain = example / "exp/chain/tdnn1a_sp"
    data, model = TrainingData(str(egs), str(chain / "den.fst"), 3), read_model(chain / "final.mdl")
    return finetune(model, data, folder, test_finetuning.CHAIN, SourceOptions(4, "8"), loop, stop_after)


@pytest.mark.parametrize(("loop", "stop"), [(PLATEAU, 5), (STOPPING, 2)], ids=["plateau", "stopping"])
def test_a_killed_training_goes_on_to_the_same_bits(
    loop: LoopOptions, stop: int, example: Path, egs: Path, tmp_path: Path
) -> None:
    whole = train(example, egs, tmp_path / "whole", loop)
    assert train(example, egs, tmp_path / "killed", loop, stop) is None
    resumed = train(example, egs, tmp_path / "killed", loop)
    assert whole is not None and resumed is not None
    assert whole.getvalue() == resumed.getvalue()
    done = iterations(tmp_path / "whole")
    assert (len({entry["learning_rate"] for entry in done}) > 2) == (loop is PLATEAU)
    assert (len(done) < 8) == (loop is STOPPING) and len(done) > stop


def test_a_folder_without_held_out_examples_is_refused(example: Path, egs: Path, tmp_path: Path) -> None:
    shutil.copytree(egs, tmp_path / "egs")
    (tmp_path / "egs/valid_diagnostic.cegs").unlink()
    sentence = f"--early-stopping 2 needs held-out examples: {tmp_path}/egs has no valid_diagnostic.cegs"
    with pytest.raises(UsageError, match=f"^{re.escape(sentence)}$"):
        train(example, tmp_path / "egs", tmp_path / "out", STOPPING)
    assert not (tmp_path / "out").exists()


def test_integers_are_refused_before_they_are_computed(
    example: Path, egs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(egs, tmp_path / "egs")
    (tmp_path / "egs/valid_diagnostic.cegs").unlink()
    monkeypatch.setattr("kaldi_quant.cli.qat._network", lambda *arguments: pytest.fail("computed"))
    monkeypatch.chdir(example)
    places = ["exp/chain/tdnn1a_sp/final.mdl", "scp:data/train_sub_hires/feats.scp", str(tmp_path / "out")]
    assert run(["qat", "--early-stopping=3", f"--egs-dir={tmp_path}/egs", "--max-utterances=1", *places]) == 1
    assert f"{tmp_path}/egs has no valid_diagnostic.cegs" in capsys.readouterr().err
