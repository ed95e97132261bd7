"""Songs that are made from seeds: always the same, stems that sound, and other ranges for the test."""

from dataclasses import fields

import numpy as np
import pytest

from kaldi_quant.errors import UsageError

pytest.importorskip("soundfile", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")
pytest.importorskip("soxr", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")

from kaldi_quant.frontends.separation.data import BAND, ReadOptions
from kaldi_quant.frontends.separation.data import open_separation_data as opened
from kaldi_quant.frontends.separation.networks.known import STEMS
from kaldi_quant.frontends.separation.synthetic.band import PEAK, played
from kaldi_quant.frontends.separation.synthetic.bands import BANDS
from tests.frontends.separation.data.toy_sets import MUSIC


def centroid(stem: np.ndarray, rate: int) -> float:
    """The mean frequency of a stem, in Hz."""
    power = np.square(np.abs(np.fft.rfft(stem.mean(axis=0))))
    return float((power * np.fft.rfftfreq(stem.shape[-1], 1 / rate)).sum() / power.sum())


@pytest.mark.parametrize("rate", [8000, 44100])
def test_all_stems_sound_in_stereo(rate: int) -> None:
    for number in range(3):
        stems = played("heard", number, 4.0, rate)
        assert stems.shape == (4, 2, 4 * rate) and stems.dtype == np.float32 and np.isfinite(stems).all()
        assert np.abs(stems.sum(axis=0)).max() <= PEAK + 1e-5
        levels = 20 * np.log10(stems.std(axis=(1, 2)))
        assert levels.max() - levels.min() < 13
        _, bass, other, vocals = (centroid(stem, rate) for stem in stems)
        assert bass < 250 and bass < other and bass < vocals
        sides = stems[STEMS.index("other")]
        assert np.abs(sides[0] - sides[1]).max() > 0.05 * np.abs(sides).max()
        # Each stem sounds in most seconds.
        seconds = stems.reshape(4, 2, 4, rate).std(axis=(1, 3))
        assert (seconds > 0.05 * seconds.max(axis=1, keepdims=True)).mean() > 0.8


def test_a_song_follows_from_its_number() -> None:
    assert np.array_equal(played("heard", 3, 2.0, 8000), played("heard", 3, 2.0, 8000))
    songs = [played(band, number, 2.0, 8000).tobytes() for band in BANDS for number in (3, 4)]
    assert len(set(songs)) == 4
    with pytest.raises(UsageError, match="the band 'brass' is not one of heard, unheard"):
        played("brass", 0, 1.0, 8000)


def test_the_test_has_ranges_that_training_does_not_have() -> None:
    heard, unheard = BANDS["heard"], BANDS["unheard"]
    for entry in fields(heard):
        mine, theirs = getattr(heard, entry.name), getattr(unheard, entry.name)
        assert all(high < least or most < low for low, high in mine for least, most in theirs), entry.name


def test_the_set() -> None:
    data = opened(BAND, MUSIC)
    assert (data.name, data.rate, data.channels, data.sources) == (BAND, 8000, 2, STEMS) and data.is_normalized
    assert (len(data.train), len(data.dev), len(data.test)) == (48, 8, 16)
    song = data.test[2]
    assert song.samples == 48000 and data.train.item(0, 0).samples == 64000
    whole = song.mixture.mean(axis=0)
    assert whole.mean() == pytest.approx(0, abs=1e-4) and whole.std() == pytest.approx(1, abs=1e-3)
    assert np.abs(song.rest).max() < 0.1 and data.test[2] is song
    assert len({data.train.digest(), data.dev.digest(), data.test.digest()}) == 3
    names = {data.train.item(0, 0).name, data.dev[0].name, data.test[0].name}
    assert data.test.digest() == opened(BAND, MUSIC, options=ReadOptions(train=3)).test.digest() and len(names) == 2


def test_songs_may_be_others_after_some_passes() -> None:
    data = opened(BAND, MUSIC, options=ReadOptions(train=2, renew=2))
    songs = [data.train.item(1, number) for number in range(5)]
    names = [song.name for song in songs]
    assert names == ["heard001", "heard001", "heard003", "heard003", "heard005"] and songs[0] is songs[1]
    assert np.array_equal(data.train.item(1, 0).mixture, songs[0].mixture)
    assert data.train.digest() != opened(BAND, MUSIC, options=ReadOptions(train=2)).train.digest()
