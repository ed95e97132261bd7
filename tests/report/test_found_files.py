"""search.json and sensitivity.json: what they hold, and one sentence for what they should not hold."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaldi_quant.errors import DataError, FormatError
from kaldi_quant.quant.sensitivity import Measurement
from kaldi_quant.report.files.search_file import Cost, InputChoice, LayerChoice, TriedModel, read_search
from kaldi_quant.report.files.sensitivity_file import read_sensitivity
from tests.report.found_files import search_content, sensitivity_content, write_json


def test_a_search(tmp_path: Path) -> None:
    path = write_json(tmp_path / "mixed/search.json", search_content())
    found = read_search(path)
    assert found == read_search(str(tmp_path / "mixed"))
    assert (found.name, found.budget, found.widths, found.act_widths) == ("mixed", "4 bits", (2, 4, 8), (4, 8))
    assert found.weight_costs["tdnn2.affine", 2] == 0.2 and ("tdnn2.affine", 8) not in found.weight_costs
    assert found.input_costs["output.affine", 4] == -1e-5
    assert found.front[1] == Cost(150, 0.025, 4.0) and len(found.front) == 5
    assert found.layers[0] == LayerChoice("tdnn1.affine", 100, 4, 8, 60, 0.002)
    assert found.inputs[0] == InputChoice(("tdnn1.affine",), 4, 0.0)
    assert found.float_layers == (("lda", "it is small"),)
    assert (found.predicted.bytes, found.measured.divergence) == (200, 0.005)
    assert found.tried == (TriedModel(150, 0.02, False), TriedModel(201, 0.005, True, 30, 200))
    assert [model.percent for model in found.tried] == [None, 15.0]


def test_a_search_that_tells_of_its_result_alone(tmp_path: Path) -> None:
    content = search_content()
    del content["models"]
    assert read_search(write_json(tmp_path / "search.json", content)).tried == ()


def test_a_sensitivity(tmp_path: Path) -> None:
    write_json(tmp_path / "alone/sensitivity.json", sensitivity_content(wer=None))
    found = read_sensitivity(str(tmp_path / "alone"))
    assert found.name == "alone" and found.about == {"model": "final.mdl"}
    assert found.measurements[2] == Measurement("alone", "tdnn1.affine", 0.01, None)
    assert len(found.measurements) == 8


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format=2), "expected format 1, found 2"),
        (lambda c: c.pop("format"), "format: expected a whole number, found no such key"),
        (lambda c: c.pop("front"), "front: expected a list, found no such key"),
        (lambda c: c["front"][3].pop("bytes"), r"front\[3\].bytes: expected a whole number, found no such key"),
        (lambda c: c["front"][0].update(divergence=None), r"front\[0\].divergence: expected a number, found null"),
        (lambda c: c["predicted"].update(bytes=1.5), "predicted.bytes: expected a whole number, found 1.5"),
        (lambda c: c["predicted"].update(bytes=10**400), "predicted.bytes: expected a whole number of a usual size"),
        (lambda c: c["measured"].update(divergence=10**400), "measured.divergence: expected a number of a usual size"),
        (lambda c: c["options"].update(widths=[2, "4"]), "options.widths: expected a list of whole numbers, found"),
        (lambda c: c["options"].update(widths=[2, True]), "options.widths: expected a list of whole numbers, found"),
        (lambda c: c.update(layers=["a"]), r'layers\[0\]: expected an object, found "a"'),
        (lambda c: c["layers"][1].update(name=3), r"layers\[1\].name: expected a text, found 3"),
        (lambda c: c["inputs"][0].update(layers=[]), r"inputs\[0\].layers: expected a list of names of layers, found"),
        (lambda c: c["measurements"][1].pop("kind"), r"measurements\[1\].kind: expected a text, found no such key"),
        (lambda c: c["budget"].update(text=None), "budget.text: expected a text, found null"),
        (lambda c: c["models"][0].update(chosen=1), r"models\[0\].chosen: expected true or false, found 1"),
        (lambda c: c.update(about=[]), r"about: expected an object, found \[\]"),
    ],
)  # fmt: skip
def test_errors_of_a_search(change: Change, message: str, tmp_path: Path) -> None:
    content = search_content()
    change(content)
    path = write_json(tmp_path / "search.json", content)
    with pytest.raises(FormatError, match=message) as caught:
        read_search(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format="1"), 'format: expected a whole number, found "1"'),
        (lambda c: c["measurements"][0].update(mode="some"), r"measurements\[0\].mode: expected one of float, all"),
        (lambda c: c["measurements"][1].pop("kl"), r"measurements\[1\].kl: expected a number, found no such key"),
        (lambda c: c["measurements"][1].update(wer=-1), r"measurements\[1\].wer: expected a number of 0 or more"),
    ],
)  # fmt: skip
def test_errors_of_a_sensitivity(change: Change, message: str, tmp_path: Path) -> None:
    content = sensitivity_content()
    change(content)
    with pytest.raises(FormatError, match=message):
        read_sensitivity(write_json(tmp_path / "sensitivity.json", content))


@pytest.mark.parametrize("text", ["", '{"format": 1, "front": [{"byt', "[" * 100_000, "[1]", "NaN"])
def test_what_is_no_object(text: str, tmp_path: Path) -> None:
    path = write_json(tmp_path / "search.json", text)
    with pytest.raises(FormatError, match=r"cannot be read as JSON|expected an object") as caught:
        read_search(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"/search\.json does not exist: give the search\.json that kaldi-quant search wrote"
    ):
        read_search(str(tmp_path))
    with pytest.raises(DataError, match=r"gone does not exist: give the sensitivity\.json"):
        read_sensitivity(str(tmp_path / "gone"))
