"""Kaldi's notion of words, lines and numbers, and that no other is used on its files."""

import ast
from pathlib import Path

import pytest

import kaldi_quant
from kaldi_quant.kaldi.text import decode, encode, split_lines, split_words, strip, to_integer, to_real

PACKAGE = Path(kaldi_quant.__file__).parent
# What Python takes for white space or for the end of a line, and Kaldi for a part of a word.
ODD = "\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u3000\ufeff"


@pytest.mark.parametrize("character", list(ODD))
def test_what_is_white_space_to_python_alone(character: str) -> None:
    word = f"a{character}b"
    assert split_words(f" {word}\t{word}\r\n") == [word, word]
    assert split_lines(f"{word}\n{word}") == [word, word]
    assert strip(f"\v{character}{word} \f") == character + word


def test_words_and_lines() -> None:
    assert split_words("\t a  b\vc\fd\r\n") == ["a", "b", "c", "d"]
    assert split_words(" \n") == []
    assert split_lines("") == []
    assert split_lines("a\n\nb\r\n") == ["a", "", "b\r"]


@pytest.mark.parametrize(
    "data", [b"\xe4\xf6\xa0", "你好".encode("gbk"), "ä\u3000".encode(), b"\xed\xb3\xa4", bytes(256)]
)
def test_bytes_come_out_as_they_went_in(data: bytes) -> None:
    assert encode(decode(data)) == data


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("-7", -7), ("+7", 7), (" 12\n", 12), ("0" * 5000 + "1", 1), ("-2147483648", -(2**31))],
)
def test_integers(text: str, value: int) -> None:
    assert to_integer(text) == value


@pytest.mark.parametrize("text", ["", " ", "1_0", "١", "²", "1.0", "1e3", "0x10", "2147483648", "1 2", "-", "9" * 5000])
def test_no_integers(text: str) -> None:
    with pytest.raises(ValueError, match="is no integer of 32 bits"):
        to_integer(text)


def test_longer_integers() -> None:
    assert to_integer("-9223372036854775808", 64) == -(2**63)
    with pytest.raises(ValueError, match="64 bits"):
        to_integer("9223372036854775808", 64)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("-1.5e-3", -0.0015), ("+.5", 0.5), ("5.", 5), ("INF", float("inf")), ("-Infinity", float("-inf"))],
)
def test_numbers(text: str, value: float) -> None:
    assert to_real(text) == value


@pytest.mark.parametrize("text", ["", "1_0", "1,5", "١", "0x1p3", "1e", "nan(3)", "infinit", "1 2", "."])
def test_no_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="is no number"):
        to_real(text)


# The modules that take Kaldi's texts apart as str; others read bytes, of which Python's notion is Kaldi's.
READERS = ["kaldi/descriptor", "kaldi/mfcc_options", "kaldi/script_file", "kaldi/specifiers", "kaldi/table_writer"]
READERS += ["kaldi/text_tables", "kaldi/waves", "decode/scoring", "decode/split", "decode/transcripts"]
READERS += ["decode/kaldi_programs", "decode/wer_details"]
ANYWHERE = {"splitlines", "isspace", "isdigit", "isnumeric", "read_text"}
WITHOUT_ARGUMENTS = {"split", "strip", "lstrip", "rstrip", "encode", "decode"}


@pytest.mark.parametrize("module", READERS)
def test_nothing_is_left_to_python(module: str) -> None:
    """What white space, digits and an encoding are, says the module that is tested above."""
    found = []
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr
            if name in ANYWHERE or (name in WITHOUT_ARGUMENTS and not node.args):
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
    assert found == []
