"""What the layers of torch networks have in common: rows in, a product, channels out."""

from __future__ import annotations

from typing import ClassVar, Self

from torch import Tensor, nn

from kaldi_quant.quant.grouped import grouped_linear
from kaldi_quant.registry import Registry


class FloatProduct(nn.Module):
    """The product of a layer in float.

    Args:
        weight: (out, in), the layer's own.
        groups: of the input's columns (``quant.grouped``).
    """

    def __init__(self, weight: nn.Parameter, groups: int) -> None:
        super().__init__()
        self.weight, self.groups = weight, groups

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x: (..., groups * in) → (..., out)."""
        return grouped_linear(x, self.weight, bias, self.groups)


class Layer(nn.Module):
    """A product of a weight and the rows that it makes of its input: a ``Slot``.

    Attributes:
        options: the arguments of the function beside input, weight and bias, in its order, with their defaults.
        is_convolution: whether a column of the weight meets many places of the input.
        weight: (out, in).
        bias: (out,) or None.
        product: computes (..., groups * in) → (..., out).
        groups: of the input's columns.
        name: of the layer in the whole network.

    Args:
        weight: (out, in).
        bias: (out,) or None.
        groups: see there.
        rows_per_channel: how many neighbouring rows of the weight compute each channel of the output.
        channel_axis: of the output.
    """

    options: ClassVar[dict[str, object]]
    is_convolution: ClassVar[bool]
    name: str

    def __init__(
        self, weight: Tensor, bias: Tensor | None, groups: int, rows_per_channel: int, channel_axis: int
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.product: nn.Module = FloatProduct(self.weight, groups)
        self.groups, self.rows_per_channel, self.channel_axis = groups, rows_per_channel, channel_axis

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, **options: object) -> Self:
        """The layer that computes what a function does.

        Args:
            weight: as the function takes it.
            bias: (channels,) or None.
            options: named as in ``options``.
        """
        raise NotImplementedError

    @property
    def pads_with_zeros(self) -> bool:
        """Whether rows may hold zeros that the input does not."""
        return False

    def rows(self, x: Tensor) -> Tensor:
        """What the product is given of an input: (N, ..., groups * in)."""
        raise NotImplementedError

    def values(self, sums: Tensor, x: Tensor) -> Tensor:
        """The output of what the product gives; moves values, and does nothing else.

        Args:
            sums: (N, ..., out).
            x: the input.
        """
        raise NotImplementedError

    def extra_repr(self) -> str:
        """All that tells what it computes from what others do."""
        numbers = {name: value for name, value in vars(self).items() if isinstance(value, int | tuple)}
        return f"{self.name}, {tuple(self.weight.shape)}, {numbers}"

    def forward(self, x: Tensor) -> Tensor:
        return self.values(self.product(self.rows(x), self.bias), x)


#: Layers by the name of the function, in torch or ``torch.nn.functional``, that they stand for.
FORMS: Registry[type[Layer]] = Registry("layer of a torch network")
