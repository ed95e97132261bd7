"""``run_mixed.sh``: the best widths of a model's layers under a budget, trained, and a page about all of it."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from kaldi_quant.atomic import atomic_write
from kaldi_quant.cli.options import KaldiCommand
from kaldi_quant.cli.recipes import qat as qat_recipe
from kaldi_quant.cli.recipes.calibration_options import CalibrationArguments, MethodArguments, calibration_options
from kaldi_quant.cli.recipes.experiment import data_apart, require_file
from kaldi_quant.cli.recipes.forward_pass_options import ForwardPassArguments, forward_pass_options, stage_option
from kaldi_quant.cli.recipes.ivectors import IVECTOR_OPTIONS, Ivectors
from kaldi_quant.cli.recipes.passed_options import parsed, passed_options
from kaldi_quant.cli.recipes.qat import QatRun, training_choices
from kaldi_quant.cli.recipes.verbs import call_verb, words_for, words_of
from kaldi_quant.cli.search import check_budget
from kaldi_quant.cli.search import command as search_verb
from kaldi_quant.cli.search_options import SearchArguments
from kaldi_quant.errors import UsageError
from kaldi_quant.folder_lock import folder_lock
from kaldi_quant.formats.names import ALLOCATION_NAME

_log = logging.getLogger(__name__)

STAGES = ("search", *qat_recipe.STAGES, "report")

_SEARCH_OPTIONS = [
    "budget",
    "refine",
    "front",
    "max_dev_utterances",
    *(field.name for field in dataclasses.fields(SearchArguments) if field.name != "method"),
]


@click.command(cls=KaldiCommand)
@stage_option(STAGES)
@passed_options("searching", search_verb, _SEARCH_OPTIONS, {"budget": "3 bits"})
@click.option(
    "--dev-dir",
    metavar="DIR",
    help="Data folder that widths are chosen on, with feats.scp; never the one that is scored; by default "
    "data/dev_hires.",
)
@click.option(
    "--dev-ivector-dir",
    metavar="DIR",
    help="Its i-vectors; by default the folder exp/nnet3*/ivectors_DATA that fits the model.",
)
@calibration_options
@training_choices
@forward_pass_options
def run_mixed(
    stage: int,
    searching: dict[str, Any],
    dev_dir: str | None,
    dev_ivector_dir: str | None,
    calibration: CalibrationArguments,
    training: dict[str, Any],
    arguments: ForwardPassArguments,
    exp: str | None,
) -> None:
    """Find the best widths of a Kaldi model's layers under a budget, train the model with them, and compare.

    EXP-FOLDER is the root of a Kaldi recipe; without it the embedded example egs/alphadigits is used. Results go to
    --out-dir, by default MODEL-DIR_mixed, with --affix appended; the last line names the page that shows them. After
    the search the recipe goes on as run_qat.sh does. What is there and was made from the same files with the same
    options is kept.

    e.g.: run_mixed.sh --budget '2.3 bits'

    run_mixed.sh --budget '1 MB' --dev-dir data/dev_hires --model-dir exp/chain/tdnn1a_sp ~/s5
    """
    if searching.get("config"):
        searching["config"] = str(Path.cwd() / searching["config"])
    none = MethodArguments(None, None, None, None, None, None, None)
    run = qat_recipe.begin(arguments, none, calibration, training, exp, "mixed")
    run = replace(run, method=replace(none, config=str(run.places.out / ALLOCATION_NAME)))
    search = _Search(run, {"budget": "3 bits", **searching}, _dev_folder(run, dev_dir), dev_ivector_dir)
    search.check()
    run.check_training()
    with folder_lock(run.places.out):
        if stage == 0:
            _log.info("stage 0, %s: widths for %s, chosen on %s", STAGES[0], search.options["budget"], search.dev)
            search.run()
        else:
            require_file(run.places.out / ALLOCATION_NAME, "begin with --stage 0")
        if stage < len(STAGES) - 1:
            run.check()
            run.run(max(stage - 1, 0), STAGES[1:], 1)
        search.report()


def _dev_folder(run: QatRun, given: str | None) -> Path:
    folder = Path(given or run.experiment.defaults.dev)
    return data_apart(folder, run.places.data, "choose widths on", "--dev-dir")


@dataclasses.dataclass(frozen=True)
class _Search:
    """The first and the last stage.

    Args:
        qat: what goes on from the widths that are found.
        options: of the verb 'search'.
        dev: the data folder that widths are chosen on.
        dev_ivectors: the folder of its i-vectors, where an option names it.
    """

    qat: QatRun
    options: dict[str, Any]
    dev: Path
    dev_ivectors: str | None

    def check(self) -> None:
        """Refuses impossible options before any work."""
        params = parsed(search_verb, self._words([]))
        check_budget(params)

    def _words(self, ivectors: list[str]) -> list[str | Path]:
        run, options = self.qat, dict(self.options)
        if options.get("refine") or "%wer" in str(options["budget"]).lower():
            options |= {"graph_dir": run.places.graph, "data_dir": self.dev, "nj": run.arguments.folders.nj}
        options |= run.calibration.amount
        computing = words_of(run.arguments.inference, IVECTOR_OPTIONS)
        places: list[str | Path] = [
            run.places.model / "final.mdl",
            f"scp:{run.data}/feats.scp",
            f"scp:{self.dev}/feats.scp",
            run.places.out,
        ]
        return [*words_for(options), *computing, *ivectors, *places]

    def run(self) -> None:
        """Finds the widths. The verb keeps what it has measured."""
        call_verb("search", self._words(self._ivectors()), self.qat.places.out / "log" / "search.log")

    def report(self) -> None:
        """Writes the page."""
        run = self.qat
        out = run.places.out
        page = out / "report.html"
        words = [f"--search={out}", f"--features=scp:{self.dev}/feats.scp"]
        words += [*words_of(run.arguments.inference, IVECTOR_OPTIONS), *self._ivectors()]
        words += [str(page), *run.compared()]
        call_verb("report", words, out / "log" / "report.log")
        _log.info("stage %d, %s: %s", len(STAGES) - 1, STAGES[-1], page)

    def _ivectors(self) -> list[str]:
        """One table of the i-vectors of both data folders: the search reads both with one set of options."""
        run = self.qat
        model, inference = run.places.model / "final.mdl", run.arguments.inference
        folder = run.calibration.calibration_ivector_dir
        first = Ivectors.of(model, run.data, folder, "--calibration-ivector-dir", inference)
        second = Ivectors.of(model, self.dev, self.dev_ivectors, "--dev-ivector-dir", inference)
        if first.folder is None:
            return list(first.words)
        if first.settings != second.settings:
            raise UsageError(f"the i-vectors of {run.data} and {self.dev} have different periods")
        lines = {line for table in (first, second) for line in _lines(table.words[0])}
        merged = run.places.out / "ivector_online.scp"
        with atomic_write(merged) as stream:
            stream.writelines(line + b"\n" for line in sorted(lines))
        period = first.settings["--online-ivector-period"]
        return [f"--online-ivectors=scp:{merged}", f"--online-ivector-period={period}"]


def _lines(option: str) -> list[bytes]:
    """The lines of the scp that ``--online-ivectors=scp:…`` names."""
    return Path(option.partition("scp:")[2]).read_bytes().rstrip(b"\n").split(b"\n")
