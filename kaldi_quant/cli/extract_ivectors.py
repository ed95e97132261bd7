"""``kaldi-quant extract-ivectors EXTRACTOR FEATURES OUT``: as ivector-extract-online2 and its recipe script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.cli.options import KaldiCommand, allow_pipes_option, kaldi_bool_option, max_bad_share_option
from kaldi_quant.errors import DataError, KaldiQuantError, UsageError
from kaldi_quant.kaldi.features.speakers import by_speaker, file_of, read_spk2utt, read_utt2spk
from kaldi_quant.kaldi.ivector_folder import write_ivector_folder
from kaldi_quant.kaldi.ivectors.online import ivectors_of_utterance
from kaldi_quant.kaldi.ivectors.options import ExtractionInfo
from kaldi_quant.kaldi.specifiers import is_rspecifier
from kaldi_quant.kaldi.tables import RandomAccessMatrices, matrix_writer, read_matrices
from kaldi_quant.kaldi.vosk_folder import extraction_at
from kaldi_quant.progress import progress


@click.command(cls=KaldiCommand)
@click.option("--spk2utt", metavar="RSPECIFIER", help="The utterances of each speaker, in their order.")
@kaldi_bool_option("--per-utterance", default=False, help="Nothing is carried from utterance to utterance.")
@kaldi_bool_option("--repeat", default=False, help="A row for each frame in the place of one for each period.")
@click.option("--ivector-period", type=int, help="Frames for which there is one i-vector.")
@click.option("--num-gselect", type=int, help="Gaussians that a frame counts for, at most.")
@click.option("--min-post", type=float, help="What is less probable counts nothing.")
@click.option("--posterior-scale", type=float, help="Of what frames count.")
@click.option("--max-count", type=float, help="Beyond so many frames, times the scale, the prior grows with them.")
@click.option("--max-remembered-frames", type=float, help="Of a speaker's utterances, for the next ones.")
@kaldi_bool_option("--greedy-ivector-extractor", default=None, help="All frames are heard before the first i-vector.")
@kaldi_bool_option("--online-cmvn-iextractor", default=None, help="Normalised features are accumulated, too.")
@max_bad_share_option()
@allow_pipes_option()
@click.argument("extractor", metavar="EXTRACTOR", type=click.Path())
@click.argument("features", metavar="FEATURES")
@click.argument("out", metavar="OUT")
def command(
    spk2utt: str | None,
    per_utterance: bool,
    repeat: bool,
    max_bad_share: float,
    allow_pipes: bool,
    extractor: str,
    features: str,
    out: str,
    **options: Any,
) -> None:
    """Extract online i-vectors, as Kaldi's ivector-extract-online2 and extract_ivectors_online.sh do.

    EXTRACTOR is an ivector_extractor.conf, or a folder with final.ie, final.dubm, final.mat and so on. FEATURES are
    not normalised: a data folder, whose speakers count, or an rspecifier, where each utterance is for itself without
    --spk2utt. OUT is a folder, which gets ivector_online.scp and what the recipes look for beside it, or a wspecifier.
    Options that are not given are those of EXTRACTOR.

    e.g.: kaldi-quant extract-ivectors exp/nnet3/extractor data/test_hires exp/nnet3/ivectors_test_hires
    """
    given = {name: value for name, value in options.items() if value is not None}
    info = extraction_at(Path(extractor)).with_options(**given)
    if per_utterance and spk2utt is not None:
        raise UsageError("--per-utterance and --spk2utt exclude each other")
    is_folder = not is_rspecifier(features)
    if is_folder and not (Path(features) / "feats.scp").is_file():
        raise DataError(f"{features}: there is no feats.scp: expected a data folder or an rspecifier")
    table = f"scp:{Path(features) / 'feats.scp'}" if is_folder else features
    speakers = None
    if spk2utt is not None:
        speakers = read_spk2utt(file_of(spk2utt))
    elif is_folder and not per_utterance:
        speakers = _speakers(Path(features))
    bad = BadUtterances(max_bad_share)
    if is_rspecifier(out):
        with matrix_writer(out, allow_pipes) as writer:
            for utterance, rows in _ivectors(info, table, speakers, repeat, bad, allow_pipes):
                writer.write(utterance, rows)
    else:
        if repeat:
            raise UsageError("--repeat=true: a folder has one i-vector for each period; OUT must be a wspecifier")
        write_ivector_folder(Path(out), info, _ivectors(info, table, speakers, repeat, bad, allow_pipes))


def _speakers(folder: Path) -> dict[str, list[str]] | None:
    if (folder / "spk2utt").is_file():
        return read_spk2utt(str(folder / "spk2utt"))
    return by_speaker(read_utt2spk(str(folder / "utt2spk"))) if (folder / "utt2spk").is_file() else None


def _ivectors(
    info: ExtractionInfo,
    table: str,
    speakers: dict[str, list[str]] | None,
    repeat: bool,
    bad: BadUtterances,
    allow_pipes: bool,
) -> Iterator[tuple[str, np.ndarray]]:
    """(utterance, i-vectors), speaker by speaker."""
    with progress(None, "i-vectors") as advance:
        if speakers is None:
            for utterance, feats in read_matrices(table, allow_pipes, bad.report):
                try:
                    rows, _ = ivectors_of_utterance(info, feats, None, repeat)
                except DataError as error:
                    bad.report(utterance, error)
                    continue
                bad.good += 1
                advance(1)
                yield utterance, rows
        else:
            values = RandomAccessMatrices(table, allow_pipes)
            for utterances in speakers.values():
                state = None
                for utterance in utterances:
                    try:
                        rows, state = ivectors_of_utterance(info, values.get(utterance), state, repeat)
                    except KaldiQuantError as error:
                        bad.report(utterance, error)
                        continue
                    bad.good += 1
                    advance(1)
                    yield utterance, rows
    bad.check()
