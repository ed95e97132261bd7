"""How log-likelihoods of utterances are computed. Options are checked before torch is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from kaldi_quant.errors import UsageError
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.units import Seconds


@dataclass(frozen=True)
class InferenceOptions:
    """How log-likelihoods are computed.

    Args:
        chunks: how utterances are cut.
        online_ivector_period: frames per row of online i-vectors.
        acoustic_scale: the output is multiplied by it.
        batch_seconds: speech per batch, padding included.
    """

    chunks: ChunkOptions = field(default_factory=ChunkOptions)
    online_ivector_period: int = 0
    acoustic_scale: float = 1.0
    batch_seconds: Seconds = 60.0

    def __post_init__(self) -> None:
        if not 0 < self.batch_seconds < math.inf:
            raise UsageError(f"--batch-seconds must be positive, found {self.batch_seconds:g}")
        if not math.isfinite(self.acoustic_scale):
            raise UsageError(f"--acoustic-scale must be a finite number, found {self.acoustic_scale:g}")
        if self.online_ivector_period < 0:
            raise UsageError(f"--online-ivector-period cannot be negative, found {self.online_ivector_period}")
