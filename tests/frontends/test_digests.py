"""What tells files from others."""

import hashlib
from pathlib import Path

import pytest

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.digests import update_with_files


def digest(paths: list[Path], most: int) -> str:
    found = hashlib.sha256()
    update_with_files(found, paths, most)
    return found.hexdigest()


def test_contents_count_of_few_and_of_some_of_many(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(8)]
    for path in paths:
        path.write_bytes(b"0123456789")
    whole, part = digest(paths, 80), digest(paths, 40)
    paths[1].write_bytes(b"012345678X")
    assert digest(paths, 80) != whole and digest(paths, 40) == part
    paths[1].write_bytes(b"01234567890")
    assert digest(paths, 41) != part
    with pytest.raises(DataError, match=r"cannot read .*gone: No such file"):
        digest([*paths, tmp_path / "gone"], 80)
