"""Small decode folders as scoring leaves them, and systems that err at random."""

import json
import random
from pathlib import Path

from kaldi_quant.decode.transcripts import format_transcripts, read_transcripts
from kaldi_quant.decode.wer import Transcripts, compute_wer

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "egs" / "alphadigits"


def real() -> tuple[Transcripts, Transcripts]:
    """The example's 400 references, and Kaldi's words for them."""
    references = read_transcripts(EXAMPLE / "data" / "test_hires" / "text")
    return references, read_transcripts(EXAMPLE / "reference" / "kaldi_hyp_lmwt16_wip1.0.txt")


def disturbed(transcripts: Transcripts, share: float, seed: int) -> Transcripts:
    """The same with a share of the words deleted, replaced or preceded by another."""
    chance = random.Random(seed)
    vocabulary = sorted({word for words in transcripts.values() for word in words})
    result = {}
    for utterance, words in transcripts.items():
        changed: list[str] = []
        for word in words:
            kind = chance.choice("ids") if chance.random() < share else ""
            other = chance.choice(vocabulary)
            changed += {"i": [other, word], "d": [], "s": [other], "": [word]}[kind]
        result[utterance] = changed
    return result


def write_folder(
    folder: Path,
    references: Transcripts,
    points: dict[str, Transcripts],
    record: object = None,
) -> str:
    """Writes a scored folder.

    Args:
        folder: is made.
        references: utterance → words.
        points: "LMWT_WIP" → hypotheses; the first is written to best_wer.
        record: for quantization.json; none where it is None.

    Returns:
        The folder's name.
    """
    scoring = folder / "scoring_kaldi"
    scoring.mkdir(parents=True)
    (scoring / "test_filt.txt").write_text(format_transcripts(references))
    lines = {}
    for point, hypotheses in points.items():
        lmwt, wip = point.split("_")
        (scoring / f"penalty_{wip}").mkdir(exist_ok=True)
        (scoring / f"penalty_{wip}" / f"{lmwt}.txt").write_text(format_transcripts(hypotheses))
        result = compute_wer(references, hypotheses)
        (folder / f"wer_{point}").write_text(result.text())
        lines[point] = result.wer_line()
    best = next(iter(points))
    (scoring / "best_wer").write_text(f"{lines[best]} {folder}/wer_{best}\n")
    if record is not None:
        (folder / "quantization.json").write_text(json.dumps(record))
    return str(folder)
