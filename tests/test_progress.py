"""Progress: lines in a log, a bar on a terminal."""

import logging
import re
import sys

import pytest

from kaldi_quant.progress import progress


def test_lines_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "kaldi_quant"), progress(4, "decoding", every=0.0) as advance:
        advance(1)
        advance(3)
    lines = [record.getMessage().rsplit(",", 1)[0] for record in caplog.records]
    assert lines == [
        "decoding: 1 of 4 utterances (25%)",
        "decoding: 4 of 4 utterances (100%)",
        "decoding: 4 of 4 utterances (100%)",
    ]


def test_lines_come_seldom_and_without_a_total(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "kaldi_quant"), progress(None, "reading", unit="frames", every=1000) as advance:
        for _ in range(5):
            advance(2)
    assert [record.getMessage().rsplit(",", 1)[0] for record in caplog.records] == ["reading: 10 frames"]


def test_a_bar_on_a_terminal_and_lines_for_the_log_file(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with caplog.at_level(logging.DEBUG, "kaldi_quant"), progress(4, "decoding") as advance:
        advance(4)
    assert "4/4" in capsys.readouterr().err
    assert [record.levelno for record in caplog.records] == [logging.DEBUG]


def test_failed_work_does_not_report_its_end(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "kaldi_quant"), pytest.raises(RuntimeError), progress(4, "decoding"):
        raise RuntimeError
    assert not caplog.records


def test_the_unit_at_work_and_the_time_left(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "kaldi_quant"), progress(2, "quantizing", "layers", every=0.0) as advance:
        advance(0, "tdnn1.affine")
        advance(1, "tdnn2.affine")
        advance(1)
    lines = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(r"quantizing: 0 of 2 layers \(0%\), now tdnn1\.affine, 0\.\d s", lines[0])
    assert re.fullmatch(r"quantizing: 1 of 2 layers \(50%\), now tdnn2\.affine, 0\.\d s \(0 s left\)", lines[1])
    assert re.fullmatch(r"quantizing: 2 of 2 layers \(100%\), 0\.\d s", lines[-1])


def test_brief_work_is_done_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "kaldi_quant"), progress(2, "quantizing", brief=True) as advance:
        advance(2)
    assert not caplog.records


def test_work_within_work_has_no_bar_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress(2, "search") as outer:
        with progress(3, "quantizing", "layers") as inner:
            inner(3, "tdnn1.affine")
        outer(2)
    shown = capsys.readouterr().err
    assert "search" in shown
    assert "quantizing" not in shown
