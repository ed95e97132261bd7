"""The schemes: quantization-aware training without more, FQSS as it was meant to work, and this project's own.

FQSS (doi 10.1109/OJSP.2024.3425287) is built anew with other grids and digits: zero points are integers in the end, the
level of a mixture is its own, products of attention and the products of recurrent cells are in integers, too, and the
weights that read lower parts begin with what they are for.
"""

from __future__ import annotations

from dataclasses import replace

from kaldi_quant.frontends.schemes import SchemeTraining
from kaldi_quant.frontends.separation.losses import Distillation
from kaldi_quant.frontends.separation.schemes.scheme import SCHEMES, SeparationScheme
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.presets import read_preset

_BY_ROW = LayerConfig(method="minmax")
_16_BITS = {"parts": 1, "bits": 16}

SCHEMES.add("vanilla-qat")(
    SeparationScheme(
        PtqConfig(_BY_ROW, observer="minmax", fold="none", bias_correction=False),
        SchemeTraining("recomputed", weights="values", lr_initial=3e-5, lr_final=3e-6),
        description="8 bits everywhere, input and output, too; scales from weights and minibatches, no teacher",
        outputs={"parts": 1},
    )
)
SCHEMES.add("fqss")(
    SeparationScheme(
        PtqConfig(replace(_BY_ROW, method="mse"), fold="none", bias_correction=False),
        SchemeTraining(weights="values", offsets="floats", lr_initial=3e-4, lr_final=3e-5),
        description="8 bits, signals in two parts of 8 bits at both ends, ranges learned, the float network teaches",
        inputs={"digits": "floor"},
        outputs={},
        distillation=Distillation(),
        ordered_distillation=Distillation(heed="hurt-more"),
        loss="pit-si-sdr-linear",
    )
)
_OURS = SCHEMES.add("ours-w8a8")(
    SeparationScheme(
        read_preset("w8a8"),
        SchemeTraining(lr_initial=1e-4, lr_final=1e-5),
        description="8 bits, 16 at both ends, fitted after training, then trained with a teacher if that helps",
        inputs=_16_BITS,
        outputs=_16_BITS,
        distillation=Distillation(),
        ordered_distillation=Distillation(heed="hurt-more"),
        keeps_the_better=True,
    )
)
SCHEMES.add("ours-w4a8")(
    replace(
        _OURS,
        config=read_preset("w4a8"),
        description="the same with 4-bit weights, 8-bit ones in the layers that read and give signals",
        ends={"bits": 8, "symmetric": True},
    )
)
