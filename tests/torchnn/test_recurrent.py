"""LSTMs and GRUs beside those of torch: their products as layers, their hidden states as nodes, what stays in float."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kaldi_quant.quant.graph import products
from kaldi_quant.quant.layer_kinds import layer_kinds
from kaldi_quant.torchnn.host import TorchHost, TorchSource
from kaldi_quant.train.qat.network import TrainableNetwork
from tests.torchnn.prepared import assert_unchanged, disturbed, prepared, reads
from tests.torchnn.recurrent_networks import CONFIGS, KINDS, InChunks, WithState, enhancer, inputs, quantized

torch.set_num_threads(1)


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
@pytest.mark.parametrize("has_state", [True, False])
def test_cells_in_a_loop_of_the_network(make: type[nn.Module], has_state: bool) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = make(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            states, state = [], None
            if has_state:
                state = torch.zeros(len(x), 4)
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
