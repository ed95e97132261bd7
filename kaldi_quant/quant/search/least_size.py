"""Whether any allocation can meet a budget of bytes: told from the network alone, before anything is measured."""

from __future__ import annotations

from dataclasses import replace

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.host import Source
from kaldi_quant.quant.ptq import kinds_of, quantize
from kaldi_quant.quant.search.budget import Budget
from kaldi_quant.quant.search.cost_model import FileSize
from kaldi_quant.quant.search.options import SearchOptions, listed
from kaldi_quant.quant.search.widths import FLOAT_BITS, Widths, with_widths
from kaldi_quant.units import Bytes

# The result's description, which is part of its file, differs in length by less than this.
_DESCRIPTION_BYTES = 400


def check_size(budget: Budget, options: SearchOptions, config: PtqConfig, source: Source, file_size: FileSize) -> None:
    """Refuses a budget of bytes that is below the smallest model's size.

    Args:
        budget: of any kind; others than of bytes pass.
        options: the widths.
        config: all but the widths.
        source: the float network.
        file_size: of networks whose integers mean nothing.

    Raises:
        UsageError: the budget is too small.
    """
    if budget.kind != "bytes":
        return
    least = least_bytes(options, config, source, file_size)
    if budget.amount < least - _DESCRIPTION_BYTES:
        raise UsageError(
            f"no allocation of {listed(options.widths)} meets the budget of {budget.text}: the smallest takes {least} "
            "bytes"
        )


def least_bytes(options: SearchOptions, config: PtqConfig, source: Source, file_size: FileSize) -> Bytes:
    """The size of the file with all layers in the least widths, but for the length of its description."""
    kinds = kinds_of(source, config)
    integers = [bits for bits in options.widths if bits != FLOAT_BITS]
    widths = Widths(min(integers, default=FLOAT_BITS), min(options.act_widths))
    chosen = with_widths(config, kinds, dict.fromkeys(kinds, widths))
    quick = {name: {**fields, "method": "minmax"} for name, fields in chosen.layers.items()}
    plain = replace(
        chosen, layers=quick, sequential=False, equalization="none", observer="minmax", bias_correction=False
    )
    return file_size(quantize(source, plain, source.noise()), chosen)
