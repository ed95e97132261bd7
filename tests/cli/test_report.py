"""``kaldi-quant report`` as a user calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.cli import main as cli
from kaldi_quant.export.artefact import save
from kaldi_quant.kaldi.tables import matrix_writer
from tests.export.quantized_examples import quantized
from tests.report.decode_folders import ROOT, disturbed, real, write_folder
from tests.report.found_files import search_content, sensitivity_content, write_json
from tests.report.score_folders import values, write_scores

pytest.importorskip("matplotlib")

QUICK = ["--replications", "200"]


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """A float result and one of an integer model, of 60 utterances."""
    model, network, _ = quantized("tdnn_lda", "w8")
    path = tmp_path / "model/quantized.safetensors"
    record = {"model": str(path), "layers": [{"name": name, "bits": 8} for name in network.layers]}
    path.parent.mkdir()
    record["artefact_bytes"] = save(path, network, model, {"frame_subsampling_factor": 3})
    references, first = (dict(list(transcripts.items())[:60]) for transcripts in real())
    return [
        write_folder(tmp_path / "float", references, {"16_1.0": first, "15_1.0": first}),
        write_folder(tmp_path / "w8", references, {"16_1.0": disturbed(first, 0.05, 1)}, record),
    ]


@pytest.fixture
def feats(tmp_path: Path) -> str:
    """Three utterances of a second each."""
    random = np.random.default_rng(0)
    with matrix_writer(f"ark:{tmp_path}/feats.ark") as writer:
        for name in "abc":
            writer.write(name, random.normal(0, 1, (100, 20)).astype(np.float32))
    return f"ark:{tmp_path}/feats.ark"


def test_all_parts(folders: list[str], feats: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search = write_json(tmp_path / "mixed/search.json", search_content())
    sensitivity = write_json(tmp_path / "alone/sensitivity.json", sensitivity_content())
    page = tmp_path / "out/report.html"
    options = ["--search", str(Path(search).parent), "--search", search, "--sensitivity", sensitivity]
    options += ["--features", feats, "--feature-seconds", "1.5", "--text", "-", "--seed", "3", "--lmwt=16"]
    assert cli.run(["report", *QUICK, *options, str(page), f"a={folders[0]}", f"b={folders[1]}"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("#") and captured.err == ""
    text = page.read_text()
    assert text.startswith("<!DOCTYPE html>") and text.count("Search: mixed, 4 bits</h2>") == 2
    content = json.loads((tmp_path / "out/report.json").read_text())
    assert content["comparison"]["bootstrap"]["seed"] == 3
    assert [row["name"] for row in content["comparison"]["rows"]] == ["a", "b"]
    assert [row["lmwt"] for row in content["comparison"]["rows"]] == [16, 16]
    assert len(content["searches"]) == 2 and len(content["sensitivities"]) == 1
    (ranges,) = content["activation_ranges"]
    # Whole utterances, until there is enough.
    assert ranges["name"] == "b" and ranges["seconds"] == 2.0
    assert all(node["spread"]["count"] > 100 for node in ranges["nodes"])


def test_ranges_without_features_and_json_elsewhere(folders: list[str], tmp_path: Path) -> None:
    page, numbers = tmp_path / "report.html", tmp_path / "numbers"
    assert cli.run(["report", *QUICK, "--json", str(numbers), str(page), folders[1]]) == 0
    content = json.loads(numbers.read_text())
    assert all(node["spread"] is None for node in content["activation_ranges"][0]["nodes"])
    assert not (tmp_path / "report.json").exists() and "8 bits" in page.read_text()


def test_a_model_that_is_gone_is_a_note(folders: list[str], tmp_path: Path) -> None:
    (tmp_path / "model/quantized.safetensors").unlink()
    assert cli.run(["report", *QUICK, str(tmp_path / "report.html"), *folders]) == 0
    assert json.loads((tmp_path / "report.json").read_text())["activation_ranges"] == []
    assert "w8: no activation ranges, its model" in (tmp_path / "report.html").read_text()


def test_scores_of_other_tasks(tmp_path: Path) -> None:
    folders = [
        write_scores(tmp_path / name, values(loss), record={"artefact_bytes": size})
        for name, loss, size in (("float", 0.0, 3000), ("w4", 0.5, 400))
    ]
    assert cli.run(["report", *QUICK, str(tmp_path / "report.html"), *folders]) == 0
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["front"] == ["w4", "float"] and content["comparison"]["metric"]["name"] == "SI-SDR"
    assert "<h2>SI-SDR and size</h2>" in (tmp_path / "report.html").read_text()


def test_a_search_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "search.json", search_content())
    assert cli.run(["report", "--search", ".", "page.html"]) == 0
    assert "Quantized models: 1 search" in (tmp_path / "page.html").read_text()
    assert json.loads((tmp_path / "page.json").read_text())["comparison"] is None


def test_speed(folders: list[str], feats: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KALDI_ROOT", raising=False)
    options = ["--speed", feats, "--speed-rounds", "1", "--speed-seconds", "1"]
    assert cli.run(["report", *QUICK, *options, str(tmp_path / "report.html"), folders[1]]) == 0
    assert json.loads((tmp_path / "report.json").read_text())["comparison"]["speed"]["w8"]["ratio"] == 1.0
    assert "<h2>Speed</h2>" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "Missing argument"),
        (["p.html"], 1, "there is nothing to report: give decode folders, --search or --sensitivity"),
        (["--search", ".", "--features", "ark:x", "p.html"], 1, "--speed, --features and --text need decode folders"),
        (["--search", ".", "--text", "t", "p.html"], 1, "--speed, --features and --text need decode folders"),
        (["--search", ".", "-"], 1, "the page needs a file name such as report.html, found -"),
        (["--search", ".", "."], 1, "the page needs a file name such as report.html, found ."),
        (["--search", ".", "p.json"], 1, "need different files, found p.json and p.json"),
        (["--search", ".", "--json", "./p.html", "p.html"], 1, "need different files, found p.html and p.html"),
        (["--search", ".", "p.html"], 1, "search.json does not exist: give the search.json that"),
        (["--sensitivity", "x", "p.html"], 1, "x does not exist: give the sensitivity.json"),
        (["p.html", "nowhere"], 1, "kaldi-quant report: the decode folder nowhere does not exist\n"),
        (["--serach=x", "p.html"], 2, "--replications (default: 10000)"),
    ],
)  # fmt: skip
def test_errors(
    arguments: list[str],
    status: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["report", *arguments]) == status
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_errors_that_need_folders(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truncated = write_json(tmp_path / "search.json", '{"format": 1, "front": [')
    page = str(tmp_path / "page.html")
    model = tmp_path / "model/quantized.safetensors"
    for arguments, message in (
        (["--search", truncated], f"{truncated}: cannot be read as JSON"),
        (["--features", "ark:none", "--feature-seconds", "0"], "--feature-seconds must be positive, found 0"),
        (["--features", "ark:none"], "none: cannot be read"),
    ):
        assert cli.run(["report", *QUICK, *arguments, page, *folders]) == 1
        error = capsys.readouterr().err
        assert message in error and len(error.splitlines()) == 1
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    assert cli.run(["report", *QUICK, page, *folders]) == 1
    assert str(model) in capsys.readouterr().err and not Path(page).exists()


def test_without_matplotlib(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.run(["report", f"{tmp_path}/page.html", "nowhere"]) == 1
    assert "need the package matplotlib: pip install matplotlib" in capsys.readouterr().err


def test_help_needs_nothing_heavy() -> None:
    program = (
        "import sys; from kaldi_quant.cli.main import run; status = run(['report', '--help']); "
        "assert not {'torch', 'matplotlib', 'scipy'} & set(sys.modules), 'slow import'; sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    assert "HTML [NAME=]DECODE-DIR..." in done.stdout
