"""Do the files of a Kaldi recipe belong to the same model? Each mismatch is an error of one sentence that names both.

Files that are missing are not compared, as in Kaldi's scripts: old recipes did not write all of them.

Source: ``utils/lang/check_phones_compatible.sh``, ``utils/mkgraph.sh``, ``GetHTransducer`` in ``src/hmm/hmm-utils.cc``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from kaldi_quant.errors import DataError, FormatError, ModelError
from kaldi_quant.kaldi.egs_folder import EgsInfo
from kaldi_quant.kaldi.frame_subsampling import folder_of
from kaldi_quant.kaldi.ivector_folder import check_ivectors, ivector_id
from kaldi_quant.kaldi.model import Model
from kaldi_quant.kaldi.text_tables import read_symbol_table
from kaldi_quant.kaldi.transition_model import TransitionModel
from kaldi_quant.kaldi.tree import read_context_dependency

_PHONES_NAME = "phones.txt"
_MOST_BYTES = 1 << 20


def check_phones(first: Path, second: Path) -> None:
    """Compares two ``phones.txt``, apart from their disambiguation symbols.

    Raises:
        DataError: a phone has two numbers, or only one of the files has it.
        FormatError: a file is malformed.
    """
    if not first.is_file() or not second.is_file() or _lines(first) == _lines(second):
        return
    ours, theirs = _phones(first), _phones(second)
    for phone in chain(ours, theirs):
        if ours.get(phone) != theirs.get(phone):
            numbers = (f"{table[phone]}" if phone in table else "none" for table in (ours, theirs))
            raise DataError(
                f"{first} and {second} are of different phones: the number of {phone} is {' and '.join(numbers)}; "
                "take files that were made with the same phones"
            )


def check_graph_folder(graph_dir: Path, model: TransitionModel, model_path: str) -> None:
    """Compares what ``utils/mkgraph.sh`` leaves beside a graph with a model and its folder.

    Args:
        graph_dir: with ``HCLG.fst``.
        model: the transition model to decode with.
        model_path: where it is from.

    Raises:
        DataError: the graph was made for another model.
        FormatError: a file is malformed.
    """
    pdfs = _integers(graph_dir / "num_pdfs")
    if pdfs and pdfs[0] != model.num_pdfs:
        raise DataError(
            f"{graph_dir / 'num_pdfs'} says that the graph was made for a model of {pdfs[0]} pdfs, and {model_path} "
            f"has {model.num_pdfs}: make a graph for this model with utils/mkgraph.sh"
        )
    # Where H is made, disambiguation symbols are numbered from the first number that is no transition-id.
    symbols = _integers(graph_dir / "disambig_tid.int")
    if symbols and min(symbols) != model.num_transition_ids + 1:
        raise DataError(
            f"{graph_dir / 'disambig_tid.int'} says that the graph was made for a model of {min(symbols) - 1} "
            f"transition-ids, and {model_path} has {model.num_transition_ids}: make a graph for this model with "
            "utils/mkgraph.sh"
        )
    folder = folder_of(model_path)
    if folder is not None:
        check_phones(folder / _PHONES_NAME, graph_dir / _PHONES_NAME)


def check_tree(tree: Path, model: TransitionModel, model_path: str) -> None:
    """Compares a tree with a model.

    Raises:
        DataError: their numbers of pdfs differ.
        FormatError: the tree is malformed.
    """
    if not tree.is_file():
        return
    pdfs = read_context_dependency(tree).num_pdfs
    if pdfs != model.num_pdfs:
        raise DataError(
            f"{tree} has {pdfs} pdfs, and {model_path} has {model.num_pdfs}: it is the tree of another model"
        )


def check_same_pdfs(first: TransitionModel, first_path: str, second: TransitionModel, second_path: str) -> None:
    """Compares what the pdfs of two models stand for: phones, states of their HMMs, leaves of the tree.

    Raises:
        DataError: they are of different trees or topologies.
    """
    if first.num_pdfs != second.num_pdfs:
        raise DataError(
            f"{first_path} has {first.num_pdfs} pdfs, and {second_path} has {second.num_pdfs}: their trees differ"
        )
    if not np.array_equal(first.tuples, second.tuples):
        raise DataError(
            f"{first_path} and {second_path} have {first.num_pdfs} pdfs, which stand for different states of phones: "
            "their trees or phones differ"
        )


def check_network(model: Model) -> None:
    """Compares a model's network with its transition model.

    Raises:
        ModelError: the network's output is not as wide as the transition model has pdfs.
    """
    if model.transition_model is None or "output" not in model.nnet.nodes:
        return
    outputs, pdfs = model.nnet.node_dim("output"), model.transition_model.num_pdfs
    if outputs != pdfs:
        raise ModelError(
            f"{model.path}: its network has {outputs} outputs, and its transition model {pdfs} pdfs: they are of "
            "different models"
        )


def check_examples(egs: Path, model: Model) -> None:
    """Compares what Kaldi's scripts write beside examples, ``info`` or chain2's ``info.txt``, with a model.

    Raises:
        DataError: the examples were made for another model.
        FormatError: a file is malformed.
        UsageError: these are examples of chain2 that are not ready for training.
    """
    nnet, info = model.nnet, EgsInfo.read(egs)
    dims = [
        ("feat_dim", info.feat_dim, nnet.input_dim("input")),
        ("ivector_dim", info.ivector_dim, nnet.input_dim("ivector")),
    ]
    if "output" in nnet.nodes and len(info.languages) <= 1:
        dims.append(("num_pdfs", info.num_pdfs, nnet.node_dim("output")))
    for name, found, dim in dims:
        if found is not None and found != dim:
            says = f"{info.path / name} says" if info.path.is_dir() else f"{info.path} says that {name} is"
            raise DataError(f"{says} {found}, and {model.path} needs {dim}: the examples were made for another model")
    folder, extractor = folder_of(model.path), ivector_id(egs / "info")
    if nnet.input_dim("ivector") and folder is not None and extractor is not None:
        check_ivectors(ivector_id(folder), str(folder), egs / "info")


def fitting_features(
    utterances: Iterable[tuple[str, np.ndarray]], dim: int, table: str, model: str
) -> Iterator[tuple[str, np.ndarray]]:
    """Passes utterances on, if the first of them is as wide as a model's input.

    All features of a table have one width: where the first does not fit, none does, and Kaldi ends, too.

    Args:
        utterances: (name, features) pairs, features: (frames, columns) float32.
        dim: of the model's input.
        table: where they come from, for messages.
        model: the model's file, likewise.

    Raises:
        DataError: the first features that are not empty have another width.
    """
    first = True
    for name, features in utterances:
        if first and features.size:
            first = False
            if features.ndim == 2 and features.shape[1] != dim:
                raise DataError(
                    f"the features in {table} have {features.shape[1]} columns (utterance {name}), and {model} needs "
                    f"{dim}: give the features that the model was trained on"
                )
        yield name, features


def _lines(path: Path) -> list[bytes]:
    """A file's lines but those of disambiguation symbols, which is what Kaldi's script compares."""
    try:
        return [line for line in path.read_bytes().split(b"\n") if not line.startswith(b"#")]
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _phones(path: Path) -> dict[str, int]:
    return {symbol: number for number, symbol in read_symbol_table(path).items() if not symbol.startswith("#")}


def _integers(path: Path) -> list[int]:
    """The numbers in a small file, none where it is missing or empty."""
    if not path.is_file():
        return []
    try:
        with path.open("rb") as stream:
            words = stream.read(_MOST_BYTES).split()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    for word in words:
        if not word.isdigit() or len(word) > 9:
            raise FormatError(str(path), None, f"expected a number of 0 or more, found {word[:40]!r}")
    return [int(word) for word in words]
