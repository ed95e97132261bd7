"""Compressed matrices: Kaldi's own bytes and values, exactly."""

from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.compressed_matrix import compress
from kaldi_quant.kaldi.tables import matrix_writer, read_matrices

KALDI = Path(__file__).resolve().parents[1] / "data" / "mfcc"


def test_kaldis_bytes() -> None:
    ((utterance, matrix),) = read_matrices(f"ark:{KALDI}/mfcc_hires.ark")
    packed = utterance.encode() + b" \0B" + compress(matrix)
    assert packed == (KALDI / "mfcc_hires_compressed.ark").read_bytes()


def test_kaldis_values() -> None:
    ((_, found),) = read_matrices(f"ark:{KALDI}/mfcc_hires_compressed.ark")
    ((_, expected),) = read_matrices(f"ark:{KALDI}/mfcc_hires_uncompressed.ark")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 5, 8, 9, 100])
@pytest.mark.parametrize("constant", [False, True])
def test_any_length_comes_back(tmp_path: Path, rows: int, constant: bool) -> None:
    shape = (rows, 3 if rows else 0)
    matrix = np.full(shape, 7.0) if constant else np.random.default_rng(rows).normal(size=shape)
    with matrix_writer(f"ark:{tmp_path}/a.ark") as writer:
        writer.write_packed("utt", b"\0B" + compress(matrix))
    ((_, found),) = read_matrices(f"ark:{tmp_path}/a.ark")
    assert found.shape == shape
    # Two bytes hold the range in 65535 steps; of one byte, a piece between two percentiles has 63 at least.
    span = float(np.ptp(matrix)) + 8.0 if rows else 0.0
    np.testing.assert_allclose(found, matrix, atol=span / (63 if rows > 8 else 65535))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_numbers(value: float) -> None:
    with pytest.raises(DataError, match="cannot be compressed"):
        compress(np.array([[1.0, value]]))
