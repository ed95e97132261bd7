"""Files of quantized torch networks: read again they give the same, and nothing in them is executed."""

import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kaldi_quant.errors import FormatError, ModelError
from kaldi_quant.formats.artefact import load, load_any, save_torch
from kaldi_quant.formats.container import read_container, write_container
from kaldi_quant.formats.summary import summary_lines
from kaldi_quant.formats.torch_graph.functions import functions, methods
from kaldi_quant.formats.torch_graph.modules import decoded_module, encoded_module
from kaldi_quant.formats.torch_graph.values import decoded, encoded
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.distance import KullbackLeibler
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.torchnn.host import TorchHost
from kaldi_quant.torchnn.quantization import quantize
from kaldi_quant.torchnn.recurrence import Recurrence
from kaldi_quant.torchnn.variants import FAILURES
from tests.formats.faults import fault_in_description, fault_in_tensors
from tests.fuzzing import answer
from tests.torchnn.attention_networks import Dot, Matrices
from tests.torchnn.random_networks import Untraceable, random_networks
from tests.torchnn.recurrent_networks import enhancer

CONFIGS = [
    PtqConfig(LayerConfig(bits=4)),
    PtqConfig(LayerConfig(bits=3, act_bits=5, symmetric=False)),
    PtqConfig(LayerConfig(bits=8, ranges="dynamic")),
    PtqConfig(LayerConfig(bits=11, per_channel=False, method="minmax"), {"*": {"float_reason": "to see"}}),
]


class Mixed(nn.Module):
    """Layers beside modules of torch that are called as they are, a table that is looked up, and an option."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 8, padding_idx=0)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm, self.gate = nn.LayerNorm(8), nn.PReLU(8)
        self.rnn = nn.LSTM(8, 5, batch_first=True, bidirectional=True)
        self.out = nn.Linear(10, 3)
        self.register_buffer("places", torch.arange(3))

    def forward(self, words: Tensor, *, scale: float = 2.0, mask: Tensor | None = None) -> dict[str, Tensor]:
        x = self.words(words)
        x = self.norm(x + self.attention(x, x, x, key_padding_mask=mask)[0])
        x = self.gate(x.transpose(1, 2)).transpose(1, 2)
        return {"scores": self.out(self.rnn(x)[0]) * scale + self.places}


def words(length: int = 7, seed: int = 0) -> Tensor:
    return torch.randint(0, 9, (2, length), generator=torch.Generator().manual_seed(seed))


def mixed(config: PtqConfig = CONFIGS[0]) -> QuantizedNetwork:
    torch.manual_seed(1)
    data = TensorData([words(seed=i) for i in range(3)], output="scores")
    return quantize(Mixed(), config, data, distance=KullbackLeibler())


def deciding(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    norm = nn.BatchNorm1d(6)
    norm.running_mean = torch.randn(6)
    return nn.Sequential(nn.Linear(6, 6), Untraceable(nn.Sequential(nn.Linear(6, 6), nn.ReLU()), nn.Linear(6, 6)), norm)


def again(network: QuantizedNetwork, path: Path, code: nn.Module | None = None) -> QuantizedNetwork:
    save_torch(path, network, {"any": "record"})
    return load_any(path, code).network


def test_random_networks(tmp_path: Path) -> None:
    needs_code = 0
    for number, found in enumerate(random_networks(80, first=7000)):
        network = quantize(found.network, CONFIGS[number % len(CONFIGS)], TensorData(found.inputs(2)))
        assert isinstance(network.host, TorchHost)
        path, code = tmp_path / "q.safetensors", found.network if network.host.region.reasons else None
        read = again(network, path, code)
        needs_code += code is not None
        for x in (found.example, found.inputs(1, batch=3)[0]):
            assert torch.equal(read.model()(x.clone()), network.model()(x.clone())), found.seed
        written = path.read_bytes()
        again(read, path, code)
        assert path.read_bytes() == written
    assert 2 < needs_code < 40


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_what_networks_are_made_of(config: PtqConfig, tmp_path: Path) -> None:
    network = mixed(config)
    read = again(network, tmp_path / "q.safetensors")
    for length in (7, 12):
        x = words(length, seed=9)
        assert torch.equal(read.model()(x)["scores"], network.model()(x)["scores"])
    assert read.float_layers == network.float_layers and read.host.nodes == network.host.nodes
    assert isinstance(read.host, TorchHost) and isinstance(network.host, TorchHost)
    assert read.host.float_operations() == network.host.float_operations()
    assert type(read.host.distance) is KullbackLeibler
    # Also without the parameters that begin quantization: in float it is the dequantized network.
    x = words(seed=3)
    expected = network.dequantized().executable()(x)["scores"]
    assert torch.equal(read.host.executable()(x)["scores"], expected)


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_recurrent_networks(kind: str, tmp_path: Path) -> None:
    network = quantize(enhancer(kind), PtqConfig(LayerConfig(bits=5)), TensorData([torch.randn(2, 5, 12)]))
    read = again(network, tmp_path / "q.safetensors")
    x = torch.randn(1, 5, 20)
    assert torch.equal(read.model()(x), network.model()(x))


def test_recurrences_of_older_files_have_one_state_alone() -> None:
    torch.manual_seed(0)
    tensors: dict[str, np.ndarray] = {}
    described = encoded_module("rnn", Recurrence("GRU", nn.Linear(2, 6), reverse=False), (), tensors)
    assert described["attributes"].pop("remembers") is True

    def states(remembers: bool | None) -> Any:
        if remembers is not None:
            described["attributes"]["remembers"] = remembers
        read = decoded_module("rnn", described, lambda name, _: tensors[name])
        read.use({"h": torch.round})
        return read(8 * torch.ones(1, 3, 6), 4.4 * torch.ones(1, 2), 4.4 * torch.ones(1, 2) if remembers else None, "h")

    # The gate is open for the state that there was.
    assert torch.equal(states(None), states(False))
    assert torch.equal(states(False), 4 * torch.ones(1, 3, 2))
    found, last = states(True)
    assert torch.equal(found, 4 * torch.ones(1, 3, 2)) and (last > 4.3).all()
    with pytest.raises(ValueError, match="the module rnn is not whole: cells of GRU remember what they do not have"):
        states("much")  # type: ignore[arg-type]


ATTENTION = {
    "plain": (Matrices(), [torch.randn(2, 5, 6)]),
    "causal": (Dot(is_causal=True), [torch.randn(2, 5, 6)]),
    "masked": (Dot(), [torch.randn(2, 5, 6), torch.rand(5, 5) > 0.3]),
    "encoder": (nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), [torch.randn(2, 5, 6)]),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_products_of_two_values(name: str, tmp_path: Path) -> None:
    code, given = ATTENTION[name]
    for layers in ({}, {"@matmul": {"float_reason": "to see"}}):
        network = quantize(code.eval(), PtqConfig(LayerConfig(bits=5), layers), TensorData([tuple(given)]))
        path = tmp_path / "q.safetensors"
        read = again(network, path)
        assert torch.equal(read.model()(*given), network.model()(*given))
        assert read.matmuls == network.matmuls and read.float_matmuls == network.float_matmuls
        assert bool(read.float_matmuls) == bool(layers) and read.host.nodes == network.host.nodes
        told = [line for line in summary_lines(path) if line.startswith("float-matmul")]
        assert len(told) == len(network.float_matmuls)


def test_products_of_two_values_with_other_factors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "q.safetensors"
    save_torch(path, quantize(Dot().eval(), CONFIGS[0], TensorData([torch.randn(2, 5, 6)])), {})
    for factors in ([["all"]], [["all"], ["x"]], [["all"], []], []):
        found = read_container(path)
        nodes = found.content["torch_network"]["nodes"]
        next(node for node in nodes if node["name"] == "matmul:2")["factors"] = factors
        write_container(tmp_path / "changed", found.tensors, found.content)
        with pytest.raises(FormatError, match="the node matmul:2 has other factors than what it reads"):
            load_any(tmp_path / "changed")
    found = read_container(path)
    found.content["float_matmuls"] = {"softmax": "no reason"}
    write_container(tmp_path / "changed", found.tensors, found.content)
    with pytest.raises(FormatError, match="its products of two values in float are not the network's"):
        load_any(tmp_path / "changed")


def test_arguments_are_as_of_the_network(tmp_path: Path) -> None:
    model = again(mixed(), tmp_path / "q.safetensors").model()
    assert torch.equal(model(words=words())["scores"], model(words(), scale=2.0)["scores"])
    for args, kwargs, message in (
        ((words(),), {"scale": 3.0}, r"prepared for an argument 2\.0, and it is 3\.0"),
        ((), {"word": words()}, "the network's arguments are"),
        ((words().float(),), {}, r"should be torch\.int64"),
    ):
        with pytest.raises(Exception, match=message):
            model(*args, **kwargs)


def test_code_that_cannot_be_traced_is_brought(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, code = tmp_path / "q.safetensors", deciding()
    x = torch.randn(4, 6)
    network = quantize(code, PtqConfig(layers={"1.other": {"float_reason": "to see"}}), TensorData([x]))
    with caplog.at_level(logging.INFO):
        read = again(network, path, code)
    assert torch.equal(read.model()(x), network.model()(x))
    assert "load() will need the float network, too, as a file holds no code: 1 cannot be traced" in caplog.text
    with pytest.raises(ModelError, match=r"its code, which cannot be traced .*: give the float network, too"):
        load_any(path)
    with pytest.raises(ModelError, match="has other layers than the Sequential of the file"):
        load_any(path, nn.Sequential(nn.Linear(6, 6)))
    # Those of layers are in the file.
    other = deciding()
    nn.init.zeros_(other[0].weight)
    assert torch.equal(load_any(path, other).network.model()(x), network.model()(x))
    other = nn.Sequential(*deciding(), nn.LayerNorm(6))
    once = quantize(other, PtqConfig(), TensorData([x]))
    save_torch(path, once, {})
    nn.init.ones_(other[3].bias)
    with pytest.raises(ModelError, match="has other values than the Sequential of the file, in what is no layer"):
        load_any(path, other)


def test_distances_are_known_by_name(tmp_path: Path) -> None:
    class Own(KullbackLeibler):
        pass

    network = quantize(nn.Linear(3, 3), PtqConfig(), TensorData([torch.randn(2, 3)]), distance=Own())
    with pytest.raises(ModelError, match=r"the distance of outputs, divergence, is not in DISTANCES"):
        save_torch(tmp_path / "q.safetensors", network, {})


def test_a_file_of_torch_is_no_model_of_kaldi(tmp_path: Path) -> None:
    save_torch(tmp_path / "q.safetensors", mixed(), {})
    with pytest.raises(FormatError, match=r"holds a network of torch\.nn, and a model of Kaldi is needed here"):
        load(tmp_path / "q.safetensors")


HOSTILE: list[tuple[Callable[[list[Any]], None], str]] = [
    (lambda node: node.__setitem__(2, "os.system"), "there is nothing like call_function 'os.system'"),
    (lambda node: node.__setitem__(2, "operator.attrgetter"), "nothing like call_function 'operator.attrgetter'"),
    (lambda node: node.__setitem__(2, "torch.load"), "nothing like call_function 'torch.load'"),
    (lambda node: node.__setitem__(2, "torch.from_file"), "nothing like call_function 'torch.from_file'"),
    (lambda node: node.__setitem__(slice(1, 3), ["call_method", "apply_"]), "nothing like call_method 'apply_'"),
    (lambda node: node.__setitem__(slice(1, 3), ["call_method", "__reduce__"]), "like call_method '__reduce__'"),
    (lambda node: node.__setitem__(slice(1, 3), ["get_attr", "original.__class__"]), "like get_attr 'original.__cl"),
    (lambda node: node.__setitem__(slice(1, 3), ["call_module", "original"]), "nothing like call_module 'original'"),
    (lambda node: node.__setitem__(slice(2, 4), ["getattr", [*node[3][:1], "__class__"]]), "a graph cannot ask for"),
    (lambda node: node.__setitem__(3, [{"function": "exec"}]), "there is no function 'exec'"),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE, ids=range(len(HOSTILE)))
def test_a_graph_can_name_nothing_but_functions_on_tensors(
    change: Callable[[list[Any]], None], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "q.safetensors"
    save_torch(path, mixed(), {})
    found = read_container(path)
    graph = found.content["torch_network"]["graph"]
    change(next(node for node in graph if node[1] == "call_function"))
    write_container(path, found.tensors, found.content)
    with pytest.raises(FormatError, match=message):
        load_any(path)


def test_a_module_is_of_torch_or_of_this_project(tmp_path: Path) -> None:
    path = tmp_path / "q.safetensors"
    save_torch(path, mixed(), {})
    found = read_container(path)
    modules = found.content["torch_network"]["modules"]
    gate = next(module for module in modules.values() if module["class"] == "PReLU")
    for name in ("Module.__init__", "Parameter", "_Loss", "functional"):
        gate["class"] = name
        write_container(path, found.tensors, found.content)
        with pytest.raises(FormatError, match="is of an unknown class"):
            load_any(path)
    gate["class"], gate["attributes"]["forward"] = "PReLU", 1
    write_container(path, found.tensors, found.content)
    with pytest.raises(FormatError, match="cannot have an attribute 'forward'"):
        load_any(path)


def test_functions_that_do_more_than_compute_have_no_name() -> None:
    names = set(functions())
    assert {"torch.conv1d", "torch.nn.functional.gelu", "operator.getitem", "torch.fft.rfft", "added"} <= names
    assert not any(word in name for name in names for word in ("load", "save", "file", "compile", "import", "hook"))
    assert {"view", "unflatten", "transpose"} <= methods() and not {"numpy", "apply_", "register_hook"} & methods()


PLAIN = [None, True, 3, -2.5, "x", float("inf"), [1, [2]], (1, (2.0,)), {1: "a"}, slice(None, 2), ..., {"tuple": 1}]
OF_TORCH = [torch.float16, torch.device("cpu"), torch.contiguous_format, torch.Size([2, 3]), torch.relu]


@pytest.mark.parametrize("value", [*PLAIN, *OF_TORCH])
def test_plain_values(value: Any) -> None:
    found = decoded(json.loads(json.dumps(encoded(value))))
    assert found == value and type(found) is type(value)


def test_files_with_faults_are_refused_in_a_sentence(tmp_path: Path) -> None:
    path, first = tmp_path / "q.safetensors", int(os.environ.get("FUZZ_SEED", "0"))
    save_torch(path, mixed(CONFIGS[1]), {"frame": 1})
    found = read_container(path)
    answers = set()

    def use() -> None:
        model = load_any(path).network.model()
        # Whoever makes the checksum anew can write any network, also one that computes nothing.
        with suppress(*FAILURES):
            model(words())

    for seed in range(first, first + (int(os.environ.get("FUZZ_CASES", "0")) or 150)):
        rng = np.random.default_rng(seed)
        content, tensors = found.content, found.tensors
        if rng.random() < 0.8:
            content = fault_in_description(content, rng)
        else:
            tensors = fault_in_tensors(tensors, rng)
        write_container(path, tensors, content)
        answers.add(answer(use, (str(path), "the network")))
    assert len(answers) > 20
