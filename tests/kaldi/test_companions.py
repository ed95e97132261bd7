"""The files that go where a model goes."""

import json
import logging
from pathlib import Path

import pytest

from kaldi_quant.errors import DataError, FormatError
from kaldi_quant.kaldi.companions import Companions


def _fill(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return _fill(
        tmp_path / "source",
        tree="a tree",
        phones__txt="<eps> 0\nA 1\n",
        cmvn_opts="--norm-means=true",
        online_cmvn="",
        final__ie__id="abc\n",
        den__fst="of training alone",
    )


def _beside(source: Path, factor: int | None = 3) -> Companions:
    return Companions.beside(source / "final.mdl", factor)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".companions.json"}


COPIED = {"tree", "phones.txt", "cmvn_opts", "online_cmvn", "final.ie.id", "frame_subsampling_factor"}


def test_they_are_written_with_the_factor(source: Path, tmp_path: Path) -> None:
    _beside(source).write(tmp_path / "new", "final.mdl")
    assert _names(tmp_path / "new") == COPIED
    assert (tmp_path / "new/frame_subsampling_factor").read_text() == "3\n"
    assert (tmp_path / "new/cmvn_opts").read_text() == "--norm-means=true"


def test_their_own_folder_stays_as_it_is(source: Path) -> None:
    (source / "frame_subsampling_factor").write_text("3")
    before = {path.name: path.stat().st_mtime_ns for path in source.iterdir()}
    _beside(source).write(source, "other.mdl")
    assert {path.name: path.stat().st_mtime_ns for path in source.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "text"),
    [("cmvn_opts", "--norm-means=false"), ("final.ie.id", "other"), ("tree", "another"), ("global_cmvn.stats", "[ ]")],
)
def test_a_file_of_somebody_elses_is_not_overwritten(source: Path, tmp_path: Path, name: str, text: str) -> None:
    folder = _fill(tmp_path / "new")
    (folder / name).write_text(text)
    for act in (_beside(source).check, _beside(source).write):
        with pytest.raises(DataError, match=f"new/{name} is not what .*source has under this name"):
            act(folder, "final.mdl")
    assert _names(folder) == {name} and (folder / name).read_text() == text


def test_a_folder_with_another_factor_is_refused(source: Path, tmp_path: Path) -> None:
    _fill(tmp_path / "new/init", info__txt="frame_subsampling_factor 1\n")
    with pytest.raises(DataError, match=r"new holds models with frame-subsampling factor 1, and that of .*source is 3"):
        _beside(source).check(tmp_path / "new", "final.mdl")


def test_what_this_program_wrote_is_replaced(source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    folder = tmp_path / "new"
    _beside(source).write(folder, "final.mdl")
    (source / "cmvn_opts").write_text("--norm-vars=true")
    (source / "online_cmvn").unlink()
    _beside(source, 1).write(folder, "final.mdl")
    assert (folder / "cmvn_opts").read_text() == "--norm-vars=true"
    assert (folder / "frame_subsampling_factor").read_text() == "1\n"
    assert not (folder / "online_cmvn").exists()
    assert "cmvn_opts is replaced" in caplog.text and "online_cmvn is removed" in caplog.text


def test_but_not_where_another_model_needs_it(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    _beside(source).write(folder, "first.mdl")
    (folder / "first.mdl").touch()
    with pytest.raises(DataError, match=r"frame_subsampling_factor belongs to .*new/first.mdl"):
        _beside(source, 1).write(folder, "second.mdl")
    _beside(source, 1).write(folder, "second.mdl", outdated=["first.mdl"])
    assert (folder / "frame_subsampling_factor").read_text() == "1\n"


def test_nor_what_was_changed_since(source: Path, tmp_path: Path) -> None:
    _beside(source).write(tmp_path / "new", "final.mdl")
    (tmp_path / "new/cmvn_opts").write_text("mine")
    with pytest.raises(DataError, match="cmvn_opts is not what"):
        _beside(source).write(tmp_path / "new", "final.mdl")


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"files": 3, "models": []}', b"\xff", b"[" * 100_000])
def test_a_broken_manifest_makes_nothing_ours(source: Path, tmp_path: Path, content: bytes) -> None:
    folder = _fill(tmp_path / "new", cmvn_opts="mine")
    (folder / ".companions.json").write_bytes(content)
    with pytest.raises(DataError, match="cmvn_opts is not what"):
        _beside(source).write(folder, "final.mdl")


def test_a_record_brings_them_along(source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (source / "global_cmvn.stats").write_bytes(b"\0B\xff\xfe")
    made = _beside(source)
    record = json.loads(json.dumps({"companions": made.as_record()}))
    made.write(tmp_path / "w8", "quantized.safetensors")
    artefact = tmp_path / "w8/quantized.safetensors"
    assert Companions.of_record(record, artefact, 3).files == made.files
    assert Companions.of_record(record, artefact, 3).ivector_id == "abc"
    moved = Companions.of_record(record, tmp_path / "moved.safetensors", 3)
    assert set(made.files) - set(moved.files) == {"tree", "phones.txt"}
    assert not caplog.records
    moved.write(tmp_path / "exported", "dequantized.mdl")
    assert "no longer beside" in caplog.text and "tree and phones.txt of the float model" in caplog.text
    (tmp_path / "w8/tree").write_text("of another model")
    assert "tree" not in Companions.of_record(record, artefact, 3).files


def test_records_of_older_versions_have_none(tmp_path: Path) -> None:
    assert Companions.of_record({}, tmp_path / "quantized.safetensors", 3).files == {}


@pytest.mark.parametrize(
    "companions",
    [
        [],
        {"../tree": "x"},
        {"tree": 3},
        {"cmvn_opts": {}},
        {"cmvn_opts": {"base64": "x"}},
        {"tree": {"sha256": 1}},
    ],
)
def test_a_malformed_record(tmp_path: Path, companions: object) -> None:
    with pytest.raises(FormatError, match=r"quantized.safetensors: .*record"):
        Companions.of_record({"companions": companions}, tmp_path / "quantized.safetensors", 3)


def test_standard_input_has_none() -> None:
    assert Companions.beside("-", None).files == {}
