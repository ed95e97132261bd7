"""Many utterances that cannot be used do not fill the screen: the first few are told, and how many more there are."""

import logging

import pytest

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.errors import DataError


def reported(number: int, caplog: pytest.LogCaptureFixture) -> dict[int, list[str]]:
    """Level → messages, of so many bad utterances among 100."""
    bad = BadUtterances(0.5)
    with caplog.at_level(logging.DEBUG):
        for count in range(number):
            bad.report(f"utt{count}", DataError("it has no frames"))
        bad.good = 100 - number
        bad.check()
    records = {level: [] for level in (logging.WARNING, logging.DEBUG)}
    for record in caplog.records:
        records[record.levelno].append(record.getMessage())
    return records


def test_few_are_all_told(caplog: pytest.LogCaptureFixture) -> None:
    records = reported(5, caplog)
    assert records[logging.WARNING] == [f"leaving out utterance utt{count}: it has no frames" for count in range(5)]
    assert records[logging.DEBUG] == []


def test_of_many_the_rest_is_counted_and_in_the_log_file(caplog: pytest.LogCaptureFixture) -> None:
    records = reported(40, caplog)
    assert len(records[logging.WARNING]) == 6
    assert records[logging.WARNING][-1] == "35 more utterances are left out; 'kaldi-quant --log FILE' lists all of them"
    assert records[logging.DEBUG] == [f"leaving out utterance utt{count}: it has no frames" for count in range(5, 40)]


def test_a_job_that_fails_counts_them_too(caplog: pytest.LogCaptureFixture) -> None:
    bad = BadUtterances(0.0)
    for count in range(7):
        bad.report(f"utt{count}", DataError("it has no frames"))
    with pytest.raises(DataError, match="none of the 7 utterances could be used"):
        bad.check()
    assert caplog.messages[-1].startswith("2 more utterances are left out")
