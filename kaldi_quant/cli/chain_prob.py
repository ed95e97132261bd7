"""``kaldi-quant chain-prob MODEL DEN-FST EGS-RSPECIFIER``: as nnet3-chain-compute-prob."""

import click

from kaldi_quant.cli.model_options import ModelArguments, model_options
from kaldi_quant.cli.options import KaldiCommand, allow_pipes_option, num_threads_option, set_threads
from kaldi_quant.errors import ModelError


@click.command(cls=KaldiCommand)
@click.option(
    "--leaky-hmm-coefficient",
    type=float,
    default=1e-5,
    show_default=True,
    help="Probability of leaky transitions between the states of the denominator; recipes train with 0.1.",
)
@click.option(
    "--xent-regularize",
    type=float,
    default=0.0,
    show_default=True,
    help="Weight of output-xent in training; if above 0, its objective is printed as well.",
)
@click.option(
    "--l2-regularize", type=float, default=0.0, show_default=True, help="Penalty on the squares of the outputs."
)
@click.option(
    "--out-of-range-regularize",
    type=float,
    default=0.01,
    show_default=True,
    help="Penalty on outputs beyond ±30. It changes only derivatives, so it has no effect on what is printed.",
)
@num_threads_option()
@allow_pipes_option()
@model_options
@click.argument("model")
@click.argument("den_fst", metavar="DEN-FST")
@click.argument("egs", metavar="EGS-RSPECIFIER")
def command(
    leaky_hmm_coefficient: float,
    xent_regularize: float,
    l2_regularize: float,
    out_of_range_regularize: float,
    num_threads: int,
    allow_pipes: bool,
    models: ModelArguments,
    model: str,
    den_fst: str,
    egs: str,
) -> None:
    """Print the chain objective per frame of MODEL on the examples in EGS-RSPECIFIER, with DEN-FST.

    The examples may be merged or not.

    e.g.: kaldi-quant chain-prob --leaky-hmm-coefficient=0.1 --xent-regularize=0.1 final.mdl den.fst ark:valid.cegs
    """
    from kaldi_quant.kaldi.egs import read_examples
    from kaldi_quant.nnet3.chain.den_graph import read_denominator_graph
    from kaldi_quant.nnet3.chain.options import ChainOptions
    from kaldi_quant.nnet3.chain.probability import ChainProb
    from kaldi_quant.nnet3.model import AcousticModel

    set_threads(num_threads)
    options = ChainOptions(leaky_hmm_coefficient, xent_regularize, l2_regularize, out_of_range_regularize)
    nnet = models.read(model).nnet
    if xent_regularize and "output-xent" not in nnet.nodes:
        raise ModelError(f"{model}: has no output-xent, which --xent-regularize asks for")
    network = AcousticModel(nnet, "output", ["output-xent"] if xent_regularize else [])
    prob = ChainProb(network, read_denominator_graph(den_fst, network.output_dim), options)
    for name, total in prob.compute(read_examples(egs, allow_pipes)).items():
        click.echo(f"Overall log-probability for '{name}' is {total}")
