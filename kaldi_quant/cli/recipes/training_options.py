"""Options of the training recipes: which stages, and the folders of a Kaldi recipe."""

from __future__ import annotations

from dataclasses import dataclass

import click

from kaldi_quant.cli.options import frame_subsampling_option, grouped_options, num_threads_option
from kaldi_quant.cli.recipes.stages import STAGES

_COUNT = click.IntRange(min=1)
_OPTIONS = (
    click.option("--stage", type=int, default=0, show_default=True, help=f"Begin with this one: {', '.join(STAGES)}."),
    click.option("--stop-stage", type=int, default=len(STAGES) - 1, show_default=True, help="End with this one."),
    click.option("--kaldi-model-dir", metavar="DIR", help="Of the trained model: final.mdl, tree, den.fst."),
    click.option("--dir", "out_dir", metavar="DIR", help="For the result; by default beside the Kaldi model's."),
    click.option(
        "--egs-dir",
        metavar="DIR",
        help="Chain examples; by default egs in the Kaldi model's folder, or what stage 4 makes in the result's.",
    ),
    frame_subsampling_option("the Kaldi model's folder"),
    click.option("--graph-dir", metavar="DIR", help="With HCLG.fst and words.txt, to decode with."),
    click.option("--data-dir", metavar="DIR", help="What is decoded and scored: feats.scp or wav.scp, and text."),
    click.option("--online-ivector-dir", metavar="DIR", help="i-vectors of it; by default exp/nnet3*/ivectors_<data>."),
    click.option("--ivector-extractor", metavar="CONF", help="Extracts i-vectors of what is decoded, calibrated on."),
    click.option("--lang", default="data/lang", show_default=True, metavar="DIR", help="Of the GMM system."),
    click.option("--lang-chain", default="data/lang_chain", show_default=True, metavar="DIR", help="Stage 0 makes it."),
    click.option("--gmm-dir", default="exp/tri6b_cleaned", show_default=True, metavar="DIR", help="The GMM system."),
    click.option("--ali-dir", metavar="DIR", help="Alignments for the tree; by default those of the GMM system."),
    click.option("--lat-dir", metavar="DIR", help="Lattices of the training data; stage 1 makes them."),
    click.option("--tree-dir", metavar="DIR", help="Stage 2 makes it where the model's folder has no tree."),
    click.option("--train-data-dir", metavar="DIR", help="Training features of the chain model."),
    click.option("--lores-train-data-dir", metavar="DIR", help="Training features of the GMM system."),
    click.option("--train-ivector-dir", default="", metavar="DIR", help="i-vectors of the training data."),
    click.option(
        "--egs-opts", default="", metavar="OPTIONS", help="For get_egs.sh, such as '--frames-per-iter 100000'."
    ),
    click.option("--num-leaves", type=_COUNT, default=7000, show_default=True, help="Of a tree that has to be built."),
    click.option("--nj", type=_COUNT, default=4, show_default=True, help="Jobs of Kaldi's scripts and of decoding."),
    num_threads_option(),
    click.argument("exp", metavar="[EXP-FOLDER]", required=False),
)


@dataclass(frozen=True)
class RecipeArguments:
    """The values of these options."""

    stage: int
    stop_stage: int
    kaldi_model_dir: str | None
    out_dir: str | None
    egs_dir: str | None
    frame_subsampling_factor: int | None
    graph_dir: str | None
    data_dir: str | None
    online_ivector_dir: str | None
    ivector_extractor: str | None
    lang: str
    lang_chain: str
    gmm_dir: str
    ali_dir: str | None
    lat_dir: str | None
    tree_dir: str | None
    train_data_dir: str | None
    lores_train_data_dir: str | None
    train_ivector_dir: str
    egs_opts: str
    num_leaves: int
    nj: int
    num_threads: int
    exp: str | None


#: Decorator: the recipe gets these options, and their values as its argument ``recipe``.
recipe_options = grouped_options("recipe", RecipeArguments, _OPTIONS)
