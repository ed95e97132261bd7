"""``search`` from the command line to its files, and what it says of what cannot be done."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.cli.dev_scoring import ScoringArguments
from kaldi_quant.cli.main import run
from kaldi_quant.decode.decoding import decode
from kaldi_quant.decode.options import DecodeOptions, ScoreOptions
from kaldi_quant.decode.scoring import score
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.tables import matrix_writer, read_matrices
from kaldi_quant.quant.config import read_config
from kaldi_quant.quant.search.measurements import WordErrors


@pytest.fixture
def model(example: Path) -> str:
    return str(example / "exp/chain/tdnn1a_sp/final.mdl")


@pytest.fixture
def tables(example: Path, tmp_path: Path) -> list[str]:
    """Two training utterances, and two of the development data, some of their frames."""
    found = []
    for part in ("train_sub_hires", "dev_hires"):
        table = read_matrices(f"scp:{example}/data/{part}/feats.scp")
        with matrix_writer(f"ark:{tmp_path}/{part}.ark") as writer:
            for (name, matrix), _ in zip(table, range(2), strict=False):
                writer.write(name, matrix[:120])
        found.append(f"ark:{tmp_path}/{part}.ark")
    return found


def test_from_a_budget_to_a_model(
    model: str, tables: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (tmp_path / "fast.yaml").write_text("default: {method: minmax}\nobserver: minmax\n")
    command = ["search", "--config", str(tmp_path / "fast.yaml"), "--widths", "2,4,8"]
    assert run([*command, "--budget", "4 bits", model, *tables, str(out)]) == 0
    table = capsys.readouterr().out
    result = json.loads((out / "search.json").read_text())
    for layer in result["layers"]:
        assert f"{layer['name']} " in table
    total = result["base_divergence"] + sum(layer["divergence"] for layer in result["layers"])
    assert result["predicted"]["divergence"] == pytest.approx(total)
    assert result["ratio"]["divergence"] == pytest.approx(result["measured"]["divergence"] / total)
    weights = sum(layer["parameters"] for layer in result["layers"])
    mean = sum(layer["parameters"] * layer["bits"] for layer in result["layers"]) / weights
    assert result["measured"]["bits_per_weight"] == pytest.approx(result["predicted"]["bits_per_weight"])
    assert mean == pytest.approx(result["measured"]["bits_per_weight"])
    assert 3 < mean <= 4
    assert len(result["measurements"]) == 1 + 2 * len(result["layers"])
    assert len(result["front"]) > 4
    artefact = out / "quantized.safetensors"
    assert artefact.stat().st_size == result["measured"]["bytes"]
    assert result["measured"]["bytes"] == result["predicted"]["bytes"]
    config = read_config(out / "allocation.yaml")
    assert f"{result['predicted']['bytes']} bytes" in config.description
    assert {name: fields["bits"] for name, fields in config.layers.items()} == {
        layer["name"]: layer["bits"] for layer in result["layers"]
    }
    assert run(["quantize", "--config", str(out / "allocation.yaml"), model, tables[0], str(tmp_path / "again")]) == 0
    again = json.loads((tmp_path / "again/quantization.json").read_text())
    assert again["bits_per_weight"] == pytest.approx(mean)


def test_another_budget_measures_nothing_again(
    model: str, tables: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    config = "default: {method: minmax}\nlayers: {output.affine: {float_reason: it is the last}}\nobserver: minmax\n"
    (tmp_path / "fast.yaml").write_text(config)
    command = ["search", "--config", str(tmp_path / "fast.yaml"), "--widths", "3,8", "--estimate", "second-order"]
    assert run([*command, "--budget", "7 bits", model, tables[0], tables[0], str(out)]) == 0
    said = capsys.readouterr()
    assert "the calibration data is also the development data" in said.err
    before = json.loads((out / "measurements.json").read_text())
    assert run([*command, "--budget", "600 kB", model, tables[0], tables[0], str(out)]) == 0
    after = json.loads((out / "measurements.json").read_text())
    assert after["measurements"] == before["measurements"]
    assert after["models"][:-1] == before["models"]
    result, table = json.loads((out / "search.json").read_text()), capsys.readouterr().out
    assert result["measured"]["bytes"] <= 600_000
    # Models' widths are means of all weights, too: those of the layer in float count with 32 bits.
    chosen = next(entry for entry in result["models"] if entry["chosen"])
    assert chosen["bits_per_weight"] == pytest.approx(result["measured"]["bits_per_weight"])
    assert re.search(rf"^chosen +{chosen['bytes']} +{result['measured']['bits_per_weight']:.3f} ", table, re.MULTILINE)
    assert run([*command, "--budget", "600 kB", model, *tables, str(out)]) == 0
    assert "is measured again, as this has changed: development set" in capsys.readouterr().err


def test_measured_models_are_listed_and_the_best_is_taken(
    model: str, tables: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, experiment = tmp_path / "out", Path(model).parents[3]
    (tmp_path / "fast.yaml").write_text("default: {method: minmax}\nobserver: minmax\n")
    # Of the float model, of the best prediction, of its two neighbours, and of the points of the front.
    errors = iter([20, 25, 23, 24, *range(30, 40)])
    decoded: list[int] = []

    def score(rows: Iterable[tuple[str, np.ndarray]]) -> WordErrors:
        decoded.append(len(list(rows)))
        return WordErrors(next(errors), 200)

    monkeypatch.setattr(ScoringArguments, "scorer", lambda self, path, model: score)
    command = ["search", "--config", str(tmp_path / "fast.yaml"), "--widths", "4,8", "--estimate", "second-order"]
    command += ["--graph-dir", str(Path(model).parent / "graph_alphadigits"), "--max-dev-utterances", "1"]
    command += ["--data-dir", str(experiment / "data/dev_hires"), "--budget", "5 bits"]
    assert run([*command, "--refine", "3", "--front", "2", model, *tables, str(out)]) == 0
    table = capsys.readouterr().out
    result = json.loads((out / "search.json").read_text())
    assert result["float"] == {"errors": 20, "words": 200, "wer": 10.0}
    chosen = [entry for entry in result["models"] if entry["chosen"]]
    assert [entry["errors"] for entry in chosen] == [23]
    assert chosen[0]["bits"] == {layer["name"]: layer["bits"] for layer in result["layers"]}
    assert chosen[0]["bytes"] == (out / "quantized.safetensors").stat().st_size
    assert len(result["measured_front"]) == 2
    assert [entry["bytes"] for entry in result["measured_front"]] == sorted(
        entry["bytes"] for entry in result["measured_front"]
    )
    assert len(decoded) == 1 + len(result["models"])
    # All of the development data, whatever divergences are measured on.
    assert set(decoded) == {2}
    assert "10.00      20    200" in table
    assert re.search(r"^chosen .* 11\.50      23    200  [48 ]+$", table, re.MULTILINE)
    assert run([*command, "--refine", "2", model, *tables, str(out)]) == 0
    assert len(decoded) == 1 + len(result["models"])
    text = (experiment / "data/dev_hires/text").read_text()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/text").write_text(text.replace("dev000-000 ", "dev000-000 a "))
    capsys.readouterr()
    assert run([*command, "--data-dir", str(tmp_path / "data"), model, *tables, str(out)]) == 0
    assert "are counted again, as this has changed: text" in capsys.readouterr().err
    assert len(decoded) > 1 + len(result["models"])


def test_words_are_scored_as_score_does(model: str, tables: list[str], tmp_path: Path) -> None:
    folder, graph = tmp_path / "decode", Path(model).parent / "graph_alphadigits"
    data = Path(model).parents[3] / "data/dev_hires"
    loglikes = f"ark:{tmp_path}/loglikes.ark"
    assert run(["forward", model, tables[1], loglikes]) == 0
    found = ScoringArguments(str(graph), str(data), 1).scorer(model, read_model(model))(read_matrices(loglikes))
    decode(model, str(graph / "HCLG.fst"), loglikes, str(graph / "words.txt"), str(folder), DecodeOptions(nj=1))
    expected = score(str(data), str(graph), str(folder), ScoreOptions(stats=False))
    assert f"[ {found.errors} / {found.words}, " in expected
    assert found.words > 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--budget", "small"], "the budget 'small' is not understood: give a size"),
        (["--budget", "3 bits", "--widths", "8"], "with only 8 bits there is nothing to choose"),
        (["--budget", "3 bits", "--widths", "two"], "--widths two: expected widths from 2 to 16"),
        (["--budget", "3 bits", "--act-widths", "float"], "--act-widths float: expected widths from 2 to 16"),
        (["--budget", "3 bits", "--base-bits", "1"], "a width of 1 bits is not possible"),
        (["--budget", "3 bits", "--preset", "best"], "there is no preset 'best'"),
        (["--budget", "3 bits", "--preset", "torch-static"], "there are no widths to choose"),
        (["--budget", "3 bits", "--method", "guess"], "method 'guess' is not one of"),
        (["--budget", "3 bits", "--max-dev-utterances", "-1"], "--max-dev-utterances cannot be negative"),
        (["--budget", "3 bits", "--max-bit-operations", "-1"], "--max-bit-operations must be positive"),
        (["--budget", "3 bits", "--refine", "2"], "--refine needs --graph-dir and --data-dir"),
        (["--budget", "1 %WER"], "a budget of 1 %WER needs --graph-dir and --data-dir"),
        (["--budget", "3 bits", "--refine", "-1"], "--refine and --front cannot be negative"),
        (["--budget", "3 bits", "--front", "1"], "--front needs at least two points, found 1"),
        (["--budget", "3 bits", "--graph-dir", "graph"], "give both --graph-dir and --data-dir"),
        (["--budget", "1 %WER", "--refine", "2"], "--refine has no effect with a budget of 1 %WER"),
        (
            ["--budget", "3 bits", "--graph-dir", "none", "--data-dir", "none", "--nj", "0"],
            "--nj must be positive, found 0",
        ),
        (["--budget", "3 bits", "--graph-dir", "none", "--data-dir", "none"], "none/HCLG.fst: cannot be read: No such"),
    ],
)
def test_wrong_options_are_one_sentence(
    options: list[str],
    sentence: str,
    model: str,
    tables: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["search", *options, model, *tables, str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_missing_tables_and_impossible_budgets(
    model: str, tables: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fast.yaml").write_text("default: {method: minmax}\nobserver: minmax\n")
    command = ["search", "--config", str(tmp_path / "fast.yaml"), "--widths", "4,8", "--estimate", "second-order"]
    for changed, sentence in (
        ([model, "ark:none.ark", tables[1]], "none.ark"),
        ([model, tables[0], "ark:none.ark"], "none.ark"),
        (["none.mdl", *tables], "none.mdl"),
    ):
        assert run([*command, "--budget", "5 bits", *changed, str(tmp_path / "out")]) == 1
        assert sentence in capsys.readouterr().err
    assert run([*command, "--budget", "1 kB", model, *tables, str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "no allocation of 4 or 8 bits meets the budget of 1 kB: the smallest takes 4" in error
    assert not (tmp_path / "out/allocation.yaml").exists()
