"""Scores and WAV files of cells of separation, written and found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.separation.networks.known import NETWORKS
from kaldi_quant.frontends.separation.scores.cell_files import cell_scores, mixture_folder, write_mixture_scores
from kaldi_quant.frontends.separation.scores.measured import mixture_scores
from kaldi_quant.frontends.separation.scores.predictions import (
    given_files,
    made_files,
    predictions_in,
    write_predictions,
)
from kaldi_quant.metrics.known import SI_SDR, STOI
from tests.frontends.separation.scores.mixtures import MUSIC, SPEECH, Mixture, music, nearly, speech


def test_scores_of_a_cell(tmp_path: Path) -> None:
    scores = mixture_scores([speech()], SPEECH)
    where = cell_scores(SPEECH)
    written = where.write(tmp_path, scores)
    names = ["scores.json", *(f"{name}/scores.json" for name in ("si-sdri", "sdr", "stoi", "pesq"))]
    assert [str(path.relative_to(tmp_path)) for path in written] == names
    assert where.read(tmp_path) == scores and where.has(tmp_path, "STOI") and not where.has(tmp_path, "NSDR")
    with pytest.raises(DataError, match=r"expected NSDR, found SI-SDR"):
        cell_scores(MUSIC).read(tmp_path)
    with pytest.raises(DataError, match=r"has no scores of separated signals: expected scores\.json"):
        where.read(tmp_path / "none")


def test_mixtures_have_scores(tmp_path: Path) -> None:
    name = "conv-tasnet-small"
    written = write_mixture_scores(tmp_path, name, [speech()], [SI_SDR, STOI])
    folder = mixture_folder(tmp_path, name)
    assert written == [folder / "scores.json", folder / "stoi" / "scores.json"]
    assert list(cell_scores(NETWORKS[name]).read(folder)) == ["SI-SDR", "STOI"]


def test_wav_files_of_speech_are_in_order(tmp_path: Path) -> None:
    given = [speech("a/b"), speech("second")]
    written = write_predictions(tmp_path, given, {one.name: nearly(one)[::-1] for one in given}, SPEECH)
    names = ["mix", "ref-s1", "ref-s2", "est-s1", "est-s2"]
    assert [path.name for path in written[:5]] == [f"S000_a-b_{name}.wav" for name in names]
    (tmp_path / "est_predictions" / "S002_x_mix.wav").write_bytes(b"")
    found = predictions_in(tmp_path)
    assert list(found) == ["S000_a-b", "S001_second"]
    files = found["S001_second"]
    assert [name for name, _ in given_files(files)] == ["mixture", "s1", "s2"]
    assert [name for name, _ in made_files(files)] == ["s1", "s2"]
    for name, path in made_files(files):
        wave, rate = soundfile.read(path)
        source, _ = soundfile.read(files[f"ref-{name}"])
        assert rate == 8000 and np.abs(wave).max() == pytest.approx(1, abs=1e-3)
        assert np.corrcoef(wave, source)[0, 1] > 0.95
    some = write_predictions(tmp_path / "some", given, {"second": nearly(given[1])}, SPEECH, [1])
    assert {path.name[:4] for path in some} == {"S001"}
    with pytest.raises(DataError, match="a/b was not separated"):
        write_predictions(tmp_path, given, {"second": nearly(given[1])}, SPEECH)


def test_wav_files_of_music_keep_levels_and_channels(tmp_path: Path) -> None:
    one = music()
    silent = Mixture("silent", 0 * one.mixture, 0 * one.sources)
    write_predictions(tmp_path, [one, silent], {one.name: one.sources, "silent": silent.sources}, MUSIC)
    files = predictions_in(tmp_path)["S000_track"]
    mixture, _ = soundfile.read(files["mix"])
    assert mixture.shape == (3500, 2) and len(given_files(files)) == 5
    added = sum(soundfile.read(path)[0] for _, path in made_files(files))
    np.testing.assert_allclose(added, mixture, rtol=0, atol=2e-4)
    assert not soundfile.read(predictions_in(tmp_path)["S001_silent"]["mix"])[0].any()
