"""FQSS's quantization keys as a scheme."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.schemes import SchemeTraining
from kaldi_quant.frontends.separation.fqss.settings import QuantizationCfg
from kaldi_quant.frontends.separation.fqss.systems import ENVIRONMENTS, Chosen
from kaldi_quant.frontends.separation.schemes.scheme import SCHEMES, SeparationScheme

# What a file's samples have: a network that is to read signals as they are reads them so.
_FILE_BITS = 16


def scheme_of(keys: QuantizationCfg, chosen: Chosen, kd_lambda: float, where: str) -> SeparationScheme:
    """The scheme that ``quantization`` asks for.

    Integers need a grid for all that they are made of: ``in_quant: False`` without a splitter reads signals with the 16
    bits that files have, and with ``out_quant: False`` signals are given as floats.

    Args:
        keys: the section.
        chosen: the network.
        kd_lambda: the share of the float network in the loss; 0 for none.
        where: it stands, for messages.

    Raises:
        UsageError: the keys contradict each other, or ask for what integers have not.
    """
    where = f"{where}: model_cfg, quantization"
    for key in ("weight_quant", "act_quant"):
        if not getattr(keys, key):
            raise UsageError(f"{where}: {key} must be True: integers are multiplied with integers")
    for key in ("n_splitter", "n_combiner"):
        if getattr(keys, key) < 1:
            raise UsageError(f"{where}: {key} must be 1 or more, found {getattr(keys, key)}")
    if keys.n_combiner > 1 and not keys.out_quant:
        raise UsageError(f"{where}: n_combiner {keys.n_combiner} needs out_quant: parts of the output are on grids")
    base = SCHEMES["fqss" if keys.gradient_based else "vanilla-qat"]
    default = replace(base.config.default, bits=keys.weight_n_bits, act_bits=keys.act_n_bits)
    distillation = replace(ENVIRONMENTS[chosen.system.environment].distillation, share=kd_lambda) if kd_lambda else None
    outputs: dict[str, Any] | None = {"parts": keys.n_combiner, "bits": keys.out_act_n_bits} if keys.out_quant else None
    training = base.training or SchemeTraining()
    if keys.inout_nl_quant and outputs:
        if keys.n_combiner > 1:
            raise UsageError(f"{where}: inout_nl_quant goes with one part of the output, found {keys.n_combiner}")
        outputs = {**outputs, "companding": "mu-law"}
    return SeparationScheme(
        replace(base.config, default=default, layers=_of_input(keys)),
        training,
        inputs=_inputs(keys, where),
        outputs=outputs,
        distillation=distillation,
        ordered_distillation=distillation,
        loss=ENVIRONMENTS[chosen.system.environment].loss,
        description="as FQSS's keys have it",
    )


def _inputs(keys: QuantizationCfg, where: str) -> dict[str, Any] | None:
    if keys.inout_nl_quant:
        if keys.n_splitter > 1:
            raise UsageError(f"{where}: inout_nl_quant goes with one part of the input, found {keys.n_splitter}")
        return {"bits": keys.in_act_n_bits, "companding": "mu-law"}
    if keys.n_splitter > 1:
        return {"parts": keys.n_splitter, "bits": keys.in_act_n_bits, "digits": "floor"}
    return None if keys.in_quant else {"parts": 1, "bits": _FILE_BITS}


def _of_input(keys: QuantizationCfg) -> dict[str, dict[str, Any]]:
    """A rule for the grid of an input that has one of its own."""
    if keys.in_quant and keys.n_splitter == 1 and keys.in_act_n_bits != keys.act_n_bits:
        return {"@input": {"act_bits": keys.in_act_n_bits}}
    return {}
