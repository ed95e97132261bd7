"""Where the model that computes log-likelihoods comes from, and what these depend on beside its own file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kaldi_quant.cli.inference_options import InferenceArguments
from kaldi_quant.cli.recipes.experiment import require_file
from kaldi_quant.cli.recipes.ivectors import IVECTOR_OPTIONS, Ivectors
from kaldi_quant.cli.recipes.verbs import settings_of
from kaldi_quant.formats.file_kind import is_artefact
from kaldi_quant.kaldi.companions import DECISIVE_NAMES
from kaldi_quant.kaldi.frame_subsampling import factor_of
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.table_files import files_of, table_files
from kaldi_quant.made import Made, Sources

#: Options that log-likelihoods and integer models do not depend on.
WITHOUT_EFFECT = ("batch_seconds", "num_threads", "max_bad_share", "allow_pipes")

#: Does a step's work and returns the outputs beside the first.
Work = Callable[[], Sequence[Path] | None]
#: Runs a step, keeps its result, or refuses one that does not fit: (result, work, what it is).
RunStep = Callable[[Made, Work, str], object]


class ModelStep(Protocol):
    """Where the model that computes comes from."""

    def check(self) -> None:
        """Refuses impossible options, before any work.

        Raises:
            UsageError: there is one.
        """

    def make(self, run: RunStep) -> Path:
        """Makes the model if it is not there, and returns its path."""

    @property
    def float_model(self) -> Path | None:
        """The file, if it is a Kaldi model other than ``final.mdl``."""

    @property
    def options(self) -> dict[str, str]:
        """Options of ``forward`` that it needs, such as its engine."""


@dataclass(frozen=True)
class ModelFile:
    """A model that is there.

    Args:
        path: of the file.
        device: that computes it.
        engine: that runs it, if it is an integer model.
    """

    path: Path
    device: str = "cpu"
    engine: str = "auto"

    def check(self) -> None:
        require_file(self.path)

    def make(self, run: RunStep) -> Path:
        return self.path

    @property
    def float_model(self) -> Path | None:
        return None if is_artefact(str(self.path)) else self.path

    @property
    def options(self) -> dict[str, str]:
        return {"--device": self.device, "--engine": self.engine}


def model_sources(model: Path, given: int | None, name: str = "the model") -> Sources:
    """A model, and what is read beside it.

    Args:
        model: its file.
        given: the frame-subsampling factor of an option.
        name: what the model is.

    Raises:
        KaldiQuantError: the model is broken, or nothing states its factor.
    """
    beside = {name: [model.parent / name] for name in DECISIVE_NAMES if (model.parent / name).is_file()}
    known = {} if is_artefact(str(model)) else {"the frame-subsampling factor": factor_of(read_model(model), given)}
    return Sources(known, {name: [model], **beside})


def feature_sources(
    inference: InferenceArguments, model: Path, features: str, ivectors: Ivectors, of: str = ""
) -> Sources:
    """Features, their i-vectors, and how a model takes them.

    Args:
        inference: the values of the options.
        model: its file.
        features: the rspecifier.
        ivectors: of the same utterances.
        of: what the features are for, such as ``"calibration "``.

    Raises:
        KaldiQuantError: a file is missing or malformed.
    """
    table = table_files(features, inference.allow_pipes)
    normalising = files_of(inference.features(str(model), features).files)
    files = {
        f"the {of}features": table.files,
        f"what normalises the {of}features": normalising.files,
        f"the {of}i-vectors": ivectors.files,
    }
    settings = {**settings_of(inference, (*WITHOUT_EFFECT, *IVECTOR_OPTIONS)), **ivectors.settings}
    return Sources(settings, files, table.repeatable and normalising.repeatable and ivectors.repeatable)
