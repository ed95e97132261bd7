"""How numbers that are no scores are written, and intervals of scores."""

from __future__ import annotations

from kaldi_quant.metrics.metric import Metric
from kaldi_quant.report.significance.bootstrap import Interval

_SMALLEST_P = 0.001


def interval(value: Interval, metric: Metric, sign: str = "") -> str:
    """``[12.30,16.77]``."""
    return f"[{metric.number(value.low, sign)},{metric.number(value.high, sign)}]"


def p_value(value: float) -> str:
    """With three decimals, and a bound where these say nothing."""
    return f"{value:.3f}" if value >= _SMALLEST_P else f"<{_SMALLEST_P}"


def short(value: float) -> str:
    """A number in two digits that count.

    Example:
        >>> [short(value) for value in (0.128, 0.00536, 0.0000123, 0.0, -0.002)]
        ['0.13', '0.0054', '1.2e-5', '0', '-0.002']
    """
    text = f"{value:.2g}"
    digits, exponent, power = text.partition("e")
    return f"{digits}e{int(power)}" if exponent else digits
