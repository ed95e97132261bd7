"""The Kaldi recipe that is meant, and the folders in it that no option names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.cli.recipes.stages import ROOT
from kaldi_quant.errors import UsageError

EXAMPLE = ROOT / "egs" / "alphadigits"


@dataclass(frozen=True)
class Defaults:
    """The folders that no option names, from the recipe's root.

    Args:
        model: of ``final.mdl``.
        graph: in the model's folder.
        data: what is scored.
        calibration: what activation ranges are found on.
        dev: what widths are chosen on.
        teacher: a better model of the same tree; None where there is none.
    """

    model: str
    graph: str
    data: str
    calibration: str
    dev: str = "data/dev_hires"
    teacher: str | None = None


_OF_EXAMPLE = Defaults(
    "exp/chain/tdnn1a_sp",
    "graph_alphadigits",
    "data/test_hires",
    "data/train_sub_hires",
    teacher="exp/chain/tdnnf1b_sp/final.mdl",
)
_OF_LIBRISPEECH = Defaults(
    "exp/chain_cleaned/tdnn_7k_1a_sp", "graph_tgsmall", "data/test_clean_hires", "data/train_960_cleaned_sp_hires"
)


@dataclass(frozen=True)
class Experiment:
    """A Kaldi recipe's root, to which the paths in Kaldi's scp files are relative: it is the current folder.

    Args:
        root: absolute.
        defaults: for folders that no option names.
    """

    root: Path
    defaults: Defaults

    @classmethod
    def enter(cls, folder: str | None, here_if_recipe: bool = False) -> Experiment:
        """Goes to the root of a recipe.

        Args:
            folder: as the user named it; None for the embedded example.
            here_if_recipe: take the current folder instead of the example where it is a recipe's root.

        Raises:
            UsageError: the folder does not exist.
        """
        if folder is not None:
            root = Path(folder).absolute()
        else:
            here = Path.cwd()
            is_recipe = here_if_recipe and (here / "exp").is_dir() and (here / "data").is_dir()
            root = here if is_recipe else EXAMPLE
        if not root.is_dir():
            raise UsageError(f"the experiment folder {folder} does not exist: give the root of a Kaldi recipe")
        os.chdir(root)
        return cls(root, _OF_EXAMPLE if root.resolve() == EXAMPLE else _OF_LIBRISPEECH)


def require_folder(path: Path, option: str) -> Path:
    """A folder that has to be there.

    Raises:
        UsageError: it is not.
    """
    if not path.is_dir():
        raise UsageError(f"there is no folder {path} in {Path.cwd()}: see {option}")
    return path


def require_file(path: Path, advice: str = "") -> Path:
    """A file that has to be there and hold something.

    Raises:
        UsageError: it does not.
    """
    if not path.is_file() or not path.stat().st_size:
        raise UsageError(f"{Path.cwd() / path} is missing or empty{advice and ': '}{advice}")
    return path


def data_apart(folder: Path, scored: Path, purpose: str, option: str) -> Path:
    """A data folder whose features decide on a model, so that it cannot be the one that is scored.

    Args:
        folder: the data folder.
        scored: the one that is scored.
        purpose: such as ``"calibrate on"``.
        option: that names the folder.

    Raises:
        UsageError: it has no features, or is the one that is scored.
    """
    require_file(folder / "feats.scp", f"give the data to {purpose} with {option}")
    require_apart(folder, scored, purpose)
    return folder


def require_apart(folder: Path, scored: Path, purpose: str) -> None:
    """Refuses the data that is scored; arguments as above.

    Raises:
        UsageError: it is this folder.
    """
    if scored.exists() and folder.samefile(scored):
        raise UsageError(f"{folder} is the data that is scored: {purpose} other data, or the result says nothing")
