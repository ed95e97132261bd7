"""The room imports nothing but numpy, Python's own modules and the modules that all rooms may use."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GROUND = {"errors", "atomic", "progress", "json_file", "metrics"}


def imported(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
    return found


def test_imports_point_downwards() -> None:
    files = [*(ROOT / "kaldi_quant/metrics").rglob("*.py"), ROOT / "kaldi_quant/json_file.py"]
    assert len(files) > 4
    for name in {name for file in files for name in imported(file)}:
        top, _, rest = name.partition(".")
        allowed = rest.split(".")[0] in GROUND if top == "kaldi_quant" else top in {"numpy", *sys.stdlib_module_names}
        assert allowed, name
