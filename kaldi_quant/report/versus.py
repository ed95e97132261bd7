"""A folder against another, and when their difference is called significant."""

from __future__ import annotations

from dataclasses import dataclass

from kaldi_quant.report.significance.bootstrap import PairedDifference
from kaldi_quant.report.significance.mapsswe import MatchedPairs

#: Differences that chance gives more rarely than this are called significant.
LEVEL = 0.05


@dataclass(frozen=True)
class Versus:
    """A folder against the first.

    Attributes:
        paired: by paired bootstrap.
        matched: by MAPSSWE; positive where the first errs more; None where no words were compared.
        equal_units: in how many utterances both have the same words, or the same value.
    """

    paired: PairedDifference
    matched: MatchedPairs | None
    equal_units: int

    @property
    def significant(self) -> bool | None:
        """Whether the difference is; None where one test says so and another does not."""
        p_values = [self.paired.p_value]
        if self.matched:
            p_values += [self.matched.p_value, self.matched.exact_p_value]
        verdicts = {p_value < LEVEL for p_value in p_values}
        return verdicts.pop() if len(verdicts) == 1 else None
