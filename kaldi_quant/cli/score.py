"""``kaldi-quant score DATA-DIR GRAPH-DIR DECODE-DIR``: as local/score.sh of Kaldi's recipes."""

from pathlib import Path

import click

from kaldi_quant.cli.options import KaldiCommand, backend_option, kaldi_bool_option
from kaldi_quant.decode.options import ScoreOptions
from kaldi_quant.decode.scoring import score
from kaldi_quant.errors import UsageError

_DEFAULT = ScoreOptions()


@click.command(cls=KaldiCommand)
@click.option(
    "--min-lmwt", type=int, default=_DEFAULT.min_lmwt, show_default=True, help="Lowest language-model weight."
)
@click.option(
    "--max-lmwt", type=int, default=_DEFAULT.max_lmwt, show_default=True, help="Highest language-model weight."
)
@click.option(
    "--word-ins-penalty",
    default=",".join(_DEFAULT.word_ins_penalty),
    show_default=True,
    help="Word insertion penalties, separated by commas.",
)
@kaldi_bool_option("--stats", default=_DEFAULT.stats, help="Write scoring_kaldi/wer_details for the best point.")
@kaldi_bool_option(
    "--cer", default=_DEFAULT.cer, help="Also write character error rates, cer_LMWT_WIP, like score_kaldi_cer.sh."
)
@kaldi_bool_option(
    "--decode-mbr",
    default=False,
    help="Only false is supported: use Kaldi's score_kaldi.sh for minimum Bayes risk decoding.",
)
@backend_option()
@click.option(
    "--cmd", metavar="CMD", help="What runs Kaldi's programs, such as run.pl; by default, they run on this machine."
)
@click.argument("data_dir", metavar="DATA-DIR")
@click.argument("graph_dir", metavar="GRAPH-DIR")
@click.argument("decode_dir", metavar="DECODE-DIR")
def command(
    min_lmwt: int,
    max_lmwt: int,
    word_ins_penalty: str,
    stats: bool,
    cer: bool,
    decode_mbr: bool,
    backend: str,
    cmd: str | None,
    data_dir: str,
    graph_dir: str,
    decode_dir: str,
) -> None:
    """Score the lattices in DECODE-DIR against DATA-DIR/text, with the words of GRAPH-DIR/words.txt.

    Writes the same files as Kaldi's local/score.sh: wer_LMWT_WIP and scoring_kaldi/. The last line printed is the best
    WER; with --cer, the line before it is the best CER.

    e.g.: kaldi-quant score data/test_hires exp/chain/tdnn1a_sp/graph exp/chain/tdnn1a_sp/decode_test
    """
    penalties = tuple(word_ins_penalty.replace(",", " ").split())
    if decode_mbr:
        raise UsageError(
            "--decode-mbr true: minimum Bayes risk decoding is not part of kaldi-quant; Kaldi's "
            f"steps/score_kaldi.sh --decode-mbr true scores the lattices in {Path(decode_dir)}"
        )
    options = ScoreOptions(min_lmwt, max_lmwt, penalties, stats, cer, backend, cmd)
    click.echo(score(data_dir, graph_dir, decode_dir, options))
