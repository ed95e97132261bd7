"""``run_tdnn.py``: from a Kaldi model and examples to a fine-tuned model and its scores."""

from __future__ import annotations

from pathlib import Path

import click

from kaldi_quant.cli.options import KaldiCommand
from kaldi_quant.cli.recipes.training_options import RecipeArguments, recipe_options
from kaldi_quant.cli.recipes.training_stages import Recipe, train_unless_done
from kaldi_quant.cli.recipes.verbs import call_verb, settings_of, words_for, words_of
from kaldi_quant.cli.training_options import TrainingArguments, training_options
from kaldi_quant.kaldi.egs_folder import EgsFolder
from kaldi_quant.made import Made, Sources

#: Options of training that do not change its result.
TRAINING_WITHOUT_EFFECT = ("cmd", "den_fst", "mfcc_config")


def training_files(training: TrainingArguments, steps: Recipe) -> dict[str, list[Path]]:
    """The files that training on examples depends on, beside the model.

    Args:
        training: the values of the options.
        steps: the recipe.

    Raises:
        KaldiQuantError: there are no examples, or not all that are announced.
    """
    denominator = Path(training.denominator(str(steps.out / "0.mdl"), str(steps.egs)))
    config = [] if training.mfcc_config is None else [Path(training.mfcc_config)]
    return {
        "the examples": list(EgsFolder.find(steps.egs).files()),
        "the denominator": [denominator],
        "the configuration of MFCC": config,
    }


def shared_words(recipe: RecipeArguments) -> list[str]:
    """The options of a recipe that verbs take, too, as these take them."""
    names = ("frame_subsampling_factor", "num_threads")
    return words_for({name: getattr(recipe, name) for name in names})


@click.command(cls=KaldiCommand)
@recipe_options
@training_options
def run_tdnn(recipe: RecipeArguments, training: TrainingArguments) -> None:
    """Fine-tune the model of a Kaldi recipe with LF-MMI, decode and score it.

    EXP-FOLDER is the root of the recipe: by default the current folder, or the embedded example.

    e.g.: local/run_tdnn.py --stage 5 --lr-initial 1e-5 --lr-final 5e-6 --graph-dir exp/chain/tree_sp/graph_tgsmall
    --kaldi-model-dir exp/chain_cleaned/tdnn_7k_1a_sp
    """
    steps = Recipe(recipe, "_tuned")
    steps.kaldi_stages(training.cmd).run()
    steps.initialize(training.cmd)
    result = steps.out / "final.mdl"
    if steps.stages.begins(6):
        words: list[str | Path] = [
            *words_of(training),
            *shared_words(recipe),
            steps.out / "0.mdl",
            steps.egs,
            steps.out,
        ]

        def train() -> None:
            steps.stages.say(6, f"{steps.out / '0.mdl'} on {steps.egs}")
            call_verb("train", words, steps.log / "train.log")

        settings = settings_of(training, TRAINING_WITHOUT_EFFECT)
        sources = steps.sources() | Sources(settings, training_files(training, steps))
        made = Made(result, sources, f"the trained model {result}")
        train_unless_done(made, train, lambda text: steps.stages.say(6, text))
    steps.decode(result, training.cmd)
