"""The losses by name. Pieces of a minibatch have one length; each counts for itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.frontends.separation.losses.distillation import Distillation
from kaldi_quant.frontends.separation.losses.order import at_places, best_places, values_at, values_to
from kaldi_quant.frontends.separation.losses.ratios import decibels, si_sdr, si_sdr_of_pairs
from kaldi_quant.frontends.separation.networks.known import Kind
from kaldi_quant.registry import Registry
from kaldi_quant.torchnn.batches import LossFunction

# Of mean squares: an error below -100 dB of full scale is none.
_LEAST_ERROR = 1e-10
# What the names of losses begin with that let any output be any source.
_UNORDERED = "pit-"


@dataclass(frozen=True)
class Estimates:
    """What a minibatch's losses are made of.

    Args:
        output: (N, S, C, T), of the network.
        sources: (N, S, C, T).
        is_ordered: whether outputs stand for the sources at their places.
        floats: (N, S, C, T), of the float network; None without distillation.
        distillation: how that one is heeded.
    """

    output: Tensor
    sources: Tensor
    is_ordered: bool
    floats: Tensor | None
    distillation: Distillation


#: The loss of a minibatch, ().
Measure = Callable[[Estimates], Tensor]
#: Losses by name; those with ``pit-`` are for kinds without order, ``l1`` takes the best order of these.
LOSSES: Registry[Measure] = Registry("loss")


def loss_of(kind: Kind, name: str, distillation: Distillation | None = None) -> LossFunction:
    """The loss of a network's output (N, S, C, T), with sources (N, S, C, T) or a pair of these and float estimates.

    Without distillation, float estimates that are given do not count.

    Args:
        kind: of the network.
        name: of ``LOSSES``.
        distillation: how the float network teaches, beside the sources; None for sources alone.

    Raises:
        UsageError: there is no such loss, or not for this kind. The loss itself raises DataError where output and
            target have not the same shape, or float estimates are missing.
    """
    measure = LOSSES[name]
    if name.startswith(_UNORDERED) and kind.is_ordered:
        raise UsageError(f"the loss {name} lets any output be any source, but outputs are {', '.join(kind.sources)}")

    def loss(output: Tensor, target: Any) -> Tensor:
        sources, floats = (target, None) if isinstance(target, Tensor) else target
        if distillation is None:
            floats = None
        elif floats is None:
            raise DataError("distillation needs what the float network makes of each mixture, beside its sources")
        for signals in (sources, floats):
            if signals is not None and signals.shape != output.shape:
                raise DataError(f"expected targets of the output's shape {(*output.shape,)}, found {(*signals.shape,)}")
        return measure(Estimates(output, sources, kind.is_ordered, floats, distillation or Distillation(share=0)))

    return loss


@LOSSES.add("pit-si-sdr")
def pit_si_sdr(found: Estimates) -> Tensor:
    """Minus SI-SDR in dB, the mean over samples and sources; with distillation each source's two parts are mixed."""
    task, taught = _ratios(found)
    if taught is None:
        return -decibels(task).mean()
    weights, ratios = taught
    return -_in_decibels(found, task, weights * ratios, weights * decibels(ratios)).mean()


@LOSSES.add("pit-si-sdr-linear")
def pit_si_sdr_linear(found: Estimates) -> Tensor:
    """Minus the decibels of the mean ratio over samples and sources, so that good samples count more (FQSS)."""
    task, taught = _ratios(found)
    if taught is None:
        return -decibels(task.mean())
    weighted = (taught[0] * taught[1]).mean()
    return -_in_decibels(found, task.mean(), weighted, decibels(weighted))


def _in_decibels(found: Estimates, task: Tensor, ratios: Tensor, of_ratios: Tensor) -> Tensor:
    """Both parts mixed: ratios to sources, and weighted ratios to float estimates, or these in dB."""
    share = found.distillation.share
    if found.distillation.mix == "decibels":
        return _mixed(decibels(task), of_ratios, share)
    return decibels(_mixed(task, ratios, share))


def _mixed(task: Tensor, taught: Tensor, share: float) -> Tensor:
    return (1 - share) * task + share * taught


def _ratios(found: Estimates) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """(N, S) each: SI-SDR of outputs with their sources; weights, and SI-SDR with float estimates."""
    places = _si_sdr_places(found.output, found.sources, found)
    task = si_sdr(found.output, at_places(found.sources, places), found.sources)
    if found.floats is None:
        return task, None
    with torch.no_grad():
        of_floats = _si_sdr_places(found.floats, found.sources, found)
        reached = si_sdr(found.floats, at_places(found.sources, of_floats), found.sources)
        both = [values_to(decibels(x), where) for x, where in ((reached, of_floats), (task, places))]
        weights = values_at(found.distillation.weights(*both), of_floats)
        beside = _si_sdr_places(found.output, found.floats, found, weights)
    return task, (values_at(weights, beside), si_sdr(found.output, at_places(found.floats, beside), found.sources))


def _si_sdr_places(output: Tensor, target: Tensor, found: Estimates, weights: Tensor | None = None) -> Tensor | None:
    """Which targets (N, S), weighted, outputs are; None where there is an order."""
    if found.is_ordered:
        return None
    ratios = si_sdr_of_pairs(output.detach(), target, found.sources)
    return best_places(ratios if weights is None else ratios * weights[:, None])


@LOSSES.add("l1")
def l1(found: Estimates) -> Tensor:
    """The mean absolute difference, which knows levels; that of silence is the mean size of samples."""
    places = _l1_places(found.output, found.sources, found)
    task = _differences(found.output, at_places(found.sources, places)).mean()
    if found.floats is None:
        return task
    with torch.no_grad():
        of_floats = _l1_places(found.floats, found.sources, found)
        both = [
            values_to(-_error_in_decibels(x, at_places(found.sources, where)), where)
            for x, where in ((found.floats, of_floats), (found.output, places))
        ]
        weights = values_at(found.distillation.weights(*both), of_floats)
        beside = _l1_places(found.output, found.floats, found)
    taught = _differences(found.output, at_places(found.floats, beside)) * values_at(weights, beside)
    return _mixed(task, taught.mean(), found.distillation.share)


def _l1_places(output: Tensor, target: Tensor, found: Estimates) -> Tensor | None:
    if found.is_ordered:
        return None
    return best_places(-_differences(output.detach()[:, :, None], target[:, None]))


def _differences(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).abs().mean((-2, -1))


def _error_in_decibels(one: Tensor, other: Tensor) -> Tensor:
    """(N, S): of the error alone; the energy of sources cancels in what is lost."""
    return 10 * ((one - other).square().mean((2, 3)) + _LEAST_ERROR).log10()
