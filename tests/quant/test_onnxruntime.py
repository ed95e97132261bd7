"""The integer kernels against the reference, and what happens where they cannot be used."""

import logging
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kaldi_quant.backends.onnx.parameters import can_saturate
from kaldi_quant.backends.onnx.session import open_session
from kaldi_quant.backends.onnx.writer import GraphWriter
from kaldi_quant.backends.probe import extreme_features, random_grid, random_layer
from kaldi_quant.errors import MissingDependencyError, ModelError
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.kaldi.tables import read_matrices
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.execution import OnnxruntimeNetwork, choice, executable, self_test
from kaldi_quant.nnet3.execution.network import _Compiled
from kaldi_quant.nnet3.execution.probe import random_network
from kaldi_quant.nnet3.inference import Inference, InferenceOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.onnx_graph.linear import Output, Piece, convolve, multiply
from kaldi_quant.nnet3.onnx_graph.stretches import Stretch
from kaldi_quant.nnet3.onnx_graph.tracks import Layout, Track, Tracks
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import IntegerLinear, check_accumulator
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.spec import QSpec

GRAPHS, LAYERS_PER_GRAPH = 20, 50


@dataclass
class Case:
    """A layer that splices frames of its input at some rate, and what it reads."""

    layer: IntegerLinear
    inputs: Grid
    output: Grid | None
    relu: bool
    offsets: list[int]
    step: int
    feats: torch.Tensor

    @classmethod
    def random(cls, random: np.random.Generator) -> "Case":
        columns, rows = (int(random.choice([1, 3, 16, random.integers(1, 130)])) for _ in range(2))
        splice, gap, step = (int(random.integers(1, 4)) for _ in range(3))
        bits, act_bits, output_bits = (int(random.choice([8, random.integers(2, 9)])) for _ in range(3))
        inputs = random_grid(random, act_bits)
        layer = random_layer(random, rows, inputs, splice * columns, bits, symmetric=bool(random.integers(4)))
        output = random_grid(random, output_bits, scale=random.uniform(0.002, 0.5))
        outputs = int(random.choice([1, random.integers(1, 30)]))
        frames = (splice - 1) * gap + (outputs - 1) * step + 1
        feats = extreme_features(random, inputs, (int(random.integers(1, 3)), frames, columns))
        offsets = [i * gap for i in range(splice)]
        wanted = output if random.integers(5) else None
        return cls(layer, inputs, wanted, bool(random.integers(2)), offsets, step, feats)

    def add(self, tracks: Tracks, name: str) -> str:
        """Adds the layer to a graph; returns its float result's name."""
        whole = Track(Stretch(0, 1, self.offsets[-1]), self.feats.shape[2], {Layout.ROWS: name})
        whole = tracks.integers(whole, self.inputs, f"{name}.integers")
        stretch = Stretch(0, self.step, 0)
        pieces = [Piece(whole, stretch.shifted(offset)) for offset in self.offsets]
        form = self_test.trusted_form() or "exact"
        if self.output is None:
            result = multiply(tracks, self.layer, pieces, f"{name}.result", stretch, form)
        else:
            output = Output(f"{name}.result", stretch, self.output, self.relu)
            result = tracks.floats(convolve(tracks, self.layer, pieces, output, form, align=4))
        return tracks.name(result, Layout.ROWS)

    def spliced(self) -> torch.Tensor:
        count = (self.feats.shape[1] - 1 - self.offsets[-1]) // self.step + 1
        index = [torch.arange(count) * self.step + offset for offset in self.offsets]
        return torch.cat([self.inputs.fake(self.feats)[:, rows] for rows in index], dim=2)

    def fake_quantized(self) -> torch.Tensor:
        """What the reference computes from floats on the grid."""
        x = self.spliced()
        if self.output is None:
            return self.layer.forward(x)
        steps = self.layer.steps(x, self.output)
        return self.output.round_steps(steps.relu() if self.relu else steps)

    def integer_arithmetic(self) -> np.ndarray:
        """The definition, in 64-bit integers and float32."""
        x = self.inputs.quantize(self.spliced()).numpy().astype(np.int64) - self.inputs.zero_point.numpy()
        weight = (self.layer.weight.integers - self.layer.weight.zero_point).numpy().astype(np.int64)
        sums = (x @ weight.T + self.layer.bias.numpy()).astype(np.float32)
        # Scales of columns are in the weights.
        common = np.float32(1) if self.layer.inputs.per_column else self.inputs.scale.numpy()
        scale = common * self.layer.weight.scale[:, 0].numpy()
        if self.output is None:
            return sums * scale
        zero, top = int(self.output.zero_point), self.output.spec.qmax
        integers = np.rint(sums * (scale / self.output.scale.numpy())).astype(np.float64) + zero
        return (np.clip(integers, zero if self.relu else 0, top) - zero).astype(np.float32) * self.output.scale.numpy()


@pytest.mark.parametrize("seed", range(GRAPHS))
def test_a_thousand_random_layers_agree_in_every_integer(seed: int) -> None:
    random = np.random.default_rng(seed)
    cases = {f"x{i}": Case.random(random) for i in range(LAYERS_PER_GRAPH)}
    writer = GraphWriter()
    tracks = Tracks(writer)
    outputs = {}
    for name, case in cases.items():
        writer.reserve(name)
        tracks.period = case.step
        outputs[f"y of {name}"] = (case.add(tracks, name), ("batch", f"outputs of {name}", case.layer.bias.numel()))
    shapes = {name: (f"batch of {name}", f"frames of {name}", case.feats.shape[2]) for name, case in cases.items()}
    session = open_session(writer.finish("layers", shapes, outputs, {}))
    results = session.run(None, {name: case.feats.numpy() for name, case in cases.items()})
    for case, result in zip(cases.values(), results, strict=True):
        expected = case.integer_arithmetic()
        np.testing.assert_array_equal(result, expected)
        np.testing.assert_array_equal(case.fake_quantized().numpy(), expected)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("per_column", [True, False])
def test_random_layers_with_wide_features_agree_in_every_integer(seed: int, per_column: bool) -> None:
    random = np.random.default_rng(seed)
    bits, columns, rows = (int(random.integers(*limits)) for limits in ((9, 17), (1, 120), (1, 40)))
    # As many bits as 32-bit accumulators take, zero points and bias included.
    spec = QSpec(bits, signed=False, symmetric=False)
    shape = (columns,) if per_column else ()
    zeros = torch.from_numpy(np.asarray(random.integers(0, spec.qmax + 1, shape), np.int32))
    grid = Grid(spec, torch.from_numpy(np.asarray(random.uniform(0.01, 0.1, shape), np.float32)), zeros)
    layer = random_layer(random, rows, grid, columns, symmetric=bool(random.integers(4)))
    layer = replace(layer, inputs=replace(layer.inputs, per_column=per_column))
    check_accumulator(layer.weight, layer.inputs.largest, layer.bias.double())
    output = random_grid(random, scale=2.0**bits / 100) if random.integers(4) else None
    case = Case(layer, grid, output, False, [0], 1, extreme_features(random, grid, (2, 30, columns)))
    writer = GraphWriter()
    writer.reserve("x")
    result = case.add(Tracks(writer), "x")
    shapes = {"x": ("batch", "frames", columns)}
    session = open_session(writer.finish("layer", shapes, {"y": (result, ("batch", "frames", rows))}, {}))
    (found,) = session.run(None, {"x": case.feats.numpy()})
    np.testing.assert_array_equal(found, case.integer_arithmetic())
    np.testing.assert_array_equal(case.fake_quantized().numpy(), found)


def test_the_random_layers_hold_what_kernels_get_wrong() -> None:
    random = np.random.default_rng(0)
    cases = [Case.random(random) for _ in range(LAYERS_PER_GRAPH)]
    assert any(can_saturate(case.layer) for case in cases)
    assert any((case.layer.weight.centred == 0).all(1).any() for case in cases)
    assert any(case.spliced().shape[1] == 1 for case in cases)
    assert {case.layer.weight.spec.bits for case in cases} == set(range(2, 9))
    assert any(int(case.layer.weight.zero_point[0]) != 0 for case in cases)


@pytest.fixture(scope="module")
def nnet(example: Path) -> Nnet:
    return read_model(example / "exp/chain/tdnnf1b_sp/final.mdl").nnet


@pytest.fixture(scope="module")
def utterances(example: Path) -> list[tuple[str, np.ndarray]]:
    table = read_matrices(f"scp:{example}/data/train_sub_hires/feats.scp")
    return [utterance for utterance, _ in zip(table, range(5), strict=False)]


@pytest.mark.parametrize(("bits", "act_bits"), [(8, 8), (4, 6)])
@pytest.mark.parametrize("frames_per_chunk", [0, 51])
def test_a_whole_network_agrees_in_every_float(
    nnet: Nnet, utterances: list[tuple[str, np.ndarray]], bits: int, act_bits: int, frames_per_chunk: int
) -> None:
    options = InferenceOptions(ChunkOptions(3, frames_per_chunk))
    config = PtqConfig(LayerConfig(bits, act_bits, method="minmax"), observer="minmax")
    network = quantize(nnet, config, UtteranceSet(utterances[:2], options))
    fast = executable(network, 3, "onnxruntime")
    assert isinstance(fast, OnnxruntimeNetwork)
    ours = dict(Inference(fast, None, options).compute(utterances))
    for name, expected in Inference(network.model(), None, options).compute(utterances):
        np.testing.assert_array_equal(ours[name], expected)


def requests() -> list[tuple[list[tuple[int, int]], np.ndarray]]:
    """Spans and times that one compiled graph does not serve alike."""
    return [
        ([(-4, 60)] * 2, np.arange(0, 57, 3)),
        ([(-4, 60)] * 2, np.array([0])),
        ([(-4, 60)] * 2, np.arange(6, 50, 3)),
        ([(-9, 60)] * 2, np.arange(0, 40, 2)),
        ([(-4, 60)] * 2, np.array([0, 1, 5])),
        ([(-4, 60), (-4, 31)], np.arange(0, 30, 3)),
    ]


@pytest.mark.parametrize(("spans", "times"), requests())
def test_any_request_is_answered_as_the_reference_answers_it(spans: list[tuple[int, int]], times: np.ndarray) -> None:
    random = np.random.default_rng(1)
    network = random_network(random, 12, 20, 9)
    fast = OnnxruntimeNetwork(network, 3)
    assert fast.context.left == 4
    start, end = min(span[0] for span in spans), max(span[1] for span in spans)
    feats = extreme_features(random, network.activations["input"], (2, end - start, 12))
    assert torch.equal(fast(feats, spans, times), fast.reference(feats, spans, times))


def test_each_request_is_answered_whatever_the_one_before_it_was() -> None:
    random = np.random.default_rng(1)
    network = random_network(random, 12, 20, 9)
    fast = OnnxruntimeNetwork(network, 3)
    requests = [([(-4, 40)], np.arange(0, 30, 3)), ([(-7, 40)], np.arange(0, 30, 3)), ([(-7, 40)], np.arange(0, 30, 2))]
    requests += [([(-7, 40), (-5, 42)], np.arange(0, 30, 2)), requests[0]]
    for spans, times in requests:
        frames = max(end for _, end in spans) - min(start for start, _ in spans)
        feats = extreme_features(random, network.activations["input"], (len(spans), frames, 12))
        assert torch.equal(fast(feats, spans, times), fast.reference(feats, spans, times))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_features_of_any_type_are_computed_in_single_precision(dtype: torch.dtype) -> None:
    random = np.random.default_rng(1)
    network = random_network(random, 12, 20, 9)
    fast, times = OnnxruntimeNetwork(network, 3), np.arange(0, 30, 3)
    feats = extreme_features(random, network.activations["input"], (1, 44, 12)).to(dtype)
    found = fast(feats, [(-4, 40)], times)
    assert found.dtype == dtype
    assert torch.equal(found, fast.reference(feats.float(), [(-4, 40)], times).to(dtype))


def test_too_few_frames_are_an_error() -> None:
    fast = OnnxruntimeNetwork(random_network(np.random.default_rng(1), 12, 20, 9), 3)
    with pytest.raises(ModelError, match="do not suffice"):
        fast(torch.zeros(1, 10, 12), [(-4, 6)], np.arange(0, 12, 3))


def test_the_self_test_notices_wrong_integers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right = _Compiled.run

    def wrong(self: _Compiled, inputs: dict[str, np.ndarray], outputs: int) -> np.ndarray:
        rows = right(self, inputs, outputs)
        rows[-1, -1, -1] += 1e-3
        return rows

    monkeypatch.setattr(_Compiled, "run", wrong)
    monkeypatch.setattr(choice, "trusted_form", self_test.trusted_form.__wrapped__)
    network = random_network(np.random.default_rng(1), 12, 20, 9)
    with caplog.at_level(logging.WARNING):
        model = executable(network, 3)
    assert isinstance(model, AcousticModel)
    assert "quantized network: onnxruntime's integer kernels give wrong" in caplog.text
    with pytest.raises(ModelError, match="wrong integers on this processor"):
        executable(network, 3, "onnxruntime")


def test_saturating_kernels_are_replaced_by_wider_ones(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(self_test, "gives_the_reference", lambda form: form == "exact")
    monkeypatch.setattr(choice, "trusted_form", self_test.trusted_form.__wrapped__)
    with caplog.at_level(logging.WARNING):
        model = executable(random_network(np.random.default_rng(1), 12, 20, 9), 3)
    assert isinstance(model, OnnxruntimeNetwork) and model.form == "exact"
    assert "8-bit products saturate" in caplog.text


def test_the_exact_form_is_right_on_every_machine() -> None:
    assert self_test.gives_the_reference("exact")


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_onnxruntime_the_reference_runs(
    missing: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    self_test.trusted_form.cache_clear()
    network = random_network(np.random.default_rng(1), 12, 20, 9)
    with pytest.raises(MissingDependencyError, match=r"pip install onnx onnxruntime"):
        executable(network, 3, "onnxruntime")
    with caplog.at_level(logging.WARNING):
        assert isinstance(executable(network, 3), AcousticModel)
    assert len(caplog.records) == 1 and "needs onnx and onnxruntime" in caplog.text


def test_the_reference_runs_when_it_is_asked_for() -> None:
    assert isinstance(executable(random_network(np.random.default_rng(1), 12, 20, 9), 3, "reference"), AcousticModel)


def test_integers_beyond_eight_bits_are_refused(
    nnet: Nnet, utterances: list[tuple[str, np.ndarray]], caplog: pytest.LogCaptureFixture
) -> None:
    data = UtteranceSet(utterances[:1], InferenceOptions(ChunkOptions(3)))
    for wide in (LayerConfig(bits=10, method="minmax"), LayerConfig(act_bits=10, method="minmax")):
        network = quantize(nnet, PtqConfig(wide, observer="minmax"), data)
        with pytest.raises(ModelError, match="8 bits"):
            executable(network, 3, "onnxruntime")
