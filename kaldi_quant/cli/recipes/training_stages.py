"""The folders of a training recipe, and the stages that all of them share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from kaldi_quant.cli.recipes.egs_options import more_options
from kaldi_quant.cli.recipes.experiment import Experiment
from kaldi_quant.cli.recipes.forward_pass import run_forward_pass
from kaldi_quant.cli.recipes.kaldi_folders import KaldiFolders, fault_of_examples
from kaldi_quant.cli.recipes.kaldi_stages import KaldiStages
from kaldi_quant.cli.recipes.model_step import model_sources
from kaldi_quant.cli.recipes.stages import Stages
from kaldi_quant.cli.recipes.training_options import RecipeArguments
from kaldi_quant.cli.recipes.verbs import call_verb, words_for
from kaldi_quant.errors import UsageError
from kaldi_quant.formats.names import ARTEFACT_NAME, DEQUANTIZED_NAME
from kaldi_quant.kaldi.companions import Companions
from kaldi_quant.kaldi.frame_subsampling import factor_of
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.made import Made, Sources, make

_log = logging.getLogger(__name__)

# What a model's folder holds for training, beside what goes with every model.
_FOR_TRAINING = ("0.trans_mdl", "den.fst", "normalization.fst")
# What training makes of the model that a result's folder begins with.
_RESULTS = ("final.mdl", ARTEFACT_NAME, DEQUANTIZED_NAME)
# What Kaldi's recipe for LibriSpeech trains on.
_TRAINING_DATA = "data/train_960_cleaned_sp_hires"
# Of train/checkpoint.py, which needs torch.
_CHECKPOINT_NAME = "checkpoint.pt"


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
        self.experiment = Experiment.enter(arguments.exp, here_if_recipe=True)
        self.defaults = self.experiment.defaults
        self.model = Path(arguments.kaldi_model_dir or self.defaults.model)
        if not (self.model / "final.mdl").is_file():
            raise UsageError(f"{Path.cwd() / self.model / 'final.mdl'} does not exist: see --kaldi-model-dir")
        self.out = Path(arguments.out_dir or f"{self.model}{affix}")
        more_options(arguments.egs_opts)
        self.egs = Path(arguments.egs_dir) if arguments.egs_dir else self._egs()
        if self.out.resolve() == self.model.resolve():
            raise UsageError(f"--dir {self.out} is the model's own folder: give another one for the result")
        self.log = self.out / "log"
        self.data, self.graph = self._decoded() if self.stages.last >= 7 else (Path(), Path())
        start = self.model / "final.mdl"
        self.subsampling = factor_of(read_model(start), arguments.frame_subsampling_factor)
        if self.stages.last >= 5:
            self._companions(self.kaldi_stages(None).made()).check(self.out, "0.mdl", _RESULTS)

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

    def _companions(self, made: Collection[str] = ()) -> Companions:
        """What goes from the Kaldi model's folder to the result's, but for what earlier stages have made there."""
        found = Companions.beside(self.model / "final.mdl", self.subsampling, _FOR_TRAINING)
        return replace(found, files={name: content for name, content in found.files.items() if name not in made})

    def initialize(self, cmd: str | None) -> None:
        """Stage 5: the result's folder begins as a copy of the Kaldi model's; what stage 3 has made stays there."""
        if not self.stages.begins(5):
            return
        made = self.kaldi_stages(cmd).made()
        self.stages.say(5, f"{self.out / '0.mdl'} is {self.model / 'final.mdl'}")
        self.out.mkdir(parents=True, exist_ok=True)
        self._companions(made).write(self.out, "0.mdl", _RESULTS)
        call_verb("copy", [self.model / "final.mdl", self.out / "0.mdl"], self.log / "copy.log")

    def decode(self, model: Path, cmd: str | None) -> None:
        """Stage 7: log-likelihoods, lattices and scores, as ``run_forward_pass.sh`` makes them.

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
            "model_dir": self.model,
            "model_file": model,
            "graph_dir": self.graph,
            "data_dir": self.data,
            "online_ivector_dir": given.online_ivector_dir,
            "ivector_extractor": given.ivector_extractor,
            "out_dir": out.absolute(),
            "nj": given.nj,
            "num_threads": given.num_threads,
            "cmd": cmd,
        }
        words = [*words_for(options), str(self.experiment.root)]
        run_forward_pass.main(words, prog_name="run_forward_pass.sh", standalone_mode=False)

    def sources(self) -> Sources:
        """What all trainings begin with."""
        return model_sources(self.out / "0.mdl", self.arguments.frame_subsampling_factor, "the initial model")


def train_unless_done(made: Made, work: Callable[[], Sequence[Path] | None], say: Callable[[str], None]) -> None:
    """Trains, goes on with a training that was interrupted, or keeps what is there.

    Args:
        made: the trained model.
        work: trains; it goes on from a checkpoint of the same training.
        say: is told what is done, and why.
    """
    if made.why_again() is not None and not made.is_unfinished():
        # Of another training: the verb would refuse it.
        for left in made.output.parent.glob(f"**/{_CHECKPOINT_NAME}"):
            left.unlink()
    make(made, work, say)
