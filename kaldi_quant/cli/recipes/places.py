"""The folders that a run reads and writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.cli.recipes.experiment import Experiment, require_file, require_folder
from kaldi_quant.cli.recipes.forward_pass_options import FolderArguments
from kaldi_quant.decode.checks import require_graph
from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.recipe_folders import mfcc_config_of


@dataclass(frozen=True)
class Places:
    """The folders of a run, from the recipe's root.

    Args:
        model: of ``final.mdl``, whose transition model decodes.
        graph: of ``HCLG.fst``.
        data: what is scored.
        out: for the results, absolute.
    """

    model: Path
    graph: Path
    data: Path
    out: Path

    @classmethod
    def of(cls, given: FolderArguments, experiment: Experiment, here: Path, model_name: str = "") -> Places:
        """The folders that were named, and the others by default.

        Args:
            given: the values of the options.
            experiment: the recipe.
            here: where the user called it.
            model_name: what is appended to the output folder's name.
        """
        defaults = experiment.defaults
        model = Path(given.model_dir or defaults.model)
        data = Path(given.data_dir or defaults.data)
        name = f"decode_{data.name}{model_name and '_'}{model_name}{given.affix}"
        out = here / given.out_dir if given.out_dir else experiment.root / model / name
        return cls(model, Path(given.graph_dir) if given.graph_dir else model / defaults.graph, data, out)

    def check(self) -> None:
        """Looks for what is read, before any work.

        Raises:
            UsageError: something is missing.
        """
        for folder, option in ((self.model, "--model-dir"), (self.graph, "--graph-dir"), (self.data, "--data-dir")):
            require_folder(folder, option)
        require_graph(self.graph / "HCLG.fst")
        for path in (self.model / "final.mdl", self.graph / "HCLG.fst", self.graph / "words.txt", self.data / "text"):
            require_file(path)
        if not any((self.data / name).is_file() for name in ("feats.scp", "wav.scp")):
            raise UsageError(f"{Path.cwd() / self.data} has neither feats.scp nor wav.scp")


def mfcc_config(given: FolderArguments, model: Path) -> Path:
    """How features are made: as an option says, or as is said beside the model, or by the recipe's own configuration.

    Args:
        given: the values of the options.
        model: the model's folder.
    """
    return Path(given.mfcc_config) if given.mfcc_config else mfcc_config_of(model) or Path("conf/mfcc_hires.conf")
