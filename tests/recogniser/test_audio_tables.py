"""Features and i-vectors of recordings, as they are made for quantization; and how recordings are read."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.cli.main import run
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.ivectors.options import ExtractionInfo
from kaldi_quant.kaldi.mfcc_options import MfccOptions
from kaldi_quant.kaldi.vosk_folder import VoskFolder
from kaldi_quant.recogniser.audio import read_recording
from kaldi_quant.recogniser.audio_tables import AudioTables, write_audio_tables
from tests.references import read_archive

RATE = 16000


@pytest.fixture(scope="module")
def folder(vosk_model: Path) -> VoskFolder:
    return VoskFolder.read(vosk_model)


@pytest.fixture(scope="module")
def mfcc(folder: VoskFolder) -> MfccOptions:
    return folder.mfcc_options()


@pytest.fixture
def wavs(example: Path, tmp_path: Path) -> Path:
    """Two recordings, one of them in a folder within."""
    (tmp_path / "wavs/a b").mkdir(parents=True)
    shutil.copy(example / "wav/test000-000.wav", tmp_path / "wavs/one.wav")
    shutil.copy(example / "wav/test030-006.wav", tmp_path / "wavs/a b/two.WAV")
    return tmp_path / "wavs"


def written(
    wavs: str | Path, out: Path, mfcc: MfccOptions, extraction: ExtractionInfo | None = None, share: float = 0.1
) -> tuple[AudioTables, BadUtterances]:
    bad = BadUtterances(share)
    return write_audio_tables(str(wavs), out, mfcc, extraction, bad), bad


def test_a_folder(wavs: Path, folder: VoskFolder, mfcc: MfccOptions, tmp_path: Path) -> None:
    tables, bad = written(wavs, tmp_path, mfcc, folder.extraction())
    assert (bad.good, bad.bad, tables.period) == (2, 0, 10)
    feats, ivectors = (read_archive(tmp_path / f"{name}.ark") for name in ("feats", "ivectors"))
    assert list(feats) == list(ivectors) == ["a_b_two", "one"]
    for name, rows in feats.items():
        assert rows.shape[1] == 40 and ivectors[name].shape == (-(-len(rows) // 10), 20)
    assert np.abs(ivectors["one"][-1] - ivectors["a_b_two"][-1]).max() > 0.1


def test_features_are_those_of_make_mfcc(wavs: Path, folder: VoskFolder, mfcc: MfccOptions, tmp_path: Path) -> None:
    """Of a wav.scp, too, and without an extractor."""
    script = tmp_path / "wav.scp"
    script.write_text(f"one {wavs}/one.wav\n")
    tables, _ = written(script, tmp_path, mfcc)
    assert tables.ivectors == "" and tables.period == 0
    config = str(folder.mfcc_config)
    assert run(["make-mfcc", "--config", config, f"scp:{script}", f"ark:{tmp_path}/whole.ark"]) == 0
    feats, whole = (read_archive(tmp_path / f"{name}.ark") for name in ("feats", "whole"))
    np.testing.assert_allclose(feats["one"], whole["one"], rtol=0, atol=2e-3)
    (tmp_path / "again").mkdir()
    assert written(f"scp:{script}", tmp_path / "again", mfcc)[1].good == 1


def test_recordings_that_cannot_be_used_are_left_out(
    wavs: Path, mfcc: MfccOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(wavs / "nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    (wavs / "text.flac").write_text("no audio")
    # The same name but for its ending.
    soundfile.write(wavs / "one.flac", np.zeros(RATE, np.int16), RATE)
    with pytest.raises(DataError, match=r"3 of 5 utterances could not be used, more than the share of 0\.1"):
        written(wavs, tmp_path, mfcc)
    _, bad = written(wavs, tmp_path, mfcc, share=0.6)
    assert (bad.good, bad.bad) == (2, 3)
    assert list(read_archive(tmp_path / "feats.ark")) == ["a_b_two", "one"]


def test_what_is_no_speech(mfcc: MfccOptions, folder: VoskFolder, tmp_path: Path) -> None:
    wavs = tmp_path / "wavs"
    wavs.mkdir()
    with pytest.raises(DataError, match=r"wavs has no recordings: expected files such as \.wav, \.flac"):
        written(wavs, tmp_path, mfcc)
    soundfile.write(wavs / "silence.wav", np.zeros(RATE, np.int16), RATE)
    _, bad = written(wavs, tmp_path, mfcc, folder.extraction())
    assert bad.good == 1 and np.isfinite(read_archive(tmp_path / "feats.ark")["silence"]).all()
    soundfile.write(wavs / "silence.wav", np.zeros(100, np.int16), RATE)
    with pytest.raises(DataError, match="none of the 1 utterances could be used; the last was utterance silence: "):
        written(wavs, tmp_path, mfcc, folder.extraction())


def test_the_first_channel_is_read_at_the_rate_of_the_file(tmp_path: Path) -> None:
    both = np.stack([np.arange(-50, 50), np.ones(100)], 1).astype(np.int16)
    soundfile.write(tmp_path / "both.wav", both, 11025)
    samples, rate = read_recording(tmp_path / "both.wav")
    assert rate == 11025 and samples.dtype == np.float32 and samples.flags.c_contiguous
    np.testing.assert_array_equal(samples, both[:, 0])


def test_recordings_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.wav: there is no such file"):
        read_recording(tmp_path / "none.wav")
    (tmp_path / "empty.wav").touch()
    with pytest.raises(DataError, match=r"empty\.wav is no audio that can be read: "):
        read_recording(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "inf.wav", np.array([0, np.inf], np.float32), RATE, subtype="FLOAT")
    with pytest.raises(DataError, match=r"inf\.wav holds samples that are not finite"):
        read_recording(tmp_path / "inf.wav")
