"""``kaldi-quant search MODEL CALIBRATION-RSPECIFIER DEV-RSPECIFIER OUT-DIR``: the best width for each layer."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kaldi_quant.atomic import atomic_write
from kaldi_quant.cli.inference_options import InferenceArguments, inference_options, subsampling_of
from kaldi_quant.cli.options import KaldiCommand
from kaldi_quant.cli.quantization_options import read_utterances
from kaldi_quant.cli.quantize import is_file
from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.progress import progress

if TYPE_CHECKING:
    from kaldi_quant.quant.calibration import CalibrationSet
    from kaldi_quant.quant.config import PtqConfig
    from kaldi_quant.quant.network import QuantizedNetwork

_log = logging.getLogger(__name__)

MEASUREMENTS_NAME, RESULT_NAME, CONFIG_NAME = "measurements.json", "search.json", "allocation.yaml"

# The method that the search's result is quantized by, whatever the widths: it was tuned for those in their middle.
_PRESET = "w4a8"

# Stands for what is measured of a result in the size of its record: numbers of as many digits.
_SOME_DIVERGENCE, _SOME_RATIO = 0.012345678901234567, 23.45


@click.command(cls=KaldiCommand)
@click.option(
    "--budget", required=True, help="A size (800 kB), mean bits per weight (3 bits), or divergence (0.05 nats)."
)
@click.option("--widths", default="2,3,4,5,6,8", show_default=True, help="Of weights; float for layers in float.")
@click.option("--act-widths", default="8", show_default=True, help="Of layers' inputs.")
@click.option("--base-bits", type=int, default=8, show_default=True, help="Of the layers that are not being measured.")
@click.option(
    "--estimate",
    type=click.Choice(("measured", "second-order")),
    default="measured",
    show_default=True,
    help="Whether a network runs for each candidate, or curvature tells what it costs.",
)
@click.option("--max-bit-operations", type=float, metavar="MILLIONS", help="Per frame of features, of all layers.")
@click.option("--preset", metavar="NAME", help=f"All but the widths; by default {_PRESET}.")
@click.option("--config", metavar="YAML", help="A configuration of your own, instead of a preset.")
@click.option("--method", default="", help="How weights are rounded while measuring; by default as in the result.")
@click.option("--max-utterances", type=int, default=0, help="Calibrate on so many, evenly chosen; 0 for all.")
@click.option("--max-dev-utterances", type=int, default=40, show_default=True, help="Measure on so many; 0 for all.")
@inference_options
@click.argument("model")
@click.argument("calibration", metavar="CALIBRATION-RSPECIFIER")
@click.argument("dev", metavar="DEV-RSPECIFIER")
@click.argument("out_dir")
def command(
    budget: str,
    widths: str,
    act_widths: str,
    base_bits: int,
    estimate: str,
    max_bit_operations: float | None,
    preset: str | None,
    config: str | None,
    method: str,
    max_utterances: int,
    max_dev_utterances: int,
    inference: InferenceArguments,
    model: str,
    calibration: str,
    dev: str,
    out_dir: str,
) -> None:
    """Find the widths of MODEL's layers that lose least under a budget, or that are smallest at a loss.

    Each layer is quantized in each width, the others in 8 bits, and the divergence from float is measured on
    DEV-RSPECIFIER: development data, never test data. An integer linear program picks one width for each layer. OUT-DIR
    gets allocation.yaml for --config of 'quantize' and 'qat', search.json with all that was measured, and the model
    quantized so. An interrupted search goes on where it was, and another budget in the same OUT-DIR measures nothing
    again.

    e.g.: kaldi-quant search --budget "3 bits" final.mdl scp:data/train_sub/feats.scp scp:data/dev/feats.scp exp/search
    """
    from kaldi_quant.export.sizes import bits_per_weight
    from kaldi_quant.quant.presets import resolve
    from kaldi_quant.quant.search.budget import parse_budget
    from kaldi_quant.quant.search.measurements import Store
    from kaldi_quant.quant.search.options import SearchOptions
    from kaldi_quant.quant.search.result import as_dict
    from kaldi_quant.quant.search.search import Search
    from kaldi_quant.quant.search.widths import parse_widths
    from kaldi_quant.report.search import as_text

    wanted = parse_budget(budget)
    options = SearchOptions(
        parse_widths(widths, "--widths", with_float=True),
        parse_widths(act_widths, "--act-widths"),
        base_bits,
        "second-order" if estimate == "second-order" else "measured",
        method,
        None if max_bit_operations is None else 1e6 * max_bit_operations,
    )
    _, chosen = resolve(preset if preset or config else _PRESET, config, None, None)
    if is_file(out_dir):
        raise UsageError(f"{out_dir} is a file: give a folder for the results")
    read, folder = read_model(model), Path(out_dir)
    calibration_set = _utterances(model, calibration, inference, max_utterances, "--max-utterances")
    dev_set = _utterances(model, dev, inference, max_dev_utterances, "--max-dev-utterances")
    about = _about(model, options.measuring(chosen), options.base, inference, calibration_set, dev_set)
    if calibration == dev:
        _log.info("candidates are measured on the data that they are calibrated on: that flatters narrow widths")
    artefacts = _Artefacts(read, calibration, subsampling_of(model), calibration_set)
    store = Store(folder / MEASUREMENTS_NAME, about)
    search = Search(read.nnet, chosen, calibration_set, dev_set, store, options, artefacts.predicted)
    with progress(len(search.measuring.choices()), "search", unit="candidates") as advance:
        for _ in search.measure():
            advance(1)
    outcome = search.run(wanted, lambda network, found: artefacts.write(folder, network, found))
    result = as_dict(search, wanted, outcome, bits_per_weight(outcome.network))
    _write_config(folder / CONFIG_NAME, outcome.proposal.config)
    with atomic_write(folder / RESULT_NAME, "w") as stream:
        stream.write(json.dumps(result, indent=1) + "\n")
    click.echo(as_text(result), nl=False)


def _utterances(model: str, table: str, inference: InferenceArguments, most: int, option: str) -> CalibrationSet:
    if most < 0:
        raise UsageError(f"{option} cannot be negative, found {most}")
    data = read_utterances(model, table, inference)
    return data.some(most) if most else data


def _about(
    model: str,
    config: PtqConfig,
    base: Any,
    inference: InferenceArguments,
    calibration: CalibrationSet,
    dev: CalibrationSet,
) -> dict[str, Any]:
    """What measurements depend on, under the names by which an error calls it."""
    from kaldi_quant.quant.search.measurements import data_digest

    return {
        "model": hashlib.sha256(Path(model).read_bytes()).hexdigest(),
        "configuration": {**config.as_dict(), "description": ""},
        "base": dataclasses.asdict(base),
        "calibration set": data_digest(calibration.utterances),
        "development set": data_digest(dev.utterances),
        "way of computing": dataclasses.asdict(calibration.options),
        "i-vectors": [inference.ivectors, inference.online_ivectors],
    }


class _Artefacts:
    """Integer models' files: as they will be, and as they are."""

    def __init__(self, model: Model, calibration: str, subsampling: int, data: CalibrationSet) -> None:
        self.model, self.calibration, self.subsampling, self.data = model, calibration, subsampling, data

    def predicted(self, network: QuantizedNetwork, config: PtqConfig) -> int:
        """The size of the file of a network whose integers mean nothing."""
        from kaldi_quant.quant.divergence import Divergence

        with tempfile.TemporaryDirectory() as folder:
            lost = Divergence(_SOME_DIVERGENCE, 0.0, dict.fromkeys(network.layers, _SOME_RATIO), 0)
            return self._save(Path(folder) / "predicted", network, config, lost)[0]

    def write(self, folder: Path, network: QuantizedNetwork, config: PtqConfig) -> int:
        """Writes a network as ``quantize`` does, and returns the file's size."""
        from kaldi_quant.export.record import ARTEFACT_NAME, write_record
        from kaldi_quant.quant.divergence import divergence

        path = folder / ARTEFACT_NAME
        size, record = self._save(path, network, config, divergence(network, self.data.some()))
        write_record(folder, record, path)
        return size

    def _save(self, path: Path, network: QuantizedNetwork, config: PtqConfig, lost: Any) -> tuple[int, dict[str, Any]]:
        from kaldi_quant.export.artefact import save
        from kaldi_quant.export.record import make_record

        record = make_record(network, config, None, self.calibration, self.subsampling, lost)
        return save(path, network, self.model, record), record


def _write_config(path: Path, config: PtqConfig) -> None:
    """As YAML, which 'quantize --config' reads."""
    import yaml

    content = config.as_dict()
    content = {"description": content.pop("description"), **content}
    with atomic_write(path, "w") as stream:
        yaml.safe_dump(content, stream, sort_keys=False, width=120, allow_unicode=True, default_flow_style=None)
