"""MBQAT's schemes, as their programs were meant to work, and this project's own.

Here as there, the three have one scale for each weight and leave normalizations in float. Unlike there, scales that are
to be learned begin at what fits the data and do learn; ranges are static where nothing else is said, not those of the
test data; the weights of cells are those that were trained; and zero points are integers in the end.
"""

from __future__ import annotations

from dataclasses import replace

from kaldi_quant.frontends.enhancement.schemes.registered import SCHEMES
from kaldi_quant.frontends.schemes import CELLS, Scheme, SchemeTraining
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.presets import read_preset

_WAITING = {"float_reason": "in float while the other layers are trained"}
_DYNAMIC = {CELLS: {"bits": 8, "ranges": "dynamic"}}
_BY_TENSOR = LayerConfig(method="minmax", per_channel=False)
_RECOMPUTED = SchemeTraining("recomputed", weights="values", amsgrad=True)
# Scales begin where rounding and clipping lose least.
_LEARNED = SchemeTraining(offsets="floats", lr_initial=3e-4, lr_final=1e-4, amsgrad=True)
_SETTLING = replace(_LEARNED, offsets="integers", lr_initial=1e-4, lr_final=1e-5)


# Magnitudes of soft frames are a thousandth of those of loud ones: in 8 bits they would be 0.
_INPUT_BITS = 12


def _with_input(config: PtqConfig, **more: object) -> PtqConfig:
    """A configuration whose first layers read the input on a finer grid; more: their other fields."""
    first = {**config.layers.get("@input", {}), "act_bits": _INPUT_BITS, **more}
    return replace(config, layers={**config.layers, "@input": first})


def _by_tensor(default: LayerConfig, **more: object) -> PtqConfig:
    return PtqConfig(default, observer="minmax", fold="none", bias_correction=False, **more)  # type: ignore[arg-type]


def _fitted(bits: int) -> PtqConfig:
    """Where learned scales begin: a scale for each weight, which training is too short to find from its range alone."""
    default = replace(_BY_TENSOR, bits=bits, method="descent")
    return PtqConfig(default, fold="none", layers={CELLS: _WAITING})


SCHEMES.add("standard-qat")(
    Scheme(
        _by_tensor(replace(_BY_TENSOR, act_symmetric=True)),
        _RECOMPUTED,
        description="8 bits everywhere, grids symmetric about zero; scales from the weights and from minibatches",
    )
)
SCHEMES.add("general-qat")(
    Scheme(
        _by_tensor(_BY_TENSOR, layers={CELLS: _WAITING}),
        _RECOMPUTED,
        _DYNAMIC,
        description="8 bits; asymmetric activations from minibatches; cells in float in training, dynamic afterwards",
    )
)
SCHEMES.add("mbqat")(
    Scheme(
        _fitted(bits=4),
        _LEARNED,
        _DYNAMIC,
        settling=_SETTLING,
        description="4-bit weights, 8-bit activations, scales and offsets learned; cells as in general-qat",
    )
)
SCHEMES.add("mbqat-tcn")(
    Scheme(
        _fitted(bits=8),
        _LEARNED,
        _DYNAMIC,
        settling=_SETTLING,
        description="the same with 8-bit weights",
    )
)
SCHEMES.add("ours-w8a8")(
    Scheme(
        _with_input(read_preset("w8a8")),
        description="after training: a scale for each channel, integer zero points, everything in integers",
    )
)
SCHEMES.add("ours-w4a8")(
    Scheme(
        _with_input(read_preset("w4a8"), bits=4),
        SchemeTraining(),
        description="4-bit weights everywhere, cells included, after training, then trained; everything in integers",
    )
)
