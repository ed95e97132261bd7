"""Causal networks that are given a recording in pieces."""

import pytest
import torch

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.enhancement.networks.past import States
from tests.frontends.enhancement.small_networks import STREAMING, frames_axis, lively, magnitudes


@pytest.mark.parametrize("pieces", [[1] * 9, [4, 1, 4]])
@pytest.mark.parametrize("name", STREAMING)
def test_pieces_give_what_the_whole_gives(name: str, pieces: list[int]) -> None:
    network, axis = lively(name), frames_axis(name)
    x = magnitudes(name, 9, batch=2)
    states: States = network.states(2)
    found = []
    with torch.no_grad():
        for piece in x.split(pieces, axis):
            output, states = network(piece, states)
            found.append(output)
        torch.testing.assert_close(torch.cat(found, axis), network(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", STREAMING)
def test_as_many_states_as_there_are(name: str) -> None:
    network, x = lively(name), magnitudes(name, 1)
    states = network.states()
    for wrong in (states[:-1], (*states, states[-1])):
        with pytest.raises(UsageError, match="as the network's states"):
            network(x, wrong)
    assert [state.shape for state in network(x, states)[1]] == [state.shape for state in states]


def test_one_frame_alone_is_a_recording() -> None:
    network = lively("crn-100k")
    x = magnitudes("crn-100k", 1)
    with torch.no_grad():
        torch.testing.assert_close(network(x), network(x, network.states())[0])


def test_the_decoder_is_silent_for_the_first_frame() -> None:
    network = lively("crn-100k")
    with torch.no_grad():
        mask, states = network(magnitudes("crn-100k", 1), network.states())
        later, _ = network(magnitudes("crn-100k", 1), states)
    torch.testing.assert_close(mask, torch.full_like(mask, 0.5))
    assert (later - 0.5).abs().min() > 0


def test_who_sees_later_frames_has_no_stream() -> None:
    network = lively("stft-tcnn", causal=False)
    with pytest.raises(UsageError, match="choose a causal one"):
        network.states()
    with pytest.raises(UsageError, match="expected no states"):
        network(magnitudes("stft-tcnn", 1), ())
