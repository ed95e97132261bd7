"""Examples as tensors, and the objective of a model on them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.chain_example import NnetChainExample, NnetIo, shift_times
from kaldi_quant.kaldi.egs import EgsOptions, example_writer, read_examples
from kaldi_quant.kaldi.general_matrix import FullMatrix
from kaldi_quant.kaldi.merge_egs import merge_examples
from kaldi_quant.nnet3.chain.den_graph import DenominatorGraph, read_denominator_graph
from kaldi_quant.nnet3.chain.options import ChainOptions
from kaldi_quant.nnet3.chain.probability import ChainProb
from kaldi_quant.nnet3.expression import Concatenated
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.training.examples import ChainBatch, chain_batches, check_example
from kaldi_quant.nnet3.training.objective import ChainLoss
from tests.fuzzing import answer, corrupt
from tests.references import load, load_network, model_file

RECIPE = ChainOptions(0.1, 0.1, 0, 0)


@pytest.fixture(scope="module")
def folder(example: Path) -> Path:
    return example / "exp" / "chain" / "tdnn1a_sp"


@pytest.fixture(scope="module")
def model(folder: Path) -> AcousticModel:
    return AcousticModel(load(model_file(folder)).nnet, "output", ["output-xent"])


@pytest.fixture(scope="module")
def graph(folder: Path) -> DenominatorGraph:
    return read_denominator_graph(folder / "den.fst", 208)


@pytest.fixture(scope="module")
def few(folder: Path) -> list[NnetChainExample]:
    """Some examples of one structure."""
    examples = (eg for _, eg in read_examples(f"ark:{folder}/egs/valid_diagnostic.cegs"))
    return [example for example in examples if example.size == 92][:6]


@pytest.mark.parametrize(
    ("archive", "output", "xent", "frames"),
    [("valid", -0.0864085, -0.64094, 15109), ("train", -0.0543677, -0.431697, 15022)],
)
def test_kaldis_objective(
    folder: Path,
    model: AcousticModel,
    graph: DenominatorGraph,
    archive: str,
    output: float,
    xent: float,
    frames: int,
) -> None:
    """``nnet3-chain-compute-prob`` with the options of the recipe."""
    prob = ChainProb(model, graph, RECIPE)
    sums = prob.compute(read_examples(f"ark:{folder}/egs/{archive}_diagnostic.cegs"))
    assert list(sums) == ["output", "output-xent"] and prob.num_failed == 0
    assert sums["output"].weight == sums["output-xent"].weight == frames
    assert sums["output"].objf / frames == pytest.approx(output, abs=2e-6)
    assert sums["output-xent"].objf / frames == pytest.approx(xent, abs=2e-6)


def test_two_outputs_at_once_are_those_of_each_alone(
    folder: Path, model: AcousticModel, few: list[NnetChainExample]
) -> None:
    batch = ChainBatch.of(merge_examples(few))
    arguments = (batch.feats, [batch.span] * len(batch.feats), batch.output_times)
    with torch.no_grad():
        both = model.outputs(*arguments)
        assert list(both) == ["output", "output-xent"]
        assert torch.equal(both["output"], model(*arguments))
        assert torch.allclose(both["output"], load_network(model_file(folder))(*arguments), atol=1e-5)
        xent = AcousticModel(load(model_file(folder)).nnet, "output-xent")
        assert torch.allclose(both["output-xent"], xent(*arguments), atol=1e-5)


def test_merged_examples_are_the_same_as_single_ones(
    model: AcousticModel, graph: DenominatorGraph, few: list[NnetChainExample]
) -> None:
    single = ChainProb(model, graph, RECIPE).compute([(str(i), eg) for i, eg in enumerate(few)])
    merged = ChainProb(model, graph, RECIPE).compute([("a", merge_examples(few[:4])), ("b", merge_examples(few[4:]))])
    for name in single:
        assert single[name].objf == pytest.approx(merged[name].objf, rel=1e-5)
        assert single[name].weight == merged[name].weight == 6 * 20


def test_tensors_of_a_minibatch(few: list[NnetChainExample]) -> None:
    batch = ChainBatch.of(merge_examples(few))
    assert batch.feats.shape == (6, 92, 40) and batch.span == (-16, 76) and batch.ivectors is None
    assert batch.output_times.tolist() == list(range(0, 60, 3)) and batch.num_frames == 6 * 60
    assert batch.deriv_weights is not None and batch.deriv_weights.shape == (6, 20)
    expected = np.stack([eg.outputs[0].deriv_weights for eg in few])
    assert np.array_equal(batch.deriv_weights, expected)
    assert np.array_equal(batch.feats[3], few[3].inputs[0].features.dense())
    moved = batch.to(torch.device("cpu"))
    assert torch.equal(moved.feats, batch.feats) and moved.arcs.shape == (6, 20, 208)


def test_a_supervision_s_weight_scales_the_gradient(
    model: AcousticModel, graph: DenominatorGraph, few: list[NnetChainExample]
) -> None:
    norms, means = [], []
    for weight in (1.0, 0.25):
        (output,) = few[0].outputs
        weighted = replace(output, supervision=replace(output.supervision, weight=np.float32(weight)))
        loss = ChainLoss(graph, RECIPE)(model, ChainBatch.of(NnetChainExample(few[0].inputs, [weighted])))
        assert (loss.frames, loss.weight) == (20, 20 * weight)
        model.zero_grad()
        loss.value.backward()
        norms.append(float(sum(p.grad.square().sum() for p in model.parameters() if p.grad is not None)) ** 0.5)
        means.append(loss.sums["output"] / loss.weight)
    model.zero_grad()
    assert norms[1] == pytest.approx(norms[0] / 4, rel=1e-5)
    assert means[1] == pytest.approx(means[0], rel=1e-5)


def test_examples_without_weight_have_no_mean(
    model: AcousticModel, graph: DenominatorGraph, few: list[NnetChainExample]
) -> None:
    (output,) = few[0].outputs
    nothing = replace(output, supervision=replace(output.supervision, weight=np.float32(0)))
    with pytest.raises(DataError, match=r"^the weights of all examples are 0$"):
        ChainProb(model, graph, RECIPE).compute([("a", NnetChainExample(few[0].inputs, [nothing]))])


def test_ivectors(few: list[NnetChainExample]) -> None:
    with_ivectors = []
    for number, example in enumerate(few[:3]):
        ivector = NnetIo("ivector", np.zeros((1, 3), np.int32), FullMatrix(np.full((1, 4), number, np.float32)))
        with_ivectors.append(NnetChainExample([*example.inputs, ivector], example.outputs))
    batch = ChainBatch.of(shift_times(merge_examples(with_ivectors), 1))
    assert batch.ivectors is not None and batch.ivectors.tolist() == [[0] * 4, [1] * 4, [2] * 4]
    assert batch.span[0] == -15


def test_examples_of_another_model(model: AcousticModel, few: list[NnetChainExample]) -> None:
    (feats,), (output,) = few[0].inputs, few[0].outputs

    def with_feats(indexes: np.ndarray, rows: np.ndarray) -> NnetChainExample:
        return NnetChainExample([NnetIo("input", indexes, FullMatrix(rows))], [output])

    rows = feats.features.dense()
    other_tree = replace(output, supervision=replace(output.supervision, label_dim=300))
    cases = {
        "the input input has dimension 13, and the model's has 40": with_feats(feats.indexes, rows[:, :13]),
        "needs the input input, and the example has none": NnetChainExample(
            [NnetIo("feats", feats.indexes, feats.features)], [output]
        ),
        "made for 300 pdfs, and the model has 208": NnetChainExample([feats], [other_tree]),
        "it is for the output output-0": NnetChainExample([feats], [replace(output, name="output-0")]),
        "has 14 frames before the first output and 18 behind the last": with_feats(feats.indexes[2:], rows[2:]),
        "does not hold the same successive frames": with_feats(feats.indexes[::2], rows[::2]),
    }
    check_example("utt-1", few[0], model)
    for sentence, example in cases.items():
        with pytest.raises(DataError, match=f"^example utt-1: .*{sentence}"):
            check_example("utt-1", example, model)


def test_batches_of_an_archive(folder: Path, model: AcousticModel, few: list[NnetChainExample], tmp_path: Path) -> None:
    with example_writer(f"ark:{tmp_path}/egs.ark") as writer:
        for number, example in enumerate(few):
            writer.write(f"utt-{number}", example)
    options = EgsOptions("1:4", buffer_size=-1, frame_shift=1)
    batches = list(chain_batches(f"ark:{tmp_path}/egs.ark", options, model))
    assert [(key, batch.feats.shape[0], batch.span[0]) for key, batch in batches] == [
        ("merged-0-4", 4, -15),
        ("merged-1-2", 2, -15),
    ]
    (feats,) = few[1].inputs
    few[1].inputs[0] = NnetIo("input", feats.indexes[:-5], FullMatrix(feats.features.dense()[:-5]))
    with example_writer(f"ark:{tmp_path}/egs.ark") as writer:
        writer.write("utt-0", few[1])
    few[1].inputs[0] = feats
    with pytest.raises(DataError, match=r"^example utt-0: it has 17 frames before the first output and 12 behind"):
        next(chain_batches(f"ark:{tmp_path}/egs.ark", replace(options, frame_shift=-1), model))


def test_gradients_of_spliced_rows_are_those_of_autograd(
    model: AcousticModel, few: list[NnetChainExample], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = ChainBatch.of(merge_examples(few[:2]))

    def gradient() -> Tensor:
        model.zero_grad()
        output = model(batch.feats, [batch.span] * 2, batch.output_times)
        output.square().sum().backward()
        return torch.cat([values.grad.flatten() for values in model.parameters() if values.grad is not None])

    fast = gradient()
    monkeypatch.setattr(Concatenated, "_spliced_node", lambda _: None)
    plain = gradient()
    model.zero_grad()
    assert plain.abs().max() > 0 and torch.allclose(fast, plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_corrupt_examples(
    folder: Path, model: AcousticModel, graph: DenominatorGraph, few: list[NnetChainExample], tmp_path: Path
) -> None:
    """Whatever can be read is computed, or answered by one sentence."""
    path = tmp_path / "egs.ark"
    data = (folder / "egs" / "valid_diagnostic.cegs").read_bytes()
    source = data[: data.index(b"</Nnet3ChainEg> ", 20_000) + len(b"</Nnet3ChainEg> ")]

    def compute() -> None:
        for total in ChainProb(model, graph, RECIPE).compute(read_examples(f"ark:{path}")).values():
            assert np.isfinite(total.objf)

    answers = []
    for seed in range(60):
        path.write_bytes(corrupt(source, seed))
        answers.append(answer(compute, (str(path), "example ")))
    assert "" in answers and len(set(answers)) > 10
