"""Components that scale and shift each channel by itself: what graph preparation moves into their neighbours."""

import numpy as np

from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.component_dims import component_dims

# ScaleAndOffsetComponent keeps its scales at least this far from zero.
_SMALLEST_SCALE = 1.0e-4


def scale_and_offset(component: Component) -> tuple[np.ndarray, np.ndarray] | None:
    """The (scale, offset) that a component applies to its channels in test mode, each (dim,) float64.

    None where the component does anything else.
    """
    pair = _per_block(component)
    if pair is None:
        return None
    dim = component_dims(component)[0]
    return tuple(np.resize(np.asarray(value, np.float64), dim) for value in pair)  # type: ignore[return-value]


def _per_block(component: Component) -> tuple[np.ndarray | float, np.ndarray | float] | None:
    match component.type:
        case "BatchNormComponent":
            mean, var = (component[name].astype(np.float64) for name in ("StatsMean", "StatsVar"))
            scale = float(component["TargetRms"]) / np.sqrt(np.maximum(var, 0.0) + float(component["Epsilon"]))
            return scale, -mean * scale
        case "FixedScaleComponent":
            return component["Scales"], 0.0
        case "PerElementScaleComponent" | "NaturalGradientPerElementScaleComponent":
            return component["Params"], 0.0
        case "FixedBiasComponent":
            return 1.0, component["Bias"]
        case "PerElementOffsetComponent":
            return 1.0, component["Offsets"]
        case "ScaleAndOffsetComponent":
            scales = component["Scales"].astype(np.float64)
            floor = np.where(scales >= 0, _SMALLEST_SCALE, -_SMALLEST_SCALE)
            return np.where(np.abs(scales) < _SMALLEST_SCALE, floor, scales), component["Offsets"]
        case "DropoutComponent":
            return 1.0 - float(component["DropoutProportion"]), 0.0
    return None
