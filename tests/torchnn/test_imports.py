"""Networks of torch need nothing of Kaldi."""

import ast
from pathlib import Path

ROOM = Path(__file__).resolve().parents[2] / "kaldi_quant" / "torchnn"
GROUND = {"atomic", "bad_utterances", "errors", "made", "progress", "registry", "units"}
ALLOWED = {"quant", "torchnn", "train", "backends", *GROUND}


def test_the_room_imports_what_lies_below_it_alone() -> None:
    for path in ROOM.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                if name and name.startswith("kaldi_quant."):
                    assert name.split(".")[1] in ALLOWED, f"{path.name} imports {name}"
