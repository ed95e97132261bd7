"""From the features of a table to those that a model takes, as Kaldi's decoding scripts make them.

Source: ``steps/nnet3/decode.sh``; ``steps/decode.sh`` and ``steps/nnet2/decode.sh`` for other features than raw ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.features.cmvn import CmvnOptions
from kaldi_quant.kaldi.features.kinds import FeatureKind, KindStep
from kaldi_quant.kaldi.features.matrices import MatrixTable, read_matrix_file
from kaldi_quant.kaldi.features.online_cmvn import OnlineCmvnOptions, apply_online_cmvn
from kaldi_quant.kaldi.features.settings import FeatureSettings
from kaldi_quant.kaldi.features.speakers import by_speaker, file_of, folder_of, read_spk2utt, read_utt2spk
from kaldi_quant.kaldi.features.steps import (
    BySpeaker,
    EachUtterance,
    OnlineCmvnStep,
    Step,
    Utterances,
    cmvn_step,
    transform_step,
)
from kaldi_quant.kaldi.parse_options import as_text
from kaldi_quant.kaldi.specifiers import is_rspecifier
from kaldi_quant.kaldi.tables import OnBad


@dataclass(frozen=True)
class FeatureSources:
    """Where the data lies that normalisation and transforms need; None for Kaldi's names beside the features.

    Args:
        cmvn: statistics of speakers or utterances, an rspecifier, or a file with those of all.
        utt2spk: a file, or an rspecifier; the empty text makes each utterance a speaker of its own.
        transforms: fMLLR transforms of speakers or utterances, an rspecifier, or a file with that of all.
        feat_type: the kind of features that the model takes.
        ignore_cmvn: whether the features are normalised already.
        allow_pipes: whether commands in rspecifiers run.
    """

    cmvn: str | None = None
    utt2spk: str | None = None
    transforms: str | None = None
    feat_type: FeatureKind | None = None
    ignore_cmvn: bool = False
    allow_pipes: bool = False


@dataclass(frozen=True)
class Pipeline:
    """What is done to features before a model takes them.

    Args:
        steps: one after the other.
        commands: the same as Kaldi's commands, but for the kind of features, which shows when they come.
        files: all that was read for it.
    """

    steps: tuple[Step, ...] = ()
    commands: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def apply(self, utterances: Utterances, on_bad: OnBad | None = None) -> Iterator[tuple[str, np.ndarray]]:
        """Gives utterances with the features that the model takes.

        Args:
            utterances: (name, features) pairs, features: (frames, dim) float32.
            on_bad: is called for each that cannot be used, which is then left out; None makes it an error.

        Raises:
            DataError: an utterance cannot be used, and there is no ``on_bad``.
            UsageError: it cannot be told which kind of features the model takes.
        """
        return iter(reduce(lambda found, step: step(found, on_bad), self.steps, utterances))

    @property
    def is_by_utterance(self) -> bool:
        """Whether an utterance's features do not depend on other utterances."""
        return all(isinstance(step, EachUtterance) for step in self.steps)

    def describe(self) -> str:
        """What is done, as a pipe of Kaldi's commands; empty where nothing is."""
        return " | ".join(self.commands)


def make_pipeline(
    settings: FeatureSettings, rspecifier: str, sources: FeatureSources, input_dim: Callable[[], int]
) -> Pipeline:
    """Finds what normalisation and transforms need.

    Args:
        settings: what the model wants.
        rspecifier: of the features; what belongs to them is looked for in the same folder.
        sources: what lies elsewhere.
        input_dim: tells the dimension of the model's input.

    Raises:
        FormatError: a file is malformed.
        UsageError: a file that is needed is missing.
    """
    maker = _Maker(sources, rspecifier)
    if settings.is_normalised and not sources.ignore_cmvn:
        maker.normalise(settings)
    if sources.feat_type != "raw" and (settings.lda is not None or settings.deltas is not None or sources.feat_type):
        maker.steps.append(KindStep(settings, input_dim, sources.feat_type))
    if sources.transforms is not None:
        maker.transform(sources.transforms)
    return Pipeline(tuple(maker.steps), tuple(maker.commands), (*settings.files, *dict.fromkeys(maker.files)))


class _Maker:
    """Collects the steps, what they are called, and the files that they need."""

    def __init__(self, sources: FeatureSources, rspecifier: str) -> None:
        self.sources, self.rspecifier = sources, rspecifier
        self.folder = folder_of(rspecifier)
        self.steps: list[Step] = []
        self.commands: list[str] = []
        self.files: list[str] = []

    def add(self, step: Step, command: str) -> None:
        self.steps.append(step)
        self.commands.append(command)

    def normalise(self, settings: FeatureSettings) -> None:
        found = settings.normalisation
        if isinstance(found.options, OnlineCmvnOptions):
            assert found.global_stats is not None
            self._normalise_online(found.options, found.global_stats, found.origin)
        elif found.options is not None:
            self._normalise(found.options, found.origin)

    def transform(self, transforms: str) -> None:
        matrices, places = self._matrices(transforms, self._utt2spk())
        self.add(transform_step(matrices), f"transform-feats {places}")

    def _normalise(self, options: CmvnOptions, origin: str) -> None:
        utt2spk = self._utt2spk()
        if self.sources.cmvn is not None:
            stats, places = self._matrices(self.sources.cmvn, utt2spk)
        else:
            path = self._beside("cmvn.scp")
            if path is None:
                raise UsageError(self._missing("cmvn.scp", "statistics", origin, "--cmvn RSPECIFIER"))
            if utt2spk is None and self.sources.utt2spk is None:
                raise UsageError(self._missing("utt2spk", "speakers", origin, "--utt2spk FILE"))
            stats, places = self._matrices(f"scp:{path}", utt2spk)
        self.add(cmvn_step(options, stats), f"apply-cmvn {as_text(asdict(options))} {places}")

    def _normalise_online(self, options: OnlineCmvnOptions, stats: np.ndarray, origin: str) -> None:
        given, command = self.sources.utt2spk, f"apply-cmvn-online {as_text(asdict(options))}"
        if given == "":
            self.add(EachUtterance(lambda _, feats: apply_online_cmvn(feats, stats, None, options)), command)
            return
        path = file_of(given) if given is not None else self._beside("spk2utt") or self._beside("utt2spk")
        if path is None:
            raise UsageError(self._missing("spk2utt", "speakers", origin, "--utt2spk FILE"))
        ordered = given is None and Path(path).name == "spk2utt"
        speakers = read_spk2utt(path) if ordered else by_speaker(read_utt2spk(path))
        self.files.append(path)
        self.add(OnlineCmvnStep(options, stats, speakers, path), f"{command} --spk2utt=ark:{path}")

    def _matrices(self, place: str, utt2spk: str | None) -> tuple[BySpeaker, str]:
        """The matrices of a table, or of a file, and how Kaldi's command names them."""
        if not is_rspecifier(place):
            self.files.append(place)
            return BySpeaker(read_matrix_file(place)), place
        table = MatrixTable(place, self.sources.allow_pipes)
        self.files += table.files
        if utt2spk is None:
            return BySpeaker(table), place
        self.files.append(utt2spk)
        speaker_of: Mapping[str, str] = read_utt2spk(utt2spk)
        return BySpeaker(table, speaker_of, utt2spk), f"--utt2spk=ark:{utt2spk} {place}"

    def _utt2spk(self) -> str | None:
        """The file that tells speakers; None for each utterance a speaker of its own."""
        given = self.sources.utt2spk
        return (file_of(given) or None) if given is not None else self._beside("utt2spk")

    def _beside(self, name: str) -> str | None:
        path = self.folder / name if self.folder is not None else None
        return str(path) if path is not None and path.exists() else None

    def _missing(self, name: str, what: str, origin: str, option: str) -> str:
        place = f"{self.folder / name} is missing" if self.folder is not None else f"{self.rspecifier} has no folder"
        make = f"make it by 'steps/compute_cmvn_stats.sh {self.folder}' or 'kaldi-quant compute-cmvn-stats', "
        return (
            f"{place}, and {origin} asks for normalised features, which needs {what}: "
            f"{make if name == 'cmvn.scp' and self.folder is not None else ''}give {option}, "
            "or --ignore-cmvn where the features are normalised already"
        )
