"""The scale-invariant ratio of signal to distortion, as a ratio of energies, of signals (N, S, C, T)."""

from __future__ import annotations

import torch
from torch import Tensor

# Mean squares, of full scale 1: what is below the first is silence (-100 dB), the second keeps ratios finite.
_SILENCE, _LEAST = 1e-10, 1e-12
# Of the signal, counted as an error: equal signals have 60 dB, and none outweighs all others in a mean of ratios.
_ROUNDING = 1e-6
# Of the mixture, added to an output that should be silent: silence counts as 30 dB.
_HEARD = 1e-3
# Of everything silent: what comes out is compared with a mixture of -60 dB.
_LEAST_MIXTURE = 1e-6
#: Added to ratios before logarithms.
LEAST_RATIO = 1e-8


def si_sdr(output: Tensor, target: Tensor, sources: Tensor) -> Tensor:
    """The ratio of each output with the target at its place.

    J. Le Roux et al., "SDR - Half-baked or Well Done?", ICASSP 2019: signals have no mean, and the target is scaled
    to fit best. It is at most 1e6 (60 dB).

    A silent target has no such ratio. It has that of the mixture to the output, from 1e3 (30 dB) for a silent output to
    1 for one as loud as the mixture, so that training silences what should be silent (S. Wisdom et al., "What's All the
    FUSS About Free Universal Sound Separation Data?", ICASSP 2021, section 3).

    Args:
        output: (N, S, C, T).
        target: (N, S, C, T), for each output.
        sources: (N, S, C, T), of which the mixtures are made.

    Returns:
        (N, S).
    """
    output, target = _centred(output), _centred(target)
    energy = _power(target)
    scale = _mean_product(output, target) / energy.clamp(min=_LEAST)
    part = scale[..., None, None] * target
    return _ratio(_power(part), _power(output - part), _power(output), energy, mixture_power(sources))


def si_sdr_of_pairs(output: Tensor, target: Tensor, sources: Tensor) -> Tensor:
    """(N, outputs, targets): as above, of each output with each target; less exact where signals are nearly equal."""
    output, target = _centred(output), _centred(target)
    energy, given = _power(target)[:, None], _power(output)[:, :, None]
    products = torch.einsum("nict,njct->nij", output, target) / (output.shape[2] * output.shape[3])
    part = products.square() / energy.clamp(min=_LEAST)
    return _ratio(part, (given - part).clamp(min=0), given, energy, mixture_power(sources)[..., None])


def decibels(ratio: Tensor) -> Tensor:
    """Ratios in dB, from -80 dB on."""
    return 10 * (ratio + LEAST_RATIO).log10()


def mixture_power(sources: Tensor) -> Tensor:
    """(N, 1): the mean square of the sum of sources (N, S, C, T), or of -60 dB where that is silent."""
    return sources.sum(1).square().mean((1, 2)).clamp(min=_LEAST_MIXTURE)[:, None]


def _ratio(part: Tensor, error: Tensor, given: Tensor, energy: Tensor, mixture: Tensor) -> Tensor:
    """Of mean squares: of the target's part in the output, of the rest, and of the output, target and mixture."""
    ratio = part / (error + _ROUNDING * part + _LEAST)
    return torch.where(energy > _SILENCE, ratio, mixture / (given + _HEARD * mixture))


def _centred(signals: Tensor) -> Tensor:
    return signals - signals.mean(-1, keepdim=True)


def _power(signals: Tensor) -> Tensor:
    """(N, S)."""
    return signals.square().mean((2, 3))


def _mean_product(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).mean((2, 3))
