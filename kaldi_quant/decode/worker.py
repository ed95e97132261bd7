"""One job of the embedded back end: ``python -m kaldi_quant.decode.worker SPECIFICATION JOB``.

Reads log-likelihoods, writes ``lat.JOB.gz`` and a report. Standard error is the job's log.
"""

import gzip
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from kaldi_quant.atomic import atomic_write
from kaldi_quant.decode.backend import LEFT_OUT
from kaldi_quant.decode.checks import check_loglikes
from kaldi_quant.decode.embedded_decoder import EmbeddedDecoder, say
from kaldi_quant.decode.graph import load_graph
from kaldi_quant.decode.options import DecodeOptions
from kaldi_quant.decode.split import JOB
from kaldi_quant.errors import DataError, KaldiQuantError
from kaldi_quant.kaldi.tables import read_matrices
from kaldi_quant.kaldi.text import encode
from kaldi_quant.kaldi.transition_model import read_transition_model
from kaldi_quant.processes import TerminatedError, end_with_starter, signals_raise


class Worker:
    """What the jobs of one decoding have in common, loaded.

    Args:
        specification: of the decoding.

    Raises:
        KaldiQuantError: the transition model or the graph cannot be read.
    """

    def __init__(self, specification: dict[str, Any]) -> None:
        self._specification = specification
        self._model = read_transition_model(specification["trans_model"])
        self._graph = load_graph(specification["graph"])

    def run(self, job: int) -> int:
        """Does one job; returns the status to end with. The last line of the log says why it failed."""
        try:
            self._run(job)
        except KaldiQuantError as error:
            say(str(error))
            return 1
        return 0

    def _run(self, job: int) -> None:
        options = DecodeOptions(**self._specification["options"])
        out_dir = Path(self._specification["out_dir"])
        rspecifier = cast(str, self._specification["rspecifier"]).replace(JOB, str(job))
        left_out: dict[str, str] = {}
        with tempfile.TemporaryDirectory(prefix="kaldi_quant.") as folder:
            decoder = EmbeddedDecoder(self._graph, self._model.transition_id_to_pdf, options, Path(folder))
            usable = _usable(rspecifier, options, self._model.num_pdfs, left_out)
            decoded = _decode(decoder, usable, out_dir / f"lat.{job}.gz", left_out)
        with atomic_write(out_dir / ".jobs" / f"decode.{job}.json", "w") as report:
            json.dump({"decoded": decoded, "left_out": left_out}, report)
        say(f"Done {decoded} utterances, failed for {len(left_out)}")


def _decode(
    decoder: EmbeddedDecoder, utterances: Iterator[tuple[str, np.ndarray]], archive: Path, left_out: dict[str, str]
) -> int:
    """Writes the lattices; returns how many, and notes utterances that have none."""
    decoded = 0
    with atomic_write(archive) as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as stream:
        for utterance, loglikes in utterances:
            try:
                lattice = decoder.decode(utterance, loglikes)
            except DataError as error:
                _leave_out(utterance, str(error), left_out)
                continue
            stream.write(encode(f"{utterance} ") + lattice.to_bytes())
            decoded += 1
    return decoded


def _usable(
    rspecifier: str, options: DecodeOptions, num_pdfs: int, left_out: dict[str, str]
) -> Iterator[tuple[str, np.ndarray]]:
    """The utterances that can be decoded; notes the others."""

    def on_bad(utterance: str, error: KaldiQuantError) -> None:
        _leave_out(utterance, str(error), left_out)

    for utterance, loglikes in read_matrices(rspecifier, options.allow_pipes, on_bad):
        reason = check_loglikes(utterance, loglikes, num_pdfs)
        if reason:
            _leave_out(utterance, reason, left_out)
        else:
            yield utterance, loglikes


def _leave_out(utterance: str, reason: str, left_out: dict[str, str]) -> None:
    say(f"WARNING utterance {utterance} {LEFT_OUT} {reason}")
    left_out[utterance] = reason


def main() -> int:
    """Does the job that the command line names."""
    specification = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    end_with_starter()
    try:
        with signals_raise():
            return Worker(specification).run(int(sys.argv[2]))
    except KaldiQuantError as error:
        say(str(error))
        return 1
    except TerminatedError as error:
        say(f"ended by signal {error}")
        return error.status


if __name__ == "__main__":
    sys.exit(main())
