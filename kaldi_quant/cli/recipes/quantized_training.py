"""``run_tdnn_qat.py``: from a Kaldi model and examples to an integer model and its scores."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import click

from kaldi_quant.cli.export import parse_formats
from kaldi_quant.cli.inference_options import InferenceArguments
from kaldi_quant.cli.options import KaldiCommand, arguments_of
from kaldi_quant.cli.qat import command as qat_verb
from kaldi_quant.cli.qat_options import QatArguments, WidthArguments, check_loop, qat_options, width_options
from kaldi_quant.cli.quantization_options import QuantizationArguments, quantization_options
from kaldi_quant.cli.recipes.experiment import require_apart
from kaldi_quant.cli.recipes.ivectors import IVECTOR_OPTIONS, Ivectors
from kaldi_quant.cli.recipes.model_step import feature_sources
from kaldi_quant.cli.recipes.passed_options import parsed, passed_options
from kaldi_quant.cli.recipes.quantization import export
from kaldi_quant.cli.recipes.training import TRAINING_WITHOUT_EFFECT, shared_words, training_files
from kaldi_quant.cli.recipes.training_options import RecipeArguments, recipe_options
from kaldi_quant.cli.recipes.training_stages import Recipe, train_unless_done
from kaldi_quant.cli.recipes.verbs import call_verb, settings_of, words_for, words_of
from kaldi_quant.cli.training_options import TrainingArguments, training_options
from kaldi_quant.errors import UsageError
from kaldi_quant.formats.names import ARTEFACT_NAME, RECORD_NAME
from kaldi_quant.made import Made, Sources, make

# How features become what the network takes, and how it computes them.
_COMPUTING = [
    field.name
    for field in dataclasses.fields(InferenceArguments)
    if field.name not in (*IVECTOR_OPTIONS, "frame_subsampling_factor", "num_threads")
]


@click.command(cls=KaldiCommand)
@recipe_options
@quantization_options
@training_options
@qat_options
@width_options
@passed_options("computing", qat_verb, _COMPUTING)
@click.option(
    "--calibration-dir",
    metavar="DIR",
    help="Data folder that activation ranges are measured on, never test data; by default, the training data.",
)
@click.option("--calibration-ivector-dir", metavar="DIR", help="Its i-vectors, for models that need them.")
@click.option(
    "--distil",
    is_flag=True,
    help="Learn from the float model's outputs on the calibration data alone, without examples and labels.",
)
@click.option(
    "--formats", metavar="LIST", help="What is exported: mdl,onnx; none for nothing; by default, all that it has."
)
@click.option(
    "--fixed-frames",
    type=click.IntRange(min=1),
    default=150,
    show_default=True,
    help="Frames of the ONNX model of fixed length.",
)
def run_tdnn_qat(
    recipe: RecipeArguments,
    quantization: QuantizationArguments,
    training: TrainingArguments,
    qat: QatArguments,
    learned: WidthArguments,
    computing: dict[str, Any],
    calibration_dir: str | None,
    calibration_ivector_dir: str | None,
    distil: bool,
    formats: str | None,
    fixed_frames: int,
) -> None:
    """Train the model of a Kaldi recipe quantization-aware, export, decode and score it.

    EXP-FOLDER is the root of the recipe: by default the current folder, or the embedded example. What is there and was
    made from the same files with the same options is kept; a training that was interrupted goes on.

    e.g.: local/run_tdnn_qat.py --stage 5 --lr-initial 1e-5 --lr-final 5e-6 --graph-dir exp/chain/tree_sp/graph_tgsmall
    --kaldi-model-dir exp/chain_cleaned/tdnn_7k_1a_sp
    """
    if formats != "none":
        parse_formats(formats)
    learned.options()
    check_loop(training, qat, learned, not distil)
    config = learned.without_bits(quantization).resolve()[1]
    weights = learned.learn_widths.replace(" ", "") + "_" if learned.learn_widths else str(quantization.bits or 8)
    widths = f"w{weights}a{quantization.act_bits or 8}"
    steps = Recipe(recipe, f"_qat_{widths}{'_distilled' if distil else ''}")
    data, ivectors = Path(), Ivectors()
    if steps.stages.begins(6):
        data = calibration_data(steps, calibration_dir)
        ivectors = _ivectors(steps, data, calibration_ivector_dir, computing.get("allow_pipes", False))
    if not distil:
        steps.kaldi_stages(training.cmd).run()
    steps.initialize(training.cmd)
    artefact = steps.out / ARTEFACT_NAME
    if steps.stages.begins(6):
        features = f"scp:{data}/feats.scp"
        options = [*words_of(quantization), *words_of(training), *words_of(qat), *words_of(learned)]
        options += [*words_for(computing), *shared_words(recipe), *ivectors.words]
        words: list[str | Path] = [
            *options,
            *([] if distil else [f"--egs-dir={steps.egs}"]),
            steps.out / "0.mdl",
            features,
            steps.out,
        ]
        inference = arguments_of(InferenceArguments, parsed(qat_verb, words))
        settings = {
            **settings_of(training, TRAINING_WITHOUT_EFFECT),
            **settings_of(qat, ["teacher"]),
            **settings_of(learned),
            "the configuration": config.as_dict(),
            "--max-utterances": quantization.max_utterances,
            "--calibration-frames": quantization.calibration_frames,
        }
        files = {
            "the teacher": [Path(qat.teacher)] if qat.teacher else [],
            **({} if distil else training_files(training, steps)),
        }

        def train() -> list[Path]:
            steps.stages.say(6, f"{steps.out / '0.mdl'} on {data if distil else steps.egs}, {widths}")
            call_verb("qat", words, steps.log / "qat.log")
            return [steps.out / RECORD_NAME]

        sources = steps.sources() | Sources(settings, files)
        sources |= feature_sources(inference, steps.out / "0.mdl", features, ivectors, "calibration ")
        if qat.held_out:
            sources |= feature_sources(inference, steps.out / "0.mdl", qat.held_out, Ivectors(), "held-out ")
        made = Made(artefact, sources, f"the integer model {artefact}")
        say = partial(steps.stages.say, 6)
        train_unless_done(made, train, say)
        export(artefact, formats, fixed_frames, steps.log, lambda made, work, _: make(made, work, say))
    steps.decode(artefact, training.cmd)


def calibration_data(steps: Recipe, given: str | None) -> Path:
    """The folder to calibrate on, looked for before anything is made.

    Args:
        steps: the recipe.
        given: what the option names; by default the training data, where they are named, or else the recipe's own.

    Raises:
        UsageError: it has no features, or is what is scored.
    """
    data = Path(given or steps.arguments.train_data_dir or steps.defaults.calibration)
    if not (data / "feats.scp").is_file():
        raise UsageError(
            f"{Path.cwd() / data / 'feats.scp'} does not exist: give the data to calibrate on with --calibration-dir, "
            "or end before training with --stop-stage 5"
        )
    if steps.stages.begins(7):
        require_apart(data, steps.data, "calibrate on")
    return data


def _ivectors(steps: Recipe, data: Path, given: str | None, allow_pipes: bool) -> Ivectors:
    """The i-vectors of the calibration data: those of the training data, if it is these."""
    training = steps.arguments.train_data_dir
    folder = given or (steps.arguments.train_ivector_dir if training and data == Path(training) else "")
    model, extractor = steps.model / "final.mdl", steps.arguments.ivector_extractor
    if extractor and not folder:
        return Ivectors.extracted(model, extractor)
    return Ivectors.in_folder(model, data, folder or None, "--calibration-ivector-dir", allow_pipes)
