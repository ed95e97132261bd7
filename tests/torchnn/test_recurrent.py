"""LSTMs and GRUs: their products as layers, their hidden states on grids, beside torch and beside integers by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kaldi_quant.quant.config import LayerConfig, PtqConfig
from kaldi_quant.quant.graph import products
from kaldi_quant.quant.host import Executable
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.layer_kinds import layer_kinds
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.taps import SeenTap
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.torchnn.host import TorchHost, TorchSource
from kaldi_quant.torchnn.quantization import quantize
from kaldi_quant.train.qat.network import TrainableNetwork
from tests.torchnn import by_hand
from tests.torchnn.prepared import assert_unchanged, disturbed, prepared, reads

torch.set_num_threads(1)

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class WithState(nn.Module):
    """All that a recurrent module returns, with an initial state from outside if there is one."""

    def __init__(self, rnn: nn.RNNBase) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        hx = None if not state else state if isinstance(self.rnn, nn.LSTM) or len(state) > 1 else state[0]
        self.rnn.flatten_parameters()
        output, last = self.rnn(x) if hx is None else self.rnn(x, hx)
        return (output, *last) if isinstance(last, tuple) else (output, last)


class Enhancer(nn.Module):
    """As in speech enhancement: a convolution, a GRU of two layers, a mask."""

    def __init__(self, rnn: nn.RNNBase, channels: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv1d(5, 6, 3, padding=1), nn.BatchNorm1d(6), nn.ReLU())
        self.rnn = rnn
        self.mask = nn.Linear(channels, 5)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.rnn(self.encoder(x).transpose(1, 2))
        return torch.sigmoid(self.mask(states)).transpose(1, 2) * x


def enhancer(kind: str = "gru", **options: object) -> Enhancer:
    torch.manual_seed(3)
    rnn = KINDS[kind](6, 7, **{"num_layers": 2, "batch_first": True, **options})
    return Enhancer(rnn, 14 if rnn.bidirectional else 7).eval()


def inputs(number: int = 3, length: int = 12, batch: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(batch, 5, length, generator=generator) for _ in range(number)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_float_output_is_that_of_torch(kind: str) -> None:
    random = np.random.default_rng(0)
    choices = itertools.product([1, 2, 3], [False, True], [False, True], [False, True], [False, True], [False, True])
    for seed, (layers, bidirectional, batch_first, bias, given, batched) in enumerate(choices):
        torch.manual_seed(seed)
        size, hidden, length, batch = (int(number) for number in random.integers(1, 8, 4))
        options = {"nonlinearity": ["tanh", "relu"][seed % 2]} if kind == "rnn" else {}
        rnn = KINDS[kind](
            size, hidden, layers, bias=bias, batch_first=batch_first, bidirectional=bidirectional, **options
        )
        shape = (batch, length, size) if batch_first else (length, batch, size)
        x = torch.randn(shape if batched else (length, size))
        state = (layers * (1 + bidirectional), *([batch] if batched else []), hidden)
        states = [torch.randn(state) for _ in range((1 + (kind == "lstm")) * given)]
        network = WithState(rnn).eval()
        source = TorchSource(network, (x, *states))
        host = source.prepare(fold=True)
        expected, found = network(x, *states), host.complete().executable()(x, *states)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
        names = [
            f"rnn.l{layer}.{way}{part}"
            for layer in range(layers)
            for way in (["", "reverse."] if bidirectional else [""])
            for part in ("ih", "hh")
        ]
        assert products(host.nodes) == names
        # Other lengths need no other program.
        longer = torch.cat([x, x], 1 if batched and batch_first else 0)
        for one, other in zip(host.complete().executable()(longer, *states), network(longer, *states), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_the_recurrent_product_reads_its_own_hidden_states() -> None:
    host = TorchSource(enhancer(bidirectional=True), inputs()[0]).prepare(fold=True)
    assert reads(host.nodes["rnn.l0.hh"]) == ["rnn.l0.h"]
    assert reads(host.nodes["rnn.l0.h"]) == ["rnn.l0.ih", "rnn.l0.hh"]
    assert reads(host.nodes["rnn.l0.reverse.h"]) == ["rnn.l0.reverse.ih", "rnn.l0.reverse.hh"]
    assert reads(host.nodes["rnn.l1.ih"]) == ["rnn.l0.h", "rnn.l0.reverse.h"]
    assert reads(host.nodes["mask"]) == ["rnn.l1.h", "rnn.l1.reverse.h"]
    assert host.nodes["rnn.l0.h"].op == "other" and host.nodes["rnn.l0.h"].channels == 7
    recurrent = {name for name, kinds in layer_kinds(host.nodes).items() if "recurrent" in kinds}
    assert recurrent == {f"rnn.l{layer}.{way}hh" for layer in (0, 1) for way in ("", "reverse.")}
    assert host.float_operations()["rnn.l1.h"] == "what GRU cells compute of their products"


def test_initial_states_and_what_is_remembered_are_nodes() -> None:
    x, states = torch.randn(2, 4, 3), (torch.randn(1, 2, 5), torch.randn(1, 2, 5))
    network = WithState(nn.LSTM(3, 5, batch_first=True))
    host = TorchSource(network, (x, *states)).prepare(fold=True)
    assert reads(host.nodes["rnn.l0.h"]) == ["rnn.l0.ih", "input1", "input2", "rnn.l0.hh"]
    assert reads(host.nodes["rnn.l0.c"]) == ["rnn.l0.ih", "input1", "input2", "rnn.l0.hh"]
    assert reads(host.nodes["output"]) == ["rnn.l0.h", "rnn.l0.c"]


CONFIGS = {
    f"w{bits}a{act_bits} {ranges}": PtqConfig(LayerConfig(bits=bits, act_bits=act_bits, ranges=ranges))
    for bits, act_bits in ((8, 8), (4, 8), (4, 4))
    for ranges in ("static", "dynamic")
}
# Of the largest value; at about twice what was found.
_LARGEST_ERRORS = {"w8a8": 0.02, "w4a8": 0.2, "w4a4": 0.4}


def quantized(network: nn.Module, config: PtqConfig, data: list, output: int | None = None) -> QuantizedNetwork:
    return quantize(network, config, TensorData(data, output))


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("kind", KINDS)
def test_ptq(kind: str, config: str) -> None:
    network = enhancer(kind)
    found = quantized(network, CONFIGS[config], inputs())
    names = ["encoder.0", "rnn.l0.ih", "rnn.l0.hh", "rnn.l1.ih", "rnn.l1.hh", "mask"]
    assert list(found.layers) == names and not found.float_layers
    kinds = {type(layer) for layer in found.layers.values()}
    assert kinds == {IntegerLinear if "static" in config else DynamicLinear}
    x = inputs(4)[3]
    expected, result = network(x), found.model()(x)
    error = float((result - expected).abs().max() / expected.abs().max())
    assert 0 < error < _LARGEST_ERRORS[config.split(maxsplit=1)[0]]


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_lie_on_their_grid_at_every_time(kind: str) -> None:
    found = quantized(enhancer(kind, bidirectional=True), CONFIGS["w4a4 static"], inputs())
    assert found.activations["rnn.l0.h"] is found.activations["rnn.l0.reverse.h"]
    model, seen = found.model(), {}
    for name in ("rnn.l0.h", "rnn.l1.reverse.h"):
        model.taps[name] = SeenTap(model.taps[name], lambda x, name=name: seen.setdefault(name, []).append(x))
    model(inputs(4)[3])
    for name, (states,) in seen.items():
        assert states.shape == (2, 12, 7)
        steps = states / found.activations[name].scale
        torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
        assert len(steps.round().unique()) > 4


def lstm_by_hand(found: QuantizedNetwork, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, Tensor]:
    """The hidden states, integers less the zero point, of one LSTM layer; and what it remembers in the end.

    x: (N, T, in) integers; h: (N, size) integers; c: (N, size) float32.
    """
    ih, hh = found.layers["1.l0.ih"], found.layers["1.l0.hh"]
    assert isinstance(ih, IntegerLinear) and isinstance(hh, IntegerLinear)
    grid, states, memory = found.activations["1.l0.h"], [], torch.from_numpy(c)
    rows = np.broadcast_to(np.arange(len(ih.bias)), (len(x), len(ih.bias)))
    for time in range(x.shape[1]):
        of_input = by_hand.as_floats(ih, by_hand.linear(ih, x[:, time]), rows)
        of_hidden = by_hand.as_floats(hh, by_hand.linear(hh, h), rows)
        i, f, g, o = torch.from_numpy(of_input + of_hidden).chunk(4, 1)
        memory = torch.sigmoid(f) * memory + torch.sigmoid(i) * torch.tanh(g)
        h = by_hand.integers_of((torch.sigmoid(o) * torch.tanh(memory)).numpy(), grid)
        states.append(h)
    return np.stack(states, 1), memory


@pytest.mark.parametrize("config", ["w8a8 static", "w4a8 static", "w4a4 static"])
def test_an_lstm_in_integers_by_hand(config: str) -> None:
    class Network(nn.Sequential):
        def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
            output, (_, memory) = self[1](self[0](x), (h, c))
            return output, memory

    torch.manual_seed(1)
    network = Network(nn.Tanh(), nn.LSTM(4, 3, batch_first=True)).eval()
    data = [(torch.randn(2, 6, 4), torch.rand(1, 2, 3) - 0.5, torch.randn(1, 2, 3)) for _ in range(4)]
    found = quantized(network, CONFIGS[config], data, output=0)
    # A hidden state beyond the grid's end is cut off there.
    x, h, c = torch.randn(2, 6, 4) * 2, torch.randn(1, 2, 3) * 2, torch.randn(1, 2, 3)
    output, memory = found.model()(x, h, c)
    grid = found.activations["1.l0.h"]
    first = by_hand.integers_of(h[0].numpy(), grid)
    states, remembered = lstm_by_hand(
        found, by_hand.integers_of(x.tanh().numpy(), found.activations["0"]), first, c[0].numpy()
    )
    np.testing.assert_array_equal(output.detach().numpy(), states.astype(np.float32) * grid.scale.numpy())
    torch.testing.assert_close(memory.detach()[0], remembered, rtol=0, atol=1e-6)
    assert len(np.unique(states)) > 6


def test_dynamic_ranges_are_those_of_each_time_and_sequence() -> None:
    torch.manual_seed(0)
    network = nn.GRU(4, 6, batch_first=True)
    found = quantized(network, CONFIGS["w8a8 dynamic"], [torch.randn(2, 5, 4)], output=0)
    layer, seen = found.layers["l0.hh"], []
    assert isinstance(layer, DynamicLinear)
    model = found.model()
    model.slot("l0.hh").product.register_forward_hook(lambda _, args, result: seen.append((args[0], result)))
    x = torch.stack([torch.randn(5, 4), 20 * torch.randn(5, 4)])
    together = model(x)[0]
    assert [given.shape for given, _ in seen] == [(2, 6)] * 5
    for given, result in seen:
        for h, sums in zip(given.detach().numpy(), result.detach(), strict=True):
            low, high = min(0.0, float(h.min())), max(0.0, float(h.max()))
            scale = np.float32((high - low) / 255 or 1.0)
            zero_point = int(np.rint(-low / float(scale)))
            integers = np.clip(np.rint(h / scale) + zero_point, 0, 255).astype(np.int64) - zero_point
            exact = (layer.weight.centred.numpy().astype(np.int64) @ integers).astype(np.float32)
            expected = exact * (scale * layer.weight.scale[:, 0].numpy()) + layer.bias.numpy()
            np.testing.assert_array_equal(sums.numpy(), expected)
    # The other sequence makes no difference.
    torch.testing.assert_close(model(x[:1])[0], together[:1], rtol=0, atol=0)


def hidden_steps(model: Executable, found: QuantizedNetwork, x: Tensor) -> dict[str, Tensor]:
    """The hidden states of all times in steps of their grids."""
    states = {}
    names = [name for name in found.activations if name.endswith(".h")]
    taps = {name: SeenTap(model.taps[name], lambda x, name=name: states.update({name: x})) for name in names}
    with model.taps.with_others(taps):
        model(x)
    assert len(states) == 4
    return {name: (value / found.activations[name].scale).round() for name, value in states.items()}


@pytest.mark.parametrize("config", ["w8a8 static", "w4a8 static", "w4a4 static"])
@pytest.mark.parametrize("kind", KINDS)
def test_fake_quantization_is_the_reference(kind: str, config: str) -> None:
    found = quantized(enhancer(kind, bidirectional=True), CONFIGS[config], inputs())
    trained = TrainableNetwork.of(found)
    reference, x = found.model(), inputs(4)[3]
    with torch.no_grad():
        states = [hidden_steps(model, found, x) for model in (trained.model, reference, trained.converted().model())]
        torch.testing.assert_close(trained.model(x), reference(x), rtol=0, atol=1e-5)
    for name, expected in states[0].items():
        assert torch.equal(states[1][name], expected) and torch.equal(states[2][name], expected)
        assert len(expected.unique()) > 4


def test_gradients_reach_all_that_is_learned() -> None:
    trained = TrainableNetwork.of(quantized(enhancer("lstm"), CONFIGS["w4a8 static"], inputs()))
    parts = [*trained.components(), *trained.scales()]
    trained.model(inputs()[0]).square().sum().backward()
    for name in ("rnn.l0.hh weight", "rnn.l1.ih", "rnn.l0.h values"):
        (part,) = (part for part in parts if part.name == name)
        assert all(value.grad is not None and value.grad.any() for value in part.parameters.values())


def test_methods_that_need_what_layers_read() -> None:
    config = PtqConfig(LayerConfig(bits=4, method="descent"), sequential=True)
    found = quantized(enhancer("gru"), config, inputs())
    x = inputs(4)[3]
    error = float((found.model()(x) - enhancer("gru")(x)).abs().max())
    assert 0 < error < 0.3


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.rnn, self.plain = nn.Linear(3, 4), nn.LSTM(4, 5, batch_first=True), nn.GRU(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.first(x), torch.tensor([4, 2]), batch_first=True)
        states, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return self.plain(states)[0]


def assert_same(host: TorchHost, network: nn.Module, x: Tensor) -> None:
    torch.testing.assert_close(host.complete().executable()(x), network(x), rtol=0, atol=1e-5)


def test_packed_sequences_stay_in_float() -> None:
    network, x = Packed().eval(), torch.randn(2, 4, 3)
    host = TorchSource(network, x).prepare(fold=True)
    assert_same(host, network, x)
    assert products(host.nodes) == ["first", "plain.l0.ih", "plain.l0.hh"]
    assert any("rnn stays in float: it is given packed sequences" in what for what in host.float_operations().values())


def test_projected_states_stay_in_float() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.last = nn.LSTM(3, 6, proj_size=2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.rnn(x)[0])

    network, x = Network().eval(), torch.randn(4, 2, 3)
    host = TorchSource(network, x).prepare(fold=True)
    assert_same(host, network, x)
    assert products(host.nodes) == ["last"]
    assert "LSTM stays in float: its hidden states are projected (proj_size)" in host.float_operations()["rnn"]


def test_code_that_looks_into_a_module_leaves_it_in_float() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.last = nn.GRU(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.rnn(x)[0] + self.rnn.weight_hh_l0.mean())

    network, x = Network().eval(), torch.randn(4, 2, 3)
    host = TorchSource(network, x).prepare(fold=True)
    assert_same(host, network, x)
    assert products(host.nodes) == ["last"]
    assert "does not compute the same" in host.float_operations()["rnn"]


@pytest.mark.parametrize("make", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_cells_in_a_loop_of_the_network(make: type[nn.Module]) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = make(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            states, state = [], torch.zeros(len(x), 4)
            state = (state, state) if make is nn.LSTMCell else state
            for now in x.unbind(1):
                state = self.cell(now, state)
                states.append(state[0] if make is nn.LSTMCell else state)
            return torch.stack(states, 1)

    torch.manual_seed(0)
    network, x = Network().eval(), torch.randn(2, 6, 3)
    host = TorchSource(network, x).prepare(fold=True)
    assert_same(host, network, x)
    assert products(host.nodes) == ["cell.ih", "cell.hh"]
    found = quantized(network, CONFIGS["w8a8 static"], [x, torch.randn(2, 6, 3)])
    torch.testing.assert_close(found.model()(x), network(x), rtol=0, atol=0.05)


def test_a_module_that_is_used_twice_has_one_weight_and_two_states() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(4, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(self.rnn(x)[0].tanh())[0]

    torch.manual_seed(0)
    network, x = Network().eval(), torch.randn(2, 5, 4)
    host = TorchSource(network, x).prepare(fold=True)
    assert_same(host, network, x)
    assert products(host.nodes) == ["rnn.l0.ih", "rnn.l0.hh"]
    assert reads(host.nodes["rnn.l0.hh:2"]) == ["rnn.l0.h:2"]
    found = quantized(network, CONFIGS["w8a8 static"], [x])
    assert found.activations["rnn.l0.h"] is found.activations["rnn.l0.h:2"]
    torch.testing.assert_close(found.model()(x), network(x), rtol=0, atol=0.05)


def test_recurrent_modules_within_what_cannot_be_traced() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = enhancer("lstm")

        def forward(self, x: Tensor) -> Tensor:
            return self.inner.mask(self.inner.rnn(x)[0]) if x.sum() > 1e9 else self.inner(x)

    network = Network().eval()
    host = TorchSource(network, inputs()[0]).prepare(fold=True)
    assert_same(host, network, inputs()[0])
    names = ["encoder.0", "rnn.l0.ih", "rnn.l0.hh", "rnn.l1.ih", "rnn.l1.hh", "mask"]
    assert products(host.nodes) == [f"inner.{name}" for name in names]
    found = quantized(network, CONFIGS["w8a8 static"], inputs())
    torch.testing.assert_close(found.model()(inputs()[0]), network(inputs()[0]), rtol=0, atol=0.05)


def test_a_cell_that_begins_without_a_state() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTMCell(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            state, states = None, []
            for now in x.unbind(1):
                state = self.cell(now, state)
                states.append(state[0])
            return torch.stack(states, 1)

    torch.manual_seed(0)
    network, x = Network().eval(), torch.randn(2, 6, 3)
    host = TorchSource(network, x).prepare(fold=True)
    assert_same(host, network, x)
    assert products(host.nodes) == ["cell.ih", "cell.hh"]


def test_normalizations_before_cells_fold_into_their_input_products() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.rnn = nn.BatchNorm1d(4), nn.LSTM(4, 3, batch_first=True, bidirectional=True)
            self.last = nn.Conv1d(6, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.rnn(self.norm(x).transpose(1, 2))[0].transpose(1, 2))

    network, x = disturbed(Network()), torch.randn(2, 4, 5)
    host = prepared(network, x)
    assert list(host.offsets) == ["rnn.l0.ih", "rnn.l0.reverse.ih"]
    assert_unchanged(host, network, x)
    again = prepared(network, x, fold=False).prepare(fold=True)
    assert again.nodes == host.nodes
    assert_unchanged(again, network, x)


def test_one_module_hands_its_last_states_to_another() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = nn.LSTM(3, 4, 2), nn.LSTM(3, 4, 2)
            self.last = nn.Linear(7, 2)

        def forward(self, x: Tensor) -> Tensor:
            _, state = self.encoder(x)
            return self.last(torch.cat([x, self.decoder(x.flip(0), state)[0]], -1))

    torch.manual_seed(0)
    network, data = Network().eval(), [torch.randn(5, 2, 3) for _ in range(3)]
    host = prepared(network, data[0])
    assert_unchanged(host, network, data[0])
    first = ["decoder.l1.ih", "encoder.l0.h", "encoder.l1.h", "encoder.l0.c", "encoder.l1.c", "decoder.l1.hh"]
    assert reads(host.nodes["decoder.l1.h"]) == first
    assert host.nodes["x"].by_column
    found = quantized(network, CONFIGS["w8a8 static"], data)
    assert found.activations["x"].scale.shape == (3,)
    torch.testing.assert_close(found.model()(data[0]), network(data[0]), rtol=0, atol=0.05)


class InChunks(nn.Module):
    """Decides by sizes, and begins without a state."""

    def __init__(self, begins_without: bool) -> None:
        super().__init__()
        self.rnn, self.last = nn.LSTM(3, 4, batch_first=True, bidirectional=True), nn.Linear(8, 2)
        self.begins_without = begins_without

    def forward(self, x: Tensor) -> Tensor:
        zeros = x.new_zeros(2, len(x), 4)
        state, outputs = None if self.begins_without else (zeros, zeros), []
        for chunk in x.split(4, 1):
            states, state = self.rnn(chunk, state)
            outputs.append(self.last(states))
        return torch.cat(outputs, 1)


@pytest.mark.parametrize("begins_without", [True, False])
def test_a_module_within_a_loop_of_the_network(begins_without: bool) -> None:
    torch.manual_seed(0)
    network, x = InChunks(begins_without).eval(), torch.randn(2, 12, 3)
    host = TorchSource(network, x).prepare(fold=True)
    assert_same(host, network, x)
    # Called in two ways it is no region, but its products are.
    hh = ["rnn.l0.lstm.hh", "rnn.l0.reverse.lstm.hh"] if begins_without else ["rnn.l0.hh", "rnn.l0.reverse.hh"]
    assert set(products(host.nodes)) == {"last", "rnn.l0.ih", "rnn.l0.reverse.ih", *hh}
    found = quantized(network, CONFIGS["w8a8 static"], [x])
    torch.testing.assert_close(found.model()(x), network(x), rtol=0, atol=0.05)
    torch.testing.assert_close(TrainableNetwork.of(found).model(x), found.model()(x), rtol=0, atol=1e-5)


def test_layers_that_are_called_in_one_way_within_a_module_that_is_not() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(3, 4, batch_first=True, bidirectional=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x)[0] if x.sum() > 1e9 else self.rnn(x)[0] + self.rnn(x[0])[0]

    network, x = Network().eval(), torch.randn(2, 5, 3)
    host = TorchSource(network, x).prepare(fold=True)
    assert_same(host, network, x)
    assert products(host.nodes) == ["rnn.l0.ih", "rnn.l0.hh", "rnn.l0.reverse.ih", "rnn.l0.reverse.hh"]


def test_ranges_cover_initial_states_from_outside() -> None:
    torch.manual_seed(0)
    network = WithState(nn.GRU(3, 5, batch_first=True)).eval()
    data = [(torch.randn(2, 4, 3), 3 + torch.rand(1, 2, 5)) for _ in range(3)]
    config = PtqConfig(observer="minmax")
    grid = quantized(network, config, data, output=0).activations["rnn.l0.h"]
    largest = max(float(state.max()) for _, state in data)
    torch.testing.assert_close(float((grid.spec.qmax - grid.zero_point) * grid.scale), largest, rtol=0.01, atol=0)


def test_kinds_of_cells_are_told_apart() -> None:
    x, digests = torch.randn(5, 2, 3), set()
    for kind in ("tanh", "relu"):
        torch.manual_seed(0)
        digests.add(TorchSource(nn.RNN(3, 4, nonlinearity=kind), x).digest())
    assert len(digests) == 2


@pytest.mark.parametrize("normed", ["weight_norm", "parametrizations", "spectral", "pruned"])
def test_weights_however_they_are_parametrized(normed: str) -> None:
    torch.manual_seed(0)
    network, utils, name = nn.GRU(3, 4, batch_first=True), nn.utils, "weight_hh_l0"
    match normed:
        case "weight_norm":
            utils.weight_norm(network, name)
            network.weight_hh_l0_g.data *= 2
        case "parametrizations":
            utils.parametrizations.weight_norm(network, name)
            network.parametrizations.weight_hh_l0.original0.data *= 2
        case "spectral":
            utils.parametrizations.spectral_norm(network, name)
        case "pruned":
            prune.l1_unstructured(network, name, 0.5)
    x = torch.randn(2, 5, 3)
    expected = network.eval()(x)[0]
    host = TorchSource(network, x).prepare(fold=True)
    assert products(host.nodes) == ["l0.ih", "l0.hh"]
    torch.testing.assert_close(host.complete().executable()(x)[0], expected, rtol=0, atol=1e-5)


def test_classes_with_a_forward_of_their_own_stay_in_float() -> None:
    class Residual(nn.GRU):
        def forward(self, x: Tensor) -> Tensor:
            return x + super().forward(x)[0]

    class Named(nn.GRU):
        """The same as its parent."""

    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Linear(3, 4), Residual(4, 4), Named(4, 2)).eval(), torch.randn(5, 2, 3)
    host = TorchSource(network, x).prepare(fold=True)
    torch.testing.assert_close(host.complete().executable()(x), network(x), rtol=0, atol=1e-5)
    assert products(host.nodes) == ["0", "2.l0.ih", "2.l0.hh"]
    assert "Residual stays in float: its class has a forward of its own" in host.float_operations()["1"]
