"""Training on the examples of Kaldi's chain2 recipes: scp files, and keys that name a language."""

import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from kaldi_quant.cli import main as cli
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.egs import example_writer, read_examples
from kaldi_quant.kaldi.egs_folder import EgsFolder, EgsInfo
from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.training.archives import check_info
from kaldi_quant.nnet3.training.finetune import _xent_branch

from .small_egs import small_egs

_INFO = "dir_type randomized_chain_egs\nnum_scp_files 1\nlangs default\nfeat_dim 40\n"


@pytest.fixture(scope="module")
def folders(example: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same examples in both layouts."""
    chain, chain2 = tmp_path_factory.mktemp("chain"), tmp_path_factory.mktemp("chain2")
    small_egs(example, chain, 4)
    (chain / "cegs.2.ark").unlink()
    pairs = {"cegs.1.ark": "train.1", "valid_diagnostic.cegs": "heldout_subset"}
    for source, name in pairs.items():
        with example_writer(f"ark,scp:{chain2 / name}.ark,{chain2 / name}.scp") as writer:
            for key, found in read_examples(f"ark:{chain / source}"):
                writer.write(f"{key}?lang=default", found)
    (chain2 / "info.txt").write_text(_INFO)
    (chain2 / "misc").mkdir()
    shutil.copyfile(example / "exp/chain/tdnn1a_sp/den.fst", chain2 / "misc/default.den.fst")
    return chain, chain2


def test_the_same_examples_make_the_same_model(example: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    model = example / "exp/chain/tdnn1a_sp/final.mdl"
    options = ["--num-epochs", "1", "--minibatch-size", "2", "--frame-subsampling-factor", "3"]
    den = ["--den-fst", str(example / "exp/chain/tdnn1a_sp/den.fst")]
    assert cli.run(["train", *options, *den, str(model), str(folders[0]), str(tmp_path / "chain")]) == 0
    # The denominator is that of the examples: none lies beside this model.
    (tmp_path / "m").mkdir()
    shutil.copyfile(model, tmp_path / "m/final.mdl")
    assert cli.run(["train", *options, f"{tmp_path}/m/final.mdl", str(folders[1]), str(tmp_path / "chain2")]) == 0
    made = [(tmp_path / name / "final.mdl").read_bytes() for name in ("chain", "chain2")]
    assert made[0] == made[1] != model.read_bytes()


def test_the_objective_of_an_scp(example: Path, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    model = [str(example / "exp/chain/tdnn1a_sp" / name) for name in ("final.mdl", "den.fst")]
    said = []
    for examples in (f"ark:{folders[0]}/valid_diagnostic.cegs", f"scp:{folders[1]}/heldout_subset.scp"):
        assert cli.run(["chain-prob", *model, examples]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and said[0].startswith("Overall log-probability for 'output' is")


def test_the_branch_of_the_language_is_trained(example: Path, folders: tuple[Path, Path]) -> None:
    nnet = read_model(example / "exp/chain/tdnn1a_sp/final.mdl").nnet
    chain, chain2 = (EgsFolder.find(folder) for folder in folders)
    assert _xent_branch(nnet, chain) == _xent_branch(nnet, chain2) == ["output-xent"]
    # The language's own branch is taken, and not the untrained one that chain2's recipes leave beside it.
    both = Mock(nodes={**nnet.nodes, "output-default-xent": nnet.nodes["output-xent"]})
    assert _xent_branch(both, chain2) == ["output-default-xent"]
    assert _xent_branch(both, chain) == ["output-xent"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, None),
        ({"feat_dim": 40, "num_pdfs": 208, "ivector_dim": 0, "left_context": 16, "right_context": 16}, None),
        ({"feat_dim": 43}, "info.txt: the examples have features of dimension 43, and .*final.mdl has 40"),
        ({"ivector_dim": 100}, "i-vectors of dimension 100, and .*final.mdl has 0"),
        ({"num_pdfs": 88}, "this number of pdfs: 88, and .*final.mdl has 208"),
        ({"subsampling": 1}, "the frame-subsampling factor 1, and .*final.mdl has 3"),
        ({"left_context": 2}, "have 2 frames of left context, and .*final.mdl needs"),
        ({"right_context": 2}, "have 2 frames of right context, and .*final.mdl needs"),
        ({"languages": ("fin", "swe")}, "of the languages fin, swe"),
    ],
)
def test_what_the_folder_says_is_checked(values: dict[str, int], sentence: str | None, model: Model) -> None:
    info, network = replace(EgsInfo(Path("egs/info.txt")), **values), AcousticModel(model.nnet)
    if sentence is None:
        check_info(info, network, 3)
        return
    with pytest.raises(DataError, match=sentence):
        check_info(info, network, 3)
