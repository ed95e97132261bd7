"""Kaldi's rspecifiers and wspecifiers, such as ``scp,p:feats.scp`` and ``ark,scp:feats.ark,feats.scp``, taken apart.

Source: ``ClassifyRspecifier`` and ``ClassifyWspecifier`` in ``src/util/kaldi-table.cc``.
"""

from dataclasses import dataclass

from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.text import strip

_READ_OPTIONS = {"b", "t", "o", "no", "p", "np", "s", "ns", "cs", "ncs", "bg"}
_WRITE_OPTIONS = {"b", "t", "f", "nf", "p"}


@dataclass(frozen=True)
class Rspecifier:
    """Where a table is read from.

    Attributes:
        script: True for ``scp:``, a list of places; False for ``ark:``, the archive itself.
        filename: the file, ``-`` for standard input, or a command that ends in ``|``.
        permissive: option ``p``: entries that cannot be read are reported and left out.
        once: option ``o``: each key is asked for at most once, so that its value need not be kept.
    """

    script: bool
    filename: str
    permissive: bool = False
    once: bool = False


@dataclass(frozen=True)
class Wspecifier:
    """Where a table is written to.

    Attributes:
        archive: the archive's file, ``-`` for standard output, or a command that begins with ``|``.
        script: the scp file that lists the archive's entries, or None.
        binary: False for Kaldi's text form (option ``t``).
    """

    archive: str
    script: str | None = None
    binary: bool = True


def is_rspecifier(text: str) -> bool:
    """Whether a text is meant as an rspecifier, and not as the name of a file."""
    return bool({"ark", "scp"} & {strip(word) for word in text.partition(":")[0].split(",")}) and ":" in text


def parse_rspecifier(text: str) -> Rspecifier:
    """Takes an rspecifier apart.

    Raises:
        UsageError: the text is no rspecifier.
    """
    kinds, options, filename = _split(text, _READ_OPTIONS, "an rspecifier such as scp:feats.scp or ark:feats.ark")
    if len(kinds) != 1:
        raise UsageError(f"{text!r} must begin with one of ark and scp, such as scp:feats.scp or ark:feats.ark")
    if filename.startswith("|"):
        raise UsageError(f"{text!r} is for reading: a command must end with |, not begin with it")
    return Rspecifier(
        script=kinds == ["scp"],
        filename=filename or "-",
        permissive=_switch(options, "p", "np"),
        once=_switch(options, "o", "no"),
    )


def parse_wspecifier(text: str) -> Wspecifier:
    """Takes a wspecifier apart; with both ``ark`` and ``scp`` the two files stand in the order of these words.

    Raises:
        UsageError: the text is no wspecifier, or names an scp without an archive.
    """
    example = "a wspecifier such as ark:out.ark or ark,scp:out.ark,out.scp"
    kinds, options, filename = _split(text, _WRITE_OPTIONS, example)
    if sorted(set(kinds)) != sorted(kinds) or "ark" not in kinds:
        raise UsageError(f"{text!r} must name one archive: expected {example}")
    if filename.endswith("|"):
        raise UsageError(f"{text!r} is for writing: a command must begin with |, not end with it")
    binary = not _switch(options, "t", "b")
    if len(kinds) == 1:
        return Wspecifier(filename or "-", binary=binary)
    files = dict(zip(kinds, filename.split(",", 1), strict=False))
    if len(files) != 2 or not all(files.values()):
        raise UsageError(f"{text!r} must name two files, separated by a comma: expected {example}")
    if files["ark"] == "-" or files["ark"].startswith("|"):
        raise UsageError(f"{text!r}: an scp can only point into an archive that is a file")
    return Wspecifier(files["ark"], files["scp"], binary)


def _split(text: str, allowed: set[str], expected: str) -> tuple[list[str], list[str], str]:
    """The kinds (ark, scp) and the options before the colon, both in order, and what follows the colon."""
    prefix, _, filename = text.partition(":")
    words = [strip(word) for word in prefix.split(",")]
    if not is_rspecifier(text):
        raise UsageError(f"expected {expected}, found {text!r}")
    if filename != strip(filename):
        raise UsageError(f"{text!r}: the file name begins or ends with white space")
    options = [word for word in words if word not in ("ark", "scp")]
    unknown = [word for word in options if word not in allowed]
    if unknown:
        raise UsageError(f"{text!r}: unknown option {unknown[0]!r}; allowed are {', '.join(sorted(allowed))}")
    return [word for word in words if word in ("ark", "scp")], options, filename


def _switch(options: list[str], on: str, off: str) -> bool:
    """The state of a switch of which the last mention counts."""
    mentions = [option for option in options if option in (on, off)]
    return bool(mentions) and mentions[-1] == on
