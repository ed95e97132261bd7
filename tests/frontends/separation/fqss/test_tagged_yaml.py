"""YAML with hyperpyyaml's tags: references are resolved, nothing is executed, and what is wrong is one sentence."""

from pathlib import Path
from typing import Any

import pytest

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.fqss.tagged_yaml import CLASS_KEY, read_tagged_yaml


def read(text: str, folder: Path) -> dict[str, Any]:
    path = folder / "c.yaml"
    path.write_text(text)
    return read_tagged_yaml(path)


def test_references_stand_for_values(tmp_path: Path) -> None:
    text = "work: out\nfolder: !ref <work>/save\nloader: {size: 3}\nsize: !ref <loader[size]>\nagain: [!ref <size>]\n"
    assert read(text, tmp_path) == {
        "work": "out",
        "folder": "out/save",
        "loader": {"size": 3},
        "size": 3,
        "again": [3],
    }


def test_classes_are_names_with_arguments(tmp_path: Path) -> None:
    text = "lr: 0.1\noptimizer: !name:torch.optim.Adam\n  lr: !ref <lr>\nloss: !new:os.system\n"
    assert read(text, tmp_path) == {
        "lr": 0.1,
        "optimizer": {CLASS_KEY: "torch.optim.Adam", "lr": 0.1},
        "loss": {CLASS_KEY: "os.system"},
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x: !!python/object/apply:os.system [touch pwned]", "cannot be read as YAML"),
        ("x: !other y", "cannot be read as YAML"),
        ("x: [", "cannot be read as YAML"),
        ("- x", r"expected keys and values, found \['x'\]"),
        ("x: !ref <y>", "!ref <y> names a key that does not exist: 'y'"),
        ("x: {y: 1}\nz: !ref <x[w]>", r"!ref <x\[w\]> names a key that does not exist: 'w'"),
        ("x: !ref <y>\ny: !ref <x>", "references go in a circle"),
    ],
)
def test_what_is_wrong_is_told(text: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=sentence):
        read(text, tmp_path)
    assert not (tmp_path / "pwned").exists()


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml: cannot be read as YAML"):
        read_tagged_yaml(tmp_path / "none.yaml")
