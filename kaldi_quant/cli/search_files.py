"""The files that a search leaves, as they will be and as they are."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaldi_quant.kaldi.companions import Companions
from kaldi_quant.kaldi.model import Model

if TYPE_CHECKING:
    from kaldi_quant.nnet3.utterances import UtteranceSet
    from kaldi_quant.quant.config import PtqConfig
    from kaldi_quant.quant.network import QuantizedNetwork


class Artefacts:
    """Integer models' files: as they will be, and as they are."""

    def __init__(self, model: Model, companions: Companions, calibration: str, more: dict[str, Any]) -> None:
        self.model, self.companions, self.calibration, self.more = model, companions, calibration, more

    def check(self, folder: Path) -> None:
        """Refuses a folder in which files of other models lie."""
        from kaldi_quant.formats.results import check_result_folder

        check_result_folder(folder, self.companions)

    def size(self, network: QuantizedNetwork, config: PtqConfig) -> int:
        """The size of a network's file, which is not kept; its integers may mean nothing."""
        from kaldi_quant.formats.artefact import save
        from kaldi_quant.formats.results import record_of
        from kaldi_quant.quant.divergence import Divergence

        with tempfile.TemporaryDirectory() as folder:
            lost = Divergence(0.0, "", dict.fromkeys(network.layers, 0.0), 0)
            record = record_of(network, self.companions, config, self.calibration, None, lost)
            record |= self.more
            return save(Path(folder) / "measured", network, self.model, record)

    def write(self, folder: Path, network: QuantizedNetwork, config: PtqConfig, data: UtteranceSet) -> int:
        """Writes a network as ``quantize`` does, and returns the file's size."""
        from kaldi_quant.formats.results import write_result

        model, companions = self.model, self.companions
        return write_result(folder, network, model, companions, config, self.calibration, data, more=self.more).bytes
