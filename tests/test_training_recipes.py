"""The training recipes as a user types them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kaldi_quant.kaldi.egs import example_writer, read_examples
from tests.recipes import ROOT, few_utterances, run

GRAPH = "exp/chain/tdnn1a_sp/graph_alphadigits"


@pytest.fixture
def recipe(example: Path, tmp_path: Path) -> Path:
    """The root of a recipe with a model, four utterances to decode, and sixteen examples."""
    root = tmp_path / "s5"
    (root / "exp/chain").mkdir(parents=True)
    shutil.copytree(example / "exp/chain/tdnn1a_sp", root / "exp/chain/tdnn1a_sp")
    for name in ("test_hires", "train_sub_hires"):
        few_utterances(example / "data" / name, root / "data" / name, 4, example)
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


def test_fine_tuning_as_its_users_type_it(recipe: Path) -> None:
    options = ["--stage", 5, "--lr-initial", "1e-5", "--lr-final", "5e-6", "--graph-dir", GRAPH, "--srand", 3]
    places = ["--kaldi-model-dir", "exp/chain/tdnn1a_sp", "--data-dir", "data/test_hires", "--num-epochs", 1]
    words = [*options, *places, "--minibatch-size", 8, "--nj", 1]
    command = [sys.executable, str(ROOT / "local/run_tdnn.py"), *map(str, words)]
    settings = {**os.environ, "VIRTUAL_ENV": sys.prefix, "KALDI_ROOT": ""}
    result = subprocess.run(command, cwd=recipe, env=settings, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("%WER")
    model, out = recipe / "exp/chain/tdnn1a_sp", recipe / "exp/chain/tdnn1a_sp_tuned"
    tuned = (out / "final.mdl").read_bytes()
    assert len(tuned) == (model / "final.mdl").stat().st_size and tuned != (model / "final.mdl").read_bytes()
    assert (out / "decode_test_hires/scoring_kaldi/best_wer").is_file()
    for name in ("tree", "den.fst", "frame_subsampling_factor", "progress.json", "log/train.log"):
        assert (out / name).is_file(), name
    # What is there is kept, other examples are another training, and the same ones are the first again.
    kept = run("run_tdnn.py", *words, cwd=recipe)
    assert kept.status == 0 and "is made again" not in kept.stderr and (out / "final.mdl").read_bytes() == tuned
    egs = model / "egs/cegs.1.ark"
    content, other = egs.read_bytes(), (model / "egs/valid_diagnostic.cegs").read_bytes()
    egs.write_bytes(other)
    again = run("run_tdnn.py", *words, "--stop-stage", 6, cwd=recipe)
    assert again.status == 0, again.stderr
    assert "is made again: other content in the examples" in again.stderr
    assert (out / "final.mdl").read_bytes() != tuned
    skipped = run("run_tdnn.py", *words, "--stage", 7, cwd=recipe)
    assert skipped.status == 0 and "other content in the model" in skipped.stderr
    egs.write_bytes(content)
    back = run("run_tdnn.py", *words, "--stop-stage", 6, cwd=recipe)
    assert back.status == 0 and "is made again: other content in the examples" in back.stderr


def test_from_a_kaldi_folder_to_a_table_of_three_models(recipe: Path) -> None:
    (recipe / "plain.yaml").write_text("default: {bits: 4, method: mse}\n")
    options = ["--config", recipe / "plain.yaml", "--num-epochs", 1, "--minibatch-size", 8, "--nj", 1]
    options += ["--calibration-dir", "data/train_sub_hires", "--vtlp", 0.1, "--filter-augment", 4]
    places = ["--model-dir", "exp/chain/tdnn1a_sp", "--graph-dir", GRAPH, "--data-dir", "data/test_hires"]
    result = run("run_qat.sh", *options, *places, recipe)
    assert result.status == 0, result.stderr
    out = recipe / "exp/chain/tdnn1a_sp_qat_plain"
    rows = [line for line in result.stdout.splitlines() if line.startswith("%WER") and "CI" not in line]
    for name in ("float", "PTQ", "QAT"):
        assert any(name in row for row in rows), (name, rows)
    assert (out / "quantized.safetensors").stat().st_size < 450_000
    record = json.loads((out / "progress.json").read_text())["options"]["source"]["augmentation"]
    assert (record["vtlp"], record["filter_augment"], record["mfcc"]["num_ceps"]) == (0.1, 4, 40)
    names = {path.name for path in out.iterdir()}
    assert {"dequantized.mdl", "quantized.onnx", "compare.html", "objective.png"} <= names
    again = run("run_qat.sh", *options, *places, "--formats", "none", recipe)
    assert again.status == 0, again.stderr
    assert "made again" not in again.stderr
    assert again.stdout.splitlines()[-3:] == result.stdout.splitlines()[-3:]


@pytest.mark.parametrize("script", ["run_tdnn.py", "run_tdnn_qat.py"])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--stage", "9"), "--stage 9 is not one of 0 to 7"),
        (("--kaldi-model-dir", "exp/none"), "exp/none/final.mdl does not exist: see --kaldi-model-dir"),
        (("--lr-initial", "fast"), "'fast' is not a valid float"),
        (("--lr-initial", "nan"), "--lr-initial"),
        (("--learning-rate", "1"), "No such option"),
        (("--lr-every", "5"), "--lr-every 5 has an effect only with --lr-schedule step"),
        (("nowhere",), "the experiment folder nowhere does not exist"),
    ],
)
def test_wrong_arguments_are_one_sentence(
    script: str, arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    result = run(script, *arguments, cwd=tmp_path)
    assert result.status != 0
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
    result = run(script, "--stage", 5, "--kaldi-model-dir", "exp/chain/tdnn1a_sp", *arguments, cwd=recipe)
    assert result.status == 1
    assert sentence in result.stderr and result.stderr.count("\n") == 1
    assert [path.name for path in (recipe / "exp/chain").iterdir()] == ["tdnn1a_sp"]


def test_scored_data_do_not_calibrate_a_training(recipe: Path) -> None:
    folders = ["--kaldi-model-dir", "exp/chain/tdnn1a_sp", "--graph-dir", GRAPH, "--data-dir", "data/test_hires"]
    result = run("run_tdnn_qat.py", "--stage", 5, *folders, "--calibration-dir", "data/../data/test_hires", cwd=recipe)
    assert result.status == 1
    assert "is the data that is scored: calibrate on other data, or the result says nothing" in result.stderr
    assert [path.name for path in (recipe / "exp/chain").iterdir()] == ["tdnn1a_sp"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--stage", "7"), "7 is not in the range 0<=x<=4"),
        (("--nj", "0"), "--nj must be positive, found 0"),
        (("--bits", "four"), "'four' is not a valid integer"),
        (("--act-bits", "17"), "a width of 17 bits is not possible"),
        (("--width", "4"), "No such option"),
        (("--formats", "tflite"), "--formats tflite: expected"),
        (("--preset", "best"), "there is no preset 'best'"),
        (("--method", "best"), "--method"),
        (("--num-epochs", "-1"), "--num-epochs -1: expected 0 or more"),
        (("--teacher", "exp/none.mdl"), "exp/none.mdl is missing or empty"),
        (("--device", "tpu"), "tpu"),
        (("--calibration-dir", "data/test_hires"), "is the data that is scored"),
        (("--vtlp", "0.1", "--mfcc-config", "conf/none.conf"), "conf/none.conf is missing or empty"),
        (("--optimizer", "sgd", "--amsgrad"), "--amsgrad has an effect only with --optimizer adam"),
        (("--egs-dir", "none", "--early-stopping", "3"), "--early-stopping 3 needs held-out examples"),
        # The example's own rates are for Kaldi's schedule.
        (("--lr-schedule", "constant", "--device", "tpu"), "--device tpu: expected cpu or cuda"),
    ],
)
def test_wrong_arguments_of_the_whole(arguments: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    result = run("run_qat.sh", *arguments, "--out-dir", tmp_path / "out")
    assert result.status != 0
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_mixed_widths_from_a_kaldi_folder_to_a_table(recipe: Path) -> None:
    (recipe / "plain.yaml").write_text("default: {bits: 4, method: mse}\n")
    options = ["--budget", "3 bits", "--widths", "2,4", "--num-epochs", 1, "--minibatch-size", 8, "--nj", 1]
    options += ["--calibration-dir", "data/train_sub_hires", "--dev-dir", "data/train_sub_hires"]
    options += ["--config", recipe / "plain.yaml", "--formats", "mdl"]
    places = ["--model-dir", "exp/chain/tdnn1a_sp", "--graph-dir", GRAPH, "--data-dir", "data/test_hires"]
    result = run("run_mixed.sh", *options, *places, recipe)
    assert result.status == 0, result.stderr
    out = recipe / "exp/chain/tdnn1a_sp_mixed"
    rows = [line for line in result.stdout.splitlines() if line.startswith("%WER")]
    assert any("QAT" in row for row in rows)
    assert (out / "report.html").is_file()
    record = json.loads((out / "quantization.json").read_text())
    assert {layer["bits"] for layer in record["layers"]} == {2, 4}
    scored = run("run_mixed.sh", *options, *places, "--dev-dir", "data/test_hires", recipe)
    assert "is the data that is scored: choose widths on other data" in scored.stderr
    little = run("run_mixed.sh", *options, *places, "--budget", "1 bits", "--out-dir", recipe / "little", recipe)
    assert little.status == 1 and not (recipe / "little" / "decode_test_hires_float").exists()
