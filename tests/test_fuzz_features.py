"""Corrupt files of what normalises and transforms features: each is answered by a result or by one sentence.

More by hand: ``FUZZ_SEED=1000 FUZZ_CASES=5000 pytest tests/test_fuzz_features.py``.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.kaldi.features.pipeline import FeatureSources
from tests.fuzzing import answer, corrupt
from tests.kaldi.features import FEATURES, pipeline, read

pytestmark = [
    # A warning of numpy on standard error is no answer.
    pytest.mark.filterwarnings("error::RuntimeWarning"),
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured through Linux's /proc"),
]

FIRST_SEED = int(os.environ.get("FUZZ_SEED", "0"))
CASES = int(os.environ.get("FUZZ_CASES", "0"))

# Where each file lies, and whether normalisation is online.
PLACES = {
    "cmvn.scp": ("data", False),
    "cmvn.ark": ("data", False),
    "utt2spk": ("data", False),
    "fmllr.ark": ("data", False),
    "cmvn_opts": ("model", False),
    "spk2utt": ("data", True),
    "global_cmvn.stats": ("model", True),
    "window30.conf": ("model", True),
    "final.mat": ("model", True),
    "splice_opts": ("model", True),
}


def lay_out(folder: Path, online: bool) -> None:
    """A data folder and a model's folder."""
    data, model = folder / "data", folder / "model"
    data.mkdir()
    model.mkdir()
    for name in ("feats.ark", "cmvn.ark", "utt2spk", "spk2utt", "fmllr.ark"):
        shutil.copy(FEATURES / name, data)
    for name, copy in {"global_cmvn.stats": "", "window30.conf": "", "lda.mat": "final.mat"}.items():
        shutil.copy(FEATURES / name, model / (copy or name))
    (data / "cmvn.scp").write_text((FEATURES / "cmvn.scp").read_text())
    (model / "splice_opts").write_text("--left-context=2 --right-context=1\n")
    if online:
        (model / "online_cmvn").touch()
    opts = f"--config={model}/window30.conf" if online else "--norm-vars=true --skip-dims=1:2"
    (model / "cmvn_opts").write_text(opts + "\n")


@pytest.mark.parametrize("name", PLACES)
def test_files_of_features(tmp_path: Path, name: str) -> None:
    place, online = PLACES[name]
    lay_out(tmp_path, online)
    path = tmp_path / place / name
    source, feats = path.read_bytes(), read("feats")
    left_out: list[str] = []

    def normalise() -> None:
        transforms = None if online else f"ark:{tmp_path}/data/fmllr.ark"
        done = pipeline(
            tmp_path / "model",
            FeatureSources(transforms=transforms),
            input_dim=3 if online else 4,
            feats=f"ark:{tmp_path}/data/feats.ark",
        )
        for _, rows in done.apply(feats.items(), lambda _, error: left_out.append(str(error))):
            assert rows.dtype == np.float32 and np.isfinite(rows).all()

    assert answer(normalise, ()) == ""
    answers = []
    for seed in range(FIRST_SEED, FIRST_SEED + (CASES or 60)):
        path.write_bytes(corrupt(source, seed))
        answers.append(answer(normalise, (str(tmp_path), "--")))
    assert [reason for reason in left_out if "\n" in reason or not reason.startswith("utterance ")] == []
    assert left_out or set(answers) > {""}
