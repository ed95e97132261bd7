"""Verbs that compute with numpy alone do not wait for torch, nor for what others need."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kaldi_quant.formats.artefact import save
from tests.formats.quantized_examples import quantized
from tests.recipes import ROOT
from tests.report.decode_folders import disturbed, real, write_folder

# Runs command lines one after the other in one process; a module that one has loaded stays.
_PROGRAM = """
import json, sys
from kaldi_quant.cli.main import run
HEAVY = ("torch", "scipy", "onnx", "onnxruntime", "torchao", "matplotlib")
for words in json.load(open(sys.argv[1])):
    status = run(words)
    print("@", words[0], status, *(name for name in HEAVY if name in sys.modules))
"""


@pytest.fixture(scope="module")
def done(example: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each verb has left: its exit status, and what is loaded then."""
    folder = tmp_path_factory.mktemp("without_torch")
    experiment, model = example / "exp/chain/tdnn1a_sp", example / "exp/chain/tdnn1a_sp/final.mdl"
    graph, integers = experiment / "graph_alphadigits", folder / "quantized.safetensors"
    network = quantized("tdnn_lda", "w8")
    save(integers, network[1], network[0], {"frame_subsampling_factor": 3})
    references, first = (dict(list(transcripts.items())[:20]) for transcripts in real())
    found = [
        write_folder(folder / name, references, {"16_1.0": disturbed(first, share, 1)})
        for name, share in (("a", 0.0), ("b", 0.05))
    ]
    (folder / "lattices").mkdir()
    shutil.copy(ROOT / "tests/data/decode/lat.1.gz", folder / "lattices")
    feats, quick = folder / "feats.ark", ["--replications=100"]
    few = folder / "wav.scp"
    few.write_text("".join((example / "data/test_wav/wav.scp").read_text().splitlines(keepends=True)[:2]))
    few.write_text(few.read_text().replace(" wav/", f" {example}/wav/"))
    loglikes = f"ark:{example}/reference/nnet3_compute.test_first4.ark"
    scoring = ["--min-lmwt=9", "--max-lmwt=9", "--word-ins-penalty=0.0", "--backend=embedded"]
    lines = [
        ["--help"],
        ["copy", "--binary=false", model, folder / "copy.mdl"],
        ["info", integers],
        ["make-mfcc", f"scp:{few}", f"ark:{feats}"],
        ["compute-cmvn-stats", f"ark:{feats}", f"ark:{folder}/cmvn.ark"],
        ["decode", "--nj=1", "--beam=8", "--backend=embedded", model, graph / "HCLG.fst", loglikes, folder / "decode"],
        ["score", *scoring, example / "data/test_hires", graph, folder / "lattices"],
        ["compare", *quick, *found],
        ["compare-trainings", *quick, f"a={found[0]}", f"b={found[1]}"],
        # The plots need matplotlib.
        ["report", *quick, folder / "report.html", *found],
    ]
    (folder / "lines.json").write_text(json.dumps([[str(word) for word in line] for line in lines]))
    command = [sys.executable, "-c", _PROGRAM, str(folder / "lines.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KALDI_ROOT": ""}
    process = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environment)
    return [line.removeprefix("@ ") for line in process.stdout.splitlines() if line.startswith("@ ")]


@pytest.mark.parametrize(
    "verb",
    [
        "--help",
        "copy",
        "info",
        "make-mfcc",
        "compute-cmvn-stats",
        "decode",
        "score",
        "compare",
        "compare-trainings",
        "report",
    ],
)
def test_a_verb_needs_no_torch(done: list[str], verb: str) -> None:
    assert [line for line in done if line.startswith(f"{verb} ")] == [
        f"{verb} 0 matplotlib" if verb == "report" else f"{verb} 0"
    ]
