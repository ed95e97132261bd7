"""PyTorch's notes to programmers, kept from a user's terminal: what they ask for is done in this package alone."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

#: The beginnings of the notes, as regular expressions.
_NOTES = (
    r"torch\.ao\.quantization is deprecated",
    r"torch\.quantize_per_tensor, torch\.quantize_per_channel and other quantized tensor creation functions",
    # Of a layer whose own ranges are not asked for, because its input's come from a file.
    r"must run observer before calling calculate_qparams",
    # torchao, when it is imported and used.
    r"`torch\.jit\.script(_method)?` is deprecated",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)

#: Who logs that torchao's GPU kernels do not load, and how torchao registers its types.
_LOGGERS = ("torchao", "torch.utils._pytree")


@contextlib.contextmanager
def without_notes() -> Iterator[None]:
    """Holds back exactly these notes within the block."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for note in _NOTES:
            warnings.filterwarnings("ignore", message=note)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
