"""What each layer's quantization costs: measured once, kept, and read back."""

import json
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.cli.main import run
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.tables import matrix_writer, read_matrices
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import InferenceOptions
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.sensitivity import sensitivity, with_layers

OPTIONS = InferenceOptions(ChunkOptions(3))


@pytest.fixture(scope="module")
def utterances(example: Path) -> list[tuple[str, np.ndarray]]:
    table = read_matrices(f"scp:{example}/data/train_sub_hires/feats.scp")
    return [utterance for utterance, _ in zip(table, range(6), strict=False)]


@pytest.fixture(scope="module")
def network(example: Path, utterances: list[tuple[str, np.ndarray]]) -> QuantizedNetwork:
    nnet = read_model(example / "exp/chain/tdnnf1b_sp/final.mdl").nnet
    return quantize(nnet, PtqConfig(LayerConfig(bits=4)), UtteranceSet(utterances[:4], OPTIONS))


def test_fewer_layers_cost_less_and_nothing_is_measured_twice(
    network: QuantizedNetwork, utterances: list[tuple[str, np.ndarray]], tmp_path: Path
) -> None:
    some = with_layers(network, set(list(network.layers)[:3]))
    data, path = UtteranceSet(utterances[4:], OPTIONS), tmp_path / "sensitivity.json"
    calls: list[int] = []

    def wer(rows: dict[str, np.ndarray]) -> float:
        calls.append(len(rows))
        return 10.0

    begun = sensitivity(some, data, path, {"bits": 4}, wer)
    first = [next(begun) for _ in range(3)]
    begun.close()  # as if it was killed
    assert len(json.loads(path.read_text())["measurements"]) == 3
    found = list(sensitivity(some, data, path, {"bits": 4}, wer))
    assert found[:3] == first
    assert calls == [2] * (2 + 2 * 3)
    kl = {(measurement.mode, measurement.layer): measurement.kl for measurement in found}
    assert kl["float", ""] == 0.0
    for name in some.layers:
        assert 0 < kl["alone", name] < kl["all", ""]
        assert 0 < kl["left out", name] < 1.5 * kl["all", ""]


def test_measurements_of_something_else_are_not_taken(
    network: QuantizedNetwork,
    utterances: list[tuple[str, np.ndarray]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    data, path = UtteranceSet(utterances[4:], OPTIONS), tmp_path / "sensitivity.json"
    next(sensitivity(with_layers(network, set()), data, path, {"bits": 4}))
    with caplog.at_level("INFO"):
        next(sensitivity(with_layers(network, set()), data, path, {"bits": 5}))
    assert "is measured again, as this has changed: bits" in caplog.text
    assert json.loads(path.read_text())["about"] == {"bits": 5}
    path.write_text("{")
    with pytest.raises(DataError, match="is not a file of sensitivity measurements"):
        next(sensitivity(with_layers(network, set()), data, path, {"bits": 4}))


def test_the_verb_writes_a_table_and_a_plot(
    example: Path,
    utterances: list[tuple[str, np.ndarray]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    feats = f"scp:{example}/data/train_sub_hires/feats.scp"
    model = str(example / "exp/chain/tdnn1a_sp/final.mdl")
    config = tmp_path / "two.yaml"
    config.write_text("layers: {'tdnn*': {float_reason: kept}}\n")
    command = ["sensitivity", "--config", str(config), "--max-utterances", "2"]
    assert run([*command, "--graph-dir", "graph", model, feats, feats, str(tmp_path)]) == 1
    assert "give both --graph-dir and --data-dir, or neither" in capsys.readouterr().err
    with matrix_writer(f"ark:{tmp_path}/held.ark") as writer:
        for name, matrix in utterances[:2]:
            writer.write(name, matrix)
    assert run([*command, model, feats, f"ark:{tmp_path}/held.ark", str(tmp_path)]) == 0
    table = (tmp_path / "sensitivity.txt").read_text()
    assert capsys.readouterr().out == table
    assert {line.split()[-1] for line in table.splitlines() if " alone " in line} == {
        "output.affine",
        "prefinal-chain.affine",
    }
    again = tmp_path / "again"
    command[1:1] = ["--memory", "0"]
    assert run([*command, model, feats, f"ark:{tmp_path}/held.ark", str(again)]) == 0
    one, other = (json.loads((folder / "sensitivity.json").read_text()) for folder in (tmp_path, again))
    assert one["measurements"] == other["measurements"]
