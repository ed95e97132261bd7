"""What a model's folder says of normalisation, what options say in its place, and what follows.

``cmvn_opts`` are options of ``apply-cmvn``, or, where there is a file ``online_cmvn``, of ``apply-cmvn-online``, which
starts from the statistics of the training data in ``global_cmvn.stats``. Without either file features stay as they are.

Source: ``steps/nnet3/decode.sh``, ``steps/online/nnet3/prepare_online_decoding.sh``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.features.cmvn import CmvnOptions
from kaldi_quant.kaldi.features.deltas import DeltaOptions
from kaldi_quant.kaldi.features.matrices import read_matrix_file
from kaldi_quant.kaldi.features.online_cmvn import OnlineCmvnOptions
from kaldi_quant.kaldi.features.splice import SpliceOptions
from kaldi_quant.kaldi.parse_options import Defaults, parse_options
from kaldi_quant.kaldi.text import read_text

Options = TypeVar("Options", CmvnOptions, OnlineCmvnOptions, DeltaOptions, SpliceOptions)

CMVN_OPTS, ONLINE_CMVN, GLOBAL_STATS = "cmvn_opts", "online_cmvn", "global_cmvn.stats"
#: The files in a model's folder that say how features are normalised.
NORMALISATION_NAMES = (CMVN_OPTS, ONLINE_CMVN, GLOBAL_STATS)
_ONLINE_CONFIG = Path("conf") / "online_cmvn.conf"
# Options that only say where a recipe's own files are; its scripts give them again, and the last one counts.
_PLACES: Defaults = {"utt2spk": "", "spk2utt": ""}


@dataclass(frozen=True)
class NormalisationOptions:
    """What is said in place of a model's folder; None leaves it what it says.

    Attributes:
        cmvn_opts: the text of ``cmvn_opts``.
        online_cmvn: whether ``apply-cmvn-online`` normalises.
        global_cmvn_stats: the file of the training data's statistics.
    """

    cmvn_opts: str | None = None
    online_cmvn: bool | None = None
    global_cmvn_stats: str | None = None


@dataclass(frozen=True, eq=False)
class Normalisation:
    """How features are normalised.

    Attributes:
        options: None where nothing says so, and features stay as they are.
        global_stats: (2, dim + 1) float64, of the training data; where ``options`` are those of online normalisation.
        origin: what says so, for messages.
        files: that were read.
    """

    options: CmvnOptions | OnlineCmvnOptions | None = None
    global_stats: np.ndarray | None = None
    origin: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Said:
    """What a model's folder, or an integer model, says of normalisation.

    Attributes:
        text: of ``cmvn_opts``; None where it is missing.
        where: the text stands.
        online: what says that ``apply-cmvn-online`` normalises; empty where nothing does.
        stats: a file, or (2, dim + 1) float64; None where they are missing.
        place: where the statistics should be.
        files: all that were read.
    """

    text: str | None
    where: str
    online: str
    stats: str | np.ndarray | None
    place: str
    files: tuple[str, ...] = ()

    @classmethod
    def by_folder(cls, folder: Path) -> Said:
        """What the folder of ``final.mdl`` says."""
        opts, flag, stats = folder / CMVN_OPTS, folder / ONLINE_CMVN, folder / GLOBAL_STATS
        config = folder / _ONLINE_CONFIG
        text, where = read_text(opts) if opts.is_file() else None, str(opts)
        if text is None and flag.exists() and config.is_file():
            # As Kaldi's online decoders read a folder that prepare_online_decoding.sh made.
            text, where = f"--config={config}", str(flag)
        files = tuple(str(path) for path in (opts, flag, stats) if path.is_file())
        online = str(flag) if flag.exists() else ""
        return cls(text, where, online, str(stats) if stats.is_file() else None, str(stats), files)

    def with_options(self, given: NormalisationOptions) -> Said:
        """The same with options in place of the folder's files."""
        said = self
        if given.cmvn_opts is not None:
            said = replace(said, text=given.cmvn_opts, where="--cmvn-opts")
        if given.online_cmvn is not None:
            said = replace(said, online="--online-cmvn" if given.online_cmvn else "")
            if not given.online_cmvn:
                said = replace(said, stats=None)
        if given.global_cmvn_stats is not None:
            files = (*said.files, given.global_cmvn_stats)
            said = replace(said, stats=given.global_cmvn_stats, files=files)
        return said

    def resolved(self, near: str = "") -> Normalisation:
        """What follows; near: a file in the model's folder, from where configuration files are looked for.

        Raises:
            FormatError: an option or a file is malformed.
            UsageError: something is missing, or options contradict each other.
        """
        if self.text is None:
            if self.online or self.stats is not None:
                raise UsageError(self._without_options())
            return Normalisation(files=self.files)
        if self.stats is not None and not self.online and self.stats != self.place:
            raise UsageError(f"--global-cmvn-stats {self.stats}: give --online-cmvn, too, which starts from them")
        options, files = self._parsed(self.text, near)
        found = Normalisation(options, None, self.where, (*self.files, *files))
        if not self.online or not options.norm_means:
            return found
        if self.stats is None:
            raise UsageError(
                f"{self.place} is missing, and {self.online} asks for online normalisation, which starts from it: give "
                "--global-cmvn-stats FILE, which 'kaldi-quant compute-cmvn-stats scp:TRAIN-DATA/feats.scp FILE' makes"
            )
        stats = read_matrix_file(self.stats) if isinstance(self.stats, str) else self.stats
        return replace(found, global_stats=stats)

    def _parsed(self, text: str, near: str) -> tuple[CmvnOptions | OnlineCmvnOptions, list[str]]:
        if self.online:
            return parse(text, OnlineCmvnOptions, self.where, near)
        return parse(text, CmvnOptions, self.where, near)

    def _without_options(self) -> str:
        return (
            f"{self.online or self.place} is there, and {self.where}, which says how features are normalised, is "
            'missing: give --online-cmvn=true --cmvn-opts="" for online normalisation with its defaults, or '
            "--online-cmvn=false --cmvn-opts=--norm-means=false for features as they are"
        )


def parse(text: str, kind: type[Options], where: str, near: str = "") -> tuple[Options, list[str]]:
    """The options of a program of Kaldi, and the configuration files that they name.

    Args:
        text: such as ``--norm-vars=true``.
        kind: of the program.
        where: the text stands, for messages.
        near: a file in the folder from where configuration files are looked for.

    Raises:
        FormatError: an option is unknown or malformed, or a configuration file is missing.
        UsageError: options contradict each other.
    """
    defaults = {field.name.replace("_", "-"): field.default for field in fields(kind)}
    known = {**defaults, **_PLACES} if "norm-means" in defaults else defaults
    parsed = parse_options(text, known, where, near)
    values = {name.replace("-", "_"): value for name, value in parsed.values.items() if name not in _PLACES}
    try:
        return kind(**values), parsed.files
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
