"""Who quantizes: this project, or others, each with the routes and observers that configurations may name.

Others lie in rooms above this one and add themselves. The packages in which they are known here by name alone, and are
imported when a configuration is checked; none of them imports more then than it needs to say its names.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache

from kaldi_quant.quant.observers import OBSERVERS
from kaldi_quant.registry import Registry

_MODULES = ("kaldi_quant.backends.torch_engines.routes", "kaldi_quant.nnet3.torch_engines")


@dataclass(frozen=True)
class Quantizer:
    """Names that a configuration may have.

    Args:
        observers: of activation ranges.
        routes: the ways in which it quantizes; empty where there is only one.
    """

    observers: Collection[str]
    routes: Collection[str] = ()


QUANTIZERS: Registry[Quantizer] = Registry("backend")
QUANTIZERS.add("kaldi_quant")(Quantizer(OBSERVERS))


def quantizers() -> Registry[Quantizer]:
    """All of them."""
    _import_others()
    return QUANTIZERS


def routes() -> Iterator[str]:
    """The routes of all of them."""
    return (route for name in quantizers() for route in QUANTIZERS[name].routes)


@cache
def _import_others() -> None:
    for name in _MODULES:
        importlib.import_module(name)
