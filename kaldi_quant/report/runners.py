"""Models as things whose speed is measured: those of decode folders, and Kaldi's ``nnet3-compute``."""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from kaldi_quant.cores import ONE_THREAD
from kaldi_quant.errors import DataError, MissingDependencyError, UsageError
from kaldi_quant.kaldi.tables import matrix_writer, read_matrices
from kaldi_quant.report.comparison import Comparison
from kaldi_quant.speed import Runner, Timed
from kaldi_quant.units import Frames, Seconds

if TYPE_CHECKING:
    from kaldi_quant.nnet3.runnable import Runnable

_log = logging.getLogger(__name__)


KALDI_NAME = "nnet3-compute"
FLOAT_NAME = "float model"
_FRAMES_PER_SECOND = 100
# nnet3-compute reads the same speech this many times more in its long run, so that its start-up time can be subtracted.
_COPIES = 4


class LoadedModel(Protocol):
    """A model ready to run on one thread: a float one on the fastest float kernel, or an integer one."""

    @property
    def model(self) -> Runnable:
        """What runs."""

    @property
    def subsampling(self) -> int:
        """Frames per output row."""

    @property
    def is_integer(self) -> bool:
        """Whether it is an integer model, which Kaldi cannot run."""


Load = Callable[[Path], LoadedModel]


@dataclass(frozen=True)
class Speech:
    """What is computed: (name, features) pairs, features: (frames, dim) float32."""

    utterances: list[tuple[str, np.ndarray]]

    @property
    def frames(self) -> Frames:
        """Feature frames of all utterances."""
        return sum(len(feats) for _, feats in self.utterances)


def read_speech(
    rspecifier: str, seconds: Seconds, allow_pipes: bool = False, option: str = "--speed-seconds"
) -> Speech:
    """The first utterances of a table, whole, until they make up some seconds.

    Args:
        rspecifier: of the features.
        seconds: how many.
        allow_pipes: whether shell commands in it run.
        option: that says how many, for messages.

    Raises:
        DataError: there are none.
        UsageError: no seconds are wanted.
    """
    if not seconds > 0:
        raise UsageError(f"{option} must be positive, found {seconds:g}")
    utterances: list[tuple[str, np.ndarray]] = []
    frames = 0
    for name, feats in read_matrices(rspecifier, allow_pipes):
        utterances.append((name, feats))
        frames += len(feats)
        if frames >= seconds * _FRAMES_PER_SECOND:
            break
    if not frames:
        raise DataError(f"{rspecifier}: there are no frames to measure on")
    return Speech(utterances)


def models_of(comparison: Comparison, float_model: Path | None = None) -> dict[str, Path]:
    """The model of each folder that names one, by the folder's name; the first is what all are relative to.

    Args:
        comparison: its folders' records name the models.
        float_model: what all are relative to; by default the model of the first folder.

    Raises:
        UsageError: nothing says what the others are relative to.
        DataError: ``float_model`` does not exist.
    """
    models: dict[str, Path] = {}
    for row in comparison.rows:
        if row.name in (FLOAT_NAME, KALDI_NAME):
            raise UsageError(
                f"the name {row.name} is reserved for a row of the speed table: give {row.folder.path} another name"
            )
        if row.folder.record and row.folder.record.model_file:
            models[row.name] = row.folder.record.model_file
    if float_model is not None:
        if not float_model.is_file():
            raise DataError(f"--float-model {float_model} does not exist")
        same = next((name for name, path in models.items() if path.samefile(float_model)), FLOAT_NAME)
        return {same: float_model, **models}
    first = comparison.rows[0]
    if first.name not in models:
        raise UsageError(
            f"--speed is relative to the model of the first folder, {first.folder.path}, whose quantization.json is "
            "missing or does not name an existing model: give a float model with --float-model"
        )
    return models


def runners_of(
    models: dict[str, Path],
    load: Load,
    speech: Speech,
    kaldi_root: str | None = None,
    prepare: Callable[[Path, Speech], Speech] | None = None,
) -> dict[str, Runner]:
    """A runner for each model, and one for Kaldi with the first of them.

    Args:
        models: by name.
        load: makes a model file ready.
        speech: what is computed.
        kaldi_root: where ``nnet3-compute`` is; None leaves it out.
        prepare: makes features of the kind that a model file takes; None where they are that already.

    Raises:
        KaldiQuantError: a model cannot be read or computed.
    """
    loaded = {name: load(path) for name, path in models.items()}
    prepared = {name: prepare(path, speech) if prepare else speech for name, path in models.items()}
    runners = {name: model_runner(models[name], model, prepared[name]) for name, model in loaded.items()}
    name, first = next(iter(loaded.items()))
    if kaldi_root and not first.is_integer:
        if first.model.ivector_dim:
            _log.warning("%s is not measured: %s has an i-vector input", KALDI_NAME, models[name])
        else:
            runners[KALDI_NAME] = kaldi_runner(Path(kaldi_root), models[name], first.subsampling, prepared[name])
    return runners


def model_runner(path: Path, loaded: LoadedModel, speech: Speech) -> Runner:
    """Features in, log-likelihoods out, on this project's own code.

    Raises:
        DataError: when run: an utterance cannot be computed.
    """
    from kaldi_quant.nnet3.chunks import ChunkOptions
    from kaldi_quant.nnet3.inference import Inference
    from kaldi_quant.nnet3.inference_options import InferenceOptions

    options = InferenceOptions(ChunkOptions(loaded.subsampling))
    # The values of i-vectors do not change how fast a network is.
    ivector = np.zeros(loaded.model.ivector_dim, np.float32)
    inference = Inference(loaded.model, None, options, lambda utterance: ivector)

    def run() -> Frames:
        done = sum(1 for _ in inference.compute(speech.utterances))
        if done != len(speech.utterances):
            raise DataError(
                f"{path}: cannot compute {len(speech.utterances) - done} utterances of the speed measurement"
            )
        return speech.frames

    return run


def kaldi_runner(root: Path, model: Path, subsampling: int, speech: Speech) -> Runner:
    """``nnet3-compute`` on one thread, its start-up time subtracted by a second run on copies of the speech.

    Raises:
        MissingDependencyError: there is no such program.
        DataError: when run: it fails, or there is too little speech to tell its speed.
    """
    program = root / "src" / "nnet3bin" / KALDI_NAME
    if not os.access(program, os.X_OK):
        raise MissingDependencyError(
            f"KALDI_ROOT ({root}) has no src/nnet3bin/{KALDI_NAME}: build it, or unset KALDI_ROOT"
        )
    longest = max(len(feats) for _, feats in speech.utterances)
    options = [
        "--use-priors=false",
        f"--frame-subsampling-factor={subsampling}",
        f"--frames-per-chunk={-(-longest // subsampling) * subsampling}",
    ]

    def seconds(copies: int) -> Seconds:
        with tempfile.TemporaryDirectory() as folder:
            with matrix_writer(f"ark:{folder}/feats.ark") as writer:
                for copy in range(copies):
                    for name, feats in speech.utterances:
                        writer.write(f"{name}-{copy}", feats)
            return _time([str(program), *options, str(model), f"ark:{folder}/feats.ark", f"ark:{folder}/out.ark"])

    def run() -> Timed:
        work = seconds(_COPIES + 1) - seconds(1)
        if work <= 0:
            raise DataError(
                f"{speech.frames} frames are too few to tell the speed of {KALDI_NAME} from its start-up time: "
                "measure more with --speed-seconds"
            )
        return Timed(speech.frames * _COPIES, work)

    return run


def _time(command: list[str]) -> Seconds:
    begin = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it says nothing"]
        raise DataError(f"{command[0]} ended with status {done.returncode}: {lines[-1][-200:]}")
    return seconds
