"""Components without what only training looks at."""

import numpy as np
import pytest

from kaldi_quant.kaldi.training_statistics import inference_arrays, without_statistics
from kaldi_quant.kaldi.writer import make_writer
from tests.references import COMPONENT_NAMES, COMPONENTS, load


@pytest.mark.parametrize("name", COMPONENT_NAMES)
def test_only_statistics_become_zero(name: str) -> None:
    for component in load(COMPONENTS / f"{name}.raw").nnet.components.values():
        cleared = without_statistics(component)
        kept = list(inference_arrays(component))
        assert len(kept) == len(list(inference_arrays(cleared)))
        assert all(
            a[0] == b[0] and np.array_equal(a[1], b[1]) for a, b in zip(kept, inference_arrays(cleared), strict=True)
        )
        for (field, value), (same, changed) in zip(component.fields, cleared.fields, strict=True):
            assert field == same and type(value) is type(changed)
            if field == "Count":
                assert changed == (value if component.type == "BatchNormComponent" else 0)
            if field in ("ValueAvg", "DerivAvg", "OderivRms", "EntropyStats"):
                assert changed.shape == value.shape and changed.dtype == value.dtype and not changed.any()
        for binary in (True, False):
            cleared.write(make_writer(binary))
