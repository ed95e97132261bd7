"""Losses: their formulas, their gradients, and that padding counts nowhere."""

import numpy as np
import pytest
import torch

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.enhancement.networks.known import NETWORKS, Around
from kaldi_quant.frontends.enhancement.training.losses import COMPRESSED_SHARE, LOSSES, Target, loss_of
from kaldi_quant.frontends.enhancement.training.minibatches import minibatch
from kaldi_quant.metrics.speech import si_sdr
from tests.frontends.enhancement.training.sounds import pair

AROUNDS = {name: NETWORKS[name].around for name in ("crn", "crn-100k", "stft-tcnn")}


def output_for(around: Around, target: Target, seed: int = 0) -> torch.Tensor:
    """What a network might give, padding included."""
    random = torch.Generator().manual_seed(seed)
    found = torch.rand(target.noisy.shape, generator=random)
    return around.inputs(found.to(torch.complex64)).clone().requires_grad_()


@pytest.mark.parametrize("around", AROUNDS.values(), ids=AROUNDS)
# One that adds up means over different things has no weights of its own.
@pytest.mark.parametrize("name", [name for name in LOSSES if name != "compressed-si-snr"])
def test_padding_changes_nothing(name: str, around: Around) -> None:
    short, long = pair(1, 1500), pair(2, 2311)
    loss = loss_of(name, around)
    _, both = minibatch([(short.noisy, short.clean), (long.noisy, long.clean)], around)
    output = output_for(around, both)
    found = loss(output, both)
    found.backward()
    found = found.detach()
    alone = []
    for place, one in enumerate((short, long)):
        inputs, target = minibatch([(one.noisy, one.clean)], around)
        part = output[place : place + 1].detach()
        part = part[:, : inputs.shape[1], : inputs.shape[2]]
        alone.append((loss(part, target), inputs.numel(), len(one.clean)))
    values, frames, samples = zip(*alone, strict=True)
    weights = {"wave-mse": samples, "wave-snr": (1, 1), "wave-si-snr": (1, 1)}.get(name, frames)
    expected = np.average([float(value) for value in values], weights=weights)
    assert float(found) == pytest.approx(expected, rel=1e-4)
    axis = 1 if around.layout == "frames-bins" else 2
    padding = output.grad.narrow(axis, around.stft.count(1500), output.shape[axis] - around.stft.count(1500))[0]
    assert padding.numel() and not padding.any()
    assert torch.isfinite(output.grad).all() and output.grad.any()


def test_formulas() -> None:
    around, one = AROUNDS["crn-100k"], pair(3, 1600)
    _, target = minibatch([(one.noisy, one.clean)], around)
    output = output_for(around, target).detach()
    clean = around.stft.spectrum(target.clean)
    enhanced = target.noisy * output
    waves = around.stft.waves(enhanced, 1600)[0].numpy()
    error = waves - one.clean
    by_name = {
        "magnitude-mse": (enhanced.abs() - clean.abs()).square().mean(),
        "spec-mse": (enhanced - clean).real.square().mean() + (enhanced - clean).imag.square().mean(),
        "wave-mse": (error**2).mean(),
        "wave-snr": -10 * np.log10((one.clean**2).sum() / (error**2).sum()),
        "wave-si-snr": -si_sdr(one.clean, waves),
    }
    for name, expected in by_name.items():
        assert float(loss_of(name, around)(output, target)) == pytest.approx(float(expected), rel=2e-3), name


def test_both_together_are_the_sum() -> None:
    around, one = AROUNDS["crn"], pair(3, 1600)
    _, target = minibatch([(one.noisy, one.clean)], around)
    output = output_for(around, target).detach()
    both, *parts = (
        float(loss_of(name, around)(output, target)) for name in ("compressed-si-snr", "wave-si-snr", "compressed-mse")
    )
    assert both == pytest.approx(parts[0] + COMPRESSED_SHARE * parts[1])


def test_compressed_error_of_the_clean_speech_itself_is_none() -> None:
    around, one = AROUNDS["crn-100k"], pair(3, 1600)
    _, target = minibatch([(one.clean, one.clean)], around)
    loss = loss_of("compressed-mse", around)
    assert (
        float(loss(torch.ones(target.noisy.shape), target))
        < 1e-6
        < float(loss(output_for(around, target).detach(), target))
    )


@pytest.mark.parametrize("name", list(LOSSES))
def test_silence_has_a_finite_loss_and_gradient(name: str) -> None:
    silence = np.zeros(1600, np.float32)
    for around in AROUNDS.values():
        _, target = minibatch([(silence, silence)], around)
        output = output_for(around, target)
        found = loss_of(name, around)(output, target)
        found.backward()
        assert torch.isfinite(found) and torch.isfinite(output.grad).all()


def test_an_unknown_loss_names_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="the loss 'mse' is not one of magnitude-mse, spec-mse"):
        loss_of("mse", AROUNDS["crn"])
