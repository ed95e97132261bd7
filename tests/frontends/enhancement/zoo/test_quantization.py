"""Quantization of a network that was made elsewhere; options and traps of onnxruntime's."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import quantization

from kaldi_quant.backends.onnx.static_quantization import StaticOptions, quantize_static
from kaldi_quant.errors import DataError, ModelError, UsageError
from kaldi_quant.frontends.enhancement.zoo.config import ZooConfig
from kaldi_quant.frontends.enhancement.zoo.data import calibration_clips
from kaldi_quant.frontends.enhancement.zoo.front import ZooFront
from kaldi_quant.frontends.enhancement.zoo.mask_file import MaskFile, read_mask_file
from kaldi_quant.frontends.enhancement.zoo.quantization import QuantizedFiles, magnitudes, quantize_both, require_float
from kaldi_quant.frontends.enhancement.zoo.sections import Preprocessing
from tests.frontends.enhancement.zoo.tiny import BINS, config, foreign_network, tone, write_pair

SMALL = Preprocessing(n_fft=64, hop_length=32, win_length=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of other hands, and clips of different lengths."""
    place = tmp_path_factory.mktemp("foreign")
    foreign_network(place / "float.onnx")
    for number in range(5):
        write_pair(place, "trainset_28spk", f"{number}", tone(0.1 + 0.03 * number, 16000, 120, number), 16000)
    return place


def settings(folder: Path, place: Path, **changes: object) -> ZooConfig:
    quantization = {"noisy_quantization_files_path": str(folder / "noisy_trainset_28spk_wav"), **changes}
    model = {"onnx_path": str(folder / "float.onnx")}
    return config(place, "quantization", model=model, dataset={"name": "custom"}, quantization=quantization)


def quantized(folder: Path, place: Path, **changes: object) -> dict[str, QuantizedFiles]:
    found = settings(folder, place, **changes)
    front = ZooFront.of(found.preprocessing)
    return quantize_both(source(folder), calibration_clips(found, front), found, front, place)


def test_a_network_for_one_clip_stays_one(folder: Path, tmp_path: Path) -> None:
    found = settings(folder, tmp_path)
    front = ZooFront.of(found.preprocessing)
    one = read_mask_file(foreign_network(tmp_path / "one.onnx", batch=1), BINS)
    for files in quantize_both(one, calibration_clips(found, front), found, front, tmp_path).values():
        assert (files.dynamic.batch, files.dynamic.axis, files.static.frames) == (1, "seq_len", 40)


def source(folder: Path) -> MaskFile:
    return read_mask_file(folder / "float.onnx", BINS)


def inputs(frames: int) -> torch.Tensor:
    front = ZooFront.of(SMALL)
    wave = torch.from_numpy(tone(0.3, 16000, 150, 7)[0].astype(np.float32))
    return front.inputs(front.stft.spectrum(wave[None]))[..., :frames].contiguous()


def test_a_foreign_network_is_quantized_twice(folder: Path, tmp_path: Path) -> None:
    extra = {"extra_options": {"CalibMovingAverage": True}, "op_types_to_quantize": ["Add", "Conv", "Relu"]}
    found = quantized(folder, tmp_path, **extra)
    x, y = inputs(40), inputs(57)
    exact, longer = source(folder).mask(x), source(folder).mask(y)
    assert list(found) == ["onnxruntime", "kaldi_quant"]
    for files in found.values():
        assert (files.dynamic.frames, files.static.frames) == (None, 40)
        assert files.dynamic.quantized and files.static.quantized
        assert [(file.input, file.output) for file in (files.dynamic, files.static)] == [("noisy", "mask")] * 2
        assert files.dynamic.axis == "seq_len"
        assert torch.equal(files.static.mask(x), files.dynamic.mask(x))
        for given, wanted in ((x, exact), (y, longer)):
            error = (files.dynamic.mask(given) - wanted).abs().max()
            assert 0 < error < 0.05
    prepared = onnx.load(str(tmp_path / "preprocessed_model.onnx"))
    assert [entry.domain for entry in prepared.opset_import] == [""]
    kinds = [node.op_type for node in onnx.load(str(found["onnxruntime"].dynamic.path)).graph.node]
    assert "BatchNormalization" not in kinds and kinds.count("Conv") == 3


@pytest.mark.parametrize("method", ["Entropy", "Percentile"])
def test_histograms_bear_clips_of_different_lengths(folder: Path, tmp_path: Path, method: str) -> None:
    found = quantized(folder, tmp_path, calibration_method=method)["onnxruntime"]
    assert (found.dynamic.mask(inputs(57)) - source(folder).mask(inputs(57))).abs().max() < 0.1


def scales(path: Path) -> dict[str, float]:
    graph = onnx.load(str(path)).graph
    return {e.name: onnx.numpy_helper.to_array(e).ravel()[0] for e in graph.initializer if e.name.endswith("_scale")}


def static(folder: Path, place: Path, options: StaticOptions, clips: int = 5) -> dict[str, float]:
    found = settings(folder, place)
    front = ZooFront.of(found.preprocessing)
    given = ({"noisy": x.numpy()} for x in list(magnitudes(calibration_clips(found, front), front))[:clips])
    quantize_static(folder / "float.onnx", place / "made.onnx", given, options)
    return scales(place / "made.onnx")


def test_fewer_kept_outputs_give_the_same_ranges(folder: Path, tmp_path: Path) -> None:
    whole = static(folder, tmp_path, StaticOptions())
    assert static(folder, tmp_path, StaticOptions(extra_options={"CalibMaxIntermediateOutputs": 5})) == whole
    assert static(folder, tmp_path, StaticOptions(extra_options={"CalibMaxIntermediateOutputs": 2})) == whole
    assert static(folder, tmp_path, StaticOptions(extra_options={"CalibMovingAverage": True})) != whole
    narrow = static(folder, tmp_path, StaticOptions(reduce_range=True))
    assert narrow != whole


def test_strides_divide_the_inputs(folder: Path, tmp_path: Path) -> None:
    options = StaticOptions(extra_options={"CalibStridedMinMax": 2})
    with pytest.raises(UsageError, match="2 does not divide the number of inputs to calibrate on, 5"):
        static(folder, tmp_path, options)
    assert static(folder, tmp_path, options, 4)
    with pytest.raises(UsageError, match="exclude each other"):
        StaticOptions(extra_options={"CalibMaxIntermediateOutputs": 2, "CalibMovingAverage": True})


def test_what_onnxruntime_logs_goes_nowhere(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def logs(*words: object, **options: object) -> None:
        # The first record of a program without handlers brings one, which prints all that follow.
        logging.info("a copy of a bias")
        raise ValueError("no more")

    monkeypatch.setattr(quantization, "quantize_static", logs)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with pytest.raises(ModelError, match="no more"):
        static(folder, tmp_path, StaticOptions())
    assert not logging.getLogger().handlers


def test_nothing_to_calibrate_on_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to calibrate on"):
        quantize_static(folder / "float.onnx", tmp_path / "made.onnx", [])
    with pytest.raises(ModelError, match="cannot be quantized by onnxruntime"):
        quantize_static(folder / "float.onnx", tmp_path / "made.onnx", [{"noisy": np.zeros((1, 5, 4), np.float32)}])


def test_clips_are_drawn_by_the_seed(folder: Path, tmp_path: Path) -> None:
    def lengths(seed: int, amount: float | None = 2) -> list[int]:
        found = settings(folder, tmp_path, random_seed=seed, num_quantization_samples=amount)
        clips = calibration_clips(found, ZooFront.of(found.preprocessing))
        return [len(clips[place]) for place in range(len(clips))]

    assert lengths(1) == lengths(1)
    assert len({tuple(lengths(seed)) for seed in range(8)}) > 1
    assert len(lengths(0, 0.6)) == 3 and len(lengths(0, None)) == 5


def test_pieces_of_one_length() -> None:
    front = ZooFront.of(SMALL)
    waves = [np.ones(n, np.float32) for n in (0, 32 * 4, 32 * 24)]
    assert [x.shape[-1] for x in magnitudes(waves, front)] == [5, 25]
    assert [x.shape[-1] for x in magnitudes(waves, front, 10)] == [10, 10, 10]


def test_what_cannot_be_quantized_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"static_axis_name is 'time', but the last axis of .* is 'seq_len'"):
        quantized(folder, tmp_path, static_axis_name="time")
    made = quantized(folder, tmp_path)["onnxruntime"]
    with pytest.raises(UsageError, match=r"is quantized already .*: the mode chain_qb begins with a float network"):
        require_float(made.dynamic, "chain_qb")
    found = settings(folder, tmp_path)
    front = ZooFront.of(found.preprocessing)
    fixed = read_mask_file(foreign_network(tmp_path / "fixed.onnx", 40, batch=1), BINS)
    with pytest.raises(UsageError, match="is for 40 frames: quantization begins with"):
        quantize_both(fixed, calibration_clips(found, front), found, front, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"has no files that end with \.wav"):
        calibration_clips(settings(folder, tmp_path, noisy_quantization_files_path=str(tmp_path / "empty")), front)
