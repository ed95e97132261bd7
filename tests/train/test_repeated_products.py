"""What a recurrence's product makes of its weights is made once for all times."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kaldi_quant.quant.repeated import Repeated, repeated
from kaldi_quant.train.qat import fake_grid
from kaldi_quant.train.qat.network import TrainableNetwork
from tests.torchnn.recurrent_networks import CONFIGS, enhancer, inputs, quantized

torch.set_num_threads(1)


class _Counted(Repeated):
    """Multiplies by a number that it counts."""

    made = 0

    def forward(self, x: Tensor) -> Tensor:
        return x * self.once(self._number)

    def _number(self) -> int:
        self.made += 1
        return self.made


def test_once_within_and_always_outside() -> None:
    product, one = _Counted(), torch.ones(())
    assert [int(product(one)) for _ in range(2)] == [1, 2]
    for first in (3, 4):
        with repeated(product):
            assert [int(product(one)) for _ in range(3)] == [first] * 3
    with pytest.raises(ZeroDivisionError), repeated(product):
        product(one / (1 // 0))
    assert int(product(one)) == 5
    with repeated(None):
        pass


@pytest.mark.parametrize("config", ["w4a8 static", "w8a8 dynamic"])
def test_weights_are_rounded_once_for_all_times(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = TrainableNetwork.of(quantized(enhancer("gru"), CONFIGS[config], inputs()))
    product, x = trained.model.slot("rnn.l0.hh").product, inputs()[0]
    calls: list[int] = []
    rounded = fake_grid.FakeGrid.rounded

    def counted(self: fake_grid.FakeGrid, steps: Tensor) -> Tensor:
        calls.append(id(self))
        return rounded(self, steps)

    monkeypatch.setattr(fake_grid.FakeGrid, "rounded", counted)
    results = []
    for is_once in (True, False):
        if not is_once:
            monkeypatch.setattr(Repeated, "once", lambda _, make: make())
        calls.clear()
        trained.components(), trained.scales()
        trained.model.zero_grad()
        output = trained.model(x)
        output.square().sum().backward()
        # There are twelve times.
        assert calls.count(id(product.grid)) == (1 if is_once else 12)
        results.append((output.detach(), product.trained.steps.grad.clone()))
    (output, gradient), (expected, expected_gradient) = results
    assert torch.equal(output, expected)
    assert gradient.any()
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))
