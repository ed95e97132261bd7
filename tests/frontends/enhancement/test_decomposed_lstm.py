"""LSTMs taken apart beside torch's own."""

import pytest
import torch
from torch import nn

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.enhancement.networks.decomposed_lstm import DecomposedLSTM, replace_lstm

OPTIONS = {"batch first": {"batch_first": True}, "time first": {}, "no bias": {"bias": False}}


@pytest.mark.parametrize("separate_weights", [False, True])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_it_is_the_lstm(options: dict[str, bool], separate_weights: bool) -> None:
    torch.manual_seed(1)
    lstm = nn.LSTM(4, 3, 2, **options)
    x = torch.randn(5, 6, 4)
    state = (torch.randn(2, 5 if lstm.batch_first else 6, 3), torch.randn(2, 5 if lstm.batch_first else 6, 3))
    within = nn.Sequential(lstm)
    found = replace_lstm(within, separate_weights)
    assert isinstance(within[0], nn.LSTM)
    with torch.no_grad():
        for given in (None, state):
            expected, after = lstm(x, given)
            output, states = found[0](x, given)
            torch.testing.assert_close(output, expected, rtol=0, atol=1e-6)
            for one, other in zip(states, after, strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_eight_pairs_of_parameters() -> None:
    names = {name for name, _ in DecomposedLSTM(4, 3, separate_weights=True).named_parameters()}
    assert names == {f"gate_{read}{gate}.{kind}" for read in "ih" for gate in "ifgo" for kind in ("weight", "bias")}
    assert [tuple(x.shape) for x in DecomposedLSTM(4, 3).parameters()] == [(12, 7), (12,)]


@pytest.mark.parametrize("options", [{"bidirectional": True}, {"proj_size": 2}, {"num_layers": 2, "dropout": 0.1}])
def test_others_are_not_taken_apart(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="is not taken apart"):
        replace_lstm(nn.LSTM(4, 3, **options))
