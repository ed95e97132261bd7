"""``run_qat.sh``: a model in float, quantized after training, and trained from there, in one table."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from kaldi_quant.cli.options import KaldiCommand, arguments_of
from kaldi_quant.cli.qat_options import QatArguments, WidthArguments, check_loop
from kaldi_quant.cli.recipes.calibration_options import (
    CalibrationArguments,
    MethodArguments,
    calibration_options,
    method_options,
)
from kaldi_quant.cli.recipes.experiment import EXAMPLE, Experiment, require_file
from kaldi_quant.cli.recipes.forward_pass import ForwardPass
from kaldi_quant.cli.recipes.forward_pass_options import ForwardPassArguments, forward_pass_options, stage_option
from kaldi_quant.cli.recipes.ivectors import IVECTOR_OPTIONS
from kaldi_quant.cli.recipes.model_step import ModelFile
from kaldi_quant.cli.recipes.passed_options import parsed, passed_options
from kaldi_quant.cli.recipes.places import Places, mfcc_config
from kaldi_quant.cli.recipes.quantization import QuantizedModel
from kaldi_quant.cli.recipes.quantized_training import run_tdnn_qat
from kaldi_quant.cli.recipes.verbs import call_verb, values_of, words_for
from kaldi_quant.cli.training_options import TrainingArguments
from kaldi_quant.folder_lock import folder_lock
from kaldi_quant.formats.names import ARTEFACT_NAME
from kaldi_quant.kaldi.egs_folder import has_examples

_log = logging.getLogger(__name__)

STAGES = ("float scores", "quantization after training", "training", "its scores", "comparison")

# Options of training that recipes take; the others are the recipe's own.
TRAINING_OPTIONS = [
    field.name
    for kind in (TrainingArguments, QatArguments)
    for field in dataclasses.fields(kind)
    if field.name not in ("cmd", "mfcc_config")
]
_LEARNED_WIDTHS = [field.name for field in dataclasses.fields(WidthArguments)]
_SHOWN_DEFAULTS = {
    "num_epochs": "1; with --teacher 2; without examples 20; for the example 75",
    "minibatch_size": "16",
    "lr_initial": "1e-4; with --teacher 3e-4; for the example 8e-3 or, for 2 and 3 bits, 5e-4",
    "distillation": "0.5; with --teacher 0.9; without examples 1",
    "teacher": "the float model; for the example its larger model",
}

training_choices = passed_options("training", run_tdnn_qat, ["egs_dir", *TRAINING_OPTIONS], _SHOWN_DEFAULTS)


@dataclass(frozen=True)
class QatRun:
    """The stages of a run.

    Args:
        arguments: of the forward passes.
        method: how the model is quantized.
        calibration: on what, and what is exported.
        training: options of the training that the user gave.
        experiment: the recipe.
        places: its folders, the output folder among them.
        data: the data folder to calibrate on.
    """

    arguments: ForwardPassArguments
    method: MethodArguments
    calibration: CalibrationArguments
    training: dict[str, Any]
    experiment: Experiment
    places: Places
    data: Path

    def check(self) -> None:
        """Refuses what cannot work, before any work.

        Raises:
            KaldiQuantError, click.UsageError: an option is impossible, or something is missing.
        """
        self.check_training()
        for step in (self.float_pass(), self.quantized_pass()):
            step.check()

    def check_training(self) -> None:
        """Refuses impossible options of the training."""
        from kaldi_quant.train.parallel.device_context import find_device

        self.calibration.check()
        params = parsed(run_tdnn_qat, self.words())
        # Making the arguments checks their values.
        training = arguments_of(TrainingArguments, params)
        taught = arguments_of(QatArguments, params)
        learned = arguments_of(WidthArguments, params)
        find_device(training.device)
        learned.options()
        check_loop(training, taught, learned, has_examples(self.egs))
        if "teacher" in self.training:
            require_file(Path(self.training["teacher"]), "see --teacher")

    def float_pass(self) -> ForwardPass:
        """The float model's scores."""
        model = ModelFile(self.places.model / "final.mdl", self.training.get("device", "cpu"))
        return ForwardPass(self.arguments, self._scored("_float"), model)

    def quantized_pass(self) -> ForwardPass:
        """The scores after quantization without training."""
        places = self._scored("_ptq")
        calibration = replace(self.calibration, formats="none")
        model = QuantizedModel(self.arguments, places, self.method, calibration, self.data, None, "auto")
        return ForwardPass(self.arguments, places, model)

    def trained_pass(self) -> ForwardPass:
        """The trained model's scores."""
        return ForwardPass(self.arguments, self._scored(""), ModelFile(self.places.out / ARTEFACT_NAME))

    def _scored(self, which: str) -> Places:
        return replace(self.places, out=self.places.out / f"decode_{self.places.data.name}{which}")

    @property
    def egs(self) -> Path:
        """The folder of examples."""
        return Path(self.training.get("egs_dir") or self.places.model / "egs")

    def words(self) -> list[str | Path]:
        """The command line of the training."""
        folders = self.arguments.folders
        distil = not has_examples(self.egs)
        chosen = {**self._defaults(distil), **self.training, "egs_dir": self.egs}
        if chosen.get("vtlp") or chosen.get("filter_augment"):
            config = mfcc_config(folders, self.places.model)
            chosen["mfcc_config"] = require_file(config, "it says how features were made: see --mfcc-config")
        others = {
            "stage": 5,
            "stop_stage": 6,
            "kaldi_model_dir": self.places.model,
            "dir": self.places.out,
            "calibration_dir": self.data,
            "calibration_ivector_dir": self.calibration.calibration_ivector_dir,
            **self.calibration.amount,
            "formats": self.calibration.formats,
            "fixed_frames": self.calibration.fixed_frames,
            "cmd": folders.cmd,
            **values_of(self.method),
            **values_of(self.arguments.inference, IVECTOR_OPTIONS),
            "ivector_extractor": self.arguments.inference.ivector_extractor,
        }
        return [*words_for({**chosen, **others}), *(["--distil"] if distil else []), self.experiment.root]

    def _defaults(self, distil: bool) -> dict[str, Any]:
        """What is chosen for the user where no option says it."""
        defaults: dict[str, Any] = {"minibatch_size": 16, "num_epochs": 20 if distil else 1, "lr_initial": 1e-4}
        teacher = self.training.get("teacher")
        if self.experiment.root.resolve() == EXAMPLE and teacher is None:
            return defaults | self._for_example(distil)
        # Of another model there is more to learn than of the one that training begins with.
        if teacher is not None and Path(teacher).resolve() != (self.places.model / "final.mdl").resolve():
            defaults |= {"lr_initial": 3e-4} | ({} if distil else {"num_epochs": 2, "distillation": 0.9})
        return defaults

    def _for_example(self, distil: bool) -> dict[str, Any]:
        """Its examples are few: they are heard often, as of other speakers. Coarse weights bear small steps."""
        chosen: dict[str, Any] = {"teacher": self.experiment.defaults.teacher, "num_epochs": 75, "lr_initial": 3e-4}
        chosen |= {} if distil else {"distillation": 0.9}
        coarse = (self.method.bits or 2) <= 3
        chosen |= {"vtlp": 0.1, "filter_augment": 4} if coarse else {"vtlp": 0.12, "filter_augment": 6}
        # These rates belong to this number of passes, and to Kaldi's schedule.
        if not {"lr_initial", "num_epochs", "lr_schedule"}.isdisjoint(self.training):
            return chosen
        return chosen | ({"lr_initial": 5e-4} if coarse else {"lr_initial": 8e-3, "lr_final": 1e-4, "warm_up": 300})

    def run(self, first: int, stages: tuple[str, ...] = STAGES, offset: int = 0) -> None:
        """Runs the stages from one on.

        Args:
            first: of these stages.
            stages: their names.
            offset: the number of the first one, where they are a part of another recipe's.
        """
        work: tuple[Callable[[], None], ...] = (
            lambda: self.float_pass().run(),
            lambda: self.quantized_pass().run(),
            self._train,
            lambda: self.trained_pass().run(),
            self._compare,
        )
        with folder_lock(self.places.out):
            for number, step in enumerate(work):
                if number >= first:
                    _log.info("stage %d, %s", number + offset, stages[number])
                    step()

    def _train(self) -> None:
        if not has_examples(self.egs):
            teacher = self.training.get("teacher", "the float model")
            _log.info("there are no examples in %s: %s alone teaches, on %s", self.egs, teacher, self.data)
        run_tdnn_qat.main([str(word) for word in self.words()], prog_name="run_tdnn_qat.py", standalone_mode=False)

    def compared(self) -> list[str]:
        """The models that are compared, as ``compare`` and ``report`` take them."""
        passes = {"float": "_float", "PTQ": "_ptq", "QAT": ""}
        return [f"{row}={self._scored(which).out}" for row, which in passes.items()]

    def _compare(self) -> None:
        out = self.places.out
        words = [f"--html={out / 'compare.html'}", f"--json={out / 'compare.json'}", *self.compared()]
        call_verb("compare", words, out / "log" / "compare.log")
        _log.info("the comparison is in %s", out / "compare.html")


def begin(
    arguments: ForwardPassArguments,
    method: MethodArguments,
    calibration: CalibrationArguments,
    training: dict[str, Any],
    exp: str | None,
    name: str,
) -> QatRun:
    """Goes to the recipe's root, and finds its folders.

    Args:
        arguments: of the forward passes.
        method: how the model is quantized.
        calibration: on what, and what is exported.
        training: options of the training that the user gave.
        exp: the recipe, as named by the user.
        name: appended to the model's folder for the output folder.

    Raises:
        UsageError: a folder is missing.
    """
    here = Path.cwd()
    method = method.from_folder(here)
    experiment = Experiment.enter(exp)
    places = Places.of(arguments.folders, experiment, here)
    if arguments.folders.out_dir is None:
        places = replace(places, out=experiment.root / f"{places.model}_{name}{arguments.folders.affix}")
    places.check()
    data = calibration.folder(experiment.defaults, places.data)
    return QatRun(arguments, method, calibration, training, experiment, places, data)


@click.command(cls=KaldiCommand)
@stage_option(STAGES)
@method_options
@calibration_options
@training_choices
@passed_options("widths", run_tdnn_qat, _LEARNED_WIDTHS)
@forward_pass_options
def run_qat(
    stage: int,
    quantizing: MethodArguments,
    calibration: CalibrationArguments,
    training: dict[str, Any],
    widths: dict[str, Any],
    arguments: ForwardPassArguments,
    exp: str | None,
) -> None:
    """Train a Kaldi model in fake integers, and compare it with the float model and with quantization after training.

    Weights have 4 bits and layers' inputs 8, unless options say otherwise. EXP-FOLDER is the root of a Kaldi recipe;
    without it the embedded example egs/alphadigits is used. Results go to --out-dir, by default MODEL-DIR_qat_WIDTHS,
    with --affix appended. Kaldi's chain examples are trained on with LF-MMI; where there are none, the float model
    teaches its own outputs on the audio in --calibration-dir. What is there and was made from the same files with the
    same options is kept.

    e.g.: run_qat.sh --bits 2

    run_qat.sh --bits 4 --nj 8 --model-dir exp/chain/tdnn1a_sp --graph-dir exp/chain/tree_sp/graph ~/s5
    """
    name = f"qat_{quantizing.name}"
    if not quantizing.config:
        bits, act_bits = quantizing.bits, quantizing.act_bits
        quantizing = replace(quantizing, bits=4 if bits is None else bits, act_bits=8 if act_bits is None else act_bits)
        name = f"qat_w{quantizing.bits}a{quantizing.act_bits}"
    run = begin(arguments, quantizing, calibration, {**training, **widths}, exp, name)
    run.check()
    run.run(stage)
