"""Mask networks as files, windows, the front, scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from kaldi_quant.errors import FormatError, ModelError, UsageError
from kaldi_quant.frontends.enhancement.data import Pair
from kaldi_quant.frontends.enhancement.zoo.evaluation import evaluate, in_windows, mask_of_file
from kaldi_quant.frontends.enhancement.zoo.front import ZooFront
from kaldi_quant.frontends.enhancement.zoo.mask_file import read_mask_file, write_static
from kaldi_quant.frontends.enhancement.zoo.measures import MEASURES, measured, sisnr, snr
from kaldi_quant.frontends.enhancement.zoo.sections import Preprocessing
from kaldi_quant.frontends.enhancement.zoo.windows import Windowed
from tests.frontends.enhancement.zoo.tiny import BINS, config, foreign_network, tone

SMALL = Preprocessing(n_fft=64, hop_length=32, win_length=64)


def identity(path: Path, inputs: dict[str, list[int | str]], kind: int = TensorProto.FLOAT) -> Path:
    """A file that gives its first input back."""
    given = [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()]
    result = helper.make_tensor_value_info("mask", kind, next(iter(inputs.values())))
    node = helper.make_node("Identity", [next(iter(inputs))], ["mask"])
    graph = helper.make_graph([node], "identity", given, [result])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_a_file_tells_its_length(tmp_path: Path) -> None:
    free = read_mask_file(foreign_network(tmp_path / "free.onnx"), BINS)
    assert (free.input, free.output, free.frames, free.axis, free.quantized) == ("noisy", "mask", None, "seq_len", None)
    fixed = read_mask_file(foreign_network(tmp_path / "fixed.onnx", 40, batch=1), BINS)
    assert (fixed.frames, fixed.axis, fixed.batch) == (40, "", 1)
    assert free.batch == "batch"


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        ({"x": [1, BINS, "t"], "y": [1]}, "found 2 inputs: x, y"),
        ({"x": [1, BINS]}, r"expected one input \(batch, bins, frames\) of float32, found x \(1, 33\)"),
        ({"x": [1, 257, "t"]}, r"expected 33 bins, .* found x \(1, 257, t\)"),
        ({"x": [4, BINS, "t"]}, "expected a batch of any size or of 1"),
        ({"x": [1, BINS, 0]}, r"expected at least one frame, found x \(1, 33, 0\)"),
    ],
)
def test_networks_of_other_forms_are_refused(tmp_path: Path, inputs: dict[str, list[int | str]], match: str) -> None:
    with pytest.raises(ModelError, match=match):
        read_mask_file(identity(tmp_path / "x.onnx", inputs), BINS)


def test_other_types_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="of int64"):
        read_mask_file(identity(tmp_path / "x.onnx", {"x": [1, BINS, "t"]}, TensorProto.INT64), BINS)
    (tmp_path / "text.onnx").write_text("no network")
    for name in ("text.onnx", "missing.onnx"):
        with pytest.raises(FormatError, match=name):
            read_mask_file(tmp_path / name, BINS)


def test_a_static_file_gives_what_the_dynamic_one_gives(tmp_path: Path) -> None:
    source = read_mask_file(foreign_network(tmp_path / "free.onnx"), BINS)
    write_static(source, 24, tmp_path / "static.onnx")
    static = read_mask_file(tmp_path / "static.onnx", BINS)
    assert static.frames == 24
    shape = [axis.dim_value for axis in onnx.load(str(static.path)).graph.output[0].type.tensor_type.shape.dim]
    assert shape == [1, BINS, 24]
    x = torch.rand(1, BINS, 24)
    assert torch.equal(static.mask(x), source.mask(x))
    with pytest.raises(ModelError, match="has 24 frames, which cannot become 30"):
        write_static(static, 30, tmp_path / "other.onnx")


def local_mask(x: torch.Tensor) -> torch.Tensor:
    """Looks two frames to each side: the sum, 0 beyond the edges."""
    padded = torch.nn.functional.pad(x, (2, 2))
    return padded.unfold(-1, 5, 1).sum(-1)


@pytest.mark.parametrize("length", [1, 2, 9, 10, 11, 20, 37])
def test_windows_give_what_a_network_gives_that_sees_no_further(length: int) -> None:
    x = torch.rand(1, 3, length)
    assert torch.allclose(Windowed(local_mask, 14, 2)(x), local_mask(x))


def test_windows_show_where_a_network_sees_further() -> None:
    x = torch.rand(1, 3, 30)
    assert not torch.allclose(Windowed(local_mask, 14, 1)(x), local_mask(x))


def test_a_window_without_a_patch_is_refused() -> None:
    with pytest.raises(UsageError, match="has no room for 5 frames"):
        Windowed(local_mask, 10, 5)


def test_another_stated_length_is_refused(tmp_path: Path) -> None:
    file = read_mask_file(foreign_network(tmp_path / "fixed.onnx", 40, batch=1), BINS)
    found = config(
        tmp_path, "evaluation", model={"onnx_path": "x"}, dataset={"name": "valentini", "root_folder": str(tmp_path)}
    )
    assert isinstance(mask_of_file(file, found, 40), Windowed)
    with pytest.raises(UsageError, match=r"is 30, but .* is for 40 frames"):
        mask_of_file(file, found, 30)
    assert in_windows(local_mask, found, None) is local_mask


@pytest.mark.parametrize("samples", [0, 1, 31, 32, 100, 1001])
def test_signals_of_every_length_come_back(samples: int) -> None:
    front = ZooFront.of(SMALL)
    wave = np.random.default_rng(samples).normal(size=samples).astype(np.float32)
    assert np.allclose(front.enhance_wave(torch.ones_like, wave), wave, atol=1e-5)


def test_the_front_is_as_it_is_asked_for() -> None:
    front = ZooFront.of(Preprocessing(n_fft=64, hop_length=16, win_length=64, window="hamming", power=2.0))
    spectrum = front.stft.spectrum(torch.ones(1, 200))
    assert torch.equal(front.inputs(spectrum), spectrum.abs().transpose(1, 2) ** 2)
    assert front.stft.analysis[0] == pytest.approx(0.08)
    with pytest.raises(UsageError, match="window 'none' cannot be made"):
        ZooFront.of(Preprocessing(window="none"))
    with pytest.raises(UsageError, match="choose a smaller hop_length"):
        ZooFront.of(Preprocessing(n_fft=64, hop_length=64, win_length=64))


def test_loud_and_silent_clips_are_normalized() -> None:
    front = ZooFront.of(Preprocessing(peak_normalize=True))
    assert front.normalized(np.array([0.5, -2.0], np.float32)).tolist() == [0.25, -1.0]
    assert front.normalized(np.zeros(3, np.float32)).tolist() == [0, 0, 0]


def test_ratios_keep_means() -> None:
    clean, enhanced = np.array([1.0, 1.0]), np.array([2.0, 1.0])
    assert snr(clean, enhanced) == pytest.approx(10 * np.log10(2 / 1))
    assert sisnr(clean, enhanced) == pytest.approx(10 * np.log10(4.5 / 0.5))
    assert (snr(clean, clean), sisnr(clean, clean * 3), snr(clean * 0, clean)) == (100, 100, -100)


@pytest.mark.parametrize("samples", [0, 1, 300, 4000])
def test_silence_and_short_clips_have_scores(samples: int) -> None:
    noise = np.random.default_rng(0).normal(size=samples).astype(np.float32)
    for clean, enhanced in ((noise * 0, noise), (noise, noise * 0), (noise * 0, noise * 0), (noise, noise)):
        found = measured(clean, enhanced, 16000)
        assert list(found) == list(MEASURES)
        assert np.isfinite(list(found.values())).all()


def test_scores_are_means_over_clips(tmp_path: Path) -> None:
    pairs = []
    for place in range(2):
        noisy, clean = (side.astype(np.float32) for side in tone(0.5, 16000, 120, place))
        pairs.append(Pair(str(place), noisy, clean))
    found = evaluate(torch.ones_like, ZooFront.of(SMALL), pairs, 16000)  # type: ignore[arg-type]
    assert found.means["snr"] == pytest.approx(np.mean([snr(pair.clean, pair.noisy) for pair in pairs]), abs=1e-3)
    found.write(tmp_path)
    lines = (tmp_path / "detailed_metrics.csv").read_text().splitlines()
    assert lines[0] == "name,pesq,stoi,snr,sisnr,mse" and len(lines) == 3
