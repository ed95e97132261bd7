"""The results of source separation, as text and as a page, from files alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from kaldi_quant.cli.recipes.cell_tables import loss_table
from kaldi_quant.cli.recipes.separation_results import results
from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.experiments import experiments_in
from kaldi_quant.frontends.separation.networks.known import NETWORKS
from kaldi_quant.frontends.separation.scores.cell_files import cell_scores, write_mixture_scores
from kaldi_quant.metrics.known import SI_SDR, SI_SDR_IMPROVEMENT, STOI
from kaldi_quant.report.cells import Table
from kaldi_quant.report.comparison import ComparisonOptions
from tests.frontends.separation.scores.cells import CELLS, write_cells
from tests.frontends.separation.scores.mixtures import MUSIC, music, speech
from tests.report.outline import Outline

SPEECH_NAME, MUSIC_NAME = "conv-tasnet-small", "conv-tasnet-music-small"
SPEECH_METRICS = (SI_SDR, SI_SDR_IMPROVEMENT, STOI)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of a network of speech, one of one of music."""
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("cells")
    kind, mixtures = NETWORKS[SPEECH_NAME], [speech("a" * count, 4000) for count in range(1, 8)]
    for seed in ("0", "1"):
        write_cells(folder / seed, mixtures, SPEECH_NAME, kind, SPEECH_METRICS, worse=0.01 * int(seed))
    write_mixture_scores(folder / "0", SPEECH_NAME, mixtures, SPEECH_METRICS)
    # At a rate of audio, so that it can be heard.
    tracks = [music("t" * count) for count in range(1, 8)]
    write_cells(folder / "0", tracks, MUSIC_NAME, replace(MUSIC, rate=44100), heard=1)
    return folder


def run(exp: Path, *words: str) -> str:
    words = ("--exp-dir", str(exp), "--replications", "200", *words)
    done = CliRunner().invoke(results, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def row(said: str, network: str, title: str, cell: str) -> list[str]:
    table = said.partition(f"## {network}\n")[2].partition(f"# {title}.")[2]
    return next(line for line in table.splitlines() if line.split()[:1] == [cell]).split()


def test_text_and_page(cells: Path) -> None:
    said = run(cells, "--recordings", "2")
    written = (cells / "RESULTS").read_text()
    assert written.startswith("# Source separation: made by `bash egs/separation/run.sh`") and said.strip() in written
    assert row(said, SPEECH_NAME, "Over seeds", "fqss")[1] == "2"
    scores = row(said, SPEECH_NAME, "All scores", "mixture")
    assert len(scores) == 1 + 2 * 3 and float(scores[1]) < 2 and scores[2].endswith("*)")
    assert "mixture" not in said.partition(f"## {MUSIC_NAME}\n")[2].partition("##")[0].split()
    assert len(row(said, MUSIC_NAME, "All scores", "fqss")) == 1 + 2 * 4
    assert len(row(said, MUSIC_NAME, "SDR of stems", "fqss")) == 6
    page = Outline((cells / "report.html").read_text())
    sources = [attributes["src"] for tag, attributes in page.elements if tag == "audio"]
    assert len(sources) == 2 * (3 + 2 * len(CELLS)) + 1 * (5 + 4 * len(CELLS))
    assert "float s1" in page.text and "vanilla-qat drums" in page.text


def test_what_is_lost_against_float(cells: Path) -> None:
    said = run(cells, "--recordings", "0")
    for network in (SPEECH_NAME, MUSIC_NAME):
        found = {name: row(said, network, "Lost against float", name) for name in CELLS if name != "float"}
        lost = {name: float(cells_[1]) for name, cells_ in found.items()}
        # Shares of the other sources, in dB.
        assert lost["vanilla-qat"] == pytest.approx(3.5, abs=0.4)
        assert lost["fqss"] == pytest.approx(0.8, abs=0.2)
        low, high = map(float, found["fqss"][2].strip("[]").split(","))
        assert low <= lost["fqss"] <= high
        assert found["vanilla-qat"][3:] == ["100", "%", "-", "-"]
        assert float(found["fqss"][3]) == pytest.approx(100 * lost["fqss"] / lost["vanilla-qat"], abs=1)
        gain = float(found["fqss"][5])
        assert gain == pytest.approx(lost["vanilla-qat"] - lost["fqss"], abs=0.02)
        low, high = map(float, found["fqss"][6].strip("[]").split(","))
        assert low <= gain <= high
    assert "bootstrap that draws recordings and 2 seeds" in said


def test_without_the_base_nothing_is_a_share(cells: Path, tmp_path: Path) -> None:
    shutil.copytree(cells / "0" / SPEECH_NAME, tmp_path / SPEECH_NAME)
    shutil.rmtree(tmp_path / SPEECH_NAME / "vanilla-qat")
    scores, options = cell_scores(NETWORKS[SPEECH_NAME]), ComparisonOptions(replications=200)

    def table(base: str) -> Table | None:
        return loss_table(experiments_in(tmp_path), SPEECH_NAME, scores, options, base)

    assert table("vanilla-qat") is None and table("float") is None
    # What loses nothing has nothing that others could have a share of.
    shutil.copytree(tmp_path / SPEECH_NAME / "float", tmp_path / SPEECH_NAME / "vanilla-qat")
    found = {cells_[0]: cells_[1:] for cells_ in table("vanilla-qat").rows}
    assert float(found["vanilla-qat"][0]) == 0 and found["vanilla-qat"][2:] == ["-", "-", "-"]
    assert float(found["fqss"][0]) > 0.5 and found["fqss"][2] == "-" and float(found["fqss"][3]) < -0.5


def test_networks_that_are_unknown(cells: Path, tmp_path: Path) -> None:
    shutil.copytree(cells / "0" / SPEECH_NAME, tmp_path / "unet")
    with pytest.raises(UsageError, match="separation network 'unet' is not one of"):
        run(tmp_path, "--recordings", "0")
