"""Transcripts as Kaldi's tables of text: ``utterance word word …``."""

import os

from kaldi_quant.decode.wer import Transcripts
from kaldi_quant.errors import FormatError
from kaldi_quant.kaldi.text import read_text, split_lines, split_words


def format_transcripts(transcripts: Transcripts) -> str:
    """One line for each utterance, a space behind every word, as ``int2sym.pl`` leaves it."""
    return "".join(f"{' '.join([utterance, *words])} \n" for utterance, words in transcripts.items())


def parse_transcripts(text: str, name: str) -> Transcripts:
    """Takes lines apart; an empty text has no utterances.

    Raises:
        FormatError: a line is blank, or an utterance stands twice.
    """
    transcripts: Transcripts = {}
    for number, line in enumerate(split_lines(text), 1):
        words = split_words(line)
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
    return parse_transcripts(read_text(path), os.fspath(path))
