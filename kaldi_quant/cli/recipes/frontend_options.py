"""What recipes of front ends share: options of what is done and on which data, and where a training lies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from kaldi_quant.cli.options import num_threads_option

_Function = TypeVar("_Function", bound=Callable[..., Any])


def frontend_options(data: str, manual: str) -> Callable[[_Function], _Function]:
    """A decorator: ``--config``, ``--data-dir``, ``--layout``, ``--seed`` and ``--num-threads``.

    Args:
        data: what the folder holds, for the help.
        manual: where keys of configurations stand.
    """

    def decorator(function: _Function) -> _Function:
        for option in (
            num_threads_option(),
            click.option("--seed", type=click.IntRange(min=0), help="In the place of the configuration's."),
            click.option("--layout", default="auto", show_default=True, help="Of the data's folder."),
            click.option("--data-dir", required=True, metavar="FOLDER", help=data),
            click.option("--config", required=True, metavar="YAML", help=f"See {manual}."),
        ):
            function = option(function)
        return function

    return decorator


def training_folder(network: Path) -> Path:
    """Where the float training of a network has its checkpoint and its record: beside other networks' trainings.

    Args:
        network: the file that the training writes.
    """
    return network.with_name(f"{network.stem}_training")
