"""quantization.json: read leniently where something is absent, and not at all where it makes no sense."""

import json
from pathlib import Path

import pytest

from kaldi_quant.errors import FormatError
from kaldi_quant.report.files.record import LayerRecord, QuantizationRecord, read_record


def written(folder: Path, content: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "quantization.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_absent_things_are_empty(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    assert read_record(written(tmp_path, {"format": 1})) == QuantizationRecord()
    assert read_record(
        written(tmp_path, {"preset": None, "layers": [{"name": "a"}], "unknown": 3})
    ) == QuantizationRecord(layers=(LayerRecord("a"),))


def test_all_fields(tmp_path: Path) -> None:
    content = {
        "format": 1,
        "model": "gone.safetensors",
        "preset": "w4a8",
        "command": ["kaldi-quant", "quantize"],
        "code_version": "0.1",
        "config": {"bits": 4},
        "bits_per_weight": 4.06,
        "artefact_bytes": 700,
        "float_bytes": 5000,
        "layers": [{"name": "a", "bits": 4, "act_bits": 8, "parameters": 10, "sqnr_db": 21.5}],
        "float_layers": {"b": "the last"},
    }
    record = read_record(written(tmp_path, content))
    assert record == QuantizationRecord(
        "gone.safetensors",
        None,
        "w4a8",
        ("kaldi-quant", "quantize"),
        "0.1",
        {"bits": 4},
        4.06,
        700,
        5000,
        (LayerRecord("a", 4, 8, 10, 21.5),),
        (("b", "the last"),),
    )
    assert record.size == 700


def test_numbers_that_json_does_not_have_are_none(tmp_path: Path) -> None:
    text = '{"layers": [{"name": "a", "sqnr_db": Infinity}, {"name": "b", "sqnr_db": -1e999}], "config": {"x": NaN}}'
    record = read_record(written(tmp_path, text))
    assert (
        record is not None and [layer.sqnr for layer in record.layers] == [None, None] and record.config == {"x": None}
    )


@pytest.mark.parametrize("place", [".", "exp/model", "exp/model/decode"])
def test_the_size_is_the_files_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.chdir(tmp_path)
    folder = written(tmp_path / "exp/model/decode", {"model": "a.safetensors", "artefact_bytes": 1})
    (tmp_path / place / "a.safetensors").write_bytes(b"12345")
    record = read_record(folder)
    assert record is not None and record.size == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read as JSON: Expecting value"),
        ('{"format": 1', "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ([1], r"expected an object, found \[1\]"),
        ({"format": 2}, "expected format 1, found 2"),
        ({"model": 3}, "model: expected a text, found 3"),
        ({"bits_per_weight": "4"}, 'bits_per_weight: expected a number, found "4"'),
        ({"bits_per_weight": True}, "bits_per_weight: expected a number, found true"),
        ({"bits_per_weight": -1}, "bits_per_weight: expected a number of 0 or more, found -1"),
        ({"float_bytes": 1.5}, "float_bytes: expected a whole number, found 1.5"),
        ({"artefact_bytes": -1}, "artefact_bytes: expected a whole number of 0 or more, found -1"),
        ({"layers": {}}, r"layers: expected a list, found {}"),
        ({"layers": ["a"]}, r'layers\[0\]: expected an object, found "a"'),
        ({"layers": [{"name": "a"}, {"bits": 4}]}, r"layers\[1\]: expected a layer with a name"),
        ({"layers": [{"name": "a", "bits": "4"}]}, r'layers\[0\].bits: expected a number, found "4"'),
        ({"layers": [{"name": "a", "sqnr_db": []}]}, r"layers\[0\].sqnr_db: expected a number, found \[\]"),
        ({"float_layers": ["a"]}, r"float_layers: expected an object of layers and reasons"),
        ({"command": "x" * 100}, r'command: expected a list of words, found "x+\.\.\.'),
    ],
)
def test_errors(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        read_record(written(tmp_path, content))
    assert str(caught.value).startswith(f"{tmp_path}/quantization.json: ")


def test_a_binary_file(tmp_path: Path) -> None:
    (tmp_path / "quantization.json").write_bytes(b"\xff\xfe")
    with pytest.raises(FormatError, match="cannot be read as JSON: 'utf-8' codec"):
        read_record(tmp_path)
