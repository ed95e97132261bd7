"""Networks for speech enhancement: sizes that are published, and what they may not see."""

import pytest
import torch

from kaldi_quant.frontends.enhancement.networks.crn import CRN
from kaldi_quant.frontends.enhancement.networks.known import NETWORKS

SIZES = {"crn": 17_579_459, "crn-100k": 99_944, "tcn-100k": 101_882, "stft-tcnn": 1_603_584}
CAUSAL = ("crn-100k", "tcn-100k", "stft-tcnn-causal")


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_networks_have_as_many_parameters_as_published(name: str, size: int) -> None:
    assert sum(value.numel() for value in NETWORKS[name].build().parameters()) == size


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "crn"])
def test_networks_give_a_mask_for_each_bin(name: str) -> None:
    kind = NETWORKS[name]
    network = kind.build().eval()
    spectrum = kind.around.stft.spectrum(torch.randn(2, 4000))
    with torch.no_grad():
        found = network(kind.around.inputs(spectrum))
    assert found.shape == kind.around.inputs(spectrum).shape
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "crn"])
def test_waves_come_back_as_long_as_they_were(name: str) -> None:
    kind = NETWORKS[name]
    with torch.no_grad():
        assert kind.around.enhance(kind.build().eval(), torch.randn(1, 4001)).shape == (1, 4001)


def test_magnitudes_begin_as_those_of_speech_lie() -> None:
    torch.manual_seed(0)
    network = CRN(33, (4, 8), 1, (4, 1), mask=False).train()
    found = network(torch.rand(2, 40, 33))
    assert found.median() < 0.05
    assert found.max() > 1


@pytest.mark.parametrize("name", CAUSAL)
def test_causal_networks_see_no_later_frame(name: str) -> None:
    kind = NETWORKS[name]
    network = kind.build().eval()
    axis = 1 if kind.around.layout == "frames-bins" else 2
    spectrum = kind.around.inputs(kind.around.stft.spectrum(torch.randn(1, 8000)))
    other = spectrum.clone()
    other.narrow(axis, 30, other.shape[axis] - 30).mul_(2)
    with torch.no_grad():
        before, after = (network(x).narrow(axis, 0, 30) for x in (spectrum, other))
    torch.testing.assert_close(before, after)
