"""Distillation: what a teacher says, from examples and from features alone."""

import logging
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.egs_folder import EgsFolder
from kaldi_quant.kaldi.model import Model
from kaldi_quant.nnet3.chain.den_graph import read_denominator_graph
from kaldi_quant.nnet3.chain.options import ChainOptions
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference_options import InferenceOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.schedule import Span
from kaldi_quant.nnet3.time_access import Times
from kaldi_quant.nnet3.training.chain_source import ChainSource, SourceOptions
from kaldi_quant.nnet3.training.feature_source import FeatureOptions, FeatureSource
from kaldi_quant.nnet3.training.objective import ChainLoss
from kaldi_quant.nnet3.utterances import UtteranceSet, digest_of_sets
from kaldi_quant.train.distillation import Distillation, Taught
from kaldi_quant.train.hidden_features import HiddenFeatures
from tests.references import NNET3, load_network, model_file
from tests.train.fake_quantized import SUBSAMPLING

torch.set_num_threads(1)


def source(model: Model, utterances: list[tuple[str, np.ndarray]], **options: int) -> FeatureSource:
    return FeatureSource(utterances, Distillation(AcousticModel(model.nnet)), FeatureOptions(**options), SUBSAMPLING)


def test_every_frame_is_taught_within_some_passes(model: Model, utterances: list[tuple[str, np.ndarray]]) -> None:
    seen: list[Tensor] = []
    network = AcousticModel(model.nnet)
    network.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    pieces = source(model, utterances, minibatch_size=4, frames=30)
    for number in range(8):
        list(pieces.losses(number, network))
    found = {bytes(row) for batch in seen for row in batch.reshape(-1, batch.shape[-1]).numpy()}
    for name, feats in utterances:
        assert {bytes(row) for row in feats} <= found, name


def test_a_teacher_that_is_the_student_has_nothing_to_teach(
    model: Model, utterances: list[tuple[str, np.ndarray]]
) -> None:
    for loss in source(model, utterances[:3], minibatch_size=2).losses(0, AcousticModel(model.nnet)):
        assert loss.ok
        assert abs(float(loss.value.detach())) < 1e-6


@pytest.mark.parametrize(("student", "teacher"), [("model", "tdnnf"), ("tdnnf", "model")])
def test_a_teacher_may_have_another_context_than_the_student(
    student: str,
    teacher: str,
    example: Path,
    utterances: list[tuple[str, np.ndarray]],
    request: pytest.FixtureRequest,
) -> None:
    network, other = (AcousticModel(request.getfixturevalue(name).nnet) for name in (student, teacher))
    assert network.context != other.context
    distillation = Distillation(other)
    pieces = FeatureSource(utterances[:2], distillation, FeatureOptions(1, 2), SUBSAMPLING)
    folder = example / "exp/chain/tdnn1a_sp"
    graph = read_denominator_graph(str(folder / "den.fst"), network.output_dim)
    loss = ChainLoss(graph, ChainOptions(), distillation)
    examples = ChainSource(EgsFolder.find(folder / "egs"), loss, SourceOptions(1, "4"), network, SUBSAMPLING)
    assert examples.shifts == [0, 2]  # and 1 as well without the wider context
    for found in (next(pieces.losses(0, network)), next(examples.losses(0, network))):
        assert found.ok
        assert found.sums["kl"] > 0


@pytest.mark.parametrize("length", [3, 149, 150, 151, 307, 450])
def test_pieces_lie_within_their_utterance(model: Model, length: int) -> None:
    network = AcousticModel(model.nnet)
    utterance = np.arange(length, dtype=np.float32)[:, None].repeat(network.input_dim, 1)
    options = FeatureOptions(20, 64)
    source = FeatureSource([("u", utterance)], Distillation(network), options, SUBSAMPLING)
    left = network.context.left
    seen = set()
    for iteration in range(20):
        pieces = source._pieces(source.utterances, source._ivectors, network, np.random.default_rng(iteration))
        own = pieces.feats.numpy()[:, left : left + options.frames, 0]
        seen.update(own.reshape(-1).tolist())
        if length >= options.frames:
            # No frame is repeated.
            assert (np.diff(own) >= (1 if length > options.frames else 0)).all()
            assert len(own) <= length / options.frames + 1
        else:
            assert len(own) == 1
    assert seen == set(range(length))


def test_utterances_without_any_output_are_refused(model: Model) -> None:
    network = AcousticModel(model.nnet)
    utterance = np.zeros((SUBSAMPLING - 1, network.input_dim), np.float32)
    source = FeatureSource([("u", utterance)], Distillation(network), FeatureOptions(1, 1), SUBSAMPLING)
    with pytest.raises(DataError, match=r"^no utterance has the 3 frames that one output needs"):
        next(source.losses(0, network))


@pytest.mark.parametrize("kept", [0, 1, 1 << 28])
@pytest.mark.parametrize("given", ["examples", "features"])
def test_a_teacher_is_asked_once_about_what_is_held_out_and_fits(
    given: str,
    kept: int,
    model: Model,
    example: Path,
    utterances: list[tuple[str, np.ndarray]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kaldi_quant.train.distillation._KEPT_BYTES", kept)
    network, teacher = AcousticModel(model.nnet), AcousticModel(model.nnet)
    asked: list[int] = []
    teacher.register_forward_hook(lambda _, given, __: asked.append(len(given[0])))
    with torch.no_grad():
        next(iter(network.parameters())).mul_(1.01)
    folder = example / "exp/chain/tdnn1a_sp"
    graph = read_denominator_graph(str(folder / "den.fst"), network.output_dim)
    distillation = Distillation(teacher)
    source: ChainSource | FeatureSource
    if given == "examples":
        loss = ChainLoss(graph, ChainOptions(), distillation)
        source = ChainSource(EgsFolder.find(folder / "egs"), loss, SourceOptions(1, "4"), network, SUBSAMPLING)
    else:
        options = FeatureOptions(minibatch_size=1)
        source = FeatureSource(utterances[:1], distillation, options, SUBSAMPLING, utterances[1:4])
    first = source.validate(network)
    batches = len(asked)
    assert source.validate(network) == first and first["kl"] > 0
    # One minibatch fits in a byte, as what it takes is known afterwards.
    assert batches > 2 and len(asked) - batches == {0: batches, 1: batches - 1, 1 << 28: 0}[kept]


def taught(distillation: Distillation, student: Tensor, feats: Tensor, span: Span, times: Times) -> Taught:
    return distillation(student, distillation.target(feats, [span] * len(feats), times))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_divergence_is_that_of_the_definition(
    temperature: float, model: Model, utterances: list[tuple[str, np.ndarray]]
) -> None:
    teacher = AcousticModel(model.nnet)
    feats = torch.from_numpy(utterances[0][1][None, :80].copy())
    span, times = (0, 80), np.arange(teacher.context.left, 80 - teacher.context.right, SUBSAMPLING)
    p = teacher(feats, [span], times)
    student = p + torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
    found = taught(Distillation(teacher, temperature), student, feats, span, times).loss
    soft, other = (torch.softmax(x.double() / temperature, -1) for x in (p, student))
    expected = (soft * (soft / other).log()).sum(-1).mean() * temperature**2
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)


def test_hard_sequences_count_for_more(model: Model, utterances: list[tuple[str, np.ndarray]]) -> None:
    teacher = AcousticModel(model.nnet)
    feats = torch.from_numpy(np.stack([features[:80] for _, features in utterances[:2]]))
    span, times = (0, 80), np.arange(teacher.context.left, 80 - teacher.context.right, SUBSAMPLING)
    with torch.no_grad():
        student = teacher(feats, [span] * 2, times)
        noise = torch.randn(student.shape, generator=torch.Generator().manual_seed(0))
        student = student + noise * torch.tensor([0.1, 1.0]).view(2, 1, 1)
    found = {
        exponent: taught(Distillation(teacher, hard_weight=exponent), student, feats, span, times)
        for exponent in (0.0, 1.0, 50.0)
    }
    parts = [taught(Distillation(teacher), student[i : i + 1], feats[i : i + 1], span, times).kl for i in range(2)]
    assert {round(one.kl, 5) for one in found.values()} == {round(sum(parts) / 2, 5)}
    assert float(found[0.0].loss) == pytest.approx(sum(parts) / 2, rel=1e-4)
    assert float(found[1.0].loss) == pytest.approx(sum(part**2 for part in parts) / sum(parts), rel=1e-4)
    assert float(found[50.0].loss) == pytest.approx(max(parts), rel=1e-3)


def keep(seen: list[Tensor], x: Tensor) -> Tensor:
    seen.append(x)
    return x


def test_hidden_layers_teach_too(model: Model, utterances: list[tuple[str, np.ndarray]]) -> None:
    student, teacher = AcousticModel(model.nnet), AcousticModel(model.nnet)
    student.taps["tdnn3.relu"] = lambda x: x + 1
    features = HiddenFeatures(student, teacher, ["tdnn2.relu", "tdnn3.relu"])
    feats = torch.from_numpy(utterances[0][1][None, :80].copy())
    span, times = (0, 80), np.arange(teacher.context.left, 80 - teacher.context.right, SUBSAMPLING)
    for _ in range(2):
        with torch.no_grad():
            output = student(feats, [span], times)
            plain = taught(Distillation(teacher), output, feats, span, times)
            student(feats, [span], times)
            deep = Distillation(teacher, features=features, feature_weight=3.0)
            whole = taught(deep, output, feats, span, times)
        seen: list[Tensor] = []
        other = AcousticModel(model.nnet)
        other.taps["tdnn3.relu"] = partial(keep, seen)
        with torch.no_grad():
            other(feats, [span], times)
        error = 1 / float(seen[0].var(dim=(0, 1)).mean()) / 2
        assert float(whole.loss) == pytest.approx(plain.kl + 3 * error, rel=1e-4)
        assert whole.kl == plain.kl


@pytest.mark.parametrize(
    ("utterances", "message"),
    [
        ([], "no utterances to train on"),
        ([("a", np.zeros((50, 13), np.float32))], "utterance a: the features have dimension 13"),
        ([("a", np.full((50, 40), np.nan, np.float32))], "utterance a: its features are not finite"),
    ],
)
def test_features_that_do_not_fit(utterances: list[tuple[str, np.ndarray]], message: str, model: Model) -> None:
    with pytest.raises(DataError, match=message):
        source(model, utterances)


def numbered(network: AcousticModel, lengths: dict[str, int]) -> tuple[UtteranceSet, dict[str, np.ndarray]]:
    """Utterances whose features say the frame, and whose i-vectors, every 10 frames, the utterance and the row."""
    feats, ivectors = {}, {}
    for number, (name, length) in enumerate(lengths.items()):
        feats[name] = np.zeros((length, network.input_dim), np.float32)
        feats[name][:, 0] = np.arange(length) / 1000
        ivectors[name] = np.zeros((-(-length // 10), network.ivector_dim), np.float32)
        ivectors[name][:, 0], ivectors[name][:, 1] = number, np.arange(len(ivectors[name]))
    options = InferenceOptions(ChunkOptions(SUBSAMPLING), online_ivector_period=10)
    return UtteranceSet(feats.items(), options, ivectors.get), ivectors


def test_each_piece_has_the_ivector_of_its_middle() -> None:
    network = load_network(model_file(NNET3 / "ivector_online"))
    lengths = {"a": 400, "b": 100, "c": 151}
    utterances, _ = numbered(network, lengths)
    source = FeatureSource.of(utterances, Distillation(network), FeatureOptions(4, 3), utterances)
    seen: list[tuple[Tensor, Tensor]] = []
    hook = network.register_forward_pre_hook(lambda _, args: seen.append((args[0], args[3])))
    for iteration in range(4):
        for loss in source.losses(iteration, network):
            assert loss.ok and abs(float(loss.value.detach())) < 1e-6
    assert source.validate(network)["kl"] < 1e-6
    hook.remove()
    found = set()
    for feats, ivectors in seen:
        own = (feats[:, network.context.left :, 0] * 1000).round()[:, : FeatureOptions().frames]
        for frames, ivector in zip(own, ivectors, strict=True):
            length = list(lengths.values())[int(ivector[0])]
            # Short utterances fill a piece with their last frame again and again.
            middle = min(int(frames[0]) + 75, length - 1)
            assert int(ivector[1]) == middle // 10 and frames.max() < length
            found.add(int(ivector[0]))
    assert found == {0, 1, 2}


def test_ivectors_that_are_missing(caplog: pytest.LogCaptureFixture) -> None:
    network = load_network(model_file(NNET3 / "ivector_online"))
    utterances, ivectors = numbered(network, {"a": 60, "b": 60})
    others = UtteranceSet(utterances.utterances, utterances.options)
    options = FeatureOptions(1, 2)
    sentence = f"utterance b: the model needs i-vectors of dimension {network.ivector_dim}, and there are none for it"
    with pytest.raises(DataError, match=sentence):
        FeatureSource.of(others, Distillation(network), options)
    with pytest.raises(DataError, match=sentence):
        FeatureSource.of(utterances, Distillation(network), options, others)
    assert digest_of_sets(utterances) != digest_of_sets(others)
    del ivectors["b"]
    with pytest.raises(DataError, match=r"^1 of 2 utterances could not be used, more than the share of 0\.1"):
        FeatureSource.of(utterances, Distillation(network), options)
    utterances.max_bad_share = 0.5
    with caplog.at_level(logging.WARNING):
        source = FeatureSource.of(utterances, Distillation(network), options)
    assert [name for name, _ in source.utterances] == ["a"]
    assert "leaving out utterance b: the model needs i-vectors" in caplog.text


def test_a_student_without_ivectors_learns_from_a_teacher_with_them() -> None:
    teacher, student = (load_network(model_file(NNET3 / name)) for name in ("ivector_online", "tdnnf_small"))
    utterances, _ = numbered(teacher, {"a": 100})
    source = FeatureSource.of(utterances, Distillation(teacher), FeatureOptions(1, 2))
    assert all(loss.ok and loss.sums["kl"] > 0 for loss in source.losses(0, student))
