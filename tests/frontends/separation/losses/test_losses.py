"""Losses: their formulas, any order of outputs, silence, and what the float network teaches."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.frontends.separation.losses import LOSSES, Distillation, loss_of
from kaldi_quant.frontends.separation.networks.known import STEMS, Kind
from kaldi_quant.metrics.speech import si_sdr

SPEECH = Kind(torch.nn.Identity, 8000)
MUSIC = Kind(torch.nn.Identity, 44100, STEMS, True, 2)


def signals(*shape: int, seed: int = 0) -> Tensor:
    """Noise, with a mean that is not 0."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1 + 0.02


def measured(output: Tensor, sources: Tensor) -> np.ndarray:
    """(N, S, S): SI-SDR of outputs and sources as scores have it, in dB."""
    pairs = [
        [[si_sdr(t.numpy(), o.numpy()) for t in ts[:, 0]] for o in os[:, 0]]
        for os, ts in zip(output, sources, strict=True)
    ]
    return np.array(pairs)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_best_of_all_orders(count: int) -> None:
    sources = signals(3, count, 1, 400)
    output = sources.flip(1) * 0.3 + 0.05 * signals(3, count, 1, 400, seed=1)
    # The closest of each is not the best for all of them.
    output[0, 0] = sources[0, 1] + sources[0, 0]
    values = measured(output, sources)
    best = [
        max(np.mean([one[i, j] for i, j in enumerate(order)]) for order in permutations(range(count)))
        for one in 10 ** (values / 10)
    ]
    found = loss_of(SPEECH, "pit-si-sdr-linear")(output, sources)
    assert float(found) == pytest.approx(-10 * np.log10(np.mean(best)), abs=1e-3)
    shuffled = output[:, torch.randperm(count, generator=torch.Generator().manual_seed(3))]
    for name in LOSSES:
        loss = loss_of(SPEECH, name)
        assert float(loss(shuffled, sources)) == pytest.approx(float(loss(output, sources)), rel=1e-5), name


def test_formulas() -> None:
    sources, output = signals(3, 2, 1, 500), signals(3, 2, 1, 500, seed=1)
    output = sources + output * torch.tensor([0.1, 0.5, 1.0])[:, None, None, None]
    values = measured(output, sources)[:, [0, 1], [0, 1]]
    assert float(loss_of(SPEECH, "pit-si-sdr")(output, sources)) == pytest.approx(-values.mean(), abs=1e-3)
    assert float(loss_of(SPEECH, "pit-si-sdr")(4 * output - 1, sources)) == pytest.approx(-values.mean(), abs=1e-2)
    stems, given = signals(2, 4, 2, 300), signals(2, 4, 2, 300, seed=2)
    assert float(loss_of(MUSIC, "l1")(given, stems)) == pytest.approx(float((given - stems).abs().mean()), rel=1e-6)


def test_samples_do_not_depend_on_each_other() -> None:
    sources, output = signals(3, 2, 1, 500), signals(3, 2, 1, 500, seed=1)
    for name in ("pit-si-sdr", "l1"):
        loss = loss_of(SPEECH, name, Distillation())
        both = float(loss(output, (sources, sources + 0.1 * output)))
        alone = [float(loss(o[None], (s[None], (s + 0.1 * o)[None]))) for o, s in zip(output, sources, strict=True)]
        assert both == pytest.approx(np.mean(alone), rel=1e-5)


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize(
    "distillation",
    [None, Distillation(), Distillation(heed="hurt-more", base="e", each="source", mix="decibels")],
)
def test_silence_and_equality_are_finite(name: str, distillation: Distillation | None) -> None:
    sources = signals(5, 2, 1, 300)
    sources[0] = 0
    sources[1, 0] = 0
    output = signals(5, 2, 1, 300, seed=1)
    output[2] = 0
    output[3] = sources[3]
    floats = sources.clone()
    floats[4] = 0
    output.requires_grad_()
    found = loss_of(SPEECH, name, distillation)(output, (sources, floats))
    found.backward()
    assert torch.isfinite(found) and torch.isfinite(output.grad).all()
    # What should be silent is made so.
    assert (output.grad[:2] * output.detach()[:2]).sum((2, 3)).max(1).values.min() > 0


def test_the_ratio_of_silence() -> None:
    sources = signals(1, 2, 1, 8000)
    sources -= sources.mean(-1, keepdim=True)
    sources[0, 1] = 0
    loss = loss_of(SPEECH, "pit-si-sdr")
    for gain, ratio in ((1.0, 0.0), (0.1, 20.0), (0.0, 30.0)):
        output = torch.stack([sources[:, 0], gain * sources[:, 0].flip(-1)], 1)
        expected = -(60 + ratio) / 2
        assert float(loss(output, sources)) == pytest.approx(expected, abs=0.5)


def test_weights_by_hand() -> None:
    of_float, of_quantized = torch.tensor([[10.0, 14.0], [8.0, 8.0]]), torch.tensor([[8.0, 10.0], [8.0, 8.0]])
    for distillation, expected in (
        (Distillation(), [[10**-0.3] * 2, [1, 1]]),
        (Distillation(heed="hurt-more"), [[10**0.3] * 2, [1, 1]]),
        (Distillation(heed="hurt-more", base="e", each="source"), [[np.exp(0.2), np.exp(0.4)], [1, 1]]),
        (Distillation(heed="hurt-more", each="source", most=2.0), [[10**0.2, 2], [1, 1]]),
        (Distillation(each="source", most=2.0), [[10**-0.2, 0.5], [1, 1]]),
        (Distillation(heed="alike"), [[1, 1], [1, 1]]),
    ):
        np.testing.assert_allclose(distillation.weights(of_float, of_quantized), expected, rtol=1e-5)


def test_distillation_is_that_of_fqss() -> None:
    sources, noise = signals(3, 2, 1, 600), signals(3, 2, 1, 600, seed=1)
    floats = (sources + 0.1 * noise).flip(1)
    output = sources + torch.tensor([0.2, 0.15, 0.3])[:, None, None, None] * noise
    by_source, by_float = measured(output, sources)[:, [0, 1], [0, 1]], measured(output, floats)[:, [0, 1], [1, 0]]
    of_float = measured(floats, sources)[:, [0, 1], [1, 0]]
    weights = 10 ** ((by_source.mean(1) - of_float.mean(1)) / 10)
    parts = [10 ** (by_source / 10), weights[:, None] * 10 ** (by_float / 10)]
    target = (sources, floats)
    found = loss_of(SPEECH, "pit-si-sdr-linear", Distillation(share=0.3))(output, target)
    expected = -10 * np.log10(0.7 * parts[0].mean() + 0.3 * parts[1].mean())
    assert float(found) == pytest.approx(expected, abs=1e-3)
    found = loss_of(SPEECH, "pit-si-sdr", Distillation(share=0.3))(output, target)
    assert float(found) == pytest.approx(np.mean(-10 * np.log10(0.7 * parts[0] + 0.3 * parts[1])), abs=1e-3)
    decibels = Distillation(share=0.3, mix="decibels")
    found = loss_of(SPEECH, "pit-si-sdr", decibels)(output, target)
    expected = -0.7 * by_source.mean() - 0.3 * (weights[:, None] * by_float).mean()
    assert float(found) == pytest.approx(expected, abs=1e-3)
    found = loss_of(SPEECH, "pit-si-sdr-linear", decibels)(output, target)
    expected = -7 * np.log10(parts[0].mean()) - 3 * np.log10(parts[1].mean())
    assert float(found) == pytest.approx(expected, abs=1e-3)


def test_distillation_of_music() -> None:
    stems, noise = signals(2, 4, 2, 200), signals(2, 4, 2, 200, seed=1)
    floats, output = stems + 0.1 * noise, stems + 0.2 * noise
    output[0, 1] = stems[0, 1] + 0.4 * noise[0, 1]
    lost = 20 * np.log10(np.array([[2, 4, 2, 2], [2, 2, 2, 2]]))
    weights = torch.from_numpy(np.exp(lost / 10))
    expected = 0.9 * (output - stems).abs().mean() + 0.1 * (weights * (output - floats).abs().mean((2, 3))).mean()
    found = loss_of(MUSIC, "l1", Distillation(heed="hurt-more", base="e", each="source"))(output, (stems, floats))
    assert float(found) == pytest.approx(float(expected), rel=1e-4)


def test_weights_of_sources_follow_their_sources() -> None:
    """Float estimates and outputs come in different orders; the weight of a source is that of both."""
    sources, noise = signals(1, 3, 1, 900), signals(1, 3, 1, 900, seed=1)
    floats = sources + 0.1 * noise
    output = sources + torch.tensor([0.1, 0.2, 0.4])[:, None, None] * noise
    loss = loss_of(SPEECH, "pit-si-sdr", Distillation(each="source"))
    expected = float(loss(output, (sources, floats)))
    for one, other in ((0, 2), (1, 0), (1, 2)):
        rolled = loss(output.roll(one, 1), (sources, floats.roll(other, 1)))
        assert float(rolled) == pytest.approx(expected, abs=1e-4)
    assert float(loss_of(SPEECH, "pit-si-sdr", Distillation())(output, (sources, floats))) != pytest.approx(expected)


def test_float_estimates_teach() -> None:
    sources = signals(1, 2, 1, 300)
    floats = sources + 0.1 * signals(1, 2, 1, 300, seed=2)
    for name in LOSSES:
        plain, taught = (loss_of(SPEECH, name, each) for each in (None, Distillation(share=0.5)))
        assert float(plain(0.9 * sources, (sources, floats))) == float(plain(0.9 * sources, sources))
        assert float(taught(0.9 * sources, (sources, floats))) != float(plain(0.9 * sources, sources))


def test_what_has_no_loss() -> None:
    with pytest.raises(UsageError, match="the loss 'mse' is not one of pit-si-sdr, pit-si-sdr-linear, l1"):
        loss_of(SPEECH, "mse")
    with pytest.raises(UsageError, match="lets any output be any source, but outputs are drums, bass, other, vocals"):
        loss_of(MUSIC, "pit-si-sdr")
    sources = signals(1, 2, 1, 300)
    with pytest.raises(DataError, match="distillation needs what the float network makes of each mixture"):
        loss_of(SPEECH, "pit-si-sdr", Distillation())(sources, sources)
    with pytest.raises(DataError, match=r"of the output's shape \(1, 2, 1, 299\), found \(1, 2, 1, 300\)"):
        loss_of(SPEECH, "pit-si-sdr")(sources[..., 1:], sources)
    many = signals(1, 7, 1, 30)
    with pytest.raises(UsageError, match="at most 6 sources of any order, found 7"):
        loss_of(SPEECH, "pit-si-sdr")(many, many)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"share": 1.5}, "expected a share from 0 to 1, found 1.5"),
        ({"share": float("nan")}, "expected a share from 0 to 1"),
        ({"heed": "all"}, "heed is one of hurt-less, hurt-more, alike, found 'all'"),
        ({"base": 10}, "base is one of 10, e, found 10"),
        ({"each": "batch"}, "each is one of sample, source"),
        ({"mix": "dB"}, "mix is one of ratios, decibels"),
        ({"most": 0.5}, "at least 1, found 0.5"),
    ],
)
def test_distillation_that_is_none(values: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Distillation(**values)
