"""Look-ahead graphs that OpenFST made are composed into one graph with the same sentences at the same costs."""

import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.cli.main import run
from kaldi_quant.decode.lookahead import compose_lookahead
from kaldi_quant.errors import DataError, FormatError
from kaldi_quant.kaldi.fst import ARC, Fst
from kaldi_quant.kaldi.fst_file import read_fst
from kaldi_quant.kaldi.fst_writer import write_fst
from kaldi_quant.kaldi.ngram_fst import read_grammar
from kaldi_quant.kaldi.text_tables import read_numbers

DATA = Path(__file__).resolve().parents[1] / "data" / "lookahead"
LEXICON = read_fst(DATA / "HCLr.fst", lookahead=True)
DISAMBIG = read_numbers(DATA / "disambig_tid.int")
GRAMMARS = {"const": "Gr.fst", "ngram": "Gr.ngram.fst"}
Capture = pytest.CaptureFixture[str]
Best = dict[int, tuple[float, tuple[int, ...]]]


def fst(arcs: list[list[tuple[int, int, float, int]]], final: dict[int, float]) -> Fst:
    costs = np.full(len(arcs), np.inf, np.float32)
    for state, cost in final.items():
        costs[state] = cost
    offsets = np.cumsum([0] + [len(some) for some in arcs])
    return Fst("const", 0, costs, offsets, np.array([arc for some in arcs for arc in some], ARC))


class Search:
    """The best sentence for input labels, through states of any kind."""

    def __init__(self, start: object) -> None:
        self.best = {start: (0.0, ())}

    def arcs(self, state: object) -> list[tuple[int, int, float, object]]:
        raise NotImplementedError

    def final(self, state: object) -> float:
        raise NotImplementedError

    def close(self) -> None:
        waiting = list(self.best)
        while waiting:
            state = waiting.pop()
            cost, words = self.best[state]
            for ilabel, olabel, weight, target in self.arcs(state):
                new = cost + weight
                if not ilabel and new < self.best.get(target, (np.inf, ()))[0] - 1e-9:
                    self.best[target] = new, words + ((olabel,) if olabel else ())
                    waiting.append(target)

    def of(self, labels: list[int]) -> tuple[float, tuple[int, ...]]:
        self.close()
        for label in labels:
            found: dict[object, tuple[float, tuple[int, ...]]] = defaultdict(lambda: (np.inf, ()))
            for state, (cost, words) in self.best.items():
                for ilabel, olabel, weight, target in self.arcs(state):
                    if ilabel == label and cost + weight < found[target][0]:
                        found[target] = cost + weight, words + ((olabel,) if olabel else ())
            self.best = dict(found)
            self.close()
        return min(
            ((cost + self.final(state), words) for state, (cost, words) in self.best.items()), default=(np.inf, ())
        )


class InGraph(Search):
    def __init__(self, graph: Fst) -> None:
        super().__init__(graph.start)
        self.graph = graph

    def arcs(self, state: int) -> list[tuple[int, int, float, int]]:  # type: ignore[override]
        return self.graph.arcs[self.graph.arc_offsets[state] : self.graph.arc_offsets[state + 1]].tolist()

    def final(self, state: int) -> float:  # type: ignore[override]
        return float(self.graph.final[state])


class InPair(Search):
    """States of a lexicon with those of a grammar, as composition defines it."""

    def __init__(self, lexicon: Fst, grammar: Fst, disambig: list[int]) -> None:
        super().__init__((lexicon.start, grammar.start))
        self.lexicon, self.grammar, self.disambig = InGraph(lexicon), InGraph(grammar), set(disambig)

    def arcs(self, state: tuple[int, int]) -> list[tuple[int, int, float, tuple[int, int]]]:  # type: ignore[override]
        first, second = state
        found = [(0, word, cost, (first, to)) for label, word, cost, to in self.grammar.arcs(second) if not label]
        for ilabel, olabel, weight, target in self.lexicon.arcs(first):
            taken = 0 if ilabel in self.disambig else ilabel
            if not olabel:
                found.append((taken, 0, weight, (target, second)))
                continue
            for label, word, cost, to in self.grammar.arcs(second):
                if label == olabel:
                    found.append((taken, word, weight + cost, (target, to)))
        return found

    def final(self, state: tuple[int, int]) -> float:  # type: ignore[override]
        return self.lexicon.final(state[0]) + self.grammar.final(state[1])


def sentence(graph: Fst, random: np.random.Generator) -> list[int]:
    """The input labels of a random way to an end."""
    state, labels = graph.start, []
    while not (np.isfinite(graph.final[state]) and len(labels) > 20) and len(labels) < 80:
        begin, end = graph.arc_offsets[state], graph.arc_offsets[state + 1]
        ilabel, _, _, state = graph.arcs[int(random.integers(begin, end))].tolist()
        labels += [ilabel] if ilabel else []
    return labels


@pytest.mark.parametrize("kind", GRAMMARS)
def test_sentences_and_costs_are_those_of_the_pair(kind: str) -> None:
    grammar = read_grammar(DATA / GRAMMARS[kind])
    graph = compose_lookahead(LEXICON, grammar, DISAMBIG)
    random, ended = np.random.default_rng(0), 0
    for _ in range(20):
        labels = sentence(graph, random)
        cost, words = InGraph(graph).of(labels)
        expected, expected_words = InPair(LEXICON, grammar, DISAMBIG).of(labels)
        assert (np.isinf(cost) and np.isinf(expected)) or cost == pytest.approx(expected, abs=1e-3)
        assert words == expected_words
        ended += bool(np.isfinite(cost))
    assert ended > 5


def test_the_graph_is_no_larger_than_openfsts() -> None:
    """OpenFST's look-ahead composition of the same files has 647 states; composition without it, 1355."""
    assert compose_lookahead(LEXICON, read_grammar(DATA / "Gr.fst"), []).num_states <= 647


def test_an_ngram_file_is_what_openfst_reads_in_it() -> None:
    found, expected = read_grammar(DATA / "Gr.ngram.fst"), read_fst(DATA / "Gr.ngram.vector.fst")
    assert found.start == expected.start and np.array_equal(found.final, expected.final)
    assert np.array_equal(found.arc_offsets, expected.arc_offsets) and np.array_equal(found.arcs, expected.arcs)


@pytest.mark.parametrize("kind", GRAMMARS)
def test_words_are_those_of_vosk(kind: str, vosk_model: Path, example: Path, tmp_path: Path, capsys: Capture) -> None:
    """Vosk 0.3.45 composes the same files while it decodes."""
    folder = tmp_path / "model"
    shutil.copytree(vosk_model, folder)
    (folder / "graph/HCLG.fst").unlink()
    for name in ("HCLr.fst", "disambig_tid.int"):
        shutil.copy(DATA / name, folder / "graph")
    shutil.copy(DATA / GRAMMARS[kind], folder / "graph/Gr.fst")
    paths = sorted((example / "wav").glob("*.wav"))
    assert run(["transcribe", str(folder), str(paths[0])]) == 1
    advice = capsys.readouterr().err.strip().splitlines()[-1]
    assert advice.endswith(f"kaldi-quant compose-graph --vosk-model {folder}")
    assert run(["compose-graph", "--vosk-model", str(folder)]) == 0
    assert run(["transcribe", str(folder), *map(str, paths)]) == 0
    found = [line.split(" ", 1) for line in capsys.readouterr().out.splitlines()]
    expected = (DATA / ("words.txt" if kind == "const" else "words.ngram.txt")).read_text().splitlines()
    assert [f"{Path(path).stem} {words}" for path, words in found] == expected


def test_a_graph_that_is_written_is_read_again(tmp_path: Path) -> None:
    graph = compose_lookahead(LEXICON, read_grammar(DATA / "Gr.fst"), DISAMBIG)
    write_fst(tmp_path / "HCLG.fst", graph)
    found = read_fst(tmp_path / "HCLG.fst")
    assert found.start == graph.start and np.array_equal(found.final, graph.final)
    assert np.array_equal(found.arc_offsets, graph.arc_offsets) and np.array_equal(found.arcs, graph.arcs)


def test_refusals(tmp_path: Path, capsys: Capture) -> None:
    grammar = read_grammar(DATA / "Gr.fst")
    with pytest.raises(DataError, match="more than 100 arcs"):
        compose_lookahead(LEXICON, grammar, DISAMBIG, 100)
    says_one = fst([[(5, 1, 0.0, 1)], []], {1: 0.0})
    takes_two = fst([[(2, 2, 0.0, 1)], []], {1: 0.0})
    with pytest.raises(DataError, match="no sentence in common"):
        compose_lookahead(says_one, takes_two, [])
    with pytest.raises(FormatError, match="compose-graph makes a whole HCLG"):
        read_fst(DATA / "HCLr.fst")
    whole = (DATA / "HCLr.fst").read_bytes()
    (tmp_path / "HCLr.fst").write_bytes(whole.replace((446681434).to_bytes(4, "little"), bytes(4)))
    with pytest.raises(FormatError, match="expected the number of an FST with additions"):
        read_fst(tmp_path / "HCLr.fst", lookahead=True)
    (tmp_path / "disambig_tid.int").write_text("many\n")
    files = [
        str(DATA / "HCLr.fst"),
        str(DATA / "Gr.fst"),
        str(tmp_path / "disambig_tid.int"),
        str(tmp_path / "out.fst"),
    ]
    assert run(["compose-graph", *files]) == 1
    assert "line 1: expected a number of 0 or more, found 'many'" in capsys.readouterr().err
    assert not (tmp_path / "out.fst").exists()
