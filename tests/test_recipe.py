"""The main job as a user types it, and what it answers to what cannot work."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "run_forward_pass.sh"
# Kaldi's best point for tdnn1a_sp has 357 errors of 2456; two more or less are rounding of the log-likelihoods.
BEST_ERRORS, TOLERANCE = 357, 2


def run(*arguments: object, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the recipe in this interpreter's environment, without Kaldi."""
    settings = {**os.environ, "VIRTUAL_ENV": sys.prefix, "KALDI_ROOT": "", **environment}
    command = ["bash", str(RECIPE), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=settings, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def experiment(example: Path, tmp_path: Path) -> Path:
    """A Kaldi experiment of its own, with the audio of 12 utterances, in a folder whose name has a space."""
    folder = tmp_path / "my experiment"
    for name in ("conf", "wav", "data/test_wav", "exp/chain/tdnn1a_sp/graph_alphadigits"):
        shutil.copytree(example / name, folder / name)
    for name in ("final.mdl", "frame_subsampling_factor", "cmvn_opts"):
        shutil.copy(example / "exp/chain/tdnn1a_sp" / name, folder / "exp/chain/tdnn1a_sp")
    return folder


OWN = ("--model-dir", "exp/chain/tdnn1a_sp", "--graph-dir", "exp/chain/tdnn1a_sp/graph_alphadigits")


def test_the_main_job(tmp_path: Path) -> None:
    first = run("--nj", 2, "--out-dir", tmp_path)
    assert first.returncode == 0, first.stderr
    last = first.stdout.splitlines()[-1]
    assert last.startswith("%WER 14.")
    assert abs(int(last.split()[3]) - BEST_ERRORS) <= TOLERANCE
    assert "400 utterances" in (tmp_path / "log" / "forward.log").read_text()
    before = (tmp_path / "loglikes.ark").stat().st_mtime_ns
    again = run("--nj", 2, "--out-dir", tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == last
    assert (tmp_path / "loglikes.ark").stat().st_mtime_ns == before


def test_an_experiment_with_audio_only(experiment: Path) -> None:
    result = run("--nj", 2, "--affix=_a", *OWN, "--data-dir", "data/test_wav", experiment, cwd=experiment.parent)
    assert result.returncode == 0, result.stderr
    assert "%WER" in result.stdout.splitlines()[-1]
    output = experiment / "exp" / "chain" / "tdnn1a_sp" / "decode_test_wav_a"
    assert (output / "scoring_kaldi" / "best_wer").exists()
    assert not (experiment / "data" / "test_wav" / "feats.scp").exists()
    assert "12 utterances" in (output / "log" / "make_mfcc.log").read_text()


def test_changed_options_are_computed_again(experiment: Path) -> None:
    arguments = ("--nj", 2, *OWN, "--data-dir", "data/test_wav", "--out-dir", experiment / "out")
    assert run(*arguments, experiment).returncode == 0
    result = run(*arguments, "--frames-per-chunk=150", experiment)
    assert result.returncode == 0, result.stderr
    assert "are kept" not in result.stdout
    assert "--frames-per-chunk=150" in (experiment / "out" / "loglikes.ark.options").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nonsense", "3"], "unknown option --nonsense"),
        (["--stage", "7"], "--stage 7 is not one of 0 1 2 3 4"),
        (["--nj", "none"], "--nj none is not a number"),
        (["/nowhere"], "the experiment folder /nowhere does not exist"),
        (["--model-dir", "exp/none"], "there is no folder exp/none"),
        (["--data-dir", "data/lang_chain"], "data/lang_chain/text is missing or empty"),
        (["a", "b"], "Usage: "),
    ],
)
def test_wrong_arguments(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run("--out-dir", tmp_path / "out", *arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_experiment(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.returncode == 1
    assert f"there is no folder exp/chain_cleaned/tdnn_7k_1a_sp in {tmp_path}" in result.stderr
    assert not list(tmp_path.iterdir())


def test_an_unwritable_output_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("--out-dir", tmp_path / "file" / "out")
    assert result.returncode == 1
    assert "--out-dir" in result.stderr


def test_normalised_features_are_asked_for(experiment: Path) -> None:
    (experiment / "exp/chain/tdnn1a_sp/cmvn_opts").write_text("--norm-means=true --norm-vars=false\n")
    arguments = ("--nj", 2, *OWN, "--data-dir", "data/test_wav", experiment)
    result = run(*arguments)
    assert result.returncode == 1
    assert "--ignore-cmvn true" in result.stderr
    assert run("--ignore-cmvn", *arguments).returncode == 0


@pytest.mark.parametrize("name", ["HCLG.fst", "words.txt"])
def test_a_missing_file_of_the_graph(experiment: Path, name: str) -> None:
    (experiment / "exp/chain/tdnn1a_sp/graph_alphadigits" / name).unlink()
    result = run(*OWN, "--data-dir", "data/test_wav", experiment)
    assert result.returncode == 1
    assert f"{name} is missing or empty" in result.stderr


def test_a_broken_model_is_one_sentence(experiment: Path) -> None:
    model = experiment / "exp/chain/tdnn1a_sp/final.mdl"
    model.write_bytes(model.read_bytes()[:5000])
    result = run(*OWN, "--data-dir", "data/test_wav", experiment)
    assert result.returncode == 1
    assert "final.mdl, byte" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_a_model_with_ivectors_asks_for_them(experiment: Path, shared: Path) -> None:
    shutil.copy(shared / "parity" / "tdnnf_ivec" / "final.mdl", experiment / "exp/chain/tdnn1a_sp/final.mdl")
    result = run(*OWN, "--data-dir", "data/test_wav", experiment)
    assert result.returncode == 1
    assert "give --online-ivector-dir" in result.stderr


def test_a_wrong_kaldi_root(tmp_path: Path) -> None:
    result = run("--out-dir", tmp_path, KALDI_ROOT=str(tmp_path))
    assert result.returncode == 1
    assert f"KALDI_ROOT={tmp_path} is not Kaldi's folder" in result.stderr
