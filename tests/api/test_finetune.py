"""``kq.finetune`` for both kinds of networks."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import weight_norm

import kaldi_quant as kq
from kaldi_quant.api.training import distilled
from kaldi_quant.cli.main import run
from kaldi_quant.errors import DataError, ModelError, UsageError
from kaldi_quant.kaldi.model import Model
from kaldi_quant.nnet3.training.finetune import with_nnet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.distance import KullbackLeibler, mean_distance
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.torchnn.batches import HeldOutScore, Passes
from kaldi_quant.torchnn.copies import own_copy
from kaldi_quant.torchnn.penalties import Penalty
from kaldi_quant.train.loop import Loop
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.schedules import Constant
from tests.references import NNET3, load, model_file, read_archive
from tests.train.small_egs import small_egs


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv1d(4, 8, 3, padding=1), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Conv1d(8, 3, 1)
    )


def batches(number: int = 6, seed: int = 1) -> list[tuple[Tensor, Tensor]]:
    """Inputs, and the class of each column: where the sum of the input's first two rows lies."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(number, 4, 4, 20, generator=generator)
    return [(part, torch.bucketize(part[:, 0] + part[:, 1], torch.tensor([-0.7, 0.7]))) for part in x]


def loss_of(module: nn.Module) -> float:
    module = own_copy(module).eval()
    with torch.no_grad():
        return float(np.mean([functional.cross_entropy(module(x), target) for x, target in batches(seed=2)]))


def same(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(x, states[1][name]) for name, x in states[0].items()
    )


@pytest.mark.parametrize("train_mode", [False, True])
def test_a_torch_network_learns_targets(train_mode: bool) -> None:
    original = network()
    before = copy.deepcopy(original)
    original[1].eval()
    tuned = kq.finetune(
        original,
        batches(),
        loss=functional.cross_entropy,
        epochs=20,
        lr_initial=1e-2,
        lr_final=1e-3,
        train_mode=train_mode,
    )
    assert isinstance(tuned, nn.Sequential) and loss_of(tuned) < 0.7 * loss_of(original)
    assert same(original, before) and all(value.grad is None for value in original.parameters())
    assert [module.training for module in tuned.modules()] == [module.training for module in original.modules()]
    assert torch.equal(tuned[1].running_mean, before[1].running_mean) is not train_mode
    # It is a network like any other.
    assert not kq.quantize(tuned, "w8a8", calibration=[x for x, _ in batches()]).float_layers


def test_a_teacher_is_learned_by_the_network_s_distance() -> None:
    teacher, inputs = network(seed=5), [x for x, _ in batches(20)]

    def distance(module: nn.Module, squared: bool) -> float:
        with torch.no_grad():
            rows = [[net.eval()(x) for x in inputs] for net in (copy.deepcopy(teacher), copy.deepcopy(module))]
        if squared:
            return float(sum((a - b).square().mean() for a, b in zip(*rows, strict=True)))
        names = [{str(i): x.movedim(1, -1).reshape(-1, 3).numpy() for i, x in enumerate(part)} for part in rows]
        return mean_distance(KullbackLeibler(), *names)

    options = {"teacher": teacher, "epochs": 8, "lr_initial": 1e-2, "lr_final": 1e-3, "held_out": inputs[:4]}
    by_error = kq.finetune(network(), inputs, **options)
    assert distance(by_error, squared=True) < 0.5 * distance(network(), squared=True)
    found = kq.finetune(kq.TorchNetwork(network(), KullbackLeibler(), columns=1), inputs, **options)
    assert isinstance(found, kq.TorchNetwork) and found.columns == 1
    assert distance(found.module, squared=False) < 0.5 * distance(network(), squared=False)
    # What softmax does not see is not learned.
    assert distance(by_error, squared=True) < distance(found.module, squared=True)


def test_the_divergence_is_that_of_the_axis_that_holds_classes() -> None:
    output, target = torch.randn(2, 2, 3, 7).unbind()
    scores, wanted = (x.log_softmax(1) for x in (output, target))
    expected = (wanted.exp() * (wanted - scores)).sum(1).mean()
    torch.testing.assert_close(distilled(KullbackLeibler(), 1)(output, target), expected)


def test_training_of_integers_takes_the_same_options(tmp_path: Path) -> None:
    inputs = [x for x, _ in batches()]
    quantized = kq.quantize(network(), PtqConfig(LayerConfig(bits=3, method="minmax")), calibration=inputs)
    options = {"epochs": 12, "early_stopping": 1, "schedule": Constant(0.05), "optimizer": OptimizerOptions("sgd")}
    kq.qat(quantized, inputs, held_out=inputs[:2], folder=tmp_path, **options)
    record = json.loads((tmp_path / "progress.json").read_text())
    assert len(record["iterations"]) < 13
    assert {entry["learning_rate"] for entry in record["iterations"][1:]} == {0.05}
    assert record["options"]["optimizer"]["name"] == "sgd"
    with pytest.raises(UsageError, match="--early-stopping 1 needs held-out examples"):
        kq.qat(quantized, inputs, **options)


def test_a_training_that_was_killed_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    calls: list[int] = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        calls.append(0)
        if len(calls) == killed:
            raise KeyboardInterrupt
        return functional.cross_entropy(output, target)

    def train(folder: Path) -> nn.Module:
        options: dict[str, Any] = {"optimizer": OptimizerOptions(warm_up=3), "schedule": Constant(1e-2)}
        held_out = batches(2, seed=3)
        trained: nn.Module = kq.finetune(
            network(), batches(), loss=loss, epochs=4, train_mode=True, held_out=held_out, folder=folder, **options
        )
        return trained

    killed = 0
    whole = train(tmp_path / "whole")
    killed, calls = 25, []
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed")
    assert (tmp_path / "killed" / "checkpoint.pt").exists()
    # Dropout draws the same, and running statistics go on.
    torch.manual_seed(9)
    killed = 0
    assert same(train(tmp_path / "killed"), whole)
    with pytest.raises(UsageError, match="belongs to a training with other options or another model"):
        kq.finetune(network(1), batches(), loss=loss, folder=tmp_path / "killed")


def test_early_stopping_takes_the_best_pass(tmp_path: Path) -> None:
    kq.finetune(
        network(),
        batches(2),
        loss=functional.cross_entropy,
        epochs=40,
        held_out=batches(2, seed=7),
        folder=tmp_path,
        early_stopping=2,
        schedule=Constant(0.05),
    )
    record = json.loads((tmp_path / "progress.json").read_text())
    assert 3 < len(record["iterations"]) < 41
    scores = [entry["valid"]["loss"] for entry in record["iterations"][1:]]
    assert record["result"]["valid"]["loss"] <= min(scores)
    with pytest.raises(UsageError, match="--early-stopping 2 needs held-out examples"):
        kq.finetune(network(), batches(), loss=functional.cross_entropy, early_stopping=2)


def test_weights_that_hooks_compute_are_trained_as_they_are() -> None:
    with pytest.warns(FutureWarning, match="weight_norm"):
        original = nn.Sequential(weight_norm(nn.Conv1d(4, 8, 3, padding=1)), nn.ReLU(), nn.Conv1d(8, 3, 1))
    tuned = kq.finetune(original, batches(), loss=functional.cross_entropy, epochs=10, lr_initial=1e-2)
    assert loss_of(tuned) < loss_of(original) and not torch.equal(tuned[0].weight_g, original[0].weight_g)


def test_lf_mmi_is_that_of_the_command(example: Path, tmp_path: Path) -> None:
    model = example / "exp/chain/tdnn1a_sp/final.mdl"
    (tmp_path / "egs").mkdir()
    egs = small_egs(example, tmp_path / "egs", 16)
    options = ["--num-epochs=1", "--minibatch-size=8", "--lr-final=1e-5", f"--den-fst={model.parent}/den.fst"]
    assert run(["train", *options, str(model), str(egs), str(tmp_path / "out")]) == 0
    original = kq.load(model)
    assert isinstance(original, Model)
    before = original.getvalue()
    tuned = kq.finetune(original, egs, epochs=1, minibatch_size=8, folder=tmp_path / "api")
    assert isinstance(tuned, Model) and tuned.getvalue() == (tmp_path / "out/final.mdl").read_bytes()
    assert original.getvalue() == before != tuned.getvalue()
    record = json.loads((tmp_path / "api/progress.json").read_text())
    assert record["result"]["valid"]["output"] > record["iterations"][0]["valid"]["output"]


def test_a_kaldi_model_learns_from_a_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = load(model_file(NNET3 / "tdnnf_small"))
    feats = list(read_archive(NNET3 / f"feats{teacher.nnet.input_dim()}.ark").values())
    spoilt = copy.deepcopy(teacher)
    generator = np.random.default_rng(0)
    for component in spoilt.nnet.components.values():
        if component.type == "NaturalGradientAffineComponent":
            weight = component["LinearParams"]
            component.replace("LinearParams", weight + generator.normal(0, 0.05, weight.shape).astype(np.float32))
    student = kq.KaldiNetwork(spoilt, subsampling=3)
    options = {"teacher": kq.KaldiNetwork(teacher, subsampling=3), "epochs": 6, "lr_initial": 1e-3, "minibatch_size": 4}
    tuned = kq.finetune(student, feats, held_out=feats[:1], folder=tmp_path, **options)
    assert isinstance(tuned, kq.KaldiNetwork) and tuned.subsampling == 3
    record = json.loads((tmp_path / "progress.json").read_text())
    assert record["result"]["valid"]["kl"] < 0.5 * record["iterations"][0]["valid"]["kl"]

    def rows(network: kq.KaldiNetwork) -> dict[str, np.ndarray]:
        data = network.data(feats[1:2])
        return dict(data.outputs(network.source(data).prepare(fold=False).executable()))

    expected = rows(options["teacher"])  # type: ignore[arg-type]
    lost = [mean_distance(KullbackLeibler(), expected, rows(one)) for one in (student, tuned)]
    assert lost[1] < 0.7 * lost[0]
    iterate = Loop._iterate

    def killed(self: Loop, iteration: int) -> None:
        if iteration == 4:
            raise KeyboardInterrupt
        iterate(self, iteration)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_iterate", killed)
        with pytest.raises(KeyboardInterrupt):
            kq.finetune(student, feats, held_out=feats[:1], folder=tmp_path / "killed", **options)
    resumed = kq.finetune(student, feats, held_out=feats[:1], folder=tmp_path / "killed", **options)
    assert resumed.model.getvalue() == tuned.model.getvalue()
    other = load(model_file(NNET3 / "conv_usual"))
    with pytest.raises(UsageError, match=r"has \d+ outputs for features of dimension \d+, and its teacher .* must be"):
        kq.finetune(student, feats, teacher=kq.KaldiNetwork(other, subsampling=3))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    model = load(model_file(NNET3 / "tdnnf_small"))
    kaldi = kq.KaldiNetwork(with_nnet(model, model.nnet), subsampling=3)
    fixed = network().requires_grad_(False)
    cross_entropy = functional.cross_entropy
    for what, sentence in (
        (lambda: kq.finetune(network(), batches()), "is trained by a loss on targets, or by a teacher"),
        (lambda: kq.finetune(network(), batches(), teacher=kaldi), "the teacher of a network of torch"),
        (lambda: kq.finetune(network(), batches(), loss=cross_entropy, den_fst="x"), "are for Kaldi models"),
        (lambda: kq.finetune(network(), [], loss=cross_entropy), "there is nothing to train on"),
        (lambda: kq.finetune(kaldi, [], loss=cross_entropy), "loss and train_mode are for networks of torch"),
        (lambda: kq.finetune(kaldi, [], watched={"loss": cross_entropy}), "watched is for networks of torch"),
        (
            lambda: kq.finetune(kaldi, [], penalty=Penalty(("Conv1d",), 1.0)),
            "score, penalty and after_pass are for networks",
        ),
        (lambda: kq.finetune(network(), batches(), loss=cross_entropy, validate_every=0), "after 0 iterations"),
        (lambda: kq.finetune(kaldi, [], teacher=network()), "the teacher of a Kaldi model must be one, too"),
        (lambda: kq.finetune(kaldi, "ark:x"), "give the folder that holds them"),
        (lambda: kq.finetune(kaldi, "egs", held_out="egs"), "has held-out ones of its own"),
        (lambda: kq.finetune("final.mdl", "egs"), "a path is read by load"),
    ):
        with pytest.raises(UsageError, match=sentence):
            what()
    with pytest.raises(ModelError, match="there is nothing to train"):
        kq.finetune(fixed, batches(), loss=cross_entropy)
    with pytest.raises(DataError, match="is the learning rate 1e-05 too high"):
        kq.finetune(network(), batches(), loss=lambda output, target: output.sum() * float("nan"), lr_initial=1e-5)
    with pytest.raises(UsageError, match=r"has no examples, cegs\.1\.ark and so on"):
        kq.finetune(kaldi, tmp_path)


class Shifted(Passes):
    """Other minibatches on each pass: the inputs' channels rolled."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 3

    def minibatches(self, number: int) -> list[tuple[Tensor, Tensor]]:
        self.asked.append(number)
        return [(x.roll(number, -1), target.roll(number, -1)) for x, target in batches(3)]

    def digest(self) -> str:
        return "shifted"


@pytest.mark.parametrize("quantized", [False, True])
def test_each_pass_has_minibatches_of_its_own(quantized: bool, tmp_path: Path) -> None:
    passes = Shifted()
    options: dict[str, Any] = {"loss": functional.cross_entropy, "epochs": 3, "folder": tmp_path}
    options |= {"held_out": batches(2), "watched": {"right": right}}
    if quantized:
        start = kq.quantize(network(), "w4a8", calibration=[x for x, _ in batches()])
        kq.qat(start, passes, **options)
    else:
        kq.finetune(network(), passes, **options)
    assert passes.asked == [0, 1, 2]
    record = json.loads((tmp_path / "progress.json").read_text())
    assert [entry["minibatches"] for entry in record["iterations"]] == [0, 3, 3, 3]
    assert all(0 < entry["valid"]["right"] < 1 for entry in record["iterations"])


def right(output: Tensor, target: Tensor) -> Tensor:
    return (output.argmax(1) == target).float().mean()


def test_targets_may_be_of_several_tensors(tmp_path: Path) -> None:
    def weighted(output: Tensor, target: tuple[Tensor, dict[str, Tensor]]) -> Tensor:
        return (functional.cross_entropy(output, target[0], reduction="none") * target[1]["weight"]).mean()

    both = [(x, (y, {"weight": torch.rand(y.shape)})) for x, y in batches(3)]
    trained = kq.finetune(network(), both, loss=weighted, epochs=1, folder=tmp_path)
    assert not torch.equal(next(trained.parameters()), next(network().parameters()))
    both[0][1][1]["weight"][0] += 1
    with pytest.raises(UsageError, match="belongs to a training with other options or another model"):
        kq.finetune(network(), both, loss=weighted, epochs=1, folder=tmp_path)


def test_a_score_decides_in_the_place_of_the_loss(tmp_path: Path) -> None:
    seen: list[nn.Module] = []

    def score(model: nn.Module) -> float:
        assert not torch.is_grad_enabled()
        seen.append(copy.deepcopy(model.module))
        return 3.0 if len(seen) == 3 else 1.0

    options: dict[str, Any] = {"loss": functional.cross_entropy, "held_out": batches(1), "early_stopping": 4}
    trained = kq.finetune(
        network(),
        batches(3),
        epochs=20,
        score=HeldOutScore("liking", score),
        validate_every=2,
        folder=tmp_path,
        **options,
    )
    passes = json.loads((tmp_path / "progress.json").read_text())["iterations"]
    # Looked at before training and after passes 2, 4, 6 and 8; the fourth is the best one, and four more are not.
    assert [entry["iteration"] for entry in passes if entry["valid"]] == [-1, 1, 3, 5, 7]
    assert len(passes) == 9 and passes[4]["valid"]["liking"] == 3
    assert all(map(torch.equal, trained.parameters(), seen[2].parameters()))


def test_a_penalty_makes_outputs_of_layers_smaller() -> None:
    def largest(model: nn.Module) -> float:
        with torch.no_grad():
            return max(float(model(x).abs().max()) for x, _ in batches(3))

    options: dict[str, Any] = {"loss": functional.cross_entropy, "epochs": 5, "lr_initial": 1e-2, "lr_final": 1e-2}
    plain, punished = (
        kq.finetune(network(), batches(3), penalty=penalty, **options)
        for penalty in (None, Penalty(("Conv1d",), 1.0, 0.2))
    )
    assert largest(punished) < 0.7 * largest(plain)
    with pytest.raises(UsageError, match="for layers of the class Conv3d, and the network has BatchNorm1d, Conv1d"):
        kq.finetune(network(), batches(3), penalty=Penalty(("Conv3d",), 1.0), **options)


@pytest.mark.parametrize(("norm", "expected"), [("l1", 2 * (1 + 2)), ("l2", 2 * 5**0.5)])
def test_a_penalty_counts_what_lies_beyond_its_threshold(norm: str, expected: float) -> None:
    found = Penalty(("Linear",), 2.0, 3.0, norm).of(torch.tensor([-4.0, 1.0, 5.0, 3.0]))
    assert float(found) == pytest.approx(expected)
    assert float(Penalty(("Linear",), 2.0, 6.0, norm).of(torch.tensor([-4.0]))) == 0
