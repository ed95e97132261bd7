"""Post-training quantization from end to end, and its configuration."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.kaldi.tables import read_matrices
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import Inference, InferenceOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.preparation.linear_components import set_parameters
from kaldi_quant.nnet3.preparation.prepared import nnet_of, prepare
from kaldi_quant.nnet3.quantization import calibrate, quantize
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.adaround import AdaRoundOptions
from kaldi_quant.quant.config import PtqConfig, config_from_dict, read_config
from kaldi_quant.quant.divergence import divergence as measured_divergence
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.presets import preset_names, read_preset, resolve
from kaldi_quant.quant.ranges import read_ranges, write_ranges
from tests.references import NNET3, load, model_file, read_archive

OPTIONS = InferenceOptions(ChunkOptions(3))


@pytest.fixture(scope="module")
def nnet(example: Path) -> Nnet:
    return read_model(example / "exp/chain/tdnn1a_sp/final.mdl").nnet


@pytest.fixture(scope="module")
def utterances(example: Path) -> list[tuple[str, np.ndarray]]:
    table = read_matrices(f"scp:{example}/data/train_sub_hires/feats.scp")
    return [utterance for utterance, _ in zip(table, range(12), strict=False)]


def divergence(nnet: Nnet, quantized: AcousticModel, utterances: list[tuple[str, np.ndarray]]) -> float:
    """The mean Kullback-Leibler divergence of the pdfs' distributions from the float network's."""
    float_rows = dict(Inference(AcousticModel(nnet), None, OPTIONS).compute(utterances))
    rows = dict(Inference(quantized, None, OPTIONS).compute(utterances))

    def log_softmax(matrices: dict[str, np.ndarray]) -> torch.Tensor:
        return torch.log_softmax(torch.from_numpy(np.concatenate(list(matrices.values()))).double(), dim=1)

    p, q = log_softmax(float_rows), log_softmax(rows)
    return float((p.exp() * (p - q)).sum(1).mean())


def test_fewer_bits_diverge_more_and_eight_hardly(nnet: Nnet, utterances: list[tuple[str, np.ndarray]]) -> None:
    calibration, held_out = UtteranceSet(utterances[:8], OPTIONS), utterances[8:]
    losses = []
    for bits in (8, 4, 2):
        config = PtqConfig(LayerConfig(bits=bits, method="gptq"), {"tdnn1.affine": {"bits": 8}})
        losses.append(divergence(nnet, quantize(nnet, config, calibration).model(), held_out))
    assert losses[0] < 0.01 < losses[2]
    assert losses == sorted(losses)


def test_the_dequantized_network_has_only_the_weights_rounded(
    nnet: Nnet, utterances: list[tuple[str, np.ndarray]]
) -> None:
    network = quantize(nnet, PtqConfig(LayerConfig(bits=4)), UtteranceSet(utterances[:4], OPTIONS))
    float_nnet = nnet_of(network.dequantized())
    float_nnet.check()
    for name, layer in network.layers.items():
        assert len(torch.unique(layer.weight.integers)) <= 15
        stored = float_nnet.components[name].get("LinearParams")
        np.testing.assert_allclose(stored, layer.dequantized_weight().numpy())
    # Activations in float instead of on their 8-bit grids make little difference.
    assert divergence(float_nnet, network.model(), utterances[4:8]) < 0.01


def test_a_layer_may_stay_in_float_for_a_reason(nnet: Nnet, utterances: list[tuple[str, np.ndarray]]) -> None:
    config = PtqConfig(layers={"output.*": {"float_reason": "the output is read as it is"}})
    network = quantize(nnet, config, UtteranceSet(utterances[:2], OPTIONS))
    assert network.float_layers == {"output.affine": "the output is read as it is"}
    assert "output.affine" not in network.layers


def test_a_pattern_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(
        UsageError, match=r"the pattern 'tdnn9\*' matches no layer; the layers are lda \(@input\), output"
    ):
        PtqConfig(layers={"tdnn9*": {"bits": 4}}).for_layers({"lda": {"input"}, "output": {"output"}})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"bit": 4}, "there is no key 'bit'; keys and defaults are default"),
        ({"default": {"bits": "four"}}, "bits must be a value like 8, found 'four'"),
        ({"feature_headroom": 0.9}, "feature_headroom must be from 1 to 4, found 0.9"),
        ({"default": {"bits": 17}}, "17 bits is not possible"),
        ({"default": {"method": "guess"}}, "method 'guess' is not one of minmax, mse, clip, gptq"),
        ({"observer": "eye"}, "observer 'eye' is not one of minmax"),
        ([1], "expected keys and values, found list"),
    ],
)
def test_wrong_configurations_are_one_sentence(content: object, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        config_from_dict(content, "ptq.yaml").for_layers({"lda": ["input"]})


def test_configurations_are_read_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "w4.yaml"
    path.write_text("default: {bits: 4, method: gptq}\nlayers: {'tdnn1*': {bits: 8}}\n")
    chosen = read_config(path).for_layers({"tdnn1.affine": ["input"], "tdnn2.affine": ["hidden"]})
    assert [layer.bits for layer in chosen.values()] == [8, 4]
    path.write_text("default: [")
    with pytest.raises(UsageError, match="cannot be read as YAML"):
        read_config(path)


def test_calibration_needs_usable_data(nnet: Nnet) -> None:
    broken = [("one", np.full((50, 40), np.nan, np.float32))]
    with pytest.raises(DataError, match="none of the 1 utterances could be used"):
        quantize(nnet, PtqConfig(), UtteranceSet(broken, OPTIONS))
    with pytest.raises(DataError, match="there are no utterances"):
        quantize(nnet, PtqConfig(), UtteranceSet([], OPTIONS))


@pytest.mark.parametrize("feats", [np.zeros((60, 40), np.float32), np.ones((1, 40), np.float32)])
def test_silence_and_a_single_frame_are_enough_to_run(nnet: Nnet, feats: np.ndarray) -> None:
    network = quantize(nnet, PtqConfig(), UtteranceSet([("only", feats)], OPTIONS))
    rows = dict(Inference(network.model(), None, OPTIONS).compute([("only", feats)]))["only"]
    assert np.isfinite(rows).all()


@pytest.mark.parametrize(
    ("name", "sequential"),
    [
        ("conv_usual", False),
        ("conv_zero_padding", False),
        ("fast_lstmp", False),
        ("blstm_old", False),
        ("attention_relu_renorm", False),
        ("stats_mean_count", False),
        ("conv_usual", True),
        ("fast_lstmp", True),
        ("stats_mean_count", True),
    ],
)
def test_other_topologies_hardly_change_at_eight_bits(name: str, sequential: bool) -> None:
    assert_hardly_changed(NNET3 / name, PtqConfig(sequential=sequential))


def assert_hardly_changed(folder: Path, config: PtqConfig) -> None:
    network = load(model_file(folder)).nnet
    feats = read_archive(NNET3 / f"feats{network.input_dim()}.ark")
    quantized = quantize(network, config, UtteranceSet(feats.items(), OPTIONS))
    expected = dict(Inference(AcousticModel(network), None, OPTIONS).compute(feats.items()))
    rows = dict(Inference(quantized.model(), None, OPTIONS).compute(feats.items()))
    for utterance, float_rows in expected.items():
        assert np.abs(rows[utterance] - float_rows).mean() < 0.05 * float_rows.std()


def test_dynamic_ranges_do_not_depend_on_the_batch(nnet: Nnet, utterances: list[tuple[str, np.ndarray]]) -> None:
    config = PtqConfig(LayerConfig(ranges="dynamic", symmetric=False))
    network = quantize(nnet, config, UtteranceSet(utterances[:4], OPTIONS))
    assert not network.activations
    model = network.model()
    together = dict(Inference(model, None, OPTIONS).compute(utterances[4:]))
    for utterance in utterances[4:]:
        alone = dict(Inference(model, None, OPTIONS).compute([utterance]))[utterance[0]]
        np.testing.assert_allclose(together[utterance[0]], alone, atol=1e-4)
    assert divergence(nnet, model, utterances[4:]) < 0.01


@pytest.mark.parametrize("name", ["tdnn1a_sp", "tdnnf1b_sp"])
def test_each_layer_is_hardly_changed_at_eight_bits(
    example: Path, name: str, utterances: list[tuple[str, np.ndarray]]
) -> None:
    data = UtteranceSet(utterances[:6], OPTIONS)
    network = quantize(read_model(example / "exp/chain" / name / "final.mdl").nnet, PtqConfig(), data)
    lost = measured_divergence(network, UtteranceSet(utterances[6:], OPTIONS))
    assert lost.distance < 0.01
    assert set(lost.sqnr_db) == set(network.layers)
    assert min(lost.sqnr_db.values()) > 15


def test_ranges_from_a_file_give_the_same_network(
    nnet: Nnet, utterances: list[tuple[str, np.ndarray]], tmp_path: Path
) -> None:
    data, config = UtteranceSet(utterances[:4], OPTIONS), PtqConfig()
    write_ranges(tmp_path / "ranges.json", calibrate(nnet, config, data), {})
    network = quantize(nnet, config, data, read_ranges(tmp_path / "ranges.json"))
    for name, grid in quantize(nnet, config, data).activations.items():
        torch.testing.assert_close(network.activations[name].scale, grid.scale, rtol=1e-6, atol=0)
        assert torch.equal(network.activations[name].zero_point, grid.zero_point)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', '{"format": 1, "nodes": {"input": {"low": "x"}}}'])
def test_malformed_ranges_are_one_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    path.write_text(text)
    with pytest.raises(DataError, match="not a file of activation ranges"):
        read_ranges(path)


def test_ranges_of_another_model_are_refused(nnet: Nnet, utterances: list[tuple[str, np.ndarray]]) -> None:
    data = UtteranceSet(utterances[:2], OPTIONS)
    ranges = calibrate(nnet, PtqConfig(), data)
    with pytest.raises(DataError, match="the range of the node input has 7 columns where it needs 40"):
        quantize(nnet, PtqConfig(), data, ranges | {"input": (torch.zeros(7), torch.ones(7))})
    del ranges["tdnn1.relu"]
    with pytest.raises(DataError, match=r"the activation ranges have no entry for the node tdnn1\.relu"):
        quantize(nnet, PtqConfig(), data, ranges)


def test_a_row_without_weights_keeps_its_bias(nnet: Nnet, utterances: list[tuple[str, np.ndarray]]) -> None:
    changed = prepare(nnet).complete().nnet
    weight, bias = (changed.components["output.affine"][field].copy() for field in ("LinearParams", "BiasParams"))
    weight[3], bias[3] = 0.0, 0.12345
    changed.components["output.affine"] = set_parameters(changed.components["output.affine"], weight, bias)
    network = quantize(changed, PtqConfig(), UtteranceSet(utterances[:2], OPTIONS))
    rows = dict(Inference(network.model(), None, OPTIONS).compute(utterances[:1]))[utterances[0][0]]
    np.testing.assert_allclose(rows[:, 3], 0.12345, atol=1e-5)


def test_every_preset_is_a_configuration() -> None:
    assert "baseline" in preset_names()
    for name in preset_names():
        assert read_preset(name).description
    with pytest.raises(UsageError, match="there is no preset 'best'; the presets are awq-w4"):
        read_preset("best")


def test_options_choose_a_configuration(tmp_path: Path) -> None:
    name, config = resolve("baseline", None, 6, None)
    assert (name, config.default.bits, config.default.act_bits) == ("baseline", 6, 8)
    with pytest.raises(UsageError, match="exclude each other"):
        resolve("baseline", str(tmp_path), None, None)
    with pytest.raises(UsageError, match="a width of 17 bits is not possible"):
        resolve("baseline", None, 17, None)
    with pytest.raises(UsageError, match="a width of 1 bits is not possible"):
        resolve("baseline", None, None, 1)


def test_each_further_method_loses_less_at_three_bits(nnet: Nnet, utterances: list[tuple[str, np.ndarray]]) -> None:
    calibration, held_out = UtteranceSet(utterances[:8], OPTIONS), utterances[8:]
    first = {"@input": {"bits": 8, "symmetric": True}}
    losses = []
    for method, symmetric, sequential in (("mse", True, False), ("gptq", True, False), ("descent", False, True)):
        config = PtqConfig(LayerConfig(bits=3, method=method, symmetric=symmetric), first, sequential=sequential)
        losses.append(divergence(nnet, quantize(nnet, config, calibration).model(), held_out))
    assert losses == sorted(losses, reverse=True)
    assert losses[2] < 0.5 * losses[0]


@pytest.fixture
def quick_adaround(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learns in fewer and smaller steps than by default."""
    quick = partial(AdaRoundOptions, steps=60, rows=192)
    monkeypatch.setattr("kaldi_quant.quant.adaround.AdaRoundOptions", quick)


@pytest.mark.usefixtures("quick_adaround")
@pytest.mark.parametrize("sequential", [False, True])
def test_learned_rounding_loses_less_than_nearest_at_three_bits(
    nnet: Nnet, utterances: list[tuple[str, np.ndarray]], sequential: bool
) -> None:
    calibration, held_out = UtteranceSet(utterances[:4], OPTIONS), utterances[8:]
    losses = []
    for method in ("mse", "adaround"):
        some = {"tdnn[23].affine": {"bits": 3, "method": method}}
        network = quantize(nnet, PtqConfig(layers=some, sequential=sequential), calibration)
        losses.append(divergence(nnet, network.model(), held_out))
    assert losses[1] < 0.75 * losses[0]


@pytest.mark.usefixtures("quick_adaround")
@pytest.mark.parametrize("ranges", ["static", "dynamic"])
@pytest.mark.parametrize(
    ("sequential", "bias_correction"),
    [(False, False), (False, True), (True, True)],
    ids=["plain", "bias", "sequential"],
)
def test_learned_rounding_hardly_changes_anything_at_eight_bits(
    sequential: bool, ranges: str, bias_correction: bool
) -> None:
    # Offsets of normalizations, sums on grids, linear layers without a bias.
    layer = LayerConfig(method="adaround", ranges=ranges)
    assert_hardly_changed(
        NNET3 / "tdnnf_small", PtqConfig(layer, sequential=sequential, bias_correction=bias_correction)
    )


@pytest.mark.parametrize("equalization", ["cle", "smoothquant", "awq"])
def test_equalized_networks_are_quantized(
    nnet: Nnet, utterances: list[tuple[str, np.ndarray]], equalization: str
) -> None:
    config = PtqConfig(LayerConfig(act_bits=6), equalization=equalization)
    network = quantize(nnet, config, UtteranceSet(utterances[:8], OPTIONS))
    assert divergence(nnet, network.model(), utterances[8:]) < 0.05


@pytest.mark.parametrize("sequential", [False, True])
def test_a_network_knows_all_of_its_layers(sequential: bool) -> None:
    """What is asked of a network while it is made is not what it says of itself in the end."""
    nnet, utterances = load(model_file(NNET3 / "tdnnf_small")).nnet, list(read_archive(NNET3 / "feats20.ark").items())
    data = UtteranceSet(utterances[:1], InferenceOptions(ChunkOptions(3)))
    network = quantize(nnet, PtqConfig(sequential=sequential), data)
    assert set(network.graph.layers) == set(network.layers) and set(network.graph.nodes) == set(network.activations)
