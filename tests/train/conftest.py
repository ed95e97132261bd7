"""The example's utterances, for training."""

from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.kaldi.tables import read_matrices


@pytest.fixture(scope="module")
def utterances(example: Path) -> list[tuple[str, np.ndarray]]:
    table = read_matrices(f"scp:{example}/data/train_sub_hires/feats.scp")
    return [utterance for utterance, _ in zip(table, range(16), strict=False)]
