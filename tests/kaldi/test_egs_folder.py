"""Which examples of a folder are trained on, and that all of them are there."""

import logging
from pathlib import Path

import pytest

from kaldi_quant.errors import FormatError, KaldiQuantError, UsageError
from kaldi_quant.kaldi.egs_folder import EgsFolder, EgsInfo, examples_in


def folder(path: Path, *names: str, archives: str | None = None) -> Path:
    """A folder with files that hold something, and with ``info/num_archives`` where it is given."""
    for name in names:
        (path / name).write_text("x")
    if archives is not None:
        (path / "info").mkdir()
        (path / "info/num_archives").write_text(archives)
    return path


def test_archives_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    numbers = [f"cegs.{number}.ark" for number in range(1, 12)]
    egs = EgsFolder.find(folder(tmp_path, *reversed(numbers), "valid_diagnostic.cegs", "combine.cegs", archives="11\n"))
    assert [path.name for path in egs.archives] == numbers
    assert (egs.validation, egs.combination) == (tmp_path / "valid_diagnostic.cegs", tmp_path / "combine.cegs")
    assert examples_in(egs.archives[0]) == f"ark:{tmp_path}/cegs.1.ark"


@pytest.mark.parametrize(
    ("names", "archives", "sentence"),
    [
        (["cegs.1.ark"], "4", "has 1 of its archives, and info announces 4 .*cegs.2.ark, cegs.3.ark, cegs.4.ark miss"),
        (["cegs.2.ark"], "2", "has 1 of its archives, and info announces 2 .*: cegs.1.ark missing"),
        (["cegs.1.ark", "cegs.3.ark"], None, "has 2 of its archives, and there is one with number 3.*: cegs.2.ark mis"),
        (["cegs.1.ark"], "9", "cegs.2.ark, cegs.3.ark, cegs.4.ark and 5 more missing"),
        ([], "4", "has no examples"),
        (["cegs.1.ark"], "four", "info/num_archives: expected a number, found 'four'"),
        (["cegs.1.ark"], "9" * 5000, "expected a number, found '9999"),
        (["cegs.1.ark"], "0", "has no examples"),
    ],
)
def test_archives_that_are_missing(names: list[str], archives: str | None, sentence: str, tmp_path: Path) -> None:
    with pytest.raises((UsageError, FormatError), match=sentence):
        EgsFolder.find(folder(tmp_path, *names, archives=archives))


@pytest.mark.parametrize("name", ["cegs.2.ark", "valid_diagnostic.cegs", "combine.cegs"])
def test_files_that_are_empty(name: str, tmp_path: Path) -> None:
    folder(tmp_path, "cegs.1.ark", "cegs.2.ark", "valid_diagnostic.cegs", "combine.cegs", archives="2")
    (tmp_path / name).write_text("")
    with pytest.raises(UsageError, match=f"{name} is empty: what made it was interrupted"):
        EgsFolder.find(tmp_path)


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "cegs.1.ark").symlink_to(tmp_path / "storage/cegs.1.ark")
    with pytest.raises(UsageError, match=r"cegs.1.ark is a link that leads nowhere"):
        EgsFolder.find(tmp_path)


def test_what_is_beyond_the_last_archive_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    egs = EgsFolder.find(folder(tmp_path, "cegs.1.ark", "cegs.2.ark", "cegs.3.ark", archives="2"))
    assert [path.name for path in egs.archives] == ["cegs.1.ark", "cegs.2.ark"]
    assert "cegs.3.ark are more than num_archives announces, and left out" in caplog.text


def test_diagnostics_alone_are_trained_on_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        egs = EgsFolder.find(folder(tmp_path, "train_diagnostic.cegs", archives="5"))
    assert [path.name for path in egs.archives] == ["train_diagnostic.cegs"]
    assert "train_diagnostic.cegs are trained on instead" in caplog.text


_GLOBAL = "dir_type randomized_chain_egs\nnum_scp_files 2\nlangs default\nframes_per_scp_file 3000000\nfeat_dim 40\n"
_OF_LANGUAGE = "dir_type randomized_chain_egs\nnum_leaves 208\nleft_context 16\nright_context 17\nivector_dim 100\n"


def test_examples_of_chain2(tmp_path: Path) -> None:
    folder(tmp_path, "train.2.scp", "train.1.scp", "train.1.ark", "heldout_subset.scp", "train_subset.scp")
    (tmp_path / "info.txt").write_text(_GLOBAL)
    (tmp_path / "info_default.txt").write_text(_OF_LANGUAGE)
    egs = EgsFolder.find(tmp_path)
    assert [path.name for path in egs.archives] == ["train.1.scp", "train.2.scp"]
    assert (egs.validation, egs.combination) == (tmp_path / "heldout_subset.scp", tmp_path / "train_subset.scp")
    assert examples_in(egs.archives[0]) == f"scp:{tmp_path}/train.1.scp"
    assert egs.info == EgsInfo(tmp_path / "info.txt", 2, 40, 100, 208, 16, 17, None, ("default",))
    (tmp_path / "train.2.scp").unlink()
    with pytest.raises(
        UsageError, match=r"has 1 of its archives, and info.txt announces 2 .num_scp_files.: train.2.sc"
    ):
        EgsFolder.find(tmp_path)
    (tmp_path / "train.1.scp").unlink()
    with pytest.raises(UsageError, match=r"has no examples, train.1.scp and so on, as steps/chain2/randomize_egs.sh"):
        EgsFolder.find(tmp_path)


def test_processed_examples_of_chain2(tmp_path: Path) -> None:
    folder(tmp_path, "train.scp", "train.1.scp", "train.1.ark", "heldout_subset.scp", "train_subset.scp")
    text = "dir_type processed_chain_egs\nlang fin\nfeat_dim 40\nnum_leaves 208\nframe_subsampling_factor 3\n"
    (tmp_path / "info.txt").write_text(text)
    egs = EgsFolder.find(tmp_path)
    assert [path.name for path in egs.archives] == ["train.1.scp"]
    assert (egs.info.languages, egs.info.num_pdfs, egs.info.subsampling) == (("fin",), 208, 3)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("dir_type raw_chain_egs\n", "the dir_type is raw_chain_egs, and examples that can be trained on are randomiz"),
        ("", "the dir_type is none"),
        ("dir_type randomized_chain_egs\nnum_scp_files two\n", "expected a number as num_scp_files, found 'two'"),
    ],
)
def test_chain2_folders_that_cannot_be_used(text: str, sentence: str, tmp_path: Path) -> None:
    (folder(tmp_path, "train.1.scp") / "info.txt").write_text(text)
    with pytest.raises(KaldiQuantError, match=sentence):
        EgsFolder.find(tmp_path)
