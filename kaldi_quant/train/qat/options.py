"""What becomes of scales, offsets and weights in quantization-aware training."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kaldi_quant.errors import UsageError
from kaldi_quant.train.qat.trained_weight import DEFAULT_WEIGHTS, WEIGHTS

#: lsq: scales and zero points are learned; fixed: they stay as calibration found them; recomputed: those of weights are
#: found anew at every step, those of activations for every minibatch; moving-average: they follow the ranges of weights
#: and activations, which is what PyTorch's own fake quantization does.
METHODS = ("lsq", "fixed", "recomputed", "moving-average")

#: integers: the value of a zero point is an integer while it is learned; floats: an offset is learned in the unit of
#: the values, and becomes an integer zero point at the end (``float_offsets``).
OFFSETS = ("integers", "floats")
DEFAULT_OFFSETS = "integers"

_DEFAULTS = {"weights": DEFAULT_WEIGHTS, "offsets": DEFAULT_OFFSETS}


@dataclass(frozen=True)
class QatOptions:
    """Quantization-aware training.

    Args:
        method: what becomes of scales, one of ``METHODS``.
        freeze_after: the share of training after which scales stay as they are.
        weights: what is learned of weights, one of ``WEIGHTS``: steps, places between the integers of their grids; or
            values, the weights in float. Not for moving-average, whose weights are in float and learn at the rates of
            steps; recomputed needs values, since a place on a grid does not tell its scale.
        offsets: what is learned of the zero points of activations, one of ``OFFSETS``; floats only with lsq.

    Raises:
        UsageError: a value is impossible.
    """

    method: str = "lsq"
    freeze_after: float = 0.8
    weights: str = DEFAULT_WEIGHTS
    offsets: str = DEFAULT_OFFSETS

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"--method {self.method!r} is not one of {', '.join(METHODS)}")
        if not 0 <= self.freeze_after <= 1:
            raise UsageError(f"--freeze-after {self.freeze_after:g}: expected a share from 0 to 1")
        if self.weights not in WEIGHTS:
            raise UsageError(f"--weights {self.weights!r} is not one of {', '.join(WEIGHTS)}")
        if self.offsets not in OFFSETS:
            raise UsageError(f"offsets {self.offsets!r} is not one of {', '.join(OFFSETS)}")
        if self.method == "moving-average" and self.weights != DEFAULT_WEIGHTS:
            raise UsageError(
                f"--weights {self.weights} is not for the presets torch-*: PyTorch trains weights in float in any case"
            )
        if self.method == "recomputed" and self.weights != "values":
            raise UsageError(
                f"--method recomputed finds scales from weights in float, and --weights {self.weights} trains none: "
                "choose --weights values"
            )
        if self.offsets != DEFAULT_OFFSETS and self.method != "lsq":
            raise UsageError(f"offsets {self.offsets!r} are learned with scales: --method {self.method} learns none")

    def as_dict(self) -> dict[str, Any]:
        """All values, for records and for what tells trainings apart; some only where they are not the default."""
        return without_defaults(asdict(self))


def without_defaults(options: dict[str, Any]) -> dict[str, Any]:
    """Options without those defaults that checkpoints and records do not have."""
    return {name: value for name, value in options.items() if _DEFAULTS.get(name) != value}
