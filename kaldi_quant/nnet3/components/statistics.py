"""Mean and standard deviation over a stretch of time, in two steps: extraction over a period, pooling over a window.

Source: ``StatisticsExtractionComponent``, ``StatisticsPoolingComponent`` in ``src/nnet3/nnet-general-component.h``.
"""

from abc import abstractmethod

import torch
from torch import Tensor

from kaldi_quant.kaldi.component import Component
from kaldi_quant.nnet3.components.base import ComponentModule, Registry
from kaldi_quant.nnet3.time_access import TimeRange


class RangeComponent(ComponentModule):
    """A component that sums over ranges of input times."""

    access: TimeRange

    @abstractmethod
    def forward(self, x: Tensor, valid: Tensor, first: Tensor, end: Tensor) -> Tensor:
        """Sums over ranges of rows.

        Args:
            x: (N, T_in, input_dim), zero where the row does not exist.
            valid: (1 or N, T_in, 1), one where the row exists, else zero.
            first: (T_out,) int64, each output's first row.
            end: (T_out,) int64, one past its last row.

        Returns:
            (N, T_out, output_dim)
        """


def _range_sums(x: Tensor, first: Tensor, end: Tensor) -> Tensor:
    """Sums of rows first..end-1, through cumulative sums in double precision. x: (N, T, D) → (N, len(first), D)."""
    cumulative = torch.nn.functional.pad(x.double().cumsum(dim=1), (0, 0, 1, 0))
    return (cumulative.index_select(1, end) - cumulative.index_select(1, first)).to(x.dtype)


@Registry.register("StatisticsExtractionComponent")
class StatisticsExtraction(RangeComponent):
    """(count, sum[, sum of squares]) over the period that t lies in."""

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        period, step = component["OutputPeriod"], component["InputPeriod"]
        self.access = TimeRange(0, period - step, step, period)
        self.include_variance = component["IncludeVarinance"]

    def forward(self, x: Tensor, valid: Tensor, first: Tensor, end: Tensor) -> Tensor:
        columns = [valid.expand(x.shape[0], -1, 1), x]
        if self.include_variance:
            columns.append(x.square())
        return _range_sums(torch.cat(columns, dim=-1), first, end)


@Registry.register("StatisticsPoolingComponent")
class StatisticsPooling(RangeComponent):
    """([log count,] mean[, standard deviation]) from the statistics of the window around t."""

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        left, right, step = (component[name] for name in ("LeftContext", "RightContext", "InputPeriod"))
        self.access = TimeRange(left, right, step, only_multiples=True)
        self.num_log_counts = component["NumLogCountFeatures"]
        self.output_stddevs = component["OutputStddevs"]
        self.variance_floor = float(component["VarianceFloor"])

    def forward(self, x: Tensor, valid: Tensor, first: Tensor, end: Tensor) -> Tensor:
        count, sums = _range_sums(x, first, end).split([1, self.input_dim - 1], dim=-1)
        moments = sums / count
        columns = [torch.log(count).expand(-1, -1, self.num_log_counts)] if self.num_log_counts else []
        if self.output_stddevs:
            mean, mean_square = moments.chunk(2, dim=-1)
            moments = torch.cat([mean, (mean_square - mean.square()).clamp_min(self.variance_floor).sqrt()], dim=-1)
        return torch.cat([*columns, moments], dim=-1)
