"""LibriMix's tables and folders, and speechbrain's tables: what is read of them, and what is wrong with them."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import DataError

pytest.importorskip("soundfile", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")
pytest.importorskip("soxr", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")

from kaldi_quant.frontends.separation.data import ReadOptions, SeparationSet, TrainingBatches
from kaldi_quant.frontends.separation.data import open_separation_data as opened
from kaldi_quant.frontends.signals.audio import read_channels
from tests.frontends.separation.data.toy_sets import RATE, SPEECH, libri_split, libri_table, sound, write


def read(folder: Path, layout: str = "auto", **options: object) -> SeparationSet:
    return opened(folder, SPEECH, layout, ReadOptions(**{"seconds": 0.1, **options}))  # type: ignore[arg-type]


def tree(folder: Path, rate: int = RATE, mix: str = "mix_clean", speakers: int = 2) -> Path:
    """A tree with tables in ``metadata``."""
    base = folder / "Libri2Mix" / f"wav{rate // 1000}k" / "min"
    for offset, (split, lengths) in enumerate(
        (("train-360", (1500, 700, 2000)), ("dev", (900, 1800)), ("test", (1000, 600)))
    ):
        longer = [samples * rate // RATE for samples in lengths]
        libri_split(base / split, longer, rate, speakers, 10 * offset, mix)
        libri_table(base / "metadata" / f"mixture_{split}_{mix}.csv", base / split, None, mix, speakers)
        (base / "metadata" / f"metrics_{split}_{mix}.csv").write_text("mixture_ID,s1_SNR\n")
    return folder / "Libri2Mix"


def test_a_tree_is_found_and_read(tmp_path: Path) -> None:
    data = read(tree(tmp_path))
    assert data.name == "librimix" and (data.rate, data.channels, data.sources) == (RATE, 1, ("s1", "s2"))
    # Of training, 700 samples are less than 0.1 s; the test is read as a whole, and all of it.
    assert (len(data.train), len(data.dev), len(data.test)) == (2, 2, 2)
    assert [mixture.samples for mixture in data.test] == [1000, 600]
    assert [mixture.samples for mixture in data.dev] == [800, 800]
    whole = sound(210, 600), sound(211, 600)
    assert data.test[1].name == "21" and np.array_equal(data.test[1].sources, np.stack(whole).transpose(0, 2, 1))
    assert data.test[1].mixture == pytest.approx(data.test[1].sources.sum(axis=0), abs=1e-6)
    assert np.array_equal(data.dev[1].mixture, data.dev[1].mixture)
    crops = [data.train.item(1, number) for number in range(3)]
    assert [crop.name for crop in crops] == ["id2"] * 3 and {crop.samples for crop in crops} == {800}
    assert len({crop.mixture.tobytes() for crop in crops}) == 3
    assert np.array_equal(crops[1].sources, read(tree(tmp_path / "again")).train.item(1, 1).sources)
    whole_source = sound(20, 2000)[:, 0]
    places = np.lib.stride_tricks.sliding_window_view(whole_source, 800)
    assert (places == crops[0].sources[0, 0]).all(axis=1).any()


def test_other_rates_are_resampled_all_alike(tmp_path: Path) -> None:
    folder = tree(tmp_path, 2 * RATE)
    data = read(folder)
    item, test = data.train.item(0, 0), data.test[0]
    assert item.samples == 800 and test.samples == 1000
    assert test.mixture == pytest.approx(test.sources.sum(axis=0), abs=1e-5)
    path = folder / "wav16k/min/test/s1/20.wav"
    assert np.array_equal(test.sources[0], read_channels(path, RATE))
    assert read(folder, rate=2 * RATE).test[0].samples == 2000
    batches = TrainingBatches(data.train, batch_size=2, seconds=0.1, rate=data.rate)
    assert next(iter(batches.minibatches(0)))[1].shape == (2, 2, 1, 800)


@pytest.mark.parametrize(
    ("task", "mix", "sources"),
    [("sep_noisy", "mix_both", 2), ("enh_single", "mix_single", 1), ("enh_both", "mix_both", 1)],
)
def test_tasks(tmp_path: Path, task: str, mix: str, sources: int) -> None:
    data = read(tree(tmp_path, mix=mix, speakers=1 if mix == "mix_single" else 2), task=task)
    for mixture in (data.train.item(0, 0), data.dev[0], data.test[0]):
        assert len(mixture.sources) == sources == len(data.sources) and np.abs(mixture.rest).max() > 0.05
    if task == "enh_both":
        assert data.test[1].sources[0, 0] == pytest.approx((sound(210, 600) + sound(211, 600))[:, 0], abs=1e-6)


def test_folders_may_be_told_and_three_may_speak(tmp_path: Path) -> None:
    libri_split(tmp_path / "t", (1000, 1000), speakers=3)
    libri_table(tmp_path / "csv" / "a_clean.csv", tmp_path / "t", tmp_path, speakers=3)
    data = read(tmp_path, "librimix", speakers=3, train_dir="csv", test_dir=str(tmp_path / "t"), train=1)
    assert (len(data.train), len(data.dev), len(data.test)) == (1, 0, 2)
    assert data.train.item(0, 0).sources.shape == (3, 1, 800)
    alone = read(tmp_path / "t", speakers=2)
    assert (len(alone.train), len(alone.test)) == (0, 2) and len(alone.test[0].sources) == 2


def test_relative_paths_begin_at_the_table_or_above(tmp_path: Path) -> None:
    libri_split(tmp_path / "a" / "train", (1000, 1000))
    for base in (tmp_path, tmp_path / "a", tmp_path / "a" / "train"):
        libri_table(tmp_path / "a" / "train" / "mixture_train_mix_clean.csv", tmp_path / "a" / "train", base)
        assert len(read(tmp_path, train_dir="a/train").train) == 2


def test_spare_is_read_where_it_is_there(tmp_path: Path) -> None:
    data = read(tree(tmp_path), spare=0.2)
    assert [data.train.item(index, 0).samples for index in range(2)] == [1500, 2000]


def test_digests_tell_audio_and_options(tmp_path: Path) -> None:
    folder = tree(tmp_path)
    before = read(folder)
    digests = [before.train.digest(), before.test.digest(), read(folder, seed=1).train.digest()]
    assert before.train.digest() == read(folder).train.digest()
    write(folder / "wav8k/min/train-360/s1/0.wav", sound(77, 1500))
    digests.append(read(folder).train.digest())
    assert len(set(digests)) == 4 and before.test.digest() == read(folder).test.digest()


def test_speechbrains_tables_are_written_and_read(tmp_path: Path) -> None:
    folder = tree(tmp_path, 2 * RATE)
    data = read(folder, "speechbrain", save_folder="save")
    with (folder / "save" / "libri2mix_train-360.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0])[:5] == ["ID", "duration", "mix_wav", "mix_wav_format", "mix_wav_opts"]
    assert list(rows[0])[-3:] == ["noise_wav", "noise_wav_format", "noise_wav_opts"]
    assert (rows[0]["ID"], float(rows[0]["duration"]), rows[0]["s1_wav_format"]) == ("0", 0.1875, "wav")
    assert rows[2]["s2_wav"] == str(folder.resolve() / "wav16k/min/train-360/s2/2.wav")
    # Nothing is too short, as in speechbrain's recipe.
    assert (len(data.train), len(data.dev), len(data.test)) == (3, 2, 2) and data.name == "speechbrain"
    assert [data.train.item(index, 0).samples for index in range(3)] == [800, 700, 800]
    before = (folder / "save" / "libri2mix_dev.csv").stat().st_mtime_ns
    again = read(folder, "speechbrain", save_folder="save")
    assert (folder / "save" / "libri2mix_dev.csv").stat().st_mtime_ns == before
    assert np.array_equal(again.dev[1].sources, data.dev[1].sources)
    with pytest.raises(DataError, match=r"libri2mix_train-360.csv, line 2: sep_noisy needs mixtures of mix_both"):
        read(folder, "speechbrain", save_folder="save", task="sep_noisy")
    with pytest.raises(DataError, match=r"min/train-360/mix_both does not exist, or is no folder"):
        read(folder, "speechbrain", task="sep_noisy")
    with pytest.raises(DataError, match=r"none has no folder wav16k/min/train-360, and .*libri2mix_train-360.csv does"):
        (tmp_path / "none").mkdir()
        read(tmp_path / "none", "speechbrain")


def csv_file(folder: Path) -> Path:
    return folder / "wav8k/min/metadata/mixture_train-360_mix_clean.csv"


def replaced(old: str, new: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        text = csv_file(folder).read_text()
        assert old in text
        csv_file(folder).write_text(text.replace(old, new))

    return change


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "columns": (
        replaced("source_2_path", "source_two"),
        r"mixture_train-360_mix_clean.csv lacks the columns source_2_path: expected mixture_path, source_1_path",
    ),
    "length": (replaced("length", "samples"), "lacks the columns length"),
    "no number": (replaced(",700", ",long"), "line 3: expected a number of samples under length, found 'long'"),
    "values": (replaced(",700", ",700,1"), "line 3: expected 5 values, found 6"),
    "path": (replaced("s1/1.wav", "s1/9.wav"), r"line 3: there is no file .*s1/9.wav"),
    "no path": (replaced("id1,", "id1,,"), "line 3: expected 5 values, found 6"),
    "rows": (
        lambda folder: csv_file(folder).write_text("mixture_path,source_1_path,source_2_path,length\n"),
        "has no rows under its columns",
    ),
    "nothing": (lambda folder: csv_file(folder).write_text(""), r"the table .* is empty"),
    "binary": (lambda folder: csv_file(folder).write_bytes(b"\xff\xfe\0"), "it is no text with commas"),
    "listed length": (replaced(",2000", ",2001"), "2.wav has 2000 samples, but 2001 are listed"),
    "lengths": (
        lambda folder: write(folder / "wav8k/min/train-360/s2/2.wav", sound(1, 1900)),
        "mix_clean/2.wav and .*s2/2.wav differ in length: 2000 and 1900 samples",
    ),
    "rate": (
        lambda folder: write(folder / "wav8k/min/train-360/s2/2.wav", sound(1, 2000), 16000),
        "mix_clean/2.wav and .*s2/2.wav differ in rate: 8000 and 16000 Hz",
    ),
    "channels": (
        lambda folder: write(folder / "wav8k/min/train-360/s2/2.wav", sound(1, 2000, 2)),
        "s2/2.wav has 2 channels, expected 1",
    ),
    "empty": (
        lambda folder: write(folder / "wav8k/min/test/mix_clean/21.wav", np.zeros(0)),
        "mix_clean/21.wav is empty, it has 0 samples",
    ),
    "NaN": (
        lambda folder: write(folder / "wav8k/min/test/s1/21.wav", np.full(600, np.nan)),
        "s1/21.wav has samples that are not finite",
    ),
    "no audio": (
        lambda folder: (folder / "wav8k/min/test/s1/21.wav").write_bytes(b"none"),
        "s1/21.wav cannot be read as audio",
    ),
    "no partner": (
        lambda folder: (folder / "wav8k/min/test/s2/21.wav").rename(folder / "wav8k/min/test/s2/22.wav"),
        r"mix_clean/21.wav has no partner .*s2/21.wav \(2 files in .*mix_clean, 2 in .*s1 and 2 in .*s2\)",
    ),
    "several tables": (
        lambda folder: (csv_file(folder).parent / "train-360_clean.csv").write_text("length\n"),
        "metadata has several tables for sep_clean: mixture_train-360_mix_clean.csv, train-360_clean.csv; expected one",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_told(tmp_path: Path, what: str) -> None:
    folder = tree(tmp_path)
    breaks, message = BROKEN[what]
    breaks(folder)
    with pytest.raises(DataError, match=message):
        data = read(folder)
        assert [data.train.item(index, 0) for index in range(2)] and list(data.test)


def test_nothing_is_long_enough(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train-360: none of its 3 mixtures is 0.5 s long or longer"):
        read(tree(tmp_path), seconds=0.5)


def test_splits_that_are_not_there(tmp_path: Path) -> None:
    folder = tree(tmp_path)
    with pytest.raises(DataError, match=r"gone does not exist, or is no folder: expected LibriMix's train"):
        read(folder, "librimix", train_dir="gone")
    with pytest.raises(DataError, match=r"has no table whose name has 'both' in it, and no folder mix_both"):
        read(folder, "librimix", train_dir="wav8k/min/dev", task="sep_noisy")
    with pytest.raises(DataError, match=r"Libri2Mix has no split of LibriMix for enh_single: expected tables"):
        read(folder, "librimix", task="enh_single")
