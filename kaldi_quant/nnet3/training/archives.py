"""Whether the examples of a folder are for the model that is trained, and how far they can be shifted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.chain_example import NnetChainExample, shift_times
from kaldi_quant.kaldi.egs import read_examples
from kaldi_quant.kaldi.egs_folder import EgsInfo, examples_in
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.training.examples import check_example


def check_info(info: EgsInfo, model: AcousticModel, subsampling: int) -> None:
    """Refuses examples whose folder says that they were made for another model.

    Args:
        info: what the folder says.
        model: that is to compute them.
        subsampling: its frame-subsampling factor.

    Raises:
        DataError: a dimension is not the model's, the context is too small, or there are several languages.
    """
    if len(info.languages) > 1:
        raise DataError(
            f"{info.path}: the examples are of the languages {', '.join(info.languages)}, each for an output of its "
            "own, and one output is trained here: give the examples of one language"
        )
    facts = [
        ("features of dimension", info.feat_dim, model.input_dim),
        ("i-vectors of dimension", info.ivector_dim or None, model.ivector_dim),
        ("this number of pdfs:", info.num_pdfs, model.output_dim),
        ("the frame-subsampling factor", info.subsampling, subsampling),
    ]
    for what, found, expected in facts:
        if found is not None and found != expected:
            raise DataError(
                f"{info.path}: the examples have {what} {found}, and {model.nnet.path} has {expected}: they were "
                "made for another model"
            )
    context = model.context
    for side, given, least in (("left", info.left_context, context.left), ("right", info.right_context, context.right)):
        if given is not None and given < least and not model.graph.has_optional_inputs:
            raise DataError(
                f"{info.path}: the examples have {given} frames of {side} context, and {model.nnet.path} needs {least}"
            )


def possible_shifts(archive: Path, models: Sequence[AcousticModel], subsampling: int) -> list[int]:
    """By how many frames the features may move against the output, so that the models' context is still there.

    Args:
        archive: whose first example is looked at.
        models: that compute the examples: what is trained, and its teacher.
        subsampling: Kaldi shifts by 0 to ``subsampling`` - 1 frames.

    Raises:
        DataError: the example does not fit a model, however it is shifted, or has an output at another step.
    """
    (key, example) = next(islice(read_examples(examples_in(archive)), 1))
    steps = {int(step) for output in example.outputs for step in np.diff(output.times)}
    if steps - {subsampling}:
        raise DataError(
            f"{archive} has an output every {', '.join(map(str, sorted(steps)))} frames, and the model's "
            f"frame-subsampling factor is {subsampling}: see the file frame_subsampling_factor beside the model, or "
            "--frame-subsampling-factor"
        )
    for model in models:
        try:
            check_example(key, example, model)
        except DataError as error:
            raise DataError(f"{archive} does not fit {model.nnet.path}: {error}") from error
    return [shift for shift in range(subsampling) if shift == 0 or _fits(key, example, shift, models)]


def _fits(key: str, example: NnetChainExample, shift: int, models: Sequence[AcousticModel]) -> bool:
    try:
        for model in models:
            check_example(key, shift_times(example, shift), model)
    except DataError:
        return False
    return True
