"""Files that belong to different models are told apart."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import DataError, FormatError, ModelError
from kaldi_quant.kaldi.compatibility import (
    check_examples,
    check_graph_folder,
    check_network,
    check_phones,
    check_same_pdfs,
    check_tree,
    fitting_features,
)
from kaldi_quant.kaldi.model import AmNnetSimple, Model, read_model
from kaldi_quant.kaldi.transition_model import TransitionModel, read_transition_model
from tests.references import NNET3


@pytest.fixture(scope="module")
def folder(example: Path) -> Path:
    return example / "exp/chain/tdnn1a_sp"


@pytest.fixture(scope="module")
def transitions(folder: Path) -> TransitionModel:
    return read_transition_model(folder / "0.trans_mdl")


@pytest.fixture
def graph(folder: Path, tmp_path: Path) -> Path:
    """The small files of the example's graph."""
    path = tmp_path / "graph"
    path.mkdir()
    for name in ("num_pdfs", "disambig_tid.int", "phones.txt"):
        shutil.copy(folder / "graph_alphadigits" / name, path)
    return path


def _phones(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_phones_with_other_disambiguation_symbols_are_the_same(tmp_path: Path) -> None:
    first = _phones(tmp_path / "first.txt", "<eps> 0\nA 1\nB 2\n#0 3\n")
    second = _phones(tmp_path / "second.txt", "<eps> 0\nA 1\nB 2\n#0 4\n#1 3\n")
    check_phones(first, second)
    check_phones(first, _phones(tmp_path / "other.txt", "#0 3\n<eps> 0\nA 1\nB 2\n"))
    # Only where the lines differ they have to be understood.
    odd = [_phones(tmp_path / name, "A 1\n\nA 2\n#0 1\n") for name in ("odd.txt", "same.txt")]
    check_phones(*odd)
    check_phones(first, tmp_path / "missing.txt")
    check_phones(tmp_path / "missing.txt", second)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("<eps> 0\nA 2\nB 1\n", "the number of A is 1 and 2"),
        ("<eps> 0\nA 1\n", "the number of B is 2 and none"),
        ("<eps> 0\nA 1\nB 2\nC 3\n", "the number of C is none and 3"),
    ],
)
def test_other_phones(tmp_path: Path, text: str, sentence: str) -> None:
    first = _phones(tmp_path / "first.txt", "<eps> 0\nA 1\nB 2\n#0 3\n")
    with pytest.raises(DataError, match=rf"first.txt and .*second.txt are of different phones: {sentence}"):
        check_phones(first, _phones(tmp_path / "second.txt", text))


def test_the_examples_own_files_belong_together(folder: Path, graph: Path, transitions: TransitionModel) -> None:
    model = str(folder / "final.mdl")
    check_graph_folder(graph, transitions, model)
    check_tree(folder / "tree", transitions, model)
    check_network(read_model(model))
    check_examples(folder / "egs", read_model(model))


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        (
            "num_pdfs",
            "200\n",
            r"num_pdfs says .* was made for a model of 200 pdfs, and .*final.mdl has 208",
        ),
        ("disambig_tid.int", "801\n802\n", r"disambig_tid.int says .* a model of 800 transition-ids, and .* has 852"),
        ("phones.txt", "<eps> 0\nSIL 2\n", r"tdnn1a_sp/phones.txt and .*graph/phones.txt are of different phones"),
    ],
)
def test_a_graph_of_another_model(
    folder: Path, graph: Path, transitions: TransitionModel, name: str, text: str, sentence: str
) -> None:
    (graph / name).write_text(text)
    with pytest.raises(DataError, match=sentence):
        check_graph_folder(graph, transitions, str(folder / "final.mdl"))


@pytest.mark.parametrize("text", ["many", "-1", "208.0", "9" * 4000, "\xff\0"])
def test_a_malformed_number(folder: Path, graph: Path, transitions: TransitionModel, text: str) -> None:
    (graph / "num_pdfs").write_text(text)
    with pytest.raises(FormatError, match=r"num_pdfs: expected a number of 0 or more") as caught:
        check_graph_folder(graph, transitions, str(folder / "final.mdl"))
    assert len(str(caught.value)) < 400


def test_old_graph_folders_lack_these_files(folder: Path, transitions: TransitionModel, tmp_path: Path) -> None:
    (tmp_path / "disambig_tid.int").touch()
    check_graph_folder(tmp_path, transitions, str(folder / "final.mdl"))


def test_a_tree_of_another_model(folder: Path, transitions: TransitionModel) -> None:
    fewer = TransitionModel(transitions.topology, transitions.tuples[:100], transitions.log_probs)
    with pytest.raises(DataError, match=rf"tree has 208 pdfs, and other.mdl has {fewer.num_pdfs}"):
        check_tree(folder / "tree", fewer, "other.mdl")


def test_models_of_different_trees(transitions: TransitionModel, tdnnf: Model) -> None:
    assert tdnnf.transition_model is not None
    check_same_pdfs(transitions, "0.trans_mdl", tdnnf.transition_model, tdnnf.path)
    swapped = transitions.tuples.copy()
    swapped[:, 2:] = swapped[::-1, 2:]
    other = TransitionModel(transitions.topology, swapped, transitions.log_probs)
    with pytest.raises(DataError, match=r"a.mdl and b.mdl have 208 pdfs, which stand for different states of phones"):
        check_same_pdfs(transitions, "a.mdl", other, "b.mdl")
    fewer = TransitionModel(transitions.topology, transitions.tuples[:100], transitions.log_probs)
    with pytest.raises(DataError, match=rf"a.mdl has 208 pdfs, and b.mdl has {fewer.num_pdfs}: their trees differ"):
        check_same_pdfs(transitions, "a.mdl", fewer, "b.mdl")


def test_a_network_of_another_model() -> None:
    model = read_model(NNET3 / "lstm_mdl/final.mdl")
    assert isinstance(model.network, AmNnetSimple) and model.transition_model is not None
    check_network(model)
    of_model = model.transition_model
    fewer = TransitionModel(of_model.topology, of_model.tuples[:100], of_model.log_probs)
    with pytest.raises(ModelError, match=rf"has 208 outputs, and its transition model {fewer.num_pdfs} pdfs"):
        check_network(replace(model, transition_model=fewer))


@pytest.mark.parametrize("name", ["feat_dim", "ivector_dim", "num_pdfs"])
def test_examples_of_another_model(folder: Path, tmp_path: Path, name: str, model: Model) -> None:
    shutil.copytree(folder / "egs/info", tmp_path / "info")
    (tmp_path / "info" / name).write_text("13\n")
    with pytest.raises(DataError, match=rf"info/{name} says 13, and .*final.mdl needs"):
        check_examples(tmp_path, model)


@pytest.mark.parametrize("name", ["feat_dim", "ivector_dim", "num_leaves"])
def test_examples_of_chain2_of_another_model(tmp_path: Path, name: str, model: Model) -> None:
    right = {
        "feat_dim": 40,
        "ivector_dim": model.nnet.input_dim("ivector"),
        "num_leaves": model.nnet.node_dim("output"),
    }

    def write(values: dict[str, int]) -> None:
        lines = ["dir_type randomized_chain_egs", *(f"{key} {value}" for key, value in values.items())]
        (tmp_path / "info.txt").write_text("\n".join(lines) + "\n")

    write(right)
    check_examples(tmp_path, model)
    write({**right, name: 13})
    said = name.replace("num_leaves", "num_pdfs")
    with pytest.raises(DataError, match=rf"info.txt says that {said} is 13, and .*final.mdl needs {right[name]}:"):
        check_examples(tmp_path, model)


def test_examples_with_ivectors_of_another_extractor(tmp_path: Path) -> None:
    shutil.copy(NNET3 / "ivector_utterance/final.raw", tmp_path)
    (tmp_path / "egs/info").mkdir(parents=True)
    for path, text in ((tmp_path, "one"), (tmp_path / "egs/info", "one")):
        (path / "final.ie.id").write_text(text)
    model = read_model(tmp_path / "final.raw")
    check_examples(tmp_path / "egs", model)
    (tmp_path / "egs/info/final.ie.id").write_text("two")
    with pytest.raises(DataError, match=r"egs/info are of the extractor 'two', and .* 'one'"):
        check_examples(tmp_path / "egs", model)


def _table(*widths: int) -> list[tuple[str, np.ndarray]]:
    return [(f"utt{n}", np.zeros((0 if width == 0 else 3, width), np.float32)) for n, width in enumerate(widths)]


def test_features_that_fit_pass() -> None:
    assert [name for name, _ in fitting_features(_table(0, 40, 13), 40, "feats.scp", "final.mdl")] == [
        "utt0",
        "utt1",
        "utt2",
    ]


def test_features_that_do_not_fit() -> None:
    with pytest.raises(DataError, match=r"feats.scp have 13 columns \(utterance utt1\), and final.mdl needs 40"):
        list(fitting_features(_table(0, 13), 40, "feats.scp", "final.mdl"))
