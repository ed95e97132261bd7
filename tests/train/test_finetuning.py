import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kaldi_quant.cli.main import run
from kaldi_quant.errors import DataError, FormatError, UsageError
from kaldi_quant.kaldi.egs_folder import EgsFolder
from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.nnet3.chain.options import ChainOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.training.chain_source import SourceOptions
from kaldi_quant.nnet3.training.finetune import TrainingData, finetune
from kaldi_quant.nnet3.training.parameters import trained_components, trained_nnet
from kaldi_quant.train.averaging import average, best_average
from kaldi_quant.train.checkpoint import read_checkpoint, write_checkpoint
from kaldi_quant.train.loop import LoopOptions
from kaldi_quant.train.optimizer import OptimizerOptions, Stepper
from kaldi_quant.train.orthonormal import constrain_orthonormal, orthonormality_error
from kaldi_quant.train.parameters import TrainedComponent
from kaldi_quant.train.schedules import Exponential
from tests.train.small_egs import small_egs

torch.set_num_threads(1)
CHAIN = ChainOptions(leaky_hmm_coefficient=0.1, xent_regularize=0.1)


@pytest.fixture(scope="module")
def egs(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_egs(example, tmp_path_factory.mktemp("egs"), 16)


def train(
    example: Path,
    egs: Path,
    folder: Path,
    stop_after: int | None = None,
    name: str = "adam",
    model: Model | None = None,
) -> Model | None:
    chain = example / "exp/chain/tdnn1a_sp"
    data = TrainingData(str(egs), str(chain / "den.fst"), 3)
    rate = {"adam": 1e-4, "sgd": 1e-4}[name]
    optimizer = OptimizerOptions(name, momentum=0.5 if name == "sgd" else 0.0)
    loop = LoopOptions(optimizer, average_last=2, schedule=Exponential(rate, rate / 2))
    source = SourceOptions(2, "8")
    return finetune(model or read_model(chain / "final.mdl"), data, folder, CHAIN, source, loop, stop_after)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_killed_training_goes_on_to_the_same_bits(name: str, example: Path, egs: Path, tmp_path: Path) -> None:
    whole = train(example, egs, tmp_path / "whole", name=name)
    assert train(example, egs, tmp_path / "killed", stop_after=3, name=name) is None
    resumed = train(example, egs, tmp_path / "killed", name=name)
    assert whole is not None and resumed is not None
    assert whole.getvalue() == resumed.getvalue()
    original = read_model(example / "exp/chain/tdnn1a_sp/final.mdl")
    assert whole.getvalue() != original.getvalue()
    assert len(whole.getvalue()) == len(original.getvalue())


def test_a_checkpoint_of_other_examples_is_refused(example: Path, egs: Path, tmp_path: Path) -> None:
    assert train(example, egs, tmp_path / "out", stop_after=1) is None
    (tmp_path / "other").mkdir()
    other = small_egs(example, tmp_path / "other", 8)
    with pytest.raises(UsageError, match="belongs to a training with other options or another model"):
        train(example, other, tmp_path / "out")


def test_the_model_s_own_folder_is_not_written(
    example: Path, egs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "final.mdl"
    content = (example / "exp/chain/tdnn1a_sp/final.mdl").read_bytes()
    model.write_bytes(content)
    assert run(["train", str(model), str(egs), str(tmp_path)]) == 1
    assert "is the model's own folder, whose final.mdl would be lost" in capsys.readouterr().err
    assert run(["train", str(model), str(egs), str(model)]) == 1
    assert "is a file: give a folder for the results" in capsys.readouterr().err
    assert model.read_bytes() == content


def test_examples_of_another_subsampling_are_refused(
    example: Path, egs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "final.mdl"
    model.write_bytes((example / "exp/chain/tdnn1a_sp/final.mdl").read_bytes())
    den = f"--den-fst={example}/exp/chain/tdnn1a_sp/den.fst"
    assert run(["train", den, str(model), str(egs), str(tmp_path / "out")]) == 1
    assert "needs a frame-subsampling factor, and none is stated" in capsys.readouterr().err
    assert run(["train", den, "--frame-subsampling-factor=1", str(model), str(egs), str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "has an output every 3 frames, and the model's frame-subsampling factor is 1: see the file" in error


def test_training_recovers_what_noise_spoilt(example: Path, egs: Path, tmp_path: Path) -> None:
    model = read_model(example / "exp/chain/tdnn1a_sp/final.mdl")
    generator = np.random.default_rng(0)
    for component in model.nnet.components.values():
        if component.type == "NaturalGradientAffineComponent":
            weight = component["LinearParams"]
            component.replace("LinearParams", weight + generator.normal(0, 0.03, weight.shape).astype(np.float32))
    train(example, egs, tmp_path, model=model)
    record = json.loads((tmp_path / "progress.json").read_text())
    before, after = record["iterations"][0]["valid"]["output"], record["result"]["valid"]["output"]
    assert after > before + 0.02
    assert (tmp_path / "objective.png").stat().st_size > 1000
    assert [entry["frame_shift"] for entry in record["iterations"][1:]] == [1, 2, 2, 0]


def test_only_what_kaldi_trains_changes(example: Path) -> None:
    nnet = read_model(example / "exp/chain/tdnn1a_sp/final.mdl").nnet
    model = AcousticModel(nnet, "output", ["output-xent"])
    components = trained_components(model, nnet)
    assert "lda" not in {part.name for part in components}
    assert {part.name: part.learning_rate_factor for part in components}["output-xent.affine"] == 5
    with torch.no_grad():
        for part in components:
            for parameter in part.parameters.values():
                parameter.add_(1)
    changed = trained_nnet(model, nnet)
    for name, component in changed.components.items():
        expected = 1 if component.type == "NaturalGradientAffineComponent" else 0
        for (field, values), (_, before) in zip(component.arrays(), nnet.components[name].arrays(), strict=True):
            np.testing.assert_allclose(values - before, expected, atol=1e-6, err_msg=f"{name} {field}")


def test_a_folder_of_another_training_is_refused(example: Path, egs: Path, tmp_path: Path) -> None:
    train(example, egs, tmp_path, stop_after=1)
    with pytest.raises(UsageError, match="other options"):
        train(example, egs, tmp_path, name="sgd")


def test_a_damaged_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, {"x": torch.ones(3)})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match="delete it"):
        read_checkpoint(path)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, {"x": torch.ones(3)})

    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(DataError, match="is the disk full"):
        write_checkpoint(path, {"x": torch.zeros(3)})
    monkeypatch.undo()
    state = read_checkpoint(path)
    assert state is not None and float(state["x"].sum()) == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_folder_without_examples_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cegs\.1\.ark"):
        EgsFolder.find(tmp_path)


def test_a_truncated_archive_is_one_sentence(example: Path, egs: Path, tmp_path: Path) -> None:
    content = (egs / "cegs.1.ark").read_bytes()
    (tmp_path / "egs").mkdir()
    (tmp_path / "egs/cegs.1.ark").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises((DataError, FormatError), match=r"cegs\.1\.ark"):
        train(example, tmp_path / "egs", tmp_path / "out")


def one_component(weight: torch.Tensor, **limits: float) -> tuple[torch.nn.Parameter, TrainedComponent]:
    parameter = torch.nn.Parameter(weight.clone())
    return parameter, TrainedComponent("layer", {"weight": parameter}, **limits)


def test_steps_are_limited_by_max_change() -> None:
    parameter, part = one_component(torch.zeros(4, 4), max_change=0.75)
    stepper = Stepper([part], OptimizerOptions("sgd", clip_norm=0))
    parameter.grad = torch.ones(4, 4)
    assert stepper.step(1.0, 100.0, 1)
    np.testing.assert_allclose(float(parameter.detach().norm()), 0.75, rtol=1e-6)


def test_steps_grow_in_the_warm_up_and_a_checkpoint_keeps_its_place() -> None:
    options = OptimizerOptions("sgd", clip_norm=0, max_param_change=0, warm_up=4)
    parameter, part = one_component(torch.zeros(1))
    stepper = Stepper([part], options)
    places = [0.0]
    for number in range(6):
        if number == 2:
            state = stepper.state()
            stepper = Stepper([part], options)
            stepper.load_state(state)
        parameter.grad = -torch.ones(1)
        assert stepper.step(2.0, 1.0, 1)
        places.append(float(parameter.detach()))
    assert np.diff(places).tolist() == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_momentum_spreads_a_gradient_over_steps(momentum: float) -> None:
    options = OptimizerOptions("sgd", momentum=momentum, clip_norm=0, max_param_change=0)
    parameter, part = one_component(torch.zeros(1))
    stepper = Stepper([part], options)
    places = []
    for gradient in [-1.0] + [0.0] * 200:
        parameter.grad = torch.full((1,), gradient)
        assert stepper.step(1.0, 1.0, 1)
        places.append(float(parameter.detach()))
    np.testing.assert_allclose([places[0], places[-1]], [1 - momentum, 1.0], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"momentum": 0.5}, "--momentum 0.5 has an effect only with --optimizer sgd"),
        ({"clip_norm": -1.0}, "--clip-norm -1: expected a number above 0, or 0 for no limit"),
        ({"max_param_change": float("nan")}, "--max-param-change nan: expected a number above 0, or 0 for no limit"),
        ({"warm_up": -1}, "--warm-up -1: expected a number of steps"),
    ],
)
def test_impossible_options_of_the_optimizer(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(sentence)}$"):
        OptimizerOptions(**options)


def test_gradients_that_are_no_numbers_change_nothing() -> None:
    parameter, part = one_component(torch.ones(2, 2))
    stepper = Stepper([part], OptimizerOptions("adam"))
    parameter.grad = torch.full((2, 2), torch.nan)
    assert not stepper.step(1e-3, 1.0, 1)
    assert torch.equal(parameter.detach(), torch.ones(2, 2))


@pytest.mark.parametrize(("rows", "columns", "scale"), [(8, 20, -1.0), (20, 8, -1.0), (8, 20, 1.0)])
def test_the_constraint_leads_to_orthogonal_rows(rows: int, columns: int, scale: float) -> None:
    torch.manual_seed(0)
    matrix = torch.linalg.qr(torch.randn(columns, rows) if rows < columns else torch.randn(rows, columns))[0]
    matrix = (matrix.T if rows < columns else matrix) * (2.0 if scale < 0 else 1.0) + 0.05 * torch.randn(rows, columns)
    before = orthonormality_error(matrix)
    for _ in range(20):
        constrain_orthonormal(matrix, scale)
    assert orthonormality_error(matrix) < before / 100
    if scale > 0:
        np.testing.assert_allclose((matrix @ matrix.T).diagonal(), 1.0, atol=1e-3)


def test_averages_are_chosen_by_their_objective() -> None:
    states = [{"x": torch.tensor([value])} for value in (8.0, 2.0, 4.0)]
    assert average(states)["x"].item() == pytest.approx(14 / 3)
    best, number = best_average(states, lambda state: -abs(float(state["x"]) - 3.1))
    assert (float(best["x"]), number) == (3.0, 2)
