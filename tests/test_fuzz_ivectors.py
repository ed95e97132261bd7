"""Corrupt files of an extractor of i-vectors: each is answered by a result or by one sentence.

More by hand: ``FUZZ_SEED=1000 FUZZ_CASES=350 pytest tests/test_fuzz_ivectors.py``.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.kaldi.ivectors.online import ivectors_of_utterance
from kaldi_quant.kaldi.ivectors.options import read_extraction
from tests.fuzzing import answer, corrupt, reworded

pytestmark = [
    # A warning of numpy on standard error is no answer.
    pytest.mark.filterwarnings("error::RuntimeWarning"),
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured through Linux's /proc"),
]

EXTRACTOR = Path(__file__).resolve().parents[1] / "egs/alphadigits/exp/chain/tdnnf1c_sp_online/ivector_extractor"
FIRST_SEED = int(os.environ.get("FUZZ_SEED", "0"))
CASES = int(os.environ.get("FUZZ_CASES", "25"))
FILES = ["final.ie", "final.dubm", "final.mat", "global_cmvn.stats", "online_cmvn.conf", "splice_opts"]


@pytest.mark.parametrize("name", FILES)
def test_corrupt(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "ie"
    shutil.copytree(EXTRACTOR, folder)
    whole = (folder / name).read_bytes()
    feats = np.random.default_rng(0).normal(size=(30, 40)).astype(np.float32) * 10
    change = corrupt if whole[:2] == b"\0B" else reworded

    def extract() -> None:
        rows, state = ivectors_of_utterance(read_extraction(folder), feats)
        assert np.isfinite(rows).all() and np.isfinite(state.statistics.linear).all()

    refused = 0
    for seed in range(FIRST_SEED, FIRST_SEED + CASES):
        (folder / name).write_bytes(change(whole, seed))
        refused += bool(answer(extract, (str(tmp_path), *FILES, "i-vectors", "--")))
    assert refused or not CASES
