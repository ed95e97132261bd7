"""The options of decoding and of scoring, with Kaldi's names and defaults."""

import re
import shlex
from dataclasses import dataclass

from kaldi_quant.bad_utterances import DEFAULT_MAX_BAD_SHARE, check_share
from kaldi_quant.decode.sweep import SweepPoint
from kaldi_quant.errors import UsageError

BACKENDS = ("auto", "kaldi", "embedded")
_PENALTY = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
# Beyond these a sweep is a slip of the pen: it would take hours, or leave nothing of other costs.
_MOST_POINTS = 2000
_LARGEST_PENALTY = 1000


@dataclass(frozen=True)
class DecodeOptions:
    """How log-likelihoods become lattices.

    Attributes:
        beam: decoding beam.
        lattice_beam: word sequences worse than the best by more than this leave the lattice.
        max_active, min_active: limits on active states; the embedded decoder has none and goes by the beam alone.
        acoustic_scale: what log-likelihoods are multiplied by; 1.0 for chain models.
        post_decode_acwt: what the lattices' acoustic costs are multiplied by; 10 for chain models, whose best LMWT is
            then about that of other models.
        allow_partial: keep utterances whose best path does not end in a final state.
        nj: number of jobs, each of which makes one ``lat.JOB.gz``.
        backend: one of BACKENDS.
        cmd: how jobs run, such as ``run.pl`` or ``slurm.pl --mem 4G``; None for processes on this machine.
        max_bad_share: the share of utterances that may fail.
        allow_pipes: whether commands in rspecifiers run.
    """

    beam: float = 15.0
    lattice_beam: float = 8.0
    max_active: int = 7000
    min_active: int = 200
    acoustic_scale: float = 1.0
    post_decode_acwt: float = 10.0
    allow_partial: bool = True
    nj: int = 4
    backend: str = "auto"
    cmd: str | None = None
    max_bad_share: float = DEFAULT_MAX_BAD_SHARE
    allow_pipes: bool = False

    def __post_init__(self) -> None:
        positive = ("beam", "lattice_beam", "max_active", "acoustic_scale", "post_decode_acwt", "nj")
        for name in positive:
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"--{name.replace('_', '-')} must be positive, found {getattr(self, name)}")
        if not 0 <= self.min_active <= self.max_active:
            raise UsageError(
                f"--min-active must be from 0 to --max-active ({self.max_active}), found {self.min_active}"
            )
        check_share(self.max_bad_share)
        _check_common(self.backend, self.cmd)


@dataclass(frozen=True)
class ScoreOptions:
    """How lattices become words and word error rates.

    Attributes:
        min_lmwt, max_lmwt: the range of the language-model weight, both ends included.
        word_ins_penalty: word insertion penalties as the user wrote them.
        stats: whether ``wer_details`` is made.
        cer: whether characters are scored too.
        backend, cmd: as in DecodeOptions.
    """

    min_lmwt: int = 7
    max_lmwt: int = 17
    word_ins_penalty: tuple[str, ...] = ("0.0", "0.5", "1.0")
    stats: bool = True
    cer: bool = False
    backend: str = "auto"
    cmd: str | None = None

    def __post_init__(self) -> None:
        if self.min_lmwt < 1:
            raise UsageError(f"--min-lmwt must be a whole number above 0, found {self.min_lmwt}")
        if self.max_lmwt < self.min_lmwt:
            raise UsageError(f"--max-lmwt ({self.max_lmwt}) must not be below --min-lmwt ({self.min_lmwt})")
        if not self.word_ins_penalty or len(set(self.word_ins_penalty)) < len(self.word_ins_penalty):
            raise UsageError("--word-ins-penalty expects a list of different numbers, such as 0.0,0.5,1.0")
        for penalty in self.word_ins_penalty:
            if not _PENALTY.fullmatch(penalty):
                raise UsageError(f"--word-ins-penalty expects numbers such as 0.0,0.5,1.0, found {penalty!r}")
            if abs(float(penalty)) > _LARGEST_PENALTY:
                raise UsageError(
                    f"--word-ins-penalty must be from -{_LARGEST_PENALTY} to {_LARGEST_PENALTY}, found {penalty}"
                )
        points = len(self.lm_weights) * len(self.word_ins_penalty)
        if points > _MOST_POINTS:
            raise UsageError(
                f"--min-lmwt {self.min_lmwt}, --max-lmwt {self.max_lmwt} and {len(self.word_ins_penalty)} word "
                f"insertion penalties make a sweep of {points} points; at most {_MOST_POINTS} are allowed"
            )
        _check_common(self.backend, self.cmd)

    @property
    def lm_weights(self) -> range:
        """The language-model weights."""
        return range(self.min_lmwt, self.max_lmwt + 1)

    @property
    def points(self) -> list[SweepPoint]:
        """All points, in the order in which Kaldi looks for the best."""
        return [SweepPoint(weight, penalty) for penalty in self.word_ins_penalty for weight in self.lm_weights]


def _check_common(backend: str, cmd: str | None) -> None:
    if backend not in BACKENDS:
        raise UsageError(f"--backend must be one of {', '.join(BACKENDS)}, found {backend!r}")
    try:
        words = shlex.split(cmd or "")
    except ValueError as error:
        raise UsageError(f"--cmd {cmd!r}: {error}") from error
    if cmd is not None and cmd and not words:
        raise UsageError(f"--cmd {cmd!r} does not name a program")
