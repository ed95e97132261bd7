"""The functions of ``import kaldi_quant``, for both kinds of networks."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import kaldi_quant as kq
from kaldi_quant.errors import UsageError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.integer_linear import DynamicLinear
from kaldi_quant.quant.layer_config import LayerConfig
from tests.references import NNET3, load, model_file, read_archive
from tests.torchnn.recurrent_networks import enhancer
from tests.torchnn.recurrent_networks import inputs as recurrent_inputs


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(8, 16, 3, padding=1),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Conv1d(16, 16, 3, padding=1, groups=4),
        nn.ReLU(),
        nn.Conv1d(16, 4, 1),
    )


def inputs(number: int = 6, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 8, 40, generator=generator) for _ in range(number)]


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, kaldi_quant; dir(kaldi_quant); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"


def test_every_public_name_is_there() -> None:
    assert all(callable(getattr(kq, name)) for name in kq.__all__ if name != "__version__"), kq.__all__
    with pytest.raises(AttributeError, match="has no attribute 'quantise'"):
        kq.quantise  # noqa: B018


def test_a_torch_network_is_quantized_compared_and_trained(tmp_path: Path) -> None:
    quantized = kq.quantize(network(), "w2a8", calibration=inputs())
    assert not quantized.float_layers
    lost = kq.compare(quantized, inputs(seed=2))
    assert 0 < lost.distance < 1 and set(lost.sqnr_db) == set(quantized.network.layers)
    found = kq.sensitivity(quantized, inputs(2, seed=3))
    assert {one.mode for one in found} == {"float", "all", "alone", "left out"} and found[0].kl == 0
    rounded = kq.quantize(network(), PtqConfig(LayerConfig(bits=3, method="minmax")), calibration=inputs())
    before = kq.compare(rounded, inputs(seed=2)).distance
    trained = kq.qat(rounded, inputs(20, seed=5), epochs=4, lr_initial=1e-4, held_out=inputs(2, seed=4))
    assert kq.compare(trained, inputs(seed=2)).distance < before
    rows = dict(quantized.outputs(inputs(2)))
    assert [matrix.dtype for matrix in rows.values()] == [np.float32] * 2
    assert kq.export(quantized, tmp_path / "x.onnx").exists()
    with pytest.raises(UsageError, match=r"a network of torch\.nn is no model of Kaldi; export\(\) writes"):
        kq.export(quantized, tmp_path / "x.mdl")


def test_a_torch_network_is_saved_and_loaded(tmp_path: Path) -> None:
    float_network = kq.TorchNetwork(network(), columns=1)
    quantized = kq.qat(kq.quantize(float_network, "w4a8", calibration=inputs()), inputs(2), epochs=1)
    path = tmp_path / "x.safetensors"
    assert kq.save(quantized, path) == path.stat().st_size
    read = kq.load(path)
    assert isinstance(read, kq.Quantized)
    assert read.preset == "w4a8" and read.config == quantized.config and read.float_layers == {}
    for (_, rows), (_, expected) in zip(read.outputs(inputs()), quantized.outputs(inputs()), strict=True):
        assert rows.shape == (80, 4)
        np.testing.assert_array_equal(rows, expected)
    for form in ("loaded.onnx", "made.onnx"):
        kq.export(read if form == "loaded.onnx" else quantized, tmp_path / form)
    assert (tmp_path / "loaded.onnx").read_bytes() == (tmp_path / "made.onnx").read_bytes()
    assert kq.save(read, tmp_path / "y.safetensors") and (tmp_path / "y.safetensors").read_bytes() == path.read_bytes()
    lost, again = kq.compare(quantized, inputs(seed=2)), kq.compare(read, inputs(seed=2), network=network())
    assert again.distance == pytest.approx(lost.distance, rel=1e-3) and again.rows == lost.rows and not again.sqnr_db
    for verb in (kq.sensitivity, kq.qat):
        with pytest.raises(UsageError, match=rf"{verb.__name__} needs a network as quantize\(\) gives it: a file"):
            verb(read, inputs())
    with pytest.raises(UsageError, match="give the float network, too, as network="):
        kq.compare(read, inputs())
    with pytest.raises(UsageError, match="needs no float network"):
        kq.compare(quantized, inputs(), network=network())


def test_a_torch_network_learns_targets() -> None:
    quantized = kq.quantize(network(), "w4a4", calibration=inputs())
    batches = [(x, x[:, :4]) for x in inputs()]

    def loss(which: kq.Quantized) -> float:
        model = which.network.model()
        return float(sum((model(x) - target).square().mean() for x, target in batches))

    trained = kq.qat(quantized, batches, loss=nn.functional.mse_loss, epochs=30, lr_initial=3e-3)
    assert loss(trained) < 0.95 * loss(quantized)
    with pytest.raises(UsageError, match="a pair of inputs and target"):
        kq.qat(quantized, inputs(), loss=nn.functional.mse_loss)


def test_an_lstm_with_dynamic_ranges_is_trained(tmp_path: Path) -> None:
    config = PtqConfig(LayerConfig(bits=3, method="minmax"), {"*.hh": {"ranges": "dynamic"}}, observer="minmax")
    start = kq.quantize(enhancer("lstm"), config, calibration=recurrent_inputs())
    data = recurrent_inputs(12)

    def distance(found: kq.Quantized) -> float:
        float_model, model = start.network.host.executable(), found.network.model()
        with torch.no_grad():
            return float(sum((model(x) - float_model(x)).square().mean() for x in data))

    trained = kq.qat(start, data, epochs=4, lr_initial=1e-2, lr_final=1e-3, weights="values", folder=tmp_path)
    assert distance(trained) < 0.6 * distance(start)
    kinds = {name: isinstance(layer, DynamicLinear) for name, layer in trained.network.layers.items()}
    assert {name for name, dynamic in kinds.items() if dynamic} == {"rnn.l0.hh", "rnn.l1.hh"}
    # The limit on the changes of weights in float is one of Kaldi's recipes.
    assert json.loads((tmp_path / "progress.json").read_text())["options"]["optimizer"]["max_param_change"] == 0
    with pytest.raises(UsageError, match="--weights 'places' is not one of steps, values"):
        kq.qat(start, data, weights="places")


def test_a_kaldi_model(tmp_path: Path) -> None:
    path = model_file(NNET3 / "tdnnf_small")
    model = kq.load(path)
    feats = list(read_archive(NNET3 / f"feats{load(path).nnet.input_dim()}.ark").values())
    kaldi = kq.KaldiNetwork(model, subsampling=3)
    quantized = kq.quantize(kaldi, "w4a8", calibration=feats[:2])
    assert kq.compare(quantized, feats[:1]).unit == "nats"
    trained = kq.qat(quantized, feats[:2], epochs=1)
    assert kq.save(trained, tmp_path / "m.safetensors") == (tmp_path / "m.safetensors").stat().st_size
    read = kq.load(tmp_path / "m.safetensors")
    assert isinstance(read, kq.Quantized) and isinstance(read.origin, kq.KaldiNetwork)
    assert read.origin.factor == 3 and read.origin.settings is not None
    expected, again = dict(trained.outputs(feats[:1])), dict(read.outputs(feats[:1]))
    np.testing.assert_array_equal(again["0"], expected["0"])
    kq.save(read, tmp_path / "n.safetensors")
    assert (tmp_path / "n.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()
    assert kq.compare(read, feats[:1], network=kaldi).distance == pytest.approx(
        kq.compare(trained, feats[:1]).distance, rel=1e-3
    )
    assert kq.export(quantized, tmp_path / "m.onnx").exists() and kq.export(quantized, tmp_path / "m.mdl").exists()
    with pytest.raises(UsageError, match=r"expected a file that ends with \.onnx or \.mdl"):
        kq.export(quantized, tmp_path / "m.bin")


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(UsageError, match="a path is read by load"):
        kq.quantize("final.mdl", calibration=[])
    with pytest.raises(UsageError, match="there is no preset 'w9a9'"):
        kq.quantize(network(), "w9a9", calibration=inputs())
    with pytest.raises(UsageError, match="needs an input to be traced with"):
        kq.quantize(network(), calibration=[])


def test_the_example_in_the_manual_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (Path(kq.__file__).parent.parent / "docs" / "python.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    exec(compile(code, "docs/python.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "{}" and lines[-1] == "0 (10, 402)" and (tmp_path / "network.onnx").exists()
