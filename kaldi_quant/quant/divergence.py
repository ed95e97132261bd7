"""How far a quantized network is from its float self: at its output, and layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.errors import DataError
from kaldi_quant.nnet3.inference import Inference
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.progress import progress
from kaldi_quant.quant.calibration import CalibrationSet
from kaldi_quant.quant.network import QuantizedNetwork

# A layer that loses nothing at all is said to have this ratio.
_BEST_DECIBELS = 200.0

#: Nats per frame above which a result is called far from float. On the example, settings with 3 to 8 bits for weights
#: and 8 for activations stay below 0.04; the preset folded-per-tensor, which loses words, is above 0.3
#: (egs/alphadigits/RESULTS).
FAR = 0.05
# How many layers a warning names.
_NAMED = 3


@dataclass(frozen=True)
class Divergence:
    """A quantized network compared with the float one.

    Args:
        kl: mean over frames of the Kullback-Leibler divergence between the distributions over pdfs, in nats.
        same_best: share of the frames whose best pdf is the same.
        sqnr_db: signal-to-quantization-noise ratio of each quantized layer's result, in decibels.
        frames: output frames compared.
    """

    kl: float
    same_best: float
    sqnr_db: dict[str, float]
    frames: int


def warning_of(lost: Divergence) -> str:
    """What there is to say of a model that is far from float, with the layers that lose most; empty for others."""
    if lost.kl < FAR:
        return ""
    worst = sorted(lost.sqnr_db.items(), key=lambda entry: entry[1])[:_NAMED]
    named = ", ".join(f"{name} ({ratio:.1f} dB)" for name, ratio in worst)
    return (
        f"the integer model is far from float: it diverges by {lost.kl:.3f} nats per frame on calibration data, and "
        f"from about {FAR:g} on word errors grow. The layers with the most quantization noise, as signal-to-noise "
        f"ratios, are {named}: give them more bits (layers: in a --config), or all of them (--bits, --act-bits), one "
        "scale for each output channel (--per-channel=true), or take a preset that was tuned for these widths"
    )


def output_divergence(reference: np.ndarray, rows: np.ndarray) -> tuple[float, int]:
    """Sums over frames: KL(softmax(reference) || softmax(rows)) in nats, and frames with the same best pdf.

    Args:
        reference: (frames, pdfs) float log-likelihoods.
        rows: (frames, pdfs), of the network in question.
    """
    p, q = (torch.log_softmax(torch.from_numpy(x).double(), dim=1) for x in (reference, rows))
    return float((p.exp() * (p - q)).sum()), int((p.argmax(1) == q.argmax(1)).sum())


def mean_divergence(reference: Mapping[str, np.ndarray], rows: Mapping[str, np.ndarray]) -> float:
    """The divergence of a quantized network's distributions over pdfs from the float ones, in nats per frame.

    Args:
        reference: log-likelihoods by utterance, (frames, pdfs).
        rows: the same of the quantized network.

    Raises:
        DataError: it has none for an utterance, because they are not finite.
    """
    lost = reference.keys() - rows.keys()
    if lost:
        raise DataError(
            f"the quantized network's log-likelihoods of {min(lost)} are not finite, and the float ones are"
        )
    total = sum(output_divergence(expected, rows[name])[0] for name, expected in reference.items())
    return total / sum(map(len, reference.values()))


def divergence(network: QuantizedNetwork, data: CalibrationSet) -> Divergence:
    """Compares a quantized network with the float network that it was made from.

    Raises:
        DataError: no utterance can be used.
    """
    nodes = _result_nodes(network)
    float_run = _Recorder(AcousticModel(network.nnet), set(nodes.values()), data)
    integer_run = _Recorder(network.model(data.device), set(nodes.values()), data)
    signal, noise = dict.fromkeys(nodes.values(), 0.0), dict.fromkeys(nodes.values(), 0.0)
    kl, same, frames = 0.0, 0, 0
    with progress(len(data.utterances), "comparing with float", brief=True) as advance:
        for utterance in data.utterances:
            expected, found = float_run.rows(utterance), integer_run.rows(utterance)
            advance(1)
            if expected is None or found is None:
                continue
            one_kl, one_same = output_divergence(expected, found)
            kl, same, frames = kl + one_kl, same + one_same, frames + len(expected)
            for name in signal:
                x, y = float_run.seen[name], integer_run.seen[name]
                signal[name] += float(x.square().sum())
                noise[name] += float((y - x).square().sum())
    if not frames:
        raise DataError(f"none of the {len(data.utterances)} utterances to compare with the float model could be used")
    ratios = {layer: _decibels(signal[node], noise[node]) for layer, node in nodes.items()}
    return Divergence(kl / frames, same / frames, ratios, frames)


def _result_nodes(network: QuantizedNetwork) -> dict[str, str]:
    """For each quantized layer the node that holds its result as a float."""
    nodes = {}
    for name in network.layers:
        destination = network.graph.destination(name) if name in network.graph.layers else None
        nodes[name] = destination.node if destination else name
    return nodes


def _decibels(signal: float, noise: float) -> float:
    if noise == 0.0:
        return _BEST_DECIBELS
    return float(10 * np.log10(signal / noise)) if signal > 0 else 0.0


class _Recorder:
    """Runs a network on one utterance at a time and keeps what some nodes hold."""

    def __init__(self, model: AcousticModel, nodes: set[str], data: CalibrationSet) -> None:
        self.seen: dict[str, Tensor] = {}
        self.inference = Inference(model.to(data.device), None, data.options, data.ivectors)
        for name in nodes:
            model.taps[name] = self._keeping(name, model.taps.get(name))

    def _keeping(self, name: str, before: Callable[[Tensor], Tensor] | None) -> Callable[[Tensor], Tensor]:
        def keep(x: Tensor) -> Tensor:
            x = before(x) if before else x
            self.seen[name] = x.double()
            return x

        return keep

    def rows(self, utterance: tuple[str, np.ndarray]) -> np.ndarray | None:
        """The output for an utterance; None where it cannot be used."""
        return next((rows for _, rows in self.inference.compute([utterance])), None)
