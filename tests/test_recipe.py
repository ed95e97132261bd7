"""The main job as a user types it, and what it answers to what cannot work."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recipes import ROOT, Outcome, few_utterances, run

RECIPE = "run_forward_pass.sh"
# Kaldi's best point for tdnn1a_sp has 357 errors of 2456; two more or less are rounding of the log-likelihoods.
BEST_ERRORS, TOLERANCE = 357, 2


def in_shell(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the script itself in this interpreter's environment, without Kaldi."""
    settings = {**os.environ, "VIRTUAL_ENV": sys.prefix, "KALDI_ROOT": "", **environment}
    command = ["bash", str(ROOT / RECIPE), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=300, check=False)


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


def on_audio(experiment: Path, *arguments: object) -> Outcome:
    """Runs the recipe on the audio, with a narrow beam: features that are no good are decoded as fast as others."""
    arguments = ("--beam=8", *arguments)
    return run(RECIPE, "--nj", 2, *OWN, "--data-dir", "data/test_wav", *arguments, experiment, cwd=experiment.parent)


def test_the_main_job(tmp_path: Path) -> None:
    first = in_shell("--nj", 2, "--out-dir", tmp_path)
    assert first.returncode == 0, first.stderr
    last = first.stdout.splitlines()[-1]
    assert last.startswith("%WER 14.")
    assert abs(int(last.split()[3]) - BEST_ERRORS) <= TOLERANCE
    log = (tmp_path / "log" / "forward.log").read_text()
    assert "400 utterances" in log
    assert log.startswith("# kaldi-quant forward ") and "# Ended (code 0)" in log.splitlines()[-1]


def test_an_experiment_with_audio_only(experiment: Path) -> None:
    result = on_audio(experiment, "--affix=_a")
    assert result.status == 0, result.stderr
    assert "%WER" in result.score
    output = experiment / "exp" / "chain" / "tdnn1a_sp" / "decode_test_wav_a"
    assert (output / "scoring_kaldi" / "best_wer").exists()
    assert not (experiment / "data" / "test_wav" / "feats.scp").exists()
    assert "12 utterances" in (output / "log" / "make_mfcc.log").read_text()
    config = experiment / "conf" / "mfcc_hires.conf"
    config.write_text(config.read_text().replace("--low-freq=20", "--low-freq=60"))
    again = on_audio(experiment, "--affix=_a")
    assert "is made again: other content in the configuration of MFCC" in again.stderr
    wav = next((experiment / "wav").glob("*.wav"))
    content = bytearray(wav.read_bytes())
    content[2000:8000] = bytes(6000)
    wav.write_bytes(content)
    assert "is made again: other content in the audio" in on_audio(experiment, "--affix=_a").stderr


def test_options_of_decoding_and_scoring_reach_their_programs(experiment: Path) -> None:
    options = ["--out-dir", experiment / "out", "--beam=11", "--lattice-beam=5", "--acwt=0.9"]
    result = on_audio(experiment, *options, "--min-lmwt=9", "--max-lmwt=10", "--word-ins-penalty=0.5", "--cer")
    assert result.status == 0, result.stderr
    made = (experiment / "out" / ".made" / "lat.1.gz.json").read_text()
    assert '"--beam": 11.0' in made and '"--lattice-beam": 5.0' in made and '"--acoustic-scale": 0.9' in made
    scores = {path.name for path in (experiment / "out").iterdir() if path.name[1:4] == "er_"}
    assert scores == {f"{kind}_{weight}_0.5" for kind in ("wer", "cer") for weight in (9, 10)}
    assert "%CER" not in result.score


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nonsense", "3"], "No such option"),
        (["--stage", "7"], "7 is not in the range 0<=x<=4"),
        (["--nj", "none"], "'none' is not a valid integer"),
        (["--nj", "0"], "--nj must be positive, found 0"),
        (["--beam", "-1"], "--beam must be positive, found -1"),
        (["--min-lmwt", "9", "--max-lmwt", "8"], "--min-lmwt"),
        (["--word-ins-penalty", "x"], "--word-ins-penalty"),
        (["--batch-seconds", "nan"], "--batch-seconds"),
        (["/nowhere"], "the experiment folder /nowhere does not exist"),
        (["--model-dir", "exp/none"], "there is no folder exp/none"),
        (["--data-dir", "data/lang_chain"], "data/lang_chain/text is missing or empty"),
        (["--model-file", "exp/none.mdl"], "exp/none.mdl is missing or empty"),
        (["a", "b"], "unexpected extra argument"),
    ],
)
def test_wrong_arguments(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run(RECIPE, "--out-dir", tmp_path / "out", *arguments)
    assert result.status in (1, 2)
    assert message in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_experiment(tmp_path: Path) -> None:
    result = run(RECIPE, tmp_path)
    assert result.status == 1
    assert f"there is no folder exp/chain_cleaned/tdnn_7k_1a_sp in {tmp_path}" in result.stderr
    assert not list(tmp_path.iterdir())


def test_an_unwritable_output_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run(RECIPE, "--out-dir", tmp_path / "file" / "out")
    assert result.status == 1
    assert "cannot write the folder" in result.stderr


def test_features_that_are_made_here_are_normalised_as_the_model_asks(experiment: Path) -> None:
    plain = on_audio(experiment)
    (experiment / "exp/chain/tdnn1a_sp/cmvn_opts").write_text("--norm-means=true --norm-vars=false\n")
    normalised = on_audio(experiment)
    assert normalised.status == 0, normalised.stderr
    out = experiment / "exp/chain/tdnn1a_sp/decode_test_wav"
    assert (out / "cmvn.scp").exists() and "apply-cmvn --norm-means=true" in normalised.stderr
    assert normalised.score != plain.score
    ignored = on_audio(experiment, "--ignore-cmvn")
    assert ignored.status == 0 and ignored.score == plain.score


def test_normalised_features_need_statistics(experiment: Path, example: Path) -> None:
    (experiment / "exp/chain/tdnn1a_sp/cmvn_opts").write_text("")
    few_utterances(example / "data/test_hires", experiment / "data/few", 2, example)
    result = on_audio(experiment, "--data-dir", "data/few")
    assert result.status == 1
    assert "cmvn.scp" in result.stderr and "--ignore-cmvn" in result.stderr


@pytest.mark.parametrize("name", ["HCLG.fst", "words.txt"])
def test_a_missing_file_of_the_graph(experiment: Path, name: str) -> None:
    (experiment / "exp/chain/tdnn1a_sp/graph_alphadigits" / name).unlink()
    result = on_audio(experiment)
    assert result.status == 1
    assert f"{name} is missing or empty" in result.stderr


def test_a_broken_model_is_one_sentence(experiment: Path) -> None:
    model = experiment / "exp/chain/tdnn1a_sp/final.mdl"
    model.write_bytes(model.read_bytes()[:5000])
    result = on_audio(experiment)
    assert result.status == 1
    assert "final.mdl, byte" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_a_chain_model_without_a_factor_is_refused(experiment: Path) -> None:
    (experiment / "exp/chain/tdnn1a_sp/frame_subsampling_factor").unlink()
    result = on_audio(experiment)
    assert result.status == 1
    assert "needs a frame-subsampling factor, and none is stated" in result.stderr
    given = on_audio(experiment, "--frame-subsampling-factor=3")
    assert given.status == 0, given.stderr


def test_a_model_with_ivectors_asks_for_them(experiment: Path, shared: Path) -> None:
    shutil.copy(shared / "parity" / "tdnnf_ivec" / "final.mdl", experiment / "exp/chain/tdnn1a_sp/final.mdl")
    result = on_audio(experiment)
    assert result.status == 1
    assert "--online-ivector-dir" in result.stderr


def test_two_runs_into_one_folder(experiment: Path) -> None:
    out = experiment / "out"
    script = (
        "import sys; from pathlib import Path; from kaldi_quant.folder_lock import folder_lock\n"
        "with folder_lock(Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as other:
        assert other.stdout is not None
        other.stdout.readline()
        result = on_audio(experiment, "--out-dir", out)
        other.kill()
    assert result.status == 1
    assert f"{out} is in use by process {other.pid}" in result.stderr


def test_a_wrong_kaldi_root(tmp_path: Path) -> None:
    result = in_shell("--out-dir", tmp_path, KALDI_ROOT=str(tmp_path))
    assert result.returncode == 1
    assert f"KALDI_ROOT={tmp_path} is not Kaldi's folder" in result.stderr
