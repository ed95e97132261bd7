"""Kaldi's language of edits: what each directive leaves, and one sentence for what is impossible."""

import re
from dataclasses import replace

import numpy as np
import pytest

from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.edits import apply_edits
from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.kaldi.outputs import output_names
from kaldi_quant.kaldi.patterns import matches
from tests.kaldi.multilingual import multilingual
from tests.references import COMPONENTS, NNET3, load


def tdnnf() -> Nnet:
    return load(NNET3 / "tdnnf_small" / "final.raw").nnet


def edited(text: str, nnet: Nnet | None = None) -> Nnet:
    return apply_edits(tdnnf() if nnet is None else nnet, text.replace(";", "\n"), "--edits")


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("output", "output", True),
        ("output", "*", True),
        ("", "*", True),
        ("output", "out*", True),
        ("output", "*put", True),
        ("output", "o*p*t", True),
        ("output", "output*", True),
        ("output", "outpu", False),
        ("output", "o*x*t", False),
        ("aba", "ab*ba", False),
        ("output-0", "output-?", False),
        ("a" * 5000, "*a" * 500 + "b", False),
    ],
)
def test_patterns(name: str, pattern: str, expected: bool) -> None:
    assert matches(name, pattern) == expected


def test_an_output_is_renamed_and_the_others_go() -> None:
    """As multilingual recipes select an output."""
    text = (
        "rename-node old-name=output-1 new-name=output # this one\n\nremove-output-nodes name=output-*; remove-orphans"
    )
    nnet = edited(text, multilingual())
    assert output_names(nnet) == ["output"] and nnet.node_dim("output") == 7
    assert [name for name in nnet.components if name.startswith("output")] == ["output-1.affine"]


def test_a_renamed_node_is_read_under_its_new_name() -> None:
    nnet = edited("rename-node old-name=tdnnf2.noop new-name=middle")
    assert "tdnnf2.noop" not in nnet.nodes and "tdnnf2.noop" in nnet.components
    assert str(nnet.nodes["tdnnf3.noop"].input) == "Sum(Scale(0.66, middle), tdnnf3.dropout)"  # type: ignore[union-attr]
    lstm = edited("rename-node old-name=lstm1.lstm_nonlin new-name=cell", load(NNET3 / "fast_lstm" / "final.raw").nnet)
    assert lstm.nodes["lstm1.m"].input_node == "cell"  # type: ignore[union-attr]


def test_orphans() -> None:
    lines = ["input-node name=extra dim=3", "input-node name=more dim=3", *tdnnf().config_lines]
    nnet = edited("remove-output-nodes name=output-xent", Nnet.of_lines(lines, tdnnf().components))
    assert "prefinal-xent.affine" in nnet.nodes
    nodes = edited("remove-orphan-nodes", nnet)
    assert "prefinal-xent.affine" not in nodes.nodes and "prefinal-xent.affine" in nodes.components
    assert "extra" in nodes.nodes and "more" in nodes.nodes
    assert "prefinal-xent.affine" in edited("remove-orphan-components", nnet).components
    assert "prefinal-xent.affine" not in edited("remove-orphan-components", nodes).components
    both = edited("remove-orphans remove-orphan-inputs=true", nnet)
    assert not {"extra", "more", "prefinal-xent.affine"} & {*both.nodes, *both.components}


def test_fixed_affine() -> None:
    nnet = edited("convert-to-fixed-affine name=tdnn1.*")
    changed = {name for name, part in nnet.components.items() if part.type != tdnnf().components[name].type}
    assert changed == {"tdnn1.affine"} and nnet.components["tdnn1.affine"].type == "FixedAffineComponent"
    types = {part.type for part in edited("convert-to-fixed-affine").components.values()}
    assert "LinearComponent" in types and "NaturalGradientAffineComponent" not in types


def test_learning_rates_and_factors() -> None:
    nnet = edited(
        "set-learning-rate-factor name=tdnn1.affine learning-rate-factor=0.5; set-learning-rate learning-rate=2e-3"
    )
    first, second = nnet.components["tdnn1.affine"], nnet.components["tdnnf2.linear"]
    assert (first["LearningRateFactor"], first["LearningRate"]) == (0.5, np.float32(1e-3))
    assert (second.get("LearningRateFactor"), second["LearningRate"]) == (None, np.float32(2e-3))
    again = edited("set-learning-rate-factor learning-rate-factor=1", nnet).components["tdnn1.affine"]
    assert (again.get("LearningRateFactor"), again["LearningRate"]) == (None, np.float32(1e-3))
    # Fields stand in the order that a reader expects.
    content = Model(nnet, None, True, "edited.raw").getvalue()
    assert content.count(b"<LearningRateFactor>") == 1 + Model(tdnnf(), None, True, "").getvalue().count(
        b"<LearningRateF"
    )


def test_a_composite_hands_its_learning_rate_down() -> None:
    nnet = edited("set-learning-rate learning-rate=0.25", load(COMPONENTS / "CompositeComponent.raw").nnet)
    composite = nnet.components["it"]
    rates = [part["LearningRate"] for part in composite["NumComponents"] if "LearningRate" in part]
    assert composite["LearningRate"] == 0.25 and rates and set(rates) == {np.float32(0.25)}


@pytest.mark.parametrize("name", ["DropoutComponent", "DropoutMaskComponent", "GeneralDropoutComponent"])
def test_dropout(name: str) -> None:
    nnet = edited("set-dropout-proportion name=i* proportion=0.125", load(COMPONENTS / f"{name}.raw").nnet)
    assert nnet.components["it"]["DropoutProportion"] == np.float32(0.125)


def test_rank() -> None:
    nnet = edited("reduce-rank name=prefinal-chain.affine rank=3")
    before, after = (part.components["prefinal-chain.affine"]["LinearParams"] for part in (tdnnf(), nnet))
    assert after.dtype == np.float32 and np.linalg.matrix_rank(after, tol=1e-4) == 3
    values = np.linalg.svd(before.astype(np.float64), compute_uv=False)
    # No matrix of that rank is nearer.
    assert np.linalg.norm(after - before) == pytest.approx(np.linalg.norm(values[3:]), rel=1e-4)
    same = edited("reduce-rank name=* rank=100").components
    assert all(same[name] is part for name, part in tdnnf().components.items())


def test_svd() -> None:
    nnet = edited("apply-svd name=prefinal-chain.affine bottleneck-dim=5")
    nnet.check()
    node = nnet.nodes["prefinal-chain.affine_b"]
    assert str(node.input) == "prefinal-chain.affine_a"  # type: ignore[union-attr]
    assert str(nnet.nodes["prefinal-chain.relu"].input) == "prefinal-chain.affine_b"  # type: ignore[union-attr]
    assert list(nnet.components)[-2:] == ["prefinal-chain.affine_a", "prefinal-chain.affine_b"]
    first, second = (nnet.components[f"prefinal-chain.affine_{half}"] for half in "ab")
    original = tdnnf().components["prefinal-chain.affine"]
    assert (first.type, second.type) == ("LinearComponent", "NaturalGradientAffineComponent")
    product = second["LinearParams"] @ first["Params"]
    values = np.linalg.svd(original["LinearParams"].astype(np.float64), compute_uv=False)
    assert np.linalg.norm(product - original["LinearParams"]) == pytest.approx(np.linalg.norm(values[5:]), rel=1e-4)
    # The singular values are shared equally.
    assert np.linalg.norm(first["Params"], axis=1) == pytest.approx(np.sqrt(values[:5]), rel=1e-4)
    assert np.array_equal(second["BiasParams"], original["BiasParams"])
    assert first["LearningRate"] == second["LearningRate"] == original["LearningRate"]
    content = Model(nnet, None, True, "edited.raw").getvalue()
    assert content.count(b"<OrthonormalConstraint>") == Model(tdnnf(), None, True, "").getvalue().count(b"<Orthonormal")


def test_svd_by_energy_and_shrinkage() -> None:
    values = np.linalg.svd(tdnnf().components["tdnn1.affine"]["LinearParams"].astype(np.float64), compute_uv=False)
    enough = int(np.argmax(np.cumsum(values**2) >= 0.5 * np.sum(values**2))) + 1
    nnet = edited("apply-svd name=tdnn1.affine energy-threshold=0.5")
    assert nnet.components["tdnn1.affine_a"]["Params"].shape == (enough, 60)
    share = enough * (24 + 60) / (24 * 60)
    kept = edited(f"apply-svd name=tdnn1.affine energy-threshold=0.5 shrinkage-threshold={share * 0.99:.5f}")
    assert "tdnn1.affine" in kept.components and "tdnn1.affine_a" not in kept.components


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        ("collapse-model", "'collapse-model' is none of convert-to-fixed-affine, remove-orphan-nodes"),
        ("rename-node old-name=output", "rename-node needs new-name="),
        ("rename-node old-name=output-3 new-name=output", "there is no node 'output-3'"),
        ("rename-node old-name=output new-name=tdnn1.affine", "there is a node 'tdnn1.affine' already"),
        ("rename-node old-name=output new-name=tdnn1.affine_input", "there is a node 'tdnn1.affine_input' already"),
        ("rename-node old-name=output new-name=9", "'9' is no name of a node"),
        ("rename-node old-name=output new-name='a b'", "'a b' is no name of a node"),
        ("rename-node old-name=output new-name=a x=1", "rename-node does not know x="),
        ("remove-output-nodes", "remove-output-nodes needs name="),
        ("remove-output-nodes name=output*", "it would leave no output"),
        ("remove-orphans remove-orphan-inputs=yes", "remove-orphan-inputs=yes is neither true nor false"),
        ("remove-orphan-components name=*", "remove-orphan-components does not know name="),
        ("set-learning-rate", "set-learning-rate needs learning-rate="),
        ("set-learning-rate learning-rate=nan", "learning-rate=nan is no finite number"),
        ("set-learning-rate learning-rate=-1", "a learning rate cannot be negative, found -1"),
        ("set-learning-rate-factor learning-rate-factor=x", "learning-rate-factor=x is no finite number"),
        ("set-dropout-proportion proportion=1.5", "a proportion lies between 0 and 1, found 1.5"),
        ("reduce-rank name=*", "reduce-rank needs rank="),
        ("reduce-rank name=* rank=-1", "a rank is positive, found -1"),
        ("apply-svd bottleneck-dim=3", "apply-svd needs name="),
        ("apply-svd name=*", "it needs bottleneck-dim= or energy-threshold="),
        ("apply-svd name=* energy-threshold=1", "energy-threshold lies below 1, found 1"),
        (
            "apply-svd name=* bottleneck-dim=3 shrinkage-threshold=2",
            "shrinkage-threshold lies above 0 and is 1 at most",
        ),
        ("remove-orphans x", "expected key=value, found 'x'"),
    ],
)
def test_impossible_edits(edit: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"--edits: the edit {edit!r} is impossible: {sentence}")) as caught:
        edited(edit)
    assert "\n" not in str(caught.value)


def test_taken_names_and_values_that_are_no_numbers() -> None:
    nnet = tdnnf()
    taken = replace(nnet, components={**nnet.components, "tdnn1.affine_a": nnet.components["tdnn1.relu"]})
    with pytest.raises(UsageError, match=r"the name tdnn1\.affine_a is taken"):
        edited("apply-svd name=tdnn1.affine bottleneck-dim=3", taken)
    affine = nnet.components["tdnn1.affine"]
    bad = Component(affine.type, list(affine.fields))
    bad.replace("LinearParams", np.full((24, 60), np.nan, np.float32))
    spoiled = replace(nnet, components={**nnet.components, "tdnn1.affine": bad})
    for edit in ("reduce-rank name=* rank=3", "apply-svd name=* bottleneck-dim=3"):
        with pytest.raises(UsageError, match=r"tdnn1\.affine: <LinearParams> is not finite"):
            edited(edit, spoiled)


def test_the_network_that_was_read_stays_as_it_is() -> None:
    before = Model(tdnnf(), None, True, "").getvalue()
    edited("set-learning-rate learning-rate=1; reduce-rank name=* rank=2; apply-svd name=*.affine bottleneck-dim=1")
    assert Model(tdnnf(), None, True, "").getvalue() == before == (NNET3 / "tdnnf_small" / "final.raw").read_bytes()
    assert read_model(NNET3 / "tdnnf_small" / "final.raw").getvalue() == before
