"""How much layers multiply: weights, times the rows that each is multiplied with per frame, times the bits of both.

Source: the bit operations (BOPS) of Z. Yao et al., "HAWQ-V3: Dyadic Neural Network Quantization", ICML 2021.
"""

from collections.abc import Iterable

from kaldi_quant.quant.calibration import input_statistics
from kaldi_quant.quant.host import Data, Host


def products_per_frame(host: Host, layers: Iterable[str], data: Data) -> dict[str, float]:
    """The products of one weight and one input of each layer, per frame of features, as the network really runs.

    Args:
        host: the float network.
        layers: those in question.
        data: a few units.

    Raises:
        DataError: too many units cannot be used.
    """
    model = host.executable()
    # Rows of padding are no work.
    model.batches_of_one_length = True
    seen = input_statistics(model, layers, data, outer=False)
    amount = data.amount()
    return {name: host.weight(name).numel() * found.count / amount for name, found in seen.items()}
