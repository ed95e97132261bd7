"""Kaldi's lattice decoder of the wheel kaldi-decoder: log-likelihoods of one utterance to a determinized lattice."""

import sys
from pathlib import Path
from typing import Any

import kaldi_decoder
import numpy as np

from kaldi_quant.decode.backend import DECODED
from kaldi_quant.decode.determinize import determinize
from kaldi_quant.decode.options import DecodeOptions
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.fst import FstBytes
from kaldi_quant.kaldi.lattice import CompactLattice
from kaldi_quant.kaldi.text import encode


class EmbeddedDecoder:
    """Decodes one utterance after the other with one graph.

    Args:
        graph: as ``decode.graph.load_graph`` gives it.
        transition_id_to_pdf: (transition-ids + 1,) int32.
        options: how to decode.
        folder: for a temporary file.
    """

    def __init__(self, graph: Any, transition_id_to_pdf: np.ndarray, options: DecodeOptions, folder: Path) -> None:
        self._graph = graph
        self._columns = transition_id_to_pdf[1:]
        self._options = options
        self._config = kaldi_decoder.LatticeSimpleDecoderConfig(beam=options.beam, lattice_beam=options.lattice_beam)
        self._raw = folder / "raw.fst"

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
            say(f"WARNING utterance {utterance}: no final state was reached, a partial path is kept")
        lattice = determinize(raw, options.lattice_beam)
        best = _best_cost(lattice)
        say(f"{DECODED} {utterance} is {-best / len(loglikes):.6g} over {len(loglikes)} frames.")
        lattice.cost[:, 1] *= options.post_decode_acwt / options.acoustic_scale
        lattice.final[:, 1] *= options.post_decode_acwt / options.acoustic_scale
        return lattice

    def _raw_lattice(self, decoder: Any) -> CompactLattice:
        done, raw = decoder.get_raw_lattice()
        # kaldifst's iterators do not take lattices; its files do, exactly.
        if not done or not raw.num_states or not raw.write(str(self._raw)):
            raise DataError("no path through the graph survives the beam")
        return CompactLattice.read(FstBytes(self._raw.read_bytes(), str(self._raw)))


def _best_cost(lattice: CompactLattice) -> float:
    best = lattice.final.sum(axis=1).astype(np.float64)
    offsets, total = lattice.arc_offsets, lattice.cost.sum(axis=1)
    for state in reversed(lattice.topological_order()):
        begin, end = offsets[state], offsets[state + 1]
        if end > begin:
            best[state] = min(best[state], (total[begin:end] + best[lattice.nextstate[begin:end]]).min())
    return float(best[lattice.start])


def say(message: str) -> None:
    """Writes a line to the job's log."""
    sys.stderr.flush()
    sys.stderr.buffer.write(encode(message + "\n"))
    sys.stderr.flush()
