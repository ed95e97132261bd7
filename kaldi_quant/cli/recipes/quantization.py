"""``run_forward_pass_quantization.sh`` and ``…_w_torch.sh``: the forward pass with a model quantized after training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import click

from kaldi_quant.cli.export import parse_formats
from kaldi_quant.cli.models import ENGINES
from kaldi_quant.cli.options import KaldiCommand
from kaldi_quant.cli.recipes.calibration_options import (
    CalibrationArguments,
    MethodArguments,
    calibration_options,
    method_options,
)
from kaldi_quant.cli.recipes.experiment import Experiment
from kaldi_quant.cli.recipes.forward_pass import STAGES, ForwardPass
from kaldi_quant.cli.recipes.forward_pass_options import ForwardPassArguments, forward_pass_options, stage_option
from kaldi_quant.cli.recipes.ivectors import IVECTOR_OPTIONS, Ivectors
from kaldi_quant.cli.recipes.model_step import RunStep, feature_sources, model_sources
from kaldi_quant.cli.recipes.places import Places
from kaldi_quant.cli.recipes.verbs import call_verb, words_for, words_of
from kaldi_quant.errors import UsageError
from kaldi_quant.formats.names import ARTEFACT_NAME, DEQUANTIZED_NAME, RECORD_NAME
from kaldi_quant.made import Made, Sources


@dataclass(frozen=True)
class QuantizedModel:
    """An integer model, made from ``final.mdl`` and exported.

    Args:
        arguments: of the recipe.
        places: its folders; the model comes into the output folder.
        method: how it is quantized.
        calibration: what is exported, and how many utterances are used.
        data: the data folder to calibrate on.
        torch_engine: of PyTorch, where it quantizes.
        engine: that runs it.
    """

    arguments: ForwardPassArguments
    places: Places
    method: MethodArguments
    calibration: CalibrationArguments
    data: Path
    torch_engine: str | None
    engine: str

    def check(self) -> None:
        self.calibration.check()
        self.method.resolve(self.torch_engine)

    @property
    def float_model(self) -> None:
        return None

    @property
    def options(self) -> dict[str, str]:
        return {"--engine": self.engine}

    def make(self, run: RunStep) -> Path:
        inference, out = self.arguments.inference, self.places.out
        source, path = self.places.model / "final.mdl", out / ARTEFACT_NAME
        folder = self.calibration.calibration_ivector_dir
        ivectors = Ivectors.of(source, self.data, folder, "--calibration-ivector-dir", inference)
        features = f"scp:{self.data}/feats.scp"
        method = {
            "the configuration": self.method.resolve(self.torch_engine).as_dict(),
            "--calibration-utterances": self.calibration.calibration_utterances,
            "--calibration-frames": self.calibration.calibration_frames,
        }
        sources = model_sources(source, inference.frame_subsampling_factor) | Sources(method)
        sources |= feature_sources(inference, source, features, ivectors, "calibration ")

        def work() -> list[Path]:
            words = [*words_of(inference, IVECTOR_OPTIONS), *ivectors.words, *words_of(self.method)]
            words += [] if self.torch_engine is None else [f"--engine={self.torch_engine}"]
            words += words_for(self.calibration.amount)
            places: list[str | Path] = [source, features, out]
            call_verb("quantize", [*words, *places], out / "log" / "quantize.log")
            return [out / RECORD_NAME]

        what = f"quantization of {source}, calibrated on {self.data}"
        run(Made(path, sources, f"the integer model {path}"), work, what)
        export(path, self.calibration.formats, self.calibration.fixed_frames, out / "log", run)
        return path


def export(model: Path, formats: str | None, frames: int, log: Path, run: RunStep) -> None:
    """Writes an integer model in other forms, into its own folder, unless they are there.

    Args:
        model: the artefact.
        formats: which; "none" for nothing, None for all that it has.
        frames: of the ONNX model of fixed length.
        log: the folder of log files.
        run: runs the step, unless its result is there.
    """
    if formats == "none":
        return
    folder = model.parent
    names = {"mdl": DEQUANTIZED_NAME, "onnx": f"quantized.{frames}.onnx"}
    first = folder / names[parse_formats(formats)[0]]

    def work() -> list[Path]:
        for stale in (*names.values(), "quantized.onnx"):
            (folder / stale).unlink(missing_ok=True)
        words = [] if formats is None else [f"--formats={formats}"]
        call_verb("export", [*words, f"--frames={frames}", model, folder], log / "export.log")
        return [path for name in (*names.values(), "quantized.onnx") if (path := folder / name).exists()]

    settings = {"--formats": formats, "--fixed-frames": frames}
    run(Made(first, Sources(settings, {"the integer model": [model]}), f"the export of {model}"), work, "other forms")


def _run(
    stage: int,
    arguments: ForwardPassArguments,
    method: MethodArguments,
    calibration: CalibrationArguments,
    engines: tuple[str | None, str],
    exp: str | None,
    name: str,
) -> None:
    """Runs the stages; ``engines`` are PyTorch's that quantizes, if it does, and that which runs the model."""
    here = Path.cwd()
    method = method.from_folder(here)
    experiment = Experiment.enter(exp)
    places = Places.of(arguments.folders, experiment, here, name)
    data = calibration.folder(experiment.defaults, places.data)
    model = QuantizedModel(arguments, places, method, calibration, data, *engines)
    ForwardPass(arguments, places, model).run(stage)


@click.command(cls=KaldiCommand)
@stage_option(STAGES)
@method_options
@click.option(
    "--engine",
    type=click.Choice(ENGINES[:3]),
    default="auto",
    show_default=True,
    help="What runs the integer model; auto: onnxruntime where it gives the same integers as the reference.",
)
@calibration_options
@forward_pass_options
def run_quantization(
    stage: int,
    quantizing: MethodArguments,
    engine: str,
    calibration: CalibrationArguments,
    arguments: ForwardPassArguments,
    exp: str | None,
) -> None:
    """Quantize a Kaldi model after training, run it in integers, decode, score and export it.

    EXP-FOLDER is the root of a Kaldi recipe; without it the embedded example egs/alphadigits is used. Results go to
    --out-dir, by default MODEL-DIR/decode_DATA_NAME, where NAME is the preset, the configuration or the widths, with
    --affix appended. What is there and was made from the same files with the same options is kept.

    e.g.: run_forward_pass_quantization.sh --bits 4

    run_forward_pass_quantization.sh --preset baseline --nj 8 --calibration-dir data/train_hires
    ~/kaldi/egs/librispeech/s5
    """
    _run(stage, arguments, quantizing, calibration, (None, engine), exp, quantizing.name)


@click.command(cls=KaldiCommand)
@stage_option(STAGES)
@method_options
@click.option(
    "--engine",
    type=click.Choice(("auto", *ENGINES[3:])),
    default="auto",
    show_default=True,
    help="Of PyTorch; auto: the fastest that this machine has.",
)
@calibration_options
@forward_pass_options
def run_torch_quantization(
    stage: int,
    quantizing: MethodArguments,
    engine: str,
    calibration: CalibrationArguments,
    arguments: ForwardPassArguments,
    exp: str | None,
) -> None:
    """Quantize a Kaldi model after training by PyTorch's own functions, run it on PyTorch's kernels, and score it.

    --preset is torch-static by default; the others are torch-dynamic, which finds ranges anew for each utterance, and
    torch-pt2e, which needs torchao. EXP-FOLDER is the root of a Kaldi recipe; without it the embedded example
    egs/alphadigits is used. Results go to --out-dir, by default MODEL-DIR/decode_DATA_NAME, where NAME is the preset or
    the configuration, and the engine where one was chosen, with --affix appended.

    e.g.: run_forward_pass_quantization_w_torch.sh --engine fbgemm

    run_forward_pass_quantization_w_torch.sh --preset torch-dynamic --nj 8 --calibration-dir data/train_hires
    ~/kaldi/egs/librispeech/s5
    """
    if not quantizing.preset and not quantizing.config:
        quantizing = replace(quantizing, preset="torch-static")
    if quantizing.from_folder(Path.cwd()).resolve().backend != "torch":
        raise UsageError(f"{quantizing.name} is not PyTorch's quantization: use run_forward_pass_quantization.sh")
    name = quantizing.name if engine == "auto" else f"{quantizing.name}_{engine}"
    _run(stage, arguments, quantizing, calibration, (engine, engine), exp, name)
