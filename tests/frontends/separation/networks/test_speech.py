"""The networks of speech: sizes that are published, names of parameters, lengths, gradients."""

import pytest
import torch

from kaldi_quant.frontends.separation.networks.known import NETWORKS, Kind

SIZES = {"conv-tasnet": 5_050_545, "dptnet": 2_834_945, "sepformer": 25_679_361}
SMALL = [f"{name}-small" for name in SIZES]
#: Some parameters of each, as other programs name them, with their shapes.
NAMES = {
    "conv-tasnet": {
        "encoder.weight": (512, 1, 16),
        "masker.bottleneck.0.weight": (512,),
        "masker.TCN.23.shared_block.3.weight": (512, 1, 3),
        "masker.TCN.0.skip_conv.bias": (128,),
        "masker.mask_net.1.weight": (1024, 128, 1),
        "decoder.weight": (512, 1, 16),
    },
    "dptnet": {
        "encoder.conv1d_U.weight": (256, 1, 2),
        "enc_LN.weight": (256,),
        "separator.BN.weight": (64, 256, 1),
        "separator.DPT.row_transformer.5.transformer.self_attn.in_proj_weight": (192, 64),
        "separator.DPT.col_transformer.0.transformer.lstm.weight_hh_l0_reverse": (512, 128),
        "separator.DPT.output.1.weight": (128, 64, 1, 1),
        "separator.output_gate.0.bias": (64,),
        "mask_conv1x1.0.weight": (256, 64, 1),
        "decoder.basis_signals.weight": (2, 256),
    },
    "sepformer": {
        "encoder.conv1d.weight": (256, 1, 16),
        "masknet.norm.weight": (256,),
        "masknet.dual_mdl.1.intra_mdl.mdl.layers.7.self_att.att.in_proj_weight": (768, 256),
        "masknet.dual_mdl.0.inter_mdl.mdl.layers.0.pos_ffn.ffn.3.weight": (256, 1024),
        "masknet.dual_mdl.0.inter_mdl.mdl.layers.0.norm1.norm.weight": (256,),
        "masknet.dual_mdl.0.intra_mdl.mdl.norm.norm.bias": (256,),
        "masknet.dual_mdl.0.intra_mdl.pos_enc.pe": (1, 2500, 256),
        "masknet.dual_mdl.0.inter_norm.weight": (256,),
        "masknet.conv2d.weight": (512, 256, 1, 1),
        "masknet.prelu.weight": (1,),
        "masknet.end_conv1x1.weight": (256, 256, 1),
        "decoder.weight": (256, 1, 16),
    },
}


@pytest.fixture(params=SIZES)
def kind(request: pytest.FixtureRequest) -> tuple[str, Kind]:
    return request.param, NETWORKS[request.param]


def test_networks_have_as_many_parameters_as_published(kind: tuple[str, Kind]) -> None:
    name, of_network = kind
    network = of_network.build()
    assert sum(value.numel() for value in network.parameters()) == SIZES[name]
    state = network.state_dict()
    assert {key: tuple(state[key].shape) for key in NAMES[name]} == NAMES[name]


@pytest.mark.parametrize("name", SMALL)
def test_sources_are_as_long_as_their_mixture(name: str) -> None:
    network = NETWORKS[name].build().eval()
    with torch.no_grad():
        for samples in (2000, 2001, 2002, 2009, 2015, 32):
            assert network(torch.randn(2, 1, samples)).shape == (2, 2, 1, samples)


@pytest.mark.parametrize("name", SMALL)
def test_networks_for_enhancement_give_one_source(name: str) -> None:
    network = NETWORKS[name].build(sources=1).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 1, 1601)).shape == (1, 1, 1, 1601)


@pytest.mark.parametrize("name", SMALL)
def test_mixtures_of_a_batch_do_not_see_each_other(name: str) -> None:
    network = NETWORKS[name].build().eval()
    mixtures = torch.randn(3, 1, 1500)
    with torch.no_grad():
        together, alone = network(mixtures), torch.cat([network(one) for one in mixtures.split(1)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_all_that_counts_is_trained(name: str) -> None:
    network = NETWORKS[name].build()
    network(torch.randn(2, 1, 3200)).square().mean().backward()
    without = {key for key, value in network.named_parameters() if value.grad is None or not value.grad.abs().max() > 0}
    # What the last block hands on to no other.
    last = {"conv-tasnet-small": {"masker.TCN.9.res_conv.weight", "masker.TCN.9.res_conv.bias"}}
    assert without <= last.get(name, set())


@pytest.mark.parametrize("name", [*SIZES, *SMALL])
def test_ends_are_modules(name: str) -> None:
    kind = NETWORKS[name]
    modules = dict(kind.build(**({} if name in SMALL else _LIGHT[name])).named_modules())
    assert all(isinstance(modules[each], torch.nn.Conv1d) for each in kind.encoders)
    assert all(isinstance(modules[each], torch.nn.ConvTranspose1d | torch.nn.Linear) for each in kind.decoders)


_LIGHT = {"conv-tasnet": {"blocks": 1, "repeats": 1}, "dptnet": {"layers": 1}, "sepformer": {"within": 1, "across": 1}}
