"""How much frames count for i-vectors."""

import numpy as np
import pytest

from kaldi_quant.recogniser.model import Model
from kaldi_quant.recogniser.silence_weighting import SilenceWeighting


@pytest.fixture
def transition_ids(model: Model) -> tuple[int, int]:
    """One of silence, one of speech."""
    phones = model.transitions.transition_id_to_phone
    return int(np.flatnonzero(phones == 1)[0]), int(np.flatnonzero(phones == 7)[0])


def weighting(model: Model, first: int = 0) -> SilenceWeighting:
    return SilenceWeighting(model.transitions, {1, 2}, 3, first)


def test_before_anything_is_known_all_is_silence(model: Model) -> None:
    found = weighting(model, first=30).changes([], 34)
    assert found == dict.fromkeys(range(30, 36), 1e-3)


def test_what_comes_after_the_path_is_as_its_end(model: Model, transition_ids: tuple[int, int]) -> None:
    silence, speech = transition_ids
    weights = weighting(model)
    assert weights.changes([silence, speech], 12) == dict.fromkeys(range(3), 1e-3) | dict.fromkeys(range(3, 12), 1.0)
    # The path has changed its mind: only what is different is told.
    assert weights.changes([silence, speech, silence], 12) == pytest.approx(dict.fromkeys(range(6, 12), 1e-3 - 1))
    assert weights.changes([silence, speech, silence], 12) == {}


def test_only_the_last_frames_change(model: Model, transition_ids: tuple[int, int]) -> None:
    silence, speech = transition_ids
    weights = weighting(model)
    weights.changes([speech] * 250, 3 * 250)
    found = weights.changes([silence] * 250, 3 * 250)
    assert min(found) == 3 * 150 and max(found) == 3 * 250 - 1
