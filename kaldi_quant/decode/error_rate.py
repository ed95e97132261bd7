"""What an error rate counts, words or characters, and how Kaldi's scoring names the files of each.

Source: ``steps/scoring/score_kaldi_wer.sh`` and ``steps/scoring/score_kaldi_cer.sh`` of Kaldi's recipes.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.decode.sweep import SweepPoint
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.text import decode, encode
from kaldi_quant.metrics.known import CER, WER
from kaldi_quant.metrics.metric import Metric

_POINT = re.compile(r"_(\d+)_(-?\d+(?:\.\d+)?)", re.ASCII)
# What a Perl that reads UTF-8 takes for white space, which is more than ASCII's and other than Python's.
_PERL_SPACE = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
# Words that stand for no characters: [noise], <unk>, !SIL.
_WHOLE = re.compile(r"\[.*\]|<.*>|!SIL")


@dataclass(frozen=True)
class ErrorRate:
    """One kind of error rate.

    Attributes:
        unit: what is counted: "word" or "character".
        metric: what the rate is: WER or CER.
        prefix: of the names of its files.
        suffix: of the names of its transcripts.
    """

    unit: str
    metric: Metric
    prefix: str
    suffix: str

    @property
    def units(self) -> str:
        """What is counted, in the plural."""
        return f"{self.unit}s"

    def point_of(self, name: str) -> SweepPoint | None:
        """The point of the sweep whose score file has a name; None where it is no score file."""
        found = _POINT.fullmatch(name.removeprefix(self.prefix)) if name.startswith(self.prefix) else None
        return SweepPoint(int(found[1]), found[2]) if found else None

    def score_file(self, decode_dir: Path, point: SweepPoint) -> Path:
        """``wer_LMWT_WIP``."""
        return decode_dir / f"{self.prefix}_{point.lm_weight}_{point.penalty}"

    def references_file(self, decode_dir: Path) -> Path:
        """``scoring_kaldi/test_filt.txt``."""
        return decode_dir / "scoring_kaldi" / f"test_filt{self.suffix}"

    def hypotheses_file(self, decode_dir: Path, point: SweepPoint) -> Path:
        """``scoring_kaldi/penalty_WIP/LMWT.txt``."""
        return decode_dir / "scoring_kaldi" / f"penalty_{point.penalty}" / f"{point.lm_weight}{self.suffix}"

    def best_file(self, decode_dir: Path) -> Path:
        """``scoring_kaldi/best_wer``."""
        return decode_dir / "scoring_kaldi" / f"best_{self.prefix}"

    def details_dir(self, decode_dir: Path) -> Path:
        """``scoring_kaldi/wer_details``."""
        return decode_dir / "scoring_kaldi" / f"{self.prefix}_details"


WORDS = ErrorRate("word", WER, "wer", ".txt")
CHARACTERS = ErrorRate("character", CER, "cer", ".chars.txt")
ERROR_RATES = (WORDS, CHARACTERS)


def remove_scores(folder: Path) -> None:
    """Removes the scores of a decode folder, so that nobody takes them for those of lattices that are made anew."""
    stale = [rate.best_file(folder) for rate in ERROR_RATES]
    if folder.is_dir():
        stale += [folder / name for name in os.listdir(folder) if any(rate.point_of(name) for rate in ERROR_RATES)]
    for path in stale:
        path.unlink(missing_ok=True)
    for rate in ERROR_RATES:
        shutil.rmtree(rate.details_dir(folder), ignore_errors=True)


def split_characters(text: str) -> str:
    """Transcripts with each character as a word of its own, as ``score_kaldi_cer.sh`` splits them.

    A recipe's ``local/character_tokenizer`` does it where there is one.

    Args:
        text: lines of an utterance's name and its words.

    Raises:
        DataError: the recipe's tokenizer failed.

    Example:
        >>> split_characters("utt1 ab [noise]\\n")
        'utt1 a b [noise]\\n'
    """
    tokenizer = Path("local") / "character_tokenizer"
    if tokenizer.is_file() and os.access(tokenizer, os.X_OK):
        return run_filter(tokenizer, text)
    lines = text.removesuffix("\n").split("\n") if text else []
    return "".join(f"{_split_line(line)}\n" for line in lines)


def _split_line(line: str) -> str:
    name, *words = [field for field in _PERL_SPACE.split(line) if field] or [""]
    pieces = [name]
    for word in words:
        pieces += [word] if _WHOLE.search(word) else word
    return " ".join(pieces)


def run_filter(program: Path, text: str) -> str:
    """What a recipe's own program makes of transcripts.

    Raises:
        DataError: it failed.
    """
    done = subprocess.run([f"./{program}"], input=encode(text), stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise DataError(f"{program} ended with status {done.returncode}")
    return decode(done.stdout)
