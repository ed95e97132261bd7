"""Folders of keywords in each layout, and one sentence for each thing that can be wrong with them."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from kaldi_quant.errors import DataError, UsageError

pytest.importorskip("soundfile", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")
pytest.importorskip("soxr", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")

from kaldi_quant.frontends.keywords.data import KeywordSet, read_keywords

ROOT = Path(__file__).resolve().parents[4]


def touch(folder: Path, names: Iterable[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def commands(folder: Path, validation: str, testing: str) -> Path:
    """Two words by three speakers."""
    touch(folder, [f"{word}/{who}_nohash_0.wav" for word in ("yes", "no") for who in ("aa", "bb", "cc")])
    touch(folder, ["_background_noise_/pink.wav", "LICENSE"])
    (folder / "validation_list.txt").write_text(validation)
    (folder / "testing_list.txt").write_text(testing)
    return folder


VALIDATION = "yes/bb_nohash_0.wav\nno/bb_nohash_0.wav\n"
TESTING = "no/cc_nohash_0.wav\r\nyes/cc_nohash_0.wav\r\n"


def names(found: KeywordSet) -> dict[str, list[tuple[str, int, str]]]:
    return {split: [(one.name, one.label, one.speaker) for one in ones] for split, ones in found.splits.items()}


def test_speech_commands(tmp_path: Path) -> None:
    found = read_keywords(commands(tmp_path, VALIDATION, TESTING))
    assert (found.name, found.classes, found.unseen_speakers) == ("speech-commands", ("no", "yes"), True)
    assert names(found) == {
        "train": [("no/aa_nohash_0", 0, "aa"), ("yes/aa_nohash_0", 1, "aa")],
        "dev": [("yes/bb_nohash_0", 1, "bb"), ("no/bb_nohash_0", 0, "bb")],
        "test": [("no/cc_nohash_0", 0, "cc"), ("yes/cc_nohash_0", 1, "cc")],
    }


@pytest.mark.parametrize(
    ("validation", "testing", "message"),
    [
        (VALIDATION, "no/zz_nohash_0.wav\n", "testing_list.txt, line 1: there is no file .*no/zz_nohash_0.wav"),
        (VALIDATION, "no/../no/cc_nohash_0.wav\n", "line 1: there is no file"),
        (VALIDATION, TESTING + "no/cc_nohash_0.wav\n", "line 3: no/cc_nohash_0.wav stands here again"),
        (VALIDATION, VALIDATION, "no/bb_nohash_0.wav stands in validation_list.txt and in testing_list.txt"),
        (VALIDATION, "no/cc_nohash_0.wav\n", "the split test has no recording of yes"),
        ("\n", TESTING, "the list .*validation_list.txt is empty"),
    ],
)
def test_broken_lists(validation: str, testing: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_keywords(commands(tmp_path, validation, testing))
    assert "\n" not in str(caught.value)


def test_lists_that_cannot_be_read(tmp_path: Path) -> None:
    folder = commands(tmp_path, VALIDATION, TESTING)
    (folder / "testing_list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"cannot read the list .*testing_list.txt: it is no text in UTF-8"):
        read_keywords(folder)
    (folder / "testing_list.txt").unlink()
    with pytest.raises(DataError, match=r"cannot read the list .*testing_list.txt: No such file"):
        read_keywords(folder)


@pytest.mark.parametrize("where", ["recordings", "."])
def test_spoken_digits(where: str, tmp_path: Path) -> None:
    touch(tmp_path / where, [f"{digit}_{who}_{i}.wav" for digit in "73" for who in ("al", "bo") for i in range(12)])
    found = read_keywords(tmp_path)
    assert (found.name, found.classes, found.unseen_speakers) == ("spoken-digits", ("3", "7"), False)
    assert {split: len(ones) for split, ones in found.splits.items()} == {"train": 8, "dev": 20, "test": 20}
    assert names(found)["train"][-1] == ("7_bo_11", 1, "bo") and names(found)["test"][0] == ("3_al_0", 0, "al")


def test_a_digit_that_a_split_lacks(tmp_path: Path) -> None:
    touch(tmp_path, [f"{digit}_al_{i}.wav" for digit, most in (("1", 12), ("2", 5)) for i in range(most)])
    with pytest.raises(DataError, match=r"the split train has no recording of 2$"):
        read_keywords(tmp_path)


HEADER = "name\tclass\tspeaker\tsplit\tfile\tstart\tsamples\n"
ROWS = "".join(
    f"{split}\tyes\t{split}er\t{split}\ta.wav\t{5 * i}\t5\n" for i, split in enumerate(["train", "dev", "test"])
)


def test_a_table(tmp_path: Path) -> None:
    touch(tmp_path, ["a.wav"])
    (tmp_path / "recordings.tsv").write_text(HEADER + ROWS)
    found = read_keywords(tmp_path, "listed")
    assert (found.classes, found.dev[0].start, found.dev[0].samples) == (("yes",), 5, 5)
    assert found.test[0].path == tmp_path / "a.wav" and found.unseen_speakers


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name\tclass\n", "line 1: expected the columns name, class, speaker, .*, found name, class"),
        (HEADER + "x\tyes\n", "line 2: expected 7 values with tabs between them, found 2"),
        (HEADER + ROWS.replace("a.wav", "b.wav"), "line 2: there is no file .*b.wav"),
        (HEADER + ROWS.replace("\tdev\t", "\tvalid\t"), "line 3: expected one of the splits .*, found 'valid'"),
        (HEADER + ROWS.replace("\t5\n", "\t-5\n"), "line 2: expected a number of samples under samples, found '-5'"),
        (HEADER + ROWS + ROWS, "2 recordings have the name train"),
        (HEADER, "has no recordings of keywords"),
    ],
)
def test_broken_tables(table: str, message: str, tmp_path: Path) -> None:
    touch(tmp_path, ["a.wav"])
    (tmp_path / "recordings.tsv").write_text(table)
    with pytest.raises(DataError, match=message):
        read_keywords(tmp_path)


def test_unknown_layouts_and_folders(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'wavs' is not one of auto, speech-commands, spoken-digits, listed"):
        read_keywords(tmp_path, "wavs")
    with pytest.raises(DataError, match="has none of the layouts of keywords"):
        read_keywords(tmp_path)
    with pytest.raises(DataError, match="does not exist, or is no folder"):
        read_keywords(tmp_path / "nothing")
    with pytest.raises(DataError, match="has no files named as"):
        read_keywords(tmp_path, "spoken-digits")


def test_the_embedded_set() -> None:
    found = read_keywords(ROOT / "egs/keywords/data")
    assert found.unseen_speakers and len(found.classes) == 10
    assert {split: len(ones) for split, ones in found.splits.items()} == {"train": 2190, "dev": 300, "test": 800}
    size = sum(path.stat().st_size for path in (ROOT / "egs/keywords/data").rglob("*") if path.is_file())
    assert size < 6e6


def test_real_digits(shared: Path) -> None:
    if not (shared / "fsdd").is_dir():
        pytest.skip(f"{shared / 'fsdd'} is not on this machine")
    found = read_keywords(shared / "fsdd")
    assert {split: len(ones) for split, ones in found.splits.items()} == {"train": 2000, "dev": 250, "test": 250}
