"""Which speaker an utterance is of: Kaldi's ``utt2spk`` and ``spk2utt``."""

from collections.abc import Mapping
from pathlib import Path

from kaldi_quant.errors import FormatError, UsageError
from kaldi_quant.kaldi.specifiers import is_rspecifier, parse_rspecifier
from kaldi_quant.kaldi.text_tables import read_text_map


def file_of(text: str) -> str:
    """The file that an option such as ``--utt2spk`` names, as a path or as an rspecifier of a text archive.

    Raises:
        UsageError: it is an scp.
    """
    if not is_rspecifier(text):
        return text
    parsed = parse_rspecifier(text)
    if parsed.script:
        raise UsageError(f"{text}: expected a text file such as data/test/utt2spk, or ark:data/test/utt2spk")
    return parsed.filename


def read_utt2spk(path: str) -> dict[str, str]:
    """utterance → speaker.

    Raises:
        FormatError: the file is missing or malformed.
    """
    return {utterance: speaker for utterance, (speaker,) in read_text_map(path, fields=1).items()}


def read_spk2utt(path: str) -> dict[str, list[str]]:
    """speaker → utterances, in the order in which they were spoken.

    Raises:
        FormatError: the file is missing or malformed, or has an utterance twice.
    """
    speakers = read_text_map(path)
    seen: dict[str, str] = {}
    for speaker, utterances in speakers.items():
        for utterance in utterances:
            if utterance in seen:
                raise FormatError(path, None, f"{utterance} is of {seen[utterance]}, and again of {speaker}")
            seen[utterance] = speaker
    return speakers


def by_speaker(speaker_of: Mapping[str, str]) -> dict[str, list[str]]:
    """speaker → utterances, in the order of ``speaker_of``."""
    speakers: dict[str, list[str]] = {}
    for utterance, speaker in speaker_of.items():
        speakers.setdefault(speaker, []).append(utterance)
    return speakers


def folder_of(rspecifier: str) -> Path | None:
    """The folder of the file that a table is read from, where Kaldi's data folders hold what belongs to it.

    None for standard input and for commands.
    """
    filename = parse_rspecifier(rspecifier).filename
    if filename in ("", "-") or filename.rstrip().endswith("|"):
        return None
    return Path(filename).parent
