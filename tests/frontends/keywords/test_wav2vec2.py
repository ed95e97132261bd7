"""Wav2Vec2 for keywords: sizes, checkpoints, and the whole of it in integers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers", reason="transformers is not installed: pip install 'kaldi_quant[wav2vec2]'")

from safetensors.torch import load_file, save_file
from transformers import AutoModelForAudioClassification, Wav2Vec2FeatureExtractor, Wav2Vec2ForPreTraining

import kaldi_quant as kq
from kaldi_quant.errors import DataError, FormatError, KaldiQuantError, ModelError, UsageError
from kaldi_quant.frontends.keywords.networks.wav2vec2 import SIZES, KeywordWav2Vec2, make_wav2vec2, sizes_from
from kaldi_quant.frontends.keywords.networks.wav2vec2_folder import read_wav2vec2, write_wav2vec2
from kaldi_quant.torchnn.onnx.file import onnx_graph
from tests.frontends.keywords.wav2vec2_networks import CLASSES, small, waves
from tests.torchnn.onnx_runs import assert_integer_products, assert_same


def logits(network: KeywordWav2Vec2, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network(x)


def test_the_sizes_are_those_of_the_base_model_and_of_one_for_two_cores() -> None:
    with torch.device("meta"):
        network = make_wav2vec2([str(number) for number in range(35)], SIZES["base"])
    # The 94,371,712 of facebook/wav2vec2-base without the vector of masks, and a head of 256 channels and 35 classes.
    head = 768 * 256 + 256 + 256 * 35 + 35
    assert sum(value.numel() for value in network.parameters()) == 94_371_712 - 768 + head
    assert sum(value.numel() for value in make_wav2vec2(CLASSES, SIZES["tiny"]).parameters()) < 200_000


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("small", "the size 'small' of Wav2Vec2 is not one of base, tiny"),
        ({"like": "tiny", "layers": 3}, "Wav2Vec2 has no size 'layers'; there are like, conv_dim, "),
        ({"like": "tiny", "hidden_size": "64"}, "hidden_size of Wav2Vec2 must be a value like 64, found '64'"),
        ({"like": "tiny", "hidden_size": 66}, "hidden_size 66 must be a multiple of num_attention_heads 4"),
        ({"conv_dim": [8, 8]}, "must have a number for each convolution"),
        ({"conv_stride": [5, 0, 2, 2, 2, 2, 2]}, "sizes of Wav2Vec2 must be 1 or more"),
        ({"feat_extract_norm": "batch"}, "feat_extract_norm 'batch' is not one of group, layer"),
        ({"dropout": 1.0}, "dropout must be from 0 to less than 1, found 1"),
    ],
)
def test_sizes_that_cannot_be(given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        sizes_from(given)


def test_waves_of_any_loudness_with_or_without_an_axis_of_channels() -> None:
    network, (x,) = small(feat_extract_norm="layer", conv_bias=True), waves(1)
    assert torch.equal(logits(network, x), logits(network, x[:, 0]))
    assert torch.allclose(logits(network, x), logits(network, 0.01 * x + 0.3), atol=1e-4)
    # As the feature extractor of transformers normalises, utterance by utterance.
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    given = extractor(list(x[:, 0].numpy()), sampling_rate=16000, return_tensors="pt").input_values
    with torch.no_grad():
        expected = network.network(given).logits
    assert torch.allclose(logits(network, x), expected, atol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"feat_extract_norm": "layer", "do_stable_layer_norm": True}])
def test_a_checkpoint_is_that_of_transformers(changes: dict[str, Any], tmp_path: Path) -> None:
    network, (x,) = small(**changes), waves(1)
    write_wav2vec2(network, tmp_path)
    other = AutoModelForAudioClassification.from_pretrained(tmp_path, local_files_only=True)
    with torch.no_grad():
        assert torch.allclose(other(network.norm(x)[:, 0]).logits, logits(network, x), atol=1e-6)
    again = read_wav2vec2(tmp_path, CLASSES)
    assert again.classes == CLASSES and torch.equal(logits(again, x), logits(network, x))
    # And from there.
    other.save_pretrained(tmp_path / "theirs")
    assert torch.equal(logits(read_wav2vec2(tmp_path / "theirs"), x), logits(network, x))
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": false}')
    assert not read_wav2vec2(tmp_path).normalises


def test_a_new_head_for_a_network_that_was_pre_trained(tmp_path: Path) -> None:
    config = small().network.config
    for name in ("codevector_dim", "proj_codevector_dim", "num_codevectors_per_group"):
        setattr(config, name, 8)
    pretrained = Wav2Vec2ForPreTraining(config)
    pretrained.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"is of \['Wav2Vec2ForPreTraining'\], which tells no classes apart"):
        read_wav2vec2(tmp_path, CLASSES)
    with pytest.raises(ModelError, match="a new head needs the classes"):
        read_wav2vec2(tmp_path, new_head=True)
    state = torch.get_rng_state()
    networks = [read_wav2vec2(tmp_path, ("a", "b"), new_head=True, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    heads = [network.network.classifier.weight for network in networks]
    assert heads[0].shape == (2, 8) and torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    for name, value in pretrained.wav2vec2.state_dict().items():
        assert torch.equal(networks[0].network.wav2vec2.state_dict()[name], value), name
    # Another task's head is replaced, too.
    write_wav2vec2(small(), tmp_path / "other")
    assert read_wav2vec2(tmp_path / "other", ("a", "b"), new_head=True).classes == ("a", "b")


def changed_config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**content, **changes}))

    return change


def changed_weights(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    return save


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def renamed(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            no_config,
            DataError,
            r"is no checkpoint of Wav2Vec2: it has no config\.json",
        ),
        (renamed, DataError, r"it has no model\.safetensors \(pytorch_model\.bin is not read, as it may hold code\)"),
        (lambda folder: (folder / "config.json").write_text("{"), FormatError, "cannot be read as JSON"),
        (changed_config(model_type="hubert"), ModelError, "of the type 'hubert': expected wav2vec2"),
        (changed_config(architectures=["Wav2Vec2ForCTC"]), ModelError, r"is of \['Wav2Vec2ForCTC'\]"),
        (changed_config(id2label={"0": "a", "1": "b"}), ModelError, "tells 2 classes apart: expected 3"),
        (changed_config(id2label={"0": "a", "2": "b"}), FormatError, "id2label"),
        (changed_config(id2label={"0": "up", "1": "left", "2": "down"}), ModelError, "its class 0 is 'up', expected"),
        (changed_config(hidden_size="x"), FormatError, "cannot be read as Wav2Vec2ForSequenceClassification: .*hidden"),
        (changed_config(hidden_act="none"), FormatError, "cannot be read as Wav2Vec2ForSequenceClassification: "),
        (changed_config(hidden_size=24), FormatError, "cannot be read as Wav2Vec2ForSequenceClassification: "),
        (changed_config(add_adapter=True), FormatError, "does not support the use of Wav2Vec2 adapters"),
        (changed_weights(lambda tensors: tensors.pop("classifier.bias")), FormatError, r"classifier\.bias is missing"),
        (
            changed_weights(lambda tensors: tensors.update(other=torch.zeros(1))),
            FormatError,
            r"the tensor other belongs to nothing in the network \(1 such\)",
        ),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x80" * 99), FormatError, "cannot be read as"),
        (
            lambda folder: (folder / "preprocessor_config.json").write_text('{"do_normalize": 3}'),
            FormatError,
            "do_normalize",
        ),
    ],
)
def test_what_is_no_such_checkpoint(
    change: Callable[[Path], object],
    error: type[KaldiQuantError],
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    write_wav2vec2(small(), tmp_path)
    change(tmp_path)
    with pytest.raises(error, match=message) as raised:
        read_wav2vec2(tmp_path, CLASSES)
    assert str(tmp_path) in str(raised.value) and "\n" not in str(raised.value)
    # Not a word of transformers' own.
    assert capfd.readouterr() == ("", "")


def test_a_name_of_the_hub_is_no_folder() -> None:
    with pytest.raises(DataError, match=r"facebook/wav2vec2-base does not exist: expected a folder with config\.json"):
        read_wav2vec2("facebook/wav2vec2-base")


@pytest.mark.parametrize(
    "changes", [{}, {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}]
)
def test_the_whole_network_is_in_integers(changes: dict[str, Any], tmp_path: Path) -> None:
    network = small(**changes)
    quantized = kq.quantize(network, "w8a8", calibration=waves())
    assert quantized.float_layers == {} and quantized.float_matmuls == {}
    matmuls = [name for name, node in quantized.network.host.nodes.items() if node.op == "matmul"]
    assert len(quantized.network.layers) == 2 + 1 + 1 + 2 * 6 + 2 and len(matmuls) == 2 * 2
    kinds = set(quantized.network.host.float_operations().values())
    assert kinds - {"group_norm"} == {"gelu", "layer_norm", "softmax", "mul", "mean"}
    (x,) = waves(1, seed=2)
    assert min(kq.compare(quantized, [x]).sqnr_db.values()) > 15
    found = quantized.network.model()(x)
    kq.save(quantized, tmp_path / "quantized.safetensors")
    again = kq.load(tmp_path / "quantized.safetensors")
    assert torch.equal(again.network.model()(x), found)
    # With any number of waves, of any length.
    graph = onnx_graph(quantized.network, x)
    assert_integer_products(graph)
    for others in ((x,), waves(1, 440, batch=1, seed=3), waves(1, 1001, batch=2, seed=4)):
        assert_same(quantized.network, graph, *others)
