"""Lattices to error rates: the folder that Kaldi's ``steps/scoring/score_kaldi_wer.sh`` leaves.

``wer_LMWT_WIP``, ``scoring_kaldi/test_filt.txt``, ``scoring_kaldi/penalty_WIP/LMWT.txt``, ``scoring_kaldi/best_wer``
and, for the best point, ``scoring_kaldi/wer_details/{per_utt,per_spk,ops,lmwt,wip,wer_bootci}``; for character error
rates the same with ``cer`` for ``wer`` and ``.chars.txt`` for ``.txt``, as ``score_kaldi_cer.sh`` leaves it.
"""

import logging
import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from kaldi_quant.atomic import atomic_write
from kaldi_quant.decode import wer_details
from kaldi_quant.decode.backend import Backend, ScoreTask
from kaldi_quant.decode.choice import choose_backend
from kaldi_quant.decode.error_rate import CHARACTERS, remove_scores, run_filter, split_characters
from kaldi_quant.decode.options import ScoreOptions
from kaldi_quant.decode.sweep import SweepPoint
from kaldi_quant.decode.transcripts import parse_transcripts, read_transcripts
from kaldi_quant.decode.wer import WerResult
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.features.speakers import read_utt2spk
from kaldi_quant.kaldi.text import read_text, strip
from kaldi_quant.kaldi.text_tables import read_symbol_table, read_text_map

_log = logging.getLogger(__name__)

_LATTICES = re.compile(r"lat\.(\d+)\.gz")


def score(data_dir: str, graph_dir: str, decode_dir: str, options: ScoreOptions) -> str:
    """Scores a decode folder.

    Args:
        data_dir: holds ``text`` and, for the table of speakers, ``utt2spk``.
        graph_dir: holds ``words.txt``.
        decode_dir: holds ``lat.JOB.gz``.
        options: what to sweep.

    Returns:
        The line of ``best_wer``: the best point's WER and the name of its file. Where characters are scored too, that
        of ``best_cer`` stands before it.

    Raises:
        KaldiQuantError: an input is missing or malformed, or nothing can be scored.
    """
    backend = choose_backend(options.backend)
    words = Path(graph_dir) / "words.txt"
    symbols = read_symbol_table(words)
    text = Path(data_dir) / "text"
    read_text_map(text)
    folder = Path(decode_dir)
    lattices = find_lattices(folder)
    filtered = _filter("ref")(read_text(text))
    with atomic_write(folder / "scoring_kaldi" / "test_filt.txt", "w") as stream:
        stream.write(filtered)
    references = parse_transcripts(filtered, "the filtered references")
    # Those of an earlier sweep, over other points or of other lattices, are none of this one's.
    remove_scores(folder)
    task = ScoreTask(lattices, str(words), symbols, references, folder, options)
    backend.sweep(task, _filter("hyp"))
    absent = set(references) - set(read_transcripts(task.hypotheses_file(options.points[0])))
    if absent:
        _log.warning("%d of %d references have no hypothesis and are not scored", len(absent), len(references))
    utt2spk = Path(data_dir) / "utt2spk"
    if options.stats and not utt2spk.exists():
        _log.warning("%s does not exist: per_spk is not written", utt2spk)
    lines = [_score(task, backend, utt2spk)]
    if options.cer:
        lines.insert(0, _score(_in_characters(task), backend, utt2spk))
    return "\n".join(lines)


def _score(task: ScoreTask, backend: Backend, utt2spk: Path) -> str:
    """Counts errors at all points; returns the line of the best."""
    results = backend.score(task)
    point = best_point(results)
    line = f"{results[point].wer_line()} {task.score_file(point)}"
    with atomic_write(task.rate.best_file(task.decode_dir), "w") as stream:
        stream.write(line + "\n")
    if task.options.stats:
        _write_details(task, backend, point, utt2spk)
    return line


def _in_characters(task: ScoreTask) -> ScoreTask:
    """Splits the transcripts of all points into characters."""
    files = {task.rate.references_file(task.decode_dir): CHARACTERS.references_file(task.decode_dir)}
    for point in task.options.points:
        files[task.hypotheses_file(point)] = CHARACTERS.hypotheses_file(task.decode_dir, point)
    for words, characters in files.items():
        with atomic_write(characters, "w") as stream:
            stream.write(split_characters(read_text(words)))
    name = CHARACTERS.references_file(task.decode_dir)
    return replace(task, rate=CHARACTERS, references=read_transcripts(name))


def find_lattices(folder: Path) -> list[Path]:
    """The ``lat.JOB.gz`` of a decode folder, in the order of their jobs.

    Raises:
        DataError: there are none, or fewer than ``num_jobs`` says.
    """
    if not folder.is_dir():
        raise DataError(f"the decode folder {folder} does not exist")
    found = {int(match[1]): folder / match[0] for name in os.listdir(folder) if (match := _LATTICES.fullmatch(name))}
    if not found:
        raise DataError(f"{folder} has no lat.JOB.gz: decode first")
    count = folder / "num_jobs"
    jobs = strip(read_text(count)) if count.exists() else ""
    if jobs.isascii() and jobs.isdecimal() and set(found) != set(range(1, int(jobs) + 1)):
        raise DataError(f"{folder}: num_jobs says {jobs} but there are {len(found)} lat.JOB.gz; decode again")
    return [found[job] for job in sorted(found)]


def best_point(results: dict[SweepPoint, WerResult]) -> SweepPoint:
    """The point with the lowest WER as printed; of equals, the first that was given, as ``best_wer.sh`` takes it."""
    return min(results, key=lambda point: round(results[point].percent, 2))


def _filter(kind: str) -> Callable[[str], str]:
    """The recipe's filter of transcripts: ``local/wer_{ref,hyp}_filter``, else ``local/wer_output_filter``, or none."""
    for name in (f"wer_{kind}_filter", "wer_output_filter"):
        program = Path("local") / name
        if program.is_file() and os.access(program, os.X_OK):
            return partial(run_filter, program)
    return lambda text: text


def _write_details(task: ScoreTask, backend: Backend, point: SweepPoint, utt2spk: Path) -> None:
    aligned = wer_details.align(task.references, read_transcripts(task.hypotheses_file(point)))
    texts = {
        "lmwt": f"{point.lm_weight}\n",
        "wip": f"{point.penalty}\n",
        "per_utt": wer_details.per_utterance(aligned),
        "ops": wer_details.operations(aligned),
        f"{task.rate.prefix}_bootci": backend.bootstrap(task, point),
    }
    if utt2spk.exists():
        texts["per_spk"] = wer_details.per_speaker(aligned, read_utt2spk(str(utt2spk)))
    for name, text in texts.items():
        with atomic_write(task.rate.details_dir(task.decode_dir) / name, "w") as stream:
            stream.write(text)
