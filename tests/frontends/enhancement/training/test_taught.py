"""Targets that a float network makes."""

import torch

from kaldi_quant.frontends.enhancement.networks.known import NETWORKS
from kaldi_quant.frontends.enhancement.networks.tcn import TCN
from kaldi_quant.frontends.enhancement.training.losses import loss_of
from kaldi_quant.frontends.enhancement.training.minibatches import TrainingBatches
from kaldi_quant.frontends.enhancement.training.taught import TaughtBatches
from tests.frontends.enhancement.training.sounds import Pair, Train, pair

AROUND = NETWORKS["tcn-100k"].around


class Uneven(Train):
    def item(self, index: int, number_of_pass: int) -> Pair:
        return pair(index, self.samples - 500 * index)


def test_the_teacher_has_no_error_and_others_have() -> None:
    torch.manual_seed(1)
    teacher, other = (TCN(channels=(4, 6)).eval() for _ in range(2))
    clean = TrainingBatches(Uneven(), AROUND, batch_size=3, seconds=0.3, portions=2)
    taught, loss = TaughtBatches(clean, AROUND, teacher), loss_of("wave-mse", AROUND)
    assert len(taught) == len(clean) == 1 and taught.digest() != clean.digest()
    for number in range(2):
        ((inputs, target),), ((same, noisy),) = (list(found.minibatches(number)) for found in (taught, clean))
        assert torch.equal(inputs, same) and torch.equal(target.noisy, noisy.noisy)
        assert not torch.equal(target.clean, noisy.clean)
        with torch.no_grad():
            assert float(loss(teacher(inputs), target)) < 1e-12 < float(loss(other(inputs), target))
        assert target.samples.min() < target.samples.max() == target.clean.shape[1]
        for wave, samples in zip(target.clean, target.samples, strict=True):
            assert not wave[samples:].any()
