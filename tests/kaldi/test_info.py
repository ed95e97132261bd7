"""What a model is, in the words of nnet3-info and nnet3-am-info."""

import ast
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.cli.main import run
from kaldi_quant.kaldi.component_info import component_info
from kaldi_quant.kaldi.edits import apply_edits
from kaldi_quant.kaldi.info import model_lines, nnet_lines, num_parameters
from kaldi_quant.kaldi.summaries import vector_summary
from kaldi_quant.nnet3.model import AcousticModel
from tests.kaldi.kaldi_lines import assert_kaldis
from tests.references import COMPONENT_NAMES, COMPONENTS, DATA, MODELS, NNET3, load, model_file

INFO = DATA / "info"


def _kaldi(name: str) -> list[str]:
    return [line.rstrip() for line in (NNET3 / name / "info.txt").read_text().splitlines() if line]


def _without_contexts(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith(("left-context", "right-context"))]


@pytest.mark.parametrize("name", MODELS)
def test_lines_on_the_graph_are_kaldis(name: str) -> None:
    model = load(model_file(NNET3 / name))
    expected = _without_contexts(_kaldi(name))
    graph = [line for line in nnet_lines(model.nnet) if not line.startswith("component name=")]
    if model_file(NNET3 / name).suffix == ".mdl":
        assert [*model_lines(model), *graph] == expected
    else:
        assert graph == expected


@pytest.mark.parametrize("name", [name for name in MODELS if name != "distribute"])
def test_contexts_and_modulus_are_kaldis(name: str) -> None:
    context = AcousticModel(load(model_file(NNET3 / name)).nnet).context
    kaldi = dict(line.split(": ") for line in _kaldi(name) if line.startswith(("left-c", "right-c", "modulus")))
    assert {key: int(value) for key, value in kaldi.items()} == {
        "left-context": context.left,
        "right-context": context.right,
        "modulus": context.modulus,
    }


@pytest.mark.parametrize("name", ["tdnn1a_sp", "tdnnf1b_sp"])
def test_contexts_of_the_example_models(example: Path, name: str) -> None:
    model = load(example / "exp" / "chain" / name / "final.mdl")
    context = AcousticModel(model.nnet).context
    # What nnet3-am-init computed stands in the file.
    assert (context.left, context.right) == (model.network.left_context, model.network.right_context)  # type: ignore[union-attr]


def _info(name: str) -> list[str]:
    return [line.rstrip() for line in (INFO / f"{name}.txt").read_text().splitlines()]


@pytest.mark.parametrize("name", COMPONENT_NAMES)
def test_a_component_in_kaldis_words(name: str) -> None:
    kaldi = dict(line.split(" ", maxsplit=1) for line in _info("components"))
    component = load(COMPONENTS / f"{name}.raw").nnet.components["it"]
    assert_kaldis([f"type={component_info(component)}"], [kaldi[name]])


@pytest.mark.parametrize("name", sorted(path.stem for path in INFO.glob("*.txt") if path.stem in MODELS))
def test_a_network_in_kaldis_words(name: str) -> None:
    nnet = load(model_file(NNET3 / name)).nnet
    kaldi = [line for line in _info(name) if not line.startswith(("left-context", "right-context"))]
    assert_kaldis([*model_lines(load(model_file(NNET3 / name))), *nnet_lines(nnet)], kaldi)


def test_statistics_of_a_trained_model(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Percentiles of long vectors, statistics of nonlinearities and batch norm; what is not Kaldi's comes last."""
    assert run(["info", str(example / "exp/chain/tdnnf1b_sp/final.mdl")]) == 0
    printed, kaldi = capsys.readouterr().out.splitlines(), _info("example")
    assert_kaldis(printed[: len(kaldi)], kaldi)
    assert [line.split(":")[0] for line in printed[len(kaldi) :]] == [
        "file-bytes",
        "inference-parameters",
        "inference-bytes",
    ]


@pytest.mark.parametrize("path", sorted(INFO.glob("edits.*.txt")), ids=lambda path: path.stem)
def test_edits_leave_what_kaldis_leave(path: Path) -> None:
    edits, *kaldi = _info(path.stem)
    text = ast.literal_eval(edits).replace(";", "\n")
    nnet = apply_edits(load(NNET3 / "tdnnf_small" / "final.raw").nnet, text, "--edits")
    kaldi = [line for line in kaldi if not line.startswith(("left-context", "right-context"))]
    # nnet3-copy changes that as well, unasked.
    found = [line.replace("test-mode=true", "test-mode=false") for line in nnet_lines(nnet)]
    assert_kaldis(found, kaldi)


def test_parameters_are_counted_as_kaldi_does() -> None:
    composite = load(COMPONENTS / "CompositeComponent.raw").nnet.components["it"]
    assert num_parameters(composite) == 6 * 4 + 6
    assert num_parameters(load(COMPONENTS / "FixedAffineComponent.raw").nnet.components["it"]) == 0


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0, 0.001234, 0.0949, 0.994, 0.996, 9.96, 10.4, 9999.4, 12345.678, -2.5], None),
        ([0, 0.001234, 0.0949, 0.994], "[ 0 0.001 0.09 0.99 ]"),
        ([0.996, 9.94, 10.4, 9999.4, 12345.678, -2.5], "[ 1.0 9.9 10 9999 12345.7 -2.5 ]"),
        ([], "[ ]"),
    ],
)
def test_vectors_in_few_words(values: list[float], text: str | None) -> None:
    found = vector_summary(np.array(values))
    if text is not None:
        assert found == text
    else:
        assert found.startswith("[percentiles(0,1,2,5 10,20,50,80,90 95,98,99,100)=(-2.5,-2.5,-2.5,-2.5 -2.5,0,")
