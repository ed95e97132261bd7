"""A small multilingual network: two outputs of different sizes, each with a branch for training."""

from pathlib import Path

import numpy as np

from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.kaldi.nnet import Nnet
from tests.references import NNET3

#: The pdfs of output-0 and output-1.
PDFS = (10, 7)


def multilingual() -> Nnet:
    """A TDNN layer with the outputs output-0 and output-1, and output-0-xent and output-1-xent."""
    nnet = read_model(NNET3 / "tdnnf_small" / "final.raw").nnet
    lines = [line for line in nnet.config_lines if "name=input " in line or "name=tdnn1." in line]
    components = {name: part for name, part in nnet.components.items() if name.startswith("tdnn1.")}
    random = np.random.default_rng(0)
    for suffix in ("", "-xent"):
        for language, pdfs in enumerate(PDFS):
            name = f"output-{language}{suffix}"
            weight, bias = (random.standard_normal(shape).astype(np.float32) for shape in ((pdfs, 24), (pdfs,)))
            components[f"{name}.affine"] = Component(
                "FixedAffineComponent", [("LinearParams", weight), ("BiasParams", bias)]
            )
            lines.append(f"component-node name={name}.affine component={name}.affine input=tdnn1.dropout")
            lines.append(f"output-node name={name} input={name}.affine objective=linear")
    return Nnet.of_lines(lines, components, "multilingual.raw")


def write_multilingual(path: Path) -> Path:
    """Writes it as a raw file, whose path is returned."""
    path.write_bytes(Model(multilingual(), None, True, str(path)).getvalue())
    return path
