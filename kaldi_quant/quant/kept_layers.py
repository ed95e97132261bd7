"""Layers as soon as they are quantized, in files: a run that was killed goes on with the next one."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch

from kaldi_quant.atomic import atomic_write
from kaldi_quant.made import program_digest
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.host import Data, Source
from kaldi_quant.quant.integer_linear import InputGrid
from kaldi_quant.quant.quantized_layer import QuantizedLayer, assembled, dynamic_spec, factor_of
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.ranges import Ranges
from kaldi_quant.quant.spec import QSpec

#: In the folder of the results, until these are there.
FOLDER_NAME = "unfinished"


class KeptLayers:
    """What one quantization has made so far: in a folder that only it reads, named by all that decides the result.

    Args:
        folder: for the folders of several quantizations.
        key: from ``key_of``.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder / key[:32]

    def grids(self, data: Data) -> dict[str, Grid] | None:
        """The grids of activations; None where they are not known yet.

        Args:
            data: the calibration set; units that could not be used are taken out, as calibration did.
        """
        content = self._read("grids")
        if content is None:
            return None
        data.keep(content["units"])
        return {name: Grid(QSpec(**spec), scale, zero) for name, (spec, scale, zero) in content["grids"].items()}

    def keep_grids(self, grids: dict[str, Grid], data: Data) -> None:
        """Keeps the grids of activations, and which units could be used."""
        described = {name: (dataclasses.asdict(grid.spec), grid.scale, grid.zero_point) for name, grid in grids.items()}
        self._write("grids", {"grids": described, "units": data.names})

    def layer(self, number: int, inputs: InputGrid | None) -> QuantizedLayer | None:
        """A layer; None where it is not known yet.

        Args:
            number: its place among the quantized layers.
            inputs: the grids of its input, where the ranges are static.
        """
        content = self._read(f"layer{number}")
        if content is None:
            return None
        spec, integers, scale, zero = content["weight"]
        weight = QuantizedWeight(QSpec(**spec), integers.to(torch.int32), scale, zero, content["groups"])
        dynamic = QSpec(**content["dynamic"]) if "dynamic" in content else None
        return assembled(weight, content["bias"], inputs, dynamic, content.get("factor"))

    def keep_layer(self, number: int, layer: QuantizedLayer) -> None:
        """Keeps a layer."""
        weight = layer.weight
        # Integers have at most 16 bits.
        integers = weight.integers.to(torch.int16)
        content = {
            "weight": (dataclasses.asdict(weight.spec), integers, weight.scale, weight.zero_point),
            "bias": layer.bias,
            "groups": weight.groups,
        }
        if (dynamic := dynamic_spec(layer)) is not None:
            content["dynamic"] = dataclasses.asdict(dynamic)
        if (factor := factor_of(layer)) is not None:
            content["factor"] = factor
        self._write(f"layer{number}", content)

    def _write(self, name: str, content: Any) -> None:
        with atomic_write(self.folder / f"{name}.pt") as stream:
            torch.save(content, stream)

    def _read(self, name: str) -> Any:
        """What was written; None where nothing was, or where it is damaged: then it is made again."""
        try:
            content = (self.folder / f"{name}.pt").read_bytes()
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, pickle.UnpicklingError):
            return None


@dataclasses.dataclass(frozen=True)
class Keeping:
    """Where quantizations keep what they have made.

    Args:
        folder: of the results; there is a folder within it until ``finish``.
    """

    folder: Path

    def of(self, source: Source, config: PtqConfig, data: Data, ranges: Ranges | None = None) -> KeptLayers:
        """What the quantization with these arguments has made so far."""
        return KeptLayers(self.folder / FOLDER_NAME, key_of(source, config, data, ranges))

    def finish(self) -> None:
        """Removes it all: the results are there."""
        shutil.rmtree(self.folder / FOLDER_NAME, ignore_errors=True)


def key_of(source: Source, config: PtqConfig, data: Data, ranges: Ranges | None) -> str:
    """What tells a quantization from all others: a digest of everything that decides its result."""
    about = [source.digest(), {**config.as_dict(), "description": ""}, data.digest(), program_digest()]
    found = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, bounds in (ranges or {}).items():
        found.update(name.encode("utf-8", "surrogateescape") + b"".join(bound.numpy().tobytes() for bound in bounds))
    return found.hexdigest()
