"""What the decoding tests share: a small job on the embedded example."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.kaldi.tables import matrix_writer, read_matrices

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Job:
    """The inputs of one decoding of the example, four utterances."""

    model: Path
    graph_dir: Path
    loglikes: Path
    data_dir: Path

    @property
    def graph(self) -> Path:
        return self.graph_dir / "HCLG.fst"

    def decode_arguments(self, out_dir: Path) -> list[str]:
        return ["decode", str(self.model), str(self.graph), f"ark:{self.loglikes}", str(out_dir)]


@pytest.fixture(scope="session")
def job(example: Path) -> Job:
    model = example / "exp" / "chain" / "tdnn1a_sp"
    loglikes = example / "reference" / "nnet3_compute.test_first4.ark"
    return Job(model / "0.trans_mdl", model / "graph_alphadigits", loglikes, example / "data" / "test_hires")


@pytest.fixture(scope="session")
def matrices(job: Job) -> dict[str, np.ndarray]:
    """The log-likelihoods of the job."""
    return dict(read_matrices(f"ark:{job.loglikes}"))


@pytest.fixture
def save_table(tmp_path: Path) -> Callable[[dict[str, np.ndarray]], str]:
    """Writes matrices and returns the rspecifier."""

    def save(table: dict[str, np.ndarray]) -> str:
        with matrix_writer(f"ark:{tmp_path}/table.ark") as writer:
            for utterance, values in table.items():
                writer.write(utterance, values)
        return f"ark:{tmp_path}/table.ark"

    return save
