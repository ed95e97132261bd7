"""LSTMs and GRUs in integers: hidden states on grids, beside integers by hand and beside fake quantization."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.divergence import divergence
from kaldi_quant.quant.host import Executable
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.taps import SeenTap
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.train.qat.network import TrainableNetwork
from kaldi_quant.train.qat.options import QatOptions
from tests.torchnn import by_hand
from tests.torchnn.recurrent_networks import CONFIGS, KINDS, WithState, enhancer, inputs, quantized

torch.set_num_threads(1)


# Of the largest value; at about twice what was found.
_LARGEST_ERRORS = {"w8a8": 0.01, "w4a8": 0.02, "w4a4": 0.18}


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


def slow_gru() -> nn.GRU:
    """One cell whose state goes from 0 towards 1 by a thousandth of the way at every time."""
    network = nn.GRU(1, 1, batch_first=True)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.bias_ih_l0.copy_(torch.tensor([0.0, np.log(999.0), 20.0]))
    return network


def test_a_gru_moves_by_less_than_half_a_step_of_its_grid() -> None:
    network = WithState(slow_gru()).eval()
    data = [(torch.zeros(1, 3, 1), torch.tensor([[[state]]])) for state in (0.0, 1.0)]
    found = quantized(network, PtqConfig(observer="minmax"), data, output=0).model()
    states, last = found(torch.zeros(1, 1000, 1), torch.zeros(1, 1, 1))
    torch.testing.assert_close(float(last), 1 - 0.999**1000, rtol=0, atol=1e-4)
    # What others read lies on the grid.
    expected = 1 - 0.999 ** torch.arange(1, 1001)
    torch.testing.assert_close(states[0, :, 0], expected, rtol=0, atol=0.5 / 255 + 1e-4)
    steps = states * 255
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_one_after_the_other_give_what_the_whole_gives(kind: str) -> None:
    torch.manual_seed(0)
    network, size = WithState(KINDS[kind](3, 5, 2, batch_first=True)).eval(), (2, 2, 5)
    states = (torch.zeros(size), torch.zeros(size))[: 1 + (kind == "lstm")]
    found = quantized(network, CONFIGS["w8a8 static"], [(torch.randn(2, 9, 3), *states) for _ in range(3)], output=0)
    model, x = found.model(), torch.randn(2, 9, 3)
    with torch.no_grad():
        whole, *expected = model(x, *states)
        pieces = []
        for piece in x.split([1, 1, 4, 3], 1):
            result, *states = model(piece, *states)
            pieces.append(result)
    assert torch.equal(torch.cat(pieces, 1), whole)
    assert all(torch.equal(one, other) for one, other in zip(states, expected, strict=True))


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


HH_DYNAMIC = PtqConfig(LayerConfig(bits=4), {"*.hh": {"ranges": "dynamic"}})


@pytest.mark.parametrize(
    ("config", "weights"),
    [(CONFIGS["w4a8 dynamic"], "values"), (CONFIGS["w8a8 dynamic"], "steps"), (HH_DYNAMIC, "steps")],
    ids=["w4", "w8", "hh"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_fake_quantization_of_dynamic_layers_is_the_reference(kind: str, config: PtqConfig, weights: str) -> None:
    found = quantized(enhancer(kind, bidirectional=True), config, inputs())
    assert isinstance(found.layers["rnn.l0.hh"], DynamicLinear)
    trained = TrainableNetwork.of(found, QatOptions(weights=weights))
    x = inputs(4)[3]
    with torch.no_grad():
        assert_near(trained.model(x), found.model()(x), config)
        parts = [*trained.components(), *trained.scales()]
        for parameter in (parameter for part in parts for parameter in part.parameters.values()):
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        converted = trained.converted()
        assert [type(layer) for layer in converted.layers.values()] == [type(layer) for layer in found.layers.values()]
        assert_near(trained.model(x), converted.model()(x), config)
        assert float((trained.model(x) - found.model()(x)).abs().max()) > 1e-3


def assert_near(found: Tensor, expected: Tensor, config: PtqConfig) -> None:
    if config is not HH_DYNAMIC:
        # Nothing but integers and the same operations on floats.
        assert torch.equal(found, expected)
        return
    difference = (found - expected).abs()
    assert float(difference.median()) < 1e-5 and float(difference.mean()) < 0.01 * float(expected.abs().mean())


def test_gradients_reach_all_that_is_learned_of_dynamic_layers() -> None:
    trained = TrainableNetwork.of(quantized(enhancer("lstm"), HH_DYNAMIC, inputs()))
    parts = [*trained.components(), *trained.scales()]
    names = {part.name for part in parts}
    assert {"rnn.l0.hh weight", "rnn.l0.hh scales", "mask scales"} <= names
    trained.model(inputs()[0]).square().sum().backward()
    for part in parts:
        # Zero points learn from clipped values alone, of which there may be none.
        learned = [value for name, value in part.parameters.items() if name != "shift"]
        assert all(value.grad is not None and value.grad.any() for value in learned), part.name


def test_what_each_layer_loses_is_told_of_recurrent_products_too() -> None:
    found = quantized(enhancer("gru", bidirectional=True), CONFIGS["w4a8 static"], inputs())
    lost = divergence(found, TensorData(inputs(2)))
    assert lost.sqnr_db.keys() == found.layers.keys()
    assert all(5 < ratio < 60 for ratio in lost.sqnr_db.values()), lost.sqnr_db
    seen: dict[str, Tensor] = {}
    model = found.model()
    model.taps["rnn.l0.reverse.hh"] = SeenTap(None, lambda x: seen.update(products=x))
    model.slot("rnn.l0.reverse.hh").product.register_forward_hook(lambda *call: seen.setdefault("last time", call[2]))
    with torch.no_grad():
        model(inputs()[0])
    assert seen["products"].shape == (2, 12, 21)
    assert torch.equal(seen["products"][:, -1], seen["last time"])


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


def test_ranges_cover_initial_states_from_outside() -> None:
    torch.manual_seed(0)
    network = WithState(nn.GRU(3, 5, batch_first=True)).eval()
    data = [(torch.randn(2, 4, 3), 3 + torch.rand(1, 2, 5)) for _ in range(3)]
    config = PtqConfig(observer="minmax")
    grid = quantized(network, config, data, output=0).activations["rnn.l0.h"]
    largest = max(float(state.max()) for _, state in data)
    torch.testing.assert_close(float((grid.spec.qmax - grid.zero_point) * grid.scale), largest, rtol=0.01, atol=0)
