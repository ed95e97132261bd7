"""``user_config.yaml``: what a run does, read, completed from the command line, and checked before any work."""

from __future__ import annotations

import os
import typing
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.enhancement.zoo.checks import check
from kaldi_quant.frontends.enhancement.zoo.config import ZooConfig
from kaldi_quant.frontends.enhancement.zoo.modes import MODES, sections_of
from kaldi_quant.frontends.enhancement.zoo.overrides import overridden
from kaldi_quant.frontends.enhancement.zoo.reading import read_section
from kaldi_quant.frontends.enhancement.zoo.variables import expanded
from kaldi_quant.settings import read_yaml

DEFAULT_NAME = "user_config"
_MODE = "operation_mode"
_SUFFIXES = (".yaml", ".yml")


def find_config(folder: str | None, name: str, script: Path) -> Path:
    """The file that ``--config-path`` and ``--config-name`` mean.

    Args:
        folder: relative to the current folder, or to the script's; None for these two themselves.
        name: of the file, with or without its suffix.
        script: the folder of the script.

    Raises:
        UsageError: there is no such file; says where it was looked for.
    """
    wanted = Path(folder or ".").expanduser()
    folders = list(dict.fromkeys((Path.cwd() / wanted, script / wanted)))
    names = [name] if name.endswith(_SUFFIXES) else [f"{name}{suffix}" for suffix in _SUFFIXES]
    for place in folders:
        for file in names:
            if (place / file).is_file():
                return place / file
    looked = " and ".join(str(place) for place in folders)
    raise UsageError(f"there is no configuration {names[0]} in {looked}: see --config-path and --config-name")


def read_zoo_config(
    path: Path,
    overrides: Iterable[str] = (),
    variables: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> ZooConfig:
    """Reads a configuration.

    Args:
        path: of the file.
        overrides: of the command line, see ``overrides``.
        variables: of the environment; by default those of this process.
        now: when the run began; by default now.

    Raises:
        UsageError: the file is missing or no YAML, has a section or a key that does not exist, lacks one that the mode
            needs, or has an impossible value.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected sections with keys and values, found {content!r}")
    given = overridden(content, overrides)
    environment = os.environ if variables is None else variables
    found = expanded(given, environment, datetime.now() if now is None else now)
    hints = typing.get_type_hints(ZooConfig)
    unknown = [key for key in found if key not in hints]
    if unknown:
        raise UsageError(f"{path} has no section {unknown[0]!r}: allowed are {', '.join(hints)}")
    mode = found.pop(_MODE, None)
    if mode not in MODES:
        what = "has no value" if mode is None else f"{mode!r} does not exist"
        raise UsageError(f"{path}: {_MODE} {what}: allowed are {', '.join(MODES)}")
    used = sections_of(mode)
    sections = {
        name: read_section(kind, found.get(name), name, name in used) for name, kind in hints.items() if name != _MODE
    }
    config = ZooConfig(mode, **sections)
    check(config, used)
    return config
