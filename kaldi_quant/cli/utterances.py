"""The utterances of a table, as a model runs them: shared by the verbs that calibrate and measure."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from kaldi_quant.cli.inference_options import InferenceArguments
from kaldi_quant.kaldi.companions import Companions
from kaldi_quant.kaldi.compatibility import fitting_features
from kaldi_quant.kaldi.frame_subsampling import factor_of
from kaldi_quant.kaldi.model import Model

if TYPE_CHECKING:
    import torch

    from kaldi_quant.nnet3.utterances import UtteranceSet


def read_utterances(
    model: Model, features: str, inference: InferenceArguments, device: torch.device | None = None, most: int = 0
) -> UtteranceSet:
    """The utterances of a table, and how the model runs them; whether it takes each of them shows when it does.

    Args:
        model: the network.
        features: the table, an rspecifier.
        inference: how it computes them.
        device: where.
        most: how many are read at most, evenly chosen; 0 for all.
    """
    from kaldi_quant.bad_utterances import BadUtterances
    from kaldi_quant.nnet3.utterances import UtteranceSet

    inference.set_threads()
    factor = factor_of(model, inference.frame_subsampling_factor)
    ivectors = inference.ivector_source(Companions.beside(model.path, factor))
    bad = BadUtterances(inference.max_bad_share)
    table = inference.read_features(model.path, features, bad.report, most)
    utterances = list(fitting_features(table, model.nnet.input_dim("input"), features, model.path))
    bad.good = len(utterances)
    bad.check()
    return UtteranceSet(utterances, inference.options(factor), ivectors, inference.max_bad_share, device)


def way_of_computing(data: UtteranceSet) -> dict[str, Any]:
    """What measurements on utterances depend on beside these, for the record."""
    # On the CPU, which needs not be said, they are the same on every one.
    device = {} if data.device.type == "cpu" else {"device": data.device.type}
    return {**asdict(data.options), **device}
