"""Config lines are taken apart as Kaldi does."""

import pytest

from kaldi_quant.kaldi.config_line import ConfigLine, read_config_lines


def test_comments_indentation_and_blank_lines_go() -> None:
    text = "# first\n\n  input-node name=input dim=3 # behind\n \t \n\tx a=1\r\n#\n"
    assert read_config_lines(text) == ["input-node name=input dim=3", "x a=1"]


@pytest.mark.parametrize(
    ("line", "first", "values"),
    [
        ("edit", "edit", {}),
        ("edit name=a", "edit", {"name": "a"}),
        ("  edit\tname=a  ", "edit", {"name": "a"}),
        ("edit input=Sum(a, Offset(b, -1)) dim=3", "edit", {"input": "Sum(a, Offset(b, -1))", "dim": "3"}),
        ("edit name='a b' x=1", "edit", {"name": "a b", "x": "1"}),
        ('edit name="it\'s" x=1', "edit", {"name": "it's", "x": "1"}),
        ("edit name='a=b'x=1", "edit", {"name": "a=b", "x": "1"}),
        ("edit a= b=1", "edit", {"a": "", "b": "1"}),
        ("edit a=1 a=2", "edit", {"a": "1"}),
        ("name=a", "", {"name": "a"}),
        ("a b=1\xa0c", "a", {"b": "1\xa0c"}),
    ],
)
def test_words_and_values(line: str, first: str, values: dict[str, str]) -> None:
    parsed = ConfigLine.parse(line)
    assert (parsed.first, parsed.values) == (first, values)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("9edit", "'9edit' cannot begin a line"),
        ("edit a", "expected key=value, found 'a'"),
        ("edit a 3=1", "'a 3' is no name of a value"),
        ("edit =1", "'' is no name of a value"),
        ("edit a='b", 'the quotation "\'b" has no end'),
    ],
)
def test_what_is_no_config_line(line: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ConfigLine.parse(line)


def test_values_are_taken_once_and_by_kind() -> None:
    line = ConfigLine.parse("edit n=+12 m=' 00000000012 ' r=1e-3 yes=True no=f s=x")
    assert line.take_int("m") == 12
    assert (line.take_int("n"), line.take_real("r"), line.take("s")) == (12, 1e-3, "x")
    assert line.take_bool("yes", default=False) and not line.take_bool("no", default=True)
    assert (line.take_int("n", 3), line.take_real("r", 0.5), line.take_bool("yes", default=False)) == (3, 0.5, False)
    line.finish()


@pytest.mark.parametrize("value", ["", "1.0", "x", "1 2", "2147483648", "1_0", "٣"])
def test_no_integers(value: str) -> None:
    with pytest.raises(ValueError, match="n="):
        ConfigLine.parse(f"edit n={value}").take_int("n")


@pytest.mark.parametrize("value", ["", "x", "nan", "-inf", "1e999", "1_0", "0x10"])
def test_no_numbers(value: str) -> None:
    with pytest.raises(ValueError, match="r="):
        ConfigLine.parse(f"edit r={value}").take_real("r")


def test_what_is_left_is_named() -> None:
    line = ConfigLine.parse("edit name=a other=b")
    line.take("name")
    with pytest.raises(ValueError, match="edit does not know other="):
        line.finish()
