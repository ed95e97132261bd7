"""Copies of networks: as they are, and for quantization, their weights plain tensors however they were parametrized."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from kaldi_quant.errors import ModelError


def plain_copy(network: nn.Module) -> nn.Module:
    """A copy in test mode, weights and buffers as they are used there.

    Weight and spectral normalization, pruning and parametrizations are multiplied out.

    Raises:
        ModelError: a value of it is not finite; minus infinity, which masks of attention hold, is no parameter.
    """
    copied = own_copy(network).eval()
    with torch.no_grad():
        for module in copied.modules():
            _multiply_out(module)
    parameters = dict(copied.named_parameters())
    for name, value in [*parameters.items(), *copied.named_buffers()]:
        usable = torch.isfinite(value) if name in parameters else torch.isfinite(value) | torch.isneginf(value)
        if value.is_floating_point() and not usable.all():
            raise ModelError(f"{name} of the network holds values that are not finite (NaN or infinity)")
    return copied


def own_copy(network: nn.Module) -> nn.Module:
    """A copy that shares nothing with the network, whatever hooks it has."""
    # Weights that were computed by a hook cannot be copied as they are.
    computed = {
        id(value): value.detach().clone()
        for module in network.modules()
        for found in vars(module).values()
        # Recurrent modules have lists of their weights.
        for value in (found if isinstance(found, list) else [found])
        if isinstance(value, Tensor) and not value.is_leaf
    }
    return copy.deepcopy(network, computed)


def _multiply_out(module: nn.Module) -> None:
    if parametrize.is_parametrized(module):
        # Not by torch's own function, which changes the class, and the copy has that of the original.
        values = {name: getattr(module, name) for name in module.parametrizations}  # type: ignore[union-attr]
        module.__class__ = parametrize.type_before_parametrizations(module)
        del module._modules["parametrizations"]
        for name, value in values.items():
            module.register_parameter(name, nn.Parameter(value.detach().clone(), value.is_floating_point()))
    for hook in list(module._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            remove_weight_norm(module, hook.name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(module, hook.name)
        elif isinstance(hook, prune.BasePruningMethod):
            prune.remove(module, hook._tensor_name)
    if isinstance(module, nn.RNNBase):
        module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]
