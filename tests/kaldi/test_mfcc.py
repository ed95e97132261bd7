"""MFCC features against Kaldi's own, the options' files, and audio that cannot be used."""

import random
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("kaldi_native_fbank", reason="features from audio need kaldi-native-fbank")

from kaldi_quant.errors import DataError, FormatError, KaldiQuantError, UsageError
from kaldi_quant.kaldi.mfcc import Mfcc
from kaldi_quant.kaldi.mfcc_options import MfccOptions, read_mfcc_config
from kaldi_quant.kaldi.tables import RandomAccessMatrices, read_matrices
from kaldi_quant.kaldi.wave_reader import WaveData
from kaldi_quant.kaldi.waves import read_segments, read_waves

KALDI = Path(__file__).resolve().parents[1] / "data" / "mfcc"
UTTERANCE = "test030-006"
# Where the lifter multiplies by up to 12 and energies near zero pass through the logarithm, Kaldi and
# kaldi-native-fbank differ by 1e-3 at most (values reach 135).
TOLERANCE = 1.5e-3


@pytest.fixture
def hires(example: Path) -> MfccOptions:
    return read_mfcc_config(example / "conf" / "mfcc_hires.conf")


def write_wave(path: Path, samples: np.ndarray, rate: int = 16000, width: int = 2) -> None:
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(samples.tobytes())


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mfcc13", {}),
        ("mfcc13_no_snip", {"snip_edges": False}),
        ("mfcc13_energy", {"raw_energy": False, "energy_floor": 0.1}),
        ("mfcc13_htk", {"htk_compat": True, "use_energy": False}),
        ("mfcc13_downsampled", {"sample_frequency": 8000.0, "allow_downsample": True}),
        ("mfcc13_upsampled", {"sample_frequency": 22050.0, "high_freq": 7600.0, "allow_upsample": True}),
        ("mfcc_8k_band", {"low_freq": 64.0, "high_freq": 3800.0, "frame_length": 20.0, "frame_shift": 8.0}),
    ],
)
def test_kaldis_features(example: Path, name: str, changes: dict[str, object]) -> None:
    check(example, name, replace(MfccOptions(), **changes))


@pytest.mark.parametrize(
    ("name", "changes"),
    [("mfcc_hires", {}), ("mfcc_hires_hamming", {"window_type": "hamming", "cepstral_lifter": 0.0})],
)
def test_kaldis_hires_features(example: Path, hires: MfccOptions, name: str, changes: dict[str, object]) -> None:
    check(example, name, replace(hires, **changes))


def check(example: Path, name: str, options: MfccOptions) -> None:
    waves = dict(read_waves(f"scp:{example}/data/test_wav/wav.scp"))
    ((utterance, expected),) = read_matrices(f"ark:{KALDI}/{name}.ark")
    found = Mfcc(options).compute(utterance, waves[utterance])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


def test_the_examples_archived_features(example: Path, hires: MfccOptions) -> None:
    """They were compressed and made with dither, which fills frames of digital silence: correlation, not equality."""
    archived = RandomAccessMatrices(f"scp:{example}/data/test_hires/feats.scp")
    extractor = Mfcc(hires)
    correlations = []
    for utterance, audio in read_waves(f"scp:{example}/data/test_wav/wav.scp"):
        found, expected = extractor.compute(utterance, audio), archived.get(utterance)
        assert found.shape == expected.shape
        loud = found[:, 0] > 20
        correlations.append(np.corrcoef(found[loud].ravel(), expected[loud].ravel())[0, 1])
    assert len(correlations) == 12
    assert min(correlations) > 0.999


def test_the_same_audio_gives_the_same_features(example: Path, hires: MfccOptions) -> None:
    audio = dict(read_waves(f"scp:{example}/data/test_wav/wav.scp"))[UTTERANCE]
    np.testing.assert_array_equal(Mfcc(hires).compute("u", audio), Mfcc(hires).compute("u", audio))
    noisy = Mfcc(replace(hires, dither=1.0)).compute("u", audio)
    assert np.abs(noisy - Mfcc(hires).compute("u", audio)).max() > 0.01


def test_subtract_mean(example: Path, hires: MfccOptions) -> None:
    audio = dict(read_waves(f"scp:{example}/data/test_wav/wav.scp"))[UTTERANCE]
    found = Mfcc(replace(hires, subtract_mean=True)).compute("u", audio)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-3)


def test_a_configuration_file(tmp_path: Path) -> None:
    path = tmp_path / "mfcc.conf"
    path.write_text("# hires\n--use-energy=false  # no energy\n\n--num_ceps=20\n--allow-downsample\n--snip-edges=F\n")
    expected = MfccOptions(use_energy=False, num_ceps=20, allow_downsample=True, snip_edges=False)
    assert read_mfcc_config(path) == expected


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("--num-ceps=13\n--num-cepss=3\n", FormatError, r"mfcc\.conf, line 2: .*allowed are .*--num-ceps=13"),
        ("num-ceps=13\n", FormatError, "line 1: expected an option"),
        ("--num-ceps\n", FormatError, "needs a value, such as --num-ceps=13"),
        ("--num-ceps=many\n", FormatError, "must be an integer, found 'many'"),
        ("--low-freq=abc\n", FormatError, "must be a number"),
        ("--use-energy=maybe\n", FormatError, "must be true or false"),
        ("--num-ceps=24\n", UsageError, "--num-ceps=24"),
        ("--num-mel-bins=300\n", UsageError, "too many"),
        ("--window-type=foo\n", UsageError, "allowed are hamming"),
        ("--high-freq=9000\n", UsageError, "8000 Hz"),
        ("--low-freq=nan\n", UsageError, "finite"),
        ("--frame-shift=0\n", UsageError, "--frame-shift"),
        ("--vtln-warp=1.1\n", UsageError, "not supported"),
    ],
)
def test_bad_configuration_files(tmp_path: Path, content: str, error: type[Exception], message: str) -> None:
    path = tmp_path / "mfcc.conf"
    path.write_text(content)
    with pytest.raises(error, match=message):
        read_mfcc_config(path)


def test_a_missing_configuration_file(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="No such file"):
        read_mfcc_config(tmp_path / "mfcc.conf")


def test_audio_that_does_not_fit(hires: MfccOptions) -> None:
    extractor = Mfcc(hires)
    for rate, option in ((8000, "--allow-upsample=true"), (44100, "--allow-downsample=true")):
        message = f"utt: sampled at {rate} Hz and not at --sample-frequency=16000: {option} resamples it"
        with pytest.raises(DataError, match=message):
            extractor.compute("utt", WaveData(np.zeros((1, 8000), np.int16), rate))
    willing = Mfcc(replace(hires, allow_downsample=True, allow_upsample=True))
    for rate in (999, 1_000_001):
        with pytest.raises(DataError, match=f"utt: from {rate} to 16000 Hz cannot be resampled"):
            willing.compute("utt", WaveData(np.zeros((1, 8000), np.int16), rate))
    with pytest.raises(DataError, match="utt: 399 samples are too few, one frame needs 400"):
        extractor.compute("utt", WaveData(np.zeros((1, 399), np.int16), 16000))
    with pytest.raises(DataError, match="utt: has 1 channels"):
        Mfcc(replace(hires, channel=1)).compute("utt", WaveData(np.zeros((1, 16000), np.int16), 16000))


def test_a_chosen_channel(tmp_path: Path, hires: MfccOptions, caplog: pytest.LogCaptureFixture) -> None:
    samples = np.random.default_rng(0).integers(-1000, 1000, (8000, 2), dtype=np.int16)
    write_wave(tmp_path / "a.wav", samples)
    (tmp_path / "wav.scp").write_text("utt a.wav\n")
    ((_, audio),) = read_waves(f"scp:{tmp_path}/wav.scp")
    np.testing.assert_array_equal(audio.samples, samples.T)
    alone = Mfcc(hires).compute("utt", WaveData(samples.T[1:], 16000))
    np.testing.assert_array_equal(Mfcc(replace(hires, channel=1)).compute("utt", audio), alone)
    assert caplog.text == ""
    extractor = Mfcc(hires)
    first = Mfcc(hires).compute("utt", WaveData(samples.T[:1], 16000))
    for _ in range(2):
        np.testing.assert_array_equal(extractor.compute("utt", audio), first)
    assert caplog.text.count("utterance utt has 2 channels, and --channel is not given: the first one is taken") == 1


def test_segments(tmp_path: Path) -> None:
    write_wave(tmp_path / "a.wav", np.arange(16000, dtype=np.int16))
    (tmp_path / "wav.scp").write_text("rec a.wav\n")
    (tmp_path / "segments").write_text("u1 rec 0.1 0.5\nu2 rec 0.5 -1\nu3 rec 0.25 1.3\n")
    found = dict(read_waves(f"scp:{tmp_path}/wav.scp", segments=f"{tmp_path}/segments"))
    expected = {"u1": (1600, 6400), "u2": (8000, 8000), "u3": (4000, 12000)}
    assert _ranges(found) == expected
    (tmp_path / "wav.ark").write_bytes(b"rec " + (tmp_path / "a.wav").read_bytes())
    assert _ranges(dict(read_waves(f"ark:{tmp_path}/wav.ark", segments=f"{tmp_path}/segments"))) == expected


def _ranges(found: dict[str, WaveData]) -> dict[str, tuple[int, int]]:
    """The first sample and the number of samples, of audio that counts its samples."""
    return {key: (int(audio.samples[0, 0]), audio.samples.shape[1]) for key, audio in found.items()}


def test_times_are_rounded_to_samples(tmp_path: Path) -> None:
    """As extract-segments rounds them: 0.10003 s are 1600.48 samples, 0.10004 s are 1600.64."""
    write_wave(tmp_path / "a.wav", np.arange(16000, dtype=np.int16))
    (tmp_path / "wav.scp").write_text("rec a.wav\n")
    (tmp_path / "segments").write_text("u1 rec 0.10003 0.50003\nu2 rec 0.10004 0.50004\n")
    found = dict(read_waves(f"scp:{tmp_path}/wav.scp", segments=f"{tmp_path}/segments"))
    assert _ranges(found) == {"u1": (1600, 6400), "u2": (1601, 6400)}


def test_segments_of_several_channels_name_theirs(tmp_path: Path) -> None:
    write_wave(tmp_path / "a.wav", np.arange(32000, dtype=np.int16).reshape(16000, 2))
    (tmp_path / "wav.scp").write_text("rec a.wav\n")
    (tmp_path / "segments").write_text("u1 rec 0.1 0.5 1\n")
    found = dict(read_waves(f"scp:{tmp_path}/wav.scp", segments=f"{tmp_path}/segments"))
    assert _ranges(found) == {"u1": (3201, 6400)}
    (tmp_path / "segments").write_text("u1 rec 0.1 0.5\n")
    with pytest.raises(DataError, match="utterance u1: rec has 2 channels: its line in the segments file must end"):
        list(read_waves(f"scp:{tmp_path}/wav.scp", segments=f"{tmp_path}/segments"))


@pytest.mark.parametrize("line", ["u1 rec 2 3", "u1 rec 0.1 1.6", "u1 rec 0.5 0.51", "u1 other 0 1", "u1 rec 0 1 1"])
def test_segments_outside(tmp_path: Path, line: str) -> None:
    write_wave(tmp_path / "a.wav", np.arange(16000, dtype=np.int16))
    (tmp_path / "wav.scp").write_text("rec a.wav\n")
    (tmp_path / "segments").write_text(line + "\n")
    with pytest.raises(DataError, match="utterance u1"):
        list(read_waves(f"scp:{tmp_path}/wav.scp", segments=f"{tmp_path}/segments"))


@pytest.mark.parametrize(
    "line",
    [
        "u1 rec 0",
        "u1 rec a b",
        "u1 rec 2 1",
        "u1 rec nan 1",
        "u1 rec 0 inf",
        "u1 rec 0 -2",
        "u1 rec 0 1 -1",
        "u1 rec 0 1_0",
    ],
)
def test_malformed_segments(tmp_path: Path, line: str) -> None:
    (tmp_path / "segments").write_text(line + "\n")
    with pytest.raises(FormatError, match="segments"):
        read_segments(tmp_path / "segments")


def test_other_audio_is_refused(tmp_path: Path) -> None:
    write_wave(tmp_path / "a.wav", np.zeros(1000, np.uint8), width=1)
    write_wave(tmp_path / "empty.wav", np.zeros(0, np.int16))
    (tmp_path / "b.flac").write_bytes(b"fLaC" + bytes(100))
    for name, message in (("a.wav", "8 bits"), ("empty.wav", "no samples"), ("b.flac", "FLAC"), ("c", "No such")):
        (tmp_path / "wav.scp").write_text(f"utt {name}\n")
        with pytest.raises(DataError, match=f"utterance utt.*{message}"):
            list(read_waves(f"scp:{tmp_path}/wav.scp"))


def test_commands_run_only_when_allowed(tmp_path: Path) -> None:
    write_wave(tmp_path / "a.wav", np.arange(1000, dtype=np.int16))
    (tmp_path / "wav.scp").write_text(f"utt cat {tmp_path}/a.wav |\n")
    with pytest.raises(UsageError, match="--allow-pipes"):
        list(read_waves(f"scp:{tmp_path}/wav.scp"))
    ((_, audio),) = read_waves(f"scp:{tmp_path}/wav.scp", allow_pipes=True)
    assert audio.samples.shape == (1, 1000)
    (tmp_path / "wav.scp").write_text("utt exit 5 |\n")
    with pytest.raises(DataError, match="status 5"):
        list(read_waves(f"scp:{tmp_path}/wav.scp", allow_pipes=True))


def test_damaged_audio_ends_in_samples_or_one_sentence(example: Path, tmp_path: Path) -> None:
    source = (example / "wav" / f"{UTTERANCE}.wav").read_bytes()[:3000]
    (tmp_path / "wav.scp").write_text("utt a.wav\n")
    random.seed(3)
    for trial in range(300):
        data = bytearray(source)
        if trial % 3 == 0:
            del data[random.randrange(len(data)) :]
        else:
            for _ in range(4):
                data[random.randrange(44)] = random.randrange(256)
        (tmp_path / "a.wav").write_bytes(data)
        try:
            for _, audio in read_waves(f"scp:{tmp_path}/wav.scp"):
                assert audio.samples.nbytes <= len(data)
        except KaldiQuantError as error:
            assert "utt" in str(error)
