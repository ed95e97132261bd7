"""What enhances recordings: methods, networks in files of all kinds, folders of cells; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kaldi_quant.api import files
from kaldi_quant.api.quantization import quantize
from kaldi_quant.errors import FormatError, UsageError
from kaldi_quant.frontends.enhancement.enhancers import check_enhancer, file_of, open_enhancer, parse_enhancers
from kaldi_quant.frontends.enhancement.networks.known import NETWORKS
from kaldi_quant.frontends.enhancement.training.checkpoint import write_network
from kaldi_quant.metrics.speech import si_sdr
from tests.frontends.enhancement.scores.pairs import noisy_pair

KIND = "tcn-100k"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network in float, in integers, and as ONNX."""
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    network = NETWORKS[KIND].build().eval()
    write_network(folder / "network.pth", KIND, network, {})
    quantized = quantize(network, "baseline", calibration=[torch.rand(1, 12, 161)])
    files.save(quantized, folder / "named.safetensors", {"enhancement": {"network": KIND}})
    files.save(quantized, folder / "quantized.safetensors")
    files.export(quantized, folder / "network.onnx")
    return folder


def test_methods() -> None:
    pair = noisy_pair("a", "white", 5.0)
    np.testing.assert_array_equal(open_enhancer("i", "identity").enhance(pair.noisy), pair.noisy)
    found = open_enhancer("s", "spectral-subtraction").enhance(pair.noisy)
    assert found.shape == pair.noisy.shape and si_sdr(pair.clean, found) > 5.5
    assert not open_enhancer("s", "spectral-subtraction").enhance(np.zeros(800, np.float32)).any()


def test_a_network_in_all_kinds_of_files(folder: Path) -> None:
    noisy = noisy_pair("a", "white", 5.0, samples=3000).noisy
    in_float = open_enhancer("f", str(folder / "network.pth")).enhance(noisy)
    expected = NETWORKS[KIND].around
    assert in_float.dtype == np.float32 and in_float.shape == noisy.shape
    integers = open_enhancer("q", str(folder / "named.safetensors"))
    by_onnx = open_enhancer("o", str(folder / "network.onnx"), KIND).enhance(noisy)
    np.testing.assert_allclose(integers.enhance(noisy), by_onnx, rtol=0, atol=1e-5)
    assert 5 < si_sdr(in_float, by_onnx) < 90
    with torch.no_grad():
        network = files.load(folder / "quantized.safetensors").network.model()
        wave = expected.enhance(network, torch.from_numpy(noisy)[None])[0].numpy()
    np.testing.assert_array_equal(integers.enhance(noisy), wave)


def test_a_cell_tells_its_network(folder: Path, tmp_path: Path) -> None:
    cell = tmp_path / KIND / "ours-w8a8"
    cell.mkdir(parents=True)
    content = {"format": 1, "network": KIND, "method": "ours-w8a8", "preset": "", "command": "x", "file": "y"}
    (cell / "cell.json").write_text(json.dumps(content | {"metric": "PESQ", "bytes": 1, "score": 1.0, "details": {}}))
    (cell / "scores.json").write_text(
        json.dumps({"metric": {"name": "PESQ", "unit": "", "better": "higher"}, "units": {"a": 1.0}})
    )
    (cell / "quantized.safetensors").write_bytes((folder / "quantized.safetensors").read_bytes())
    assert file_of(str(cell)) == cell / "quantized.safetensors"
    noisy = noisy_pair("a", "white", 5.0, samples=2000).noisy
    found = open_enhancer("c", str(cell)).enhance(noisy)
    np.testing.assert_array_equal(found, open_enhancer("q", str(folder / "named.safetensors")).enhance(noisy))
    (cell / "network.onnx").write_bytes(b"")
    assert file_of(str(cell)) == cell / "network.onnx"
    assert parse_enhancers(str(cell)) == [("tcn-100k-ours-w8a8", str(cell), "")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("=a.onnx", r"expected \[NAME=\]FILE\[@NETWORK\], found '=a\.onnx'"),
        ("a=", "expected .NAME=.FILE"),
        ("x/a.onnx,y/a.onnx", "two are called a: give them names, as in NAME=y/a.onnx"),
        ("a b=c.onnx", "'a b' cannot be the name of a folder"),
    ],
)
def test_lists_that_are_none(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_enhancers(text)


def test_what_cannot_enhance(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no file or cell, nor one of identity, spectral-subtraction"):
        check_enhancer(str(tmp_path / "none.onnx"), "")
    with pytest.raises(UsageError, match="enhancement network 'crn-5' is not one of crn"):
        check_enhancer("identity", "crn-5")
    with pytest.raises(UsageError, match=r"neither it nor a cell\.json names its network; say so, as in \S+@NETWORK"):
        open_enhancer("o", str(folder / "network.onnx"))
    with pytest.raises(FormatError, match=r"expected a cell with network\.onnx or quantized\.safetensors"):
        open_enhancer("e", str(tmp_path))
    for name, message in (
        ("a.onnx", "ONNX"),
        ("a.txt", "expected an integer model, or a file that ends"),
    ):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(FormatError, match=message):
            open_enhancer("b", str(tmp_path / name), KIND)
