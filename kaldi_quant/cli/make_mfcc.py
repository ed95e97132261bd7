"""``kaldi-quant make-mfcc``: features from audio."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import click
import numpy as np

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.cli.options import KaldiCommand, allow_pipes_option, kaldi_bool_option, max_bad_share_option
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.compressed_matrix import compress
from kaldi_quant.kaldi.mfcc_options import MfccOptions, read_mfcc_config
from kaldi_quant.kaldi.tables import TableWriter, matrix_writer
from kaldi_quant.kaldi.waves import read_waves
from kaldi_quant.progress import progress

_UNSUPPORTED = ("debug_mel", "output_format", "utt2spk", "vtln_map", "vtln_warp", "write_utt2dur")
_WITHOUT_VTLN = ("vtln_low", "vtln_high")
_HELP = {
    "allow_downsample": "Resample audio of a higher sampling frequency.",
    "allow_upsample": "Resample audio of a lower sampling frequency.",
    "channel": "Counted from 0; -1 takes the first.",
    "max_feature_vectors": "Without effect, as in compute-mfcc-feats.",
    **dict.fromkeys(_WITHOUT_VTLN, "Without effect, as in compute-mfcc-feats without VTLN."),
    **dict.fromkeys(_UNSUPPORTED, "Not supported."),
}


def _mfcc_options(function: Callable[..., None]) -> Callable[..., None]:
    """One command-line option for each field of MfccOptions; None where it is not given."""
    for field in reversed(fields(MfccOptions)):
        name = f"--{field.name.replace('_', '-')}"
        about = _HELP.get(field.name, "")
        shown = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
        if isinstance(field.default, bool):
            function = kaldi_bool_option(name, default=None, help=about, show_default=shown)(function)
        else:
            function = click.option(name, type=type(field.default), default=None, help=about, show_default=shown)(
                function
            )
    return function


@click.command(cls=KaldiCommand)
@click.option(
    "--config",
    "mfcc_config",
    metavar="FILE",
    multiple=True,
    help="Kaldi's mfcc.conf; options given here come after it.",
)
@click.option("--segments", metavar="FILE", default="", help="Kaldi's segments: utterance recording begin end.")
@kaldi_bool_option(
    "--compress", "compress_features", default=False, help="Compress the features as copy-feats --compress=true does."
)
@max_bad_share_option()
@allow_pipes_option()
@_mfcc_options
@click.argument("wav_rspecifier", metavar="WAV-RSPECIFIER")
@click.argument("feats_wspecifier", metavar="FEATS-WSPECIFIER")
def command(
    mfcc_config: tuple[str, ...],
    segments: str,
    compress_features: bool,
    max_bad_share: float,
    allow_pipes: bool,
    wav_rspecifier: str,
    feats_wspecifier: str,
    **given: Any,
) -> None:
    """Compute MFCC features from wav files of 16-bit PCM, as compute-mfcc-feats does.

    e.g.: kaldi-quant make-mfcc --config conf/mfcc_hires.conf scp:data/test/wav.scp ark,scp:feats.ark,feats.scp

    The audio may also lie in an archive, ark:wav.ark, or in one that wav.scp points into. Audio of another sampling
    frequency is resampled where --allow-downsample or --allow-upsample is given.

    Dither is 0 unless a configuration file or --dither asks for it, so that the same audio gives the same features.
    """
    from kaldi_quant.kaldi.mfcc import Mfcc

    options = MfccOptions()
    for path in mfcc_config:
        options = read_mfcc_config(path, options)
    options = replace(options, **{name: value for name, value in given.items() if value is not None})
    mfcc = Mfcc(options)
    bad = BadUtterances(max_bad_share)
    with matrix_writer(feats_wspecifier, allow_pipes) as writer, progress(None, "computing MFCC") as advance:
        for utterance, wave in read_waves(wav_rspecifier, allow_pipes, segments, bad.report):
            advance(1)
            try:
                _write(writer, utterance, mfcc.compute(utterance, wave), compress_features)
            except DataError as error:
                bad.report(utterance, error)
                continue
            bad.good += 1
        bad.check()


def _write(writer: TableWriter, utterance: str, features: np.ndarray, compress_features: bool) -> None:
    if compress_features:
        writer.write_packed(utterance, b"\0B" + compress(features))
    else:
        writer.write(utterance, features)
