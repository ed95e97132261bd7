"""What becomes of utterances that cannot be used: they are reported and left out; too many of them fail the job."""

import logging

from kaldi_quant.errors import DataError, UsageError

_log = logging.getLogger(__name__)

DEFAULT_MAX_BAD_SHARE = 0.1
# A thousand lines that say the same hide what else there is to be read.
_MOST_WARNINGS = 5


class FewWarnings:
    """Warns of the first few things that are left out, counts the others, and writes all of them into the log file.

    Args:
        things: what they are, such as "utterances".
    """

    def __init__(self, things: str) -> None:
        self._things = things
        self._count = 0

    def warn(self, message: str, *values: object) -> None:
        """Warns, or once there are enough warnings writes into the log file alone."""
        self._count += 1
        _log.log(logging.WARNING if self._count <= _MOST_WARNINGS else logging.DEBUG, message, *values)

    def finish(self) -> None:
        """Says how many were not shown."""
        more = self._count - _MOST_WARNINGS
        self._count = 0
        if more > 0:
            _log.warning("%d more %s are left out; 'kaldi-quant --log FILE' lists all of them", more, self._things)


def check_share(share: float) -> None:
    """Refuses a share outside 0 to 1.

    Raises:
        UsageError: it is not from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"--max-bad-share must be from 0 to 1, found {share:g}")


class BadUtterances:
    """Counts good and bad utterances.

    Args:
        max_share: the job fails when more than this share of its utterances is bad, or when none is good.
    """

    def __init__(self, max_share: float = DEFAULT_MAX_BAD_SHARE) -> None:
        check_share(max_share)
        self.max_share = max_share
        self._warnings = FewWarnings("utterances")
        self.good = 0
        self.bad = 0
        self._last = ""

    def report(self, utterance: str, reason: Exception) -> None:
        """Warns that an utterance is left out."""
        self.bad += 1
        # Some reasons name the utterance themselves.
        self._last = f"utterance {utterance}: {str(reason).removeprefix(f'utterance {utterance}: ')}"
        self._warnings.warn("leaving out %s", self._last)

    def check(self) -> None:
        """Decides over the job, at its end.

        Raises:
            DataError: no utterance, or too few of them, could be used.
        """
        self._warnings.finish()
        total = self.good + self.bad
        if total == 0:
            raise DataError("there are no utterances in the input")
        if self.good == 0:
            raise DataError(f"none of the {total} utterances could be used; the last was {self._last}")
        if self.bad > self.max_share * total:
            raise DataError(
                f"{self.bad} of {total} utterances could not be used, more than the share of {self.max_share:g} that "
                "is allowed (--max-bad-share; the warnings above say why)"
            )
