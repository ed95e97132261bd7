"""Changes of single components, each of which leaves the original as it is.

Source: ``ReadEditConfig`` in ``src/nnet3/nnet-utils.cc`` and the classes' setters in ``src/nnet3``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.component_fields import COMPONENT_FIELDS

#: The types that Kaldi derives from AffineComponent and that edits of affine components are about.
AFFINE_TYPES = frozenset({"AffineComponent", "NaturalGradientAffineComponent"})
#: The types that have a dropout-proportion.
DROPOUT_TYPES = frozenset({"DropoutComponent", "DropoutMaskComponent", "GeneralDropoutComponent"})
#: Left vectors (out, rank), values (rank,) and right vectors (rank, in) of a matrix, float64.
SingularParts = tuple[np.ndarray, np.ndarray, np.ndarray]
# UpdatableComponent's values, with its defaults.
_UPDATABLE = {
    "LearningRateFactor": 1.0,
    "IsGradient": False,
    "MaxChange": 0.0,
    "L2Regularize": 0.0,
    "LearningRate": 0.001,
}


def is_updatable(component: Component) -> bool:
    """Whether a component is of a type that training changes."""
    return any(field.name == "LearningRate" for field in COMPONENT_FIELDS[component.type])


def with_field(component: Component, name: str, value: Any) -> Component:
    """A copy with another value of a field, which stands where Kaldi's reader expects it; None leaves the field out."""
    order = [field.name for field in COMPONENT_FIELDS[component.type]]
    place = order.index(name)
    before = [(field, old) for field, old in component.fields if order.index(field) < place]
    after = [(field, old) for field, old in component.fields if order.index(field) > place]
    middle = [] if value is None else [(name, value)]
    return Component(component.type, [*before, *middle, *after], component.closing)


def with_learning_rate(component: Component, rate: float) -> Component:
    """A copy whose underlying learning rate is another: what is stored is that times the component's factor."""
    actual = np.float32(rate) * np.float32(component.get("LearningRateFactor", 1.0))
    changed = with_field(component, "LearningRate", actual)
    if component.type == "CompositeComponent":
        parts = [with_learning_rate(part, float(actual)) if is_updatable(part) else part for part in _parts(component)]
        changed = with_field(changed, "NumComponents", parts)
    return changed


def with_learning_rate_factor(component: Component, factor: float) -> Component:
    """A copy with another factor on learning rates; as in Kaldi the actual rate stays until it is set again."""
    return with_field(component, "LearningRateFactor", None if factor == 1.0 else np.float32(factor))


def with_dropout_proportion(component: Component, proportion: float) -> Component:
    """A copy with another dropout-proportion."""
    return with_field(component, "DropoutProportion", np.float32(proportion))


def fixed_affine(component: Component) -> Component:
    """An affine component that training does not change."""
    fields = [(name, component[name]) for name in ("LinearParams", "BiasParams")]
    return Component("FixedAffineComponent", fields)


def check_finite(name: str, component: Component) -> None:
    """Raises ValueError if an affine component has no singular values."""
    if not np.isfinite(component["LinearParams"]).all():
        raise ValueError(f"component {name}: <LinearParams> is not finite (NaN or infinity)")


def with_rank(component: Component, rank: int) -> Component:
    """An affine component whose matrix is the nearest one of a rank."""
    left, values, right = singular_parts(component)
    matrix = (left[:, :rank] * values[:rank]) @ right[:rank]
    return with_field(component, "LinearParams", matrix.astype(np.float32))


def singular_parts(component: Component) -> SingularParts:
    """What an affine component's matrix is the product of, the largest values first."""
    left, values, right = np.linalg.svd(component["LinearParams"].astype(np.float64), full_matrices=False)
    return left, values, right


def halves(component: Component, parts: SingularParts, rank: int) -> tuple[Component, Component]:
    """An affine component as a linear one of ``rank`` rows and an affine one behind it (``SvdApplier``).

    The singular values are shared equally.
    """
    left, values, right = parts
    root = np.sqrt(values[:rank])
    first, second = root[:, None] * right[:rank], left[:, :rank] * root
    return _linear(component, first), _natural_gradient_affine(component, second, component["BiasParams"])


def _parts(component: Component) -> list[Component]:
    return component["NumComponents"]


def _updatable_fields(component: Component) -> list[tuple[str, Any]]:
    """The values that a new component has from another (``SetUpdatableConfigs``), as Kaldi writes them."""
    values = {name: component.get(name, default) for name, default in _UPDATABLE.items()}
    written = [(name, value) for name, value in values.items() if name == "LearningRate" or value != _UPDATABLE[name]]
    return [(name, value if isinstance(value, bool) else np.float32(value)) for name, value in written]


def _linear(component: Component, matrix: np.ndarray) -> Component:
    """LinearComponent with the defaults of its constructor."""
    fields = [
        *_updatable_fields(component),
        ("Params", matrix.astype(np.float32)),
        ("UseNaturalGradient", True),
        ("RankInOut", (40, 80)),
        ("Alpha", np.float32(4.0)),
        ("NumSamplesHistory", np.float32(2000.0)),
        ("UpdatePeriod", 4),
    ]
    return Component("LinearComponent", fields)


def _natural_gradient_affine(component: Component, matrix: np.ndarray, bias: np.ndarray) -> Component:
    """NaturalGradientAffineComponent with the defaults of its constructor."""
    fields = [
        *_updatable_fields(component),
        ("LinearParams", matrix.astype(np.float32)),
        ("BiasParams", bias),
        ("RankIn", 20),
        ("RankOut", 80),
        ("UpdatePeriod", 4),
        ("NumSamplesHistory", np.float32(2000.0)),
        ("Alpha", np.float32(4.0)),
    ]
    return Component("NaturalGradientAffineComponent", fields)
