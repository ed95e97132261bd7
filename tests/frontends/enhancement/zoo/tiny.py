"""What tests of the zoo's services share: a tiny tree of clips, a mask network of other hands, a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import soundfile
import yaml
from onnx import TensorProto, helper, numpy_helper

from kaldi_quant.frontends.enhancement.zoo.config import ZooConfig
from kaldi_quant.frontends.enhancement.zoo.config_file import read_zoo_config

BINS = 33


def tone(seconds: float, rate: int, pitch: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Something like a vowel, noisy and clean."""
    t = np.arange(int(seconds * rate)) / rate
    clean = sum(np.sin(2 * np.pi * pitch * k * t + k) / k for k in range(1, 12)) * (0.5 + 0.5 * np.sin(20 * t)) ** 2
    clean = 0.3 * clean / np.abs(clean).max()
    return clean + 0.03 * np.random.default_rng(seed).normal(size=len(t)), clean


def write_pair(folder: Path, split: str, name: str, pair: tuple[np.ndarray, np.ndarray], rate: int) -> None:
    """A noisy and a clean file, as Valentini's tree has them."""
    for kind, wave in zip(("noisy", "clean"), pair, strict=True):
        place = folder / f"{kind}_{split}_wav"
        place.mkdir(parents=True, exist_ok=True)
        soundfile.write(place / f"{name}.wav", wave.astype(np.float32), rate, subtype="PCM_16")


def valentini_tree(folder: Path) -> Path:
    """Four clips of training by two speakers and two of the test, at 48 kHz."""
    for place in range(4):
        pair = tone(0.45 + 0.05 * place, 48000, 110 + 30 * place, place)
        write_pair(folder, "trainset_28spk", f"p{226 + place % 2}_{place:03d}", pair, 48000)
    for place in range(2):
        write_pair(folder, "testset", f"p232_{place:03d}", tone(0.5, 48000, 130 + 40 * place, 9 + place), 48000)
    return folder


def foreign_network(path: Path, frames: int | str = "seq_len", bins: int = BINS, batch: int | str = "batch") -> Path:
    """A mask network of Conv, BatchNormalization, Relu, a depthwise Conv, Add and Sigmoid, written node by node."""
    random, hidden = np.random.default_rng(0), 8
    shapes = {"inner": (hidden, bins, 1), "bias": (hidden,), "depthwise": (hidden, 1, 3), "outer": (bins, hidden, 1)}
    values = {name: random.normal(size=shape) * 0.3 for name, shape in shapes.items()}
    values |= {"mean": random.normal(size=hidden) * 0.1, "offset": random.normal(size=hidden) * 0.1}
    values |= {"variance": random.uniform(0.5, 1.5, hidden), "scale": random.uniform(0.5, 1.5, hidden)}
    nodes = [
        helper.make_node("Conv", ["noisy", "inner", "bias"], ["a"]),
        helper.make_node("BatchNormalization", ["a", "scale", "offset", "mean", "variance"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "depthwise"], ["d"], pads=[2, 2], dilations=[2], group=hidden),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("Conv", ["e", "outer"], ["f"]),
        helper.make_node("Add", ["f", "noisy"], ["g"]),
        helper.make_node("Sigmoid", ["g"], ["mask"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, bins, frames]) for name in ("noisy", "mask")]
    weights = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "mask network", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def content(mode: str, **sections: Any) -> dict[str, Any]:
    """A configuration of tiny frames, as YAML has it."""
    found: dict[str, Any] = {
        "operation_mode": mode,
        "preprocessing": {"n_fft": 64, "hop_length": 32, "win_length": 64},
        "quantization": {
            "static_sequence_length": 40,
            "static_axis_name": "seq_len",
            "per_channel": True,
            "calibration_method": "MinMax",
            "reduce_range": False,
        },
    }
    for name, values in sections.items():
        found[name] = {**found.get(name, {}), **values}
    return found


def config_file(folder: Path, mode: str, **sections: Any) -> Path:
    """The file of a configuration."""
    path = folder / "user_config.yaml"
    path.write_text(yaml.safe_dump(content(mode, **sections)))
    return path


def config(folder: Path, mode: str, **sections: Any) -> ZooConfig:
    """A configuration that was read."""
    return read_zoo_config(config_file(folder, mode, **sections))
