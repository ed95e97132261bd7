"""Quantization-aware training: it begins and ends at the integers that run, learns, and goes on after it was killed."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kaldi_quant.cli.main import run
from kaldi_quant.cli.qat import _check
from kaldi_quant.cli.qat_options import QatArguments
from kaldi_quant.errors import UsageError
from kaldi_quant.formats.artefact import load
from kaldi_quant.kaldi.model import Model
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.training.feature_source import FeatureOptions, FeatureSource
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.train.distillation import Distillation
from kaldi_quant.train.loop import LoopOptions
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.parallel.device_context import DeviceContext
from kaldi_quant.train.parallel.distributed import Group
from kaldi_quant.train.qat.fake_grid import FakeGrid
from kaldi_quant.train.qat.network import TrainableNetwork
from kaldi_quant.train.qat.options import QatOptions
from kaldi_quant.train.qat.training import train_quantized
from kaldi_quant.train.schedules import Exponential
from tests.train.fake_quantized import OPTIONS, SUBSAMPLING, assert_same, divergence, rows

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def start(model: Model, utterances: list[tuple[str, np.ndarray]]) -> QuantizedNetwork:
    config = PtqConfig(LayerConfig(bits=2, method="gptq", symmetric=False), {"@input": {"bits": 8}})
    return quantize(model.nnet, config, UtteranceSet(utterances[:8], OPTIONS))


def train(
    model: Model,
    start: QuantizedNetwork,
    utterances: list[tuple[str, np.ndarray]],
    folder: Path,
    stop_after: int | None = None,
    learned: bool = True,
    freeze_after: float = 0.8,
) -> tuple[TrainableNetwork, QuantizedNetwork | None]:
    network = TrainableNetwork.of(start, QatOptions("lsq" if learned else "fixed"))
    source = FeatureSource(
        utterances[:8],
        Distillation(AcousticModel(model.nnet)),
        FeatureOptions(4, 2),
        SUBSAMPLING,
        utterances[12:],
    )
    loop = LoopOptions(OptimizerOptions("adam", warm_up=16), average_last=2, schedule=Exponential(4e-4, 1e-4))
    options = QatOptions("lsq" if learned else "fixed", freeze_after)
    return network, train_quantized(network, model, source, options, loop, folder, {}, stop_after)


def test_scales_do_not_decay(start: QuantizedNetwork) -> None:
    network = TrainableNetwork.of(start)
    assert network.scales() and not any(part.decays for part in network.scales())
    assert all(part.decays for part in network.components())


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("name", ["model", "tdnnf"])
def test_training_begins_at_the_very_integers_of_quantization_after_training(
    name: str, bits: int, request: pytest.FixtureRequest, utterances: list[tuple[str, np.ndarray]]
) -> None:
    config = PtqConfig(LayerConfig(bits=bits, method="gptq", symmetric=bits != 2))
    data = UtteranceSet(utterances[:4], OPTIONS)
    quantized = quantize(request.getfixturevalue(name).nnet, config, data)
    network = TrainableNetwork.of(quantized)
    for layer, integers in network.converted().layers.items():
        assert torch.equal(integers.weight.integers, quantized.layers[layer].weight.integers), layer
        assert torch.equal(integers.weight.scale, quantized.layers[layer].weight.scale), layer
        assert int((integers.bias - quantized.layers[layer].bias).abs().max()) <= 1, layer
    assert_same(rows(network.model, utterances[:2]), rows(quantized.model(), utterances[:2]))


def test_the_trained_network_is_the_one_that_runs_in_integers(
    model: Model, start: QuantizedNetwork, utterances: list[tuple[str, np.ndarray]], tmp_path: Path
) -> None:
    network, trained = train(model, start, utterances, tmp_path)
    assert trained is not None
    changed = sum(
        int((layer.weight.integers != start.layers[name].weight.integers).sum())
        for name, layer in trained.layers.items()
    )
    assert changed > 100
    assert any(
        not torch.equal(layer.weight.scale, start.layers[name].weight.scale) for name, layer in trained.layers.items()
    )
    assert any(not torch.equal(grid.scale, start.activations[name].scale) for name, grid in trained.activations.items())
    fake, integer = rows(network.model, utterances[12:]), rows(trained.model(), utterances[12:])
    assert_same(fake, integer)
    before = divergence(model, start.model(), utterances[12:])
    assert divergence(model, trained.model(), utterances[12:]) < 0.8 * before
    record = json.loads((tmp_path / "progress.json").read_text())
    assert record["result"]["valid"]["kl"] < 0.8 * record["iterations"][0]["valid"]["kl"]
    assert (tmp_path / "objective.png").stat().st_size > 1000


def test_a_killed_training_goes_on_to_the_same_bits(
    model: Model, start: QuantizedNetwork, utterances: list[tuple[str, np.ndarray]], tmp_path: Path
) -> None:
    _, whole = train(model, start, utterances, tmp_path / "whole")
    _, nothing = train(model, start, utterances, tmp_path / "killed", stop_after=2)
    _, resumed = train(model, start, utterances, tmp_path / "killed")
    assert nothing is None and whole is not None and resumed is not None
    for name, layer in whole.layers.items():
        other = resumed.layers[name]
        assert torch.equal(layer.weight.integers, other.weight.integers)
        assert torch.equal(layer.weight.scale, other.weight.scale)
        assert torch.equal(layer.bias, other.bias)
    for name, grid in whole.activations.items():
        assert torch.equal(grid.scale, resumed.activations[name].scale)
        assert torch.equal(grid.zero_point, resumed.activations[name].zero_point)


def test_fixed_scales_stay(
    model: Model, start: QuantizedNetwork, utterances: list[tuple[str, np.ndarray]], tmp_path: Path
) -> None:
    for learned, freeze_after in ((False, 0.8), (True, 0.0)):
        _, trained = train(model, start, utterances, tmp_path / str(learned), None, learned, freeze_after)
        assert trained is not None
        for name, layer in trained.layers.items():
            # A row of next to nothing has the scale that its bias leaves it.
            rows_used = (start.layers[name].weight.scale > 1e-6)[:, 0]
            assert torch.equal(layer.weight.scale[rows_used], start.layers[name].weight.scale[rows_used]), name
        for name, grid in trained.activations.items():
            assert torch.equal(grid.scale, start.activations[name].scale), name


def fake_grid(bits: int = 3, signed: bool = True, symmetric: bool = True, scale: float = 0.5) -> FakeGrid:
    grid = Grid(
        QSpec(bits, signed=signed, symmetric=symmetric), torch.tensor(scale), torch.tensor(0 if symmetric else 2)
    )
    return FakeGrid(grid, elements=4)


def test_values_beyond_the_grid_have_no_gradient_and_the_scale_has_that_of_lsq() -> None:
    fake = fake_grid()
    x = torch.tensor([-9.0, -0.6, 0.1, 0.6, 9.0], requires_grad=True)
    fake(x).sum().backward()
    assert x.grad is not None and fake.ratio is not None and fake.ratio.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1, 0]
    # LSQ, equation 3: Qn and Qp where the value is clipped, else round(v) - v for v = x / s.
    inside = [value / 0.5 for value in (-0.6, 0.1, 0.6)]
    slope = -fake.spec.qmax + sum(round(v) - v for v in inside) + fake.spec.qmax
    if fake.spec.qmin != -fake.spec.qmax:
        slope = fake.spec.qmin + sum(round(v) - v for v in inside) + fake.spec.qmax
    # The parameter is the logarithm of the scale, its gradient damped by 1 / sqrt(N Qp).
    assert float(fake.ratio.grad) == pytest.approx(slope * 0.5 / math.sqrt(4 * fake.spec.qmax), rel=1e-5)


def test_the_zero_point_learns_from_clipped_values_alone() -> None:
    fake = fake_grid(symmetric=False, signed=False)
    assert fake.shift is not None
    fake(torch.tensor([0.2, 0.4])).sum().backward()
    assert fake.shift.grad is not None and float(fake.shift.grad) == 0
    fake(torch.tensor([99.0])).sum().backward()
    # A higher zero point lowers the value at the upper end.
    assert float(fake.shift.grad) < 0


@pytest.mark.parametrize("shift", [-5.0, 0.0, 0.3, 5.0])
def test_the_zero_point_stays_an_integer_of_the_grid(shift: float) -> None:
    fake = fake_grid(symmetric=False, signed=False)
    assert fake.shift is not None
    with torch.no_grad():
        fake.shift.fill_(shift)
    zero_point = fake.grid().zero_point
    assert zero_point.dtype == torch.int32
    assert fake.spec.qmin <= int(zero_point) <= fake.spec.qmax
    assert float(fake(torch.zeros(1)).detach()) == 0


def test_fake_quantization_is_the_grid_s_own(utterances: list[tuple[str, np.ndarray]]) -> None:
    for bits in (2, 4, 8):
        for symmetric in (True, False):
            fake = fake_grid(bits, signed=symmetric, symmetric=symmetric, scale=0.37)
            x = torch.from_numpy(utterances[0][1])
            assert torch.equal(fake(x), fake.grid().fake(x))


@pytest.mark.parametrize(("method", "freeze_after"), [("lsq+", 0.5), ("lsq", 1.5)])
def test_impossible_options(method: str, freeze_after: float) -> None:
    with pytest.raises(UsageError, match=r"--method|--freeze-after"):
        QatOptions(method, freeze_after)


def test_the_verb_makes_an_integer_model(example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (example / "data/train_sub_hires/feats.scp").read_text().splitlines(keepends=True)
    (tmp_path / "feats.scp").write_text("".join(lines[:4]).replace("data/", f"{example}/data/"))
    chain = example / "exp/chain/tdnn1a_sp"
    command = ["qat", "--bits=4", "--num-epochs=2", "--minibatch-size=8", f"--held-out=scp:{tmp_path}/feats.scp"]
    places = [str(chain / "final.mdl"), f"scp:{tmp_path}/feats.scp", str(tmp_path / "out")]
    config = tmp_path / "plain.yaml"
    config.write_text("default: {bits: 4, method: mse}\n")
    command.remove("--bits=4")
    command.append(f"--config={config}")
    assert run([*command, *places]) == 0
    artefact = load(tmp_path / "out/quantized.safetensors")
    assert artefact.record["training"]["qat"] == {"method": "lsq", "freeze_after": 0.8}
    assert artefact.record["training"]["teaching"]["distillation"] == 1
    assert "weights" not in artefact.record["training"]["teaching"]
    capsys.readouterr()
    for options, message in (
        (["--distillation=0.5"], "--distillation 0.5: without --egs-dir, distillation is all there is to train on"),
        (["--method=sgd"], "--method 'sgd' is not one of lsq, fixed"),
        (["--method=recomputed"], "--method recomputed finds scales from weights in float"),
        (["--teacher=none.mdl"], "none.mdl"),
        (["--egs-dir=none"], "--held-out has no effect with --egs-dir"),
        (["--egs-dir=none", "--held-out="], "none has no examples"),
        (
            ["--egs-dir=none", "--held-out=", "--distillation=0", "--teacher=a.mdl"],
            "--teacher a.mdl: it has no effect with --distil",
        ),
        (["--minibatch-size=1:64"], "--minibatch-size 1:64: expected a single number"),
        (["--temperature=0"], "--temperature 0"),
        (["--warm-up=-1"], "--warm-up -1: expected a number of steps"),
        (["--lr-initial=1e-9"], "--lr-initial 1e-09 and --lr-final"),
    ):
        assert run([*command, *options, *places]) != 0
        error = capsys.readouterr().err.strip().splitlines()
        assert message in error[-1], (options, error)


def test_utterances_are_not_compared_within_shares_of_a_minibatch() -> None:
    arguments = QatArguments(None, 1.0, 2.0, 0.0, None, None, "lsq", 0.8, "steps")
    _check(arguments, None, DeviceContext(), "64")
    with pytest.raises(UsageError, match=r"^--hard-weight needs a whole minibatch in one process"):
        _check(arguments, None, DeviceContext(group=Group(1, 2)), "64")


def test_a_network_is_told_from_others(start: QuantizedNetwork) -> None:
    from kaldi_quant.train.qat.training import start_digest

    other = replace(start, layers=dict(start.layers))
    name, layer = next(iter(start.layers.items()))
    weight = replace(layer.weight, integers=layer.weight.integers.clone())
    weight.integers[0, 0] ^= 1
    other.layers[name] = replace(layer, weight=weight)
    assert start_digest(start) == start_digest(replace(start))
    assert start_digest(start) != start_digest(other)
