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
    """The small TDNN-F with the outputs output-0 and output-1, and output-0-xent and output-1-xent."""
    nnet = read_model(NNET3 / "tdnnf_small" / "final.raw").nnet
    components, lines = dict(nnet.components), []
    affine = components["output.affine"]
    fields = dict(affine.fields)
    fields |= {name: fields[name][: PDFS[1]] * np.float32(2) for name in ("LinearParams", "BiasParams")}
    components["output-1.affine"] = Component(affine.type, list(fields.items()))
    for line in nnet.config_lines:
        if line.startswith("output-node name=output"):
            second = line.replace("input=output.affine", "input=output-1.affine")
            lines.extend(text.replace("name=output", f"name=output-{i}") for i, text in enumerate((line, second)))
            continue
        lines.append(line)
        if line.startswith("component-node name=output.affine"):
            lines.append(line.replace("output.affine", "output-1.affine"))
    return Nnet(lines, components, "multilingual.raw")


def write_multilingual(path: Path) -> Path:
    """Writes it as a raw file, whose path is returned."""
    path.write_bytes(Model(multilingual(), None, True, str(path)).getvalue())
    return path
