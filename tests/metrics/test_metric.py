"""What a metric says of values: which are better, and how they are shown."""

from dataclasses import replace

import pytest

from kaldi_quant.errors import DataError
from kaldi_quant.metrics.known import CER, KNOWN, PESQ, SI_SDR, WER, known


def test_a_loss_is_positive_in_either_direction() -> None:
    assert WER.loss(0.5) == 0.5 and WER.loss(-0.5) == -0.5
    assert PESQ.loss(0.5) == -0.5 and PESQ.loss(-0.5) == 0.5


def test_values_have_digits_and_units() -> None:
    assert (WER.number(14.536), WER.shown(14.536), WER.shown_difference(0.04)) == (
        "14.54",
        "14.54 %",
        "+0.04 % absolute",
    )
    assert (SI_SDR.shown(-3.0), SI_SDR.shown_difference(-0.126)) == ("-3.00 dB", "-0.13 dB")
    assert (PESQ.shown(2.48), PESQ.shown_difference(0.1), PESQ.number(2.48, "+")) == ("2.480", "+0.100", "+2.480")


def test_titles_and_units_of_tables_and_axes() -> None:
    assert (WER.column, WER.axis, WER.heading) == ("WER, %", "word error rate, %", "Word error rate")
    assert (SI_SDR.column, SI_SDR.axis, SI_SDR.heading) == ("SI-SDR, dB", "SI-SDR, dB", "SI-SDR")
    assert (PESQ.column, PESQ.axis, PESQ.unit_of_differences) == ("PESQ", "PESQ", "")


def test_what_makes_metrics_different() -> None:
    assert WER.is_same(replace(WER, digits=4, title="WER"))
    for change in ({"name": "CER"}, {"unit": ""}, {"better": "higher"}, {"scale": 1.0}):
        assert not WER.is_same(replace(WER, **change))
    assert str(WER) == "WER (%, times 100, lower is better)" and str(PESQ) == "PESQ (higher is better)"


def test_known_metrics() -> None:
    assert known("pesq") is PESQ and known("Cer") is CER and known("MOS") is None
    assert len({metric.name.casefold() for metric in KNOWN}) == len(KNOWN)
    lower = {metric.name for metric in KNOWN if metric.better == "lower"}
    assert lower == {"WER", "CER", "MSE"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "expected the name of a metric in one word, found ''"),
        ({"name": "word error"}, "in one word, found 'word error'"),
        ({"name": "a\nb"}, r"in one word, found 'a\\nb'"),
        ({"better": "more"}, "PESQ: expected lower or higher values to be better, found 'more'"),
        ({"digits": 13}, "PESQ: expected 0 to 12 decimals to be shown, found 13"),
        ({"digits": -1}, "decimals to be shown, found -1"),
        ({"scale": 0.0}, "PESQ: expected a scale above 0 and of a usual size, found 0"),
        ({"scale": float("nan")}, "of a usual size, found nan"),
        ({"scale": 1e300}, r"of a usual size, found 1e\+300"),
        ({"unit": "\n"}, "a unit and a title that can be printed"),
    ],
)
def test_what_is_no_metric(changes: dict, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        replace(PESQ, **changes)
    assert "\n" not in str(caught.value)
