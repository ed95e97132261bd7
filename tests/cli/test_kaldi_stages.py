"""Stages 0 to 4 of the training recipes; stand-ins for Kaldi's own scripts write down how they were called."""

import gzip
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.cli import main as cli
from kaldi_quant.cli.recipes.quantized_training import run_tdnn_qat
from kaldi_quant.cli.recipes.training import run_tdnn
from kaldi_quant.kaldi.egs_folder import EgsFolder
from kaldi_quant.kaldi.fst_file import read_fst
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.transition_model import read_transition_model
from kaldi_quant.kaldi.tree import read_context_dependency

# Each takes its products from the folder "made"; "fail" holds the name of one that fails half way.
_SCRIPT = """#!/bin/bash
name=$(basename "$0"); out="${@: -1}"
echo "$name $*" >>calls
half() { [ ! -s fail ] || [ "$(cat fail)" != $name ] || { echo "$name: no more disk" >&2; exit 3; }; }
case $name in
  gen_topo.py) half; echo "<Topology>" ;;
  align_fmllr_lats.sh)
    mkdir -p "$out"; echo 2 >"$out/num_jobs"; : | gzip >"$out/lat.1.gz"; half
    for job in 1 2; do echo lattice | gzip >"$out/lat.$job.gz"; done ;;
  build_tree.sh)
    mkdir -p "$out"; echo half >"$out/tree"; half; cp made/tree "$out/tree"
    echo 1 >"$out/num_jobs"; echo alignment | gzip >"$out/ali.1.gz"; touch "$out/final.mdl" ;;
  chain-est-phone-lm) cat >/dev/null; echo lm >"$out" ;;
  chain-make-den-fst) echo half >"$4"; half; cp made/den.fst "$4"; cp made/normalization.fst "$5" ;;
  get_egs.sh)
    mkdir -p "$out/info"; echo 2 >"$out/info/num_archives"; touch "$out/cegs.1.ark"; half
    for name in cegs.1.ark cegs.2.ark valid_diagnostic.cegs train_diagnostic.cegs combine.cegs; do
      echo examples >"$out/$name"
    done ;;
  *) cat >/dev/null ;;
esac
"""
_ANOTHER_TREE = "ContextDependency 1 0 ToPdf CE 87 EndContextDependency\n"
_MODEL, _OUT, _TREE = Path("exp/chain/m"), Path("exp/chain/m_tuned"), Path("exp/chain/tree_sp")
_LATTICES = Path("exp/chain/tri3_train_lats")


@pytest.fixture
def recipe(example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a recipe that has a trained model and nothing else of what training needs."""
    root, source = tmp_path / "s5", example / "exp/chain/tdnn1a_sp"
    made = root / "made"
    made.mkdir(parents=True)
    for name in ("tree", "den.fst", "normalization.fst"):
        shutil.copyfile(source / name, made / name)
    (root / _MODEL).mkdir(parents=True)
    for name in ("final.mdl", "frame_subsampling_factor", "cmvn_opts"):
        shutil.copyfile(source / name, root / _MODEL / name)
    for name in ("train", "train_hires", "lang/phones"):
        (root / "data" / name).mkdir(parents=True)
    for name in ("train", "train_hires"):
        (root / "data" / name / "feats.scp").write_text("u feats.ark:2\n")
        (root / "data" / name / "utt2spk").write_text("".join(f"u{number} s\n" for number in range(250)))
    (root / "data/lang/phones/silence.csl").write_text("1:2\n")
    (root / "data/lang/phones/nonsilence.csl").write_text("3:4:5\n")
    (root / "data/lang/phones.txt").write_text("SIL 1\n")
    scripts = ["steps/nnet3/chain/gen_topo.py", "steps/nnet3/chain/build_tree.sh", "steps/nnet3/chain/get_egs.sh"]
    programs = [f"bin/{name}" for name in ("ali-to-phones", "chain-est-phone-lm", "chain-make-den-fst")]
    for name in (*scripts, "steps/align_fmllr_lats.sh", *programs):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(_SCRIPT)
        (root / name).chmod(0o755)
    monkeypatch.setenv("KALDI_ROOT", "/kaldi")
    monkeypatch.setenv("PATH", f"{root}/bin:{os.environ['PATH']}")
    monkeypatch.chdir(root)
    return root


def run(*options: object, expected: int = 0, stages: tuple[int, int] = (0, 4)) -> None:
    """Runs some stages, in this process."""
    given = ["--stage", stages[0], "--stop-stage", stages[1], "--kaldi-model-dir", _MODEL, "--gmm-dir", "exp/tri3"]
    words = [*given, "--train-data-dir", "data/train_hires", "--nj", 2, *options, "."]
    assert cli.run_recipe(run_tdnn, "run_tdnn.py", [str(word) for word in words]) == expected


def calls() -> list[str]:
    """How the stand-ins were called, in this order."""
    return Path("calls").read_text().splitlines() if Path("calls").exists() else []


def names() -> list[str]:
    """Which of them were called."""
    return [call.split()[0] for call in calls()]


_ALL = ["gen_topo.py", "align_fmllr_lats.sh", "build_tree.sh", "ali-to-phones", "chain-est-phone-lm"]
_ALL += ["chain-make-den-fst", "get_egs.sh"]


def content(folder: Path) -> dict[str, bytes]:
    """What a folder holds."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_missing_is_made_and_kept(recipe: Path, example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = content(_MODEL)
    run("--cmd", "queue.pl --mem 4G")
    assert content(_MODEL) == before
    said = {call.split()[0]: call for call in calls()}
    assert sorted(said) == sorted(_ALL)
    cmd = "--cmd queue.pl --mem 4G"
    assert said["gen_topo.py"] == "gen_topo.py 3:4:5 1:2"
    assert Path("data/lang_chain/topo").read_text() == "<Topology>\n"
    assert said["align_fmllr_lats.sh"] == f"align_fmllr_lats.sh --nj 2 {cmd} data/train data/lang exp/tri3 {_LATTICES}"
    assert said["build_tree.sh"] == (
        "build_tree.sh --frame-subsampling-factor 3 --context-opts --context-width=2 --central-position=1 "
        f"{cmd} 7000 data/train data/lang_chain exp/tri3_ali_train {_TREE}"
    )
    made = ("tree", "0.trans_mdl", "phone_lm.fst", "den.fst", "normalization.fst")
    assert said["chain-make-den-fst"] == f"chain-make-den-fst {' '.join(f'{_OUT}/{name}' for name in made)}"
    # As train.py of Kaldi asked for it when it made the example's: the model's context, and room for frame shifts.
    info = EgsFolder.find(example / "exp/chain/tdnn1a_sp/egs").info
    assert f"--left-context {info.left_context} --right-context {info.right_context} --frame-sub" in said["get_egs.sh"]
    assert said["get_egs.sh"].endswith(f"data/train_hires {_OUT} {_LATTICES} {_OUT}/egs")
    # Kaldi's copy-transition-model has made the example's, in text form.
    names_of_models = (_OUT / "0.trans_mdl", example / "exp/chain/tdnn1a_sp/0.trans_mdl")
    copied, kaldis = (read_transition_model(path) for path in names_of_models)
    assert (copied.tuples == kaldis.tuples).all() and np.allclose(copied.log_probs, kaldis.log_probs, rtol=1e-6)
    capsys.readouterr()
    run("--cmd", "queue.pl --mem 4G")
    assert sorted(names()) == sorted(_ALL)
    said_again = capsys.readouterr().err
    assert said_again.count("is kept") == 3 and said_again.count(f"the examples in {_OUT}/egs are there") == 2


def test_without_kaldi_it_says_what_is_missing(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KALDI_ROOT", "")
    run(expected=1)
    assert "stage 0 makes data/lang_chain/topo with Kaldi's scripts: set KALDI_ROOT" in capsys.readouterr().err


def test_a_tree_that_is_there_is_used(recipe: Path) -> None:
    _TREE.mkdir()
    shutil.copyfile("made/tree", _TREE / "tree")
    before = content(_TREE)
    run("--num-leaves", 100, stages=(2, 2))
    assert content(_TREE) == before and names() == []
    assert (_OUT / "tree").read_bytes() == Path("made/tree").read_bytes() and not (_MODEL / "tree").exists()


def test_a_folder_that_others_have_filled_is_not_written_to(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _TREE.mkdir()
    (_TREE / "ali.1.gz").write_text("others'")
    run(stages=(2, 2), expected=1)
    assert names() == []
    said = capsys.readouterr().err
    assert f"{_TREE}/tree is missing or empty; {_TREE} is not overwritten, as this recipe has not made it" in said
    assert "or give another one with --tree-dir" in said


def test_another_tree_is_refused_before_anything_is_made(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _TREE.mkdir()
    (_TREE / "tree").write_text(_ANOTHER_TREE)
    run(expected=1)
    assert names() == [] and content(_MODEL).keys() == {f"{_MODEL}/{name}" for name in _FILES}
    assert f"{_TREE}/tree has 88 pdfs, and {_MODEL}/final.mdl has 208" in capsys.readouterr().err


_FILES = ("final.mdl", "frame_subsampling_factor", "cmvn_opts")


def test_a_tree_that_does_not_fit_ends_the_run_behind_stage_2(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("made/tree").write_text(_ANOTHER_TREE)
    run(expected=1)
    assert names()[-1] == "build_tree.sh"
    assert f"{_TREE}/tree has 88 pdfs, and {_MODEL}/final.mdl has 208" in capsys.readouterr().err
    assert not (_OUT / "tree").exists() and content(_MODEL).keys() == {f"{_MODEL}/{name}" for name in _FILES}


def with_alignments(tree: bytes) -> None:
    """Puts a tree and alignments where others would have made them."""
    _TREE.mkdir()
    (_TREE / "tree").write_bytes(tree)
    (_TREE / "num_jobs").write_text("1\n")
    (_TREE / "final.mdl").write_bytes(b"")
    (_TREE / "ali.1.gz").write_bytes(gzip.compress(b"alignment"))


def test_the_model_s_own_files_are_not_replaced(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copyfile("made/tree", _MODEL / "tree")
    (_MODEL / "0.trans_mdl").write_bytes((_MODEL / "final.mdl").read_bytes())
    before = content(_MODEL)
    with_alignments(_ANOTHER_TREE.encode())
    run(stages=(3, 3), expected=1)
    assert names() == [] and content(_MODEL) == before and not (_OUT / "0.trans_mdl").exists()
    said = f"{_TREE}/tree (88 pdfs) is another tree than {_MODEL}/tree (208 pdfs)"
    assert said in capsys.readouterr().err
    (_TREE / "tree").write_bytes(Path("made/tree").read_bytes())
    run(stages=(3, 3))
    assert content(_MODEL) == before and (_OUT / "den.fst").read_bytes() == Path("made/den.fst").read_bytes()


def test_files_of_another_model_are_refused(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = read_transition_model(_MODEL / "final.mdl")
    assert read_context_dependency("made/tree").num_pdfs == model.num_pdfs == 208
    assert read_fst("made/den.fst").ilabel.max() <= 208
    (_MODEL / "tree").write_text(_ANOTHER_TREE)
    run(expected=1)
    assert f"{_MODEL}/tree has 88 pdfs" in capsys.readouterr().err
    (_MODEL / "tree").unlink()
    (_MODEL / "egs/info").mkdir(parents=True)
    (_MODEL / "egs/info/num_pdfs").write_text("88\n")
    (_MODEL / "egs/cegs.1.ark").write_text("x")
    run(expected=1)
    assert f"{_MODEL}/egs has examples for 88 pdfs, and {_MODEL}/final.mdl has 208" in capsys.readouterr().err
    assert names() == []


@pytest.mark.parametrize(
    "script", ["gen_topo.py", "align_fmllr_lats.sh", "build_tree.sh", "chain-make-den-fst", "get_egs.sh"]
)
def test_a_stage_that_did_not_end_is_done_again(script: str, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("fail").write_text(script)
    run(expected=1)
    assert names()[-1] == script
    said = capsys.readouterr().err
    assert "ended with status 3" in said and "no more disk; see exp/chain/m_tuned/log/" in said
    Path("fail").unlink()
    run()
    assert names().count(script) == 2 and "again, as the last run did not end it" in capsys.readouterr().err
    assert EgsFolder.find(_OUT / "egs").combination == _OUT / "egs/combine.cegs"
    run()
    assert names().count(script) == 2


def test_a_half_made_stage_of_others_is_refused(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _LATTICES.mkdir()
    (_LATTICES / "num_jobs").write_text("1\n")
    (_LATTICES / "lat.1.gz").write_bytes(b"")
    run(stages=(1, 1), expected=1)
    said = capsys.readouterr().err
    assert f"{_LATTICES}/lat.1.gz is empty; {_LATTICES} is not overwritten" in said and "--lat-dir" in said
    (_LATTICES / "lat.1.gz").write_bytes(gzip.compress(b"lattice"))
    log = _LATTICES / "log/generate_lattices.1.log"
    log.parent.mkdir()
    log.write_text("# gmm-latgen-faster\nLOG working\n")
    run(stages=(1, 1), expected=1)
    assert f"{log} says that its job has not ended" in capsys.readouterr().err
    log.write_text("# gmm-latgen-faster\n# Ended (code 0) at Sat Nov 28 08:47:45 UTC 2026, elapsed time 9 seconds\n")
    run(stages=(1, 1))
    assert f"{_LATTICES}/lat.1.gz is kept" in capsys.readouterr().err and names() == []


@pytest.mark.parametrize("fault", ["archives", "empty", "leftover", "log", "pipe", None])
def test_examples_of_others(fault: str | None, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    egs = Path("exp/egs")
    (egs / "info").mkdir(parents=True)
    (egs / "log").mkdir()
    (egs / "info/num_archives").write_text("4" if fault == "archives" else "1")
    for name in ("cegs.1.ark", "valid_diagnostic.cegs", "train_diagnostic.cegs", "combine.cegs"):
        (egs / name).write_text("" if fault == "empty" and name == "cegs.1.ark" else "x")
    if fault == "leftover":
        (egs / "cegs_orig.1.1.ark").write_text("x")
    if fault == "log":
        (egs / "log/shuffle.1.log").write_text("# Ended (code 1) at Sat Nov 28 08:47:45 UTC 2026\n")
    if fault == "pipe":
        ended = "# Ended (code 0) at Sat Nov 28 08:47:45 UTC 2026\n"
        (egs / "log/shuffle.1.log").write_text(f"ERROR (nnet3-chain-normalize-egs[5.5]:main()) No space\n{ended}")
    before = content(egs)
    run("--egs-dir", egs, stages=(4, 4), expected=1 if fault else 0)
    assert content(egs) == before and names() == []
    sentences = {
        "archives": "has 1 of its archives, and info announces 4",
        "empty": "cegs.1.ark is empty",
        "leftover": "cegs_orig.1.1.ark is left: get_egs.sh has not ended",
        "log": "log/shuffle.1.log says that its job ended with status 1",
        "pipe": "log/shuffle.1.log says ERROR (nnet3-chain-normalize-egs[5.5]:main()) No space",
        None: f"{egs}/cegs.1.ark is kept",
    }
    assert sentences[fault] in capsys.readouterr().err


def test_examples_of_the_model_that_are_not_complete(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (_MODEL / "egs/info").mkdir(parents=True)
    (_MODEL / "egs/info/num_archives").write_text("4")
    (_MODEL / "egs/cegs.1.ark").write_text("x")
    before = content(_MODEL)
    run()
    assert "info announces 4" in (said := capsys.readouterr().err) and f"stage 4 makes others in {_OUT}/egs" in said
    assert content(_MODEL) == before and len(EgsFolder.find(_OUT / "egs").archives) == 2


def test_other_input(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    number = len(calls())
    # What is in the result's folder is made again.
    run("--egs-opts", "--num-utts-subset 7 --frames-per-iter 1000")
    assert [call.split()[0] for call in calls()[number:]] == ["get_egs.sh"]
    assert "--num-utts-subset 25 " not in calls()[-1]
    assert "--num-utts-subset 7 " in calls()[-1] and "--frames-per-iter 1000 data/" in calls()[-1]
    said = "making exp/chain/m_tuned/egs/cegs.1.ark again: get_egs.sh --num-utts-subset was not given and is 7"
    assert said in capsys.readouterr().err
    # What others may use, too, is not.
    Path("data/train/feats.scp").write_text("u other.ark:2\n")
    shutil.rmtree(_OUT / "egs")
    run(expected=1)
    said = capsys.readouterr().err
    assert "lat.1.gz was made from something else: other content in the features (" in said
    assert "/data/train/feats.scp); exp/chain/tri3_train_lats is kept: remove it" in said
    assert "--lat-dir" in said


def test_other_lattices_of_the_same_size(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    number = len(calls())
    path = _LATTICES / "lat.2.gz"
    other = gzip.compress(gzip.decompress(path.read_bytes()).upper())
    size = path.stat().st_size
    path.write_bytes(other)
    assert len(other) == size
    run()
    assert [call.split()[0] for call in calls()[number:]] == ["get_egs.sh"]
    assert f"again: other content in the lattices ({path.absolute()})" in capsys.readouterr().err


def test_other_features_in_the_same_archives(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("data/train_hires/feats.scp").write_text("u hires.ark:2\n")
    Path("hires.ark").write_bytes(b"u old features")
    run()
    number = len(calls())
    Path("hires.ark").write_bytes(b"u new features")
    run()
    assert [call.split()[0] for call in calls()[number:]] == ["get_egs.sh"]
    assert f"again: other content in the features ({recipe}/hires.ark)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "stages", "said"),
    [
        ("lores_cmvn.ark", (1, 1), f"{_LATTICES}/lat.1.gz was made from something else: other content in their stat"),
        ("lores.ark", (2, 2), f"{_TREE}/tree was made from something else: other content in the features"),
        (
            "exp/tri3_ali_train/ali.1.gz",
            (2, 2),
            f"{_TREE}/tree was made from something else: other content in the alignments",
        ),
        ("cmvn.ark", (0, 4), "cegs.1.ark again: other content in their statistics"),
        ("ivectors.ark", (0, 4), "cegs.1.ark again: other content in the i-vectors"),
    ],
)
def test_whatever_stages_read_is_compared(
    path: str, stages: tuple[int, int], said: str, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = {
        "data/train/cmvn.scp": "lores_cmvn.ark",
        "data/train/feats.scp": "lores.ark",
        "data/train_hires/cmvn.scp": "cmvn.ark",
        "exp/iv/ivector_online.scp": "ivectors.ark",
    }
    for scp, archive in tables.items():
        Path(scp).parent.mkdir(parents=True, exist_ok=True)
        Path(scp).write_text(f"u {archive}:2\n")
    Path("exp/tri3_ali_train").mkdir(exist_ok=True)
    for name in (*tables.values(), "exp/tri3_ali_train/ali.1.gz"):
        Path(name).write_bytes(b"u old")
    Path("exp/iv/ivector_period").write_text("10\n")
    options = ("--train-ivector-dir", "exp/iv")
    run(*options, stages=stages)
    number = len(names())
    run(*options, stages=stages)
    assert len(names()) == number
    Path(path).write_bytes(b"u new")
    capsys.readouterr()
    run(*options, stages=stages, expected=0 if "again" in said else 1)
    assert said in (printed := capsys.readouterr().err) and f"{recipe}/{path})" in printed


def test_another_model_with_the_same_result_folder(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    before = content(_OUT / "egs")
    path = _MODEL / "final.mdl"
    model = read_model(path)
    # Other parameters change neither tree nor transitions, and examples are dear.
    path.write_bytes(path.read_bytes()[:-5000] + bytes(4) + path.read_bytes()[-4996:])
    run()
    assert sorted(names()) == sorted(_ALL) and content(_OUT / "egs") == before
    assert model.transition_model is not None
    model.transition_model.log_probs[1] -= 0.5
    path.write_bytes(model.getvalue(binary=True))
    number = len(calls())
    run()
    assert [call.split()[0] for call in calls()[number:]][-2:] == ["chain-make-den-fst", "get_egs.sh"]
    said = capsys.readouterr().err
    assert said.count("again: the digest of the model's transitions was ") == 2


def test_what_stages_have_read_may_go(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("data/train_hires/feats.scp").write_text("u hires.ark:2\nv more.ark:2\n")
    for name in ("hires.ark", "more.ark"):
        Path(name).write_bytes(b"u old features")
    run()
    number = len(calls())
    shutil.rmtree(_LATTICES)
    Path("hires.ark").unlink()
    run()
    assert len(calls()) == number
    # What is still there is compared.
    Path("more.ark").write_bytes(b"u new features")
    run(stages=(4, 4))
    assert f"again: other content in the features ({recipe}/more.ark)" in capsys.readouterr().err


def test_what_others_have_made_since_is_kept(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    number = len(calls())
    (_OUT / "egs/cegs.1.ark").write_text("others' examples")
    run()
    assert len(calls()) == number
    assert f"{_OUT}/egs/cegs.1.ark is kept, which others have made since" in capsys.readouterr().err


def test_another_version_of_this_program_does_not_make_kaldis_results_again(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    number = len(calls())
    monkeypatch.setattr("kaldi_quant.made.program_digest", lambda: "another")
    run()
    assert len(calls()) == number


def test_large_files_are_read_once(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("data/train_hires/feats.scp").write_text("u hires.ark:2\n")
    Path("hires.ark").write_bytes(b"u features")
    run()
    monkeypatch.setattr("kaldi_quant.made._Digests._read", {})
    read: list[Path] = []
    monkeypatch.setattr("kaldi_quant.made.digest_of_file", lambda path: str(read.append(path)))
    run()
    assert read == []


def test_only_what_is_asked_for_is_looked_at(recipe: Path) -> None:
    (_MODEL / "egs/info").mkdir(parents=True)
    (_MODEL / "egs/info/num_archives").write_text("4")
    (_MODEL / "egs/cegs.1.ark").write_text("x")
    with_alignments(Path("made/tree").read_bytes())
    run(stages=(3, 3))
    assert names() and (_OUT / "den.fst").exists()


def test_small_corpora_have_small_subsets(recipe: Path) -> None:
    utt2spk = Path("data/train_hires/utt2spk")
    for number, expected in ((4, 2), (30, 10), (5000, 300)):
        utt2spk.write_text("".join(f"u{utterance} s\n" for utterance in range(number)))
        shutil.rmtree(_OUT / "egs", ignore_errors=True)
        run(stages=(4, 4)) if number != 4 else run()
        assert f"--num-utts-subset {expected} " in calls()[-1]


@pytest.mark.parametrize(
    "text", ["'", "--num-utts-subset", "num-utts-subset 5", "--frames-per-iter=5 --x", "--", "-- 5"]
)
def test_options_of_examples_are_checked_first(text: str, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("--egs-opts", text, expected=1)
    assert "--egs-opts" in capsys.readouterr().err and names() == []


def test_the_model_s_folder_is_not_the_result_s(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = content(_MODEL)
    run("--dir", f"{_MODEL}/", expected=1)
    assert "is the model's own folder: give another one" in capsys.readouterr().err
    assert names() == [] and content(_MODEL) == before


def test_an_error_tells_what_the_logs_say(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = Path("exp/log")
    jobs.mkdir()
    (jobs / "get_egs.1.log").write_text("# nnet3-chain-get-egs\n# Ended (code 0) at now\n")
    trace = "[ Stack-Trace: ]\nkaldi::MessageLogger\n"
    error = "ERROR (nnet3-chain-get-egs[5.5]:main():x.cc:1) No alignment"
    (jobs / "get_egs.2.log").write_text(f"# nnet3\nLOG x\n{error}\n{trace}# Ended (code 255) at now\n")
    script = (
        "#!/bin/bash\necho first\necho second\necho run.pl: 1 / 2 failed, 'log is in exp/log/get_egs.*.log'\nexit 1\n"
    )
    Path("steps/nnet3/chain/get_egs.sh").write_text(script)
    run(expected=1)
    said = capsys.readouterr().err.splitlines()[-1]
    assert "steps/nnet3/chain/get_egs.sh ended with status 1: second / run.pl: 1 / 2 failed" in said
    assert f"exp/log/get_egs.2.log: {error}; see exp/chain/m_tuned/log/get_egs.log" in said
    log = (_OUT / "log/get_egs.log").read_text().splitlines()
    assert log[0].startswith("# steps/nnet3/chain/get_egs.sh --cmd run.pl ") and log[1].startswith("# Started at ")
    assert log[-2].startswith("# Accounting: time=") and log[-1].startswith("# Ended (code 1) at ")


def test_a_script_that_a_signal_ends(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("steps/align_fmllr_lats.sh").write_text("#!/bin/bash\nkill -9 $$\n")
    run(expected=1)
    said = capsys.readouterr().err
    assert "steps/align_fmllr_lats.sh was ended by signal SIGKILL (out of memory?)" in said
    assert "# Ended (code 0; signal 9) at " in (_OUT / "log/align_lats.log").read_text()


def test_a_recipe_that_is_ended_ends_its_scripts(recipe: Path) -> None:
    child = Path("child").absolute()
    Path("steps/align_fmllr_lats.sh").write_text(f"#!/bin/bash\nsleep 60 & echo $! >{child}\nwait\n")

    def end() -> None:
        while not (child.exists() and child.read_text().strip()):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=end)
    thread.start()
    run(expected=143)
    thread.join()
    status = Path("/proc", child.read_text().strip(), "status")
    assert not status.exists() or "\nState:\tZ" in status.read_text()
    assert [path.name for path in Path().rglob(".*.tmp")] == []


def test_a_denominator_that_was_made_stays(recipe: Path) -> None:
    run()
    (_MODEL / "den.fst").write_bytes(b"another, without normalization.fst")
    run(stages=(5, 5))
    assert (_OUT / "den.fst").read_bytes() == Path("made/den.fst").read_bytes()
    assert (_OUT / "tree").is_file() and (_OUT / "cmvn_opts").is_file()


def test_the_calibration_folder_is_looked_for_first(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    verbs: list[list[str]] = []
    record = lambda verb, words, log: verbs.append([verb, *map(str, words)])  # noqa: E731
    for module in ("quantized_training", "quantization"):
        monkeypatch.setattr(f"kaldi_quant.cli.recipes.{module}.call_verb", record)
    given = ["--kaldi-model-dir", str(_MODEL), "--gmm-dir", "exp/tri3", "--stop-stage", "6"]

    def qat(*options: str) -> int:
        return cli.run_recipe(run_tdnn_qat, "run_tdnn_qat.py", [*given, *options, "."])

    with caplog.at_level(logging.ERROR):
        assert qat() == 1 and qat("--calibration-dir", "data/none") == 1
        assert qat("--train-data-dir", "data/train_hires", "--train-ivector-dir", "exp/nnet3/iv") == 1
    assert names() == [] and verbs == []
    texts = [record.getMessage() for record in caplog.records]
    assert "data/train_960_cleaned_sp_hires/feats.scp does not exist: give the data to calibrate on" in texts[0]
    assert (
        "data/none/feats.scp does not exist" in texts[1]
        and "exp/nnet3/iv is no folder of online i-vectors: it has no ivector_online.scp" in texts[2]
    )
    assert qat("--train-data-dir", "data/train_hires") == 0
    assert [verb[0] for verb in verbs] == ["qat", "export"]
    assert "scp:data/train_hires/feats.scp" in verbs[0]


def test_a_training_on_the_output_of_commands_is_made_again(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    verbs: list[str] = []

    def stand_in(verb: str, words: Sequence[str | Path], log: Path) -> None:
        verbs.append(verb)
        for name in ("quantized.safetensors", "quantization.json"):
            (Path(words[-1]) / name).write_bytes(b"")

    monkeypatch.setattr("kaldi_quant.cli.recipes.quantized_training.call_verb", stand_in)
    given = ["--kaldi-model-dir", str(_MODEL), "--gmm-dir", "exp/tri3", "--stop-stage", "6", "--formats", "none"]
    given += ["--distil", "--calibration-dir", "data/dev_hires", "--allow-pipes", "true", "."]
    Path("data/dev_hires").mkdir()
    for scp, trainings in (("u feats.ark:2\n", 1), ("u copy-feats |\n", 2)):
        Path("data/dev_hires/feats.scp").write_text(scp)
        verbs.clear()
        caplog.clear()
        with caplog.at_level(logging.INFO):
            assert cli.run_recipe(run_tdnn_qat, "run_tdnn_qat.py", given) == 0
            assert cli.run_recipe(run_tdnn_qat, "run_tdnn_qat.py", given) == 0
        assert verbs == ["qat"] * trainings
    assert "is made again: it reads commands or standard input" in caplog.text


def test_a_training_depends_on_what_chooses_its_average(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stand_in(verb: str, words: Sequence[str | Path], log: Path) -> None:
        for name in ("quantized.safetensors", "quantization.json"):
            (Path(words[-1]) / name).write_bytes(b"")

    monkeypatch.setattr("kaldi_quant.cli.recipes.quantized_training.call_verb", stand_in)
    given = ["--kaldi-model-dir", str(_MODEL), "--gmm-dir", "exp/tri3", "--stop-stage", "6", "--formats", "none"]
    given += ["--distil", "--calibration-dir", "data/train_hires", "--held-out", "ark:held_out.ark", "."]
    with caplog.at_level(logging.INFO):
        for content in (b"u old", b"u old", b"u new"):
            assert "other content" not in caplog.text
            Path("held_out.ark").write_bytes(content)
            assert cli.run_recipe(run_tdnn_qat, "run_tdnn_qat.py", given) == 0
    assert "is made again: other content in the held-out features" in caplog.text
