"""The results of speech enhancement, as text and as a page, from files alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from kaldi_quant.cli.recipes import cell_results, cell_sounds, enhancement_results
from kaldi_quant.cli.recipes.enhancement_results import results
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.report.pages.listening import bytes_in_page
from tests.frontends.enhancement.scores.cells import CELLS, METRICS, write_cells
from tests.frontends.enhancement.scores.pairs import pairs
from tests.report.outline import Outline


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("cells")
    write_cells(folder / "0", pairs())
    return folder


def run(exp: Path, *words: str) -> str:
    done = CliRunner().invoke(results, ["--exp-dir", str(exp), "--replications", "200", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_text_and_page(cells: Path) -> None:
    said = run(cells / "0", "--recordings", "2")
    written = (cells / "0" / "RESULTS").read_text()
    assert written.startswith("# Speech enhancement: made by `bash egs/enhancement/run.sh`") and said.strip() in written
    lines = [line.split() for line in said.splitlines()]
    assert ["noise", "SNR,", "dB", "n", "float", "mbqat", "ours-w8a8", "noisy"] in [line[1:] for line in lines]
    assert len(next(line for line in lines if line[:3] == ["babble", "10", "1"])) == 7
    row = next(line for line in lines if line[:1] == ["mbqat"])
    assert row[2].startswith("(-") and row[-1].startswith("(+")
    assert next(line for line in lines if line[:1] == ["noisy"])
    page = Outline((cells / "0" / "report.html").read_text())
    sources = [attributes["src"] for tag, attributes in page.elements if tag == "audio"]
    assert len(sources) == 2 * (2 + len(CELLS)) and all(source.startswith("data:audio/flac") for source in sources)
    assert page.tags.count("img") == len(sources) and "S000_hum_0" in page.text and "S003_babble_10" in page.text


def test_little_room_takes_opus_then_fewer(cells: Path, caplog: pytest.LogCaptureFixture) -> None:
    heard_files = enhancement_results._task().heard
    networks = {"crn": sorted((cells / "0" / "crn-100k").iterdir())}

    def heard(most: int) -> tuple[int, str, int]:
        found = cell_sounds.recordings_of(networks, 2, most, heard_files)["crn"]
        sounds = [sound for each in found for sound in each.sounds]
        return len(found), sounds[0].mime, sum(map(bytes_in_page, sounds))

    number, mime, size = heard(10_000_000)
    assert (number, mime) == (2, "audio/flac")
    number, mime, smaller = heard(size - 1)
    assert number == 2 and mime.startswith("audio/ogg") and smaller < size
    number, _, smallest = heard(smaller - 1)
    assert number == 1 and smallest < smaller
    assert "there are fewer of them" in caplog.text
    assert cell_sounds.recordings_of(networks, 2, 0, heard_files) == {"crn": []}


def test_means_over_seeds_without_noisy_speech(cells: Path, tmp_path: Path) -> None:
    for seed in ("0", "1", "2"):
        shutil.copytree(cells / "0" / "crn-100k", tmp_path / seed / "crn-100k")
    for path in (tmp_path / "2" / "crn-100k").glob("*/si-sdr/scores.json"):
        content = json.loads(path.read_text())
        content["units"] = {unit: value + 3 for unit, value in content["units"].items()}
        path.write_text(json.dumps(content))
    said = run(tmp_path, "--recordings", "0")
    row = next(line for line in said.partition("# Over seeds")[2].splitlines() if line.startswith("ours-w8a8"))
    assert row.split()[1] == "3" and row.count("±") == 2 * len(METRICS)
    # PESQ is the same in each seed; SI-SDR has a spread, but its difference to float has none.
    spreads = [float(text.split()[0].strip(")")) for text in row.split("±")[1:]]
    assert spreads[:4] == [0, 0, pytest.approx(3**0.5, abs=0.01), 0]
    assert "<audio" not in (tmp_path / "report.html").read_text()
    assert "by condition" not in said and not any(line.startswith("noisy") for line in said.splitlines())


def test_commands_stand_as_they_are_called_in_the_folder_of_the_recipe() -> None:
    command = "egs/enhancement/cells.py --config /home/me/egs/enhancement/conf/a.yaml float"
    assert cell_results.here(command, "egs/enhancement") == "cells.py --config conf/a.yaml float"


def test_a_seed_may_lack_a_network(cells: Path, tmp_path: Path) -> None:
    for seed in ("0", "1", "2"):
        shutil.copytree(cells / "0" / "crn-100k", tmp_path / seed / "crn-100k")
    shutil.copytree(cells / "0" / "crn-100k", tmp_path / "0" / "other")
    shutil.rmtree(tmp_path / "2" / "crn-100k")
    shutil.copytree(cells / "0" / "crn-100k", tmp_path / "2" / "third")
    said = run(tmp_path, "--recordings", "0")
    assert said.count("# Over seeds") == 1
    row = next(line for line in said.partition("# Over seeds")[2].splitlines() if line.startswith("ours-w8a8"))
    assert row.split()[1] == "2"


def test_what_cannot_be_shown(cells: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no cells: expected NETWORK/CELL/cell\.json, or SEED/NETWORK/CELL"):
        run(tmp_path)
    shutil.copytree(cells / "0" / "crn-100k", tmp_path / "crn-100k")
    shutil.copytree(cells / "0" / "crn-100k", tmp_path / "0" / "crn-100k")
    with pytest.raises(DataError, match="has cells of seeds and others"):
        run(tmp_path)
    with pytest.raises(UsageError, match="--recordings cannot be negative, found -1"):
        run(tmp_path, "--recordings", "-1")
