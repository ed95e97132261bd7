"""What a model is, in the words of nnet3-info and nnet3-am-info."""

from pathlib import Path

import pytest

from kaldi_quant.kaldi.info import model_lines, nnet_lines, num_bytes, num_parameters
from kaldi_quant.nnet.model import AcousticModel
from tests.references import COMPONENT_NAMES, COMPONENTS, MODELS, NNET3, load, model_file


def _kaldi(name: str) -> list[str]:
    return [line.rstrip() for line in (NNET3 / name / "info.txt").read_text().splitlines() if line]


def _without_contexts(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith(("left-context", "right-context", "# Nnet info"))]


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


@pytest.mark.parametrize("name", COMPONENT_NAMES)
def test_every_component_has_a_line(name: str) -> None:
    model = load(COMPONENTS / f"{name}.raw")
    component = model.nnet.components["it"]
    line = next(line for line in nnet_lines(model.nnet) if line.startswith("component name=it"))
    assert f"type={name.split('.', maxsplit=1)[0]}, input-dim=" in line and line.endswith(
        f"bytes={num_bytes(component)}"
    )
    # Each field of the file is named.
    assert line.count("=") + line.count("-rms") >= len(component.fields)


def test_parameters_are_counted_as_kaldi_does() -> None:
    composite = load(COMPONENTS / "CompositeComponent.raw").nnet.components["it"]
    assert num_parameters(composite) == 6 * 4 + 6
    fixed = load(COMPONENTS / "FixedAffineComponent.raw").nnet.components["it"]
    assert num_parameters(fixed) == 0 and num_bytes(fixed) == 4 * (3 * 4 + 3)
