"""``kaldi-quant compose-graph HCLr.fst Gr.fst disambig_tid.int HCLG.fst``: one graph of a look-ahead graph's two."""

from __future__ import annotations

import logging

import click

from kaldi_quant.cli.options import KaldiCommand, result_file

_log = logging.getLogger(__name__)


@click.command(cls=KaldiCommand)
@click.option(
    "--max-megabytes", type=click.IntRange(min=1), default=3000, show_default=True, help="Of arcs in the result."
)
@click.argument("lookahead_lexicon", metavar="HCLr.fst")
@click.argument("lookahead_grammar", metavar="Gr.fst")
@click.argument("disambig_tids", metavar="disambig_tid.int")
@click.argument("composed_graph", metavar="HCLG.fst")
def command(
    max_megabytes: int, lookahead_lexicon: str, lookahead_grammar: str, disambig_tids: str, composed_graph: str
) -> None:
    """Compose a look-ahead graph, HCLr.fst with Gr.fst, into HCLG.fst, as mkgraph_lookahead.sh --compose-graph does.

    Vosk's small models have such graphs. With --vosk-model DIR the files are those of the folder, and HCLG.fst comes
    beside them. Composing takes memory of about ten times the result's.

    e.g.: kaldi-quant compose-graph --vosk-model vosk-model-small-en-us-0.15
    """
    from kaldi_quant.decode.lookahead import compose_lookahead
    from kaldi_quant.kaldi.fst import ARC
    from kaldi_quant.kaldi.fst_file import read_fst
    from kaldi_quant.kaldi.fst_writer import write_fst
    from kaldi_quant.kaldi.ngram_fst import read_grammar
    from kaldi_quant.kaldi.text_tables import read_numbers

    out = result_file(composed_graph)
    disambig = read_numbers(disambig_tids)
    lexicon, grammar = read_fst(lookahead_lexicon, lookahead=True), read_grammar(lookahead_grammar)
    graph = compose_lookahead(lexicon, grammar, disambig, max_megabytes * (1 << 20) // ARC.itemsize)
    write_fst(out, graph)
    _log.info("%s: %d states, %d arcs", out, graph.num_states, len(graph.arcs))
