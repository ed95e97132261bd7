"""``kaldi-quant transcribe MODEL WAV...``: from audio to words."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
import numpy as np

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.cli.options import (
    KaldiCommand,
    kaldi_bool_option,
    max_bad_share_option,
    num_threads_option,
    set_threads,
)
from kaldi_quant.errors import KaldiQuantError, UsageError

if TYPE_CHECKING:
    from io import BufferedReader

    from kaldi_quant.recogniser.model import Model

_STDIN = "-"
_MOST_BYTES = 1 << 15


@click.command(cls=KaldiCommand)
@click.option("--graph", default="", metavar="DIR", help="With HCLG.fst and words.txt, if the model's folder has none.")
@click.option("--mfcc-config", default="", metavar="FILE", help="What features are, if the folder has none.")
@click.option("--ivector-extractor", default="", metavar="CONF", help="ivector_extractor.conf, or a folder.")
@kaldi_bool_option("--float", "in_float", default=False, help="The float model, where both are there.")
@kaldi_bool_option("--json", "as_json", default=False, help="A line of JSON for each utterance, as Vosk's results.")
@kaldi_bool_option("--endpoints", default=True, help="Whether pauses end utterances; else a file is one.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Of raw audio on standard input, in Hz.")
@click.option("--beam", type=float, help="Of decoding, in the place of the model's.")
@click.option("--lattice-beam", type=float, help="Likewise.")
@click.option("--acoustic-scale", type=float, help="Likewise.")
@click.option("--frames-per-chunk", type=int, help="Frames that the network is given at once, about.")
@max_bad_share_option()
@num_threads_option()
@click.argument("model_or_folder", metavar="MODEL-OR-FOLDER", type=click.Path())
@click.argument("wavs", nargs=-1, required=True, metavar="WAV...")
def command(
    graph: str,
    mfcc_config: str,
    ivector_extractor: str,
    in_float: bool,
    as_json: bool,
    endpoints: bool,
    rate: float | None,
    max_bad_share: float,
    num_threads: int,
    model_or_folder: str,
    wavs: tuple[str, ...],
    **options: Any,
) -> None:
    """Print the words that are said in audio files, a line for each file.

    MODEL-OR-FOLDER is a folder of Vosk's; a folder with final.mdl or quantized.safetensors, such as Kaldi's for online
    decoding; or a model's file with --graph and --mfcc-config. An integer model, quantized.safetensors, is taken where
    it lies beside the float one. Files are of any kind and rate that the package soundfile reads; of several channels
    the first counts. - is raw audio on standard input: one channel of 16-bit integers, at --rate or the rate of the
    features; its utterances are printed as they end.

    e.g.: kaldi-quant transcribe --json vosk-model-small-en-us-0.15 meeting.wav
    """
    from kaldi_quant.recogniser.models import find_parts, open_model

    set_threads(num_threads)
    if rate is not None and _STDIN not in wavs:
        raise UsageError("--rate is for raw audio on standard input, -; files have rates of their own")
    changes = {name: value for name, value in options.items() if value is not None}
    found = open_model(find_parts(model_or_folder, graph, mfcc_config, ivector_extractor), in_float, changes)
    bad = BadUtterances(max_bad_share)
    for wav in wavs:
        texts: list[str] = []
        try:
            for result in _results(found, wav, rate, endpoints):
                texts.append(result["text"])
                if as_json:
                    click.echo(json.dumps({"file": wav, **result}, ensure_ascii=False))
                elif wav == _STDIN and result["text"]:
                    click.echo(result["text"])
        except KaldiQuantError as error:
            bad.report(wav, error)
            continue
        bad.good += 1
        if not as_json and wav != _STDIN:
            click.echo(" ".join([wav, *filter(None, texts)]))
    bad.check()


def _results(model: Model, wav: str, rate: float | None, endpoints: bool) -> Iterator[dict[str, Any]]:
    """The results of a file's utterances, as Vosk has them."""
    from kaldi_quant.recogniser.audio import read_recording
    from kaldi_quant.recogniser.recognizer import Recognizer

    pieces: Iterable[bytes | np.ndarray]
    # After each step of the recogniser it is asked whether the utterance has ended.
    if wav == _STDIN:
        recognizer = Recognizer(model, rate or model.mfcc_options.sample_frequency)
        pieces = _standard_input(2 * recognizer.step)
    else:
        samples, rate = read_recording(Path(wav))
        recognizer = Recognizer(model, rate)
        pieces = np.array_split(samples, range(recognizer.step, len(samples), recognizer.step))
    recognizer.SetWords(True)
    for piece in pieces:
        if recognizer.AcceptWaveform(piece) and endpoints:
            yield json.loads(recognizer.Result())
    yield json.loads(recognizer.FinalResult())


def _standard_input(size: int) -> Iterator[bytes]:
    """Pieces of so many bytes, and the whole samples of the rest."""
    waiting = b""
    # What is there is taken: a microphone's program writes less than this at once.
    stream = cast("BufferedReader", sys.stdin.buffer)
    while data := stream.read1(_MOST_BYTES):
        waiting += data
        whole = len(waiting) // size * size
        yield from (waiting[begin : begin + size] for begin in range(0, whole, size))
        waiting = waiting[whole:]
    yield waiting[: len(waiting) // 2 * 2]
