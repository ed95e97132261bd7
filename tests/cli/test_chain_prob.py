"""``kaldi-quant chain-prob``."""

from pathlib import Path

import pytest

from kaldi_quant.cli.main import run
from kaldi_quant.kaldi.egs import example_writer, read_examples
from kaldi_quant.kaldi.merge_egs import MinibatchSizes, merge_egs
from tests.references import NNET3


@pytest.fixture
def folder(example: Path) -> Path:
    return example / "exp" / "chain" / "tdnn1a_sp"


@pytest.fixture
def arguments(folder: Path, tmp_path: Path) -> list[str]:
    """The model, the graph and some merged examples."""
    examples = (eg for key, eg in read_examples(f"ark:{folder}/egs/valid_diagnostic.cegs") if key.startswith("train08"))
    with example_writer(f"ark:{tmp_path}/egs.ark") as writer:
        for key, example in merge_egs(examples, MinibatchSizes.parse("1:8")):
            writer.write(key, example)
    return [str(folder / "final.mdl"), str(folder / "den.fst"), f"ark:{tmp_path}/egs.ark"]


def test_kaldis_lines(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--leaky-hmm-coefficient=0.1", "--xent-regularize", "0.1", "--out-of-range-regularize=0"]
    assert run(["chain-prob", *options, *arguments]) == 0
    printed = capsys.readouterr()
    first, second = printed.out.splitlines()
    assert printed.err == ""
    assert first.startswith("Overall log-probability for 'output' is -0.0") and first.endswith(" frames.")
    assert second.startswith("Overall log-probability for 'output-xent' is -0.") and " per frame, over " in second
    assert run(["chain-prob", "--l2-regularize=0.001", *arguments]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    objf, l2_term, total = (
        float(word) for word in line.split(" is ")[1].replace("+", "=").split(" per ")[0].split("=")
    )
    assert l2_term < 0 and objf + l2_term == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize(
    ("replaced", "sentence"),
    [
        ({0: "missing.mdl"}, "missing.mdl: cannot be read: No such file"),
        ({1: "missing.fst"}, "missing.fst: cannot be read: No such file"),
        ({2: "missing.ark"}, "expected an rspecifier"),
        ({2: "ark:missing.ark"}, "missing.ark: cannot be read: No such file"),
        ({2: "ark:cat egs.ark |"}, "is not run: give --allow-pipes"),
    ],
)
def test_missing_files(
    arguments: list[str], capsys: pytest.CaptureFixture[str], replaced: dict[int, str], sentence: str
) -> None:
    assert run(["chain-prob", *(replaced.get(i, value) for i, value in enumerate(arguments))]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("kaldi-quant chain-prob: ") and sentence in printed.err
    assert len(printed.err.splitlines()) == 1


def test_impossible_options(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["chain-prob", "--leaky-hmm-coefficient=0", *arguments]) == 1
    assert "--leaky-hmm-coefficient=0: expected a number between 0 and 1" in capsys.readouterr().err
    assert run(["chain-prob", "--leaky=0", *arguments]) == 2


def test_a_graph_of_another_tree(arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments[1] = str(folder / "graph_alphadigits" / "HCLG.fst")
    assert run(["chain-prob", *arguments]) == 1
    assert "HCLG.fst: an arc has the label" in capsys.readouterr().err


def test_a_truncated_archive(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "egs.ark"
    path.write_bytes(path.read_bytes()[:-100])
    assert run(["chain-prob", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and f"{path}, byte " in printed.err


def test_a_model_without_the_branch(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    arguments[0] = str(NNET3 / "fast_lstm" / "final.raw")
    assert run(["chain-prob", "--xent-regularize=0.1", *arguments]) == 1
    assert "has no output-xent, which --xent-regularize asks for" in capsys.readouterr().err
