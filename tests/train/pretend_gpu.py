"""A pretended GPU: its tensors lie in the main memory with a mark, and what a GPU would refuse is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import _engine_run_backward
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("cuda", 0)

_ATEN = torch.ops.aten
_COPIES = (_ATEN.copy_, _ATEN._to_copy)
# Their second argument, a list of indices, may be in the main memory.
_INDEXED = (_ATEN.index, _ATEN.index_put, _ATEN.index_put_, _ATEN._index_put_impl_)
_TO_NUMPY = (Tensor.numpy, Tensor.__array__)


class WrongDeviceError(Exception):
    """Says which operation was given tensors of both devices, or one of the wrong device."""


def is_on_gpu(x: Tensor) -> bool:
    """Whether a tensor is on the pretended GPU; what shares its memory is, too."""
    with torch._C.DisableTorchFunction():
        return any(getattr(storage, "is_on_gpu", False) for storage in _storages(x))


def _put(x: Tensor, there: bool = True) -> None:
    with torch._C.DisableTorchFunction():
        for storage in _storages(x):
            storage.is_on_gpu = there  # type: ignore[attr-defined]


def _storages(x: Tensor) -> list[torch.UntypedStorage]:
    if x.layout == torch.strided:
        return [x.untyped_storage()]
    parts = (x.crow_indices(), x.col_indices(), x.values()) if x.layout == torch.sparse_csr else ()
    return [part.untyped_storage() for part in parts]


def _tensors(*values: Any) -> list[Tensor]:
    """Those in values, and in lists and dictionaries among them."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple | dict):
            found += _tensors(*(value.values() if isinstance(value, dict) else value))
    return found


class _Operations(TorchDispatchMode):
    """Looks at every operation, those of the backward pass included; what is made of tensors there is there.

    Attributes:
        operations: how many were on the GPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        #: Of the function that is at work: what it makes for itself is made where these are.
        self.arguments: tuple[Any, ...] = ()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = _tensors(args, kwargs)
        there = [is_on_gpu(x) for x in given] or [any(map(is_on_gpu, _tensors(self.arguments)))]
        if any(there) and (kwargs or {}).get("generator") is not None:
            raise WrongDeviceError(f"{func} of tensors on the GPU with a generator that is not")
        if any(there) and not all(there) and func.overloadpacket not in _COPIES:
            self._check(func, args, kwargs or {})
        result = func(*args, **(kwargs or {}))
        if any(there):
            self.operations += 1
            for made in _tensors(result):
                if not any(made is x for x in given):
                    _put(made)
        return result

    @staticmethod
    def _check(func: Any, args: Any, kwargs: Any) -> None:
        indexed = func.overloadpacket in _INDEXED
        may_mix = indexed or torch.Tag.pointwise in func.tags or func.name().startswith("aten::_foreach")
        for x in _tensors((args[0], *args[2:]) if indexed else args, kwargs):
            if not is_on_gpu(x) and not (may_mix and x.dim() == 0):
                raise WrongDeviceError(f"{func} of tensors on the GPU and one of {tuple(x.shape)} that is not")


@contextmanager
def pretend_gpu() -> Iterator[_Operations]:
    """Within it tensors can be on ``DEVICE``, and operations on them and on others fail as they would there."""
    with _Operations() as operations, _Functions(operations):
        yield operations


class _Functions(TorchFunctionMode):
    """Sees what operations do not tell: which device is asked for, and what leaves torch."""

    def __init__(self, operations: _Operations) -> None:
        super().__init__()
        self.operations = operations

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func == Tensor.device.__get__:
            return DEVICE if is_on_gpu(args[0]) else func(*args)
        if func in (Tensor.is_cuda.__get__, Tensor.is_cpu.__get__):
            return is_on_gpu(args[0]) == (func == Tensor.is_cuda.__get__)
        if func in _TO_NUMPY and is_on_gpu(args[0]):
            raise WrongDeviceError("can't convert a tensor on the GPU to numpy")
        if func in (Tensor.to, Tensor.cpu):
            return _moved(args[0], *(args[1:] if func is Tensor.to else ["cpu"]), **kwargs)
        if func is Tensor.new_tensor:
            kwargs.setdefault("device", self.__torch_function__(Tensor.device.__get__, (), args[:1]))
        if kwargs.get("device") is None:
            before, self.operations.arguments = self.operations.arguments, (args, kwargs)
            try:
                return self._backward(*args) if func is Tensor.backward else func(*args, **kwargs)
            finally:
                self.operations.arguments = before
        there = torch.device(kwargs["device"]).type == DEVICE.type
        # A copy: the result may share what it was made of.
        result = func(*args, **{**kwargs, "device": "cpu"}).clone()
        _put(result, there)
        return result

    def _backward(self, x: Tensor) -> None:
        """``Tensor.backward``, which would leave this mode, so that gradients in Python would not be seen."""
        with self:
            _engine_run_backward(
                (x,), (torch.ones_like(x),), False, False, (), allow_unreachable=True, accumulate_grad=True
            )


def _moved(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """``Tensor.to``."""
    before = there = is_on_gpu(x)

    def found(value: Any) -> Any:
        nonlocal there
        if isinstance(value, Tensor):
            there = is_on_gpu(value)
            return value.dtype
        if isinstance(value, str | torch.device):
            there = torch.device(value).type == DEVICE.type
            return "cpu"
        return value

    args, kwargs = tuple(map(found, args)), {key: found(value) for key, value in kwargs.items()}
    if there == before:
        return x.to(*args, **kwargs)
    result = x.to(*args, **{**kwargs, "copy": True})
    _put(result, there)
    return result
