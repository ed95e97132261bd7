"""Left and right context and modulus; what has none."""

from pathlib import Path

import pytest

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.nnet3.context import Context
from kaldi_quant.nnet3.model import AcousticModel
from tests.references import NNET3, load_network


@pytest.mark.parametrize(
    ("name", "context"),
    [
        # Values of nnet3-info; test_info compares every model.
        ("tdnnf_small", (8, 8, 1)),
        ("fast_lstm", (1, 1, 1)),
        ("blstm_fast_lstmp", (1, 1, 1)),
        ("stats_mean", (1, 1, 9)),
        ("descriptor_failover", (1, 0, 1)),
        ("descriptor_switch3", (2, 38, 3)),
        ("conv_zero_padding", (0, 0, 1)),
        ("asymmetric_context", (11, 0, 1)),
    ],
)
def test_context(name: str, context: tuple[int, int, int]) -> None:
    assert load_network(NNET3 / name / "final.raw").context == Context(*context)


def _changed(tmp_path: Path, now: str, then: str) -> AcousticModel:
    source = (NNET3 / "descriptor_all_ten" / "final.txt").read_text()
    assert now in source
    (tmp_path / "final.txt").write_text(source.replace(now, then, 1))
    return AcousticModel(read_model(tmp_path / "final.txt").nnet)


def test_a_second_of_offset_is_context(tmp_path: Path) -> None:
    assert _changed(tmp_path, "Offset(input, -1)", "Offset(input, -100)").context.left >= 100


@pytest.mark.parametrize(
    ("now", "then", "sentence"),
    [
        ("Offset(input, -1)", "Offset(input, -20000)", "no output is computable from 6400 frames of input"),
        ("Offset(input, -1)", "Offset(input, -2000000000)", "time offsets add up to .* not plausible"),
        ("Round(b, 3)", "Round(b, 30000)", "a common modulus of 30000 frames, which is not plausible"),
        ("ReplaceIndex(ivector, t, 0)", "ReplaceIndex(ivector, x, 0)", "uses the index x"),
        ("Offset(b, -9)", "Offset(b, -9, 1)", "uses the index x"),
    ],
)
def test_what_has_no_context(tmp_path: Path, now: str, then: str, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence) as caught:
        _changed(tmp_path, now, then)
    assert str(tmp_path) in str(caught.value)


def test_an_output_that_is_not_there() -> None:
    network = load_network(NNET3 / "fast_lstm" / "final.raw")
    with pytest.raises(ModelError, match="there is no output node output-xent"):
        AcousticModel(network.nnet, "output-xent")


def test_another_output_can_be_computed() -> None:
    network = load_network(NNET3 / "descriptor_output" / "final.raw")
    xent = AcousticModel(network.nnet, "output-xent")
    assert (network.output_dim, xent.output_dim) == (12, 7)
    assert xent.context == Context(1, 1, 1)
