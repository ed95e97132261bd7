"""``kaldi-quant score DATA-DIR GRAPH-DIR DECODE-DIR``: as local/score.sh of Kaldi's recipes."""

from pathlib import Path

import click

from kaldi_quant.cli.decoding_options import ScoringArguments, scoring_options
from kaldi_quant.cli.options import KaldiCommand, backend_option, hold_folder
from kaldi_quant.decode.scoring import find_lattices, score


@click.command(cls=KaldiCommand)
@scoring_options
@backend_option()
@click.option(
    "--cmd", metavar="CMD", help="What runs Kaldi's programs, such as run.pl; by default, they run on this machine."
)
@click.argument("data_dir", metavar="DATA-DIR")
@click.argument("graph_dir", metavar="GRAPH-DIR")
@click.argument("decode_dir", metavar="DECODE-DIR")
def command(
    scoring: ScoringArguments, backend: str, cmd: str | None, data_dir: str, graph_dir: str, decode_dir: str
) -> None:
    """Score the lattices in DECODE-DIR against DATA-DIR/text, with the words of GRAPH-DIR/words.txt.

    Writes the same files as Kaldi's local/score.sh: wer_LMWT_WIP and scoring_kaldi/. The last line printed is the best
    WER; with --cer, the line before it is the best CER.

    e.g.: kaldi-quant score data/test_hires exp/chain/tdnn1a_sp/graph exp/chain/tdnn1a_sp/decode_test
    """
    options = scoring.options(backend, cmd)
    find_lattices(Path(decode_dir))
    hold_folder(Path(decode_dir))
    click.echo(score(data_dir, graph_dir, decode_dir, options))
