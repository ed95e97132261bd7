"""The rooms of the package, and which imports which: only what stands here, so that no arrow points up."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kaldi_quant

PACKAGE = Path(kaldi_quant.__file__).parent

#: For each room those that it may import; modules that lie directly in the package are the ground of all.
ROOMS = {
    "kaldi": set(),
    "metrics": set(),
    "quant": set(),
    "backends": {"quant"},
    "train": {"quant", "backends"},
    "decode": {"kaldi", "metrics"},
    "nnet3": {"kaldi", "quant", "backends", "train"},
    "torchnn": {"quant", "backends", "train"},
    "formats": {"kaldi", "quant", "backends", "nnet3", "torchnn"},
    "api": {"kaldi", "quant", "backends", "train", "nnet3", "torchnn", "formats"},
    "recogniser": {"kaldi", "quant", "backends", "decode", "nnet3", "torchnn", "formats"},
    "frontends": {"metrics", "quant", "backends", "train", "torchnn", "formats", "api"},
    "report": {"kaldi", "metrics", "quant", "backends", "train", "decode", "nnet3", "formats"},
    "cli": {"kaldi", "quant", "backends", "train", "decode", "nnet3", "formats", "recogniser", "report", "frontends"},
}


def modules(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """The modules of this package that a file imports, anywhere in it, with the line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            found = [f"{node.module}.{name.name}" for name in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in found if name.split(".")[0] == "kaldi_quant")


def room_of(name: str) -> str | None:
    """The room that an imported name lies in; None for the ground."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else None


def test_every_folder_is_a_known_room() -> None:
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(ROOMS)


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_rooms_import_what_lies_below(room: str) -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        for path in modules(PACKAGE / room)
        for line, name in imports(path)
        if (found := room_of(name)) is not None and found != room and found not in ROOMS[room]
    ]
    assert not wrong


def test_the_ground_imports_no_room() -> None:
    wrong = [
        f"{path.name}:{line} imports {name}"
        for path in PACKAGE.glob("*.py")
        for line, name in imports(path)
        if room_of(name) is not None and path.stem != "__main__"
    ]
    assert not wrong


def test_no_two_rooms_import_each_other() -> None:
    def below(room: str) -> set[str]:
        return ROOMS[room].union(*(below(other) for other in ROOMS[room]))

    assert all(room not in below(room) for room in ROOMS)


def test_the_quantizer_knows_no_component_of_kaldis() -> None:
    names = [path for path in modules(PACKAGE / "quant") if "Component" in path.read_text()]
    assert not names
