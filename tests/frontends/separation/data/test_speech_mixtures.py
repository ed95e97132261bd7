"""Speakers who are mixed: others on each pass, always the same for dev and test, as loud as asked for."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import DataError, UsageError

pytest.importorskip("soundfile", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")
pytest.importorskip("soxr", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")

from kaldi_quant.frontends.separation.data import Mixture, ReadOptions, SeparationSet, TrainingSource
from kaldi_quant.frontends.separation.data import open_separation_data as opened
from kaldi_quant.frontends.separation.data.mixing import mixed
from kaldi_quant.frontends.separation.data.options import TASKS, MixOptions
from kaldi_quant.frontends.separation.data.speech_mixtures import FixedSpeechMixtures
from kaldi_quant.frontends.signals.level import active_rms
from kaldi_quant.frontends.speech.speech import Speech
from kaldi_quant.frontends.speech.table import Utterance
from tests.frontends.enhancement.data.toy_speech import RATE, listed, tone, write
from tests.frontends.separation.data.toy_sets import MUSIC, SPEECH

EMBEDDED = Path(__file__).parents[4] / "egs" / "enhancement" / "data"


def read(folder: Path, **options: object) -> SeparationSet:
    return opened(folder, SPEECH, options=ReadOptions(seconds=0.15, **options))  # type: ignore[arg-type]


def item(source: TrainingSource, place: tuple[int, int]) -> Mixture:
    return source.item(*place)


@pytest.mark.parametrize("task", list(TASKS))
def test_items_do_not_depend_on_order_or_process(tmp_path: Path, task: str) -> None:
    folder = listed(tmp_path)
    places = [(index, number) for number in range(2) for index in range(4)]
    source = read(folder, task=task).train
    one = [source.item(*place) for place in places]
    other = read(folder, task=task).train
    backwards = [other.item(*place) for place in reversed(places)][::-1]
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        elsewhere = list(pool.map(item, [other] * len(places), places))
    for mixture, again, there in zip(one, backwards, elsewhere, strict=True):
        for copy in (again, there):
            assert mixture.name == copy.name
            assert np.array_equal(mixture.mixture, copy.mixture) and np.array_equal(mixture.sources, copy.sources)
    assert len({mixture.mixture.tobytes() for mixture in one}) == len(places)
    assert source.digest() == other.digest() != read(folder, task=task, seed=1).train.digest()


def test_tasks_say_what_is_heard_and_wanted(tmp_path: Path) -> None:
    folder = listed(tmp_path)
    for task, sources, is_noisy in (
        ("sep_clean", 2, False),
        ("sep_noisy", 2, True),
        ("enh_single", 1, True),
        ("enh_both", 1, True),
    ):
        data = read(folder, task=task)
        assert data.sources == ("s1", "s2")[:sources] and data.rate == SPEECH.rate
        for mixture in (data.train.item(0, 0), data.test[0], data.dev[0]):
            assert mixture.sources.shape == (sources, 1, mixture.samples) and mixture.sources.dtype == np.float32
            assert mixture.mixture.shape == (1, mixture.samples) and mixture.mixture.dtype == np.float32
            assert (np.abs(mixture.rest).max() > 1e-3) == is_noisy
    both, clean = read(folder, task="enh_both").test[0], read(folder).test[0]
    assert both.sources[0] == pytest.approx(clean.mixture, abs=1e-6)


def test_levels_are_in_their_ranges_and_nothing_is_beyond_the_peak() -> None:
    options = MixOptions(levels=(-30.0, -29.0), noise_levels=(-40.0, -39.0), seconds=0.5)
    waves = [tone(1, 4000), tone(2, 3000)]
    made = mixed("here", waves, waves, 8000, TASKS["sep_noisy"], options, np.random.default_rng(1))
    assert made.samples == 3000
    for source in made.sources:
        assert -30 <= 20 * np.log10(active_rms(source[0], 8000)) <= -29
    assert -40 <= 20 * np.log10(active_rms(made.rest[0], 8000)) <= -39
    loud = MixOptions(levels=(-1.0, -1.0), peak=0.5)
    made = mixed("here", waves, (), 8000, TASKS["sep_clean"], loud, np.random.default_rng(1))
    assert np.abs(made.mixture).max() == pytest.approx(0.5, abs=1e-5)
    assert made.rest == pytest.approx(np.zeros((1, 3000)), abs=1e-6)
    with pytest.raises(DataError, match="here: speech or noise is silence"):
        silence = np.zeros(4000, np.float32)
        mixed("here", [silence, waves[0]], (), 8000, TASKS["sep_clean"], options, np.random.default_rng(1))


def test_what_a_speaker_says_goes_on(tmp_path: Path) -> None:
    data = opened(listed(tmp_path), SPEECH, options=ReadOptions(seconds=0.35))
    # Utterances have 0.2 s: two of them are needed, and no more are there than 0.4 s.
    assert {data.train.item(index, 0).samples for index in range(4)} == {2800}
    assert data.test[0].samples == 3200
    spoken = {data.train.item(0, number).sources[0].tobytes() for number in range(4)}
    assert len(spoken) == 4


def test_speakers_of_the_test_are_heard_equally_often(tmp_path: Path) -> None:
    path = write(tmp_path / "all.wav", tone(1, 40000))
    utterances = [
        Utterance(f"{speaker}{number}", speaker, path, 3200 * number, 3200, "", None, None, "")
        for speaker in "abcde"
        for number in range(2)
    ]
    found = FixedSpeechMixtures(Speech(utterances, RATE), 3, "sep_clean", MixOptions(seconds=0.2), 20)
    assert len(found) == 20 and found[0].sources.shape == (3, 1, 3200)
    for role in range(3):
        heard = [utterances[places[role]].speaker for places in found.places]
        assert [heard.count(speaker) for speaker in "abcde"] == [4] * 5
    assert all(len({utterances[place].speaker for place in places}) == 3 for places in found.places)
    assert any(one != other for one, other in pairwise(found.places))
    with pytest.raises(IndexError, match="there are 20 items"):
        found[20]
    with pytest.raises(DataError, match="expected 3 speakers or more for a mixture, found 2"):
        FixedSpeechMixtures(Speech(utterances[:4], RATE), 3, "sep_clean", MixOptions(), 2)


def test_the_embedded_set_is_fixed() -> None:
    data = opened(EMBEDDED, SPEECH)
    assert (len(data.train), len(data.dev), len(data.test)) == (657, 24, 60)
    assert data.test[7].name == "007_espeak-anika-sentence0_espeak-benjamin-sentence1" and data.test[7].samples == 24000
    first = data.dev[0]
    assert not {first.name} & {mixture.name for mixture in (data.test[0], data.train.item(0, 0))}
    assert np.array_equal(first.mixture, opened(EMBEDDED, SPEECH, options=ReadOptions(seed=5)).dev[0].mixture)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "sing"}, "the task 'sing' is not one of sep_clean, sep_noisy, enh_single, enh_both"),
        ({"seconds": 0.0}, "reading: seconds must be above 0"),
        ({"speakers": 4}, "reading: speakers must be from 1 to 3"),
        ({"seed": -1}, "reading: seed must be 0 or more"),
        ({"validation_share": 1.0}, "validation_share must be above 0 and below 1"),
    ],
)
def test_options_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ReadOptions(**options)
    with pytest.raises(UsageError, match=r"levels: expected the least and the greatest in dB, found"):
        MixOptions(levels=(-20.0, -30.0))


def test_folders_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone does not exist, or is no folder: expected data for separation"):
        opened(tmp_path / "gone", SPEECH)
    with pytest.raises(DataError, match="has none of the layouts of data for separation"):
        opened(tmp_path, SPEECH)
    with pytest.raises(UsageError, match="the layout of data for separation 'mars' is not one of auto, listed, band"):
        opened(tmp_path, SPEECH, "mars")
    with pytest.raises(UsageError, match=r"has speakers, but the network separates stems of music: drums, bass"):
        opened(listed(tmp_path), MUSIC)
    with pytest.raises(UsageError, match="band has stems of music, but the network separates speakers: s1, s2"):
        opened("band", SPEECH)
