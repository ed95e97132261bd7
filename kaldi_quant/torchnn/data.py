"""Inputs that torch networks are calibrated and measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from kaldi_quant.bad_utterances import DEFAULT_MAX_BAD_SHARE, BadUtterances
from kaldi_quant.errors import DataError, KaldiQuantError, UsageError, out_of_memory
from kaldi_quant.quant.host import Executable
from kaldi_quant.quant.listed_data import ListedData
from kaldi_quant.torchnn.calls import Call, Inputs, tensors_in
from kaldi_quant.torchnn.tracing import first_line


class TensorData(ListedData[Call]):
    """Inputs, each for one call of a network: the ``Data`` of torch networks.

    Args:
        inputs: each a tensor, a tuple of arguments or a dict of arguments by name, as the network is called with; or
            such inputs by their names. Unnamed ones are numbered. An axis for a batch, where the network has one, is
            part of them.
        output: which part of what the network returns is its output, if it returns several: a place or a key.
        columns: the axis of the output that holds classes, or whatever belongs together in a row; the others are rows.
        max_bad_share: how many inputs may be unusable.
        device: where networks compute them.

    Example:
        >>> data = TensorData(torch.randn(1, 16000) for _ in range(20))
    """

    def __init__(
        self,
        inputs: Iterable[Inputs] | Mapping[str, Inputs],
        output: int | str | None = None,
        columns: int = -1,
        max_bad_share: float = DEFAULT_MAX_BAD_SHARE,
        device: torch.device | None = None,
    ) -> None:
        named = inputs.items() if isinstance(inputs, Mapping) else ((str(i), x) for i, x in enumerate(inputs))
        super().__init__(((name, Call.of(value)) for name, value in named), "inputs", max_bad_share, device)
        self.output, self.columns = output, columns

    def outputs(self, model: Executable, bad: BadUtterances | None = None) -> Iterator[tuple[str, np.ndarray]]:
        """The outputs of a network, input by input: (rows, columns) float32.

        Args:
            model: the network; it computes where it is.
            bad: is told of inputs that cannot be used; by default they are left out.
        """
        place = next((x.device for x in [*model.parameters(), *model.buffers()]), self.device)
        for name, call in list(self.units):
            try:
                rows = self._rows(model, call, place)
            except DataError as error:
                if bad is not None:
                    bad.report(name, error)
                continue
            if bad is not None:
                bad.good += 1
            yield name, rows

    def _rows(self, model: Executable, call: Call, place: torch.device) -> np.ndarray:
        """The output for one input.

        Raises:
            DataError: the input cannot be used.
        """
        if any(x.is_floating_point() and not torch.isfinite(x).all() for x in call.tensors):
            raise DataError("it holds values that are not finite (NaN or infinity)")
        try:
            with torch.no_grad():
                result = call.with_tensors([x.to(place) for x in call.tensors]).run(model)
        except KaldiQuantError:
            raise
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            if out_of_memory(error):
                raise
            shapes = ", ".join(str(tuple(x.shape)) for x in call.tensors)
            raise DataError(f"the network cannot compute inputs of shape {shapes}: {first_line(error)}") from error
        rows = rows_of(chosen(result, self.output), self.columns)
        if not np.isfinite(rows).all():
            raise DataError("its output is not finite (NaN or infinity)")
        return rows

    def calls(self, model: Executable) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
        """What a network is called with to compute them, input by input."""
        for _, call in self.units:
            moved = call.with_tensors([x.to(self.device) for x in call.tensors])
            yield moved.args, dict(moved.kwargs)

    def amount(self) -> int:
        """Numbers in all inputs."""
        return sum(x.numel() for _, call in self.units for x in call.tensors)

    def digest(self) -> str:
        """What tells names and inputs from others, and how they are run."""
        about = f"{self.output!r} {self.columns} {self.max_bad_share} {self.device.type}"
        found = hashlib.sha256(about.encode())
        for name, call in self.units:
            leaves, spec = pytree.tree_flatten((call.args, dict(call.kwargs)))
            found.update(f"{name}\0{spec}\0".encode("utf-8", "surrogateescape"))
            for leaf in leaves:
                found.update(digest_of(leaf) if isinstance(leaf, Tensor) else repr(leaf).encode())
        return found.hexdigest()


def digest_of(x: Tensor) -> bytes:
    """What tells a tensor from others."""
    values = x.detach().cpu().contiguous()
    return f"{values.dtype}{tuple(values.shape)}".encode() + values.flatten().view(torch.uint8).numpy().tobytes()


def chosen(result: Any, output: int | str | None) -> Tensor:
    """The output among what a network returns.

    Raises:
        UsageError: it is not said which one it is, or there is none such.
    """
    if output is not None:
        try:
            result = result[output]
        except (LookupError, TypeError) as error:
            raise UsageError(f"the network returns nothing at {output!r}: output must be a place or a key") from error
    found = tensors_in(result)
    if len(found) != 1:
        raise UsageError(f"the network returns {len(found)} tensors: output must say which of them is meant")
    return found[0]


def rows_of(output: Tensor, columns: int) -> np.ndarray:
    """(rows, columns) float32 of an output whose axis ``columns`` holds these.

    Raises:
        UsageError: it has no such axis.
    """
    values = output.detach().float().cpu()
    if not values.dim():
        return values.reshape(1, 1).numpy()
    if not -values.dim() <= columns < values.dim():
        raise UsageError(f"the output has {values.dim()} axes and no axis {columns}")
    values = values.movedim(columns, -1)
    return values.reshape(-1, values.shape[-1]).numpy()
