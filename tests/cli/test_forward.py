"""``kaldi-quant forward``: as nnet3-compute, from the command line to the archive."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from kaldi_quant.cli.main import run
from kaldi_quant.kaldi.tables import matrix_writer, read_matrices
from tests.references import NNET3, REFERENCES, Reference, largest_difference, read_archive

MODEL = NNET3 / "tdnn_component" / "final.raw"
FEATS = NNET3 / "feats20.ark"
SOME = [
    "tdnn_component/output",
    "tdnn_component/output_chunk51",
    "blstm_fast_lstmp/output_chunk51_21_9",
    "ivector_online/output_chunk51",
    "ivector_utterance/output",
    "priors_mdl/output",
    "subsampling2/output_chunk51_bare",
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model in a folder as Kaldi leaves it."""
    folder = tmp_path / "exp"
    folder.mkdir()
    shutil.copy(MODEL, folder / "final.mdl")
    (folder / "frame_subsampling_factor").write_text("3\n")
    return folder / "final.mdl"


def _command(reference: Reference) -> list[str]:
    """nnet3-compute's own options, word for word."""
    options = [f"--{name}={value}" for name, value in reference.options]
    return ["forward", *options, str(reference.model), f"ark:{reference.feats}"]


@pytest.mark.parametrize("reference", [r for r in REFERENCES if r.name in SOME], ids=lambda reference: reference.name)
def test_kaldis_options_give_kaldis_output(
    reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reference.output.parent)
    assert run([*_command(reference), f"ark:{tmp_path}/out.ark"]) == 0
    assert largest_difference(read_archive(tmp_path / "out.ark"), reference.expected()) < 3e-4


def test_the_subsampling_factor_is_that_of_the_models_folder(model: Path, tmp_path: Path) -> None:
    expected = read_archive(MODEL.parent / "output.ark")
    assert run(["forward", str(model), f"ark:{FEATS}", f"ark,scp:{tmp_path}/out.ark,{tmp_path}/out.scp"]) == 0
    assert largest_difference(dict(read_matrices(f"scp:{tmp_path}/out.scp")), expected) < 3e-4


def test_without_that_file_it_is_one(model: Path, tmp_path: Path) -> None:
    (model.parent / "frame_subsampling_factor").unlink()
    assert run(["forward", str(model), f"ark:{FEATS}", f"ark:{tmp_path}/out.ark"]) == 0
    assert {key: len(rows) for key, rows in read_archive(tmp_path / "out.ark").items()} == {
        key: len(rows) for key, rows in read_archive(FEATS).items()
    }


def test_the_option_comes_before_the_file(model: Path, tmp_path: Path) -> None:
    arguments = ["--frame-subsampling-factor", "2", str(model), f"ark:{FEATS}", f"ark:{tmp_path}/out.ark"]
    assert run(["forward", *arguments]) == 0
    assert len(read_archive(tmp_path / "out.ark")["utt061"]) == 31


def test_a_subsampling_factor_that_is_none(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model.parent / "frame_subsampling_factor").write_text("three\n")
    assert run(["forward", str(model), f"ark:{FEATS}", f"ark:{tmp_path}/out.ark"]) == 1
    assert "frame_subsampling_factor: expected a frame-subsampling factor such as 3, found 'three'" in (
        capsys.readouterr().err
    )


def test_other_precision_scale_and_batches(model: Path, tmp_path: Path) -> None:
    base = [str(model), f"ark:{FEATS}"]
    assert run(["forward", *base, f"ark:{tmp_path}/one.ark"]) == 0
    options = ["--float64", "--acoustic-scale=0.1", "--batch-seconds=0.3", "--num-threads=1"]
    assert run(["forward", *options, *base, f"ark:{tmp_path}/two.ark"]) == 0
    one, two = read_archive(tmp_path / "one.ark"), read_archive(tmp_path / "two.ark")
    assert list(one) == list(two)
    assert all(np.allclose(0.1 * one[key], two[key], atol=1e-5) for key in one)


def test_through_pipes_and_in_text_form(model: Path) -> None:
    command = [sys.executable, "-m", "kaldi_quant", "forward", str(model), "ark:-", "ark,t:-"]
    done = subprocess.run(command, input=FEATS.read_bytes(), capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"utt061  [\n  ")
    assert b"3 utterances, 0 left out" in done.stderr and b"\r" not in done.stderr


def test_bad_utterances_are_left_out_and_counted(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with matrix_writer(f"ark:{tmp_path}/feats.ark") as writer:
        for i in range(10):
            feats = np.zeros((20, 20), np.float32)
            feats[5] = np.nan if i == 3 else i
            writer.write(f"utt{i}", feats)
        writer.write("empty", np.zeros((0, 0), np.float32))
    arguments = ["forward", str(model), f"ark:{tmp_path}/feats.ark", f"ark:{tmp_path}/out.ark"]
    assert run([*arguments[:1], "--max-bad-share=0.2", *arguments[1:]]) == 0
    printed = capsys.readouterr().err
    assert "leaving out utterance utt3: its features are not finite (NaN or infinity) at frame 5" in printed
    assert "leaving out utterance empty: it has no frames" in printed
    assert "9 utterances, 2 left out" in printed
    assert list(read_archive(tmp_path / "out.ark")) == [f"utt{i}" for i in range(10) if i != 3]
    (tmp_path / "out.ark").unlink()
    assert run(arguments) == 1
    assert "2 of 11 utterances could not be used, more than the share of 0.1" in capsys.readouterr().err
    assert not (tmp_path / "out.ark").exists()


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        ({"model": "missing.mdl"}, 1, "missing.mdl: cannot be read: No such file or directory"),
        ({"feats": "ark:missing.ark"}, 1, "missing.ark: cannot be read: No such file or directory"),
        ({"feats": "scp:missing.scp"}, 1, "missing.scp: cannot be read: No such file or directory"),
        ({"feats": "feats.ark"}, 1, "feats.ark"),
        (
            {"feats": f"ark:{NNET3}/feats40.ark"},
            1,
            "feats40.ark have 40 columns (utterance ",
        ),
        ({"feats": "ark:empty.ark"}, 1, "empty.ark"),
        ({"feats": "ark:cat feats.ark |"}, 1, "--allow-pipes"),
        ({"out": "ark:file/out.ark"}, 1, "cannot write file/out.ark"),
        ({"out": "out.ark"}, 1, "out.ark"),
        (
            {"model": str(NNET3 / "distribute" / "final.raw")},
            1,
            "DistributeComponent, which can be copied but not exec",
        ),
        ({"model": str(NNET3 / "ivector_online" / "final.raw")}, 1, "none of the 3 utterances could be used"),
        ({"--frame-subsampling-factor": "0"}, 2, "'--frame-subsampling-factor': 0 is not in the range"),
        ({"--frame-subsampling-factor": "x"}, 2, "'x' is not a valid integer"),
        ({"--frames-per-chunk": "-1"}, 1, "--frames-per-chunk at least 0"),
        ({"--extra-left-context": "-1"}, 1, "cannot be negative"),
        ({"--extra-left-context": "2000000000"}, 1, "extra context of 2000000000 frames is more than any model uses"),
        ({"--batch-seconds": "0"}, 1, "--batch-seconds must be positive, found 0"),
        ({"--batch-seconds": "nan"}, 1, "--batch-seconds must be positive, found nan"),
        ({"--acoustic-scale": "nan"}, 1, "--acoustic-scale must be a finite number, found nan"),
        ({"--max-bad-share": "2"}, 1, "--max-bad-share must be from 0 to 1, found 2"),
        ({"--online-ivector-period": "-1"}, 1, "--online-ivector-period cannot be negative, found -1"),
        (
            {"--ivectors": "ark:a", "--online-ivectors": "ark:b"},
            1,
            "--ivectors, --online-ivectors and --ivector-extractor exclude each other",
        ),
        ({"--device": "tpu"}, 2, "'tpu' is not one of 'cpu', 'cuda'"),
        ({"--beam": "3"}, 2, "--frames-per-chunk (default: 0)"),
    ],
)
def test_errors(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, str],
    status: int,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("file", "empty.ark"):
        (tmp_path / name).touch()
    given = {"model": str(MODEL), "feats": f"ark:{FEATS}", "out": "ark:new.ark", **options}
    arguments = [given.pop("model"), given.pop("feats"), given.pop("out")]
    assert run(["forward", *[f"{name}={value}" for name, value in given.items()], *arguments]) == status
    printed = capsys.readouterr()
    assert sentence in printed.err and "internal error" not in printed.err and "Traceback" not in printed.err
    assert printed.out == ""
    assert sorted(os.listdir(tmp_path)) == ["empty.ark", "file"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_without_a_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["forward", "--device=cuda", str(MODEL), f"ark:{FEATS}", f"ark:{tmp_path}/out.ark"]) == 1
    assert "--device cuda: torch finds no CUDA device; use --device cpu" in capsys.readouterr().err


def test_missing_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["forward", str(MODEL)]) == 2
    assert "Missing argument 'FEATURES-RSPECIFIER'" in capsys.readouterr().err


def test_a_killed_run_leaves_no_half_output(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "loglikes.ark"
    command = [
        sys.executable,
        "-m",
        "kaldi_quant",
        "forward",
        "--batch-seconds=0.01",
        str(model),
        "ark:-",
        f"ark:{out}",
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.write(FEATS.read_bytes())
    process.stdin.flush()
    begin = time.monotonic()
    # The input goes on, so that the run is in its middle once its temporary file is there.
    while not list(out.parent.glob(".loglikes.ark.*")) and time.monotonic() < begin + 60:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    assert list(out.parent.glob(".loglikes.ark.*")) and not out.exists()
    assert run(["forward", str(model), f"ark:{FEATS}", f"ark:{out}"]) == 0
    assert len(read_archive(out)) == 3
