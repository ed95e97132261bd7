"""Quantized networks written as ONNX: their times, their structure, and what cannot be written."""

from collections import Counter

import numpy as np
import onnx
import pytest
import torch

from kaldi_quant.backends.onnx.parameters import LinearParameters
from kaldi_quant.backends.onnx.session import open_session, optimized_graph
from kaldi_quant.errors import ModelError
from kaldi_quant.nnet3.execution import OnnxruntimeNetwork
from kaldi_quant.nnet3.execution.probe import random_network
from kaldi_quant.nnet3.inference import Inference
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.onnx_graph.builder import GraphOptions, build_graph
from kaldi_quant.nnet3.onnx_graph.stretches import Stretch, TimePlan
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.schedule import Request, Schedule
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from tests.references import NNET3, REFERENCES, Reference, load, load_network, model_file, read_archive

#: Networks whose every value between grids is one product or copies.
EXACT = [
    "asymmetric_context",
    "batchnorm",
    "conv_no_height_padding",
    "conv_orders",
    "conv_strides",
    "conv_uneven_offsets",
    "conv_usual",
    "descriptor_append_inside",
    "descriptor_append_offset",
    "descriptor_replace_index",
    "descriptor_sum_scale_const",
    "dim_range",
    "ivector_linear_online",
    "ivector_online",
    "layers_orders",
    "subsampling2",
    "tdnn_component",
    "tdnn_lda",
    "tdnnf_small",
]
#: Those with nonlinearities in float, which torch and onnxruntime round differently.
CLOSE = [
    "descriptor_const",
    "descriptor_output",
    "dropouts",
    "layers_relu_renorm",
    "layers_sigmoid_tanh",
    "logsoftmax",
    "normalize",
    "products_and_blocks",
    "scales_and_offsets",
    "softmax",
]


def reference(name: str) -> Reference:
    return next(found for found in REFERENCES if found.model.parent.name == name)


def quantized(name: str, layers: dict[str, dict[str, int]] | None = None, **fields: object) -> QuantizedNetwork:
    found = reference(name)
    utterances = list(read_archive(found.feats).items())[:2]
    data = UtteranceSet(utterances, found.inference().options, found.ivectors())
    default = LayerConfig(method="minmax", **fields)  # type: ignore[arg-type]
    config = PtqConfig(default, layers or {}, observer="minmax")
    return quantize(load(found.model).nnet, config, data)


def outputs(model: AcousticModel | OnnxruntimeNetwork, name: str) -> np.ndarray:
    found = reference(name)
    inference = Inference(model, None, found.inference().options, found.ivectors())
    return np.concatenate([rows for _, rows in inference.compute(list(read_archive(found.feats).items())[:3])])


def fast(name: str, network: QuantizedNetwork) -> OnnxruntimeNetwork:
    return OnnxruntimeNetwork(network, reference(name).chunk_options().frame_subsampling_factor)


@pytest.mark.parametrize("name", EXACT)
def test_networks_give_the_integers_of_the_reference(name: str) -> None:
    network = quantized(name)
    np.testing.assert_array_equal(outputs(fast(name, network), name), outputs(network.model(), name))


@pytest.mark.parametrize("name", ["tdnnf_small", "ivector_online", "conv_usual"])
@pytest.mark.parametrize("layer", [{"bits": 3, "act_bits": 5}, {"symmetric": False, "per_channel": False}])
def test_narrow_and_asymmetric_grids_give_them_too(name: str, layer: dict[str, object]) -> None:
    network = quantized(name, **layer)
    np.testing.assert_array_equal(outputs(fast(name, network), name), outputs(network.model(), name))


@pytest.mark.parametrize("bits", [9, 12, 16])
@pytest.mark.parametrize("name", ["tdnnf_small", "ivector_online", "tdnn_lda", "dim_range", "conv_usual"])
def test_features_may_have_more_bits(name: str, bits: int) -> None:
    network = quantized(name, {"@input": {"act_bits": bits}}, bits=6)
    assert network.activations["input"].spec.bits == bits
    np.testing.assert_array_equal(outputs(fast(name, network), name), outputs(network.model(), name))


def test_one_of_two_inputs_may_have_more_bits() -> None:
    # The i-vector is read by a layer of its own, features and what that layer makes by another.
    name = "ivector_linear_online"
    network = quantized(name, {"ivector-linear": {"act_bits": 12}})
    assert [network.activations[node].spec.bits for node in ("ivector", "input")] == [12, 8]
    np.testing.assert_array_equal(outputs(fast(name, network), name), outputs(network.model(), name))


def test_hidden_nodes_have_at_most_8_bits() -> None:
    with pytest.raises(ModelError, match=r"the node tdnn1.relu lies on a grid that is not of unsigned integers of at"):
        build_graph(quantized("tdnnf_small", act_bits=9), GraphOptions())


@pytest.mark.parametrize("name", CLOSE)
def test_networks_with_float_parts_differ_by_float_rounding(name: str) -> None:
    network = quantized(name)
    np.testing.assert_allclose(outputs(fast(name, network), name), outputs(network.model(), name), rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["tdnnf_small", "layers_relu_renorm", "ivector_linear_online", "tdnn_component"])
def test_layers_left_in_float_are_float_products(name: str) -> None:
    network = quantized(name, float_reason="to see what happens")
    assert not network.layers and network.float_layers
    written = fast(name, network)
    np.testing.assert_allclose(outputs(written, name), outputs(network.model(), name), rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("fast_lstm", "depend on where the input begins and ends"),
        ("stats_mean", "depend on where the input begins and ends"),
        ("descriptor_round", r"the input of the node last is irregular: Round\(a, 6\) repeats rows"),
        ("descriptor_switch2", "alternates between its parts"),
        ("descriptor_replace_index_hidden", "reads one row of many times"),
        ("attention_relu_renorm", "RestrictedAttentionComponent, which has no ONNX form"),
        ("pnorm_sumgroup", "the node p is a PnormComponent, which has no ONNX form"),
    ],
)
def test_what_has_no_form_with_any_number_of_frames_is_named(name: str, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        build_graph(quantized(name), GraphOptions(period=1))


def test_dynamic_ranges_are_refused() -> None:
    with pytest.raises(ModelError, match=r"the ranges of the layer \S+ are found anew for each sequence"):
        build_graph(quantized("tdnn_lda", ranges="dynamic"), GraphOptions())


#: Outputs must be as far apart as the network's modulus, or a multiple of it.
PLANS = [
    (name, n) for name in [*EXACT, *CLOSE] for n in (1, 2, 3) if n % load(reference(name).model).nnet.modulus() == 0
]


@pytest.mark.parametrize(("name", "period"), PLANS)
def test_every_time_that_is_needed_is_computed_and_hardly_another(name: str, period: int) -> None:
    graph = load_network(reference(name).model).graph
    context = load_network(reference(name).model).context
    plan = TimePlan(graph, period)
    for number in (1, 2, 3, 100):
        times = np.arange(number) * period
        span = (-context.left, int(times[-1]) + context.right + 1)
        needed = Schedule(graph, Request((span,), times)).times
        for node, stretches in plan.stretches.items():
            computed = [s.first + s.step * np.arange(s.length(number, period)) for s in stretches]
            assert set(needed[node].tolist()) <= set(np.concatenate(computed).tolist())
            if node != "input" and number == 100 and not name.startswith("conv"):
                # Only near the ends.
                assert sum(map(len, computed)) <= len(needed[node]) + context.left + context.right


def test_uneven_times_become_two_stretches() -> None:
    # The bottleneck is read at t and t + 1 for every third t.
    stretches = TimePlan(load_network(model_file(NNET3 / "tdnnf_small")).graph, 3).stretches
    split = {node: found for node, found in stretches.items() if len(found) == 2}
    assert split and all(stretch.step == 3 for found in split.values() for stretch in found)


def test_stretches_know_what_they_contain() -> None:
    stretch = Stretch(-6, 3, 9)
    assert stretch.contains(Stretch(-3, 3, 9)) and stretch.contains(Stretch(0, 6, 6))
    assert not stretch.contains(Stretch(-4, 3, 8)) and not stretch.contains(Stretch(-6, 1, 9))
    assert not stretch.contains(Stretch(-9, 3, 0)) and not stretch.contains(Stretch(0, 3, 12))
    assert stretch.length(outputs=4, period=3) == 9


def optimized_kinds(network: QuantizedNetwork, options: GraphOptions) -> Counter[str]:
    return Counter(node.op_type for node in optimized_graph(build_graph(network, options).model).graph.node)


@pytest.mark.parametrize("form", ["signed", "exact"])
@pytest.mark.parametrize("align", [1, 4])
def test_what_runs_is_integer_convolutions_without_copies(form: str, align: int) -> None:
    options = GraphOptions(3, form, align, flat=True)  # type: ignore[arg-type]
    kinds = optimized_kinds(quantized("asymmetric_context"), options)
    assert set(kinds) == {"Div", "Round", "Add", "QuantizeLinear", "QLinearConv", "Reshape", "QGemm"}
    kinds = optimized_kinds(quantized("tdnnf_small"), options)
    assert kinds["QLinearAdd"] and not {"Transpose", "Conv", "Gemm", "MatMul", "DequantizeLinear"} & set(kinds)


def test_layers_are_padded_without_a_change_of_the_result() -> None:
    random = np.random.default_rng(3)
    network = random_network(random, 13, 21, 9)
    plain, padded = (build_graph(network, GraphOptions(3, "exact", align)) for align in (1, 4))
    feats = random.standard_normal((2, plain.frames(7), 13)).astype(np.float32)
    rows = [open_session(graph.model).run(None, {"input": feats})[0] for graph in (plain, padded)]
    np.testing.assert_array_equal(*rows)
    weights = {tensor.name: list(tensor.dims) for tensor in padded.model.graph.initializer}
    assert weights["b.relu.weight.integers"] == [24, 24, 2]


def test_a_file_of_fixed_length_states_every_size() -> None:
    network = random_network(np.random.default_rng(3), 13, 21, 9)
    dynamic, fixed = (build_graph(network, GraphOptions(3, "exact", outputs=count)) for count in (None, 7))
    model = onnx.shape_inference.infer_shapes(fixed.model, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]:
        assert all(dim.dim_value > 0 for dim in value.type.tensor_type.shape.dim), value.name
    feats = np.random.default_rng(0).standard_normal((1, fixed.frames(7), 13)).astype(np.float32)
    rows = [open_session(graph.model).run(None, {"input": feats})[0] for graph in (dynamic, fixed)]
    assert rows[1].shape == (1, 7, 9)
    np.testing.assert_array_equal(*rows)


def test_the_output_may_come_without_its_batch_axis() -> None:
    network = random_network(np.random.default_rng(3), 13, 21, 9)
    graphs = [build_graph(network, GraphOptions(3, "exact", flat=flat)) for flat in (False, True)]
    feats = np.random.default_rng(0).standard_normal((4, graphs[0].frames(7), 13)).astype(np.float32)
    batch, flat = (open_session(graph.model).run(None, {"input": feats})[0] for graph in graphs)
    assert batch.shape == (4, 7, 9)
    np.testing.assert_array_equal(batch.reshape(28, 9), flat)


def test_zero_points_of_columns_move_into_the_bias() -> None:
    network = quantized("tdnn_lda")
    layer = next(layer for layer in network.layers.values() if layer.inputs.per_column)  # type: ignore[union-attr]
    parameters = LinearParameters.of("first", layer, "signed")  # type: ignore[arg-type]
    x = torch.randint(0, 256, (5, layer.weight.integers.shape[1]))
    sums = (x - layer.inputs.zero_point) @ layer.weight.centred.long().T + layer.bias  # type: ignore[union-attr]
    np.testing.assert_array_equal(x.numpy() @ parameters.weight.T + parameters.bias, sums.numpy())
    assert parameters.input_zero == 0 and parameters.input_scale == 1
