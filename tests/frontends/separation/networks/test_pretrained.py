"""Checkpoints of other programs give the networks their parameters, and their outputs; others are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.errors import FormatError, KaldiQuantError, ModelError, UsageError
from kaldi_quant.frontends.separation.networks.known import NETWORKS
from kaldi_quant.frontends.separation.networks.pretrained import load_pretrained

State = dict[str, Tensor]


def small(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    network = NETWORKS[f"{name}-small"].build().eval()
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return network


def renamed(state: State, *names: tuple[str, str]) -> State:
    for old, new in names:
        state = {name.replace(old, new): value for name, value in state.items()}
    return state


def as_asteroid(state: State) -> State:
    """The parameters of ConvTasNet as asteroid names them."""
    found = renamed(state, ("encoder.weight", "encoder.filterbank._filters"))
    found = renamed(found, ("decoder.weight", "decoder.filterbank._filters"))
    norms = ("bottleneck.0.", "shared_block.2.", "shared_block.5.")
    return {
        name.replace("weight", "gamma").replace("bias", "beta") if any(norm in name for norm in norms) else name: value
        for name, value in found.items()
    }


def as_fqss(state: State) -> State:
    """The parameters of Sepformer as FQSS names them."""
    names = [("encoder.conv1d.", "encoder.0."), ("masknet.", "masker."), ("dual_mdl.", "layers."), (".mdl", "")]
    names += [("_mdl.", "_transformer_block."), ("pos_enc.", "pos."), ("self_att.att.", "mha."), ("pos_ffn.ffn", "ffn")]
    names += [(".norm.norm.", ".norm."), ("norm1.norm.", "norm1."), ("norm2.norm.", "norm2.")]
    names += [("end_conv1x1.", "end_conv.0."), ("output_gate.", "net_gate."), ("output.", "net_out.")]
    return renamed(state, *names)


def fqss_names() -> set[str]:
    """Some that FQSS's Sepformer has."""
    layer = "masker.layers.0.intra_transformer_block.layers.0"
    return {
        "encoder.0.weight",
        "masker.norm.weight",
        "masker.conv1d.weight",
        "masker.layers.0.intra_transformer_block.norm.weight",
        "masker.layers.0.inter_transformer_block.pos.pe",
        "masker.layers.0.inter_norm.weight",
        f"{layer}.mha.in_proj_weight",
        f"{layer}.mha.out_proj.bias",
        f"{layer}.ffn.3.weight",
        f"{layer}.norm2.bias",
        "masker.end_conv.0.weight",
        "masker.net_out.0.weight",
        "masker.net_gate.0.bias",
        "decoder.weight",
    }


CONTENTS: list[tuple[str, Callable[[State], Any]]] = [
    ("conv-tasnet", dict),
    ("conv-tasnet", as_asteroid),
    ("conv-tasnet", lambda state: {"state_dict": as_asteroid(state), "model_args": {"stride": 16, "mask_act": "relu"}}),
    ("conv-tasnet", lambda state: {"state_dict": state, "infos": {"torch": torch.__version__}}),
    ("dptnet", lambda state: {"state_dict": state}),
    ("sepformer", as_fqss),
    ("sepformer", lambda state: {"state_dict": {f"{m}.{k}": v for m in ("model", "fmodel") for k, v in state.items()}}),
]


@pytest.mark.parametrize(("name", "content"), CONTENTS)
def test_parameters_by_the_names_of_other_programs(name: str, content: Callable[[State], Any], tmp_path: Path) -> None:
    given, network = small(name), small(name, 1)
    torch.save(content(given.state_dict()), tmp_path / "m.pth")
    load_pretrained(f"{name}-small", network, tmp_path / "m.pth")
    for key, value in given.state_dict().items():
        assert torch.equal(network.state_dict()[key], value), key


def test_the_names_of_fqss() -> None:
    assert fqss_names() <= set(as_fqss(small("sepformer").state_dict()))


def write_folder(folder: Path, state: State) -> None:
    for part in ("encoder", "masknet", "decoder"):
        of_part = {name.removeprefix(f"{part}."): value for name, value in state.items() if name.startswith(part)}
        torch.save(of_part, folder / f"{part}.ckpt")


def test_a_folder_of_speechbrain(tmp_path: Path) -> None:
    given, network = small("sepformer"), small("sepformer", 1)
    write_folder(tmp_path, given.state_dict())
    load_pretrained("sepformer-small", network, tmp_path)
    x = torch.randn(1, 1, 900)
    assert torch.equal(network(x), given(x))


def test_all_that_differs_is_listed(tmp_path: Path) -> None:
    network = small("conv-tasnet")
    state = network.state_dict()
    unknown = {f"lstm.{place}": torch.zeros(1) for place in range(6)}
    found = {**state, "encoder.weight": torch.zeros(64, 1, 20), "decoder.weight": torch.zeros(2), **unknown}
    del found["masker.mask_net.0.weight"]
    torch.save(found, tmp_path / "m.pth")
    with pytest.raises(ModelError) as caught:
        load_pretrained("conv-tasnet-small", network, tmp_path / "m.pth")
    text = str(caught.value)
    assert "is a checkpoint of another network: it has no masker.mask_net.0.weight, expected conv-tasnet-small" in text
    assert (
        "its encoder.weight has the shape (64, 1, 20), expected (64, 1, 32), decoder.weight has the shape (2," in text
    )
    assert "conv-tasnet-small has no lstm.0, lstm.1, lstm.2, lstm.3 and 2 more" in text


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("conv-tasnet", lambda: {"model_args": {"stride": 8}, "state_dict": {}}, "say stride 8, expected 16"),
        (
            "conv-tasnet",
            lambda: {"model_args": {"mask_act": "sigmoid"}, "state_dict": {}},
            "'sigmoid', expected 'relu'",
        ),
        ("conv-tasnet", lambda: {"model_args": 3, "state_dict": {}}, "expected model_args by name, found int"),
        ("sepformer", lambda: small("dptnet").state_dict(), "it has no encoder.conv1d.weight, masknet.norm.weight, "),
        ("dptnet", lambda: small("dptnet"), "it is no checkpoint that torch can read without executing it"),
        ("dptnet", lambda: {"state_dict": {"a": "text"}}, "expected the parameters of a network by name"),
        ("dptnet", dict, "it has no encoder.conv1d_U.weight, "),
    ],
)
def test_other_checkpoints_are_one_sentence(
    name: str, content: Callable[[], Any], sentence: str, tmp_path: Path
) -> None:
    torch.save(content(), tmp_path / "m.pth")
    with pytest.raises(KaldiQuantError) as caught:
        load_pretrained(f"{name}-small", small(name), tmp_path / "m.pth")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    network = small("sepformer")
    with pytest.raises(FormatError, match=r"no\.pth: there is no such file"):
        load_pretrained("sepformer-small", network, tmp_path / "no.pth")
    write_folder(tmp_path, network.state_dict())
    (tmp_path / "masknet.ckpt").unlink()
    with pytest.raises(FormatError, match=r"masknet\.ckpt: there is no such file"):
        load_pretrained("sepformer-small", network, tmp_path)
    with pytest.raises(UsageError, match="'sepformr' is not one of conv-tasnet, "):
        load_pretrained("sepformr", network, tmp_path)


def assert_same_sources(theirs: Callable[[Tensor], Tensor], network: nn.Module) -> None:
    for samples in (1600, 2003):
        x = torch.randn(2, 1, samples)
        with torch.no_grad():
            expected, found = theirs(x), network(x)
        expected = functional.pad(expected, (0, samples - expected.shape[-1])).unsqueeze(2)
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_the_sources_of_asteroid(tmp_path: Path) -> None:
    models = pytest.importorskip("asteroid.models", reason="asteroid is not installed", exc_type=ImportError)
    torch.manual_seed(0)
    sizes = {"n_filters": 64, "bn_chan": 32, "hid_chan": 64, "skip_chan": 32, "n_blocks": 5, "n_repeats": 2}
    theirs = models.ConvTasNet(2, mask_act="relu", kernel_size=32, stride=16, **sizes).eval()
    content = {"state_dict": theirs.state_dict(), "model_args": theirs.get_model_args()}
    torch.save(content, tmp_path / "m.pth")
    network = NETWORKS["conv-tasnet-small"].build().eval()
    load_pretrained("conv-tasnet-small", network, tmp_path / "m.pth")
    assert_same_sources(theirs, network)


def test_the_sources_of_speechbrain(tmp_path: Path) -> None:
    reason = "speechbrain is not installed"
    found = pytest.importorskip("speechbrain.lobes.models.dual_path", reason=reason, exc_type=ImportError)
    torch.manual_seed(0)
    within, across = (
        found.SBTransformerBlock(2, 16, 4, d_ffn=24, dropout=0, use_positional_encoding=True, norm_before=True)
        for _ in range(2)
    )
    masknet = found.Dual_Path_Model(32, 16, within, across, 2, K=20, linear_layer_after_inter_intra=False)
    encoder, decoder = found.Encoder(8, 32), found.Decoder(32, 1, kernel_size=8, stride=4, bias=False)
    for part, name in ((encoder, "encoder"), (masknet, "masknet"), (decoder, "decoder")):
        torch.save(part.state_dict(), tmp_path / f"{name}.ckpt")
    sizes = {"filters": 32, "window": 8, "stride": 4, "channels": 16, "heads": 4, "hidden": 24, "chunk": 20}
    network = NETWORKS["sepformer"].build(**sizes, within=2, across=2, blocks=2).eval()
    load_pretrained("sepformer", network, tmp_path)

    def theirs(x: Tensor) -> Tensor:
        features = encoder(x[:, 0])
        return torch.stack([decoder(features * mask) for mask in masknet(features)], 1)

    assert_same_sources(theirs, network)
