"""What recipes of front ends share: options of what is done and on which data, trainings' folders, and cells."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kaldi_quant.cli.options import num_threads_option

if TYPE_CHECKING:
    from kaldi_quant.frontends.cells import NetworkCells

AUTO = "auto"
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
            click.option("--layout", default=AUTO, show_default=True, help="Of the data's folder."),
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


def seeded(settings: Any, config: str, seed: int | None) -> Any:
    """Settings, a dataclass with a seed, as a YAML file changes them, and a seed that is given in place of theirs.

    Raises:
        UsageError: the file is missing or no YAML, or has a key or a value that cannot be.
    """
    from kaldi_quant.settings import changed, read_yaml

    found = changed(settings, read_yaml(config), config)
    return replace(found, seed=found.seed if seed is None else seed)


def make_cells(table: NetworkCells, script: str, config: str, data_dir: str, layout: str, names: Sequence[str]) -> None:
    """Makes cells, and prints their folders.

    Args:
        table: makes them.
        script: the recipe's, for the command that makes a cell again; so are the configuration and the data.
        config: a file.
        data_dir: a folder.
        layout: of it.
        names: of cells; all where there are none.

    Raises:
        KaldiQuantError: there is no such cell, or it cannot be made.
    """
    words = [script, "--config", config, "--data-dir", data_dir, *(() if layout == AUTO else ("--layout", layout))]
    words += ["--seed", str(table.options.seed), "--network", str(table.checkpoint)]
    for name in names or table.names():
        click.echo(replace(table, command=shlex.join([*words, name])).make(name))
