"""How well and how fast a keyword network classifies, whatever runs it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from kaldi_quant.api.quantization import Quantized
from kaldi_quant.backends.onnx.session import open_session
from kaldi_quant.frontends.keywords.data import Recording, load_batches
from kaldi_quant.metrics.accuracy import accuracy, confusion_counts
from kaldi_quant.metrics.score import Score
from kaldi_quant.units import Seconds

#: Scores of waves, (B, 1, T) float32 → (B, 1, classes).
Run = Callable[[Tensor], Any]

WARM_UP, RUNS = 10, 50
_TAILS = (0.025, 0.975)


def run_module(network: nn.Module) -> Run:
    """A network of ``torch.nn``, in test mode."""
    network.eval()

    def run(waves: Tensor) -> Tensor:
        with torch.no_grad():
            result: Tensor = network(waves)
        return result

    return run


def run_integers(quantized: Quantized) -> Run:
    """The integer reference."""
    return run_module(quantized.network.model())


def run_onnx(content: bytes, threads: int = 1) -> Run:
    """An ONNX file's content on onnxruntime.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
    """
    session = open_session(content, threads)
    name = session.get_inputs()[0].name
    return lambda waves: session.run(None, {name: waves.numpy()})[0]


@dataclass(frozen=True)
class Answers:
    """What a network says of recordings.

    Args:
        found: recording → the number of the class that it says.
        labels: recording → the number of the class that is right.
    """

    found: Mapping[str, int]
    labels: Mapping[str, int]

    @property
    def score(self) -> Score:
        """The accuracy: 1 for each recording that is classified rightly, 0 for each other."""
        return accuracy(self.found, self.labels)

    def confusions(self, classes: Sequence[str]) -> dict[str, Any]:
        """How often each class is taken for each, as JSON has it: rows are what is right."""
        counts = confusion_counts(self.found, self.labels, len(classes))
        return {"classes": list(classes), "counts": counts.tolist()}


def answers_of(run: Run, recordings: Sequence[Recording], sample_rate: int, batch_size: int) -> Answers:
    """What a network says of recordings.

    Raises:
        DataError: no recording can be used, or too many cannot.
    """
    found, labels = dict[str, int](), dict[str, int]()
    for batch in load_batches(recordings, sample_rate=sample_rate, batch_size=batch_size):
        scores = np.asarray(run(batch.waves)).reshape(len(batch.names), -1)
        found.update(zip(batch.names, scores.argmax(1).tolist(), strict=True))
        labels.update(zip(batch.names, batch.labels.tolist(), strict=True))
    return Answers(found, labels)


def accuracy_of(run: Run, recordings: Sequence[Recording], sample_rate: int, batch_size: int) -> Score:
    """The accuracy on recordings; arguments and errors as of ``answers_of``."""
    return answers_of(run, recordings, sample_rate, batch_size).score


def interval(score: Score) -> tuple[float, float]:
    """The 95 % bootstrap interval of an accuracy, as its metric shows it.

    The sum of ones over a test set that is drawn again with replacement is binomial: percentiles over all such draws
    are those of that distribution.
    """
    right = np.array(list(score.per_unit.values()))
    low, high = score.metric.scale * stats.binom.ppf(_TAILS, len(right), right.mean()) / len(right)
    return float(low), float(high)


def latency(run: Run, waves: Tensor, runs: int = RUNS, warm_up: int = WARM_UP) -> Seconds:
    """The median time of a call, after some that do not count.

    Args:
        run: the network.
        waves: (B, 1, T) float32.
        runs: that count.
        warm_up: that do not.
    """
    times = []
    for number in range(warm_up + runs):
        begin = time.perf_counter()
        run(waves)
        if number >= warm_up:
            times.append(time.perf_counter() - begin)
    return statistics.median(times)
