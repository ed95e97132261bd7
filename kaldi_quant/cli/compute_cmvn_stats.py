"""``kaldi-quant compute-cmvn-stats FEATURES-RSPECIFIER STATS-WSPECIFIER``: what normalises features."""

from __future__ import annotations

import click
import numpy as np

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.cli.options import KaldiCommand, allow_pipes_option, max_bad_share_option
from kaldi_quant.kaldi.features.cmvn import accumulate
from kaldi_quant.kaldi.features.speakers import file_of, read_spk2utt
from kaldi_quant.kaldi.tables import matrix_writer, read_matrices
from kaldi_quant.kaldi.writer import make_writer
from kaldi_quant.progress import progress


@click.command(cls=KaldiCommand)
@click.option("--spk2utt", metavar="RSPECIFIER", help="The utterances of each speaker; without it each for itself.")
@max_bad_share_option()
@allow_pipes_option()
@click.argument("features", metavar="FEATURES-RSPECIFIER")
@click.argument("stats", metavar="STATS-WSPECIFIER")
def command(spk2utt: str | None, max_bad_share: float, allow_pipes: bool, features: str, stats: str) -> None:
    """Compute the statistics of speakers that normalise their features, as compute-cmvn-stats does.

    A model whose cmvn_opts ask for normalised features looks for them in cmvn.scp beside the features.

    e.g.: kaldi-quant compute-cmvn-stats --spk2utt ark:data/test/spk2utt scp:data/test/feats.scp
    ark,scp:data/test/cmvn.ark,data/test/cmvn.scp
    """
    speakers = read_spk2utt(file_of(spk2utt)) if spk2utt is not None else None
    speaker_of = {name: speaker for speaker, names in (speakers or {}).items() for name in names}
    found: dict[str, np.ndarray] = {}
    bad = BadUtterances(max_bad_share)
    with matrix_writer(stats, allow_pipes) as writer, progress(None, "statistics") as advance:
        for utterance, feats in read_matrices(features, allow_pipes, bad.report):
            advance(1)
            speaker = speaker_of.get(utterance) if speakers is not None else utterance
            # As in Kaldi, spk2utt chooses among the utterances.
            if speaker is None or not feats.size:
                continue
            bad.good += 1
            found[speaker] = found.get(speaker, 0) + accumulate(feats)
        bad.check()
        for speaker in speakers or found:
            if speaker in found:
                binary = make_writer(binary=True)
                binary.matrix(found[speaker])
                writer.write_packed(speaker, binary.getvalue())
