"""One recogniser in a process of its own: Vosk, whose library does not load beside torch, or this project's.

    python benchmarks/recogniser_worker.py vosk|float|integers FOLDER WAV...

A first line of JSON says what memory it takes. Then each line of standard input is a round: all recordings are
recognised, in pieces of 0.2 s with a partial result after each, and a line of JSON tells the words and the times.
"""

from __future__ import annotations

import json
import sys
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PIECE = 0.2
_MEGABYTE = 1 << 20


def memory() -> dict[str, float]:
    """PSS and RSS of this process, in MB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    values = {line.split(":")[0].lower(): int(line.split()[1]) * 1024 / _MEGABYTE for line in lines}
    return {name: values[name] for name in ("pss", "rss")}


def vosks(folder: str) -> tuple[Callable[[float], Any], dict[str, float]]:
    import vosk

    vosk.SetLogLevel(-1)
    before = memory()
    model = vosk.Model(folder)
    return lambda rate: vosk.KaldiRecognizer(model, rate), before


def ours(folder: str, in_float: bool, seconds: dict[str, float]) -> tuple[Callable[[float], Any], dict[str, float]]:
    from kaldi_quant.cli.options import set_threads
    from kaldi_quant.recogniser.models import find_parts, open_model
    from kaldi_quant.recogniser.recognizer import Recognizer

    set_threads(1)
    before = memory()
    model = open_model(find_parts(folder), in_float)
    watch_parts(model, seconds)
    return lambda rate: Recognizer(model, rate), before


def watch_parts(model: Any, seconds: dict[str, float]) -> None:
    """Adds up what parts of a recogniser take."""
    from kaldi_quant.kaldi.ivectors.online import OnlineIvectors
    from kaldi_quant.recogniser.features import FeatureStream
    from kaldi_quant.recogniser.search import Search

    def watched(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            begin = time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                seconds[part] = seconds.get(part, 0.0) + time.process_time() - begin

        return call

    places: list[tuple[str, Any, tuple[str, ...]]] = [
        ("network", model.network.computer, ("chunk",)),
        ("features", FeatureStream, ("accept", "finish")),
        ("i-vectors", OnlineIvectors, ("accept", "weigh", "ivector")),
        ("search", Search, ("accept", "best_path", "lattice")),
    ]
    for part, place, names in places:
        for name in names:
            setattr(place, name, watched(part, getattr(place, name)))


def recognise(make: Callable[[float], Any], path: str) -> dict[str, Any]:
    """The words of a recording, seconds of the processor for all and after its end, and when words came first."""
    with wave.open(path) as stream:
        rate, data = stream.getframerate(), stream.readframes(stream.getnframes())
    size, first, texts = 2 * int(rate * _PIECE), None, []
    start = time.process_time()
    recognizer = make(rate)
    recognizer.SetWords(True)
    for begin in range(0, len(data), size):
        came = time.process_time()
        if recognizer.AcceptWaveform(data[begin : begin + size]):
            texts.append(json.loads(recognizer.Result())["text"])
        elif first is None and json.loads(recognizer.PartialResult())["partial"]:
            first = (min(begin + size, len(data)) / 2 / rate, time.process_time() - came)
        elif first is not None:
            recognizer.PartialResult()
    end = time.process_time()
    texts.append(json.loads(recognizer.FinalResult())["text"])
    now = time.process_time()
    return {
        "text": " ".join(filter(None, texts)),
        "audio": len(data) / 2 / rate,
        "seconds": now - start,
        "last": now - end,
        "first": first,
    }


def main() -> None:
    kind, folder, *paths = sys.argv[1:]
    seconds: dict[str, float] = {}
    make, before = vosks(folder) if kind == "vosk" else ours(folder, kind == "float", seconds)
    # What is made when it is used first, such as the graph in memory, is no part of the rounds.
    recognise(make, paths[0])
    print(json.dumps({"before": before}), flush=True)
    for _ in sys.stdin:
        seconds.clear()
        found = [recognise(make, path) for path in paths]
        print(json.dumps({"recordings": found, "parts": seconds, "memory": memory()}), flush=True)


if __name__ == "__main__":
    main()
