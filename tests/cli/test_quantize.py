"""``calibrate``, ``quantize``, ``export`` and ``forward`` on what they write: from the command line to the files."""

import json
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.cli.main import run
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.tables import matrix_writer, read_matrices
from tests.references import read_archive


@pytest.fixture
def model(example: Path) -> str:
    return str(example / "exp/chain/tdnn1a_sp/final.mdl")


@pytest.fixture
def feats(example: Path, tmp_path: Path) -> str:
    """Six training utterances."""
    table = read_matrices(f"scp:{example}/data/train_sub_hires/feats.scp")
    with matrix_writer(f"ark:{tmp_path}/feats.ark") as writer:
        for (name, matrix), _ in zip(table, range(6), strict=False):
            writer.write(name, matrix)
    return f"ark:{tmp_path}/feats.ark"


def test_from_a_model_to_what_can_be_deployed(model: str, feats: str, tmp_path: Path) -> None:
    folder = tmp_path / "w4"
    assert run(["quantize", "--bits", "4", model, feats, str(folder)]) == 0
    artefact = str(folder / "quantized.safetensors")
    record = json.loads((folder / "quantization.json").read_text())
    assert record["artefact_bytes"] == Path(artefact).stat().st_size < 0.15 * record["float_bytes"]
    assert record["config"]["default"]["bits"] == 4
    assert record["preset"] == "w4a8"
    assert record["code_version"]
    assert {layer["name"] for layer in record["layers"]} >= {"tdnn1.affine", "output.affine"}
    assert run(["export", "--frames", "60", artefact, str(folder)]) == 0
    assert {path.name for path in folder.iterdir()} >= {"dequantized.mdl", "quantized.onnx", "quantized.60.onnx"}
    assert read_model(folder / "dequantized.mdl").transition_model is not None
    for engine, out in (("reference", "reference.ark"), ("auto", "auto.ark")):
        assert run(["forward", "--engine", engine, artefact, feats, f"ark:{tmp_path}/{out}"]) == 0
    assert run(["forward", model, feats, f"ark:{tmp_path}/float.ark"]) == 0
    reference, fast, exact = (read_archive(tmp_path / f"{name}.ark") for name in ("reference", "auto", "float"))
    for name, rows in reference.items():
        np.testing.assert_allclose(fast[name], rows, rtol=0, atol=1e-5)
        assert 0 < np.abs(rows - exact[name]).max() < 10


def test_ranges_can_be_found_before(model: str, feats: str, tmp_path: Path) -> None:
    options = ["--preset", "w8a8", "--max-utterances", "3"]
    assert run(["calibrate", *options, model, feats, str(tmp_path / "ranges.json")]) == 0
    assert "tdnn1.relu" in json.loads((tmp_path / "ranges.json").read_text())["nodes"]
    quantize = ["quantize", *options, "--ranges", str(tmp_path / "ranges.json"), model, feats, str(tmp_path / "w8")]
    assert run(quantize) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["quantize", "--bits", "1", "{model}", "{feats}", "{out}"], "a width of 1 bits is not possible: 2 to 16"),
        (["quantize", "--bits", "17", "{model}", "{feats}", "{out}"], "a width of 17 bits is not possible: 2 to 16"),
        (["quantize", "--act-bits", "1", "{model}", "{feats}", "{out}"], "a width of 1 bits is not possible"),
        (["quantize", "--preset", "best", "{model}", "{feats}", "{out}"], "there is no preset 'best'; the presets are"),
        (["quantize", "--config", "none.yaml", "{model}", "{feats}", "{out}"], "none.yaml: cannot be read as YAML"),
        (["quantize", "none.mdl", "{feats}", "{out}"], "none.mdl"),
        (["quantize", "{model}", "ark:none.ark", "{out}"], "none.ark"),
        (["quantize", "{model}", "{feats}", "{model}"], "is a file: give a folder for the results"),
        (["quantize", "--ranges", "none.json", "{model}", "{feats}", "{out}"], "none.json is not a file of activation"),
        (["quantize", "--max-utterances", "-1", "{model}", "{feats}", "{out}"], "--max-utterances cannot be negative"),
        (["export", "{model}", "{out}"], "is not an integer model: give the quantized.safetensors"),
        (["export", "--formats", "tflite", "{model}", "{out}"], "--formats tflite: expected a list from mdl, onnx"),
    ],
)
def test_wrong_arguments_are_one_sentence(
    arguments: list[str], sentence: str, model: str, feats: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"model": model, "feats": feats, "out": str(tmp_path / "out")}
    assert run([argument.format(**values) for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_a_pattern_with_a_typo_lists_the_layers(
    model: str, feats: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "typo.yaml").write_text("layers: {'tdmn*': {bits: 4}}\n")
    assert run(["quantize", "--config", str(tmp_path / "typo.yaml"), model, feats, str(tmp_path / "out")]) == 1
    assert "the pattern 'tdmn*' matches no layer; the layers are tdnn1.affine (@input)" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["silence", "constant", "one frame", "one with NaN"])
def test_poor_calibration_data(
    kind: str, model: str, feats: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    good = dict(read_matrices(feats))
    data = {
        "silence": [np.zeros((80, 40), np.float32)],
        "constant": [np.concatenate([random.normal(size=(80, 39)), np.full((80, 1), 7.0)], 1).astype(np.float32)],
        "one frame": [random.normal(size=(1, 40)).astype(np.float32)],
        "one with NaN": [np.full((50, 40), np.nan, np.float32), *[next(iter(good.values()))] * 20],
    }
    with matrix_writer(f"ark:{tmp_path}/poor.ark") as writer:
        for number, matrix in enumerate(data[kind]):
            writer.write(f"utterance{number:03}", matrix)
    folder = tmp_path / "out"
    assert run(["quantize", "--bits", "4", model, f"ark:{tmp_path}/poor.ark", str(folder)]) == 0
    warnings = capsys.readouterr().err
    assert warnings.count("leaving out utterance utterance000") == (kind == "one with NaN")
    assert run(["forward", str(folder / "quantized.safetensors"), feats, f"ark:{tmp_path}/out.ark"]) == 0
    assert all(np.isfinite(rows).all() for rows in read_archive(tmp_path / "out.ark").values())


def test_integer_models_run_on_the_cpu_alone(
    model: str, feats: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["quantize", model, feats, str(tmp_path / "w8")]) == 0
    artefact = str(tmp_path / "w8/quantized.safetensors")
    assert run(["forward", "--float64", artefact, feats, f"ark:{tmp_path}/out.ark"]) == 1
    assert "is an integer model, which runs on the CPU" in capsys.readouterr().err
