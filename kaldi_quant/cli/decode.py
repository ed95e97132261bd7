"""``kaldi-quant decode TRANS-MODEL HCLG.fst LOGLIKES-RSPECIFIER OUT-DIR``: as latgen-faster-mapped, in jobs."""

import logging
from pathlib import Path

import click

from kaldi_quant.cli.decoding_options import DecodingArguments, decoding_options
from kaldi_quant.cli.options import KaldiCommand, allow_pipes_option, backend_option, max_bad_share_option
from kaldi_quant.decode.decoding import decode
from kaldi_quant.decode.options import DecodeOptions

_log = logging.getLogger(__name__)


@click.command(cls=KaldiCommand)
@click.option("--word-symbol-table", metavar="FILE", help="words.txt; by default the one beside HCLG.fst.")
@click.option("--nj", type=int, default=DecodeOptions().nj, show_default=True, help="Number of jobs.")
@decoding_options
@backend_option()
@click.option(
    "--cmd",
    metavar="CMD",
    help="What runs the jobs, such as run.pl or 'slurm.pl --mem 4G'; by default, they run on this machine.",
)
@max_bad_share_option()
@allow_pipes_option()
@click.argument("trans_model", metavar="TRANS-MODEL")
@click.argument("graph", metavar="HCLG.fst")
@click.argument("loglikes", metavar="LOGLIKES-RSPECIFIER")
@click.argument("out_dir", metavar="OUT-DIR")
def command(
    word_symbol_table: str | None,
    nj: int,
    decoding: DecodingArguments,
    backend: str,
    cmd: str | None,
    max_bad_share: float,
    allow_pipes: bool,
    trans_model: str,
    graph: str,
    loglikes: str,
    out_dir: str,
) -> None:
    """Decode LOGLIKES-RSPECIFIER with HCLG.fst into lattices, OUT-DIR/lat.JOB.gz.

    TRANS-MODEL is a .mdl or a bare transition model. JOB in LOGLIKES-RSPECIFIER stands for the number of the job; a
    table without it is split. Jobs that are already done with the same inputs and options are not repeated.

    e.g.: kaldi-quant decode --nj 4 final.mdl graph/HCLG.fst ark:loglikes.ark exp/decode_test
    """
    options = decoding.options(nj, backend, cmd, max_bad_share, allow_pipes)
    words = word_symbol_table or str(Path(graph).parent / "words.txt")
    counted = decode(trans_model, graph, loglikes, words, out_dir, options)
    _log.info("%d utterances decoded, %d left out, lattices in %s", counted.good, counted.bad, out_dir)
