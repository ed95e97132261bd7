"""Scores and WAV files of cells, written and found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.enhancement.scores.cell_files import (
    NOISY,
    read_cell_scores,
    write_cell_scores,
    write_noisy,
)
from kaldi_quant.frontends.enhancement.scores.conditions import conditions_of, read_conditions
from kaldi_quant.frontends.enhancement.scores.measured import METRICS, noisy_scores
from kaldi_quant.frontends.enhancement.scores.predictions import predictions_in, read_prediction, write_predictions
from kaldi_quant.metrics.known import MSE, PESQ, SI_SDR
from kaldi_quant.metrics.score_file import write_score
from tests.frontends.enhancement.scores.pairs import RATE, Pair, pairs


def test_scores_of_a_cell(tmp_path: Path) -> None:
    scores = noisy_scores(pairs()[:2], RATE)
    written = write_cell_scores(tmp_path / "float", scores)
    names = ["scores.json", *(f"{name}/scores.json" for name in ("pesq-nb", "stoi", "si-sdr", "snr", "mse"))]
    assert [str(path.relative_to(tmp_path / "float")) for path in written] == names
    assert read_cell_scores(tmp_path / "float") == scores
    with pytest.raises(DataError, match=r"has no scores of enhanced speech: expected scores\.json"):
        read_cell_scores(tmp_path)
    write_score(tmp_path / "float" / "stoi", scores[MSE.name])
    with pytest.raises(DataError, match="expected STOI, found MSE"):
        read_cell_scores(tmp_path / "float")


def test_noisy_speech_has_scores_and_conditions(tmp_path: Path) -> None:
    given = pairs()[:2]
    assert len(write_noisy(tmp_path, given, RATE)) == len(METRICS) + 1
    found = read_cell_scores(tmp_path / NOISY)
    assert found[SI_SDR.name].per_unit["hum-10.0"] == pytest.approx(10, abs=0.1)
    assert set(found[PESQ.name].per_unit) == {"hum-0.0", "hum-10.0"}
    assert read_conditions(tmp_path / NOISY) == conditions_of(given)


def test_wav_files_are_those_of_the_ancestors(tmp_path: Path) -> None:
    given = [*pairs()[:2], Pair("odd", *2 * [np.zeros(400, np.float32)], "a/b")]
    enhanced = {pair.name: pair.clean for pair in given}
    written = write_predictions(tmp_path, given, enhanced, RATE)
    assert [path.name for path in written] == [
        f"{stem}_{what}.wav" for stem in ("S000_hum_0", "S001_hum_10", "S002_a-b_x") for what in ("mix", "tgt", "time")
    ]
    (tmp_path / "est_predictions" / "S003_hum_5_mix.wav").write_bytes(b"")
    found = predictions_in(tmp_path)
    assert list(found) == ["S000_hum_0", "S001_hum_10", "S002_a-b_x"]
    path = found["S001_hum_10"]["mix"]
    assert soundfile.info(path).samplerate == RATE and soundfile.info(path).subtype == "PCM_16"
    wave = read_prediction(path, RATE)
    expected = given[1].noisy / np.abs(given[1].noisy).max()
    np.testing.assert_allclose(wave, expected, rtol=0, atol=1e-4)
    some = write_predictions(tmp_path / "some", given, enhanced, RATE, [1])
    assert [path.name[:4] for path in some] == 3 * ["S001"]
    with pytest.raises(DataError, match="odd was not enhanced"):
        write_predictions(tmp_path, given, {pair.name: pair.clean for pair in given[:2]}, RATE)
