"""Minibatches: the same whenever they are asked for, others on each pass, and masked where they are padded."""

from itertools import chain

import numpy as np
import pytest
import torch

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.enhancement.networks.known import NETWORKS
from kaldi_quant.frontends.enhancement.training.minibatches import TrainingBatches, held_out_batches
from tests.frontends.enhancement.training.sounds import Train, pair

AROUND = NETWORKS["crn-100k"].around


def batches(**changes: object) -> TrainingBatches:
    settings = {"batch_size": 4, "seconds": 0.1, "seed": 3}
    return TrainingBatches(Train(6), AROUND, **{**settings, **changes})  # type: ignore[arg-type]


def test_passes_are_repeatable_and_different() -> None:
    first, again, next_pass, other = (
        [target.clean for _, target in found.minibatches(number)]
        for found, number in ((batches(), 0), (batches(), 0), (batches(), 1), (batches(seed=4), 0))
    )
    assert len(first) == len(batches()) == 2 and [len(x) for x in first] == [4, 2]
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], next_pass[0]) and not torch.equal(first[0], other[0])


def test_portions_divide_a_pass() -> None:
    whole = [target.clean for _, target in batches(batch_size=1).minibatches(1)]
    divided = batches(batch_size=1, portions=4)
    found = [[target.clean for _, target in divided.minibatches(number)] for number in range(4, 8)]
    assert len(divided) == 2 and [len(portion) for portion in found] == [1, 2, 1, 2]
    assert all(map(torch.equal, whole, chain(*found)))


def test_inputs_are_the_network_s() -> None:
    for name in ("crn-100k", "stft-tcnn"):
        kind = NETWORKS[name]
        found = TrainingBatches(Train(2), kind.around, batch_size=2, seconds=0.2)
        inputs, target = next(iter(found.minibatches(0)))
        assert torch.equal(inputs, kind.around.inputs(target.noisy))
        assert kind.build().eval()(inputs).shape == inputs.shape


def test_pieces_lie_within_items_and_short_items_are_padded() -> None:
    source = Train(1)
    _, target = next(iter(TrainingBatches(source, AROUND, batch_size=1, seconds=0.1).minibatches(2)))
    whole = source.item(0, 2).clean
    places = np.lib.stride_tricks.sliding_window_view(whole, 1600)
    assert (places == target.clean[0].numpy()).all(1).any() and target.samples.tolist() == [1600]
    long = held_out_batches([pair(1, 900), pair(2, 300)], AROUND, 2)[0][1]
    assert long.samples.tolist() == [300, 900] and not long.clean[0, 300:].any()


def test_gain_changes_both_alike() -> None:
    (_, plain), (_, louder) = (next(iter(batches(gain=gain).minibatches(0))) for gain in (0.0, 20.0))
    ratio = (louder.clean / plain.clean).nanmedian(1).values
    assert torch.allclose(louder.noisy, plain.noisy * ratio[:, None, None], rtol=1e-3, atol=1e-4)
    assert ratio.min() < 0.9 or ratio.max() > 1.1


def test_digests_tell_settings() -> None:
    changes: list[dict[str, object]] = [{}, {"seed": 1}, {"gain": 1.0}, {"batch_size": 3}, {"seconds": 0.2}]
    changes.append({"portions": 2})
    assert len({batches(**change).digest() for change in changes}) == len(changes)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(UsageError, match=r"minibatches of 0 pieces of 0.1 s from 6 items: expected more than 0"):
        batches(batch_size=0)
    with pytest.raises(UsageError, match="3 portions of 2 minibatches: expected 1 to 2"):
        batches(portions=3)
