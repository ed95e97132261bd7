"""How much layers multiply: weights, times the rows that each is multiplied with per frame, times the bits of both.

Source: the bit operations (BOPS) of Z. Yao et al., "HAWQ-V3: Dyadic Neural Network Quantization", ICML 2021.
"""

from collections.abc import Iterable

from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.quant.calibration import CalibrationSet, input_statistics
from kaldi_quant.quant.linear_components import weight_of


def products_per_frame(nnet: Nnet, layers: Iterable[str], data: CalibrationSet) -> dict[str, float]:
    """The products of one weight and one input of each layer, per frame of features, as the network really runs.

    Args:
        nnet: the prepared float network.
        layers: its linear components in question.
        data: a few utterances.

    Raises:
        DataError: too many utterances cannot be used.
    """
    model = AcousticModel(nnet)
    # Rows of padding are no work.
    model.batches_of_one_length = True
    seen = input_statistics(model, layers, data, outer=False)
    frames = sum(len(feats) for _, feats in data.utterances)
    return {name: weight_of(nnet.components[name]).size * found.count / frames for name, found in seen.items()}
