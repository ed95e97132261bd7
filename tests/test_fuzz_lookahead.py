"""Corrupt look-ahead graphs and grammars: each is answered by a graph or by one sentence.

More by hand: ``FUZZ_SEED=1000 FUZZ_CASES=700 pytest tests/test_fuzz_lookahead.py``.
"""

import os
from pathlib import Path

import pytest

from kaldi_quant.decode.lookahead import compose_lookahead
from kaldi_quant.kaldi.fst_file import read_fst
from kaldi_quant.kaldi.ngram_fst import read_grammar
from tests.fuzzing import answer, corrupt

pytestmark = [
    pytest.mark.filterwarnings("error::RuntimeWarning"),
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured through Linux's /proc"),
]

DATA = Path(__file__).resolve().parent / "data" / "lookahead"
FIRST_SEED = int(os.environ.get("FUZZ_SEED", "0"))
CASES = int(os.environ.get("FUZZ_CASES", "25"))


@pytest.mark.parametrize("name", ["HCLr.fst", "Gr.fst", "Gr.ngram.fst"])
def test_corrupt(tmp_path: Path, name: str) -> None:
    whole = (DATA / name).read_bytes()
    path = tmp_path / name

    def compose() -> None:
        lexicon = read_fst(path if name == "HCLr.fst" else DATA / "HCLr.fst", lookahead=True)
        grammar = read_grammar(DATA / "Gr.fst" if name == "HCLr.fst" else path)
        compose_lookahead(lexicon, grammar, [], 1 << 20)

    refused = 0
    for seed in range(FIRST_SEED, FIRST_SEED + CASES):
        path.write_bytes(corrupt(whole, seed))
        refused += bool(answer(compose, (str(tmp_path), "graph", "--")))
    assert refused or not CASES
