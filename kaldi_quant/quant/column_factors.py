"""Factors for the columns of weights that alone are quantized, where no rescaling of the network does the same.

A column that meets inputs of large spread is multiplied by a large factor before it is rounded, and divided by it where
the weight becomes floats again. Where channels can be rescaled exactly (``equalization``) this costs nothing; here the
factors are stored beside the weight.

Source: J. Lin et al., "AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration", MLSys 2024.
Other than there, an input counts by its standard deviation instead of its mean size: what its mean does is left to the
bias, and features may lie far from zero.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from kaldi_quant.quant.equalization import ALPHAS, bounded
from kaldi_quant.quant.host import Data, Host
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.layer_inputs import LayerInputs, observe_inputs
from kaldi_quant.quant.rounding_error import RoundingError
from kaldi_quant.quant.slots import groups_of_layer


def column_factors(prepared: Host, data: Data, configs: Mapping[str, LayerConfig]) -> dict[str, Tensor]:
    """The factors of layers' columns, (in,) float32.

    Each layer that is concerned has some, if need be ones: so a file's size does not depend on data.

    Args:
        prepared: the network, its channels rescaled.
        data: the calibration set.
        configs: of the layers that are quantized.

    Raises:
        DataError: the calibration set cannot be used.
    """
    rescaled = {name for group in prepared.channel_groups() for name in group.consumers}
    model = prepared.complete().executable()
    names = [
        name
        for name, config in configs.items()
        if config.weights_only and name not in rescaled and groups_of_layer(model, name) == 1
    ]
    seen = observe_inputs(model, names, data) if names else {}
    return {name: _best(prepared.weight(name).double(), seen[name], configs[name]) for name in names}


def _best(weight: Tensor, inputs: LayerInputs, config: LayerConfig) -> Tensor:
    error = RoundingError(config, weight, inputs.examples.double())
    size = inputs.examples.double().std(0, correction=0)
    # What is constant is as good as any other.
    size = torch.where(size > 0, size, float(size.max()) or 1.0)
    candidates = [torch.from_numpy(bounded((size**alpha).numpy(), centred=True)) for alpha in ALPHAS]
    losses = [error.relative(factor) for factor in candidates]
    return candidates[losses.index(min(losses))].float()
