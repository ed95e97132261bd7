"""Options of decoding and scoring, with Kaldi's names and defaults: shared by verbs and recipes."""

from __future__ import annotations

from dataclasses import dataclass

import click

from kaldi_quant.cli.options import grouped_options, kaldi_bool_option
from kaldi_quant.decode.options import DecodeOptions, ScoreOptions
from kaldi_quant.errors import UsageError

_DECODE, _SCORE = DecodeOptions(), ScoreOptions()
_KALDI_ONLY = "Ignored by the embedded decoder, which uses the beam only."

_DECODING_OPTIONS = (
    click.option("--beam", type=float, default=_DECODE.beam, show_default=True, help="Decoding beam."),
    click.option(
        "--lattice-beam",
        type=float,
        default=_DECODE.lattice_beam,
        show_default=True,
        help="Lattice beam: how much worse than the best path lattices may be.",
    ),
    click.option(
        "--max-active",
        type=int,
        default=_DECODE.max_active,
        show_default=True,
        help=f"Maximum number of active states. {_KALDI_ONLY}",
    ),
    click.option(
        "--min-active",
        type=int,
        default=_DECODE.min_active,
        show_default=True,
        help=f"Minimum number of active states. {_KALDI_ONLY}",
    ),
    click.option(
        "--acoustic-scale",
        "--acwt",
        type=float,
        default=_DECODE.acoustic_scale,
        show_default=True,
        help="Scale of the log-likelihoods while decoding; 1 for chain models.",
    ),
    click.option(
        "--post-decode-acwt",
        type=float,
        default=_DECODE.post_decode_acwt,
        show_default=True,
        help="Scale of the acoustic costs in the lattices; 10 for chain models.",
    ),
    kaldi_bool_option(
        "--allow-partial", default=_DECODE.allow_partial, help="Keep utterances for which no final state is reached."
    ),
)

_SCORING_OPTIONS = (
    click.option(
        "--min-lmwt", type=int, default=_SCORE.min_lmwt, show_default=True, help="Lowest language-model weight."
    ),
    click.option(
        "--max-lmwt", type=int, default=_SCORE.max_lmwt, show_default=True, help="Highest language-model weight."
    ),
    click.option(
        "--word-ins-penalty",
        default=",".join(_SCORE.word_ins_penalty),
        show_default=True,
        help="Word insertion penalties, separated by commas.",
    ),
    kaldi_bool_option("--stats", default=_SCORE.stats, help="Write scoring_kaldi/wer_details for the best point."),
    kaldi_bool_option(
        "--cer", default=_SCORE.cer, help="Also write character error rates, cer_LMWT_WIP, like score_kaldi_cer.sh."
    ),
    kaldi_bool_option(
        "--decode-mbr",
        default=False,
        help="Only false is supported: use Kaldi's score_kaldi.sh for minimum Bayes risk decoding.",
    ),
)


@dataclass(frozen=True)
class DecodingArguments:
    """The values of the options of decoding."""

    beam: float
    lattice_beam: float
    max_active: int
    min_active: int
    acoustic_scale: float
    post_decode_acwt: float
    allow_partial: bool

    def options(self, nj: int, backend: str, cmd: str | None, max_bad_share: float, allow_pipes: bool) -> DecodeOptions:
        """How to decode.

        Raises:
            UsageError: a value is impossible.
        """
        return DecodeOptions(
            beam=self.beam,
            lattice_beam=self.lattice_beam,
            max_active=self.max_active,
            min_active=self.min_active,
            acoustic_scale=self.acoustic_scale,
            post_decode_acwt=self.post_decode_acwt,
            allow_partial=self.allow_partial,
            nj=nj,
            backend=backend,
            cmd=cmd,
            max_bad_share=max_bad_share,
            allow_pipes=allow_pipes,
        )


@dataclass(frozen=True)
class ScoringArguments:
    """The values of the options of scoring."""

    min_lmwt: int
    max_lmwt: int
    word_ins_penalty: str
    stats: bool
    cer: bool
    decode_mbr: bool

    def options(self, backend: str, cmd: str | None) -> ScoreOptions:
        """How to score.

        Raises:
            UsageError: a value is impossible.
        """
        if self.decode_mbr:
            raise UsageError(
                "--decode-mbr true: minimum Bayes risk decoding is not part of kaldi-quant; Kaldi's "
                "steps/score_kaldi.sh --decode-mbr true scores the lattices"
            )
        penalties = tuple(self.word_ins_penalty.replace(",", " ").split())
        return ScoreOptions(self.min_lmwt, self.max_lmwt, penalties, self.stats, self.cer, backend, cmd)


#: Decorator: the verb gets these options, and their values as its argument ``decoding``.
decoding_options = grouped_options("decoding", DecodingArguments, _DECODING_OPTIONS)
#: Decorator: the verb gets these options, and their values as its argument ``scoring``.
scoring_options = grouped_options("scoring", ScoringArguments, _SCORING_OPTIONS)
