"""``run_tdnn_qat.py``: from a Kaldi model and examples to an integer model and its scores."""

from __future__ import annotations

from pathlib import Path

import click

from kaldi_quant.cli.options import KaldiCommand
from kaldi_quant.cli.qat_options import QatArguments, WidthArguments, qat_options, width_options
from kaldi_quant.cli.quantization_options import QuantizationArguments, quantization_options
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
    if not distil:
        steps.make_examples(training.cmd)
    steps.initialize()
    if steps.stages.begins(6):
        data = Path(calibration_dir or steps.defaults.calibration)
        if not (data / "feats.scp").is_file():
            raise UsageError(
                f"{data / 'feats.scp'} does not exist: give the data to calibrate on with --calibration-dir"
            )
        source = [] if distil else [f"--egs-dir={steps.egs}"]
        steps.stages.say(6, f"{steps.out / '0.mdl'} on {data if distil else steps.egs}, {widths}")
        if calibration_ivector_dir:
            period = Path(calibration_ivector_dir, "ivector_period").read_text().strip()
            source.append(f"--online-ivectors=scp:{calibration_ivector_dir}/ivector_online.scp")
            source.append(f"--online-ivector-period={period}")
        options = [*words_of(quantization), *words_of(training), *words_of(qat), *words_of(learned), *source]
        places: list[str | Path] = [steps.out / "0.mdl", f"scp:{data}/feats.scp", steps.out]
        run_verb("qat", [*options, *places], steps.log / "qat.log")
        export: list[str | Path] = [f"--formats={formats}", steps.out / ARTEFACT_NAME, steps.out]
        run_verb("export", export, steps.log / "export.log")
    steps.decode(steps.out / ARTEFACT_NAME, training.cmd)
