"""Layouts of folders for enhancement: what is read of them, what they are told by, and what is wrong with them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import DataError, UsageError

pytest.importorskip("soundfile", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")
pytest.importorskip("soxr", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")

from kaldi_quant.frontends.enhancement.data import MixOptions, Pairs, ReadOptions, read_enhancement
from kaldi_quant.frontends.signals.noise_ranges import Babble
from kaldi_quant.frontends.speech.conditions import CONDITIONS, UNHEARD
from tests.frontends.enhancement.data.toy_speech import ROWS, lines, listed, pairs, tone, write

EMBEDDED = Path(__file__).parents[4] / "egs" / "enhancement" / "data"
SPEAKERS = {"p226": 3, "p227": 2, "p228": 4}


def names(found: Pairs) -> list[str]:
    return [pair.name for pair in found]


def valentini(folder: Path, sizes: tuple[int, ...] = (28,)) -> Path:
    for size in sizes:
        said = [f"{speaker}_{number:03}" for speaker, count in SPEAKERS.items() for number in range(count)]
        pairs(folder / f"clean_trainset_{size}spk_wav", folder / f"noisy_trainset_{size}spk_wav", said)
    pairs(folder / "clean_testset_wav", folder / "noisy_testset_wav", ["p232_001", "p257_002"])
    return folder


def parallel(folder: Path, ending: str = ".wav") -> Path:
    pairs(folder / "clean_train", folder / "noisy_train", [f"t{number}" for number in range(8)], ending)
    pairs(folder / "clean_test", folder / "noisy_test", ["s1", "s2"], ending)
    return folder


def test_the_embedded_set() -> None:
    """No voice and no text of one split is in another; all noises meet all ratios in the test."""
    found = read_enhancement(EMBEDDED)
    assert (found.name, found.rate, len(found.train), len(found.dev), len(found.test)) == ("listed", 16000, 657, 50, 60)
    rows = {split: getattr(found, split).speech.utterances for split in ("train", "dev", "test")}
    for what in ("speaker", "text"):
        each = [{getattr(row, what) for row in of_split} for of_split in rows.values()]
        assert len(set.union(*each)) == sum(map(len, each))
    met = [(row.noise, row.snr) for row in rows["test"]]
    assert len(set(met)) == 20 and all(met.count(condition) == 3 for condition in met)
    assert sum(row.room for row in rows["test"]) == 20
    pair = found.test[-1]
    assert np.isfinite(pair.noisy).all() and 1.9 * 16000 < len(pair.noisy) == len(pair.clean) < 3.6 * 16000
    assert sum(path.stat().st_size for path in EMBEDDED.rglob("*") if path.is_file()) < 8e6


def test_a_table_is_read_and_mixed(tmp_path: Path) -> None:
    found = read_enhancement(listed(tmp_path), options=MixOptions(room_share=0.0, levels=None))
    assert names(found.dev) == ["dev-a0", "dev-a1", "dev-b0", "dev-b1"]
    pair = found.test[1]
    assert (pair.noise, pair.snr, pair.speaker) == ("hum", 5.0, "a") and np.array_equal(pair.noisy, found.test[1].noisy)
    assert np.array_equal(found.test[0].clean, tone(6))
    assert not np.array_equal(found.train.item(0, 0).noisy, found.train.item(0, 1).noisy)
    fewer = read_enhancement(tmp_path, reading=ReadOptions(num_training_samples=3, num_test_samples=0.5))
    assert (len(fewer.train), len(fewer.dev), len(fewer.test)) == (3, 4, 2)
    with pytest.raises(IndexError, match="there are 4 items, and none of number 4"):
        found.test[4]


def test_digests_tell_data_options_and_noises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = listed(tmp_path)
    found = read_enhancement(folder)
    train, test = found.train.digest(), found.test.digest()
    with monkeypatch.context() as context:
        noises = {**CONDITIONS[UNHEARD].noises, "babble": Babble(talkers=((3, 4),))}
        context.setitem(CONDITIONS._entries, UNHEARD, replace(CONDITIONS[UNHEARD], noises=noises))
        assert found.test.digest() != test and found.train.digest() == train
    assert train == read_enhancement(folder).train.digest() != test
    assert train != read_enhancement(folder, options=MixOptions(seed=1)).train.digest()
    write(folder / "train-a.wav", tone(9, 6400))
    after = read_enhancement(folder)
    assert train != after.train.digest() and test == after.test.digest()


def test_valentini(tmp_path: Path) -> None:
    """Whole speakers are for development; noise and ratio come from the log."""
    folder = valentini(tmp_path)
    (folder / "log_testset.txt").write_text("p232_001.wav bus 2.5\np257_002 cafe 17.5\n")
    found = read_enhancement(folder)
    assert found.name == "valentini" and [(pair.noise, pair.snr) for pair in found.test] == [
        ("bus", 2.5),
        ("cafe", 17.5),
    ]
    held_out = {pair.speaker for pair in found.dev}
    taught = {found.train.item(index, 0).speaker for index in range(len(found.train))}
    assert len(held_out) == 1 and taught == SPEAKERS.keys() - held_out
    assert len(found.dev) == SPEAKERS[held_out.pop()] and found.train.item(0, 0).noisy.max() > 0.1
    drawn = [read_enhancement(folder, reading=ReadOptions(random_seed=seed)).dev[0].speaker for seed in range(8)]
    assert len(set(drawn)) > 1


def test_valentini_of_several_sizes(tmp_path: Path) -> None:
    folder = valentini(tmp_path, (28, 56))
    with pytest.raises(DataError, match="has training sets of 28 or 56 speakers: say which by n_speakers"):
        read_enhancement(folder)
    with pytest.raises(DataError, match="expected a training set of 28 or 56 speakers, found n_speakers 30"):
        read_enhancement(folder, reading=ReadOptions(n_speakers=30))
    assert len(read_enhancement(folder, reading=ReadOptions(n_speakers=56, num_training_samples=2)).train) == 2
    (folder / "log_testset.txt").write_text("p232_001 loud\n")
    with pytest.raises(DataError, match=r"log_testset.txt, line 1: expected a name, a noise and a ratio"):
        read_enhancement(folder, reading=ReadOptions(n_speakers=28))


def test_parallel_folders(tmp_path: Path) -> None:
    """Where no speakers are known, pairs are drawn for development."""
    found = read_enhancement(
        parallel(tmp_path, ".flac"), reading=ReadOptions(file_extension="flac", validation_share=0.2)
    )
    taught = {found.train.item(index, 0).name for index in range(len(found.train))}
    assert found.name == "parallel-folders" and names(found.test) == ["s1", "s2"]
    assert len(found.dev) == 2 and taught.isdisjoint(names(found.dev)) and len(taught) == 6
    assert found.test[1].noisy - found.test[1].clean == pytest.approx(0.01, abs=1e-4)


def test_parallel_folders_of_other_names(tmp_path: Path) -> None:
    pairs(tmp_path / "c", tmp_path / "far" / "n", ["x", "y"])
    places = {"clean_test_files_path": "c", "noisy_test_files_path": str(tmp_path / "far" / "n")}
    none = {"clean_train_files_path": "", "noisy_train_files_path": ""}
    found = read_enhancement(tmp_path, reading=ReadOptions(**places, **none))
    assert names(found.test) == ["x", "y"] and len(found.train) == len(found.dev) == 0


def test_other_rates_are_resampled_and_silence_is_a_pair(tmp_path: Path) -> None:
    folder = parallel(tmp_path)
    for kind, gain in (("clean", 0.0), ("noisy", 0.1)):
        write(folder / f"{kind}_test" / "s1.wav", tone(1, 9600, gain), 48000)
    pair = read_enhancement(folder).test[0]
    assert pair.noisy.shape == pair.clean.shape == (3200,) and not pair.clean.any()


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a partner is missing": (
        lambda folder: (folder / "noisy_train" / "t3.wav").unlink(),
        r"clean_train/t3.wav has no partner .*noisy_train/t3.wav \(8 files in .*clean_train and 7 in .*noisy_train\)",
    ),
    "one is too many": (
        lambda folder: write(folder / "noisy_test" / "s0.wav", tone(1)),
        r"noisy_test/s0.wav has no partner .*clean_test/s0.wav",
    ),
    "a folder is empty": (
        lambda folder: [path.unlink() for path in (folder / "clean_test").iterdir()],
        "clean_test has no files that end with .wav",
    ),
    "other lengths": (
        lambda folder: write(folder / "clean_train" / "t2.wav", tone(1, 3000)),
        "noisy_train/t2.wav and .*clean_train/t2.wav differ in length: 3200 and 3000 samples",
    ),
    "other rates": (
        lambda folder: write(folder / "clean_train" / "t2.wav", tone(1), 8000),
        "noisy_train/t2.wav and .*clean_train/t2.wav differ in rate: 16000 and 8000 Hz",
    ),
    "stereo": (
        lambda folder: write(folder / "noisy_test" / "s2.wav", np.zeros((3200, 2), np.float32)),
        "noisy_test/s2.wav has 2 channels, expected 1",
    ),
    "no samples": (
        lambda folder: write(folder / "noisy_test" / "s1.wav", np.zeros(0, np.float32)),
        "noisy_test/s1.wav is empty, it has 0 samples",
    ),
    "an empty file": (
        lambda folder: (folder / "noisy_test" / "s1.wav").write_bytes(b""),
        "noisy_test/s1.wav cannot be read as audio",
    ),
    "not finite": (
        lambda folder: write(folder / "noisy_test" / "s1.wav", np.full(3200, np.nan, np.float32)),
        r"noisy_test/s1.wav has samples that are not finite",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_pairs(tmp_path: Path, what: str) -> None:
    breaks, message = BROKEN[what]
    breaks(parallel(tmp_path))
    with pytest.raises(DataError, match=message):
        list(read_enhancement(tmp_path).test)


def test_a_single_pair_cannot_be_divided(tmp_path: Path) -> None:
    folder = parallel(tmp_path)
    for path in folder.glob("*_train/t[1-9].wav"):
        path.unlink()
    with pytest.raises(DataError, match="clean_train has one pair, expected two or more"):
        read_enhancement(folder)


def test_folders_of_no_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing does not exist, or is no folder"):
        read_enhancement(tmp_path / "missing")
    with pytest.raises(DataError, match=r"has none of the layouts of speech for enhancement \(listed: the table"):
        read_enhancement(tmp_path)
    with pytest.raises(UsageError, match="'other' is not one of auto, listed, valentini, parallel-folders, mbqat"):
        read_enhancement(tmp_path, "other")
    with pytest.raises(DataError, match="clean_train does not exist, or is no folder"):
        read_enhancement(tmp_path, "parallel-folders")
    with pytest.raises(DataError, match="expected a training set of 28 or 56 speakers"):
        read_enhancement(tmp_path, "valentini")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("train-a0\ttrain", "train-a0\tmost", "expected one of the splits train, dev, test, found 'most'"),
        ("train-a.wav\t0", "nobody.wav\t0", "there is no file .*nobody.wav"),
        ("train-a1\t", "train-a0\t", "the name train-a0 stands there twice"),
        ("train-a.wav\t0\t3200", "train-a.wav\t-4\t3200", "expected a number of samples under start, found '-4'"),
        ("train-a.wav\t0\t3200", "train-a.wav\t0\t0", "the utterance train-a0 is empty, it has 0 samples"),
        ("hum\t0", "\t0", "expected a kind of noise, and yes or no under room"),
        ("hum\t0", "hum\tloud", "expected a ratio in dB under snr, found 'loud'"),
        ("hum\t0", "hum\tnan", "expected a ratio in dB under snr, found 'nan'"),
        ("hum\t0", "rain\t0", "the noise 'rain' of dev-a0 is not one of coloured, babble"),
        ("3200\t\t\t\tla la", "3200\thum\t\t\tla la", "must be empty in the split train"),
        ("\ttest\t", "\tdev\t", "has no utterance in the split test"),
    ],
)
def test_broken_tables(tmp_path: Path, before: str, after: str, message: str) -> None:
    text = "\n".join([ROWS, *lines()]) + "\n"
    assert before in text
    listed(tmp_path)
    count = -1 if before == "\ttest\t" else 1
    (tmp_path / "utterances.tsv").write_text(text.replace(before, after, count))
    with pytest.raises(DataError, match=message):
        read_enhancement(tmp_path)


def test_silent_or_short_speech_of_a_table(tmp_path: Path) -> None:
    folder = listed(tmp_path)
    write(folder / "train-a.wav", tone(1, 6400, 0.0))
    with pytest.raises(DataError, match="train-a1: speech or noise is silence"):
        read_enhancement(folder).train.item(1, 0)
    write(folder / "train-a.wav", tone(1, 5000))
    with pytest.raises(DataError, match=r"train-a.wav has 5000 samples, but those from 3200 to 6400 are wanted"):
        read_enhancement(folder).train.item(0, 0)


@pytest.mark.parametrize("number", [0, -1, 0.0, 1.5, True, "all"])
def test_numbers_that_are_none(number: object) -> None:
    with pytest.raises(UsageError, match="number of samples of dev: expected a whole number above 0, a share"):
        ReadOptions(num_validation_samples=number)
