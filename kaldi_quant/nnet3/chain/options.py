"""The options of the chain objective, with Kaldi's names and defaults."""

from dataclasses import dataclass

from kaldi_quant.errors import UsageError


@dataclass(frozen=True)
class ChainOptions:
    """Kaldi's ChainTrainingOptions.

    Args:
        leaky_hmm_coefficient: the probability with which the denominator leaves a state for any other one at each
            frame; recipes use 0.1. Above 0, because the computation is not in logarithms.
        xent_regularize: the weight of the cross-entropy output; recipes use 0.1.
        l2_regularize: half of this times the squared output is subtracted from the objective; recipes use 5e-5 or 0.
        out_of_range_regularize: the same for what lies beyond ±30, where the denominator no longer follows.
        apply_deriv_weights: whether the weights that examples have for the derivatives of their frames count.

    Raises:
        UsageError: a value is impossible.

    Source: ``src/chain/chain-training.h``.
    """

    leaky_hmm_coefficient: float = 1e-5
    xent_regularize: float = 0.0
    l2_regularize: float = 0.0
    out_of_range_regularize: float = 0.01
    apply_deriv_weights: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.leaky_hmm_coefficient < 1:
            value = self.leaky_hmm_coefficient
            raise UsageError(f"--leaky-hmm-coefficient={value:g}: expected a number between 0 and 1, both excluded")
        for name in ("xent_regularize", "l2_regularize", "out_of_range_regularize"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise UsageError(f"--{name.replace('_', '-')}={value:g}: expected a number from 0 on")
