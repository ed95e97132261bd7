"""The training recipes as a user types them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kaldi_quant.kaldi.egs import example_writer, read_examples

ROOT = Path(__file__).resolve().parents[1]


def run(command: list[object], cwd: Path = ROOT, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs a recipe in this interpreter's environment."""
    environment = {**os.environ, "VIRTUAL_ENV": sys.prefix, "KALDI_ROOT": "", **settings}
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        input="",
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def recipe(example: Path, tmp_path: Path) -> Path:
    """The root of a recipe with a model, eight utterances to decode, and sixteen examples."""
    root = tmp_path / "s5"
    (root / "exp/chain").mkdir(parents=True)
    shutil.copytree(example / "exp/chain/tdnn1a_sp", root / "exp/chain/tdnn1a_sp")
    for name, count in (("test_hires", 8), ("train_sub_hires", 4)):
        folder = root / "data" / name
        folder.mkdir(parents=True)
        for file in ("feats.scp", "text", "utt2spk"):
            lines = (example / "data" / name / file).read_text().splitlines(keepends=True)
            (folder / file).write_text("".join(lines[:count]).replace(" data/", f" {example}/data/"))
    shutil.copytree(example / "conf", root / "conf")
    egs = root / "exp/chain/tdnn1a_sp/egs"
    for source, target in (("train", "cegs.1.ark"), ("valid", "valid_diagnostic.cegs")):
        examples = list(read_examples(f"ark:{example}/exp/chain/tdnn1a_sp/egs/{source}_diagnostic.cegs"))[:16]
        (egs / target).unlink(missing_ok=True)
        with example_writer(f"ark:{egs / target}") as writer:
            for key, found in examples:
                writer.write(key, found)
    (egs / "train_diagnostic.cegs").unlink()
    (egs / "info/num_archives").write_text("1\n")
    return root


GRAPH = "exp/chain/tdnn1a_sp/graph_alphadigits"


def test_fine_tuning_as_its_users_type_it(recipe: Path) -> None:
    script = ROOT / "local/run_tdnn.py"
    options = ["--stage", 5, "--lr-initial", "1e-5", "--lr-final", "5e-6", "--graph-dir", GRAPH]
    places = ["--kaldi-model-dir", "exp/chain/tdnn1a_sp", "--data-dir", "data/test_hires", "--num-epochs", 1]
    sizes = ["--minibatch-size", 8, "--nj", 1]
    result = run([sys.executable, script, *options, *places, *sizes], recipe)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("%WER")
    out = recipe / "exp/chain/tdnn1a_sp_tuned"
    assert (out / "final.mdl").stat().st_size == (recipe / "exp/chain/tdnn1a_sp/final.mdl").stat().st_size
    assert (out / "final.mdl").read_bytes() != (recipe / "exp/chain/tdnn1a_sp/final.mdl").read_bytes()
    assert (out / "decode_test_hires/scoring_kaldi/best_wer").is_file()
    for name in ("tree", "den.fst", "frame_subsampling_factor", "progress.json", "log/train.log"):
        assert (out / name).is_file(), name


def test_from_a_kaldi_folder_to_a_table_of_three_models(recipe: Path) -> None:
    (recipe / "plain.yaml").write_text("default: {bits: 4, method: mse}\n")
    options = ["--config", recipe / "plain.yaml", "--num-epochs", 1, "--minibatch-size", 8, "--nj", 1]
    options += ["--calibration-dir", "data/train_sub_hires", "--vtlp", 0.1, "--filter-augment", 4]
    places = ["--model-dir", "exp/chain/tdnn1a_sp", "--graph-dir", GRAPH, "--data-dir", "data/test_hires"]
    result = run(["bash", ROOT / "run_qat.sh", *options, *places, recipe])
    assert result.returncode == 0, result.stderr
    out = recipe / "exp/chain/tdnn1a_sp_qat_w4a8"
    rows = [line for line in result.stdout.splitlines() if line.startswith("%WER") and "CI" not in line]
    for name in ("float", "PTQ", "QAT"):
        assert any(name in row for row in rows), (name, rows)
    assert (out / "quantized.safetensors").stat().st_size < 450_000
    record = json.loads((out / "progress.json").read_text())["options"]["source"]["augmentation"]
    assert (record["vtlp"], record["filter_augment"], record["mfcc"]["num_ceps"]) == (0.1, 4, 40)
    assert {"dequantized.mdl", "quantized.onnx", "compare.html", "objective.png"} <= {
        path.name for path in out.iterdir()
    }


@pytest.mark.parametrize("script", ["run_tdnn.py", "run_tdnn_qat.py"])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--stage", "9"), "--stage 9 is not one of 0 to 7"),
        (("--kaldi-model-dir", "exp/none"), "exp/none/final.mdl does not exist: see --kaldi-model-dir"),
        (("--lr-initial", "fast"), "'fast' is not a valid float"),
        (("--learning-rate", "1"), "No such option"),
        (("nowhere",), "the experiment folder nowhere does not exist"),
    ],
)
def test_wrong_arguments_are_one_sentence(
    script: str, arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    result = run([sys.executable, ROOT / "local" / script, *arguments], tmp_path)
    assert result.returncode != 0
    assert sentence.lower() in result.stderr.lower()
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("script", ["run_tdnn.py", "run_tdnn_qat.py"])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--data-dir", "data/none"), "data/none/text does not exist: see --data-dir"),
        ((), "data/test_clean_hires/text does not exist: see --data-dir"),
        (("--data-dir", "data/test_hires", "--graph-dir", "exp/none"), "exp/none/HCLG.fst does not exist: see --graph"),
        (("--data-dir", "data/test_hires"), "graph_tgsmall/HCLG.fst does not exist: see --graph-dir"),
    ],
)
def test_what_is_decoded_is_looked_for_before_training(
    script: str, arguments: tuple[str, ...], sentence: str, recipe: Path
) -> None:
    command = [sys.executable, ROOT / "local" / script, "--stage", 5, "--kaldi-model-dir", "exp/chain/tdnn1a_sp"]
    result = run([*command, *arguments], recipe)
    assert result.returncode == 1
    assert sentence in result.stderr and result.stderr.count("\n") == 1
    assert [path.name for path in (recipe / "exp/chain").iterdir()] == ["tdnn1a_sp"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--stage", "7"), "--stage 7 is not one of 0 1 2 3 4"),
        (("--nj", "0"), "--nj 0 is not a number of jobs"),
        (("--bits", "four"), "a width of 'four': --bits and --act-bits are numbers from 2 to 16"),
        (("--act-bits", "17"), "a width of '17': --bits and --act-bits are numbers from 2 to 16"),
        (("--width", "4"), "unknown option --width"),
        (("--calibration-dir", "data/test_hires"), "is the data that is scored"),
        (("--vtlp", "0.1", "--mfcc-config", "conf/none.conf"), "conf/none.conf does not exist: see --mfcc-config"),
    ],
)
def test_wrong_arguments_of_the_whole(arguments: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    stage = () if "--stage" in arguments else ("--stage", "1")
    result = run(["bash", ROOT / "run_qat.sh", *stage, *arguments, "--out-dir", tmp_path / "out"])
    assert result.returncode != 0
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


def test_mixed_widths_from_a_kaldi_folder_to_a_table(recipe: Path) -> None:
    (recipe / "plain.yaml").write_text("default: {bits: 4, method: mse}\n")
    options = ["--budget", "3 bits", "--widths", "2,4", "--num-epochs", 1, "--minibatch-size", 8, "--nj", 1]
    options += ["--calibration-dir", "data/train_sub_hires", "--dev-dir", "data/train_sub_hires"]
    options += ["--config", recipe / "plain.yaml", "--formats", "mdl"]
    places = ["--model-dir", "exp/chain/tdnn1a_sp", "--graph-dir", GRAPH, "--data-dir", "data/test_hires"]
    result = run(["bash", ROOT / "run_mixed.sh", *options, *places, recipe])
    assert result.returncode == 0, result.stderr
    out = recipe / "exp/chain/tdnn1a_sp_mixed"
    rows = [line for line in result.stdout.splitlines() if line.startswith("%WER")]
    assert any("QAT" in row for row in rows)
    record = json.loads((out / "quantization.json").read_text())
    assert {layer["bits"] for layer in record["layers"]} == {2, 4}
    scored = run(["bash", ROOT / "run_mixed.sh", *places, "--dev-dir", "data/test_hires", recipe])
    assert "is the data that is scored: choose widths on other data" in scored.stderr
