"""What is looked for in a decoding graph, piece by piece, against all arcs at once."""

from pathlib import Path

import kaldifst
import numpy as np
import pytest

from kaldi_quant.decode.checks import check_graph
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi import fst_file
from kaldi_quant.kaldi.fst_file import FstFile
from kaldi_quant.kaldi.transition_model import TransitionModel, read_transition_model

WORDS = {0: "<eps>", 1: "a", 2: "b", 9: "c"}


@pytest.fixture(scope="module")
def transitions(example: Path) -> TransitionModel:
    return read_transition_model(example / "exp/chain/tdnn1a_sp/0.trans_mdl")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fst_file, "_PIECE_STATES", 3)


def check(text: str, folder: Path, transitions: TransitionModel) -> str:
    """What is said of a graph in text form, as vector and as const; "" where it is fine."""
    fst = kaldifst.compile(text, acceptor=False)
    said = set()
    for form, kind in ((fst, "vector"), (kaldifst.StdConstFst(fst), "const")):
        assert form.write(str(folder / kind))
        try:
            check_graph(FstFile(folder / kind), "HCLG.fst", transitions, "final.mdl", WORDS, "words.txt")
            said.add("")
        except DataError as error:
            said.add(str(error))
    [sentence] = said
    return sentence


CHAIN = "".join(f"{state} {state + 1} {state + 1} {state % 3} 0.5\n" for state in range(10)) + "10\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ""),
        ("9 9 853 1\n", "has the transition-id 853, but final.mdl has only 852"),
        ("9 9 1 7\n8 8 1 5\n", "has the word-id 5, which is not in words.txt"),
        ("9 9 1 10\n", "has the word-id 10, which is not in words.txt"),
        ("9 9 1 9\n", ""),
        ("9 9 1 1 1e7\n", "has a cost beyond 1e+06"),
        ("9 9 1 1 -1e7\n", "has a cost beyond 1e+06"),
        ("9 9 1 1 Infinity\n", ""),
        ("9 1e7\n", "has a cost beyond 1e+06"),
        ("9 9 0 1 -0.1\n", "has a cycle of epsilon arcs with a negative cost"),
        ("9 8 0 0 -0.1\n8 9 0 0 0.05\n", "has a cycle of epsilon arcs with a negative cost"),
        ("9 8 0 0 -0.1\n8 9 0 0 0.15\n", ""),
    ],
)
def test_what_is_behind_the_first_piece_is_found(
    tmp_path: Path, transitions: TransitionModel, line: str, expected: str
) -> None:
    found = check(CHAIN + line, tmp_path, transitions)
    assert expected in found and bool(found) == bool(expected)


def test_a_grammar_is_one_in_all_pieces(tmp_path: Path, transitions: TransitionModel) -> None:
    same = "".join(f"{state} {state + 1} 1 1\n" for state in range(10)) + "10\n"
    assert "this is a grammar" in check(same, tmp_path, transitions)
    assert check(same + "9 9 1 2\n", tmp_path, transitions) == ""


@pytest.mark.parametrize("seed", range(40))
def test_cycles_against_all_arcs_at_once(tmp_path: Path, transitions: TransitionModel, seed: int) -> None:
    """Bellman and Ford's algorithm, plainly."""
    random = np.random.default_rng(seed)
    arcs = [
        (int(random.integers(12)), int(random.integers(12)), int(random.random() < 0.3), int(random.integers(-2, 6)))
        for _ in range(20)
    ]
    text = CHAIN + "".join(f"{s} {t} {label} 2 {cost}\n" for s, t, label, cost in arcs) + "11\n"
    cost = [0] * 12
    for _ in range(100):
        before = list(cost)
        for source, target, label, weight in arcs:
            if not label:
                cost[target] = min(cost[target], before[source] + weight)
    found = check(text, tmp_path, transitions)
    assert ("cycle of epsilon arcs" in found) == (cost != before)
