"""PyTorch's own quantization, behind the interface of this project's."""

import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kaldi_quant.backends.torch_engines import kernels
from kaldi_quant.backends.torch_engines.kernels import ENGINES, OnednnKernel, engine_named, supported_engines
from kaldi_quant.backends.torch_engines.products import StaticProduct, is_exact, narrowed, scalar_grid
from kaldi_quant.backends.torch_engines.routes import ROUTES
from kaldi_quant.cli.models import ENGINES as CLI_ENGINES
from kaldi_quant.cli.models import read_network
from kaldi_quant.errors import MissingDependencyError, ModelError, UsageError
from kaldi_quant.formats.artefact import save
from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.kaldi.tables import read_matrices
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import Inference, InferenceOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.quantization import calibrate, quantize
from kaldi_quant.nnet3.torch_engines.network import OnGrid, Passed, QuantizedSum, TorchNetwork, executable
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.distance import KullbackLeibler
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.presets import resolve
from kaldi_quant.quant.spec import QSpec
from tests.references import Reference, load, read_archive, reference

OPTIONS = InferenceOptions(ChunkOptions(3))
EIGHT = LayerConfig(method="minmax")
STATIC = PtqConfig(EIGHT, observer="minmax", bias_correction=False, backend="torch")
DYNAMIC = replace(STATIC, default=replace(EIGHT, ranges="dynamic"))
#: Products of 7-bit activations are exact on every processor.
SEVEN = replace(STATIC, default=replace(EIGHT, act_bits=7))

Utterances = list[tuple[str, np.ndarray]]


@pytest.fixture(scope="module")
def utterances(example: Path) -> Utterances:
    table = read_matrices(f"scp:{example}/data/train_sub_hires/feats.scp")
    return [utterance for utterance, _ in zip(table, range(12), strict=False)]


@pytest.fixture(scope="module")
def data(utterances: Utterances) -> UtteranceSet:
    return UtteranceSet(utterances[:8], OPTIONS)


@pytest.fixture(scope="module")
def static(model: Model, data: UtteranceSet) -> QuantizedNetwork:
    return quantize(model.nnet, STATIC, data)


@pytest.fixture(scope="module")
def seven(model: Model, data: UtteranceSet) -> QuantizedNetwork:
    return quantize(model.nnet, SEVEN, data)


def rows(model: AcousticModel, utterances: Utterances) -> dict[str, np.ndarray]:
    return dict(Inference(model, None, OPTIONS).compute(utterances))


def divergence(expected: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> float:
    frames = sum(map(len, expected.values()))
    return sum(KullbackLeibler().sum(expected[name], found[name]) for name in expected) / frames


def static_layers(network: QuantizedNetwork) -> list[IntegerLinear]:
    return [layer for layer in network.layers.values() if isinstance(layer, IntegerLinear)]


@pytest.mark.parametrize("engine", supported_engines())
def test_every_engine_gives_the_reference_s_result(
    engine: str, seven: QuantizedNetwork, utterances: Utterances
) -> None:
    expected, found = rows(seven.model(), utterances[8:]), rows(executable(seven, engine), utterances[8:])
    # Ties may be rounded the other way, which is one step of a grid here and there.
    assert divergence(expected, found) < 1e-4
    same = np.mean([np.mean(np.abs(expected[name] - found[name]) < 1e-3) for name in expected])
    assert same > 0.9


@pytest.mark.parametrize("engine", supported_engines())
def test_a_dynamic_network_gives_the_reference_s_result(
    engine: str, model: Model, data: UtteranceSet, utterances: Utterances
) -> None:
    network = quantize(model.nnet, replace(DYNAMIC, default=replace(DYNAMIC.default, act_bits=7)), data)
    assert all(isinstance(layer, DynamicLinear) for layer in network.layers.values())
    assert not network.activations
    assert divergence(rows(network.model(), utterances[8:]), rows(executable(network, engine), utterances[8:])) < 1e-4


def test_engines_use_their_own_kernels(seven: QuantizedNetwork, utterances: Utterances) -> None:
    # A broken kernel would show: nothing stands in for it.
    network = executable(seven, "onednn")
    product = network.component("tdnn2.affine").product
    assert isinstance(product, StaticProduct) and isinstance(product.kernel, OnednnKernel)
    before = rows(network, utterances[8:9])
    product.kernel.scale = product.kernel.scale * 2
    assert divergence(before, rows(network, utterances[8:9])) > 0.01


def test_eight_bits_are_used_in_full(static: QuantizedNetwork) -> None:
    for layer in static_layers(static):
        assert layer.weight.spec == QSpec(8, per_channel=True)
        largest = layer.weight.integers.abs().amax(1)
        assert set(largest.tolist()) <= {0, 127}  # some rows of the model are zero
        assert int((largest == 127).sum()) > 0.9 * len(largest)
        assert len(layer.weight.scale.unique()) > 1
    assert {grid.spec.qmax for grid in static.activations.values()} == {255}
    assert all(int(grid.zero_point) == 0 for name, grid in static.activations.items() if name.endswith("relu"))


def test_weights_per_tensor_have_one_scale(model: Model, data: UtteranceSet) -> None:
    config = replace(STATIC, default=replace(EIGHT, per_channel=False))
    for layer in static_layers(quantize(model.nnet, config, data)):
        used = layer.weight.integers.any(1)
        assert len(layer.weight.scale[used].unique()) == 1
        assert int(layer.weight.integers.abs().max()) == 127


def test_nodes_stay_integers_between_layers(seven: QuantizedNetwork, utterances: Utterances) -> None:
    network = executable(seven)
    kinds: dict[str, torch.dtype] = {}
    for node in network.nnet.nodes:
        network.taps[node] = lambda x, node=node: kinds.setdefault(node, x.dtype) and x  # type: ignore[misc]
    rows(network, utterances[:1])
    integers = {node for node, kind in kinds.items() if kind == torch.uint8}
    assert integers >= set(seven.activations) - {"input"}
    # The features, spliced three times, are put on their grid once; nothing else is float but the output.
    assert [type(module) for module in network.components].count(OnGrid) == 1
    assert set(kinds) - integers == {"input", "output.affine", "output"}


def test_a_bypass_is_a_sum_of_integers(tdnnf: Model, data: UtteranceSet, utterances: Utterances) -> None:
    network = quantize(tdnnf.nnet, SEVEN, data)
    running = executable(network)
    sums = [module for module in running.components if isinstance(module, QuantizedSum)]
    assert len(sums) == len(network.graph.sums) > 0
    assert all(module.native for module in sums)
    assert sum(isinstance(module, Passed) for module in running.components) > 0
    assert divergence(rows(network.model(), utterances[8:]), rows(running, utterances[8:])) < 1e-4


@pytest.mark.parametrize("ranges", ["static", "dynamic"])
@pytest.mark.parametrize(
    "name",
    [
        "tdnn_component",
        "tdnnf_small",
        "resnet",
        "conv_usual",
        "conv_zero_padding_stride3",
        "conv_no_height_padding",
        "fast_lstmp",
        "bgru_fast_opgru",
        "attention_relu_renorm",
        "stats_mean_stddev",
        "ivector_online",
        "descriptor_all_ten",
        "descriptor_ifdefined",
        "descriptor_failover",
        "dim_range",
        "modulus_round",
    ],
)
def test_topologies(name: str, ranges: str) -> None:
    case = reference(f"{name}/output")
    config = replace(STATIC, default=LayerConfig(method="minmax", act_bits=7, ranges=ranges))
    expected, found, network = computed(case, config)
    assert network.layers
    size = max(float(np.abs(one).max()) for one in expected.values())
    for utterance, one in expected.items():
        assert float(np.abs(found[utterance] - one).mean()) < 1e-3 * size


def computed(
    case: Reference, config: PtqConfig
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], QuantizedNetwork]:
    """The results of the reference and of the engine, and the network."""
    utterances = list(read_archive(case.feats).items())[:3]
    period = int(dict(case.options).get("online-ivector-period", 0))
    options = InferenceOptions(case.chunk_options(), period)
    network = quantize(load(case.model).nnet, config, UtteranceSet(utterances, options, case.ivectors()))
    models = (network.model(), executable(network))
    results = [dict(Inference(one, None, options, case.ivectors()).compute(utterances)) for one in models]
    return results[0], results[1], network


def test_an_lstm_network_quantized_dynamically(shared: Path) -> None:
    nnet = read_model(shared / "parity/tdnn_lstm/final.mdl").nnet
    utterances = list(read_matrices(f"ark:{shared}/parity/feats.ark"))[:3]
    network = quantize(nnet, DYNAMIC, UtteranceSet(utterances, OPTIONS))
    assert not network.float_layers
    assert "lstm1.W_all" in network.layers
    expected = dict(read_matrices(f"ark:{shared}/parity/tdnn_lstm/output.ark"))
    found = rows(executable(network), utterances)
    assert divergence({name: expected[name] for name in found}, found) < 1e-4


def test_divergence_is_of_the_size_of_our_own(model: Model, data: UtteranceSet, utterances: Utterances) -> None:
    own = replace(STATIC, backend="kaldi_quant")
    expected = rows(AcousticModel(model.nnet), utterances[8:])
    losses = {
        config.backend: divergence(expected, rows(quantize(model.nnet, config, data).model(), utterances[8:]))
        for config in (own, STATIC)
    }
    assert 0.8 < losses["torch"] / losses["kaldi_quant"] < 1.25


def test_observers_find_different_ranges(model: Model, utterances: Utterances) -> None:
    data = UtteranceSet(utterances[:8], replace(OPTIONS, batch_seconds=4.0))
    found = {
        name: quantize(model.nnet, replace(STATIC, observer=name), data).activations["tdnn3.relu"].scale
        for name in ("minmax", "moving-average", "histogram")
    }
    assert found["minmax"] > found["moving-average"]
    assert found["minmax"] > found["histogram"]
    with pytest.raises(UsageError, match="observer 'mse' is not one of minmax, moving-average, histogram"):
        replace(STATIC, observer="mse")


def test_the_known_routes_are_those_that_were_added(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"route 'fx' is not one of eager, pt2e$"):
        replace(STATIC, route="fx")
    with pytest.raises(UsageError, match=r"backend 'tensorrt' is not one of kaldi_quant, torch$"):
        replace(STATIC, backend="tensorrt")
    monkeypatch.setattr(ROUTES, "_modules", {**ROUTES._modules, "fx": "a.module"})
    assert replace(STATIC, route="fx").route == "fx"


def test_routes_are_known_before_torch_s_quantization_is_imported() -> None:
    code = (
        "import sys; from kaldi_quant.quant.config import PtqConfig; "
        "PtqConfig(backend='torch', route='pt2e', observer='histogram'); "
        "print(*[name for name in sys.modules if name.startswith(('torchao', 'kaldi_quant.back', 'kaldi_quant.nn'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rooms = [f"kaldi_quant.{name}" for name in ("backends", "nnet3")]
    engines = [f"{room}.torch_engines" for room in rooms]
    names = [f"{engines[0]}.{name}" for name in ("observer_names", "routes")]
    assert sorted(done.stdout.split()) == sorted([*rooms, *engines, *names])


def test_ranges_may_be_given(model: Model, data: UtteranceSet, static: QuantizedNetwork) -> None:
    ranges = calibrate(model.nnet, STATIC, data)
    ranges["tdnn3.relu"] = (torch.zeros(()), 2 * ranges["tdnn3.relu"][1])
    network = quantize(model.nnet, STATIC, data, ranges)
    before, after = static.activations, network.activations
    assert float(after["tdnn3.relu"].scale) == pytest.approx(2 * float(before["tdnn3.relu"].scale))
    torch.testing.assert_close(after["input"].scale, before["input"].scale)


def test_layers_stay_in_float_for_a_reason(model: Model, data: UtteranceSet) -> None:
    config = replace(STATIC, layers={"output.*": {"float_reason": "the output is read as it is"}})
    network = quantize(model.nnet, config, data)
    assert network.float_layers == {"output.affine": "the output is read as it is"}


def test_seven_bits_where_eight_overflow(
    static: QuantizedNetwork, utterances: Utterances, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        network = executable(static, "auto", check=lambda engine, bits: bits < 8)
    assert len(caplog.records) == 1
    assert "no VNNI" in caplog.text and "activations get 7 bits" in caplog.text
    assert {grid.spec.bits for grid in network.network.activations.values()} == {7}
    assert divergence(rows(narrowed(static, 7).model(), utterances[8:]), rows(network, utterances[8:])) < 1e-4
    assert divergence(rows(static.model(), utterances[8:]), rows(network, utterances[8:])) < 0.02


def test_eight_bits_where_they_do_not_overflow(static: QuantizedNetwork, caplog: pytest.LogCaptureFixture) -> None:
    network = executable(static, "auto", check=lambda engine, bits: True)
    assert network.network is static
    assert not caplog.records


def test_an_engine_that_is_always_wrong_is_refused(static: QuantizedNetwork) -> None:
    with pytest.raises(ModelError, match="gives wrong integers on this processor: choose another"):
        executable(static, "auto", check=lambda engine, bits: False)


@pytest.mark.parametrize("engine", supported_engines())
def test_products_of_seven_bits_are_exact(engine: Any) -> None:
    assert is_exact(engine, 7)


def test_the_self_test_finds_products_that_saturate(monkeypatch: pytest.MonkeyPatch) -> None:
    right = OnednnKernel.to_float
    monkeypatch.setattr(OnednnKernel, "to_float", lambda self, *x: right(self, *x).clamp_max(1.0))
    assert not is_exact.__wrapped__("onednn", 7)


def test_narrower_activations_keep_ranges_and_integer_weights(static: QuantizedNetwork) -> None:
    network = narrowed(static, 6)
    for name, grid in network.activations.items():
        before = static.activations[name]
        top, top_before = (float(((one.spec.qmax - one.zero_point) * one.scale).max()) for one in (grid, before))
        assert top == pytest.approx(top_before, rel=0.02)
    for name, layer in network.layers.items():
        assert torch.equal(layer.weight.integers, static.layers[name].weight.integers)
        difference = (layer.dequantized_weight() - static.layers[name].dequantized_weight()).abs().max()
        assert difference < 1e-5
    assert narrowed(static, 8).activations == static.activations


def test_an_engine_that_is_missing_lists_those_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "supported_engines", lambda: ("fbgemm", "x86"))
    assert engine_named() == "fbgemm"
    with pytest.raises(UsageError, match="PyTorch on this machine has no engine qnnpack; it has fbgemm, x86"):
        engine_named("qnnpack")
    with pytest.raises(UsageError, match="no engine mkl; it has"):
        engine_named("mkl")


def test_the_command_knows_all_engines() -> None:
    assert set(ENGINES) < set(CLI_ENGINES)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(STATIC, bias_correction=True), "bias_correction must be False, found True"),
        (
            replace(STATIC, default=LayerConfig(method="gptq")),
            "method must be 'minmax', found 'gptq' for the layer tdnn1",
        ),
        (replace(STATIC, default=replace(EIGHT, symmetric=False)), "symmetric must be True"),
        (replace(STATIC, default=replace(EIGHT, bits=9)), "bits must be at most 8, found 9"),
        (replace(STATIC, default=replace(EIGHT, act_bits=16)), "act_bits must be at most 8, found 16"),
        (replace(STATIC, layers={"nothing": {"bits": 4}}), "the pattern 'nothing' matches no layer"),
        (replace(DYNAMIC, route="pt2e"), "ranges: dynamic goes with the route eager"),
    ],
)
def test_what_pytorch_does_not_do_is_refused(config: PtqConfig, message: str, model: Model, data: UtteranceSet) -> None:
    with pytest.raises(UsageError, match=message):
        quantize(model.nnet, config, data)


def test_weights_that_the_kernels_do_not_multiply_are_refused(model: Model, data: UtteranceSet) -> None:
    own = PtqConfig(replace(EIGHT, bits=12), observer="minmax")
    with pytest.raises(ModelError, match="at most 8 bits, and a layer's have 12 bits: run the model with --engine"):
        TorchNetwork(quantize(model.nnet, own, data), engine_named())


def test_inputs_that_the_kernels_do_not_multiply_are_refused(model: Model, data: UtteranceSet) -> None:
    own = PtqConfig(EIGHT, {"@input": {"act_bits": 12}}, observer="minmax")
    with pytest.raises(ModelError, match="at most 8 bits, and those of the node input have 12: run the model with"):
        executable(quantize(model.nnet, own, data))


def test_a_stored_model_runs_on_the_engine_that_it_was_made_for(
    model: Model, seven: QuantizedNetwork, utterances: Utterances, tmp_path: Path
) -> None:
    record = {"config": replace(SEVEN, engine=supported_engines()[-1]).as_dict(), "frame_subsampling_factor": 3}
    save(tmp_path / "quantized.safetensors", seven, model, record)
    read = read_network(str(tmp_path / "quantized.safetensors")).model
    assert isinstance(read, TorchNetwork) and read.engine == supported_engines()[-1]
    before, after = (rows(one, utterances[8:10]) for one in (executable(seven, read.engine), read))
    assert all(np.array_equal(before[name], after[name]) for name in before)
    other = read_network(str(tmp_path / "quantized.safetensors"), supported_engines()[0]).model  # type: ignore[arg-type]
    assert isinstance(other, TorchNetwork) and other.engine == supported_engines()[0]
    reference = read_network(str(tmp_path / "quantized.safetensors"), "reference").model
    assert type(reference) is AcousticModel


def test_our_own_integers_run_on_pytorch_too(model: Model, data: UtteranceSet, utterances: Utterances) -> None:
    network = quantize(model.nnet, PtqConfig(LayerConfig(bits=4, act_bits=7)), data)
    assert divergence(rows(network.model(), utterances[8:]), rows(executable(network), utterances[8:])) < 1e-4


@pytest.mark.parametrize(("low", "high"), [(-3.0, 1.0), (0.5, 2.0), (-2.0, -0.1), (0.0, 0.0), (-1e-20, 7.3)])
def test_ranges_without_tensors_are_those_of_grids(low: float, high: float) -> None:
    spec = QSpec(8, signed=False, symmetric=False)
    grid = Grid.from_range(spec, torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64))
    assert scalar_grid(spec, low, high) == (float(grid.scale), int(grid.zero_point))


def test_options_replace_those_of_the_preset() -> None:
    name, config = resolve("torch-static", None, None, None, observer="minmax", per_channel=False, engine="qnnpack")
    assert name == "torch-static"
    assert (config.observer, config.default.per_channel, config.engine) == ("minmax", False, "qnnpack")
    with pytest.raises(UsageError, match="--engine x86 is for models that PyTorch quantizes"):
        resolve("w8a8", None, None, None, engine="x86")


def test_nothing_is_said_of_deprecations(example: Path, tmp_path: Path) -> None:
    model = "exp/chain/tdnn1a_sp/final.mdl"
    commands = [
        ["quantize", "--preset", "torch-static", "--max-utterances", "4", model],
        ["forward", str(tmp_path / "quantized.safetensors")],
    ]
    features = "scp:data/train_sub_hires/feats.scp"
    for command, target in zip(commands, (str(tmp_path), f"ark:{tmp_path}/loglikes.ark"), strict=True):
        arguments = [sys.executable, "-W", "always", "-m", "kaldi_quant", *command, features, target]
        done = subprocess.run(arguments, cwd=example, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert "deprecat" not in done.stderr.lower()
        assert "Warning" not in done.stderr


def test_the_recipe_says_in_one_sentence_what_is_wrong(tmp_path: Path, example: Path) -> None:
    recipe = example.parents[1] / "run_forward_pass_quantization_w_torch.sh"
    command = ["bash", str(recipe), "--engine", "mkl", "--out-dir", str(tmp_path)]
    environment = {**os.environ, "VIRTUAL_ENV": sys.prefix, "KALDI_ROOT": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "'mkl' is not one of 'auto', 'onednn', 'x86', 'fbgemm', 'qnnpack'" in done.stderr.splitlines()[0]


def test_torchao_is_asked_for_when_it_is_missing(
    model: Model, data: UtteranceSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchao" or name.endswith("x86_quantizer")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("kaldi_quant.backends.torch_engines.x86_quantizer", raising=False)
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(MissingDependencyError, match=r"needs the package torchao: pip install torchao"):
        quantize(model.nnet, replace(STATIC, route="pt2e"), data)


@pytest.mark.usefixtures("torchao")
def test_pt2e_finds_the_integers_of_the_route_eager(tdnnf: Model, data: UtteranceSet, utterances: Utterances) -> None:
    eager, exported = (quantize(tdnnf.nnet, replace(SEVEN, route=route), data) for route in ("eager", "pt2e"))
    assert not exported.float_layers
    for name, layer in eager.layers.items():
        assert torch.equal(layer.weight.integers, exported.layers[name].weight.integers)
    for name, grid in eager.activations.items():
        # Windows end with frames that whole utterances do not have.
        torch.testing.assert_close(exported.activations[name].scale, grid.scale, rtol=0.1, atol=0)
    expected = rows(AcousticModel(tdnnf.nnet), utterances[8:])
    losses = [divergence(expected, rows(executable(one), utterances[8:])) for one in (eager, exported)]
    assert losses[1] < 1.3 * losses[0]
    with pytest.raises(UsageError, match="--ranges goes with the route eager"):
        quantize(tdnnf.nnet, replace(SEVEN, route="pt2e"), data, {})


@pytest.mark.usefixtures("torchao")
def test_pt2e_leaves_recurrences_in_float() -> None:
    case = reference("fast_lstmp/output")
    expected, found, network = computed(case, replace(SEVEN, route="pt2e"))
    assert network.layers and network.float_layers
    assert all("the route eager quantizes it" in reason for reason in network.float_layers.values())
    assert divergence(expected, found) < 1e-4
