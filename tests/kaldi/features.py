"""Kaldi's normalised features in tests/data, and model folders that ask for them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kaldi_quant.kaldi.features.normalisation import NormalisationOptions
from kaldi_quant.kaldi.features.pipeline import FeatureSources, Pipeline, make_pipeline
from kaldi_quant.kaldi.features.settings import settings_of_folder
from kaldi_quant.kaldi.tables import read_matrices

FEATURES = Path(__file__).resolve().parents[1] / "data" / "features"
FEATS = f"ark:{FEATURES}/feats.ark"
#: Of the values that Kaldi computes.
TOLERANCE = 1e-4


def read(name: str) -> dict[str, np.ndarray]:
    """All matrices of an archive."""
    return dict(read_matrices(f"ark:{FEATURES}/{name}.ark"))


def pipeline(
    folder: Path,
    sources: FeatureSources | None = None,
    options: NormalisationOptions | None = None,
    input_dim: int = 4,
    feats: str = FEATS,
) -> Pipeline:
    """What a model in a folder gets of the features."""
    return make_pipeline(settings_of_folder(folder, options), feats, sources or FeatureSources(), lambda: input_dim)


def apply(done: Pipeline, feats: str = FEATS) -> dict[str, np.ndarray]:
    """The features of a table, changed."""
    return dict(done.apply(read_matrices(feats)))


def assert_kaldis(found: Mapping[str, np.ndarray], name: str, tolerance: float = TOLERANCE) -> None:
    """Compares features with those in an archive that Kaldi made."""
    expected = read(name)
    assert set(found) == set(expected)
    for utterance, rows in expected.items():
        assert found[utterance].dtype == np.float32
        assert np.abs(found[utterance] - rows).max() < tolerance, utterance
