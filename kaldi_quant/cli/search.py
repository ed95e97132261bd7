"""``kaldi-quant search MODEL CALIBRATION-RSPECIFIER DEV-RSPECIFIER OUT-DIR``: the best width for each layer."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kaldi_quant.atomic import atomic_write
from kaldi_quant.cli.calibration_amount import AmountArguments, amount_options
from kaldi_quant.cli.dev_scoring import ScoringArguments, scoring_options
from kaldi_quant.cli.feature_options import companions_of, feature_record
from kaldi_quant.cli.inference_options import InferenceArguments, inference_options
from kaldi_quant.cli.model_options import ModelArguments, model_options
from kaldi_quant.cli.options import KaldiCommand, arguments_of, check_number_of_utterances, hold_folder, result_folder
from kaldi_quant.cli.quantization_options import calibration_device, device_option, memory_option
from kaldi_quant.cli.search_options import SearchArguments, search_options
from kaldi_quant.cli.utterances import read_utterances, way_of_computing
from kaldi_quant.formats.names import ALLOCATION_NAME
from kaldi_quant.kaldi.frame_subsampling import factor_of
from kaldi_quant.made import program_digest
from kaldi_quant.units import Bytes

if TYPE_CHECKING:
    from kaldi_quant.kaldi.model import Model
    from kaldi_quant.nnet3.utterances import UtteranceSet
    from kaldi_quant.quant.config import PtqConfig
    from kaldi_quant.quant.network import QuantizedNetwork
    from kaldi_quant.quant.search.options import Budget
    from kaldi_quant.quant.search.result import Result

_log = logging.getLogger(__name__)

MEASUREMENTS_NAME, RESULT_NAME = "measurements.json", "search.json"


@click.command(cls=KaldiCommand)
@click.option(
    "--budget",
    required=True,
    help="A size (800 kB), mean bits per weight (3 bits), a divergence (0.05 nats), or a rise in word error rate "
    "(0.2 %WER).",
)
@search_options
@amount_options
@click.option(
    "--max-dev-utterances",
    type=int,
    default=40,
    show_default=True,
    help="Measure on this many development utterances; 0: all.",
)
@click.option(
    "--refine",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Decode with the N best allocations, and choose the one with the fewest word errors.",
)
@click.option(
    "--front",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Also measure N points of the predicted trade-off of size and divergence.",
)
@scoring_options
@memory_option("measuring")
@device_option()
@inference_options
@model_options
@click.argument("model")
@click.argument("calibration", metavar="CALIBRATION-RSPECIFIER")
@click.argument("dev", metavar="DEV-RSPECIFIER")
@click.argument("out_dir", metavar="OUT-DIR")
def command(
    budget: str,
    searched: SearchArguments,
    amount: AmountArguments,
    max_dev_utterances: int,
    refine: int,
    front: int,
    scoring: ScoringArguments,
    memory: Bytes,
    device: str,
    inference: InferenceArguments,
    models: ModelArguments,
    model: str,
    calibration: str,
    dev: str,
    out_dir: str,
) -> None:
    """Choose the bit width of each layer of MODEL: the least loss within a size, or the least size within a loss.

    Each layer is quantized in each width, the others in 8 bits, and the divergence from float is measured on
    DEV-RSPECIFIER: development data, never test data. An integer linear program picks one width for each layer. OUT-DIR
    gets allocation.yaml for --config of 'quantize' and 'qat', search.json with all that was measured, and the model
    quantized so. With --graph-dir and --data-dir its word error rate is measured on all of DEV-RSPECIFIER, as those of
    --refine and --front are. An interrupted search goes on where it was, and another budget in the same OUT-DIR
    measures nothing again.

    e.g.: kaldi-quant search --budget "3 bits" final.mdl scp:data/train_sub/feats.scp scp:data/dev/feats.scp exp/search
    """
    from kaldi_quant.formats.search_files import Artefacts
    from kaldi_quant.nnet3.preparation.prepared import Nnet3Source
    from kaldi_quant.quant.ptq import layer_configs
    from kaldi_quant.quant.search.cost_model import check_size
    from kaldi_quant.quant.search.measurements import Store
    from kaldi_quant.quant.search.outcome import Scoring
    from kaldi_quant.quant.search.result import run
    from kaldi_quant.quant.search.search import Search

    check_number_of_utterances("--max-dev-utterances", max_dev_utterances)
    wanted = _checked(searched, budget, refine, front, scoring.given)
    options, config = searched.options(), searched.resolved()
    place = calibration_device(device, config)
    folder = result_folder(out_dir)
    read = models.read(model)
    source = Nnet3Source(read.nnet)
    layer_configs(source, config)
    factor = factor_of(read, inference.frame_subsampling_factor)
    artefacts = Artefacts(
        read, companions_of(read, factor, inference), calibration, feature_record(model, read.nnet, inference)
    )
    artefacts.check(folder)
    check_size(wanted, options, config, source, artefacts.size)
    calibration_set = amount.of_table(read, calibration, inference, place)
    all_dev = read_utterances(read, dev, inference, place)
    dev_set = all_dev.some(max_dev_utterances) if max_dev_utterances else all_dev
    about = _about(read, options.measuring(config), options.base, calibration_set, dev_set)
    if calibration == dev:
        _log.info(
            "the calibration data is also the development data: this makes narrow widths look better than they are"
        )
    words = Scoring(all_dev, scoring.scorer(model, read)) if scoring.given else None
    about_words = {**scoring.about(), "decoded utterances": all_dev.content()} if words else None
    hold_folder(folder)
    store = Store(folder / MEASUREMENTS_NAME, about, about_words)
    search = Search(source, config, calibration_set, dev_set, store, options, artefacts.size, memory)

    def write(network: QuantizedNetwork, found: PtqConfig) -> Bytes:
        return artefacts.write(folder, network, found, calibration_set)

    click.echo(_written(folder, run(search, wanted, write, words, refine, front)), nl=False)


def check_budget(params: dict[str, Any]) -> None:
    """Refuses a budget, widths or a configuration that are impossible; a recipe calls it before any work.

    Args:
        params: the values of this verb's options.

    Raises:
        UsageError: one is impossible.
    """
    searched = arguments_of(SearchArguments, params)
    _checked(searched, params["budget"], params["refine"], params["front"], params["scoring_graph"] is not None)


def _checked(searched: SearchArguments, budget: str, refine: int, front: int, decodes: bool) -> Budget:
    from kaldi_quant.quant.search.options import parse_budget
    from kaldi_quant.quant.search.outcome import check_refinement

    wanted, options = parse_budget(budget), searched.options()
    options.check(wanted)
    options.measuring(searched.resolved())
    check_refinement(wanted, refine, front, decodes)
    return wanted


def _written(folder: Path, result: Result) -> str:
    """Writes what was found, and returns it as a table."""
    from kaldi_quant.formats.results import write_config
    from kaldi_quant.formats.sizes import bits_per_weight
    from kaldi_quant.report.search import as_text

    content = result.as_dict(bits_per_weight(result.outcome.network))
    write_config(folder / ALLOCATION_NAME, result.outcome.proposal.config)
    with atomic_write(folder / RESULT_NAME, "w") as stream:
        stream.write(json.dumps(content, indent=1) + "\n")
    return as_text(content)


def _about(
    model: Model,
    config: PtqConfig,
    base: Any,
    calibration: UtteranceSet,
    dev: UtteranceSet,
) -> dict[str, Any]:
    """What measurements depend on, under the names by which an error calls it."""
    return {
        "model": model.digest(),
        "configuration": {**config.as_dict(), "description": ""},
        "base": dataclasses.asdict(base),
        "calibration set": calibration.content(),
        "development set": dev.content(),
        "way of computing": way_of_computing(calibration),
        "program": program_digest(),
    }
