"""Where the frame-subsampling factor of a model is found, and what happens where it is not."""

import logging
import shutil
from pathlib import Path

import pytest

from kaldi_quant.errors import DataError, FormatError, KaldiQuantError, UsageError
from kaldi_quant.kaldi.frame_subsampling import factor_of, find_factor
from kaldi_quant.kaldi.model import read_model
from tests.references import NNET3

CHAIN, WITH_PRIORS = NNET3 / "lstm_mdl" / "final.mdl", NNET3 / "priors_mdl" / "final.mdl"
RAW = NNET3 / "tdnn_component" / "final.raw"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A chain model's folder, which does not state the factor; it is named as in Vosk's layout."""
    path = tmp_path / "exp" / "am"
    path.mkdir(parents=True)
    shutil.copy(CHAIN, path / "final.mdl")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("frame_subsampling_factor", "4\n"),
        ("frame_subsampling_factor", "4"),
        ("init/info.txt", "frame_subsampling_factor 4\nlangs default\nmodel_left_context 28\n"),
        ("info.txt", "langs default\nframe_subsampling_factor\t4\n"),
        ("egs/info/frame_subsampling_factor", "4\n"),
        ("egs/info.txt", "dir_type randomized_chain_egs\nframe_subsampling_factor 4\n"),
        ("conf/model.conf", "--beam=13.0\n--frame-subsampling-factor=4\n--endpoint.silence-phones=1:2:3\n"),
        ("../conf/model.conf", "# of Vosk\n  --frame_subsampling_factor = 4 # as it was trained\r\n"),
        ("../conf/model.conf", "--frame-subsampling-factor=3\n--frame-subsampling-factor=4\n"),
        ("model.conf", "--frame-subsampling-factor=4"),
    ],
)
def test_every_place(folder: Path, name: str, text: str) -> None:
    _write(folder / name, text)
    assert factor_of(read_model(folder / "final.mdl")) == 4


def test_from_within_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(folder / "../conf/model.conf", "--frame-subsampling-factor=4\n")
    monkeypatch.chdir(folder)
    assert factor_of(read_model("final.mdl")) == 4


def test_vosks_first_layout_has_3_built_in(folder: Path) -> None:
    for name in ("mfcc.conf", "HCLr.fst"):
        (folder / name).touch()
    assert factor_of(read_model(folder / "final.mdl")) == 3
    _write(folder / "frame_subsampling_factor", "1")
    assert factor_of(read_model(folder / "final.mdl")) == 1


def test_two_places_that_agree(folder: Path) -> None:
    _write(folder / "frame_subsampling_factor", "3\n")
    _write(folder / "init/info.txt", "frame_subsampling_factor 3\n")
    assert find_factor(folder) == 3


def test_two_places_that_do_not_agree(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    _write(folder / "frame_subsampling_factor", "3\n")
    _write(folder / "../conf/model.conf", "--frame-subsampling-factor=1\n")
    model = read_model(folder / "final.mdl")
    with pytest.raises(DataError, match=r"am/frame_subsampling_factor says .* is 3, and .*conf/model.conf says 1"):
        factor_of(model)
    assert factor_of(model, 1) == 1
    assert "is used, though" in caplog.text and "frame_subsampling_factor says 3" in caplog.text


def test_a_chain_model_without_a_factor_is_refused(folder: Path) -> None:
    model = read_model(folder / "final.mdl")
    with pytest.raises(DataError, match=r"final.mdl: a chain model .* give --frame-subsampling-factor, which is 3"):
        factor_of(model)
    assert factor_of(model, 3) == 3


def test_others_have_1_as_in_kaldi(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for source in (WITH_PRIORS, RAW):
        shutil.copy(source, tmp_path / source.name)
        assert factor_of(read_model(tmp_path / source.name)) == 1
    assert "final.raw: no file states a frame-subsampling factor: it is 1, as in nnet3-compute" in caplog.text
    (tmp_path / "frame_subsampling_factor").write_text("3\n")
    assert [factor_of(read_model(tmp_path / source.name)) for source in (WITH_PRIORS, RAW)] == [3, 3]


@pytest.mark.parametrize("text", ["", "0", "-3", "3.0", "three", "3 3", "٣", "1000", "9" * 5000, "\0\xff", "²"])
@pytest.mark.parametrize("name", ["frame_subsampling_factor", "init/info.txt", "../conf/model.conf"])
def test_what_is_no_factor_is_refused(folder: Path, name: str, text: str) -> None:
    before = {"init/info.txt": "frame_subsampling_factor ", "../conf/model.conf": "--frame-subsampling-factor="}
    _write(folder / name, before.get(name, "") + text)
    with pytest.raises(FormatError, match="expected a frame-subsampling factor such as 3") as caught:
        find_factor(folder)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("given", [0, -1, 1000])
def test_an_option_that_is_no_factor(folder: Path, given: int) -> None:
    with pytest.raises(UsageError, match="must be from 1 to 999"):
        factor_of(read_model(folder / "final.mdl"), given)


def test_mutated_files_give_a_factor_or_one_sentence(folder: Path) -> None:
    whole = {
        "frame_subsampling_factor": b"3\n",
        "init/info.txt": b"frame_subsampling_factor 3\nlangs default\nmodel_left_context 28\n",
        "conf/model.conf": b"--beam=13\n--frame-subsampling-factor=3 # as trained\n",
    }
    outcomes = set()
    for name, content in whole.items():
        (folder / name).parent.mkdir(exist_ok=True)
        for position in range(len(content)):
            for byte in (0, 10, 32, 35, 48, 61, 0xC2, 0xFF):
                (folder / name).write_bytes(content[:position] + bytes([byte]) + content[position + 1 :])
                try:
                    outcomes.add(find_factor(folder))
                except KaldiQuantError as error:
                    outcomes.add(type(error).__name__)
        (folder / name).unlink()
    assert {3, None, "FormatError"} <= outcomes


def test_the_folder_around_one_that_is_named_by_dots(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(folder / "../conf/model.conf", "--frame-subsampling-factor=3\n")
    (folder / "below").mkdir()
    _write(folder / "below/conf/model.conf", "--frame-subsampling-factor=4\n")
    monkeypatch.chdir(folder / "below")
    assert find_factor(Path("..")) == 3
    monkeypatch.chdir(folder)
    assert find_factor(Path()) == find_factor(Path("below/..")) == 3
