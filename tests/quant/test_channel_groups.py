"""Channels that can be rescaled are found, and rescaling them leaves the float output as it was."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.preparation.channel_groups import ChannelGroup
from kaldi_quant.nnet3.preparation.prepared import prepare
from tests.references import MODELS, NNET3, load, model_file

EXAMPLES = ("tdnn1a_sp", "tdnnf1b_sp")
PARITY = ("tdnnf", "tdnnf_ivec", "cnn_tdnnf", "tdnn_lstm")

_BOUNDED = ("TanhComponent", "SigmoidComponent")

#: The networks that have no channels to rescale even with ReLUs instead of bounded functions, and one that is not run.
FIXED = {
    "affine_kinds",
    "batchnorm",
    "composite",
    "constants",
    "conv_old",
    "descriptor_const",
    "descriptor_nested",
    "descriptor_output",
    "descriptor_sum_scale_const",
    "dim_range",
    "distribute",
    "gru_gates",
    "layers_relu_renorm",
    "logsoftmax",
    "lstm_gates",
    "normalize",
    "output_prior_scale",
    "pnorm_sumgroup",
    "products_and_blocks",
    "scales_and_offsets",
    "softmax",
    "stats_hand",
}


#: Those that have some only with ReLUs: all kinds of descriptors, and recurrence.
ONLY_WITH_RELUS = {
    name
    for name in MODELS
    if name.startswith(("descriptor", "rnn")) or name in ("dropouts", "layers_sigmoid_tanh", "modulus_round")
} - {*FIXED, "descriptor_replace_index_hidden"}


def with_relus(nnet: Nnet) -> Nnet:
    """The network with ReLUs instead of bounded functions."""
    components = {
        name: Component("RectifiedLinearComponent", component.fields) if component.type in _BOUNDED else component
        for name, component in nnet.components.items()
    }
    return replace(nnet, components=components)


def output(nnet: Nnet, frames: int = 60) -> torch.Tensor:
    """(2, rows, pdfs) float64, for random features."""
    model = AcousticModel(nnet).double()
    left, right = model.context.left, model.context.right
    random = torch.Generator().manual_seed(0)
    feats = 2 * torch.randn(2, frames + left + right, model.input_dim, generator=random, dtype=torch.float64)
    ivectors = torch.randn(2, model.ivector_dim, generator=random, dtype=torch.float64) if model.ivector_dim else None
    with torch.inference_mode():
        return model(feats, [(-left, frames + right)] * 2, np.arange(0, frames, 3), ivectors)


def random_factors(groups: list[ChannelGroup]) -> dict[ChannelGroup, np.ndarray]:
    random = np.random.default_rng(0)
    return {group: 2.0 ** random.uniform(-2, 2, group.size) for group in groups}


def relative_change(nnet: Nnet) -> float:
    """The largest change of the output that random factors make, as a share of the largest output."""
    prepared = prepare(nnet)
    groups = prepared.channel_groups()
    assert groups
    changed = prepared.rescaled(random_factors(groups))
    before, after = output(prepared.complete().nnet), output(changed.complete().nnet)
    return float((after - before).abs().max() / before.abs().max())


@pytest.mark.parametrize("name", [name for name in MODELS if name not in FIXED | ONLY_WITH_RELUS])
def test_the_output_is_unchanged(name: str) -> None:
    assert relative_change(load(model_file(NNET3 / name)).nnet) < 1e-5


@pytest.mark.parametrize("name", sorted(ONLY_WITH_RELUS))
def test_the_output_is_unchanged_through_all_descriptors(name: str) -> None:
    assert relative_change(with_relus(load(model_file(NNET3 / name)).nnet)) < 1e-5


@pytest.mark.parametrize("name", sorted(FIXED))
def test_channels_of_other_functions_are_left_alone(name: str) -> None:
    assert prepare(with_relus(load(model_file(NNET3 / name)).nnet)).channel_groups() == []


def test_a_recurrence_of_sums_is_rescaled_as_one() -> None:
    groups = found(with_relus(load(model_file(NNET3 / "rnn_sum_failover")).nnet))
    assert groups == [(12, ["a1", "r1"], ["b1", "r1", "s1", "last"]), (12, ["b1", "s1"], ["s1", "last"])]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_output_of_the_example_is_unchanged(example: Path, name: str) -> None:
    assert relative_change(read_model(example / "exp/chain" / name / "final.mdl").nnet) < 1e-5


@pytest.mark.parametrize("name", PARITY)
def test_the_output_of_larger_topologies_is_unchanged(shared: Path, name: str) -> None:
    assert relative_change(read_model(shared / "parity" / name / "final.mdl").nnet) < 1e-5


def found(nnet: Nnet) -> list[tuple[int, list[str], list[str]]]:
    return [(group.size, list(group.producers), list(group.consumers)) for group in prepare(nnet).channel_groups()]


def test_every_hidden_layer_of_a_tdnn_can_be_rescaled(example: Path) -> None:
    nnet = read_model(example / "exp/chain/tdnn1a_sp/final.mdl").nnet
    names = [f"tdnn{i}.affine" for i in range(1, 8)] + ["prefinal-chain.affine", "output.affine"]
    assert found(nnet) == [(192, [below], [above]) for below, above in pairwise(names)]


def test_a_chain_of_bypass_sums_shares_its_channels(example: Path) -> None:
    groups = found(read_model(example / "exp/chain/tdnnf1b_sp/final.mdl").nnet)
    size, producers, consumers = groups[0]
    assert size == 256
    assert producers == ["tdnn1.affine", *(f"tdnnf{i}.affine" for i in range(2, 10))]
    assert consumers == [*(f"tdnnf{i}.linear" for i in range(2, 10)), "prefinal-l"]
    assert groups[1] == (64, ["tdnnf2.linear"], ["tdnnf2.affine"])


def test_a_recurrent_projection_is_rescaled_where_it_is_read_again() -> None:
    groups = found(load(model_file(NNET3 / "tdnn_lstm_stack")).nnet)
    assert (6, ["lstm1.rp"], ["lstm1.W_all", "tdnn2.affine"]) in groups
    assert (6, ["lstm1.rp"], ["tdnn2.affine"]) in groups


def test_a_filter_has_one_factor_for_all_heights() -> None:
    prepared = prepare(load(model_file(NNET3 / "conv_usual")).nnet)
    group = prepared.channel_groups()[0]
    model = prepared.nnet.components["cnn2.conv"]["Model"]
    assert group.size == model["NumFiltersIn"]
    np.testing.assert_array_equal(group.nodes["cnn1.relu"], np.tile(np.arange(group.size), model["HeightIn"]))
    np.testing.assert_array_equal(group.consumers["cnn2.conv"], np.tile(np.arange(group.size), len(model["Offsets"])))
