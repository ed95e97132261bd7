"""``run_tdnn.py`` and ``run_tdnn_qat.py``: from a Kaldi model and examples to a trained model and its scores."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click

from kaldi_quant.cli.inference_options import subsampling_of
from kaldi_quant.cli.options import KaldiCommand, grouped_options
from kaldi_quant.cli.recipes.egs_options import more_words
from kaldi_quant.cli.recipes.kaldi_folders import KaldiFolders, fault_of_examples
from kaldi_quant.cli.recipes.kaldi_stages import KaldiStages
from kaldi_quant.cli.recipes.stages import ROOT, STAGES, Stages, run, run_verb
from kaldi_quant.cli.training_options import TrainingArguments, training_options
from kaldi_quant.errors import UsageError

_log = logging.getLogger(__name__)

# What a model's folder holds beside the model, for training and decoding.
_COMPANIONS = (
    "tree",
    "0.trans_mdl",
    "den.fst",
    "normalization.fst",
    "phones.txt",
    "cmvn_opts",
    "frame_subsampling_factor",
)

_EXAMPLE = ROOT / "egs" / "alphadigits"


class Defaults(NamedTuple):
    """The folders of a recipe that no option names."""

    model: str
    graph: str
    data: str
    calibration: str


# What Kaldi's recipe for LibriSpeech trains on.
_TRAINING_DATA = "data/train_960_cleaned_sp_hires"

# As in local/experiment.sh.
_OF_EXAMPLE = Defaults("exp/chain/tdnn1a_sp", "graph_alphadigits", "data/test_hires", "data/train_sub_hires")
_OF_LIBRISPEECH = Defaults("exp/chain_cleaned/tdnn_7k_1a_sp", "graph_tgsmall", "data/test_clean_hires", _TRAINING_DATA)

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
    click.option("--graph-dir", metavar="DIR", help="With HCLG.fst and words.txt, to decode with."),
    click.option("--data-dir", metavar="DIR", help="What is decoded and scored: feats.scp or wav.scp, and text."),
    click.option("--online-ivector-dir", metavar="DIR", help="i-vectors of it; by default exp/nnet3*/ivectors_<data>."),
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
    graph_dir: str | None
    data_dir: str | None
    online_ivector_dir: str | None
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
    exp: str | None


#: Decorator: the recipe gets these options, and their values as its argument ``recipe``.
recipe_options = grouped_options("recipe", RecipeArguments, _OPTIONS)


class Recipe:
    """The folders of a run, and the stages that all training recipes share. Goes to the root of the Kaldi recipe.

    Args:
        arguments: the values of the options.
        affix: of the result's folder, where none is given.

    Raises:
        UsageError: a folder that is needed does not exist.
    """

    def __init__(self, arguments: RecipeArguments, affix: str) -> None:
        self.arguments = arguments
        self.stages = Stages(arguments.stage, arguments.stop_stage)
        root = _root_of(arguments.exp)
        os.chdir(root)
        self.defaults = _OF_EXAMPLE if root.resolve() == _EXAMPLE else _OF_LIBRISPEECH
        self.model = Path(arguments.kaldi_model_dir or self.defaults.model)
        if not (self.model / "final.mdl").is_file():
            raise UsageError(f"{root / self.model / 'final.mdl'} does not exist: see --kaldi-model-dir")
        self.out = Path(arguments.out_dir or f"{self.model}{affix}")
        more_words(arguments.egs_opts)
        self.egs = Path(arguments.egs_dir) if arguments.egs_dir else self._egs()
        if self.out.resolve() == self.model.resolve():
            raise UsageError(f"--dir {self.out} is the model's own folder: give another one for the result")
        self.log = self.out / "log"
        self.data, self.graph = self._decoded() if self.stages.last >= 7 else (Path(), Path())
        self.subsampling = subsampling_of(str(self.model / "final.mdl"))

    def _egs(self) -> Path:
        """The examples that no option names: the model's, if they are complete, or else those of stage 4."""
        own, made = self.model / "egs", self.out / "egs"
        if made.is_dir():
            return made
        if not self.stages.begins(4):
            return own
        fault = fault_of_examples(own) if own.is_dir() else None
        if fault:
            _log.warning("%s: stage 4 makes others in %s", fault, made)
        return made if fault or not own.is_dir() else own

    def _decoded(self) -> tuple[Path, Path]:
        """The data and the graph of stage 7, looked for before anything is trained."""
        given = self.arguments
        data = Path(given.data_dir or self.defaults.data)
        graph = Path(given.graph_dir or self.model / self.defaults.graph)
        for path, option in ((data / "text", "--data-dir"), (graph / "HCLG.fst", "--graph-dir")):
            if not path.is_file():
                raise UsageError(
                    f"{Path.cwd() / path} does not exist: see {option}, or end before decoding with --stop-stage 6"
                )
        return data, graph

    def kaldi_stages(self, cmd: str | None) -> KaldiStages:
        """Stages 0 to 4.

        Args:
            cmd: runs the jobs of Kaldi's scripts; by default run.pl.
        """
        given = self.arguments
        train = given.train_data_dir or _TRAINING_DATA
        gmm = Path(given.gmm_dir)
        folders = KaldiFolders(
            self.model,
            self.out,
            Path(given.lang),
            Path(given.lang_chain),
            gmm,
            Path(given.ali_dir or f"{gmm}_ali_{Path(train).name.removesuffix('_hires')}"),
            Path(given.lat_dir or f"{self.model.parent}/{gmm.name}_{Path(train).name.removesuffix('_hires')}_lats"),
            Path(given.tree_dir or self.model.parent / "tree_sp"),
            Path(train),
            Path(given.lores_train_data_dir or train.removesuffix("_hires")),
            given.train_ivector_dir,
            self.egs,
        )
        leaves, jobs, options = given.num_leaves, given.nj, given.egs_opts
        return KaldiStages(folders, self.stages, self.subsampling, leaves, jobs, cmd or "run.pl", self.log, options)

    def initialize(self, cmd: str | None) -> None:
        """Stage 5: the result's folder begins as a copy of the Kaldi model's; what stage 3 has made stays there."""
        if not self.stages.begins(5):
            return
        made = self.kaldi_stages(cmd).made()
        self.stages.say(5, f"{self.out / '0.mdl'} is {self.model / 'final.mdl'}")
        self.out.mkdir(parents=True, exist_ok=True)
        for name in _COMPANIONS:
            if (self.model / name).is_file() and name not in made:
                shutil.copyfile(self.model / name, self.out / name)
        run_verb("copy", [self.model / "final.mdl", self.out / "0.mdl"], self.log / "copy.log")

    def decode(self, model: Path, cmd: str | None) -> None:
        """Stage 7: log-likelihoods, lattices and scores by ``run_forward_pass.sh``.

        Args:
            model: the trained model.
            cmd: runs the jobs, where it is given.
        """
        if not self.stages.begins(7):
            return
        given = self.arguments
        out = self.out / f"decode_{self.data.name}"
        self.stages.say(7, f"{model} on {self.data}")
        options = {
            "model-dir": self.model,
            "model-file": model,
            "graph-dir": self.graph,
            "data-dir": self.data,
            "online-ivector-dir": given.online_ivector_dir,
            "out-dir": out.absolute(),
            "nj": given.nj,
            "cmd": cmd,
        }
        words = [str(word) for name, value in options.items() if value is not None for word in (f"--{name}", value)]
        run(["bash", ROOT / "run_forward_pass.sh", *words, Path.cwd()], name="run_forward_pass.sh")


def _root_of(exp: str | None) -> Path:
    """The Kaldi recipe's root: the folder that was given, or else the current one if it is one, or the example."""
    if exp is not None:
        if not Path(exp).is_dir():
            raise UsageError(f"the experiment folder {exp} does not exist: give the root of a Kaldi recipe")
        return Path(exp).absolute()
    here = Path.cwd()
    return here if (here / "exp").is_dir() and (here / "data").is_dir() else _EXAMPLE


def words_of(arguments: Any) -> list[str]:
    """Options as a command line has them, of a dataclass of options' values; those without a value are left out."""
    words = []
    for entry in dataclasses.fields(arguments):
        value = getattr(arguments, entry.name)
        if value is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            words.append(f"--{entry.name.replace('_', '-')}={text}")
    return words


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
        steps.stages.say(6, f"{steps.out / '0.mdl'} on {steps.egs}")
        run_verb("train", [*words_of(training), steps.out / "0.mdl", steps.egs, steps.out], steps.log / "train.log")
    steps.decode(result, training.cmd)
