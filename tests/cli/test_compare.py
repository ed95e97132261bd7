"""``kaldi-quant compare`` and ``local/compare_wer.sh`` as a user calls them."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kaldi_quant.cli import main as cli
from tests.report.decode_folders import EXAMPLE, ROOT, disturbed, real, write_folder
from tests.report.score_folders import values, write_scores

RECIPE = "local/compare_wer.sh"
QUICK = ["--replications", "200"]
MODELS = EXAMPLE / "exp" / "chain"
FEATS = f"scp:{EXAMPLE}/data/test_hires/feats.scp"


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """The example's float result and a worse one, made by the example's two models."""
    references, first = real()
    models = [{"model": str(MODELS / name / "final.mdl")} for name in ("tdnn1a_sp", "tdnnf1b_sp")]
    return [
        write_folder(tmp_path / "float", references, {"16_1.0": first, "15_1.0": first}, models[0]),
        write_folder(tmp_path / "w4", references, {"16_1.0": disturbed(first, 0.05, 1)}, models[1]),
    ]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("KALDI_ROOT", "CONDA_PREFIX")}
    environment = {**kept, "VIRTUAL_ENV": sys.prefix}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment, cwd=ROOT)


def test_text_is_the_default(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["compare", *QUICK, *folders]) == 0
    output = capsys.readouterr().out
    first = f"%WER 14.54 [ 357 / 2456, 80 ins, 52 del, 225 sub ] {folders[0]}/wer_16_1.0  float "
    assert output.splitlines()[3].startswith(first)
    assert str((MODELS / "tdnn1a_sp" / "final.mdl").stat().st_size) in output.splitlines()[3]


def test_all_forms_at_once(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {name: tmp_path / "out" / f"compare.{name}" for name in ("text", "markdown", "json", "html")}
    if importlib.util.find_spec("matplotlib") is None:
        del files["html"]
    options = [option for name, file in files.items() for option in (f"--{name}", str(file))]
    assert cli.run(["compare", *QUICK, *options, f"a={folders[0]}", f"b={folders[1]}"]) == 0
    assert capsys.readouterr().out == files["text"].read_text()
    assert [row["name"] for row in json.loads(files["json"].read_text())["rows"]] == ["a", "b"]
    assert "| a | 14.54 |" in files["markdown"].read_text()
    assert "html" not in files or files["html"].read_text().startswith("<!DOCTYPE html>")


def test_another_form_on_standard_output(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["compare", *QUICK, "--seed=3", "--lmwt=15", "--json", "-", folders[0]]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["bootstrap"]["seed"] == 3 and content["rows"][0]["lmwt"] == 15
    assert cli.run(["compare", *QUICK, "--json", "-", "--markdown", "-", folders[0]]) == 1
    assert "only one of --text, --markdown, --json and --html can go" in capsys.readouterr().err


def test_speed(folders: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KALDI_ROOT", raising=False)
    options = ["--speed", FEATS, "--speed-rounds", "1", "--speed-seconds", "3"]
    assert cli.run(["compare", *QUICK, *options, *folders]) == 0
    lines = capsys.readouterr().out.splitlines()
    name, ratio, *_, rate = lines[-2].split()
    assert (name, ratio) == ("float", "1.00") and float(rate) > 100
    name, ratio, *_ = lines[-1].split()
    assert name == "w4" and float(ratio) > 0
    assert [line.split()[-1] for line in lines if line.startswith("%WER")] == ["1.00", ratio]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--speed-rounds=0", "--speed-rounds must be at least 1, found 0"),
        ("--speed-seconds=nan", "--speed-seconds must be positive, found nan"),
        ("--replications=1", "--replications must be at least"),
        ("--seed=-1", "--seed cannot be negative, found -1"),
        ("--wip=nan", "--wip expects a number such as 0.5, found 'nan'"),
    ],
)
def test_values_that_make_no_sense(option: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    # Before any folder is looked at.
    assert cli.run(["compare", option, "nosuch"]) == 1
    assert message in capsys.readouterr().err


def test_speed_needs_a_first_model(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (Path(folders[0]) / "quantization.json").unlink()
    assert cli.run(["compare", *QUICK, "--speed", FEATS, *folders]) == 1
    assert "give a float model with --float-model" in capsys.readouterr().err
    assert cli.run(["compare", *QUICK, "--speed", FEATS, "--float-model", "missing.mdl", *folders]) == 1
    assert capsys.readouterr().err == "kaldi-quant compare: --float-model missing.mdl does not exist\n"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "Missing argument"),
        (["nowhere"], 1, "kaldi-quant compare: the decode folder nowhere does not exist\n"),
        (["--lmwt=x", "a"], 2, "'x' is not a valid integer"),
        (["--lmwt=0", "a"], 1, "kaldi-quant compare: --lmwt expects a whole number above 0, found 0\n"),
        (["--wip=1%", "a"], 1, "kaldi-quant compare: --wip expects a number such as 0.5, found '1%'\n"),
        (["--htlm=x", "a"], 2, "--replications (default: 10000)"),
    ],
)
def test_errors(arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["compare", *arguments]) == status
    assert message in capsys.readouterr().err


def test_errors_that_need_folders(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--replications", "5"], "--replications must be at least 100, found 5"),
        (["--seed=-1"], "--seed cannot be negative, found -1"),
        ([*QUICK, "--json", f"{folders[0]}/wer_16_1.0/x"], f"cannot write {folders[0]}/wer_16_1.0/x: File exists"),
    ):
        assert cli.run(["compare", *arguments, *folders]) == 1
        assert capsys.readouterr().err == f"kaldi-quant compare: {message}\n"


def test_html_without_matplotlib_says_so_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.run(["compare", "--html", f"{tmp_path}/page.html", "nowhere"]) == 1
    assert "need the package matplotlib: pip install matplotlib" in capsys.readouterr().err


def test_help_needs_nothing_heavy() -> None:
    program = (
        "import sys; from kaldi_quant.cli.main import run; status = run(['compare', '--help']); "
        "assert not {'torch', 'numpy', 'matplotlib', 'kaldialign'} & set(sys.modules), 'slow import'; sys.exit(status)"
    )
    done = run(sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
    assert "[NAME=]DECODE-DIR..." in done.stdout


def test_scores_of_other_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [write_scores(tmp_path / name, values(loss)) for name, loss in (("float", 0.0), ("w4", 0.5))]
    files = {name: tmp_path / f"compare.{name}" for name in ("markdown", "json", "html")}
    if importlib.util.find_spec("matplotlib") is None:
        del files["html"]
    options = [option for name, file in files.items() for option in (f"--{name}", str(file))]
    assert cli.run(["compare", *QUICK, *options, folders[0], f"four bits={folders[1]}"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("# four bits: a significant loss (-0.50 dB)\n\n#")
    assert [line.split()[0] for line in output.splitlines()[3:5]] == ["SI-SDR", "SI-SDR"]
    assert [row["name"] for row in json.loads(files["json"].read_text())["rows"]] == ["float", "four bits"]
    assert "| float | 13." in files["markdown"].read_text()
    assert "html" not in files or "<h2>SI-SDR</h2>" in files["html"].read_text()


LOWER = '"metric": {"name": "X", "unit": "", "better": "lower"}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'{{{LOWER}, "units": {{}}}}', "X: expected at least one unit, found none"),
        (f'{{{LOWER}, "units": {{"a": NaN}}}}', "X of a: expected a finite number, found nan"),
        (f'{{{LOWER}, "units": {{"\\ud800": 1e99}}}}', None),
        ('{"metric": {"name": "X", "unit"', "cannot be read as JSON: Expecting ':' delimiter"),
    ],
)  # fmt: skip
def test_errors_of_scores_are_one_sentence(
    text: str, message: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scores.json").write_text(text)
    assert cli.run(["compare", *QUICK, "--json", "-", str(tmp_path)]) == (message is not None)
    captured = capsys.readouterr()
    if message is not None:
        assert captured.err.startswith(f"kaldi-quant compare: {tmp_path}/scores.json: {message}")
    assert captured.err.count("\n") == (message is not None)


def test_options_of_decode_folders_are_refused_for_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_scores(tmp_path / "a", values())
    for option in ("--lmwt=9", "--wip=0.0", "--cer=true"):
        assert cli.run(["compare", *QUICK, option, folder]) == 1
        assert "--lmwt, --wip and --cer are for decode folders, and " in capsys.readouterr().err


def test_the_recipe(folders: list[str], tmp_path: Path) -> None:
    options = ["--lmwt", "16", "--wip", "1.0", "--replications", "200", "--seed", "2", "--json", f"{tmp_path}/a.json"]
    speakers = f"{EXAMPLE}/data/test_hires/utt2spk"
    done = run("bash", RECIPE, *options, "--utt2spk", speakers, f"float={folders[0]}", folders[1])
    assert done.returncode == 0, done.stderr
    assert [line.split()[14] for line in done.stdout.splitlines() if line.startswith("%WER")] == ["float", "w4"]
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["bootstrap"] == {
        "unit": "speakers", "units": 40, "replications": 200, "seed": 2, "utt2spk": speakers,
    }  # fmt: skip
    assert (content["fixed_lmwt"], content["fixed_wip"]) == (16, "1.0")


def test_the_recipe_checks_its_inputs(folders: list[str]) -> None:
    done = run("bash", RECIPE)
    assert done.returncode == 2 and "Missing argument '[NAME=]DECODE-DIR...'" in done.stderr
    done = run("bash", RECIPE, "--wipp", "3", *folders)
    assert done.returncode == 2 and "No such option '--wipp'" in done.stderr and "allowed options:\n" in done.stderr
    done = run("bash", RECIPE, "nowhere")
    assert done.returncode == 1 and done.stderr == "kaldi-quant compare: the decode folder nowhere does not exist\n"


def test_character_error_rates_are_compared(
    job_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.run(["compare", *QUICK, "--cer", f"one={job_folder}/", f"two={job_folder}"]) == 0
    output = capsys.readouterr().out
    best = (job_folder / "scoring_kaldi/best_cer").read_text().strip()
    assert best.split()[-1].startswith(f"{job_folder}/cer_9_")
    rows = [line for line in output.splitlines() if "WER" in line]
    assert len(rows) == 2 and all(row.startswith(f"{best}  ") for row in rows)
    assert "# two: no loss: the same words in all utterances" in output
    assert cli.run(["compare", *QUICK, "--cer", "--markdown", "-", str(job_folder)]) == 0
    output = capsys.readouterr().out
    assert "## Character error rates" in output and "| CER, % | errors in " in output
    (job_folder / "scoring_kaldi/best_cer").unlink()
    for file in job_folder.glob("cer_*"):
        file.unlink()
    assert cli.run(["compare", *QUICK, "--cer", str(job_folder)]) == 1
    assert "kaldi-quant score --cer true" in capsys.readouterr().err


@pytest.fixture
def job_folder(tmp_path: Path, example: Path) -> Path:
    """A decode folder with Kaldi's lattices of four utterances, scored in characters."""
    from kaldi_quant.decode.options import ScoreOptions
    from kaldi_quant.decode.scoring import score

    folder = tmp_path / "decode"
    folder.mkdir()
    shutil.copy(ROOT / "tests/data/decode/lat.1.gz", folder)
    graph = example / "exp/chain/tdnn1a_sp/graph_alphadigits"
    score(str(example / "data/test_hires"), str(graph), str(folder), ScoreOptions(9, 10, cer=True, backend="embedded"))
    return folder
