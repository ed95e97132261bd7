"""How one tensor is quantized."""

from dataclasses import dataclass

from kaldi_quant.errors import UsageError
from kaldi_quant.units import Bits

MIN_BITS, MAX_BITS = 2, 16

#: The fewest columns that share a scale.
LEAST_GROUP = 2

#: What an unsigned integer of 8 bits, the width of the integer kernels, can hold.
LARGEST_BYTE = 2**8 - 1


@dataclass(frozen=True)
class QSpec:
    """A uniform integer grid, described but not yet fitted to data.

    Rounding is half to even everywhere; values beyond the grid are clamped; 0.0 is a point of every grid.

    Args:
        bits: width, 2 to 16.
        signed: integers are centred at zero; else they begin at zero.
        symmetric: the zero point is the middle of a signed grid (0) or the beginning of an unsigned one; else it is
            fitted, inside the grid.
        per_channel: one scale for each output channel (weights) or column (features); else one for the tensor.
        group_size: of weights, how many consecutive columns of a row share a scale and a zero point, where a row has
            several (``scale_groups``); 0 where a row has one.
        centred: of an unsigned grid that is not symmetric whether the zero point is its middle, whatever the values:
            the integers of a signed grid, moved to where those of activations are.

    Raises:
        UsageError: a width outside 2..16, or groups of an impossible size or of rows that have no scale of their own;
            or a zero point in the middle of a grid whose zero point is elsewhere.
    """

    bits: Bits
    signed: bool = True
    symmetric: bool = True
    per_channel: bool = False
    group_size: int = 0
    centred: bool = False

    def __post_init__(self) -> None:
        if not MIN_BITS <= self.bits <= MAX_BITS:
            raise UsageError(f"a width of {self.bits} bits is not possible: {MIN_BITS} to {MAX_BITS}")
        if self.group_size and self.group_size < LEAST_GROUP:
            raise UsageError(f"group_size must be 0, or from {LEAST_GROUP} on, found {self.group_size}")
        if self.group_size and not self.per_channel:
            raise UsageError(f"group_size {self.group_size} needs per_channel: groups of columns are parts of a row")
        if self.centred and (self.signed or self.symmetric):
            raise UsageError("centred is for unsigned grids that are not symmetric: the zero point of others is known")

    @property
    def qmin(self) -> int:
        """The smallest integer; symmetric signed grids leave the one without a counterpart out."""
        if not self.signed:
            return 0
        return -(2 ** (self.bits - 1)) + (1 if self.symmetric else 0)

    @property
    def qmax(self) -> int:
        """The largest integer."""
        return 2 ** (self.bits - 1) - 1 if self.signed else 2**self.bits - 1

    @property
    def middle(self) -> int:
        """The zero point of a centred grid: as many integers are below it as are above, and one more."""
        return 2 ** (self.bits - 1)

    @property
    def is_fitted(self) -> bool:
        """Whether the zero point depends on the values."""
        return not self.symmetric and not self.centred

    @property
    def is_wide(self) -> bool:
        """Whether its integers are beyond those of 8 bits without sign."""
        return self.qmax > LARGEST_BYTE
