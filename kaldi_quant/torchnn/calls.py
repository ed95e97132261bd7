"""What a network is called with: tensors anywhere in its arguments, and what stays the same beside them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from kaldi_quant.errors import DataError

#: A tensor; a tuple of positional arguments; a dict of arguments by name.
Inputs = Any


@dataclass(frozen=True)
class Call:
    """The arguments of a call.

    Args:
        args: by position.
        kwargs: by name.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @classmethod
    def of(cls, inputs: Inputs) -> Call:
        """The call that inputs stand for: a tensor, a tuple or list of arguments, or a dict of arguments by name."""
        if isinstance(inputs, Mapping):
            return cls((), dict(inputs))
        if isinstance(inputs, tuple | list):
            return cls(tuple(inputs), {})
        return cls((inputs,), {})

    @property
    def leaves(self) -> list[Any]:
        """All values, in order."""
        return pytree.tree_flatten((self.args, dict(self.kwargs)))[0]

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors among the values, in order."""
        return [leaf for leaf in self.leaves if isinstance(leaf, Tensor)]

    def with_tensors(self, tensors: Sequence[Any]) -> Call:
        """The call with other values in the place of its tensors."""
        leaves, spec = pytree.tree_flatten((self.args, dict(self.kwargs)))
        others = iter(tensors)
        changed = [next(others) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        args, kwargs = pytree.tree_unflatten(changed, spec)
        return Call(args, kwargs)

    def copied(self, dtype: torch.dtype | None = None) -> Call:
        """The call with copies of its tensors, those of floats in a type if one is given."""
        return self.with_tensors(
            [x.detach().clone().to(dtype if dtype and x.is_floating_point() else x.dtype) for x in self.tensors]
        )

    def bound(self, arguments: inspect.Signature) -> Call:
        """The call with all arguments of a network in their places, whether they were given by place, by name or not.

        Raises:
            TypeError: the network has other arguments.
        """
        found = arguments.bind(*self.args, **self.kwargs)
        found.apply_defaults()
        return Call(found.args, dict(sorted(found.kwargs.items())))

    def run(self, network: Any) -> Any:
        """What a network gives for it."""
        return network(*self.args, **self.kwargs)


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors within a value, in order."""
    return [leaf for leaf in pytree.tree_flatten(value)[0] if isinstance(leaf, Tensor)]


class Signature:
    """How a network was called with an example, which all later calls must be like.

    Args:
        arguments: of the network.
        call: the example, ``bound``.
    """

    def __init__(self, arguments: inspect.Signature, call: Call) -> None:
        self.arguments = arguments
        leaves, self._spec = pytree.tree_flatten((call.args, dict(call.kwargs)))
        self._fixed = [None if isinstance(leaf, Tensor) else (leaf,) for leaf in leaves]
        self._kinds = [(x.dim(), x.dtype) for x in leaves if isinstance(x, Tensor)]
        #: Of the tensors.
        self.names = list(_names(arguments, call))

    def tensors_of(self, call: Call) -> list[Tensor]:
        """The tensors of a call, floats in the example's types.

        Raises:
            DataError: the call is another kind than the example.
        """
        try:
            given = self.arguments.bind(*call.args, **call.kwargs)
        except TypeError as error:
            raise DataError(f"the network's arguments are {self.arguments}: {error}") from error
        given.apply_defaults()
        leaves, spec = pytree.tree_flatten((given.args, dict(sorted(given.kwargs.items()))))
        if spec != self._spec:
            raise DataError(
                f"the network was prepared with an example of {len(self._kinds)} tensors "
                f"({', '.join(self.names)}), and its arguments are others here"
            )
        found: list[Tensor] = []
        for leaf, fixed in zip(leaves, self._fixed, strict=True):
            if fixed is None:
                found.append(self._like_the_example(leaf, len(found)))
            elif isinstance(leaf, Tensor) or leaf != fixed[0]:
                raise DataError(f"the network was prepared for an argument {fixed[0]!r}, and it is {leaf!r} here")
        return found

    def _like_the_example(self, value: Any, place: int) -> Tensor:
        dims, dtype = self._kinds[place]
        if not isinstance(value, Tensor) or value.dim() != dims:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise DataError(f"the input {self.names[place]} should have {dims} axes, as the example has; found {shape}")
        if value.is_floating_point() != dtype.is_floating_point:
            raise DataError(f"the input {self.names[place]} should be {dtype}, as in the example; found {value.dtype}")
        return value.to(dtype) if dtype.is_floating_point else value


def arguments_of(network: nn.Module) -> inspect.Signature:
    """What a network is called with; anything, if that is not known."""
    try:
        return inspect.signature(network.forward)
    except ValueError:
        return inspect.signature(lambda *args, **kwargs: None)


def _names(arguments: inspect.Signature, call: Call) -> Iterator[str]:
    """The names of the tensors of a call that is ``bound``: that of the argument, and the place within it."""
    positional = [
        name
        for name, parameter in arguments.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    unnamed = [f"input{place}" for place in range(len(positional), len(call.args))]
    for name, value in [*zip([*positional, *unnamed], call.args, strict=False), *call.kwargs.items()]:
        if isinstance(value, Tensor):
            yield name
        else:
            yield from (f"{name}.{place}" for place in range(len(tensors_in(value))))
