"""The operation modes: what is done, one after the other, and which sections of the configuration that needs."""

from __future__ import annotations

from typing import Literal

#: A float network is trained; scored; quantized; its integers are scored; measured; made ready for a board.
Step = Literal["train", "evaluate", "quantize", "evaluate_quantized", "benchmark", "deploy"]

_EQE: tuple[Step, ...] = ("evaluate", "quantize", "evaluate_quantized")
MODES: dict[str, tuple[Step, ...]] = {
    "training": ("train",),
    "evaluation": ("evaluate",),
    "quantization": ("quantize",),
    "benchmarking": ("benchmark",),
    "deployment": ("deploy",),
    "chain_tqe": ("train", *_EQE),
    "chain_tqeb": ("train", *_EQE, "benchmark"),
    "chain_eqe": _EQE,
    "chain_eqeb": (*_EQE, "benchmark"),
    "chain_qb": ("quantize", "benchmark"),
    "chain_qd": ("quantize", "deploy"),
}

_SECTIONS: dict[Step, tuple[str, ...]] = {
    "train": ("model", "dataset", "preprocessing", "training"),
    "evaluate": ("model", "dataset", "preprocessing", "evaluation"),
    "quantize": ("model", "dataset", "preprocessing", "quantization"),
    "evaluate_quantized": (),
    "benchmark": ("model", "tools", "benchmarking", "preprocessing"),
    "deploy": ("model", "tools", "deployment", "preprocessing"),
}


#: Of these the first network must be one in float.
FROM_FLOAT = tuple(mode for mode, steps in MODES.items() if "quantize" in steps and "train" not in steps)


def sections_of(mode: str) -> set[str]:
    """The sections that a mode uses, beside ``general``, ``mlflow`` and ``hydra``."""
    return {section for step in MODES[mode] for section in _SECTIONS[step]}
