"""What a score measures: its name, its unit, and in which direction it is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from kaldi_quant.errors import DataError

Better = Literal["lower", "higher"]

_MOST_DIGITS = 12
_LARGEST_SCALE = 1e9


@dataclass(frozen=True)
class Metric:
    """A measure of how good a network's output is.

    Attributes:
        name: one word, as tables have it: "WER", "SI-SDR".
        unit: of its values: "%", "dB"; empty where they have none.
        better: which values are better.
        digits: how many decimals are shown.
        scale: what a mean, or a ratio of sums, is multiplied by: 100 for counts that become percent.
        title: the name in words, for headings and axes: "word error rate"; the name where it is not given.

    Raises:
        DataError: one of them is not such a thing.
    """

    name: str
    unit: str
    better: Better
    digits: int = 2
    scale: float = 1.0
    title: str = ""

    def __post_init__(self) -> None:
        if not self.name.isprintable() or self.name.split() != [self.name]:
            raise DataError(f"expected the name of a metric in one word, found {self.name!r}")
        if self.better not in get_args(Better):
            raise DataError(f"{self.name}: expected lower or higher values to be better, found {self.better!r}")
        if not 0 <= self.digits <= _MOST_DIGITS:
            raise DataError(f"{self.name}: expected 0 to {_MOST_DIGITS} decimals to be shown, found {self.digits}")
        if not 0 < self.scale <= _LARGEST_SCALE:
            raise DataError(f"{self.name}: expected a scale above 0 and of a usual size, found {self.scale:g}")
        for text in (self.unit, self.title):
            if not text.isprintable():
                raise DataError(f"{self.name}: expected a unit and a title that can be printed, found {text!r}")
        if not self.title:
            object.__setattr__(self, "title", self.name)

    def is_same(self, other: Metric) -> bool:
        """Whether values of both can be compared, however they are shown."""
        return all(getattr(self, key) == getattr(other, key) for key in ("name", "unit", "better", "scale"))

    def loss(self, difference: float) -> float:
        """How much worse a value is that differs by so much from another: positive where it is worse.

        Example:
            >>> Metric("PESQ", "", "higher").loss(-0.25), Metric("WER", "%", "lower").loss(-0.25)
            (0.25, -0.25)
        """
        return difference if self.better == "lower" else -difference

    @property
    def heading(self) -> str:
        """Its title, to begin with."""
        return self.title[0].upper() + self.title[1:]

    @property
    def column(self) -> str:
        """``WER, %``: its name and unit, for tables."""
        return _with_unit(self.name, self.unit)

    @property
    def axis(self) -> str:
        """``word error rate, %``: its title and unit, for axes."""
        return _with_unit(self.title, self.unit)

    @property
    def unit_of_differences(self) -> str:
        """``% absolute``: differences of percentages are no shares of them."""
        return "% absolute" if self.unit == "%" else self.unit

    def number(self, value: float, sign: str = "") -> str:
        """``14.54``: a value in as many decimals as are shown; ``sign`` is that of format specifications."""
        return f"{value:{sign}.{self.digits}f}"

    def shown(self, value: float) -> str:
        """``14.54 %``: a value with its unit."""
        return f"{self.number(value)} {self.unit}".rstrip()

    def shown_difference(self, difference: float) -> str:
        """``+0.04 % absolute``: a difference with its unit."""
        return f"{self.number(difference, '+')} {self.unit_of_differences}".rstrip()

    def __str__(self) -> str:
        """``SI-SDR (dB, higher is better)``, for messages."""
        scale = "" if self.scale == 1 else f"times {self.scale:g}"
        return f"{self.name} ({', '.join(filter(None, [self.unit, scale, f'{self.better} is better']))})"


def _with_unit(text: str, unit: str) -> str:
    return f"{text}, {unit}" if unit else text
