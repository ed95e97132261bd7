"""How far a quantized network is from the float one: never a number where nothing could be compared."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kaldi_quant.errors import DataError
from kaldi_quant.nnet3.inference import InferenceOptions
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.distance import KullbackLeibler, mean_distance
from kaldi_quant.quant.divergence import divergence
from tests.references import NNET3, load, read_archive


def test_the_mean_is_over_all_frames() -> None:
    random = np.random.default_rng(0)
    reference = {"a": random.standard_normal((3, 4)), "b": random.standard_normal((5, 4))}
    rows = {name: values + 0.1 * random.standard_normal(values.shape) for name, values in reference.items()}
    p, q = (torch.log_softmax(torch.from_numpy(np.vstack([x["a"], x["b"]])), 1) for x in (reference, rows))
    assert mean_distance(KullbackLeibler(), reference, rows) == pytest.approx(float((p.exp() * (p - q)).sum()) / 8)
    assert mean_distance(KullbackLeibler(), reference, reference) == 0.0
    assert KullbackLeibler().sum(reference["a"], reference["a"]) == 0.0


def test_an_utterance_that_only_the_float_network_computes_is_no_gain() -> None:
    rows = {"a": np.zeros((3, 4)), "b": np.zeros((3, 4))}
    with pytest.raises(DataError, match="the quantized network's outputs for b are not finite"):
        mean_distance(KullbackLeibler(), rows, {"a": rows["a"]})


def test_no_utterance_is_no_divergence() -> None:
    nnet = load(NNET3 / "priors_mdl" / "final.mdl").nnet
    data = UtteranceSet(list(read_archive(NNET3 / "feats20.ark").items())[:1], InferenceOptions())
    network = quantize(nnet, PtqConfig(), data)
    assert divergence(network, data).rows > 0
    bad = [(name, np.full_like(feats, np.nan)) for name, feats in data.utterances]
    with pytest.raises(DataError, match="none of the 1 utterances to compare with the float model could be used"):
        divergence(network, UtteranceSet(bad, InferenceOptions()))
    with pytest.raises(DataError, match="none of the 0 utterances"):
        divergence(replace(network), UtteranceSet([], InferenceOptions()))
