"""Networks in training beside those that run in integers."""

import numpy as np
import torch

from kaldi_quant.kaldi.model import Model
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import Inference, InferenceOptions
from kaldi_quant.nnet3.model import AcousticModel

SUBSAMPLING = 3
OPTIONS = InferenceOptions(ChunkOptions(SUBSAMPLING))


def rows(model: AcousticModel, utterances: list[tuple[str, np.ndarray]]) -> np.ndarray:
    with torch.no_grad():
        return np.concatenate([matrix for _, matrix in Inference(model, None, OPTIONS).compute(utterances)])


def assert_same(fake: np.ndarray, integer: np.ndarray) -> None:
    """All but equal: in float a value may fall on the other side of a half step here and there, and is one step off."""
    difference = np.abs(fake - integer)
    assert np.median(difference) < 1e-5
    assert difference.mean() < 0.01 * np.abs(integer).mean()


def divergence(model: Model, network: AcousticModel, utterances: list[tuple[str, np.ndarray]]) -> float:
    p, q = (
        torch.log_softmax(torch.from_numpy(rows(found, utterances)).double(), 1)
        for found in (AcousticModel(model.nnet), network)
    )
    return float((p.exp() * (p - q)).sum(1).mean())
