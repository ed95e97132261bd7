"""The room is light: of packages it imports numpy alone. Which rooms it imports is tested for all rooms together."""

import ast
import sys
from pathlib import Path

ROOM = Path(__file__).resolve().parents[2] / "kaldi_quant/metrics"


def imported(path: Path) -> set[str]:
    """The packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def test_nothing_but_numpy_is_imported() -> None:
    files = list(ROOM.rglob("*.py"))
    assert len(files) > 4
    packages = set().union(*map(imported, files)) - set(sys.stdlib_module_names)
    assert packages <= {"kaldi_quant", "numpy"}
