"""Corrupt settings of a Vosk folder: each is answered by a recogniser's parts or by one sentence.

More by hand: ``FUZZ_SEED=1000 FUZZ_CASES=500 pytest tests/test_fuzz_recogniser.py``.
"""

import os
import shutil
from pathlib import Path

import pytest

from kaldi_quant.kaldi.mfcc_options import read_mfcc_config
from kaldi_quant.kaldi.text_tables import read_symbol_table
from kaldi_quant.kaldi.word_boundary import read_word_boundary
from kaldi_quant.recogniser.models import find_parts
from tests.fuzzing import answer, reworded

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="memory is measured through Linux's /proc"
)

FIRST_SEED = int(os.environ.get("FUZZ_SEED", "0"))
CASES = int(os.environ.get("FUZZ_CASES", "25"))
FILES = ["conf/model.conf", "conf/mfcc.conf", "graph/phones/word_boundary.int", "graph/words.txt"]


@pytest.mark.parametrize("name", FILES)
def test_corrupt(vosk_model: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(vosk_model, folder)
    whole = (folder / name).read_bytes()

    def read() -> None:
        parts = find_parts(folder)
        assert parts.word_boundary is not None
        read_mfcc_config(parts.mfcc_config)
        read_word_boundary(parts.word_boundary)
        read_symbol_table(parts.words)
        parts.options.endpoint.silence()

    refused = 0
    for seed in range(FIRST_SEED, FIRST_SEED + CASES):
        (folder / name).write_bytes(reworded(whole, seed))
        refused += bool(answer(read, (str(tmp_path), "--")))
    assert refused or not CASES
