"""``kaldi-quant compute-cmvn-stats FEATURES-RSPECIFIER STATS``: what normalises features."""

from __future__ import annotations

from collections.abc import Callable

import click
import numpy as np

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.cli.options import KaldiCommand, allow_pipes_option, max_bad_share_option
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.kaldi.features.cmvn import accumulate
from kaldi_quant.kaldi.features.speakers import file_of, read_spk2utt
from kaldi_quant.kaldi.specifiers import is_rspecifier
from kaldi_quant.kaldi.tables import matrix_writer, read_matrices
from kaldi_quant.kaldi.writer import Writer, make_writer
from kaldi_quant.progress import progress


@click.command(cls=KaldiCommand)
@click.option("--spk2utt", metavar="RSPECIFIER", help="The utterances of each speaker; without it each for itself.")
@max_bad_share_option()
@allow_pipes_option()
@click.argument("features", metavar="FEATURES-RSPECIFIER")
@click.argument("stats", metavar="STATS")
def command(spk2utt: str | None, max_bad_share: float, allow_pipes: bool, features: str, stats: str) -> None:
    """Compute the statistics that normalise features, as Kaldi's program of this name does.

    STATS is a wspecifier for those of speakers or utterances, or a file for those of all. A model whose cmvn_opts ask
    for normalised features looks for those of speakers in cmvn.scp beside the features; online normalisation starts
    from those of all training data, global_cmvn.stats.

    e.g.: kaldi-quant compute-cmvn-stats --spk2utt ark:data/test/spk2utt scp:data/test/feats.scp
    ark,scp:data/test/cmvn.ark,data/test/cmvn.scp
    """
    of_all = not is_rspecifier(stats)
    if of_all and spk2utt is not None:
        raise UsageError(
            f"--spk2utt: {stats} is a file, for the statistics of all: give a wspecifier such as ark:{stats}"
        )
    speakers = read_spk2utt(file_of(spk2utt)) if spk2utt is not None else None
    speaker_of = {name: speaker for speaker, names in (speakers or {}).items() for name in names}
    # As in Kaldi, spk2utt chooses among the utterances.
    group = (lambda name: "all") if of_all else speaker_of.get if speakers is not None else (lambda name: name)
    found = _statistics(features, group, max_bad_share, allow_pipes)
    if of_all:
        _packed(found["all"]).save(stats)
        return
    with matrix_writer(stats, allow_pipes) as writer:
        for name in (name for name in speakers or found if name in found):
            writer.write_packed(name, _packed(found[name]).getvalue())


def _statistics(
    features: str, group: Callable[[str], str | None], max_bad_share: float, allow_pipes: bool
) -> dict[str, np.ndarray]:
    """The statistics of each group of utterances: (2, dim + 1) float64."""
    found: dict[str, np.ndarray] = {}
    bad = BadUtterances(max_bad_share)
    with progress(None, "statistics") as advance:
        for utterance, feats in read_matrices(features, allow_pipes, bad.report):
            advance(1)
            name = group(utterance)
            if name is None or not feats.size:
                continue
            stats = accumulate(feats)
            if name in found and found[name].shape != stats.shape:
                dim = found[name].shape[1] - 1
                bad.report(utterance, DataError(f"it has dimension {feats.shape[1]}, and others have {dim}"))
                continue
            bad.good += 1
            found[name] = found[name] + stats if name in found else stats
        bad.check()
    return found


def _packed(matrix: np.ndarray) -> Writer:
    writer = make_writer(binary=True)
    writer.matrix(matrix)
    return writer
