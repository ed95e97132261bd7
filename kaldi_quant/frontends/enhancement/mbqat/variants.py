"""MBQAT's folders: which network each has, and how it is quantized."""

from __future__ import annotations

from dataclasses import dataclass

from kaldi_quant.registry import Registry


@dataclass(frozen=True)
class Variant:
    """What a folder is for.

    Args:
        network: a name of ``NETWORKS``.
        settings: the file beside the programs.
        scheme: of quantization-aware training, a name of ``SCHEMES``; empty for float.
        gamma: the learning rate is multiplied by it every second epoch.
    """

    network: str
    settings: str
    scheme: str = ""
    gamma: float = 0.97


#: By the names of folders.
VARIANTS: Registry[Variant] = Registry("folder of MBQAT")
VARIANTS.add("CRN_original")(Variant("crn", "config.yaml", gamma=0.98))
VARIANTS.add("CRN_100k")(Variant("crn-100k", "config_100k.yaml", gamma=0.98))
VARIANTS.add("CRN_100k_StandardQAT")(Variant("crn-100k", "config_100k_StQAT.yaml", "standard-qat"))
VARIANTS.add("CRN_100k_GeneralQAT")(Variant("crn-100k", "config_100k_GeQAT.yaml", "general-qat"))
VARIANTS.add("CRN_100k_MBQAT")(Variant("crn-100k", "config_100k_MBQAT.yaml", "mbqat"))
VARIANTS.add("TCN_100k_MBQAT")(Variant("tcn-100k", "config_tcn_MBQAT.yaml", "mbqat-tcn"))
