"""Whole recognisers beside Vosk, from audio to words: words, times and memory, on one thread.

    python benchmarks/recogniser.py [--folder DIR] [--wavs DIR] [--rounds 3] [--published]

Vosk and this project read the same folder; the integer models are made of it first, calibrated on the recordings. Each
recogniser is a process of its own (``recogniser_worker.py``), and they take turns. Figures are medians over rounds, in
seconds of the processor. Audio comes in pieces of 0.2 s, with a partial result after each.

- real-time factor: processor time by length of audio; for this project also that of its parts. Vosk's cannot be seen
  from outside.
- first words: how much audio had come when a partial result first had words, and the processor's time from the piece
  that brought them to the result.
- last words: the processor's time from the end of the audio to the final result.
- memory after the last round: PSS and RSS above the size of the graph, and PSS of what loading the model added to
  that of the program and its libraries.

By default the folder is the example's, in a temporary place, with its 12 recordings. ``--published`` puts a TDNN-F of
published size with random parameters (17 layers of 1536, bottleneck 160) into it: its words mean nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from networks import tdnnf

from kaldi_quant.cores import ONE_THREAD
from kaldi_quant.kaldi.model import AmNnetSimple, Model, read_model
from kaldi_quant.kaldi.vosk_folder import VoskFolder
from tests.vosk_layout import vosk_layout

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "egs" / "alphadigits"
WORKER = str(Path(__file__).with_name("recogniser_worker.py"))
PARTS = ("features", "i-vectors", "network", "search")
ENVIRONMENT = {**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
MEGABYTE = 1 << 20


class Contender:
    """A recogniser that waits for rounds.

    Args:
        kind: of the worker.
        folder: of the model.
        wavs: the recordings.
    """

    def __init__(self, kind: str, folder: Path, wavs: list[Path]) -> None:
        command = [sys.executable, WORKER, kind, str(folder), *map(str, wavs)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
        )
        self.before = self._answer()["before"]
        self.rounds: list[dict[str, Any]] = []

    def round(self) -> None:
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)
        self.rounds.append(self._answer())

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise click.ClickException(f"{' '.join(self.process.args[2:4])} has ended")  # type: ignore[index]
        return json.loads(line)

    def texts(self) -> list[str]:
        return [found["text"] for found in self.rounds[-1]["recordings"]]

    def factor(self) -> float:
        """Of real time."""
        audio = sum(found["audio"] for found in self.rounds[0]["recordings"])
        return statistics.median(sum(found["seconds"] for found in each["recordings"]) for each in self.rounds) / audio

    def parts(self) -> dict[str, float]:
        """The parts' real-time factors."""
        audio = sum(found["audio"] for found in self.rounds[0]["recordings"])
        return {part: statistics.median(each["parts"].get(part, 0.0) for each in self.rounds) / audio for part in PARTS}

    def first(self) -> tuple[float, float]:
        """Of the first words: seconds of audio, and milliseconds of the processor."""
        found = [one["first"] for each in self.rounds for one in each["recordings"] if one["first"]]
        if not found:
            return float("nan"), float("nan")
        return statistics.median(audio for audio, _ in found), 1000 * statistics.median(took for _, took in found)

    def last(self) -> float:
        """Of the last words: milliseconds of the processor."""
        return 1000 * statistics.median(one["last"] for each in self.rounds for one in each["recordings"])


def quantized(folder: Path, wavs: Path, out: Path, *options: str) -> Path:
    command = [sys.executable, "-m", "kaldi_quant", "quantize", "--vosk-model", str(folder), *options]
    subprocess.run([*command, str(wavs), str(out)], check=True, env=ENVIRONMENT)
    return out


def with_published_network(folder: Path) -> None:
    """Puts a network of published size into a folder of Vosk's."""
    model = read_model(folder / "am" / "final.mdl")
    network = AmNnetSimple(tdnnf(pdfs=model.nnet.node_dim("output")), 0, 0, model.priors)
    changed = Model(network, model.transition_model, True, "synthetic network")
    (folder / "am" / "final.mdl").write_bytes(changed.getvalue())
    shutil.rmtree(folder / "ivector")


def print_table(contenders: dict[str, Contender], graph: float) -> None:
    reference = contenders["Vosk"]
    print(
        f"{'':<8}{'equal words':>12}{'RT factor':>11}{'of Vosk':>9}{'first words':>20}{'last words':>12}{'of Vosk':>9}"
    )
    for name, one in contenders.items():
        equal = sum(map(str.__eq__, one.texts(), reference.texts()))
        audio, took = one.first()
        print(
            f"{name:<8}{equal:>9}/{len(one.texts()):<2}{one.factor():>11.4f}{one.factor() / reference.factor():>9.2f}"
            f"{f'{audio:.2f} s + {took:.1f} ms':>20}{one.last():>9.1f} ms{one.last() / reference.last():>9.2f}"
        )
    print(f"{'':<8}" + "".join(f"{part:>11}" for part in (*PARTS, "others")) + "   parts of the RT factor")
    for name, one in contenders.items():
        if name != "Vosk":
            parts = one.parts()
            parts["others"] = one.factor() - sum(parts.values())
            print(f"{name:<8}" + "".join(f"{value:>11.4f}" for value in parts.values()))
    whole = contenders["float"].parts()["network"]
    for name in list(contenders)[2:]:
        print(f"the network of {name}: {contenders[name].parts()['network'] / whole:.2f} of this project's in float")
    for name, one in contenders.items():
        found = one.rounds[-1]["memory"]
        pss, rss = found["pss"] - graph, found["rss"] - graph
        added = found["pss"] - one.before["pss"] - graph
        print(f"{name:<8}PSS {pss:.0f} MB, RSS {rss:.0f} MB above the graph of {graph:.2f} MB; the model's {added:.0f}")


@click.command()
@click.option("--folder", type=click.Path(exists=True, path_type=Path), help="A Vosk folder; by default the example's.")
@click.option("--wavs", type=click.Path(exists=True, path_type=Path), default=EXAMPLE / "wav", help="16-bit WAV files.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--widths", default="8,4", show_default=True, help="Of weights; activations have 8 bits.")
@click.option("--quantized", "made", multiple=True, metavar="NAME=DIR", help="Vosk folders that are quantized already.")
@click.option("--published", is_flag=True, help="A network of published size, with random parameters.")
def main(folder: Path | None, wavs: Path, rounds: int, widths: str, made: tuple[str, ...], published: bool) -> None:
    """Print words, times and memory of recognisers."""
    paths = sorted(wavs.glob("*.wav"))
    with tempfile.TemporaryDirectory(prefix="kaldi_quant.") as name:
        place = Path(name)
        if folder is None or published:
            given = folder
            folder = place / "float"
            vosk_layout(folder, EXAMPLE) if given is None else shutil.copytree(given, folder)
        if published:
            with_published_network(folder)
        integers = {name: Path(path) for name, path in (each.split("=", 1) for each in made)}
        for width in [] if made else widths.split(","):
            # How weights of a random network are rounded does not change what it costs.
            options = ["--bits", width] if not published else ["--preset", "baseline"]
            integers[f"W{width}A8"] = quantized(folder, wavs, place / f"w{width}", *options)
        contenders = {"Vosk": Contender("vosk", folder, paths), "float": Contender("float", folder, paths)}
        contenders |= {name: Contender("integers", path, paths) for name, path in integers.items()}
        for _ in range(rounds):
            for contender in contenders.values():
                contender.round()
        graph = VoskFolder.read(folder).graph
        print_table(contenders, 0.0 if graph is None else graph.stat().st_size / MEGABYTE)
        for contender in contenders.values():
            contender.end()


if __name__ == "__main__":
    main()
