"""Calibration sets of so many frames, drawn evenly from utterances."""

import numpy as np
import pytest

from kaldi_quant.nnet3.chunks import ChunkOptions, cut
from kaldi_quant.nnet3.drawn import CHUNK, drawn
from kaldi_quant.nnet3.inference import InferenceOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.utterances import UtteranceSet
from tests.references import NNET3, load, model_file

LENGTHS = [430, 151, 20, 300, 149, 900, 75, 0]


def utterances(dim: int, options: ChunkOptions | None = None) -> UtteranceSet:
    random = np.random.default_rng(0)
    feats = [(f"u{i}", random.standard_normal((n, dim)).astype(np.float32)) for i, n in enumerate(LENGTHS)]
    return UtteranceSet(feats, InferenceOptions(options or ChunkOptions(3)), max_bad_share=0.5)


@pytest.mark.parametrize("name", ["tdnn_lda", "tdnnf_small"])
@pytest.mark.parametrize("frames", [150, 600, 1300])
def test_what_is_drawn_is_computed_as_in_its_utterance(name: str, frames: int) -> None:
    nnet = load(model_file(NNET3 / name)).nnet
    model, everything = AcousticModel(nnet), utterances(nnet.input_dim())
    whole = dict(everything.outputs(model))
    some = drawn(everything, nnet, frames)
    assert abs(some.amount() - frames) <= 2 * CHUNK
    found = dict(some.outputs(model))
    assert sum(map(len, found.values())) == pytest.approx(some.amount() / 3, abs=len(found) * 3)
    for utterance, rows in found.items():
        chunks = cut(LENGTHS[int(utterance[1:])], model.context, some.options.chunks)
        places = [
            row
            for number in some.chosen[utterance]
            for row in range(chunks[number].first_output, chunks[number].first_output + chunks[number].num_outputs)
        ]
        np.testing.assert_allclose(rows, whole[utterance][places], rtol=1e-4, atol=1e-4)


def test_few_frames_come_from_many_utterances() -> None:
    nnet = load(model_file(NNET3 / "tdnn_lda")).nnet
    random = np.random.default_rng(1)
    feats = [(f"u{i}", random.standard_normal((1500, nnet.input_dim())).astype(np.float32)) for i in range(50)]
    some = drawn(UtteranceSet(feats, InferenceOptions(ChunkOptions(3))), nnet, 25 * CHUNK)
    assert len(some.units) == 25 and some.amount() == 25 * CHUNK
    # Not all of them are where utterances begin.
    assert len({number for (number,) in some.chosen.values()}) > 1


def test_small_sets_are_taken_whole() -> None:
    nnet = load(model_file(NNET3 / "tdnn_lda")).nnet
    everything = utterances(nnet.input_dim())
    assert drawn(everything, nnet, sum(LENGTHS)) is everything
    assert drawn(everything, nnet, sum(LENGTHS) - 1).digest() != everything.digest()


def test_networks_that_remember_get_whole_utterances() -> None:
    nnet = load(model_file(NNET3 / "fast_lstmp")).nnet
    some = drawn(utterances(nnet.input_dim()), nnet, 700)
    assert some.options.chunks.frames_per_chunk == 0
    assert all(numbers == [0] for numbers in some.chosen.values()) and 1 < len(some.units) < len(LENGTHS)


def test_chunks_that_the_user_wants_are_kept() -> None:
    nnet = load(model_file(NNET3 / "tdnn_lda")).nnet
    some = drawn(utterances(nnet.input_dim(), ChunkOptions(3, 60, extra_left_context=9)), nnet, 600)
    assert some.options.chunks.frames_per_chunk == 60
