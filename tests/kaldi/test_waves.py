"""Audio in archives: read by its header, with offsets, in one stream and through pipes."""

import shutil
import sys
from collections.abc import Iterator
from io import BufferedReader, BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kaldi_quant.errors import DataError, FormatError, UsageError
from kaldi_quant.kaldi import script_streams
from kaldi_quant.kaldi.waves import read_waves
from tests.wav_files import chunk, wav_file

NUMBER, LENGTH = 100, 20_000
KEYS = [f"utt-{number:03d}" for number in range(NUMBER)]


def samples_of(number: int) -> np.ndarray:
    return (np.arange(LENGTH) + number).astype(np.int16)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """wav.ark and wav.scp, as wav-copy writes them: 4 MB."""
    folder = tmp_path_factory.mktemp("wavs")
    with (folder / "wav.ark").open("wb") as ark, (folder / "wav.scp").open("w") as scp:
        for number, key in enumerate(KEYS):
            ark.write(f"{key} ".encode())
            scp.write(f"{key} {folder}/wav.ark:{ark.tell()}\n")
            ark.write(wav_file(samples_of(number)))
    return folder


def check(found: Iterator[tuple[str, object]], keys: list[str] = KEYS) -> None:
    table = dict(found)
    assert list(table) == keys
    for key, audio in table.items():
        np.testing.assert_array_equal(audio.samples[0], samples_of(KEYS.index(key)))  # type: ignore[attr-defined]


def bytes_read() -> int:
    counter = Path("/proc/self/io")
    if not counter.exists():
        pytest.skip("what is read is counted through Linux's /proc")
    return int(counter.read_text().split()[1])


def test_an_archive_from_its_beginning_to_its_end(archive: Path) -> None:
    check(read_waves(f"ark:{archive}/wav.ark"))
    check(read_waves(f"ark:cat {archive}/wav.ark |", allow_pipes=True))
    with pytest.raises(UsageError, match="--allow-pipes"):
        list(read_waves(f"ark:cat {archive}/wav.ark |"))


def test_standard_input(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = BufferedReader(BytesIO((archive / "wav.ark").read_bytes()))  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stdin))
    check(read_waves("ark:-"))


def test_offsets_cost_what_they_point_to(archive: Path, tmp_path: Path) -> None:
    lines = (archive / "wav.scp").read_text().splitlines()
    chosen = [7, 50, 99, 3]
    (tmp_path / "wav.scp").write_text("".join(lines[number] + "\n" for number in chosen))
    before = bytes_read()
    check(read_waves(f"scp:{tmp_path}/wav.scp"), [KEYS[number] for number in chosen])
    # The samples, the scp, and a buffer for each header.
    assert bytes_read() - before < len(chosen) * (2 * LENGTH + 2 * 8192) + 8192


def test_all_offsets_of_an_archive_cost_it_once(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    open_stream = script_streams.open_stream
    monkeypatch.setattr(
        script_streams, "open_stream", lambda name, pipes: opened.append(name) or open_stream(name, pipes)
    )
    before = bytes_read()
    check(read_waves(f"scp:{archive}/wav.scp"))
    assert bytes_read() - before < 1.5 * (archive / "wav.ark").stat().st_size
    assert opened == [f"{archive}/wav.ark"]


def test_commands_and_files_in_one_script(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav_file(samples_of(1)))
    lines = (archive / "wav.scp").read_text().splitlines()
    (tmp_path / "wav.scp").write_text(f"{lines[0]}\n{KEYS[1]} {tmp_path}/a.wav\n{KEYS[2]} cat {tmp_path}/c.wav |\n")
    # What stands behind the samples does not keep the command waiting.
    (tmp_path / "c.wav").write_bytes(wav_file(samples_of(2), behind=chunk(b"LIST", bytes(1 << 18))))
    check(read_waves(f"scp:{tmp_path}/wav.scp", allow_pipes=True), KEYS[:3])


def test_a_command_that_fails_behind_its_output(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav_file(samples_of(0)))
    (tmp_path / "wav.scp").write_text(f"utt cat {tmp_path}/a.wav; exit 3 |\n")
    with pytest.raises(DataError, match=r"utterance utt: .*ended with status 3"):
        list(read_waves(f"scp:{tmp_path}/wav.scp", allow_pipes=True))


def test_a_range_is_not_for_audio(archive: Path, tmp_path: Path) -> None:
    line = (archive / "wav.scp").read_text().splitlines()[0]
    (tmp_path / "wav.scp").write_text(f"{line}[0:100]\n")
    with pytest.raises(DataError, match=r"utterance utt-000 .*the range \[0:100\] is for matrices"):
        list(read_waves(f"scp:{tmp_path}/wav.scp"))


def test_an_archive_that_breaks_off(archive: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = (archive / "wav.ark").read_bytes()
    entry = len(whole) // NUMBER
    (tmp_path / "wav.ark").write_bytes(whole[: entry + 30])
    with pytest.raises(DataError, match=r"utterance utt-001: .*wav\.ark, byte .*a wav file needs"):
        list(read_waves(f"ark:{tmp_path}/wav.ark"))
    check(read_waves(f"ark,p:{tmp_path}/wav.ark"), KEYS[:1])
    assert "the rest of the archive is skipped" in caplog.text
    (tmp_path / "wav.ark").write_bytes(whole[: 2 * entry - 10])
    assert [len(audio.samples[0]) for _, audio in read_waves(f"ark:{tmp_path}/wav.ark")] == [LENGTH, LENGTH - 5]
    assert "is the file truncated?" in caplog.text


def test_what_is_no_archive_of_audio(archive: Path, tmp_path: Path) -> None:
    shutil.copy(archive / "wav.scp", tmp_path / "wav.ark")
    with pytest.raises(DataError, match=r"utterance utt-000: .*expected a wav file"):
        list(read_waves(f"ark:{tmp_path}/wav.ark"))
    (tmp_path / "wav.ark").write_bytes(b"")
    with pytest.raises(FormatError, match="the archive is empty"):
        list(read_waves(f"ark:{tmp_path}/wav.ark"))


def test_segments_of_an_archive_and_a_script_agree(archive: Path, tmp_path: Path) -> None:
    lines = [f"a-1 {KEYS[5]} 0.2 0.5\n", f"a-2 {KEYS[5]} 0.5 -1\n", f"b-1 {KEYS[9]} 0 0.3\n", "c missing 0 1\n"]
    (tmp_path / "segments").write_text("".join(lines))
    bad: list[str] = []
    for rspecifier in (f"scp:{archive}/wav.scp", f"ark:{archive}/wav.ark"):
        bad.clear()
        found = read_waves(rspecifier, segments=f"{tmp_path}/segments", on_bad=lambda _, error: bad.append(str(error)))
        starts = {key: int(audio.samples[0, 0]) for key, audio in found}
        assert starts == {"a-1": 3205, "a-2": 8005, "b-1": 9}
        assert len(bad) == 1 and bad[0].startswith("utterance c: its recording missing is not in ")
