"""YAML with the tags of hyperpyyaml, as SpeechBrain's recipes have it. Nothing in a file is imported or called.

``!ref <key[inner]>`` stands for the value of another key. ``!new:``, ``!name:`` and their like, which there name
classes to be made, are mappings of the arguments here, with the class's name under ``CLASS_KEY``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kaldi_quant.errors import UsageError

#: Of a mapping that was tagged: the name behind the tag.
CLASS_KEY = "!class"
_CLASS_TAGS = ("!new:", "!name:", "!apply:", "!module:")
_REFERENCE = re.compile(r"<([^<>]+)>")
_KEY = re.compile(r"[^\[\]]+")
# A chain of references is no longer.
_DEEPEST = 20


@dataclass(frozen=True)
class _Reference:
    text: str


class _Loader(yaml.SafeLoader):
    """Knows the tags, and no others."""


def _reference(loader: yaml.SafeLoader, node: yaml.Node) -> _Reference:
    return _Reference(str(loader.construct_scalar(node)) if isinstance(node, yaml.ScalarNode) else "")


def _arguments(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    given = loader.construct_mapping(node, deep=True) if isinstance(node, yaml.MappingNode) else {}
    return {CLASS_KEY: suffix, **{str(key): value for key, value in given.items()}}


_Loader.add_constructor("!ref", _reference)
for _tag in _CLASS_TAGS:
    _Loader.add_multi_constructor(_tag, _arguments)


def read_tagged_yaml(path: str | Path) -> dict[str, Any]:
    """The content of a file, references resolved.

    Raises:
        UsageError: it is missing, no YAML, no mapping of keys, or a reference names nothing.
    """
    try:
        content = yaml.load(Path(path).read_text("utf-8"), _Loader) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected keys and values, found {content!r:.80}")
    return {str(key): _resolved(value, content, str(path), 0) for key, value in content.items()}


def _resolved(value: Any, content: dict[Any, Any], path: str, depth: int) -> Any:
    if depth > _DEEPEST:
        raise UsageError(f"{path}: references go in a circle")
    if isinstance(value, dict):
        return {str(key): _resolved(inner, content, path, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(inner, content, path, depth + 1) for inner in value]
    if not isinstance(value, _Reference):
        return value
    whole = _REFERENCE.fullmatch(value.text)
    if whole:
        return _resolved(_named(whole[1], content, path), content, path, depth + 1)

    def text(found: re.Match[str]) -> str:
        return str(_resolved(_named(found[1], content, path), content, path, depth + 1))

    return _REFERENCE.sub(text, value.text)


def _named(name: str, content: dict[Any, Any], path: str) -> Any:
    """The value of ``key[inner]``."""
    found: Any = content
    for key in _KEY.findall(name):
        if not isinstance(found, dict) or key not in found:
            raise UsageError(f"{path}: !ref <{name}> names a key that does not exist: {key!r}")
        found = found[key]
    return found
