"""Tables in text form: what they hold, and the file and line of what is wrong in them."""

from pathlib import Path

import pytest

from kaldi_quant.errors import FormatError
from kaldi_quant.kaldi.text import encode
from kaldi_quant.kaldi.text_tables import read_symbol_table, read_text_map


def test_text_map(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("utt-a one  zwö\t drei\r\nutt-b\nutt-c 日本\u3000語\n".encode())
    assert read_text_map(path) == {"utt-a": ["one", "zwö", "drei"], "utt-b": [], "utt-c": ["日本\u3000語"]}


@pytest.mark.parametrize("encoding", ["latin-1", "gbk"])
def test_any_encoding(tmp_path: Path, encoding: str) -> None:
    line = {"latin-1": "utt-é ä ß\xa0x", "gbk": "utt-语 你 好"}[encoding].encode(encoding)
    (tmp_path / "text").write_bytes(line + b"\n")
    ((key, words),) = read_text_map(tmp_path / "text").items()
    assert [encode(word) for word in [key, *words]] == line.split(b" ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "table: the file is empty"),
        (b"a b\n\nc d\n", "table, line 2: .*blank"),
        (b"a b\na c\n", "table, line 2: a stands here again, after line 1"),
        (b"a b\nb c d\n", "table, line 2: expected 2 fields, found 3"),
        (b"a\0b c\n", "table, line 1: .*binary"),
    ],
)
def test_malformed_text_maps(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "table").write_bytes(content)
    with pytest.raises(FormatError, match=message):
        read_text_map(tmp_path / "table", fields=1)


def test_a_missing_table(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="nothing: cannot be read: No such file"):
        read_text_map(tmp_path / "nothing")
    with pytest.raises(FormatError, match="directory"):
        read_text_map(tmp_path)


def test_symbol_table(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("<eps> 0\none 1\n#0 5\n")
    assert read_symbol_table(path) == {0: "<eps>", 1: "one", 5: "#0"}


@pytest.mark.parametrize(
    "lines", ["one x\n", "one -1\n", "one 1\ntwo 1\n", "one 1\none 2\n", "one\n", "one 4294967296\n"]
)
def test_malformed_symbol_tables(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "words.txt"
    path.write_text(lines)
    with pytest.raises(FormatError, match=r"words\.txt"):
        read_symbol_table(path)
