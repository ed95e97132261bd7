"""Which output of a float model a verb is about: shared by all verbs that run, quantize, train or measure one."""

from __future__ import annotations

from dataclasses import dataclass

import click

from kaldi_quant.cli.options import grouped_options
from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.kaldi.outputs import OUTPUT, model_with_output, output_names

_OPTIONS = (
    click.option(
        "--output-node",
        metavar="NAME",
        default=OUTPUT,
        show_default=True,
        help="The output that is wanted, for networks that have several; what is written has it alone, called output.",
    ),
)


@dataclass(frozen=True)
class ModelArguments:
    """The values of these options."""

    output_node: str

    def read(self, path: str) -> Model:
        """Reads a float model; its output is called ``output`` from here on, whatever it is called in the file.

        Raises:
            FormatError, ModelError: the file is broken.
            UsageError: it has no such output.
        """
        return model_with_output(read_model(path), self.output_node)

    def read_teacher(self, path: str) -> Model:
        """Reads a second model, which may have the same outputs or ``output`` alone."""
        model = read_model(path)
        same = self.output_node in output_names(model.nnet)
        return model_with_output(model, self.output_node if same else OUTPUT)


#: Decorator: the verb gets these options, and their values as its argument ``models``.
model_options = grouped_options("models", ModelArguments, _OPTIONS)
