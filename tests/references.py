"""Kaldi's answers in tests/data, and this project's answers to the same questions."""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.kaldi.tables import read_matrices, read_vectors
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import Inference, InferenceOptions
from kaldi_quant.nnet3.ivectors_in_time import IvectorSource
from kaldi_quant.nnet3.model import AcousticModel

# Small products gain nothing from threads, and lose much where other programs run beside the tests.
torch.set_num_threads(1)

DATA = Path(__file__).resolve().parent / "data"
NNET3 = DATA / "nnet3"
COMPONENTS = DATA / "components"

#: The folders of models, by name.
MODELS = sorted(folder.name for folder in NNET3.iterdir() if folder.is_dir())

#: The single components, by name: the type, and after a dot the variant.
COMPONENT_NAMES = sorted(path.name.removesuffix(".raw") for path in COMPONENTS.glob("*.raw"))

FLOAT32_TOLERANCE, FLOAT64_TOLERANCE = 3e-4, 2e-4


def model_file(folder: Path) -> Path:
    """The model of a folder: final.mdl, or final.raw where there is none."""
    path = folder / "final.mdl"
    return path if path.exists() else folder / "final.raw"


@lru_cache(maxsize=256)
def load(path: Path) -> Model:
    """A model file, read once; not to be changed."""
    return read_model(path)


@lru_cache(maxsize=8)
def load_network(path: Path, dtype: torch.dtype = torch.float32) -> AcousticModel:
    """A model ready for execution, made once; not to be changed."""
    return AcousticModel(load(path).nnet).to(dtype)


@lru_cache(maxsize=64)
def read_archive(path: Path) -> dict[str, np.ndarray]:
    """All matrices of an archive."""
    return dict(read_matrices(f"ark:{path}"))


@dataclass(frozen=True)
class Reference:
    """A run of nnet3-compute.

    Args:
        model: the model's file.
        feats: the archive of its features.
        output: the archive that Kaldi wrote.
        options: Kaldi's options, by name.
    """

    model: Path
    feats: Path
    output: Path
    options: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return f"{self.model.parent.name}/{self.output.stem}"

    def chunk_options(self) -> ChunkOptions:
        values = dict(self.options)
        names = ChunkOptions.__dataclass_fields__
        given = {name: int(values[key]) for name in names if (key := name.replace("_", "-")) in values}
        return ChunkOptions(**{"frames_per_chunk": 50, **given})

    def ivectors(self) -> IvectorSource | None:
        values = dict(self.options)
        if "online-ivectors" in values:
            return read_archive(self._beside(values["online-ivectors"])).get
        if "ivectors" in values:
            return dict(read_vectors(f"ark:{self._beside(values['ivectors'])}")).get
        return None

    def _beside(self, rspecifier: str) -> Path:
        return (self.output.parent / rspecifier.removeprefix("ark:")).resolve()

    def expected(self) -> dict[str, np.ndarray]:
        return read_archive(self.output)

    def inference(self, dtype: torch.dtype = torch.float32, batch_seconds: float = 60.0) -> Inference:
        """This project, set to the same options."""
        values = dict(self.options)
        period = int(values.get("online-ivector-period", 0))
        options = InferenceOptions(self.chunk_options(), period, batch_seconds=batch_seconds)
        priors = load(self.model).priors if values.get("use-priors") == "true" else None
        return Inference(load_network(self.model, dtype), priors, options, self.ivectors())

    def compute(
        self, dtype: torch.dtype = torch.float32, batch_seconds: float = 60.0, limit: int | None = None
    ) -> dict[str, np.ndarray]:
        """What this project computes, of the first ``limit`` utterances."""
        utterances = list(read_archive(self.feats).items())[:limit]
        return dict(self.inference(dtype, batch_seconds).compute(utterances))


def _references(commands: Path) -> list[Reference]:
    folder, found = commands.parent, []
    for line in commands.read_text().splitlines():
        if not line.startswith("nnet3-compute "):
            continue
        options = tuple(re.findall(r"--([\w-]+)=(\S+)", line))
        model, feats, output = (word for word in line.split()[1:] if not word.startswith("--"))
        feats_path = (folder / feats.removeprefix("ark:")).resolve()
        found.append(Reference(folder / model, feats_path, folder / output.removeprefix("ark:"), options))
    return found


#: Every run of nnet3-compute in tests/data/nnet3, and the one of each single component.
REFERENCES = [reference for name in MODELS for reference in _references(NNET3 / name / "cmd.txt")]
COMPONENT_REFERENCES = _references(COMPONENTS / "cmd.txt")


def reference(name: str) -> Reference:
    """The reference of that name, such as ``fast_lstm/output_chunk51``."""
    return next(found for found in REFERENCES if found.name == name)


def largest_difference(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """The largest absolute difference, infinite where utterances, their order or shapes differ."""
    if list(got) != list(expected) or any(got[key].shape != expected[key].shape for key in got):
        return float("inf")
    return max(float(np.abs(got[key] - expected[key]).max()) for key in got)
