"""Graph preparation leaves the float output as it was, for every kind of network."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.nnet import DimRangeNode, Nnet
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.preparation.linear_components import is_linear, weight_of
from kaldi_quant.nnet3.preparation.prepared import prepare
from tests.references import COMPONENTS, MODELS, NNET3, load, model_file


def outputs(nnet: Nnet, frames: int = 60) -> torch.Tensor:
    """(2, rows, pdfs) float64, for random features."""
    model = AcousticModel(nnet).double()
    left, right = model.context.left, model.context.right
    random = torch.Generator().manual_seed(0)
    feats = 2 * torch.randn(2, frames + left + right, model.input_dim, generator=random, dtype=torch.float64)
    ivectors = torch.randn(2, model.ivector_dim, generator=random, dtype=torch.float64) if model.ivector_dim else None
    with torch.inference_mode():
        return model(feats, [(-left, frames + right)] * 2, np.arange(0, frames, 3), ivectors)


# DistributeComponent is the one kind that is read and written but not executed.
@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("name", [name for name in MODELS if name != "distribute"])
def test_the_float_output_is_unchanged(name: str, fold: bool) -> None:
    nnet = load(model_file(NNET3 / name)).nnet
    before = outputs(nnet)
    assert (outputs(prepare(nnet, fold=fold).complete().nnet) - before).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["tdnn1a_sp", "tdnnf1b_sp"])
def test_normalizations_and_other_outputs_are_gone(example: Path, name: str) -> None:
    nnet = read_model(example / "exp/chain" / name / "final.mdl").nnet
    prepared = prepare(nnet)
    types = {component.type for component in prepared.nnet.components.values()}
    assert not any("BatchNorm" in kind or "Dropout" in kind for kind in types)
    assert "output-xent" not in prepared.nnet.nodes
    assert prepared.input_offsets
    assert (outputs(prepared.complete().nnet) - outputs(nnet)).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["tdnn1a_sp", "tdnnf1b_sp"])
def test_without_folding_each_layer_keeps_its_weights(example: Path, name: str) -> None:
    """A normalization is then a product and a sum for each channel, and LDA a layer of its own."""
    nnet = read_model(example / "exp/chain" / name / "final.mdl").nnet
    prepared = prepare(nnet, fold=False)
    kept = {part for part, component in prepared.nnet.components.items() if is_linear(component)}
    assert kept == {part for part in nnet.components if part in prepared.nnet.components and part in kept}
    for part in kept:
        np.testing.assert_array_equal(weight_of(prepared.nnet.components[part]), weight_of(nnet.components[part]))
    assert prepared.transforms == {"lda"}
    types = [component.type for component in prepared.nnet.components.values()]
    normalizations = [
        part for part, one in nnet.components.items() if one.type == "BatchNormComponent" and "xent" not in part
    ]
    assert types.count("FixedScaleComponent") == types.count("FixedBiasComponent") == len(normalizations)
    assert not prepared.input_offsets
    assert (outputs(prepared.complete().nnet) - outputs(nnet)).abs().max() < 1e-5


def test_biases_follow_the_weights_that_are_used(example: Path) -> None:
    """With other weights, a bias holds these weights times the offset, not the float ones."""
    prepared = prepare(read_model(example / "exp/chain/tdnn1a_sp/final.mdl").nnet)
    name = next(iter(prepared.input_offsets))
    assert prepared.nodes[name].op == "product"
    weight = prepared.weight(name)
    offset = prepared.input_offsets[name]
    changed = prepared.bias(name, 2 * weight) - prepared.bias(name, weight)
    np.testing.assert_allclose(changed.numpy(), weight.double().numpy() @ offset, rtol=1e-9, atol=1e-9)


def test_columns_of_columns_are_columns_of_the_node_itself() -> None:
    """What is taken out between two dim-range nodes leaves none that Kaldi does not read."""
    affine = load(COMPONENTS / "FixedAffineComponent.raw").nnet.components["it"]
    out, dim = affine["LinearParams"].shape
    assert out >= 3
    lines = [
        f"input-node name=input dim={dim}",
        "component-node name=affine component=affine input=input",
        f"dim-range-node name=first input-node=affine dim-offset=1 dim={out - 1}",
        "component-node name=nothing component=nothing input=first",
        f"dim-range-node name=second input-node=nothing dim-offset=1 dim={out - 2}",
        "output-node name=output input=second",
    ]
    nothing = Component("NoOpComponent", [("Dim", out - 1), ("BackpropScale", np.float32(1))])
    nnet = Nnet.of_lines(lines, {"affine": affine, "nothing": nothing})
    nnet.check()
    second = prepare(nnet).nnet.nodes["second"]
    assert second == DimRangeNode("second", "affine", 2, out - 2)
    lines = [lines[0], lines[1], lines[2], lines[4].replace("nothing", "first"), lines[5]]
    nested = Nnet.of_lines(lines, {"affine": affine})
    with pytest.raises(ModelError, match="the node second cannot read first"):
        nested.check()
