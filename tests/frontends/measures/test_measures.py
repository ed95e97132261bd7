"""What networks cost: operations, time and memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import kaldi_quant as kq
from kaldi_quant.errors import DataError
from kaldi_quant.frontends.measures.memory import peak_memory
from kaldi_quant.frontends.measures.operations import multiply_accumulates
from kaldi_quant.frontends.measures.times import Subject, measure_times


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gru, self.last = nn.Conv1d(4, 6, 3, stride=2, groups=2), nn.GRU(6, 5), nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, _ = self.gru(self.conv(x).permute(2, 0, 1))
        return self.last((states @ states.mT) @ states)


def test_multiply_accumulates_are_those_of_the_formulas() -> None:
    network, x = Attending().eval(), torch.randn(3, 4, 9)
    quantized = kq.quantize(network, "w8a8", calibration=[x])
    found = multiply_accumulates(quantized.network.host, x)
    batch, times = 3, 4
    by_hand = {
        "conv": batch * times * 6 * 2 * 3,
        "gru.l0.ih": batch * times * 15 * 6,
        "gru.l0.hh": batch * times * 15 * 5,
        "last": batch * times * 2 * 5,
    }
    assert {name: found[name] for name in by_hand} == by_hand
    others = sorted(count for name, count in found.items() if name not in by_hand)
    # (times, batch, 5) times its transpose, and that times the states.
    assert others == [times * batch * batch * 5, times * batch * 5 * batch]


def test_memory_of_a_larger_network_is_larger(tmp_path: Path) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("memory is measured through Linux's /proc")
    calls = []
    for width in (100, 2000):
        network = nn.Sequential(nn.Linear(10, width), nn.ReLU(), nn.Linear(width, width)).eval()
        quantized = kq.quantize(network, "w8a8", calibration=[torch.randn(4, 10)])
        file = kq.export(quantized, tmp_path / f"{width}.onnx")
        calls.append((file, {"input": np.zeros((1, 10), np.float32)}))
    small, large = peak_memory(calls)
    assert small is not None and large is not None and large - small > 2000 * 2000
    with pytest.raises(DataError, match=r"cannot be measured: .*nothing"):
        peak_memory([(tmp_path / "100.onnx", {"nothing": np.zeros((1, 10), np.float32)})])


def test_times_of_all_that_can_run_a_network(tmp_path: Path) -> None:
    network, x = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 3)).eval(), torch.randn(2, 64)
    quantized = kq.quantize(network, "w8a8", calibration=[x])
    file = kq.export(quantized, tmp_path / "network.onnx")
    subjects = {"float": Subject(file, module=network), "w8a8": Subject(file, quantized=quantized)}
    found = measure_times(subjects, [x], rounds=3)
    assert list(found["float"].seconds) == ["onnxruntime", "torch"]
    assert list(found["w8a8"].seconds) == ["onnxruntime", "kernels"]
    assert found["float"].ratio == 1
    best = min(found["float"].seconds.values())
    assert found["w8a8"].ratio == best / min(found["w8a8"].seconds.values())
    assert all(0 < seconds < 1 for times in found.values() for seconds in times.seconds.values())
