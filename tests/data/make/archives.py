"""Random features and i-vectors, in Kaldi's archives. Read and written here, not by the package that they test."""

import math
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

UTTERANCES = {"utt061": 61, "utt097": 97, "utt140": 140}
IVECTOR_DIM = 10
IVECTOR_PERIOD = 10


def random_generator(name: str) -> np.random.Generator:
    """A generator whose numbers depend on nothing but the name."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def write_matrices(path: Path, matrices: Mapping[str, np.ndarray]) -> None:
    """Writes a binary archive of float matrices or vectors."""
    with open(path, "wb") as out:
        for key, values in matrices.items():
            floats = np.ascontiguousarray(values, "<f4")
            kind = b"FM " if floats.ndim == 2 else b"FV "
            sizes = b"".join(struct.pack("<bi", 4, size) for size in floats.shape)
            out.write(key.encode() + b" \0B" + kind + sizes + floats.tobytes())


def read_matrices(path: Path) -> dict[str, np.ndarray]:
    """Reads a binary archive of float matrices."""
    data, at, found = path.read_bytes(), 0, {}
    while at < len(data):
        space = data.index(b" ", at)
        key, at = data[at:space].decode(), space + 1
        if data[at : at + 5] != b"\0BFM ":
            raise RuntimeError(f"{path}: {key} is not a binary float matrix")
        rows, columns = struct.unpack_from("<xixi", data, at + 5)
        at += 15
        found[key] = np.frombuffer(data, "<f4", rows * columns, at).reshape(rows, columns)
        at += 4 * rows * columns
    return found


def smooth_matrix(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Something like cepstra: smooth in time, each column with its own mean and spread, a little noise."""
    walk = np.zeros((rows, columns))
    state = rng.standard_normal(columns)
    for t in range(rows):
        state = 0.85 * state + math.sqrt(1 - 0.85**2) * rng.standard_normal(columns)
        walk[t] = state + 0.1 * rng.standard_normal(columns)
    return (walk * rng.uniform(0.5, 1.6, columns) + rng.standard_normal(columns) * 0.7).round(4)


def make_features(out: Path) -> None:
    """Features of 20 and 40 columns; i-vectors, one row per 10 frames and one per utterance."""
    for dim in (20, 40):
        rng = random_generator(f"features {dim}")
        matrices = {utterance: smooth_matrix(rng, frames, dim) for utterance, frames in UTTERANCES.items()}
        write_matrices(out / f"feats{dim}.ark", matrices)
    rng = random_generator("ivectors")
    rows = {utterance: -(-frames // IVECTOR_PERIOD) for utterance, frames in UTTERANCES.items()}
    online = {utterance: smooth_matrix(rng, number, IVECTOR_DIM) for utterance, number in rows.items()}
    write_matrices(out / "ivectors_online.ark", online)
    vectors = {utterance: rng.standard_normal(IVECTOR_DIM).round(4) for utterance in UTTERANCES}
    write_matrices(out / "ivectors_utt.ark", vectors)
