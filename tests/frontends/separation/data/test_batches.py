"""Minibatches of mixtures: the same whenever they are asked for, others on each pass; and what changes their pieces."""

import numpy as np
import pytest
import torch

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.data import Mixture, TrainingBatches, augmentations, held_out_batches

RATE = 1000


class Items:
    """Mixtures of noise; of each, all values are negative in no source but the first."""

    def __init__(self, count: int, samples: int = 900, channels: int = 2, noise: float = 0.0) -> None:
        self.count, self.samples, self.channels, self.noise = count, samples, channels, noise

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, number_of_pass: int) -> Mixture:
        random = np.random.default_rng(index)
        sources = random.standard_normal((3, self.channels, self.samples)).astype(np.float32)
        rest = self.noise * random.standard_normal((self.channels, self.samples))
        return Mixture(f"item{index}", (sources.sum(axis=0) + rest).astype(np.float32), sources)

    def digest(self) -> str:
        return f"{self.count} {self.samples}"


def batches(items: Items | None = None, chosen: dict | None = None, **changes: object) -> TrainingBatches:
    settings = {"batch_size": 4, "seconds": 0.4, "rate": RATE, "seed": 3, **changes}
    return TrainingBatches(Items(6) if items is None else items, augmentations=augmentations(chosen or {}), **settings)  # type: ignore[arg-type]


def first(**settings: object) -> tuple[torch.Tensor, torch.Tensor]:
    return next(iter(batches(**settings).minibatches(0)))  # type: ignore[arg-type]


ALL: dict[str, dict] = {
    "snr": {},
    "speed": {},
    "repitch": {"share": 1.0},
    "shift": {"samples": 50},
    "flip-sign": {},
    "flip-channels": {},
    "scale": {},
    "remix": {},
}


@pytest.mark.parametrize("chosen", [{}, ALL])
def test_passes_are_repeatable_and_different(chosen: dict) -> None:
    made = [
        list(found.minibatches(number))
        for found, number in (
            (batches(chosen=chosen), 0),
            (batches(chosen=chosen, keep=2), 0),
            (batches(chosen=chosen), 1),
            (batches(chosen=chosen, seed=4), 0),
        )
    ]
    assert [mixture.shape for mixture, _ in made[0]] == [(4, 2, 400), (2, 2, 400)]
    assert [sources.shape for _, sources in made[0]] == [(4, 3, 2, 400), (2, 3, 2, 400)]
    for one, other in zip(made[0], made[1], strict=True):
        assert all(map(torch.equal, one, other)) and one[0].dtype == one[1].dtype == torch.float32
    assert not torch.equal(made[0][0][0], made[2][0][0]) and not torch.equal(made[0][0][0], made[3][0][0])
    for mixture, sources in made[0]:
        assert torch.allclose(mixture, sources.sum(1), atol=1e-4)


def test_a_generator_that_is_left_changes_nothing() -> None:
    found = batches(chosen=ALL)
    next(iter(found.minibatches(0)))
    again = list(found.minibatches(0))[1]
    assert torch.equal(list(batches(chosen=ALL).minibatches(0))[1][0], again[0])


def test_pieces_lie_within_items_and_short_ones_are_padded() -> None:
    items = Items(1)
    mixture, sources = first(items=items, batch_size=1)
    places = np.lib.stride_tricks.sliding_window_view(items.item(0, 0).mixture[0], 400)
    (begin,) = np.flatnonzero(np.abs(places - mixture[0, 0].numpy()).max(axis=1) < 1e-4)
    assert np.array_equal(items.item(0, 0).sources[:, :, begin : begin + 400], sources[0])
    mixture, _ = first(items=Items(1, 300))
    assert mixture.shape[-1] == 400 and mixture[..., :300].all() and not mixture[..., 300:].any()


def test_noise_stays_in_the_mixture() -> None:
    for chosen in ({}, {"flip-sign": {}, "scale": {}}):
        mixture, sources = first(items=Items(4, noise=0.5), chosen=chosen)
        assert (mixture - sources.sum(1)).std(dim=(1, 2)).min() > 0.1


def test_scale_and_signs() -> None:
    _, plain = first()
    _, scaled = first(chosen={"scale": {"low": 0.5, "high": 2.0}})
    factors = (scaled / plain).flatten(2)
    assert torch.allclose(factors.amin(2), factors.amax(2), atol=1e-4)
    assert factors.min() >= 0.5 and factors.max() <= 2 and factors[..., 0].unique().numel() == 12
    _, flipped = first(chosen={"flip-sign": None})
    signs = (flipped / plain)[:, :, 0, 0]
    assert set(signs.flatten().tolist()) == {-1.0, 1.0} and torch.equal(flipped, plain * signs[:, :, None, None])
    _, same = first(chosen={"scale": {"share": 0.0}})
    assert torch.equal(same, plain)


def test_channels_are_exchanged_where_there_are_two() -> None:
    _, plain = first()
    _, turned = first(chosen={"flip-channels": None})
    straight = (turned == plain).flatten(2).all(2)
    crossed = (turned == plain.flip(2)).flatten(2).all(2)
    assert (straight ^ crossed).all() and straight.any() and crossed.any()
    _, mono = first(items=Items(6, channels=1))
    assert torch.equal(first(items=Items(6, channels=1), chosen={"flip-channels": None})[1], mono)


def test_each_part_is_shifted_on_its_own() -> None:
    items = Items(1)
    _, moved = first(items=items, chosen={"shift": {"samples": 200}}, batch_size=1)
    begins = []
    for source, part in zip(items.item(0, 0).sources, moved[0].numpy(), strict=True):
        places = np.lib.stride_tricks.sliding_window_view(source[0], 400)
        begins += np.flatnonzero((places == part[0]).all(axis=1)).tolist()
    assert len(begins) == 3 and len(set(begins)) > 1 and max(begins) - min(begins) < 200


def test_remix_exchanges_parts_within_groups() -> None:
    _, plain = first()
    _, mixed = first(chosen={"remix": None})
    whence = [
        [[torch.equal(part, plain[n, s]) for n in range(4)].index(True) for s, part in enumerate(piece)]
        for piece in mixed
    ]
    assert all(sorted(column) == [0, 1, 2, 3] for column in zip(*whence, strict=True))
    assert any(len(set(row)) > 1 for row in whence)
    _, grouped = first(chosen={"remix": {"group": 2}})
    for piece in range(4):
        for part in range(3):
            group = range(piece // 2 * 2, piece // 2 * 2 + 2)
            assert any(torch.equal(grouped[piece, part], plain[other, part]) for other in group)
    assert torch.equal(first(chosen={"remix": {"share": 0.0}})[1], plain)


class Tones(Items):
    """Sources are tones of 100 Hz."""

    def item(self, index: int, number_of_pass: int) -> Mixture:
        wave = np.sin(2 * np.pi * 100 * np.arange(self.samples) / RATE).astype(np.float32)
        sources = np.stack([wave[None]] * 2)
        return Mixture("tone", sources.sum(axis=0), sources)


def frequencies(sources: torch.Tensor) -> torch.Tensor:
    spectrum = torch.fft.rfft(sources * torch.hann_window(sources.shape[-1]), 8 * sources.shape[-1])
    return spectrum.abs().argmax(-1) * RATE / (8 * sources.shape[-1])


def test_speeds_and_pitches() -> None:
    _, sources = first(items=Tones(16, 2000), chosen={"speed": None}, batch_size=16, seconds=1.0)
    found = frequencies(sources).flatten()
    assert sources.shape[-1] == 1000 and sources[..., -20:].abs().amax(-1).min() > 0.5
    assert {round(value) for value in found.tolist()} == {95, 100, 105}
    _, sources = first(items=Tones(16, 2000), chosen={"repitch": {"share": 1.0}}, batch_size=16, seconds=1.0)
    found = frequencies(sources).squeeze(-1)
    assert torch.equal(found[:, 0], found[:, 1]) and len(found[:, 0].unique()) > 4
    assert found.min() >= 100 * 2 ** (-2 / 12) - 1 and found.max() <= 100 * 2 ** (2 / 12) + 1
    _, same = first(items=Tones(4, 2000), chosen={"repitch": {"share": 0.0}}, seconds=1.0)
    assert (frequencies(same) - 100).abs().max() < 0.2


def test_ratios_of_sources_and_noise() -> None:
    chosen = {"snr": {"low": -10.0, "high": -5.0, "noise_low": 3.0, "noise_high": 4.0}}
    mixture, sources = first(items=Items(4, noise=1.0), chosen=chosen)
    power = lambda wave: 10 * torch.log10(wave.square().mean(dim=(1, 2)))  # noqa: E731
    for one, behind in ((sources[:, 0], sources[:, 1:].sum(1)), (sources[:, 1], sources[:, 2])):
        ratios = power(one) - power(behind)
        assert ratios.min() > -10.01 and ratios.max() < -4.99 and len(ratios.unique()) == 4
    noise = power(sources.sum(1)) - power(mixture - sources.sum(1))
    assert noise.min() > 2.99 and noise.max() < 4.01
    assert mixture.abs().amax() == pytest.approx(0.9, abs=1e-4)
    silent, _ = first(items=Items(4, noise=0.0), chosen=chosen)
    assert torch.allclose(silent, first(items=Items(4, noise=0.0), chosen=chosen)[1].sum(1), atol=1e-4)


def test_portions_are_passes_of_their_own() -> None:
    settings = {"items": Items(7), "batch_size": 2}
    whole = [batches(**settings), batches(portions=3, **settings)]  # type: ignore[arg-type]
    in_one = [mixture for number in range(2) for mixture, _ in whole[0].minibatches(number)]
    portions = [list(whole[1].minibatches(number)) for number in range(6)]
    assert [len(portion) for portion in portions] == [1, 1, 2] * 2 and len(whole[1]) == 2
    assert all(map(torch.equal, in_one, (mixture for portion in portions for mixture, _ in portion)))
    with pytest.raises(UsageError, match="5 portions of 4 minibatches: expected 1 to 4"):
        batches(portions=5, **settings)  # type: ignore[arg-type]


def test_gain_changes_all_alike() -> None:
    (mixture, sources), (louder, theirs) = first(), first(gain=20.0)
    ratio = (louder / mixture).flatten(1).median(1).values
    assert torch.allclose(theirs, sources * ratio[:, None, None, None], rtol=1e-3, atol=1e-4)
    assert len(ratio.unique()) == 4


def test_digests_tell_settings() -> None:
    changes: list[dict] = [
        {},
        {"seed": 1},
        {"gain": 1.0},
        {"batch_size": 3},
        {"seconds": 0.2},
        {"keep": 2},
        {"portions": 2},
    ]
    changes += [{"chosen": {name: options}} for name, options in ALL.items()]
    assert len({batches(**change).digest() for change in changes}) == len(changes)


def test_held_out_minibatches_are_not_padded() -> None:
    mixtures = [Items(1, samples).item(number, 0) for number, samples in enumerate((300, 200, 300, 300))]
    found = held_out_batches(mixtures, 2)
    assert [tuple(mixture.shape) for mixture, _ in found] == [(1, 2, 200), (2, 2, 300), (1, 2, 300)]
    assert np.array_equal(found[1][1][1], mixtures[2].sources)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"echo": {}}, "the augmentation 'echo' is not one of snr, speed, repitch, shift"),
        ({"shift": {"seconds": 1}}, r"augmentations, shift: there is no key 'seconds'; keys and defaults are samples"),
        ({"shift": {"samples": -1}}, "shift: samples must be 0 or more, found -1"),
        ({"scale": {"low": 2.0}}, "scale: expected the least and the greatest, from 0 on, found 2.0 and 1.25"),
        ({"scale": {"share": 2.0}}, "scale: share must be from 0 to 1, found 2.0"),
        ({"remix": {"group": -1}}, "remix: group must be 0 or more"),
        ({"speed": {"percent": [10]}}, r"speed: percent must be speeds from 50 to 200, found \[10\]"),
        ({"repitch": {"semitones": 13.0}}, "repitch: semitones must be from 0 to 12"),
        ({"snr": {"low": 20.0}}, "snr: expected the least and the greatest in dB, found 20.0 and 10.0"),
        ({"snr": {"peak": 0.0}}, "snr: peak must be above 0, found 0.0"),
    ],
)
def test_augmentations_that_cannot_be(chosen: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        augmentations(chosen)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(UsageError, match=r"minibatches of 0 pieces of 0.4 s from 6 items: expected more than 0"):
        batches(batch_size=0)
    with pytest.raises(UsageError, match="from 0 items"):
        batches(items=Items(0))
