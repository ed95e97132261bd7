"""Tables of features and i-vectors that are made of audio, as a recogniser makes them while audio comes in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.errors import DataError, KaldiQuantError
from kaldi_quant.kaldi.ivectors.online import ivectors_of_utterance
from kaldi_quant.kaldi.ivectors.options import ExtractionInfo
from kaldi_quant.kaldi.mfcc_options import MfccOptions
from kaldi_quant.kaldi.specifiers import is_rspecifier
from kaldi_quant.kaldi.tables import OnBad, matrix_writer
from kaldi_quant.kaldi.waves import read_waves
from kaldi_quant.progress import progress
from kaldi_quant.recogniser.audio import read_recording
from kaldi_quant.recogniser.features import FeatureStream

_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".opus")


@dataclass(frozen=True)
class AudioTables:
    """What was written.

    Args:
        features: the rspecifier of features.
        ivectors: that of i-vectors; empty without an extractor.
        period: frames of features for a row of i-vectors.
    """

    features: str
    ivectors: str
    period: int


def write_audio_tables(
    wavs: str,
    folder: Path,
    mfcc: MfccOptions,
    extraction: ExtractionInfo | None,
    bad: BadUtterances,
    allow_pipes: bool = False,
) -> AudioTables:
    """Computes features and i-vectors; each recording is a speaker.

    Args:
        wavs: a folder of recordings, a ``wav.scp``, or an rspecifier of recordings.
        folder: for the tables.
        mfcc: what features are.
        extraction: of i-vectors; None without.
        bad: is told of recordings that cannot be used.
        allow_pipes: whether commands in a ``wav.scp`` run.

    Raises:
        DataError: there are no recordings, too many of them cannot be used, or the folder cannot be written.
    """
    tables = [f"ark,scp:{folder}/{name}.ark,{folder}/{name}.scp" for name in ("feats", "ivectors")]
    with matrix_writer(tables[0]) as features, matrix_writer(tables[1]) as ivectors, progress(None, "audio") as advance:
        for name, samples, rate in _recordings(wavs, allow_pipes, bad.report):
            advance(1)
            try:
                stream = FeatureStream(mfcc, rate)
                feats = np.concatenate([stream.accept(samples), stream.finish()])
                rows = None if extraction is None else ivectors_of_utterance(extraction, feats)[0]
            except DataError as error:
                bad.report(name, error)
                continue
            bad.good += 1
            features.write(name, feats)
            if rows is not None:
                ivectors.write(name, rows)
        bad.check()
    period = 0 if extraction is None else extraction.options.ivector_period
    return AudioTables(f"scp:{folder}/feats.scp", f"scp:{folder}/ivectors.scp" if extraction else "", period)


def _recordings(wavs: str, allow_pipes: bool, on_bad: OnBad) -> Iterator[tuple[str, np.ndarray, float]]:
    """(name, (samples,) float32 in the scale of 16-bit integers, rate) of each."""
    folder = Path(wavs)
    if folder.is_dir():
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
        if not paths:
            raise DataError(f"{wavs} has no recordings: expected files such as {', '.join(_SUFFIXES)}")
        names: set[str] = set()
        for path in paths:
            name = "_".join(path.relative_to(folder).with_suffix("").parts).replace(" ", "_")
            try:
                if name in names:
                    raise DataError(f"{path}: another recording is {name} in tables, too")
                samples, rate = read_recording(path)
            except KaldiQuantError as error:
                on_bad(name, error)
                continue
            names.add(name)
            yield name, samples, rate
        return
    for name, wave in read_waves(wavs if is_rspecifier(wavs) else f"scp:{wavs}", allow_pipes, on_bad=on_bad):
        yield name, wave.samples[0].astype(np.float32), float(wave.rate)
