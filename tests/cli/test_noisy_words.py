"""Data folders of noisy speech, and what enhancement does to words, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.cli.recipes.enhanced_table import ALL, NONE, WordTable
from kaldi_quant.cli.recipes.noisy_words import CLEAN, FILES, NoiseChoice, enhanced_data, noisy_data, write_waves
from kaldi_quant.cli.recipes.spoken_words import check_spoken, speak_words
from kaldi_quant.errors import DataError, MissingDependencyError, UsageError
from kaldi_quant.frontends.enhancement.scores.conditions import read_conditions
from kaldi_quant.frontends.synthetic.programs import check_programs
from kaldi_quant.kaldi.script_file import read_script
from kaldi_quant.kaldi.text_tables import read_text_map
from kaldi_quant.kaldi.waves import read_waves
from kaldi_quant.report.files.decode_folder import FixedPoint
from tests.conftest import ROOT
from tests.report.decode_folders import write_folder

RATE = 16000
CHOICE = NoiseChoice(("coloured", "babble"), (0.0, -5.0), "unheard", 3)


def speech(folder: Path, names: tuple[str, ...] = ("b1-u", "a2-u"), level: float = 0.1) -> Path:
    """A data folder of two recordings."""
    folder.mkdir()
    random = np.random.default_rng(0)
    write_waves(folder, [(name, level * random.standard_normal(4000).astype(np.float32)) for name in names], RATE)
    (folder / "text").write_text("".join(f"{name} one two\n" for name in names))
    (folder / "utt2spk").write_text("".join(f"{name} {name[:2]}\n" for name in names))
    return folder


def waves(folder: Path) -> dict[str, np.ndarray]:
    return {name: wave.samples[0] / 32768.0 for name, wave in read_waves(f"scp:{folder}/wav.scp")}


def test_noisy_speech(tmp_path: Path) -> None:
    data = speech(tmp_path / "data")
    noisy_data(data, tmp_path / "noisy", CHOICE, RATE)
    assert {path.name for path in (tmp_path / "noisy").iterdir()} == set(FILES)
    found, clean = waves(tmp_path / "noisy"), waves(data)
    assert list(found) == sorted(found) and len(found) == 2 * (1 + 4)
    np.testing.assert_array_equal(found["b1-u-clean"], clean["b1-u"])
    text = read_text_map(tmp_path / "noisy" / "text")
    assert text["a2-u-babble_-5"] == ["one", "two"] and list(text) == list(found)
    assert read_text_map(tmp_path / "noisy" / "source")["a2-u-babble_-5"] == ["a2-u"]
    assert read_text_map(tmp_path / "noisy" / "utt2spk")["a2-u-babble_-5"] == ["a2"]
    assert read_text_map(tmp_path / "noisy" / "spk2utt")["a2"] == [name for name in found if name.startswith("a2")]
    condition = read_conditions(tmp_path / "noisy")["a2-u-babble_-5"]
    assert (condition.noise, condition.snr) == ("babble", -5.0)
    noise = found["a2-u-coloured_-5"] - clean["a2-u"]
    assert 10 * np.log10(np.mean(clean["a2-u"] ** 2) / np.mean(noise**2)) == pytest.approx(-5, abs=0.2)
    # The same whatever else there is, but for babble.
    noisy_data(
        speech(tmp_path / "one", ("b1-u",)), tmp_path / "again", NoiseChoice(("coloured",), (0.0,), "unheard", 3), RATE
    )
    np.testing.assert_array_equal(waves(tmp_path / "again")["b1-u-coloured_0"], found["b1-u-coloured_0"])


def test_loud_mixtures_are_softer_and_nothing_is_cut_off(tmp_path: Path) -> None:
    data = speech(tmp_path / "data", level=0.2)
    noisy_data(data, tmp_path / "noisy", NoiseChoice(("coloured",), (-15.0,), "unheard", 0), RATE)
    peaks = [np.abs(wave).max() for name, wave in waves(tmp_path / "noisy").items() if CLEAN not in name]
    assert all(0.98 < peak <= 0.991 for peak in peaks)


def test_enhanced_speech(tmp_path: Path) -> None:
    noisy_data(speech(tmp_path / "data"), tmp_path / "noisy", CHOICE, RATE)
    enhanced_data(tmp_path / "noisy", tmp_path / "half", lambda wave: wave / 2, RATE)
    noisy, half = waves(tmp_path / "noisy"), waves(tmp_path / "half")
    for name in noisy:
        np.testing.assert_allclose(half[name], noisy[name] / 2, rtol=0, atol=1e-4)
    assert (tmp_path / "half" / "text").read_text() == (tmp_path / "noisy" / "text").read_text()
    assert read_script(f"{tmp_path}/half/wav.scp")
    for broken in (lambda wave: wave[1:], lambda wave: wave * np.nan):
        with pytest.raises(DataError, match=r"a2-u-babble_-5: expected \(4000,\) enhanced samples that are finite"):
            enhanced_data(tmp_path / "noisy", tmp_path / "broken", broken, RATE)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((("rain",), (0.0,)), "--noises: rain is not one of coloured, babble"),
        (((), (0.0,)), "--noises: expected values that differ"),
        ((("hum", "hum"), (0.0,)), "--noises: expected values that differ"),
        ((("hum",), (0.0, 0.0)), "--snrs: expected values that differ"),
        ((("hum",), (float("nan"),)), "--snrs: expected ratios in dB, found nan"),
    ],
)
def test_noise_that_is_none(values: tuple, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        NoiseChoice(*values, "unheard", 0)


def test_speech_that_cannot_be_mixed(tmp_path: Path) -> None:
    data = speech(tmp_path / "data")
    with pytest.raises(DataError, match="a2-u: expected 8000 Hz and one channel, found 16000 Hz and 1"):
        noisy_data(data, tmp_path / "out", CHOICE, 8000)
    (data / "text").write_text("b1-u one\n")
    with pytest.raises(DataError, match="a2-u has audio, but no text"):
        noisy_data(data, tmp_path / "out", CHOICE, RATE)
    write_waves(data, [("b1-u", np.zeros(400, np.float32))], RATE)
    with pytest.raises(DataError, match="b1-u: the recording is silent, or empty"):
        noisy_data(data, tmp_path / "out", CHOICE, RATE)


def table(tmp_path: Path) -> WordTable:
    """Eight recordings of ten words: in noise two are wrong, and one with enhancement; without noise none, and one."""
    names = [f"u{number}-{kind}" for number in range(8) for kind in ("clean", "hum_0", "hum_5")]
    data = tmp_path / "data"
    data.mkdir()
    rows = [(name, *(("clean", "") if name.endswith("clean") else name[3:].split("_"))) for name in names]
    (data / "conditions.tsv").write_text("name\tnoise\tsnr\n" + "".join("\t".join(row) + "\n" for row in rows))
    (data / "source").write_text("".join(f"{name} {name[:2]}\n" for name in names))
    words = ["one"] * 10
    references = dict.fromkeys(names, words)

    def hypotheses(clean: int, noisy: int) -> dict[str, list[str]]:
        wrong = {name: clean if name.endswith("clean") else noisy for name in names}
        return {name: ["two"] * number + words[number:] for name, number in wrong.items()}

    folders = {
        (NONE, "float"): write_folder(tmp_path / "none", references, {"16_1.0": hypotheses(0, 2)}),
        ("crn", "float"): write_folder(tmp_path / "crn", references, {"16_1.0": hypotheses(1, 1)}),
    }
    return WordTable({system: Path(path) for system, path in folders.items()}, data, FixedPoint(), 500, 0)


def test_words_by_hand(tmp_path: Path) -> None:
    found = table(tmp_path)
    assert [(each.noise, each.ratio, len(each.names)) for each in found.subsets] == [
        ("clean", "-", 8),
        *(("hum", ratio, number) for ratio, number in (("0", 8), ("5", 8), (ALL, 16))),
        *((ALL, ratio, number) for ratio, number in (("0", 8), ("5", 8), (ALL, 16))),
    ]
    rates = found.rates()
    assert rates.rows[0] == ["clean", "-", "8", "0.00", "10.00"] and rates.rows[-1] == [
        ALL,
        ALL,
        "16",
        "20.00",
        "10.00",
    ]
    effects = found.effects([(("crn", "float"), (NONE, "float"))]).rows
    assert effects[0][2] == "+10.00 [+10.00,+10.00]*" and effects[-1][2] == "-10.00 [-10.00,-10.00]*"
    assert found.verdicts() == [
        "crn, acoustic model float: 10.00 % absolute fewer errors (significant) in noisy speech and 10.00 % absolute "
        "more errors (significant) where no noise was added"
    ]
    assert found.lines().series["crn/float"] == [(0.0, 10.0), (5.0, 10.0)]


def test_copies_of_one_recording_show_nothing(tmp_path: Path) -> None:
    found = table(tmp_path)
    found._source.update(dict.fromkeys(found._source, "u0"))
    for name in list(found._source)[:12]:
        found._source[name] = "u1"
    effect = found.effect(found.subsets[-1], ("crn", "float"), (NONE, "float"))
    # Two recordings, both better by the same: so often chance alone gives both one sign.
    assert effect.versus.difference == -10 and not effect.significant


def test_spoken_words(tmp_path: Path) -> None:
    try:
        check_programs()
    except MissingDependencyError:
        pytest.skip("espeak-ng or flite is not installed")
    speak_words(tmp_path, 3, 0, RATE)
    text, found = read_text_map(tmp_path / "text"), waves(tmp_path)
    assert list(text) == list(found) == sorted(found) and len(text) == 3
    assert all(4 <= len(words) <= 7 for words in text.values())
    assert all(len(wave) > 0.8 * RATE and 0.001 < np.abs(wave[:2000]).max() < 0.1 for wave in found.values())
    check_spoken(3, ROOT / "egs/alphadigits/data/lang_chain/words.txt")
    with pytest.raises(UsageError, match="--synthesise: expected a number of utterances above 0, found 0"):
        check_spoken(0, tmp_path / "words.txt")
    (tmp_path / "words.txt").write_text("<eps> 0\none 1\n")
    with pytest.raises(DataError, match="lacks a, b, c, d, e: letters and digits cannot be recognised"):
        check_spoken(3, tmp_path / "words.txt")
