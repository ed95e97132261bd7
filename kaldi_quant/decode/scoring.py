"""Lattices to word error rates: the folder that Kaldi's ``steps/scoring/score_kaldi_wer.sh`` leaves.

``wer_LMWT_WIP``, ``scoring_kaldi/test_filt.txt``, ``scoring_kaldi/penalty_WIP/LMWT.txt``, ``scoring_kaldi/best_wer``
and, for the best point, ``scoring_kaldi/wer_details/{per_utt,per_spk,ops,lmwt,wip,wer_bootci}``.
"""

import logging
import os
import re
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from kaldi_quant.atomic import atomic_write
from kaldi_quant.decode import wer_details
from kaldi_quant.decode.backend import Backend, ScoreTask
from kaldi_quant.decode.choice import choose_backend
from kaldi_quant.decode.options import ScoreOptions
from kaldi_quant.decode.sweep import SweepPoint
from kaldi_quant.decode.transcripts import parse_transcripts, read_transcripts
from kaldi_quant.decode.wer import WerResult
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.text import decode, encode, read_text, strip
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
        The line of ``best_wer``: the best point's WER and the name of its file.

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
    task = ScoreTask(lattices, str(words), symbols, references, folder, options)
    backend.sweep(task, _filter("hyp"))
    results = backend.score(task)
    point = best_point(results)
    absent = results[point].absent_sentences
    if absent:
        _log.warning("%d of %d references have no hypothesis and are not scored", absent, len(references))
    line = f"{results[point].wer_line()} {task.wer_file(point)}"
    with atomic_write(task.scoring_dir / "best_wer", "w") as stream:
        stream.write(line + "\n")
    if options.stats:
        _write_details(task, backend, point, Path(data_dir) / "utt2spk")
    return line


def find_lattices(folder: Path) -> list[Path]:
    """The ``lat.JOB.gz`` of a decode folder, in the order of their jobs.

    Raises:
        DataError: there are none, or fewer than ``num_jobs`` says.
    """
    if not folder.is_dir():
        raise DataError(f"the decode folder {folder} does not exist")
    found = {int(match[1]): folder / match[0] for name in os.listdir(folder) if (match := _LATTICES.fullmatch(name))}
    if not found:
        raise DataError(f"{folder}: has no lat.JOB.gz; decode first")
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
            return partial(_run_filter, program)
    return lambda text: text


def _run_filter(program: Path, text: str) -> str:
    done = subprocess.run([f"./{program}"], input=encode(text), stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise DataError(f"{program} ended with status {done.returncode}")
    return decode(done.stdout)


def _write_details(task: ScoreTask, backend: Backend, point: SweepPoint, utt2spk: Path) -> None:
    aligned = wer_details.align(task.references, read_transcripts(task.hypotheses_file(point)))
    texts = {
        "lmwt": f"{point.lm_weight}\n",
        "wip": f"{point.penalty}\n",
        "per_utt": wer_details.per_utterance(aligned),
        "ops": wer_details.operations(aligned),
        "wer_bootci": backend.bootstrap(task, point),
    }
    if utt2spk.exists():
        speakers = {utterance: words[0] for utterance, words in read_text_map(utt2spk, fields=1).items()}
        texts["per_spk"] = wer_details.per_speaker(aligned, speakers)
    else:
        _log.warning("%s does not exist: no table of speakers is made", utt2spk)
    for name, text in texts.items():
        with atomic_write(task.scoring_dir / "wer_details" / name, "w") as stream:
            stream.write(text)
