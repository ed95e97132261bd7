"""Each executed component alone against Kaldi's output."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.component_dims import WITHOUT_INPUT
from kaldi_quant.kaldi.component_fields import COMPONENT_FIELDS
from kaldi_quant.nnet3.components import Registry
from kaldi_quant.nnet3.components.elementwise import ConstantOutput
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.preparation.prepared import prepare
from tests.references import COMPONENT_NAMES, COMPONENT_REFERENCES, COMPONENTS, Reference, largest_difference, load


def _type(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def _component(name: str) -> Component:
    return load(COMPONENTS / f"{name}.raw").nnet.components["it"]


EXECUTED = [
    reference
    for reference in COMPONENT_REFERENCES
    if _type(reference.output.stem) not in {"DistributeComponent", *WITHOUT_INPUT}
]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-6)], ids=["32", "64"])
@pytest.mark.parametrize("reference", EXECUTED, ids=lambda reference: reference.output.stem)
def test_output(reference: Reference, dtype: torch.dtype, tolerance: float) -> None:
    expected = reference.expected()
    scale = max(1.0, float(np.abs(expected["utt"]).max()))
    assert largest_difference(reference.compute(dtype), expected) < tolerance * scale


@pytest.mark.parametrize("name", [name for name in COMPONENT_NAMES if _type(name) in WITHOUT_INPUT])
def test_components_without_input(name: str) -> None:
    module = Registry.build("it", _component(name))
    assert isinstance(module, ConstantOutput)
    expected = next(found for found in COMPONENT_REFERENCES if found.output.stem == name).expected()["utt"]
    assert np.allclose(module(1, len(expected))[0].detach(), expected, atol=1e-7)


def test_all_types_but_one_are_executed() -> None:
    assert set(COMPONENT_FIELDS) - set(Registry.builders) == {"DistributeComponent"}
    with pytest.raises(ModelError, match="component it is a DistributeComponent, which can be copied but not executed"):
        Registry.build("it", _component("DistributeComponent"))


def test_a_network_of_constants_alone_has_nothing_to_compute() -> None:
    with pytest.raises(ModelError, match="needs the input input, and may have ivector; this one has none"):
        AcousticModel(load(COMPONENTS / "ConstantComponent.raw").nnet)


def test_batch_norm_without_statistics_is_refused() -> None:
    component = _component("BatchNormComponent")
    fields = [(name, np.float32(0) if name == "Count" else value) for name, value in component.fields]
    nnet = load(COMPONENTS / "BatchNormComponent.raw").nnet
    without = replace(nnet, components={"it": Component(component.type, fields)}, path="0.raw")
    for make_ready in (AcousticModel, prepare):
        with pytest.raises(ModelError, match=r"0.raw: the component it cannot be used: .* has no statistics"):
            make_ready(without)


def test_modules_keep_parameters_and_statistics_apart() -> None:
    affine, norm = (
        Registry.build("a", _component("AffineComponent")),
        Registry.build("n", _component("BatchNormComponent")),
    )
    assert {name for name, _ in affine.named_parameters(remove_duplicate=True)} == {"weight", "bias"}
    assert not list(norm.parameters()) and {name for name, _ in norm.named_buffers()} == {"mean", "var"}
