"""I-vectors of the extractor that a model was trained with."""

import hashlib
from pathlib import Path

import pytest

from kaldi_quant.errors import DataError, FormatError, KaldiQuantError, UsageError
from kaldi_quant.kaldi.ivector_folder import (
    IvectorFolder,
    check_ivector_table,
    check_ivectors,
    find_ivectors,
    ivector_id,
)


def _ivectors(root: Path, name: str, identity: str | None, data: str = "test") -> Path:
    folder = root / "exp" / name / f"ivectors_{data}"
    folder.mkdir(parents=True)
    (folder / "ivector_online.scp").write_text("utt ivectors.ark:4\n")
    (folder / "ivector_period").write_text("10\n")
    if identity is not None:
        (folder / "final.ie.id").write_text(f"{identity}\n")
    return folder


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "exp" / "chain" / "tdnn"
    folder.mkdir(parents=True)
    (folder / "final.ie.id").write_text("right\n")
    return folder


def test_the_folder_of_the_models_extractor_is_taken(tmp_path: Path, model_dir: Path) -> None:
    _ivectors(tmp_path, "nnet3", "wrong")
    right = _ivectors(tmp_path, "nnet3_cleaned", "right")
    _ivectors(tmp_path, "nnet3_right", "right", "other_data")
    found = find_ivectors(tmp_path, "test", model_dir)
    assert found == IvectorFolder(right, 10)
    assert found.rspecifier == f"scp:{right}/ivector_online.scp"
    assert [path.name for path in found.files] == ["ivector_online.scp", "ivector_period", "final.ie.id"]


def test_from_the_recipes_root(tmp_path: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _ivectors(tmp_path, "nnet3", "right")
    monkeypatch.chdir(tmp_path)
    found = find_ivectors(Path(), "test", Path("exp/chain/tdnn"))
    assert found.rspecifier == "scp:exp/nnet3/ivectors_test/ivector_online.scp"


def test_none_that_fits(tmp_path: Path, model_dir: Path) -> None:
    _ivectors(tmp_path, "nnet3", "wrong")
    _ivectors(tmp_path, "nnet3_cleaned", "wrong as well")
    with pytest.raises(DataError, match=r"'right'.*nnet3/ivectors_test \('wrong'\), .*nnet3_cleaned.*'wrong as well'"):
        find_ivectors(tmp_path, "test", model_dir)


def test_none_at_all(tmp_path: Path, model_dir: Path) -> None:
    with pytest.raises(UsageError, match=r"no i-vectors of test, .*exp/nnet3\*/ivectors_test/ivector_online.scp"):
        find_ivectors(tmp_path, "test", model_dir)


def test_one_without_an_id_is_taken_with_a_warning(
    tmp_path: Path, model_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _ivectors(tmp_path, "nnet3", "wrong")
    without = _ivectors(tmp_path, "nnet3_cleaned", None)
    assert find_ivectors(tmp_path, "test", model_dir).path == without
    assert "no final.ie.id in" in caplog.text and "is not known" in caplog.text


def test_several_without_an_id_decide_nothing(tmp_path: Path, model_dir: Path) -> None:
    _ivectors(tmp_path, "nnet3", None)
    _ivectors(tmp_path, "nnet3_cleaned", None)
    with pytest.raises(UsageError, match=r"nnet3/ivectors_test \(without an id\), .*nnet3_cleaned"):
        find_ivectors(tmp_path, "test", model_dir)


def test_a_model_without_an_id(tmp_path: Path, model_dir: Path) -> None:
    (model_dir / "final.ie.id").unlink()
    first = _ivectors(tmp_path, "nnet3", "one")
    assert find_ivectors(tmp_path, "test", model_dir).path == first
    _ivectors(tmp_path, "nnet3_copy", "one")
    assert find_ivectors(tmp_path, "test", model_dir).path == first
    _ivectors(tmp_path, "nnet3_other", "two")
    with pytest.raises(UsageError, match="nothing tells which i-vectors of test fit"):
        find_ivectors(tmp_path, "test", model_dir)


def test_ids(tmp_path: Path) -> None:
    """As ``get_ivector_id.sh``: the extractor's MD5 sum where the id was not written."""
    assert ivector_id(tmp_path) is None
    (tmp_path / "final.ie").write_bytes(b"an extractor")
    assert ivector_id(tmp_path) == hashlib.md5(b"an extractor").hexdigest()
    (tmp_path / "final.ie.id").write_text("stated\n")
    assert ivector_id(tmp_path) == "stated"


def test_comparison(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = _ivectors(tmp_path, "nnet3", "one")
    check_ivectors("one", "exp/model", folder)
    assert not caplog.records
    check_ivectors(None, "exp/model", folder)
    assert "no final.ie.id in exp/model" in caplog.text
    with pytest.raises(DataError, match=r"ivectors_test are of the extractor 'one', and exp/model .* 'two'"):
        check_ivectors("two", "exp/model", folder)


@pytest.mark.parametrize("text", ["", "0", "ten", "-10", "10.0", "1" * 9000, "\0"])
def test_a_malformed_period(tmp_path: Path, text: str) -> None:
    folder = _ivectors(tmp_path, "nnet3", "one")
    (folder / "ivector_period").write_text(text)
    with pytest.raises(FormatError, match=r"ivector_period: expected frames such as 10"):
        IvectorFolder.read(folder)


def test_what_is_no_folder_of_ivectors(tmp_path: Path) -> None:
    with pytest.raises(KaldiQuantError, match=r"it has no ivector_online.scp"):
        IvectorFolder.read(tmp_path)


def test_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    _ivectors(tmp_path, "nnet3", "one")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="extractor 'one'"):
        check_ivector_table("two", "exp/model", "scp:exp/nnet3/ivectors_test/ivector_online.scp")
    monkeypatch.chdir(tmp_path / "exp/nnet3/ivectors_test")
    with pytest.raises(DataError, match="extractor 'one'"):
        check_ivector_table("two", "exp/model", "ark,s,cs:ivectors.ark")
    for rspecifier in ("ark:-", "ark:copy-feats ark:a.ark ark:- |", "ark:/elsewhere/ivectors.ark"):
        check_ivector_table("two", "exp/model", rspecifier)
    assert not caplog.records
