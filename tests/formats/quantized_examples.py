"""Quantized networks of many kinds, made quickly from the models in tests/data."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from kaldi_quant.kaldi.model import Model
from kaldi_quant.kaldi.tables import read_matrices, read_vectors
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import Inference, InferenceOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from tests.references import NNET3, load, model_file, read_archive

OPTIONS = InferenceOptions(ChunkOptions(3))
UTTERANCES = 2

CONFIGS = {
    "w8": PtqConfig(),
    "w4": PtqConfig(LayerConfig(bits=4)),
    "w3-affine": PtqConfig(LayerConfig(bits=3, act_bits=5, symmetric=False)),
    "w11-per-tensor": PtqConfig(LayerConfig(bits=11, per_channel=False)),
    "dynamic": PtqConfig(LayerConfig(bits=6, ranges="dynamic", symmetric=False)),
    "weights-only": PtqConfig(
        LayerConfig(bits=4, act_bits=0, group_size=24, method="clip", symmetric=False), equalization="awq"
    ),
    "by-groups": PtqConfig(LayerConfig(bits=5, group_size=24)),
    "mixed": PtqConfig(
        LayerConfig(bits=4), {"@input": {"bits": 8, "ranges": "dynamic"}, "@output": {"float_reason": "it is the last"}}
    ),
}

Utterances = list[tuple[str, np.ndarray]]


def utterances_for(model: Model) -> Utterances:
    """Features that a model of tests/data can read."""
    feats = read_archive(NNET3 / f"feats{model.nnet.input_dim()}.ark")
    return list(feats.items())[:UTTERANCES]


@lru_cache(maxsize=1)
def _ivectors() -> dict[str, np.ndarray]:
    return dict(read_vectors(f"ark:{NNET3 / 'ivectors_utt.ark'}"))


def ivectors(utterance: str) -> np.ndarray | None:
    return _ivectors().get(utterance)


def rows(network: AcousticModel, utterances: Utterances) -> dict[str, np.ndarray]:
    """The log-likelihoods of all utterances."""
    found = dict(Inference(network, None, OPTIONS, ivectors).compute(utterances))
    assert len(found) == len(utterances)
    return found


@lru_cache(maxsize=64)
def quantized(name: str, config: str) -> tuple[Model, QuantizedNetwork, Utterances]:
    """A model of tests/data, quantized, and its calibration set; not to be changed."""
    model = load(model_file(NNET3 / name))
    utterances = utterances_for(model)
    return model, quantize(model.nnet, CONFIGS[config], UtteranceSet(utterances, OPTIONS, ivectors)), utterances


@lru_cache(maxsize=4)
def quantized_alphadigits(path: Path, feats: Path, bits: int) -> tuple[Model, QuantizedNetwork]:
    """A model of alphadigits; made once."""
    model = load(path)
    utterances = [utterance for utterance, _ in zip(read_matrices(f"scp:{feats}"), range(3), strict=False)]
    return model, quantize(model.nnet, PtqConfig(LayerConfig(bits=bits)), UtteranceSet(utterances, OPTIONS))
