"""The integer model as one file: what is read back is what was written, in few bytes, or one sentence."""

import json
import resource
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kaldi_quant.errors import DataError, FormatError, KaldiQuantError
from kaldi_quant.formats import container
from kaldi_quant.formats.artefact import load, save
from kaldi_quant.formats.container import read_container, write_container
from kaldi_quant.formats.sizes import bits_per_weight, float_inference_bytes
from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.kaldi.tables import read_matrices
from kaldi_quant.kaldi.writer import BinaryWriter
from kaldi_quant.nnet3.preparation.prepared import nnet_of, prepare
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.network import QuantizedNetwork
from tests.formats.quantized_examples import CONFIGS, OPTIONS, quantized, quantized_alphadigits, rows

RECORD: dict[str, Any] = {
    "format": 1,
    "command": ["kaldi-quant", "quantize", "--bits", "8", "exp/final.mdl", "scp:data/train/feats.scp", "exp/w8"],
    "config": PtqConfig().as_dict(),
    "frame_subsampling_factor": 3,
    "note": "Größe",
}


def nnet_bytes(nnet: Nnet) -> bytes:
    writer = BinaryWriter()
    nnet.write(writer)
    return writer.getvalue()


def transition_bytes(model: Model) -> bytes:
    writer = BinaryWriter()
    if model.transition_model is not None:
        model.transition_model.write(writer)
    return writer.getvalue()


def assert_same_layer(one: IntegerLinear | DynamicLinear, other: IntegerLinear | DynamicLinear) -> None:
    assert type(one) is type(other) and one.weight.spec == other.weight.spec
    pairs = [(getattr(one.weight, name), getattr(other.weight, name)) for name in ("integers", "scale", "zero_point")]
    pairs.append((one.bias, other.bias))
    if isinstance(one, IntegerLinear) and isinstance(other, IntegerLinear):
        a, b = one.inputs, other.inputs
        assert (a.qmin, a.qmax, a.per_column) == (b.qmin, b.qmax, b.per_column)
        pairs += [(a.scale, b.scale), (a.zero_point, b.zero_point)]
    for a, b in pairs:
        assert a.dtype == b.dtype and torch.equal(a, b)


def assert_same_network(one: QuantizedNetwork, other: QuantizedNetwork) -> None:
    assert list(one.layers) == list(other.layers) and one.float_layers == other.float_layers
    for name, layer in one.layers.items():
        assert_same_layer(layer, other.layers[name])
    assert list(one.activations) == list(other.activations)
    for name, grid in one.activations.items():
        found = other.activations[name]
        assert grid.spec == found.spec
        assert torch.equal(grid.scale, found.scale) and torch.equal(grid.zero_point, found.zero_point)
    assert nnet_bytes(nnet_of(one.dequantized())) == nnet_bytes(nnet_of(other.dequantized()))


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", ["tdnnf_small", "conv_usual", "ivector_utterance"])
def test_what_is_read_is_what_was_written(name: str, config: str, tmp_path: Path) -> None:
    _round_trip(*quantized(name, config), tmp_path)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("priors_mdl", "w8"),
        ("lstm_mdl", "w3-affine"),
        ("fast_lstmp", "w8"),
        ("fast_lstm", "mixed"),
        ("conv_zero_padding", "w3-affine"),
        ("attention_relu_renorm", "w4"),
        ("gru", "w4"),
        ("delta_idct", "mixed"),
        # A layer that reads a constant stays in float.
        ("descriptor_sum_scale_const", "w8"),
        # A sum of three terms.
        ("resnet_bypasses", "w8"),
    ],
)
def test_of_other_topologies_too(name: str, config: str, tmp_path: Path) -> None:
    _round_trip(*quantized(name, config), tmp_path)


@pytest.mark.parametrize("name", ["tdnnf", "cnn_tdnnf", "tdnn_lstm"])
def test_of_larger_networks_too(name: str, shared: Path, tmp_path: Path) -> None:
    model = read_model(shared / "parity" / name / "final.mdl")
    utterances = list(read_matrices(f"ark:{shared / 'parity/feats.ark'}"))[:1]
    network = quantize(model.nnet, CONFIGS["mixed"], UtteranceSet(utterances, OPTIONS))
    _round_trip(model, network, utterances, tmp_path)


def _round_trip(
    model: Model, network: QuantizedNetwork, utterances: list[tuple[str, np.ndarray]], folder: Path
) -> None:
    path, again = folder / "q.safetensors", folder / "again.safetensors"
    size = save(path, network, model, RECORD)
    assert size == path.stat().st_size
    artefact = load(path)
    assert artefact.record == RECORD
    assert_same_network(network, artefact.network)
    assert transition_bytes(artefact.model) == transition_bytes(model)
    assert np.array_equal(artefact.model.priors, model.priors) and artefact.model.priors.dtype == np.float32
    assert type(artefact.model.network) is type(model.network)
    expected, found = rows(network.model(), utterances), rows(artefact.network.model(), utterances)
    for utterance, values in expected.items():
        assert np.array_equal(found[utterance], values)
    save(again, artefact.network, artefact.model, artefact.record)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("bits", "goal"), [(8, 0.27), (4, 0.15)])
@pytest.mark.parametrize("experiment", ["tdnn1a_sp", "tdnnf1b_sp"])
def test_sizes_with_everything_included(
    experiment: str, bits: int, goal: float, example: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = example if experiment == "tdnn1a_sp" else request.getfixturevalue("shared") / "alphadigits"
    feats = example / "data/train_sub_hires/feats.scp"
    model, network = quantized_alphadigits(root / "exp/chain" / experiment / "final.mdl", feats, bits)
    path = tmp_path / "q.safetensors"
    layers = [{"name": name, "bits": bits, "act_bits": 8, "sqnr_db": 33.33} for name in network.layers]
    save(path, network, model, {**RECORD, "layers": layers})
    # The prepared network has fewer parameters than the original: the harder goal.
    assert path.stat().st_size <= goal * float_inference_bytes(prepare(model.nnet).nnet)
    assert bits_per_weight(load(path).network) == bits


def test_float_bytes_are_those_of_inference(example: Path) -> None:
    nnet = read_model(example / "exp/chain/tdnn1a_sp/final.mdl").nnet
    hidden, inputs, spliced, outputs = 192, 120, 576, 208
    linear = inputs * inputs + inputs + hidden * (inputs + 1) + 6 * hidden * (spliced + 1)
    linear += hidden * (hidden + 1) + outputs * (hidden + 1)
    normalizations = 8 * 2 * hidden
    assert float_inference_bytes(nnet) == 4 * (linear + normalizations)


def test_layers_in_float_count_with_their_width() -> None:
    _, network, _ = quantized("tdnnf_small", "mixed")
    sizes = {name: layer.weight.integers.numel() for name, layer in network.layers.items()}
    widths = {name: layer.weight.spec.bits for name, layer in network.layers.items()}
    for name in network.float_layers:
        sizes[name], widths[name] = nnet_of(network.host).components[name]["LinearParams"].size, 32
    mean = sum(sizes[name] * widths[name] for name in sizes) / sum(sizes.values())
    assert set(widths.values()) == {4, 8, 32} and bits_per_weight(network) == pytest.approx(mean)


def written(path: Path) -> Path:
    model, network, _ = quantized("priors_mdl", "w8")
    save(path, network, model, RECORD)
    return path


def test_cut_and_changed_files_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "q.safetensors")
    data = path.read_bytes()
    for cut in (0, 5, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(FormatError, match=rf"{path}: it is not a complete safetensors file .*truncated"):
            load(path)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(data), 300):
        changed = bytearray(data)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        with pytest.raises(FormatError, match=str(path)):
            load(path)


def test_a_changed_weight_is_found_by_the_checksum(tmp_path: Path) -> None:
    path = written(tmp_path / "q.safetensors")
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match="the checksum is wrong: the file was changed after it was written"):
        load(path)


def test_other_files_are_refused(tmp_path: Path, example: Path) -> None:
    with pytest.raises(FormatError, match="nothing: cannot be read: No such file or directory"):
        load(tmp_path / "nothing")
    with pytest.raises(FormatError, match="cannot be read: Is a directory"):
        load(tmp_path)
    with pytest.raises(FormatError, match=r"final.mdl: it is not a complete safetensors file"):
        load(example / "exp/chain/tdnn1a_sp/final.mdl")
    import safetensors.numpy

    path = tmp_path / "other.safetensors"
    path.write_bytes(safetensors.numpy.save({"x": np.zeros(3)}, {"format": "pt"}))
    with pytest.raises(FormatError, match=r"other.safetensors: .* not a quantized network"):
        load(path)


@pytest.mark.parametrize(("version", "remedy"), [(5, "read it with a newer"), (1, "write it again with this")])
def test_another_format_is_refused(version: int, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "q.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(container, "VERSION", version)
        write_container(path, {}, {})
    with pytest.raises(FormatError, match=f"has version {version} of the format, and 2 to 4 are read here: {remedy}"):
        load(path)


@pytest.mark.parametrize("version", [2, 3])
def test_older_versions_are_read(version: int, tmp_path: Path) -> None:
    import safetensors.numpy

    model, network, _ = quantized("priors_mdl", "w8")
    path = tmp_path / "old.safetensors"
    size = save(path, network, model, RECORD)
    found = read_container(path)
    # As they were written: all of the content in the metadata, and nothing compressed.
    text = json.dumps({"version": version, **found.content}, separators=(",", ":"))
    checksum = container._checksum(text, found.tensors)
    path.write_bytes(safetensors.numpy.save({**found.tensors, "checksum": checksum}, {"kaldi_quant": text}))
    old = load(path)
    assert old.record == RECORD and size < path.stat().st_size
    assert all(torch.equal(old.network.layers[name].bias, layer.bias) for name, layer in network.layers.items())


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    model, network, _ = quantized("priors_mdl", "w8")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(DataError, match=r"cannot write .*q.safetensors: File too large") as caught:
            save(tmp_path / "q.safetensors", network, model, RECORD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_what_cannot_be_read_again_is_not_written(tmp_path: Path) -> None:
    model, network, _ = quantized("tdnnf_small", "dynamic")
    name, layer = next(iter(network.layers.items()))
    assert isinstance(layer, DynamicLinear)
    broken = DynamicLinear(layer.weight, layer.bias * np.nan, layer.spec)
    network = QuantizedNetwork(network.host, {**network.layers, name: broken}, {}, {})
    with pytest.raises(KaldiQuantError, match=rf"the layer {name} has a scale or bias that is not finite"):
        save(tmp_path / "q.safetensors", network, model, RECORD)


@pytest.mark.parametrize(
    ("tensor", "value", "sentence"),
    [
        ("tdnn1.affine.scale", np.nan, "the layer tdnn1.affine has the scale nan, which is no positive number"),
        ("tdnn1.affine.scale", 0.0, "has the scale 0, which"),
        ("tdnn1.affine.scale", -1.0, "has the scale -1, which"),
        ("tdnn1.affine.weight", 255, "the layer tdnn1.affine has the integer 128, beyond its grid, -127 to 127"),
        ("activation_scale", np.inf, "a node has the scale inf"),
        ("activation_zero_point", 256, "has a zero point outside its grid, 0 to "),
        ("activation_zero_point", -1, "has a zero point outside its grid, 0 to "),
    ],
)
def test_values_that_no_network_has(tensor: str, value: float, sentence: str, tmp_path: Path) -> None:
    path = written(tmp_path / "q.safetensors")
    found = read_container(path)
    changed = found.tensors[tensor].copy()
    changed[-1] = value
    write_container(path, {**found.tensors, tensor: changed}, found.content)
    with pytest.raises(FormatError, match=sentence):
        load(path)


@pytest.mark.parametrize(
    ("keys", "value", "sentence"),
    [
        (("layers", "tdnn1.affine", "shape"), [2**31, 2**31], r"should have a signed weight of rows x columns"),
        (("layers", "tdnn1.affine", "shape"), [-1, 20], r"should have a signed weight of rows x columns"),
        (("layers", "tdnn1.affine", "shape"), [10**7, 10**7], r"weight should be a vector of uint8 of 1000000000"),
        (("layers", "tdnn1.affine", "weight", "bits"), 17, "a width of 17 bits is not possible: 2 to 16"),
        (("layers", "tdnn1.affine", "weight", "bits"), 8.0, "bits should be an integer, found 8.0"),
        (("layers", "tdnn1.affine", "weight", "bits"), True, "bits should be an integer, found True"),
        (("layers", "tdnn1.affine", "more"), 1, "the key 'more' means nothing"),
        (("layers", "tdnn1.affine"), None, "layers 'tdnn1.affine': expected an object, found None"),
        (("layers", "tdnn9.affine"), {}, "layers 'tdnn9.affine', weight|weight should be an object, found nothing"),
        (("layers",), [], r"layers should be an object, found \[\]"),
        (("float_layers",), {"tdnn1.affine": "a reason"}, "should be the linear layers that are not quantized"),
        (("activations", "tdnn1.affine"), {"bits": 8}, "the node 'tdnn1.affine' has a grid and needs none"),
        (("record",), "none", "record should be an object, found 'none'"),
        (("context", "left"), -(2**40), "left is -1099511627776, not -1048576 to 1048576"),
    ],
)
def test_descriptions_that_no_file_has(keys: tuple[str, ...], value: object, sentence: str, tmp_path: Path) -> None:
    path = written(tmp_path / "q.safetensors")
    found = read_container(path)
    inside = found.content
    for key in keys[:-1]:
        inside = inside[key]
    inside[keys[-1]] = value
    write_container(path, found.tensors, found.content)
    with pytest.raises(FormatError, match=sentence) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_the_description_can_be_read_without_this_project(tmp_path: Path) -> None:
    path = written(tmp_path / "q.safetensors")
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    shown = json.loads(header["__metadata__"]["kaldi_quant"])
    assert shown == {"version": container.VERSION, "record": RECORD}
    begin, end = (8 + int.from_bytes(data[:8], "little") + at for at in header["description"]["data_offsets"])
    description = json.loads(zlib.decompress(data[begin:end]))
    assert description["layers"]["tdnn1.affine"]["weight"] == {"bits": 8, "per_channel": True}
