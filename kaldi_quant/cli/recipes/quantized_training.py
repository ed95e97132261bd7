"""``run_tdnn_qat.py``: from a Kaldi model and examples to an integer model and its scores."""

from __future__ import annotations

from pathlib import Path

import click

from kaldi_quant.cli.options import KaldiCommand
from kaldi_quant.cli.qat_options import QatArguments, WidthArguments, qat_options, width_options
from kaldi_quant.cli.quantization_options import QuantizationArguments, quantization_options
from kaldi_quant.cli.recipes.kaldi_folders import first_line
from kaldi_quant.cli.recipes.stages import run_verb
from kaldi_quant.cli.recipes.training import Recipe, RecipeArguments, recipe_options, words_of
from kaldi_quant.cli.training_options import TrainingArguments, training_options
from kaldi_quant.errors import UsageError

ARTEFACT_NAME = "quantized.safetensors"


@click.command(cls=KaldiCommand)
@recipe_options
@quantization_options
@training_options
@qat_options
@width_options
@click.option("--calibration-dir", metavar="DIR", help="Data folder that activation ranges are found on; not test.")
@click.option("--calibration-ivector-dir", metavar="DIR", help="Its i-vectors, for models that need them.")
@click.option(
    "--distil",
    is_flag=True,
    help="Learn from the float model's outputs on the calibration data alone, without examples and labels.",
)
@click.option("--formats", default="mdl,onnx", show_default=True, help="What is exported: mdl, onnx.")
def run_tdnn_qat(
    recipe: RecipeArguments,
    quantization: QuantizationArguments,
    training: TrainingArguments,
    qat: QatArguments,
    learned: WidthArguments,
    calibration_dir: str | None,
    calibration_ivector_dir: str | None,
    distil: bool,
    formats: str,
) -> None:
    """Train the model of a Kaldi recipe quantization-aware, export, decode and score it.

    EXP-FOLDER is the root of the recipe: by default the current folder, or the embedded example.

    e.g.: local/run_tdnn_qat.py --stage 5 --lr-initial 1e-5 --lr-final 5e-6 --graph-dir exp/chain/tree_sp/graph_tgsmall
    --kaldi-model-dir exp/chain_cleaned/tdnn_7k_1a_sp
    """
    weights = learned.learn_widths.replace(" ", "") + "_" if learned.learn_widths else str(quantization.bits or 8)
    widths = f"w{weights}a{quantization.act_bits or 8}"
    steps = Recipe(recipe, f"_qat_{widths}{'_distilled' if distil else ''}")
    data, ivectors = Path(), list[str]()
    if steps.stages.begins(6):
        data = calibration_data(steps, calibration_dir)
        ivectors = _ivector_options(steps, data, calibration_ivector_dir)
    if not distil:
        steps.kaldi_stages(training.cmd).run()
    steps.initialize(training.cmd)
    if steps.stages.begins(6):
        source = [] if distil else [f"--egs-dir={steps.egs}"]
        steps.stages.say(6, f"{steps.out / '0.mdl'} on {data if distil else steps.egs}, {widths}")
        options = [*words_of(quantization), *words_of(training), *words_of(qat), *words_of(learned), *source, *ivectors]
        places: list[str | Path] = [steps.out / "0.mdl", f"scp:{data}/feats.scp", steps.out]
        run_verb("qat", [*options, *places], steps.log / "qat.log")
        export: list[str | Path] = [f"--formats={formats}", steps.out / ARTEFACT_NAME, steps.out]
        run_verb("export", export, steps.log / "export.log")
    steps.decode(steps.out / ARTEFACT_NAME, training.cmd)


def calibration_data(steps: Recipe, given: str | None) -> Path:
    """The folder to calibrate on, looked for before anything is made.

    Args:
        steps: the recipe.
        given: what the option names; by default the training data, where they are named, or else the recipe's own.

    Raises:
        UsageError: it has no features.
    """
    data = Path(given or steps.arguments.train_data_dir or steps.defaults.calibration)
    if not (data / "feats.scp").is_file():
        raise UsageError(
            f"{Path.cwd() / data / 'feats.scp'} does not exist: give the data to calibrate on with --calibration-dir, "
            "or end before training with --stop-stage 5"
        )
    return data


def _ivector_options(steps: Recipe, data: Path, given: str | None) -> list[str]:
    """Options of 'qat' for the i-vectors of the calibration data: those of the training data, if it is these."""
    training = steps.arguments.train_data_dir
    folder = given or (steps.arguments.train_ivector_dir if training and data == Path(training) else "")
    if not folder:
        return []
    for name in ("ivector_online.scp", "ivector_period"):
        if not Path(folder, name).is_file():
            raise UsageError(f"{folder}/{name} does not exist: see --calibration-ivector-dir")
    period = first_line(Path(folder, "ivector_period"))
    return [f"--online-ivectors=scp:{folder}/ivector_online.scp", f"--online-ivector-period={period}"]
