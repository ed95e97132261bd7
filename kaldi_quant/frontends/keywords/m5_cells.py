"""The cells of M5: in float, quantized by this project's methods, and by PyTorch and onnxruntime."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from torch import Tensor

from kaldi_quant.backends.torch_engines.whole_modules import export_module
from kaldi_quant.formats.names import ARTEFACT_NAME
from kaldi_quant.frontends.cells import FLOAT_METHOD, Work, cell_name, flat, make_cell
from kaldi_quant.frontends.checkpoints import write_parameters
from kaldi_quant.frontends.keywords.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from kaldi_quant.frontends.keywords.config import KeywordConfig
from kaldi_quant.frontends.keywords.data import KeywordSet
from kaldi_quant.frontends.keywords.evaluation import Run, answers_of, run_integers, run_module, run_onnx
from kaldi_quant.frontends.keywords.models import make_quantized, write_quantized
from kaldi_quant.frontends.keywords.rivals import Classified, torch_ptq, torch_qat
from kaldi_quant.frontends.keywords.sweeps import (
    Measured,
    as_table,
    read_measured,
    sweep_layers,
    sweep_observers,
    write_measured,
)
from kaldi_quant.frontends.keywords.training import HISTORY_NAME, calibration_set, quantize, train_float
from kaldi_quant.frontends.onnx_files import (
    DYNAMIC_NAME,
    FIXED_NAME,
    in_float,
    quantize_by_onnxruntime,
    write_onnx_files,
)
from kaldi_quant.made import Made, Sources, make

_log = logging.getLogger(__name__)
NETWORK = "m5"
FLOAT_FILE = "model.pth"
_FLOAT_PRESET = "w8a8"


@dataclass(frozen=True)
class M5Cells:
    """What makes them.

    Args:
        keywords: the data.
        folder: ``exp``.
        command: that makes them, for records.
    """

    keywords: KeywordSet
    folder: Path
    command: str

    def place(self, method: str) -> Path:
        """The folder of a cell."""
        return self.folder / NETWORK / method

    @property
    def float_file(self) -> Path:
        """The float checkpoint that all others begin with."""
        return self.place(FLOAT_METHOD) / FLOAT_FILE

    def make_float(self, config: KeywordConfig) -> None:
        """Trains the float network."""

        def work(folder: Path) -> Work:
            found = train_float(self.keywords, config, folder)
            write_checkpoint(folder / FLOAT_FILE, found)
            # Any quantization has the float network within.
            within = quantize(self.keywords, replace_preset(config, _FLOAT_PRESET), found.network)
            others = write_onnx_files(folder, in_float(within), self._example(config))
            run = run_module(found.network)
            return self._work(folder / FLOAT_FILE, run, config, [*others, folder / HISTORY_NAME])

        self._make(FLOAT_METHOD, "", config, work, from_float=False)

    def make_quantized(self, config: KeywordConfig, preset: str) -> None:
        """Quantizes the float network as a configuration says, by a preset in the place of its own."""
        config = replace_preset(config, preset)

        def work(folder: Path) -> Work:
            quantized = make_quantized(self.keywords, config, self._float(config).network, folder)
            path = folder / ARTEFACT_NAME
            write_quantized(path, quantized, self.keywords, config)
            others = write_onnx_files(folder, quantized, self._example(config))
            return self._work(path, run_integers(quantized), config, others)

        self._make(cell_name(config.method, preset), preset, config, work)

    def make_torch_ptq(self, config: KeywordConfig) -> None:
        """PyTorch's quantization after training."""

        def work(folder: Path) -> Work:
            return self._torch(folder, torch_ptq(self._float(config).network, self.keywords, config), config)

        self._make("torch-x86-ptq", "", config, work)

    def make_torch_qat(self, config: KeywordConfig) -> None:
        """PyTorch's quantization-aware training."""

        def work(folder: Path) -> Work:
            return self._torch(folder, torch_qat(self._float(config).network, self.keywords, config, folder), config)

        self._make("torch-x86-qat", "", config, work)

    def make_onnxruntime_ptq(self, config: KeywordConfig) -> None:
        """onnxruntime's static quantization."""

        def work(folder: Path) -> Work:
            quantize_by_onnxruntime(self.place(FLOAT_METHOD), folder, calibration_set(self.keywords, config))
            path = folder / DYNAMIC_NAME
            return self._work(path, run_onnx(path.read_bytes()), config, [folder / FIXED_NAME])

        self._make("onnxruntime-ptq", "", config, work)

    def measure(self, config: KeywordConfig) -> Iterator[str]:
        """Costs by observer and by layer, on development data; gives the tables. What is there already is kept."""
        place, network = self.folder / NETWORK / "sensitivity", self._float(config).network
        kinds: dict[str, Callable[[], Iterator[Measured]]] = {
            "observers.json": lambda: sweep_observers(network, self.keywords, config),
            "layers.json": lambda: sweep_layers(network, self.keywords, config, place),
        }
        for name, measure in kinds.items():
            path = place / name
            make(Made(path, self._sources(config)), partial(_measured, path, measure), _log.info)
            yield as_table(read_measured(path))

    def _torch(self, folder: Path, network: Classified, config: KeywordConfig) -> Work:
        path, example = folder / FLOAT_FILE, self._example(config)
        write_parameters(path, network)
        others = [
            export_module(network, example, folder / name, any_batch=name == DYNAMIC_NAME)
            for name in (DYNAMIC_NAME, FIXED_NAME)
        ]
        return self._work(path, run_module(network), config, others)

    def _make(
        self,
        method: str,
        preset: str,
        config: KeywordConfig,
        work: Callable[[Path], Work],
        from_float: bool = True,
    ) -> None:
        make_cell(self.place(method), preset, self.command, self._sources(config, from_float), work)

    def _sources(self, config: KeywordConfig, from_float: bool = True) -> Sources:
        files = {"the recordings": self._recordings()}
        if from_float:
            files["the float checkpoint"] = [self.float_file]
        return Sources(dict(flat(asdict(config))), files)

    def _recordings(self) -> list[Path]:
        recordings = [recording for split in self.keywords.splits.values() for recording in split]
        return list(dict.fromkeys(recording.path for recording in recordings))

    def _float(self, config: KeywordConfig) -> Checkpoint:
        return read_checkpoint(self.float_file, config.model.base_cnn)

    def _example(self, config: KeywordConfig) -> Tensor:
        return calibration_set(self.keywords, config)[0][:1]

    def _work(self, file: Path, run: Run, config: KeywordConfig, others: Sequence[Path]) -> Work:
        """What is in a cell's folder, scored; file: the model; run: it."""
        answers = answers_of(run, self.keywords.test, config.data.sample_rate, config.data.batch_size)
        parameters = sum(value.numel() for value in self._float(config).network.parameters())
        details = {"confusions": answers.confusions(self.keywords.classes)}
        return Work(file, answers.score, parameters, others, details)


def _measured(path: Path, measure: Callable[[], Iterator[Measured]]) -> None:
    write_measured(path, list(measure()))


def replace_preset(config: KeywordConfig, preset: str) -> KeywordConfig:
    """The configuration with another preset."""
    return replace(config, model=replace(config.model, preset=preset))
