"""One output of several, and values that inference needs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kaldi_quant.errors import ModelError, UsageError
from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.inference_values import check_values
from kaldi_quant.kaldi.model import AmNnetSimple
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.kaldi.outputs import model_with_output, output_names, with_output
from kaldi_quant.kaldi.training_statistics import inference_arrays
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.preparation.prepared import prepare
from tests.kaldi.multilingual import PDFS, multilingual
from tests.references import COMPONENT_NAMES, COMPONENTS, NNET3, load


@pytest.mark.parametrize("number", [0, 1])
def test_an_output_and_its_branch(number: int) -> None:
    nnet = multilingual()
    chosen = with_output(nnet, f"output-{number}")
    chosen.check()
    assert output_names(chosen) == ["output", "output-xent"]
    assert chosen.node_dim("output") == PDFS[number]
    assert {name for name in chosen.components if name.startswith("output")} == {
        f"output-{number}.affine",
        f"output-{number}-xent.affine",
    }
    # The network that was read stays as it is.
    assert output_names(nnet) == ["output-0", "output-1", "output-0-xent", "output-1-xent"]


def test_the_branch_alone() -> None:
    nnet = with_output(load(NNET3 / "tdnnf_small" / "final.raw").nnet, "output-xent")
    assert output_names(nnet) == ["output"] and "output.affine" not in nnet.components


def test_output_itself_leaves_everything() -> None:
    model = load(NNET3 / "priors_mdl" / "final.mdl")
    assert model_with_output(model, "output") is model


def test_outputs_that_do_not_exist() -> None:
    known = "output-0, output-1, output-0-xent, output-1-xent"
    with pytest.raises(UsageError, match=rf"no output node output, only {known} \(--output-node chooses one\)"):
        with_output(multilingual(), "output")
    with pytest.raises(UsageError, match=f"there is no output node tdnn1.affine, only {known}$"):
        with_output(multilingual(), "tdnn1.affine")
    for make_ready in (AcousticModel, prepare):
        with pytest.raises(ModelError, match=f"there is no output node output, only {known}"):
            make_ready(multilingual())


def test_priors_of_another_output_go(caplog: pytest.LogCaptureFixture) -> None:
    model = load(NNET3 / "priors_mdl" / "final.mdl")
    assert isinstance(model.network, AmNnetSimple) and len(model.priors) == 208
    lines = [*model.nnet.config_lines, "output-node name=hidden input=tdnn1.affine"]
    two = replace(model, network=replace(model.network, nnet=Nnet.of_lines(lines, model.nnet.components)))
    chosen = model_with_output(two, "hidden")
    assert len(chosen.priors) == 0 and chosen.transition_model is model.transition_model
    assert "208 priors are left out, since the output has 12 pdfs" in caplog.text


def _spoiled(component: Component, field: str, value: float) -> Component:
    """A component with a number somewhere in a field, also in one of a component inside."""
    fields = []
    for name, old in component.fields:
        if name == "NumComponents":
            fields.append((name, [_spoiled(part, field, value) for part in old]))
        elif name == field:
            new = np.array(old)
            new.reshape(-1)[-1] = value
            fields.append((name, new))
        else:
            fields.append((name, old))
    return Component(component.type, fields)


@pytest.mark.parametrize("name", [name for name in COMPONENT_NAMES if not name.startswith("Distribute")])
def test_values_that_are_no_numbers_are_refused_alike(name: str) -> None:
    """Whatever array of floats inference needs, it is looked at before a network runs or is quantized."""
    nnet = load(COMPONENTS / f"{name}.raw").nnet
    component = nnet.components["it"]
    for field in {field for field, array in inference_arrays(component) if array.size}:
        for value in (np.nan, np.inf):
            bad = replace(nnet, components={"it": _spoiled(component, field, value)}, path="bad.raw")
            for make_ready in (AcousticModel, prepare):
                with pytest.raises(ModelError, match=rf"bad.raw: the component it cannot be used: <{field}> of \w+ is"):
                    make_ready(bad)


def test_statistics_of_training_may_be_anything() -> None:
    nnet = load(COMPONENTS / "RectifiedLinearComponent.raw").nnet
    component = nnet.components["it"]
    component = Component(component.type, [*component.fields])
    component.replace("ValueAvg", np.full(3, np.nan, np.float32))
    check_values(replace(nnet, components={"it": component}), ["output"])


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("Count", np.float64(0), "has no statistics"),
        ("Count", np.float64(-3), "has no statistics"),
        ("Count", np.float64(np.nan), "has no statistics"),
        ("StatsVar", np.zeros(0, np.float32), "has no statistics"),
        ("Epsilon", np.float32(0), "<Epsilon> of BatchNormComponent must be positive, found 0"),
        ("TargetRms", np.float32(np.nan), "<TargetRms> of BatchNormComponent must be positive, found nan"),
        ("TargetRms", np.float32(np.inf), "<TargetRms> of BatchNormComponent is inf"),
    ],
)
def test_batch_norm_that_cannot_be_used(field: str, value: object, sentence: str) -> None:
    nnet = load(COMPONENTS / "BatchNormComponent.raw").nnet
    component = Component("BatchNormComponent", list(nnet.components["it"].fields))
    component.replace(field, value)
    for make_ready in (AcousticModel, prepare):
        with pytest.raises(ModelError, match=sentence):
            make_ready(replace(nnet, components={"it": component}))


@pytest.mark.parametrize("descriptor", ["Scale(nan, input)", "Sum(input, Const(inf, 20))"])
def test_numbers_in_descriptors(descriptor: str) -> None:
    lines = ["input-node name=input dim=20", f"output-node name=output input={descriptor}"]
    with pytest.raises(ModelError, match=r"the input of node output cannot be used: .* holds"):
        AcousticModel(Nnet.of_lines(lines, {}))


def test_a_network_without_layers() -> None:
    lines = ["input-node name=input dim=20", "output-node name=output input=input"]
    assert AcousticModel(Nnet.of_lines(lines, {})).output_dim == 20
    with pytest.raises(ModelError, match=r"bare\.raw: output depends on no layer that can be quantized"):
        prepare(Nnet.of_lines(lines, {}, "bare.raw"))


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["input-node name=mfcc dim=6", "output-node name=output input=mfcc"], "mfcc"),
        (["input-node name=ivector dim=6", "output-node name=output input=ReplaceIndex(ivector, t, 0)"], "ivector"),
        (
            [
                "input-node name=input dim=6",
                "input-node name=more dim=6",
                "output-node name=output input=Sum(input, more)",
            ],
            "input, more",
        ),
    ],
)
def test_inputs_that_nobody_can_give(lines: list[str], found: str) -> None:
    for make_ready in (AcousticModel, prepare):
        with pytest.raises(ModelError, match=f"needs the input input, and may have ivector; this one has {found}$"):
            make_ready(Nnet.of_lines(lines, {}))


def test_what_a_constant_is_given_and_does_not_read() -> None:
    """A constant whose formal input is nothing else's, as scripts make them, in both ways of execution."""
    constant = load(COMPONENTS / "ConstantComponent.raw").nnet.components["it"]
    affine = load(COMPONENTS / "FixedAffineComponent.raw").nnet.components["it"]
    columns = affine["LinearParams"].shape[1]
    dim = columns - len(constant["Output"])
    lines = [
        f"input-node name=input dim={dim}",
        f"input-node name=unread dim={len(constant['Output'])}",
        "component-node name=constant component=constant input=unread",
        "component-node name=affine component=affine input=Append(input, constant)",
        "output-node name=output input=affine",
    ]
    nnet = Nnet.of_lines(lines, {"constant": constant, "affine": affine})
    feats = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 5, dim)).astype(np.float32))
    rows = [AcousticModel(network)(feats, [(0, 5)], np.arange(5)) for network in (nnet, prepare(nnet).complete().nnet)]
    whole = np.hstack([feats[0].numpy(), np.tile(constant["Output"], (5, 1))])
    expected = whole @ affine["LinearParams"].T + affine["BiasParams"]
    for found in rows:
        assert np.allclose(found[0].detach().numpy(), expected, atol=1e-5)
