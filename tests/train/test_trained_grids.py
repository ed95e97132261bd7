"""Grids in training: LSQ's and LSQ+'s gradients by hand, one scale for a weight, ranges that follow minibatches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import kaldi_quant as kq
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.errors import UsageError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.grid import Grid, same_grid
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.torchnn.batches import Batches
from kaldi_quant.train.loop import LoopOptions
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.qat.fake_grid import FakeGrid
from kaldi_quant.train.qat.float_offsets import FloatOffsetGrid
from kaldi_quant.train.qat.network import TrainableNetwork
from kaldi_quant.train.qat.options import QatOptions
from kaldi_quant.train.qat.recomputed import FollowedRange, followed_grids
from kaldi_quant.train.qat.training import train_quantized
from kaldi_quant.train.schedules import Constant

torch.set_num_threads(1)

PLAIN = LayerConfig(method="minmax", per_channel=False)
#: Of all values one grid, zero anywhere.
BY_TENSOR = PtqConfig(PLAIN, observer="minmax", fold="none")


class Gated(nn.Module):
    """Two paths that a layer reads side by side, and an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(6, 4)
        self.rnn = nn.LSTM(12, 5, batch_first=True)
        self.last = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([functional.elu(self.first(x)), torch.tanh(self.second(x))], -1)
        return self.last(self.rnn(both)[0])


@pytest.fixture(scope="module")
def network() -> Gated:
    torch.manual_seed(3)
    return Gated().eval()


def noise(number: int, size: float = 1.0) -> list[Tensor]:
    random = torch.Generator().manual_seed(number)
    return [size * torch.randn(3, 12, 6, generator=random) for _ in range(number)]


def start_of(network: nn.Module, config: PtqConfig = BY_TENSOR) -> Quantized:
    return kq.quantize(network, config, calibration=noise(4))


# In steps from the offset: below the grid, within it, and above; the integers go from -2 to 1.
_PLACES = torch.tensor([-3.4, -1.6, -0.2, 0.4, 1.3, 2.8])
_INSIDE = torch.tensor([False, True, True, True, True, False])


def test_gradients_are_those_of_lsq_plus() -> None:
    # Two bits, zero point 1: integers 0 to 3, of which 2 is the middle, worth (2 - 1) * scale.
    grid = Grid(QSpec(2, signed=False, symmetric=False), torch.tensor(0.5), torch.tensor(1, dtype=torch.int32))
    fake = FloatOffsetGrid(grid, elements=6)
    scale, offset = 0.5, 0.5
    x = (_PLACES * scale + offset).requires_grad_()
    upstream = torch.tensor([1.0, -2.0, 3.0, 0.5, -1.5, 4.0])
    found = fake(x)
    torch.testing.assert_close(found, torch.tensor([-2.0, -2.0, 0.0, 0.0, 1.0, 1.0]) * scale + offset)
    found.backward(upstream)
    # Equations of the paper, each worked out here: the rounding has the slope 1 inside and 0 outside.
    torch.testing.assert_close(x.grad, upstream * _INSIDE)
    slope = torch.tensor([-2.0, -2 + 1.6, 0.2, -0.4, 1 - 1.3, 1.0])
    of_scale, of_offset = float((upstream * slope).sum()), float((upstream * ~_INSIDE).sum())
    # 1 / sqrt(N Qp), N = 6 and Qp = 1; parameters are the scale's logarithm, and the offset in shares of the range.
    damped = 6**-0.5
    assert fake.ratio is not None and fake.shift is not None
    torch.testing.assert_close(fake.ratio.grad, torch.tensor(of_scale * scale * damped))
    torch.testing.assert_close(fake.shift.grad, torch.tensor(of_offset * 3 * scale * damped))


def test_zero_points_learn_by_the_same_equations() -> None:
    grid = Grid(QSpec(2, signed=False, symmetric=False), torch.tensor(0.5), torch.tensor(1, dtype=torch.int32))
    fake = FakeGrid(grid, elements=6)
    # The integers less the zero point go from -1 to 2.
    x = torch.tensor([-1.8, -0.9, 0.2, 1.4, 2.3, 3.1]).mul(0.5).requires_grad_()
    upstream = torch.tensor([1.0, -2.0, 3.0, 0.5, -1.5, 4.0])
    fake(x).backward(upstream)
    slope = torch.tensor([-1.0, -1 + 0.9, -0.2, 1 - 1.4, 2 - 2.3, 2.0])
    outside = torch.tensor([True, False, False, False, False, True])
    damped = (6 * 3) ** -0.5
    assert fake.ratio is not None and fake.shift is not None
    torch.testing.assert_close(fake.ratio.grad, (upstream * slope).sum() * 0.5 * damped)
    # One more of the zero point moves what is clamped down by a step.
    torch.testing.assert_close(fake.shift.grad, -(upstream * outside).sum() * 0.5 * 3 * damped)


def test_an_offset_begins_where_the_data_lie_and_snaps_to_the_nearest_zero_point() -> None:
    grid = Grid.from_range(QSpec(8, signed=False, symmetric=False), torch.tensor(-1.0), torch.tensor(3.0))
    fake = FloatOffsetGrid(grid, elements=4)
    x = torch.linspace(-1.5, 3.5, 50)
    torch.testing.assert_close(fake(x), grid.fake(x))
    assert torch.equal(fake.grid().zero_point, grid.zero_point)
    torch.testing.assert_close(fake.grid().scale, grid.scale)
    # By 0.4 of a step: the zero point stays; by 1.4, it is the next one; beyond zero, the grid becomes wider.
    for steps, expected in ((0.4, 0), (1.4, -1)):
        with torch.no_grad():
            fake.shift.fill_(steps / 255)
        assert int(fake.grid().zero_point - grid.zero_point) == expected
        assert float(fake.offset.detach()) == pytest.approx(
            float((128 - grid.zero_point) * grid.scale + steps * grid.scale)
        )
    with torch.no_grad():
        fake.shift.fill_(0.5)
    assert int(fake.grid().zero_point) == 0 and float(fake.grid().scale) > float(grid.scale)


def test_symmetric_activations_have_zero_in_the_middle() -> None:
    spec = LayerConfig(act_bits=8, act_symmetric=True).activation_spec(signed=False)
    grid = Grid.from_range(spec, torch.tensor(-0.5), torch.tensor(2.54))
    assert int(grid.zero_point) == 128 and float(grid.scale) == pytest.approx(0.02)
    assert grid.quantize(torch.tensor([-9.0, 0.0, 2.54, 9.0])).tolist() == [0, 128, 255, 255]
    with pytest.raises(UsageError, match="a grid that is found anew has a fitted zero point"):
        LayerConfig(act_symmetric=True, ranges="dynamic")
    with pytest.raises(UsageError, match="centred is for unsigned grids"):
        QSpec(8, centred=True)


def test_a_grid_is_symmetric_only_if_all_of_its_readers_ask_for_it(network: nn.Module, tmp_path: Path) -> None:
    config = PtqConfig(LayerConfig(act_symmetric=True), {"last": {"act_symmetric": False}})
    found = start_of(network, config)
    specs = {name: grid.spec for name, grid in found.network.activations.items()}
    assert not specs["rnn.l0.h"].centred and specs["elu"].centred and specs["tanh"].centred
    kq.save(found, tmp_path / "network.safetensors")
    loaded = kq.load(tmp_path / "network.safetensors")
    assert {name: grid.spec for name, grid in loaded.network.activations.items()} == specs
    x = noise(1)
    for (_, one), (_, other) in zip(found.outputs(x), loaded.outputs(x), strict=True):
        assert (one == other).all()


def test_a_weight_has_one_scale_after_training_if_it_had_one_before(network: nn.Module) -> None:
    trainable = TrainableNetwork.of(start_of(network).network, QatOptions(weights="values"))
    for part in [*trainable.components(), *trainable.scales()]:
        for parameter in part.parameters.values():
            with torch.no_grad():
                parameter += 0.05 * torch.randn_like(parameter)
    assert {product.grid.ratio.shape for product in trainable.products.values()} == {torch.Size([])}
    fake, integers = trainable.model, trainable.converted()
    for name, layer in integers.layers.items():
        assert len(layer.weight.scale.unique()) == 1, name
        assert not torch.equal(layer.weight.scale, trainable.start.layers[name].weight.scale), name
    x = noise(1)[0]
    torch.testing.assert_close(fake(x), integers.model()(x), rtol=0, atol=1e-5)


def test_a_row_of_zeros_keeps_a_scale_of_its_own_for_its_bias() -> None:
    network = nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    with torch.no_grad():
        network[2].weight[0] = 0.0
        network[2].bias[0] = 0.7
    trainable = TrainableNetwork.of(start_of(network, PtqConfig(replace(PLAIN, bits=3))).network)
    grid = trainable.products["2"].grid
    assert grid.scale[0] < 1e-3 < grid.scale[1] and grid.ratio.shape == ()
    x = noise(1)[0]
    torch.testing.assert_close(trainable.model(x), trainable.start.model()(x), rtol=0, atol=1e-5)


def test_recomputed_scales_are_those_of_weights_and_minibatches(network: nn.Module) -> None:
    options = QatOptions("recomputed", weights="values")
    trainable = TrainableNetwork.of(start_of(network).network, options)
    assert not trainable.scales()
    x = noise(1, size=3.0)[0]
    seen = {}
    hook = trainable.model.taps["elu"].register_forward_hook(lambda _, given, result: seen.update(x=given[0], y=result))
    trainable.model(x)
    hook.remove()
    values = seen["x"]
    # The grid is that of this minibatch, joined with what the other node of the group had before.
    before = trainable.start.activations["elu"]
    low, high = (((end - before.zero_point) * before.scale) for end in (0, 255))
    expected = Grid.from_range(before.spec, torch.minimum(values.min(), low), torch.maximum(values.max(), high))
    torch.testing.assert_close(seen["y"], expected.fake(values))
    with torch.no_grad():
        trainable.products["last"].trained.weight[0, 0] = 7.0
    assert torch.unique(trainable.products["last"].grid.scale).tolist() == [pytest.approx(7 / 127)]
    # Without gradients, training computes what the network in integers will.
    with torch.no_grad():
        torch.testing.assert_close(trainable.model(x), trainable.converted().model()(x), rtol=0, atol=1e-5)


def test_ranges_become_averages_and_freeze() -> None:
    spec = QSpec(8, signed=False, symmetric=False)
    grid = Grid.from_range(spec, torch.tensor(-1.0), torch.tensor(1.0))
    grids = followed_grids(grid, ["one", "other", "state"], ["state"])
    one, state = grids["one"], grids["state"]
    assert torch.equal(one.grid().scale, grid.scale) and torch.equal(one.grid().zero_point, grid.zero_point)
    x = torch.linspace(-4, 4, 9)[:, None]
    assert float(one(x).max()) == pytest.approx(4.0, abs=0.02)
    # A tenth of the way from 1 to 4.
    assert float(one.grid().scale) * 255 == pytest.approx(2 * 1.3, rel=0.01)
    assert torch.equal(grids["other"].scale, one.scale)
    assert float(state(x).max()) == pytest.approx(1.3, abs=0.02)
    one.followed.frozen = True
    before = one.grid()
    assert float(one(x).max()) == pytest.approx(1.3, abs=0.02)
    assert torch.equal(one.grid().scale, before.scale)
    followed = FollowedRange(grid, 1)
    assert torch.equal(followed.see(0, torch.zeros(0, 3)).scale, grid.scale)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "recomputed"}, "--weights steps trains none: choose --weights values"),
        ({"method": "fixed", "offsets": "floats"}, "offsets 'floats' are learned with scales"),
        ({"offsets": "beta"}, "offsets 'beta' is not one of integers, floats"),
    ],
)
def test_options_that_cannot_be(values: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        QatOptions(**values)


def test_only_pytorch_follows_moving_averages(network: nn.Module) -> None:
    with pytest.raises(UsageError, match="'moving-average' is not one of lsq, fixed, recomputed"):
        kq.qat(start_of(network), noise(1), method="moving-average")


def test_a_killed_training_goes_on_with_its_ranges(network: nn.Module, tmp_path: Path) -> None:
    start = start_of(network).network
    options = QatOptions("recomputed", freeze_after=0.6, weights="values")
    loop = LoopOptions(OptimizerOptions(max_param_change=0.0), average_last=1, schedule=Constant(1e-3))
    batches = [(x, network(x).detach()) for x in noise(3)]

    def trained(folder: str, stop_after: int | None = None) -> QuantizedNetwork | None:
        trainable, source = TrainableNetwork.of(start, options), Batches(batches, functional.mse_loss, 5)
        return train_quantized(trainable, start.host, source, options, loop, tmp_path / folder, {}, stop_after)

    whole = trained("whole")
    assert trained("killed", 2) is None
    resumed = trained("killed")
    assert whole is not None and resumed is not None
    for name, grid in whole.activations.items():
        assert same_grid(grid, resumed.activations[name]), name
    assert not same_grid(whole.activations["elu"], start.activations["elu"])


TRAININGS = {
    "learned": {"weights": "values", "offsets": "floats"},
    "recomputed": {"weights": "values", "method": "recomputed"},
}


@pytest.mark.parametrize("training", TRAININGS)
def test_trainings_learn(training: str, network: nn.Module, tmp_path: Path) -> None:
    start = start_of(network)
    batches = [(x, network(x).detach() * 1.3) for x in noise(6, size=1.5)]

    rates = {"lr_initial": 3e-3, "lr_final": 1e-3, "epochs": 6}
    whole = kq.qat(start, batches, loss=functional.mse_loss, held_out=batches[:2], **rates, **TRAININGS[training])
    x, wanted = batches[0]
    before, after = (functional.mse_loss(found.network.model()(x), wanted) for found in (start, whole))
    assert after < 0.5 * before
    for name, layer in whole.network.layers.items():
        assert not torch.equal(layer.weight.scale, start.network.layers[name].weight.scale), name
    moved = [
        name
        for name, grid in whole.network.activations.items()
        if not torch.equal(grid.scale, start.network.activations[name].scale)
    ]
    # The input's columns have scales that are multiplied into weights, and stay; so does what is within a recurrence.
    stays = {"learned": {"x"}, "recomputed": {"x", "rnn.l0.h"}}[training]
    assert set(whole.network.activations) - set(moved) == stays
    if training == "learned":
        snapped = whole.notes["snapping"]
        assert snapped["offsets"] == 2 and 0 < snapped["distance"] < snapped["of_float"]
        kq.save(whole, tmp_path / "network.safetensors")
        assert kq.load(tmp_path / "network.safetensors").record["snapping"] == snapped
    else:
        assert "snapping" not in whole.notes
