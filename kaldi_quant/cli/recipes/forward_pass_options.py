"""Options of the recipes that compute log-likelihoods, decode and score."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from kaldi_quant.cli.decoding_options import DecodingArguments, ScoringArguments, decoding_options, scoring_options
from kaldi_quant.cli.inference_options import InferenceArguments, inference_options
from kaldi_quant.cli.options import backend_option, grouped_options
from kaldi_quant.cli.recipes.stages import kaldi_root
from kaldi_quant.decode.options import DecodeOptions, ScoreOptions

# Of cmd.sh.
_DECODE_CMD = "decode_cmd"

_FOLDER_OPTIONS = (
    click.option("--nj", type=int, default=4, show_default=True, help="Number of jobs of the decoding."),
    click.option("--affix", default="", metavar="TEXT", help="Appended to the name of the output folder."),
    click.option(
        "--model-dir",
        metavar="DIR",
        help="Folder of final.mdl, from EXP-FOLDER; by default that of the LibriSpeech recipe, exp/chain_cleaned/"
        "tdnn_7k_1a_sp, or of the example.",
    ),
    click.option(
        "--graph-dir", metavar="DIR", help="Folder of HCLG.fst and words.txt; by default MODEL-DIR/graph_tgsmall."
    ),
    click.option(
        "--data-dir", metavar="DIR", help="Data folder, with feats.scp or wav.scp; by default data/test_clean_hires."
    ),
    click.option("--out-dir", metavar="DIR", help="Output folder, from the current one; by default as said above."),
    click.option(
        "--cmd",
        metavar="CMD",
        help='How jobs run where KALDI_ROOT is set, such as "queue.pl --mem 4G"; by default as cmd.sh says.',
    ),
    click.option(
        "--mfcc-config",
        metavar="FILE",
        help="How features were made, or are; by default what lies beside the model, or conf/mfcc_hires.conf.",
    ),
    click.option(
        "--online-ivector-dir",
        metavar="DIR",
        help="For models with an i-vector input; by default the folder exp/nnet3*/ivectors_DATA that fits the model.",
    ),
)


@dataclass(frozen=True)
class FolderArguments:
    """The values of these options."""

    nj: int
    affix: str
    model_dir: str | None
    graph_dir: str | None
    data_dir: str | None
    out_dir: str | None
    cmd: str | None
    mfcc_config: str | None
    online_ivector_dir: str | None


@dataclass(frozen=True)
class ForwardPassArguments:
    """The values of all options that these recipes have in common."""

    folders: FolderArguments
    inference: InferenceArguments
    decoding: DecodingArguments
    scoring: ScoringArguments
    backend: str

    @property
    def cmd(self) -> str | None:
        """How jobs run; ``decode_cmd`` of cmd.sh where Kaldi's programs do the work."""
        return self.folders.cmd or (os.environ.get(_DECODE_CMD) if kaldi_root() else None)

    def decode_options(self) -> DecodeOptions:
        """How to decode.

        Raises:
            UsageError: a value is impossible.
        """
        return self.decoding.options(
            self.folders.nj, self.backend, self.cmd, self.inference.max_bad_share, self.inference.allow_pipes
        )

    def score_options(self) -> ScoreOptions:
        """How to score.

        Raises:
            UsageError: a value is impossible.
        """
        return self.scoring.options(self.backend, self.cmd)

    def check(self) -> None:
        """Refuses impossible values before any work.

        Raises:
            UsageError: there is one.
        """
        self.decode_options()
        self.score_options()


def stage_option(names: tuple[str, ...]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--stage``: where a recipe begins.

    Args:
        names: of its stages, from 0.
    """
    listed = ", ".join(f"{number} {name}" for number, name in enumerate(names))
    return click.option(
        "--stage",
        type=click.IntRange(0, len(names) - 1),
        default=0,
        show_default=True,
        help=f"Begin with this one: {listed}.",
    )


def forward_pass_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the recipe gets these options, and their values as its argument ``arguments``; and ``exp``."""

    @functools.wraps(function)
    def recipe(
        folders: FolderArguments,
        inference: InferenceArguments,
        decoding: DecodingArguments,
        scoring: ScoringArguments,
        backend: str,
        **others: Any,
    ) -> Any:
        arguments = ForwardPassArguments(folders, inference, decoding, scoring, backend)
        arguments.check()
        return function(arguments=arguments, **others)

    decorated: Callable[..., Any] = click.argument("exp", metavar="[EXP-FOLDER]", required=False)(recipe)
    for option in (
        backend_option(),
        scoring_options,
        decoding_options,
        inference_options,
        grouped_options("folders", FolderArguments, _FOLDER_OPTIONS),
    ):
        decorated = option(decorated)
    return decorated
