"""Networks of speech in integers: all products, for mixtures of any length, from the saved file and in onnxruntime."""

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor

import kaldi_quant as kq
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.frontends.separation.networks.known import NETWORKS

_CHUNKED = {"filters": 16, "window": 16, "channels": 8, "heads": 2, "hidden": 8, "chunk": 20}
TINY: dict[str, dict[str, Any]] = {
    "conv-tasnet": {"filters": 16, "bottleneck": 8, "hidden": 12, "blocks": 2, "repeats": 1},
    "dptnet": {**_CHUNKED, "layers": 1},
    "sepformer": {**_CHUNKED, "within": 1, "across": 1, "blocks": 1},
}


def mixtures(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sources(quantized: Quantized, x: Tensor) -> Tensor:
    """(N, S, 1, T) of the integer reference."""
    [(_, rows)] = quantized.outputs([x])
    return torch.as_tensor(rows).reshape(len(x), -1, 1, x.shape[-1])


def noise_of(found: Tensor, expected: Tensor) -> float:
    """The share of what differs in the energy."""
    return float((found - expected).square().sum() / expected.square().sum())


@pytest.mark.parametrize("name", TINY)
def test_all_products_are_of_integers_for_any_length(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name].build(**TINY[name]).eval()
    quantized = kq.quantize(network, "w8a8", calibration=[mixtures(seed, 2, 1, 800) for seed in range(2)])
    assert not quantized.float_layers
    assert not quantized.float_matmuls
    others = [mixtures(3, 2, 1, 800), mixtures(4, 1, 1, 1337), mixtures(5, 3, 1, 403)]
    kq.save(quantized, tmp_path / "q.safetensors")
    loaded = kq.load(tmp_path / "q.safetensors")
    kq.export(loaded, tmp_path / "q.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "q.onnx"), providers=["CPUExecutionProvider"])
    for x in others:
        found = sources(quantized, x)
        assert torch.equal(sources(loaded, x), found)
        with torch.no_grad():
            assert noise_of(found, network(x)) < 0.02
        (of_file,) = session.run(None, {"mixture": x.numpy()})
        # Functions in float between grids may turn a few integers by one.
        assert noise_of(torch.from_numpy(of_file), found) < 1e-4
