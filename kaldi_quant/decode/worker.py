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

import kaldi_decoder
import kaldifst
import numpy as np

from kaldi_quant.atomic import atomic_write
from kaldi_quant.decode.backend import DECODED, LEFT_OUT
from kaldi_quant.decode.checks import check_loglikes
from kaldi_quant.decode.determinize import determinize
from kaldi_quant.decode.options import DecodeOptions
from kaldi_quant.decode.split import JOB
from kaldi_quant.errors import DataError, KaldiQuantError
from kaldi_quant.kaldi.fst import FstBytes, open_fst, read_fst_header
from kaldi_quant.kaldi.lattice import CompactLattice
from kaldi_quant.kaldi.tables import read_matrices
from kaldi_quant.kaldi.text import encode
from kaldi_quant.kaldi.transition_model import read_transition_model
from kaldi_quant.processes import TerminatedError, end_with_starter, signals_raise


class EmbeddedDecoder:
    """Decodes one utterance after the other with one graph.

    Args:
        graph: a checked ``HCLG.fst``.
        transition_id_to_pdf: (transition-ids + 1,) int32.
        options: how to decode.
    """

    def __init__(self, graph: str, transition_id_to_pdf: np.ndarray, options: DecodeOptions) -> None:
        kind = kaldifst.StdConstFst if read_fst_header(open_fst(graph)).fst_type == "const" else kaldifst.StdVectorFst
        self._graph = kind.read(graph)
        self._columns = transition_id_to_pdf[1:]
        self._options = options
        self._config = kaldi_decoder.LatticeSimpleDecoderConfig(beam=options.beam, lattice_beam=options.lattice_beam)
        self._folder = tempfile.TemporaryDirectory(prefix="kaldi_quant.")

    def decode(self, utterance: str, loglikes: np.ndarray) -> CompactLattice:
        """Decodes an utterance.

        Args:
            utterance: its name.
            loglikes: (frames, pdfs) float32, finite.

        Returns:
            The determinized lattice, its acoustic costs multiplied by post_decode_acwt.

        Raises:
            DataError: no path, or none to a final state where that is asked for.
        """
        options = self._options
        decoder = kaldi_decoder.LatticeSimpleDecoder(self._graph, self._config)
        # DecodableCtc takes column i - 1 for input label i, so that there is one column for each transition-id.
        scaled = np.ascontiguousarray(loglikes[:, self._columns] * np.float32(options.acoustic_scale))
        try:
            # The answer says whether a final state was reached, which also final_relative_cost does.
            decoder.decode(kaldi_decoder.DecodableCtc(scaled))
            raw = self._raw_lattice(decoder)
            partial = not np.isfinite(decoder.final_relative_cost())
        except RuntimeError as error:
            raise DataError(f"the decoder failed: {' '.join(str(error).split())}") from error
        if partial and not options.allow_partial:
            raise DataError("no final state was reached (--allow-partial keeps such utterances)")
        if partial:
            _say(f"WARNING utterance {utterance}: no final state was reached, a partial path is kept")
        lattice = determinize(raw, options.lattice_beam)
        best = _best_cost(lattice)
        _say(f"{DECODED} {utterance} is {-best / len(loglikes):.6g} over {len(loglikes)} frames.")
        lattice.cost[:, 1] *= options.post_decode_acwt / options.acoustic_scale
        lattice.final[:, 1] *= options.post_decode_acwt / options.acoustic_scale
        return lattice

    def _raw_lattice(self, decoder: Any) -> CompactLattice:
        done, raw = decoder.get_raw_lattice()
        path = Path(self._folder.name) / "raw.fst"
        # kaldifst's iterators do not take lattices; its files do, exactly.
        if not done or not raw.num_states or not raw.write(str(path)):
            raise DataError("no path through the graph survives the beam")
        return CompactLattice.read(FstBytes(path.read_bytes(), str(path)))


def _best_cost(lattice: CompactLattice) -> float:
    best = lattice.final.sum(axis=1).astype(np.float64)
    offsets, total = lattice.arc_offsets, lattice.cost.sum(axis=1)
    for state in reversed(lattice.topological_order()):
        begin, end = offsets[state], offsets[state + 1]
        if end > begin:
            best[state] = min(best[state], (total[begin:end] + best[lattice.nextstate[begin:end]]).min())
    return float(best[lattice.start])


def _say(message: str) -> None:
    sys.stderr.buffer.write(encode(message + "\n"))
    sys.stderr.flush()


def run(specification: dict[str, Any], job: int) -> None:
    """Does one job.

    Raises:
        KaldiQuantError: the input is another model's or cannot be read, or the lattices cannot be written.
    """
    options = DecodeOptions(**specification["options"])
    model = read_transition_model(specification["trans_model"])
    decoder = EmbeddedDecoder(specification["graph"], model.transition_id_to_pdf, options)
    out_dir = Path(specification["out_dir"])
    rspecifier = cast(str, specification["rspecifier"]).replace(JOB, str(job))
    left_out: dict[str, str] = {}
    decoded = 0
    with atomic_write(out_dir / f"lat.{job}.gz") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as stream:
        for utterance, loglikes in _usable(rspecifier, options, model.num_pdfs, left_out):
            try:
                lattice = decoder.decode(utterance, loglikes)
            except DataError as error:
                _leave_out(utterance, str(error), left_out)
                continue
            stream.write(encode(f"{utterance} ") + lattice.to_bytes())
            decoded += 1
    with atomic_write(out_dir / ".jobs" / f"decode.{job}.json", "w") as report:
        json.dump({"decoded": decoded, "left_out": left_out}, report)
    _say(f"Done {decoded} utterances, failed for {len(left_out)}")


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
    _say(f"WARNING utterance {utterance} {LEFT_OUT} {reason}")
    left_out[utterance] = reason


def main() -> int:
    """Does the job that the command line names; the last line of the log says why it failed."""
    specification = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    end_with_starter()
    try:
        with signals_raise():
            run(specification, int(sys.argv[2]))
    except KaldiQuantError as error:
        _say(str(error))
        return 1
    except TerminatedError as error:
        _say(f"ended by signal {error}")
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
