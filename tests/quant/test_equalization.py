"""Rules for the factors of channels: each evens out what its paper says, and the float output stays as it was."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.tables import read_matrices
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import Inference, InferenceOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.preparation.channel_groups import ChannelGroup
from kaldi_quant.nnet3.preparation.linear_components import set_parameters, weight_of
from kaldi_quant.nnet3.preparation.prepared import PreparedNetwork, prepare
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.equalization import EQUALIZATIONS, equalize
from kaldi_quant.quant.graph import products
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.layer_inputs import LayerInputs, observe_inputs
from kaldi_quant.quant.observers import MseObserver
from kaldi_quant.quant.rounding_error import RoundingError
from kaldi_quant.quant.weight_grids import mse_grid
from tests.references import NNET3, load, model_file, read_archive

OPTIONS = InferenceOptions(ChunkOptions(3))


@pytest.fixture(scope="module")
def prepared(example: Path) -> PreparedNetwork:
    return prepare(read_model(example / "exp/chain/tdnn1a_sp/final.mdl").nnet)


@pytest.fixture(scope="module")
def data(example: Path) -> UtteranceSet:
    table = read_matrices(f"scp:{example}/data/train_sub_hires/feats.scp")
    return UtteranceSet([utterance for utterance, _ in zip(table, range(4), strict=False)], OPTIONS)


def configs(prepared: PreparedNetwork, config: LayerConfig) -> dict[str, LayerConfig]:
    return dict.fromkeys(products(prepared.nodes), config)


def rows(prepared: PreparedNetwork, data: UtteranceSet) -> np.ndarray:
    inference = Inference(AcousticModel(prepared.complete().nnet).double(), None, OPTIONS)
    return np.concatenate([rows for _, rows in inference.compute(data.utterances)])


def per_channel(group: ChannelGroup, tables: dict[str, np.ndarray], values: dict[str, np.ndarray]) -> np.ndarray:
    """The largest value of each channel."""
    largest = np.zeros(group.size)
    for name, channels in tables.items():
        np.maximum.at(largest, channels[channels >= 0], values[name][channels >= 0])
    return largest


def weights(prepared: PreparedNetwork) -> dict[str, np.ndarray]:
    return {name: np.abs(weight_of(prepared.nnet.components[name])) for name in products(prepared.nodes)}


def weights_equal(one: PreparedNetwork, other: PreparedNetwork) -> bool:
    mine, others = weights(one), weights(other)
    return all(np.array_equal(mine[name], others[name]) for name in mine)


def inputs(prepared: PreparedNetwork, data: UtteranceSet) -> dict[str, LayerInputs]:
    return observe_inputs(AcousticModel(prepared.complete().nnet), products(prepared.nodes), data)


def assert_same_output(changed: PreparedNetwork, network: PreparedNetwork, data: UtteranceSet) -> None:
    before, after = rows(network, data), rows(changed, data)
    assert np.abs(after - before).max() < 1e-5 * np.abs(before).max()
    was, now = weights(network), weights(changed)
    assert any((now[name] != was[name]).any() for name in was)


@pytest.mark.parametrize("method", EQUALIZATIONS)
def test_the_float_output_is_unchanged(prepared: PreparedNetwork, data: UtteranceSet, method: str) -> None:
    assert_same_output(equalize(prepared, data, method, {}, alpha=0.5), prepared, data)


@pytest.mark.parametrize(("name", "method"), [("conv_usual", "awq"), ("tdnnf_small", "smoothquant"), ("lstmp", "cle")])
def test_other_topologies_are_equalized(name: str, method: str) -> None:
    network = prepare(load(model_file(NNET3 / name)).nnet)
    feats = read_archive(NNET3 / f"feats{network.nnet.input_dim()}.ark")
    data = UtteranceSet(feats.items(), OPTIONS)
    changed = equalize(network, data, method, configs(network, LayerConfig(bits=4, act_bits=4)))
    assert_same_output(changed, network, data)


def test_a_network_without_channels_to_rescale_stays_as_it_is(data: UtteranceSet) -> None:
    network = prepare(load(model_file(NNET3 / "normalize")).nnet)
    for method in EQUALIZATIONS:
        assert weights_equal(equalize(network, data, method, {}), network)


def test_cle_makes_rows_and_columns_equally_large(prepared: PreparedNetwork, data: UtteranceSet) -> None:
    changed = equalize(prepared, data, "cle", {})
    weight = weights(changed)
    for group in changed.channel_groups():
        computed = per_channel(group, group.producers, {name: value.max(1) for name, value in weight.items()})
        read = per_channel(group, group.consumers, {name: value.max(0) for name, value in weight.items()})
        np.testing.assert_allclose(computed, read, rtol=0.01)


@pytest.mark.parametrize("method", ["smoothquant", "awq"])
def test_an_alpha_of_one_evens_out_activations(prepared: PreparedNetwork, data: UtteranceSet, method: str) -> None:
    changed = equalize(prepared, data, method, {}, alpha=1.0)
    found = inputs(changed, data)
    sizes = {
        name: (seen.largest if method == "smoothquant" else seen.mean_size).numpy() for name, seen in found.items()
    }
    for group in changed.channel_groups():
        size = per_channel(group, group.consumers, sizes)
        used = size[size > 0]
        # A channel that hardly ever lives keeps its distance.
        assert np.mean(np.isclose(used, np.median(used), rtol=1e-3)) > 0.95


def test_an_alpha_of_zero_evens_out_weights(prepared: PreparedNetwork, data: UtteranceSet) -> None:
    changed = equalize(prepared, data, "smoothquant", {}, alpha=0.0)
    # The rows of the last layer are the outputs, so that nothing but its columns was rescaled.
    read = weights(changed)["output.affine"].max(0)
    np.testing.assert_allclose(read, read[0], rtol=1e-5)
    assert np.ptp(weights(prepared)["output.affine"].max(0)) > 0.1 * read[0]


@pytest.mark.parametrize("method", ["smoothquant", "awq"])
def test_a_searched_alpha_loses_less_than_none(prepared: PreparedNetwork, data: UtteranceSet, method: str) -> None:
    config = LayerConfig(bits=4, act_bits=4)
    changed = equalize(prepared, data, method, configs(prepared, config))

    def losses(network: PreparedNetwork) -> np.ndarray:
        names = [name for group in network.channel_groups() for name in group.consumers]
        found = inputs(network, data)
        errors = [
            RoundingError(
                config,
                torch.from_numpy(weight_of(network.nnet.components[name])).double(),
                found[name].examples.double(),
            )
            for name in names
        ]
        return np.array([error.relative(torch.ones(error.weight.shape[1], dtype=torch.float64)) for error in errors])

    before, after = losses(prepared), losses(changed)
    assert (after < before * 1.02).all()
    assert after.sum() < 0.95 * before.sum()


def test_layers_that_stay_in_float_ask_for_nothing(prepared: PreparedNetwork, data: UtteranceSet) -> None:
    kept = configs(prepared, LayerConfig(float_reason="to see"))
    assert weights_equal(equalize(prepared, data, "smoothquant", kept), prepared)


@pytest.mark.parametrize("method", EQUALIZATIONS)
def test_dead_channels_do_no_harm(prepared: PreparedNetwork, data: UtteranceSet, method: str) -> None:
    components = dict(prepared.nnet.components)
    for name, dead in (("tdnn2.affine", np.s_[:5]), ("tdnn3.affine", np.s_[:, :7])):
        weight, bias = weight_of(components[name]).copy(), components[name]["BiasParams"].copy()
        weight[dead] = 0
        if name == "tdnn2.affine":
            bias[:5] = -1
        components[name] = set_parameters(components[name], weight, bias)
    network = replace(prepared, nnet=replace(prepared.nnet, components=components))
    assert_same_output(equalize(network, data, method, {}, alpha=0.5), network, data)


@pytest.mark.parametrize(("bits", "act_bits"), [(8, 4), (4, 8), (4, 4), (3, 6)])
def test_the_estimate_is_what_rounding_loses(bits: int, act_bits: int) -> None:
    random = np.random.default_rng(0)
    inputs = torch.from_numpy(np.maximum(random.normal(size=(4000, 60)), 0) * random.uniform(0.3, 3, 60))
    weight, factor = (torch.from_numpy(random.normal(size=(64, 60))), torch.from_numpy(random.uniform(0.5, 2, 60)))
    config = LayerConfig(bits=bits, act_bits=act_bits)
    scaled, columns = inputs / factor, weight * factor
    observer = MseObserver()
    observer.observe(scaled)
    x = observer.grid(config.activation_spec(signed=False)).fake(scaled)
    w = mse_grid(columns, config.weight_spec(), scaled.var(0)).fake(columns)
    expected = inputs @ weight.T
    lost = (x @ w.T - expected).var(0).sum() / expected.var(0).sum()
    assert RoundingError(config, weight, inputs).relative(factor) == pytest.approx(float(lost), rel=0.1)


def test_inputs_are_seen_whole_and_kept_in_part() -> None:
    seen = LayerInputs(3)
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 500, 3))).float()
    for batch in values:
        seen.see(batch.unsqueeze(0))
    everything = values.reshape(-1, 3)
    torch.testing.assert_close(seen.largest, everything.abs().amax(0))
    torch.testing.assert_close(seen.mean_size.float(), everything.abs().mean(0))
    assert 512 <= len(seen.examples) <= 1024
    # Each batch has its share.
    counts = [int((seen.examples.unsqueeze(1) == batch).all(2).any(1).sum()) for batch in values]
    assert sum(counts) == len(seen.examples)
    assert max(counts) - min(counts) <= 2


@pytest.mark.parametrize(
    ("method", "alpha", "sentence"),
    [
        ("magic", None, "the equalization 'magic' is not one of cle, smoothquant, awq"),
        ("awq", 1.5, "the exponent of awq is 1.5, which is not between 0 and 1"),
    ],
)
def test_wrong_options_are_one_sentence(
    prepared: PreparedNetwork, data: UtteranceSet, method: str, alpha: float | None, sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        equalize(prepared, data, method, {}, alpha)
