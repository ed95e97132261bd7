"""``kaldi-quant decode TRANS-MODEL HCLG.fst LOGLIKES-RSPECIFIER OUT-DIR``: as latgen-faster-mapped, in jobs."""

import logging
from pathlib import Path

import click

from kaldi_quant.cli.options import (
    KaldiCommand,
    allow_pipes_option,
    backend_option,
    kaldi_bool_option,
    max_bad_share_option,
)
from kaldi_quant.decode.decoding import decode
from kaldi_quant.decode.options import DecodeOptions

_log = logging.getLogger(__name__)
_DEFAULT = DecodeOptions()
_KALDI_ONLY = "Ignored by the embedded decoder, which uses the beam only."


@click.command(cls=KaldiCommand)
@click.option("--word-symbol-table", metavar="FILE", help="words.txt; by default, the one in the folder of HCLG.fst.")
@click.option("--nj", type=int, default=_DEFAULT.nj, show_default=True, help="Number of parallel jobs.")
@click.option("--beam", type=float, default=_DEFAULT.beam, show_default=True, help="Decoding beam.")
@click.option(
    "--lattice-beam",
    type=float,
    default=_DEFAULT.lattice_beam,
    show_default=True,
    help="Lattice beam: how much worse than the best path lattices may be.",
)
@click.option(
    "--max-active",
    type=int,
    default=_DEFAULT.max_active,
    show_default=True,
    help=f"Maximum number of active states. {_KALDI_ONLY}",
)
@click.option(
    "--min-active",
    type=int,
    default=_DEFAULT.min_active,
    show_default=True,
    help=f"Minimum number of active states. {_KALDI_ONLY}",
)
@click.option(
    "--acoustic-scale",
    type=float,
    default=_DEFAULT.acoustic_scale,
    show_default=True,
    help="Scale of the log-likelihoods while decoding; 1 for chain models.",
)
@click.option(
    "--post-decode-acwt",
    type=float,
    default=_DEFAULT.post_decode_acwt,
    show_default=True,
    help="Scale of the acoustic costs in the lattices; 10 for chain models.",
)
@kaldi_bool_option(
    "--allow-partial", default=_DEFAULT.allow_partial, help="Keep utterances for which no final state is reached."
)
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
    beam: float,
    lattice_beam: float,
    max_active: int,
    min_active: int,
    acoustic_scale: float,
    post_decode_acwt: float,
    allow_partial: bool,
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
    options = DecodeOptions(
        beam=beam,
        lattice_beam=lattice_beam,
        max_active=max_active,
        min_active=min_active,
        acoustic_scale=acoustic_scale,
        post_decode_acwt=post_decode_acwt,
        allow_partial=allow_partial,
        nj=nj,
        backend=backend,
        cmd=cmd,
        max_bad_share=max_bad_share,
        allow_pipes=allow_pipes,
    )
    words = word_symbol_table or str(Path(graph).parent / "words.txt")
    counted = decode(trans_model, graph, loglikes, words, out_dir, options)
    _log.info("%d utterances decoded, %d left out, lattices in %s", counted.good, counted.bad, out_dir)
