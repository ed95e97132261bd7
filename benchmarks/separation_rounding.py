"""What rounding the input and the output of a separator costs in dB, by how good it is in float.

    python benchmarks/separation_rounding.py exp/0/conv-tasnet-small/float --data egs/enhancement/data
    python benchmarks/separation_rounding.py network.onnx@htdemucs --data band --mixtures 8 --widths 6,8,16

Of each width it rounds the mixtures, what is separated, or both, on the grid of the loudest sample. Columns are sources
by their ratio in float, the worst separated first; a figure is what they lose, and in brackets what uniform noise says.
"""

from __future__ import annotations

from itertools import islice

import click

from kaldi_quant.cli.options import set_threads
from kaldi_quant.frontends.separation.data import open_separation_data
from kaldi_quant.frontends.separation.quantization_noise import WIDTHS, grouped, measure_rounding, noise_table
from kaldi_quant.frontends.separation.separators import open_separator
from kaldi_quant.report.cells import Table
from kaldi_quant.report.text import table_as_text


@click.command()
@click.argument("network")
@click.option("--data", required=True, help="A folder of mixtures, or band.")
@click.option("--mixtures", default=20, help="So many of the test set.")
@click.option("--widths", default=",".join(map(str, WIDTHS)), help="In bits.")
@click.option("--groups", default=4, help="Of sources.")
def main(network: str, data: str, mixtures: int, widths: str, groups: int) -> None:
    """See the head of this file."""
    set_threads(1)
    what, _, name = network.partition("@")
    separator = open_separator(what, what, name)
    test = open_separation_data(data, separator.kind).test
    found = measure_rounding(separator, islice(test, mixtures), [int(width) for width in widths.split(",")])
    click.echo(table_as_text(Table(*noise_table(grouped(found, groups)))))


if __name__ == "__main__":
    main()
