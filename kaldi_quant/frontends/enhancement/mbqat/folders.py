"""Where MBQAT's programs put things: ``<output_dir>/<project>/<workspace>/{checkpoints,est_validations,…}``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from kaldi_quant.api import files
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.errors import ModelError, UsageError
from kaldi_quant.formats.file_kind import is_artefact
from kaldi_quant.frontends.enhancement.mbqat.settings import MbqatSettings
from kaldi_quant.frontends.enhancement.mbqat.variants import Variant
from kaldi_quant.frontends.enhancement.networks.known import NETWORKS, Kind
from kaldi_quant.frontends.enhancement.training.checkpoint import read_network

#: The best network: in float, and quantized; of what such a program trains before it quantizes it, the float one.
FLOAT_NAME, QUANTIZED_NAME = "best.ckpt", "best.safetensors"
CHECKPOINTS, VALIDATIONS = "checkpoints", "est_validations"


@dataclass(frozen=True)
class Workspace:
    """A folder of MBQAT and its results.

    Args:
        variant: what it is for.
        settings: of its file.
        output: ``<output_dir>/<project>/<workspace>``.
    """

    variant: Variant
    settings: MbqatSettings
    output: Path

    @classmethod
    def of(cls, folder: Path, variant: Variant, settings: MbqatSettings) -> Workspace:
        """That of the folder with the programs, which names the workspace; the folder above it names the project."""
        return cls(variant, settings, Path(settings.output_dir) / folder.parent.name / folder.name)

    @property
    def kind(self) -> Kind:
        """Of its network."""
        return NETWORKS[self.variant.network]

    @property
    def checkpoints(self) -> Path:
        """The folder of networks."""
        return self.output / CHECKPOINTS


@dataclass(frozen=True)
class Model:
    """A network that was read.

    Args:
        path: of its file.
        network: computes it: in float, or the integer reference.
        quantized: it in integers; None of one in float.
    """

    path: Path
    network: nn.Module
    quantized: Quantized | None = None


def find_model(place: Path, prefer: str) -> Path:
    """The file that ``-m`` means: itself, or of a folder the best network in it, or in its checkpoints.

    Args:
        place: file or folder.
        prefer: the name that is looked for first.

    Raises:
        UsageError: there is none.
    """
    if place.is_file():
        return place
    names = dict.fromkeys((prefer, QUANTIZED_NAME, FLOAT_NAME))
    for folder in (place, place / CHECKPOINTS):
        for name in names:
            if (folder / name).is_file():
                return folder / name
    raise UsageError(f"{place} holds no network: expected a file, or a folder with {' or '.join(names)}")


def read_model(path: Path, variant: Variant) -> Model:
    """Reads a network, told by the file's content.

    Raises:
        FormatError, ModelError: the file is missing or broken, or holds another network.
    """
    if not is_artefact(path):
        found = read_network(path)
        if found.name != variant.network:
            raise ModelError(f"{path} holds the network {found.name}, expected {variant.network}")
        return Model(path, found.network)
    quantized = files.load(path)
    if not isinstance(quantized, Quantized):
        raise ModelError(f"{path} is a model of Kaldi, expected a network for speech enhancement")
    return Model(path, quantized.network.model(), quantized)
