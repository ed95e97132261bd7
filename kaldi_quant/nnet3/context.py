"""Left and right context and modulus of a network, computed as Kaldi does.

Source: ``ComputeSimpleNnetContext`` in ``src/nnet3/nnet-utils.cc``: inputs of a window are given, and the context is
what lies between the window's edges and the outputs that are computable.
"""

from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import ModelError
from kaldi_quant.nnet3.graph import Graph
from kaldi_quant.nnet3.schedule import Availability, Request

_FIRST_WINDOW = 40
# Kaldi stops at 800.
_LONGEST_WINDOW = 12_800
# Every shift up to the modulus is tried; recipes have moduli up to some dozens.
_LARGEST_MODULUS = 1000


@dataclass(frozen=True)
class Context:
    """What an output frame needs.

    Args:
        left: input frames before it.
        right: input frames after it.
        modulus: shifts of input and output by multiples of this many frames change nothing.
    """

    left: int
    right: int
    modulus: int


def compute_context(graph: Graph) -> Context:
    """The context of a network, equal to ``nnet3-am-info``.

    Raises:
        ModelError: no window of believable length makes an output computable, or the modulus is beyond belief.
    """
    modulus = graph.nnet.modulus()
    if modulus > _LARGEST_MODULUS:
        raise ModelError(
            f"{graph.nnet.path}: Round and Switch have a common modulus of {modulus} frames, which is not plausible"
        )
    window = _FIRST_WINDOW
    while window <= _LONGEST_WINDOW:
        contexts = [_context_for_shift(graph, start, window, modulus) for start in range(modulus + 1)]
        if all(contexts):
            lefts, rights = zip(*(context for context in contexts if context), strict=True)
            return Context(max(lefts), max(rights), modulus)
        window *= 2
    raise ModelError(f"{graph.nnet.path}: no output is computable from {_LONGEST_WINDOW // 2} frames of input")


def _context_for_shift(graph: Graph, start: int, window: int, modulus: int) -> tuple[int, int] | None:
    """Context when the input begins at ``start``; None where the window is too short."""
    times = np.arange(start, start + window)
    # Kaldi gives i-vectors for every frame here, so that their time does not matter.
    available = Availability(graph, Request(((start, start + window),), times), ivector_everywhere=True)
    computable = np.logical_and.reduce([available.of_input(output, times)[0] for output in graph.outputs])
    if not computable.any():
        return None
    first = int(np.argmax(computable))
    after = computable[first:]
    last = first + (len(after) if after.all() else int(np.argmin(after)))
    return first, window - last
