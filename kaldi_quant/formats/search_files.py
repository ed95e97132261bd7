"""The files that a search leaves, as they will be and as they are."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from kaldi_quant.formats.artefact import save, save_torch
from kaldi_quant.formats.record import make_torch_record
from kaldi_quant.formats.results import check_result_folder, record_of, write_result
from kaldi_quant.kaldi.companions import Companions
from kaldi_quant.kaldi.model import Model
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.divergence import Divergence
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.units import Bytes


class Artefacts:
    """Integer models' files: as they will be, and as they are.

    Args:
        model: the float model.
        companions: what belongs to it, and its frame-subsampling factor.
        calibration: the rspecifier of the calibration set.
        more: what else the record tells.
    """

    def __init__(self, model: Model, companions: Companions, calibration: str, more: dict[str, Any]) -> None:
        self.model, self.companions, self.calibration, self.more = model, companions, calibration, more

    def check(self, folder: Path) -> None:
        """Refuses a folder in which files of other models lie.

        Raises:
            DataError: names the file.
        """
        check_result_folder(folder, self.companions)

    def size(self, network: QuantizedNetwork, config: PtqConfig) -> Bytes:
        """The size of a network's file, which is not kept; its integers may mean nothing."""
        with tempfile.TemporaryDirectory() as folder:
            lost = _unknown_loss(network)
            record = record_of(network, self.companions, config, self.calibration, None, lost)
            return save(Path(folder) / "measured", network, self.model, record | self.more)

    def write(self, folder: Path, network: QuantizedNetwork, config: PtqConfig, data: UtteranceSet) -> Bytes:
        """Writes a network as ``quantize`` does, and returns the file's size.

        Raises:
            DataError: the folder cannot be written, or no utterance can be used.
        """
        model, companions = self.model, self.companions
        return write_result(folder, network, model, companions, config, self.calibration, data, more=self.more).bytes


def torch_size(network: QuantizedNetwork, config: PtqConfig, more: dict[str, Any]) -> Bytes:
    """The size of the file of a torch network, which is not kept; its integers may mean nothing.

    Args:
        network: of torch.
        config: how it was, or will be, quantized.
        more: what else the record tells.

    Raises:
        ModelError: no file can hold it.
    """
    with tempfile.TemporaryDirectory() as folder:
        record = make_torch_record(network, config, None, _unknown_loss(network), more)
        return save_torch(Path(folder) / "measured", network, record)


def _unknown_loss(network: QuantizedNetwork) -> Divergence:
    """Records of all losses are equally long."""
    return Divergence(0.0, network.host.distance.unit, dict.fromkeys(network.layers, 0.0), 0)
