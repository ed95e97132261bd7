"""Which phones begin and end words."""

from pathlib import Path

import pytest

from kaldi_quant.errors import DataError, FormatError
from kaldi_quant.kaldi.transition_model import read_transition_model
from kaldi_quant.kaldi.word_boundary import PhoneKind, WordBoundary, read_word_boundary


def test_the_example_has_phones_of_each_kind(example: Path) -> None:
    folder = example / "exp/chain/tdnn1a_sp"
    boundary = read_word_boundary(folder / "graph_alphadigits/phones/word_boundary.int")
    assert set(boundary.kinds.values()) == set(PhoneKind)
    transitions = read_transition_model(folder / "final.mdl")
    kinds = boundary.of_transition_ids(transitions)
    for transition_id in (1, transitions.num_transition_ids):
        assert kinds[transition_id] is boundary.kinds[transitions.transition_id_to_phone[transition_id]]


def test_a_phone_of_the_model_without_a_kind_is_refused(example: Path) -> None:
    transitions = read_transition_model(example / "exp/chain/tdnn1a_sp/final.mdl")
    with pytest.raises(DataError, match="phone 2 stands"):
        WordBoundary({1: PhoneKind.NONWORD}).of_transition_ids(transitions)


@pytest.mark.parametrize("text", ["", "1\n", "1 begin end\n", "0 begin\n", "x begin\n", "1 middle\n"])
def test_malformed_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "word_boundary.int"
    path.write_text(text)
    with pytest.raises(FormatError, match=r"word_boundary.int: .*expected a phone"):
        read_word_boundary(path)
