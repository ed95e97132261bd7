"""The smallest model whose measured word error rate is at most so much above the float model's."""

from __future__ import annotations

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.search.budget import Budget
from kaldi_quant.quant.search.measured_model import MeasuredModel
from kaldi_quant.quant.search.models import Models
from kaldi_quant.quant.search.search import FRONT_POINTS, Proposal

# Word error rates are quotients of whole numbers: what differs by less is the same.
_ROUNDING = 1e-9


def smallest_within(models: Models, budget: Budget) -> Proposal:
    """Walks the predicted front by bisection, on measured word error rates.

    They are taken to fall as size grows. They are noisy: of two models of about one size either may be within the
    budget and the other not, and the walk may end at another than the very smallest that is.

    Args:
        models: with a way of measuring words.
        budget: of kind "wer", percent absolute.

    Raises:
        UsageError: the largest does not meet it, or limits beside it leave nothing.
    """
    in_float = models.float_errors()
    assert in_float is not None
    search = models.search
    front = search.front(FRONT_POINTS, budget.text)
    if not front:
        raise UsageError(search.too_much_work())
    most = in_float.percent + budget.amount

    def within(model: MeasuredModel) -> bool:
        return model.word_errors is not None and model.word_errors.percent <= most + _ROUNDING

    largest = models.measured(front[-1])
    if not within(largest):
        raise UsageError(search.not_met(budget, _told(largest, in_float.percent)))
    too_small, enough = -1, len(front) - 1
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        if within(models.measured(front[middle])):
            enough = middle
        else:
            too_small = middle
    return front[enough]


def _told(model: MeasuredModel, in_float: float) -> str:
    found = f"{model.word_errors.percent:.2f} %WER" if model.word_errors else "too great a divergence to be decoded"
    return f"takes {model.bytes} bytes and has {found}, the float model {in_float:.2f} %WER"
