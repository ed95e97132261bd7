"""``kq.search`` for both kinds of networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import kaldi_quant as kq
from kaldi_quant.cli.main import run
from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.tables import matrix_writer, read_matrices
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.distance import KullbackLeibler
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.search.measuring import Meter
from kaldi_quant.quant.shelf import Shelf

FAST = PtqConfig(LayerConfig(method="minmax"), observer="minmax")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 4))


def inputs(number: int = 4, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 30, 8, generator=generator) for _ in range(number)]


def searched(budget: str, **options: object) -> kq.FoundWidths:
    given = {"calibration": inputs(), "held_out": inputs(2, seed=2), "widths": (2, 4, 8), **options}
    return kq.search(given.pop("network", network()), FAST, budget=budget, **given)


def test_values_that_wait_on_disk_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    monkeypatch.setattr(Shelf, "_mapped", lambda *given, real=Shelf._mapped: written.append(1) or real(*given))
    found = searched("4.5 bits")
    assert not written
    assert searched("4.5 bits", memory=0).record == found.record
    assert written
    written.clear()
    quantized = kq.quantize(network(), "w4a8", calibration=inputs(), memory=0)
    measured = kq.sensitivity(quantized, inputs(2, seed=2))
    assert written
    written.clear()
    assert kq.sensitivity(quantized, inputs(2, seed=2), memory=0) == measured
    assert written


def test_a_torch_network_under_each_budget() -> None:
    found = searched("4.5 bits", front=3)
    assert found.measured.bits_per_weight <= 4.5 and len(set(found.measured.bits.values())) > 1
    assert found.unit == "per row" and found.measured.distance > 0
    # The network is the one that quantize makes of the configuration.
    again = kq.quantize(network(), found.config, calibration=inputs())
    assert kq.compare(again, inputs(2, seed=2)).distance == pytest.approx(found.measured.distance)
    for name, layer in again.network.layers.items():
        assert layer.weight.spec.bits == found.measured.bits[name]
        assert torch.equal(layer.weight.integers, found.quantized.network.layers[name].weight.integers)
    assert [point.bytes for point in found.curve] == sorted(point.bytes for point in found.curve)
    assert [point.distance for point in found.curve] == sorted((p.distance for p in found.curve), reverse=True)
    assert [wanted.bytes for wanted, _ in found.measured_curve] == [got.bytes for _, got in found.measured_curve]
    least, most = (searched(budget).measured.bytes for budget in ("2 bits", "8 bits"))
    small = searched(f"{(least + most) // 2} bytes")
    assert least < small.measured.bytes <= (least + most) // 2
    limit = found.predicted.distance
    near = searched(f"{limit:.8f} per row")
    assert near.predicted.distance <= limit * 1.0001
    assert near.measured.bits_per_weight <= found.measured.bits_per_weight


def test_the_bytes_are_those_of_the_file(tmp_path: Path) -> None:
    most = searched("8 bits").measured.bytes
    for budget, options in (("4.5 bits", {}), (f"{most - 300} bytes", {}), ("20 bits", {"widths": (2, "float")})):
        found = searched(budget, **options)
        size = kq.save(found.quantized, tmp_path / "network.safetensors")
        assert size == found.measured.bytes == found.predicted.bytes
    assert 32 in found.measured.bits.values()
    found = searched("3 bits", network=kq.TorchNetwork(network(), KullbackLeibler(), columns=2))
    assert kq.save(found.quantized, tmp_path / "network.safetensors") == found.measured.bytes


def test_products_of_two_values_take_no_bytes_of_their_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    found = searched("4 bits", network=attention)
    assert len(found.quantized.network.matmuls) == 2 and found.measured.bits_per_weight <= 4
    assert kq.save(found.quantized, tmp_path / "network.safetensors") == found.measured.bytes == found.predicted.bytes


def test_classes_are_compared_by_their_divergence() -> None:
    classes = kq.TorchNetwork(network(), KullbackLeibler())
    assert searched("0.05 nats", network=classes).predicted.distance <= 0.05
    with pytest.raises(UsageError, match=r"'0.05 nats' is not understood: .*\(0.05 per row\)"):
        searched("0.05 nats")


def test_a_quantized_network_brings_its_settings() -> None:
    quantized = kq.quantize(network(), FAST, calibration=inputs())
    options = {"budget": "4 bits", "held_out": inputs(2, seed=2), "widths": (2, 4, 8)}
    assert kq.search(quantized, **options).record == searched("4 bits").record


def test_a_search_that_was_killed_measures_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = searched("4 bits", folder=tmp_path / "whole")
    measured = Meter.divergence
    calls = []

    def counted(self: Meter, quantized: object) -> float:
        calls.append(quantized)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return measured(self, quantized)  # type: ignore[arg-type]

    monkeypatch.setattr(Meter, "divergence", counted)
    with pytest.raises(KeyboardInterrupt):
        searched("4 bits", folder=tmp_path / "killed")
    assert searched("4 bits", folder=tmp_path / "killed").record == whole.record
    # A base, three layers in two widths, the result; one was killed.
    assert len(calls) == 1 + 6 + 1 + 1
    calls.clear()
    assert searched("3 bits", folder=tmp_path / "killed").measured.bits_per_weight <= 3
    assert len(calls) == 1


def test_the_command_finds_the_same(example: Path, tmp_path: Path) -> None:
    model = example / "exp/chain/tdnn1a_sp/final.mdl"
    tables = []
    for part in ("train_sub_hires", "dev_hires"):
        with matrix_writer(f"ark:{tmp_path}/{part}.ark") as writer:
            rows = read_matrices(f"scp:{example}/data/{part}/feats.scp")
            for (name, matrix), _ in zip(rows, range(2), strict=False):
                writer.write(name, matrix[:90])
        tables.append(f"ark:{tmp_path}/{part}.ark")
    (tmp_path / "fast.yaml").write_text("default: {method: minmax}\nobserver: minmax\n")
    command = ["search", "--config", f"{tmp_path}/fast.yaml", "--widths", "3,8", "--budget", "5 bits"]
    assert run([*command, str(model), *tables, str(tmp_path / "out")]) == 0
    expected = json.loads((tmp_path / "out/search.json").read_text())
    found = kq.search(kq.load(model), FAST, budget="5 bits", calibration=tables[0], held_out=tables[1], widths=(3, 8))
    got = json.loads(json.dumps(found.record))
    for key in ("measurements", "base_divergence", "layers", "inputs", "bit_operations", "options", "budget"):
        assert got[key] == expected[key], key
    for key in ("divergence", "bits_per_weight"):
        assert got["measured"][key] == expected["measured"][key] and got["predicted"][key] == expected["predicted"][key]
    # The record of the file says how it was made, and its length differs by that alone.
    layers = kq.load(tmp_path / "out/quantized.safetensors").network.layers  # type: ignore[union-attr]
    for name, layer in layers.items():
        np.testing.assert_array_equal(layer.weight.integers, found.quantized.network.layers[name].weight.integers)
    assert kq.save(found.quantized, tmp_path / "saved.safetensors") == found.measured.bytes


def test_what_cannot_be_searched_is_refused(tmp_path: Path) -> None:
    options = {"held_out": inputs(1), "calibration": inputs(1)}
    for budget, sentence in (
        ("small", "the budget 'small' is not understood"),
        ("0.2 %WER", "needs a decoder: kaldi-quant search has one"),
        ("1 bits", "the least width is 2"),
        ("100 bytes", "no allocation of 2, 3, 4, 5, 6 or 8 bits meets the budget of 100 bytes"),
    ):
        with pytest.raises(UsageError, match=sentence):
            kq.search(network(), FAST, budget=budget, **options)
    with pytest.raises(UsageError, match=r"widths 2,x: expected widths from 2 to 16 with commas between, and float"):
        kq.search(network(), FAST, budget="3 bits", widths=(2, "x"), **options)
    with pytest.raises(UsageError, match="there are no widths to choose from"):
        kq.search(network(), "torch-static", budget="3 bits", **options)
    kq.save(kq.quantize(network(), FAST, calibration=inputs(1)), tmp_path / "saved.safetensors")
    with pytest.raises(UsageError, match="a file has no float weights"):
        kq.search(kq.load(tmp_path / "saved.safetensors"), FAST, budget="3 bits", **options)
    with pytest.raises(UsageError, match="needs inputs to calibrate on"):
        kq.search(network(), FAST, budget="3 bits", held_out=inputs(1))


def test_the_example_in_the_manual_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(kq.__file__).parent.parent / "docs" / "python.md").read_text()
    blocks = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    code = next(block for block in blocks if "kq.search(" in block)
    exec(compile(code, "docs/python.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert float(lines[0].split()[0]) <= 3 and len(lines) > 3
