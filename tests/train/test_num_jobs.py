"""Kaldi's parallel training: what jobs have made of the same parameters is averaged."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kaldi_quant.cli import main as cli
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.nnet3.training import job
from kaldi_quant.nnet3.training.averaged_jobs import AveragedJobs, ParallelJobs, RunJobs, write_result
from kaldi_quant.nnet3.training.chain_source import SourceOptions
from kaldi_quant.nnet3.training.finetune import TrainingData, finetune, prepare, with_nnet
from kaldi_quant.nnet3.training.parameters import trained_nnet
from kaldi_quant.train.averaging import average
from kaldi_quant.train.loop import LoopOptions
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.parallel.device_context import DeviceContext
from kaldi_quant.train.parallel.distributed import Group
from kaldi_quant.train.record import IterationRecord
from kaldi_quant.train.schedules import Exponential
from kaldi_quant.train.steps import Trainer
from tests.train import test_finetuning

torch.set_num_threads(1)
CHAIN = test_finetuning.CHAIN

egs = test_finetuning.egs


def here(number: int, log: Path, command: list[str]) -> dict[int, str]:
    """Runs jobs in this process, one after the other."""
    del log
    for n in range(1, number + 1):
        assert job.main([str(n) if word == "JOB" else word.replace("JOB", str(n)) for word in command[3:]]) == 0
    return {}


def data(example: Path, egs: Path) -> TrainingData:
    return TrainingData(str(egs), str(example / "exp/chain/tdnn1a_sp/den.fst"), 3)


def train(
    example: Path, egs: Path, folder: Path, run: RunJobs = here, epochs: int = 2, name: str = "sgd", number: int = 2
) -> Model:
    loop = LoopOptions(OptimizerOptions(name), average_last=1, schedule=Exponential(1e-4, 5e-5))
    jobs = ParallelJobs(number, run)
    model = read_model(example / "exp/chain/tdnn1a_sp/final.mdl")
    trained = finetune(model, data(example, egs), folder, CHAIN, SourceOptions(epochs, "4"), loop, None, None, jobs)
    assert trained is not None
    return trained


@pytest.mark.parametrize(("name", "rate"), [("sgd", 2e-4), ("adam", 1e-4)])
def test_the_average_is_that_of_runs_on_single_archives(
    name: str, rate: float, example: Path, egs: Path, tmp_path: Path
) -> None:
    found = train(example, egs, tmp_path, epochs=1, name=name)
    model = read_model(example / "exp/chain/tdnn1a_sp/final.mdl")
    states, frames, minibatches = [], 0.0, 0
    for number in range(2):
        network, components, source = prepare(model, data(example, egs), CHAIN, SourceOptions(1, "4"), DeviceContext())
        trainer, entry = Trainer(network, components, OptimizerOptions(name)), IterationRecord(number)
        trainer.train(source, number, rate, entry)
        states.append(trainer.state())
        frames, minibatches = frames + entry.frames, minibatches + entry.minibatches
    assert any(not torch.equal(states[0][key], states[1][key]) for key in states[0])
    trainer.load(average(states))
    assert found.getvalue() == with_nnet(model, trained_nnet(network, model.nnet)).getvalue()
    record = json.loads((tmp_path / "progress.json").read_text())
    (iteration,) = record["iterations"][1:]
    assert (iteration["archive"], iteration["learning_rate"]) == ("cegs.1.ark, cegs.2.ark", rate)
    assert iteration["frames"] == frames and iteration["minibatches"] == minibatches > 2
    assert not (tmp_path / "jobs").exists()


def test_a_killed_training_goes_on_after_the_last_whole_iteration(example: Path, egs: Path, tmp_path: Path) -> None:
    whole = train(example, egs, tmp_path / "whole")
    calls = []

    def killed(number: int, log: Path, command: list[str]) -> dict[int, str]:
        calls.append(log.name)
        if len(calls) == 2:
            here(1, log, command)
            raise KeyboardInterrupt
        return here(number, log, command)

    with pytest.raises(KeyboardInterrupt):
        train(example, egs, tmp_path / "killed", killed)
    resumed = train(example, egs, tmp_path / "killed", killed)
    assert whole.getvalue() == resumed.getvalue()
    assert calls == ["train.0.JOB.log", "train.1.JOB.log", "train.1.JOB.log"]


def test_a_failed_job_is_one_sentence(example: Path, egs: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^iteration 1: job 2 failed: no space; see .*/log/train\.0\.2\.log$"):
        train(example, egs, tmp_path, lambda number, log, command: {2: "no space"})


def test_a_job_that_writes_nothing(example: Path, egs: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1\.1\.pt: .* is not there"):
        train(example, egs, tmp_path, lambda number, log, command: {})


def test_a_job_says_what_is_wrong_in_its_log(
    example: Path, egs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def run(number: int, log: Path, command: list[str]) -> dict[int, str]:
        Path(command[3]).unlink()
        status = job.main([command[3], command[4], "2", str(tmp_path / "2.pt")])
        return {2: f"status {status}"}

    with pytest.raises(DataError, match="job 2 failed: status 1"):
        train(example, egs, tmp_path, run)
    assert f"{tmp_path}/jobs/0.pt does not exist" in caplog.text
    assert not (tmp_path / "2.pt").exists()


@pytest.mark.parametrize(("name", "factor"), [("sgd", 0.5), ("adam", 1.0)])
def test_penalties_count_once_for_all_jobs(name: str, factor: float, example: Path, egs: Path, tmp_path: Path) -> None:
    def run(number: int, log: Path, command: list[str]) -> dict[int, str]:
        assert json.loads(Path(command[4]).read_text())["optimizer"]["l2_factor"] == factor
        return here(number, log, command)

    train(example, egs, tmp_path, run, epochs=1, name=name)


def test_a_job_without_memory_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB.\nGPU 0 has less.")

    monkeypatch.setattr(job.JobSpecification, "read", refuse)
    assert job.main(["0.pt", "0.json", "1", str(tmp_path / "1.pt")]) == 1
    assert caplog.messages == ["not enough memory on the GPU: use fewer jobs or smaller batches"]


def results(objectives: list[float]) -> Callable[[int, Path, list[str]], dict[int, str]]:
    """Jobs that make of the parameter x their own number, with these objectives."""

    def run(number: int, log: Path, command: list[str]) -> dict[int, str]:
        for n in range(1, number + 1):
            record = IterationRecord(0, train={"output": objectives[n - 1]}, frames=10.0 * n, minibatches=1)
            write_result(Path(command[-1].replace("JOB", str(n))), {"x": torch.tensor([float(n)])}, record)
        return {}

    return run


class Passes:
    """A source of seven passes, and what is trained on it."""

    def __len__(self) -> int:
        return 7

    def describe(self, number: int) -> tuple[str, int]:
        return f"cegs.{number + 1}.ark", number % 3

    def state(self) -> dict[str, Tensor]:
        return {"x": torch.zeros(1)}

    def load(self, state: dict[str, Tensor]) -> None:
        self.loaded = float(state["x"])


def averaged(number: int, folder: Path, run: RunJobs = here) -> AveragedJobs:
    return AveragedJobs(Passes(), OptimizerOptions("sgd"), ParallelJobs(number, run), folder, {})  # type: ignore[arg-type]


def test_models_whose_objective_is_far_below_the_best_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jobs, passes = averaged(3, tmp_path, results([-0.2, -1.3, -0.1])), Passes()
    entry = jobs.begin(0, 1e-4)
    jobs.train(passes, entry)  # type: ignore[arg-type]
    assert passes.loaded == 2.0
    assert entry.train["output"] == pytest.approx((-0.2 * 10 - 1.3 * 20 - 0.1 * 30) / 60) and entry.frames == 60
    assert "averaging only 2 of 3 models" in caplog.text


def test_the_last_iteration_has_what_is_left(tmp_path: Path) -> None:
    jobs = averaged(3, tmp_path)
    records = [jobs.begin(iteration, rate) for iteration, rate in enumerate([1e-4, 7e-5, 5e-5])]
    assert len(jobs) == 3
    assert [record.archive.count("cegs") for record in records] == [3, 3, 1]
    assert [record.frame_shift for record in records] == [0, 0, 0]
    # Kaldi's: the effective learning rate times the number of jobs.
    assert [record.learning_rate for record in records] == pytest.approx([3e-4, 2.1e-4, 5e-5])


def test_what_cannot_be(example: Path, egs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="--num-jobs 8 is more than archives times --num-epochs, which are 7"):
        averaged(8, tmp_path)
    with pytest.raises(UsageError, match="choose another folder"):
        averaged(2, tmp_path / "JOBS")
    with pytest.raises(UsageError, match="--num-jobs 0"):
        averaged(0, tmp_path)
    warm, together = replace(OptimizerOptions("sgd"), warm_up=5), DeviceContext(group=Group(0, 2))
    for optimizer, place, sentence in (
        (warm, None, "^--warm-up 5: cannot be combined with --num-jobs, whose jobs would each start it again$"),
        (OptimizerOptions("sgd"), together, "torchrun"),
    ):
        with pytest.raises(UsageError, match=sentence):
            finetune(
                read_model(example / "exp/chain/tdnn1a_sp/final.mdl"),
                data(example, egs),
                tmp_path,
                CHAIN,
                SourceOptions(),
                LoopOptions(optimizer),
                place=place,
                jobs=ParallelJobs(2, here),
            )
    assert cli.run(["qat", "--num-jobs=2", "final.mdl", "scp:feats.scp", str(tmp_path / "qat")]) == 1
    assert capsys.readouterr().err.startswith("kaldi-quant qat: --num-jobs: ")
    model = str(example / "exp/chain/tdnn1a_sp/final.mdl")
    assert cli.run(["train", "--vtlp=0.1", model, str(egs), str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith("kaldi-quant train: --vtlp and --filter-augment need --mfcc-config")


def test_the_verb_runs_jobs_as_processes(
    example: Path, egs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = example / "exp/chain/tdnn1a_sp/final.mdl"
    common = ["train", "--num-jobs=2", "--num-epochs=1", "--minibatch-size=4", "--optimizer=sgd", "--average-last=1"]
    rates = ["--lr-initial=1e-4", "--lr-final=5e-5"]
    assert cli.run([*common, *rates, str(model), str(egs), str(tmp_path / "out")]) == 0
    expected = train(example, egs, tmp_path / "here", epochs=1)
    assert (tmp_path / "out/final.mdl").read_bytes() == expected.getvalue(binary=True)
    assert "cegs.2.ark: {'output'" in (tmp_path / "out/log/train.0.2.log").read_text()
    assert cli.run([*common, "--cmd=nosuch.pl --mem 4G", str(model), str(egs), str(tmp_path / "queue")]) == 1
    assert "--cmd nosuch.pl: not found" in capsys.readouterr().err
