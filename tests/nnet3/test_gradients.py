"""Gradients flow through networks of every kind, and are right."""

import pytest
import torch
from torch import Tensor

from kaldi_quant.nnet3.model import AcousticModel
from tests.references import NNET3, load

NETWORKS = [
    "tdnnf_small",
    "tdnn_component",
    "fast_lstm",
    "fast_lstmp_decay",
    "lstm",
    "blstm_fast_lstmp",
    "gru_gates",
    "opgru",
    "rnn_sum_failover",
    "attention_optional_inputs",
    "stats_mean_stddev",
    "conv_zero_padding",
    "ivector_linear_online",
    "affine_kinds",
    "scales_and_offsets",
]


def _network(name: str) -> AcousticModel:
    return AcousticModel(load(NNET3 / name / "final.raw").nnet).double()


def _output(network: AcousticModel, feats: Tensor, ivectors: Tensor | None = None) -> Tensor:
    left, right = network.context.left, network.context.right
    times = torch.arange(0, feats.shape[1] - left - right, 3).numpy()
    return network(feats, [(-left, feats.shape[1] - left)] * len(feats), times, ivectors)


def _inputs(network: AcousticModel, frames: int) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(0)
    length = frames + network.context.left + network.context.right
    feats = torch.randn(2, length, network.input_dim, generator=generator, dtype=torch.float64)
    ivectors = torch.randn(2, network.ivector_dim, generator=generator, dtype=torch.float64)
    return feats, ivectors if network.ivector_dim else None


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    network = _network(name)
    feats, ivectors = _inputs(network, 31)
    _output(network, feats, ivectors).square().sum().backward()
    without = [key for key, values in network.named_parameters() if values.grad is None or not values.grad.any()]
    assert without == []
    assert all(torch.isfinite(values.grad).all() for values in network.parameters() if values.grad is not None)


@pytest.mark.parametrize(
    "name", ["tdnn_component", "fast_lstm", "gru_gates", "attention_optional_inputs", "stats_hand"]
)
def test_gradients_of_the_features_are_right(name: str) -> None:
    network = _network(name)
    feats, _ = _inputs(network, 7)
    feats = feats[:1].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: _output(network, x), (feats,), eps=1e-6, atol=1e-5, fast_mode=True)


@pytest.mark.parametrize("name", ["tdnnf_small", "lstm", "conv_zero_padding"])
def test_gradients_of_the_parameters_are_right(name: str) -> None:
    network = _network(name)
    feats, _ = _inputs(network, 13)
    weights = torch.randn(_output(network, feats).shape, generator=torch.Generator().manual_seed(1)).double()

    def loss() -> Tensor:
        return (_output(network, feats) * weights).sum()

    loss().backward()
    for values in network.parameters():
        assert values.grad is not None
        index = int(values.grad.abs().argmax())
        flat, analytic = values.data.view(-1), float(values.grad.view(-1)[index])
        original = float(flat[index])
        differences = []
        with torch.no_grad():
            for shifted in (original + 1e-6, original - 1e-6):
                flat[index] = shifted
                differences.append(float(loss()))
        flat[index] = original
        assert (differences[0] - differences[1]) / 2e-6 == pytest.approx(analytic, rel=1e-3, abs=1e-5)


def test_training_leaves_the_file_as_it_was() -> None:
    path = NNET3 / "fast_lstm" / "final.raw"
    network = AcousticModel(load(path).nnet)
    with torch.no_grad():
        for values in network.parameters():
            values.zero_()
    assert load(path).getvalue(binary=True) == path.read_bytes()


def test_a_changed_weight_changes_the_output_of_the_packed_product() -> None:
    """The packed copy of a weight is made again after a step of an optimizer."""
    network = AcousticModel(load(NNET3 / "tdnnf_small" / "final.raw").nnet)
    feats = _inputs(network, 13)[0].float()
    with torch.no_grad():
        before = _output(network, feats)
        assert torch.equal(before, _output(network, feats))
        for values in network.parameters():
            values.mul_(1.1)
        after = _output(network, feats)
    fresh = AcousticModel(load(NNET3 / "tdnnf_small" / "final.raw").nnet)
    fresh.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.allclose(after, _output(fresh, feats), atol=1e-5)
    assert not torch.allclose(before, after, atol=1e-2)
