"""Transcripts as Kaldi's tables of text: ``utterance word word …``."""

import os
from pathlib import Path

from kaldi_quant.decode.wer import Transcripts
from kaldi_quant.errors import FormatError


def format_transcripts(transcripts: Transcripts) -> str:
    """One line for each utterance, a space behind every word, as ``int2sym.pl`` leaves it."""
    return "".join(f"{' '.join([utterance, *words])} \n" for utterance, words in transcripts.items())


def parse_transcripts(text: str, name: str) -> Transcripts:
    """Takes lines apart; an empty text has no utterances.

    Raises:
        FormatError: a line is blank, or an utterance stands twice.
    """
    transcripts: Transcripts = {}
    for number, line in enumerate(text.split("\n")[: text.count("\n") + (not text.endswith("\n"))], 1):
        words = line.split()
        if not words and not text:
            continue
        if not words or words[0] in transcripts:
            problem = f"the utterance {words[0]} appears again" if words else "a blank line"
            raise FormatError(f"{name}, line {number}", None, problem)
        transcripts[words[0]] = words[1:]
    return transcripts


def read_transcripts(path: str | os.PathLike[str]) -> Transcripts:
    """Reads a file of transcripts.

    Raises:
        FormatError: the file is missing or malformed.
    """
    try:
        return parse_transcripts(Path(path).read_text("utf-8"), os.fspath(path))
    except OSError as error:
        raise FormatError(os.fspath(path), None, f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FormatError(os.fspath(path), error.start, "is not UTF-8") from error
