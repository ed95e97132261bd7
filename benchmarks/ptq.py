"""Time and memory of post-training quantization, against network size, depth and calibration frames.

    python benchmarks/ptq.py [--presets w8a8,w4a8] [--networks tdnn,tdnnf] [--frames 6000,60000] [--threads 2]

Networks are those of published size (``networks.py``), with random parameters, and calibration sets utterances of
random features of 4 to 16 seconds. Each quantization is a process of its own, from the network in memory to its
integers. Printed are the time by the clock, the processor's time, the peak of the memory, a digest of the integers, and
how much more each takes than the line before it. ``--layers`` gives TDNN-Fs of other depths.

    python benchmarks/ptq.py --networks tdnnf --layers 9,17 --frames 12000
    python benchmarks/ptq.py --busy 8 --networks tdnn --frames 12000

measures growth with the depth, and the processor's time beside eight processes that are always busy.

    python benchmarks/ptq.py --kills 50 --networks tdnnf --frames 6000

kills quantizations at random points, goes on with them, and compares the integers at the end with those of one that was
not killed. A layer that was finished must not be made again.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from kaldi_quant.cores import prepare_libraries

_GIGABYTE = 1 << 30
# What Python, torch and the network take to be there.
_START = 6.0


def quantized(task: dict) -> dict:  # type: ignore[type-arg]
    """Does one quantization in this process."""
    import networks
    import numpy as np
    import torch

    from kaldi_quant.nnet3.chunks import ChunkOptions
    from kaldi_quant.nnet3.inference import InferenceOptions
    from kaldi_quant.nnet3.quantization import quantize
    from kaldi_quant.nnet3.utterances import UtteranceSet
    from kaldi_quant.quant.kept_layers import Keeping
    from kaldi_quant.quant.presets import read_preset

    torch.set_num_threads(task["threads"])
    more = {"layers": task["layers"]} if task["layers"] else {}
    nnet = getattr(networks, task["network"])(**more)
    generator, utterances, total = np.random.default_rng(0), [], 0
    while total < task["frames"]:
        length = min(int(generator.integers(400, 1600)), task["frames"] - total)
        # Neighbouring frames are alike, as those of speech.
        steps = generator.standard_normal((length + 20, networks.FEATURES)).astype(np.float32)
        sums = np.cumsum(steps, 0)
        utterances.append((f"u{total}", (sums[20:] - sums[:-20]) / np.float32(20**0.5)))
        total += length
    data = UtteranceSet(utterances, InferenceOptions(ChunkOptions(3)))
    keeping = Keeping(Path(task["folder"])) if task["folder"] else None
    begin, processor = time.monotonic(), time.process_time()
    network = quantize(nnet, read_preset(task["preset"]), data, keeping=keeping, memory=int(task["memory"] * _GIGABYTE))
    digest = hashlib.sha256()
    for layer in network.layers.values():
        for values in (layer.weight.integers, layer.weight.scale, layer.bias):
            digest.update(values.numpy().tobytes())
    return {
        "seconds": time.monotonic() - begin,
        "processor": time.process_time() - processor,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "digest": digest.hexdigest()[:12],
        "layers": len(network.layers),
    }


def start(task: dict) -> subprocess.Popen[str]:  # type: ignore[type-arg]
    """Begins a quantization in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(task["threads"])}
    prepare_libraries(environment)
    command = [sys.executable, __file__, "--task", json.dumps(task)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def finished(process: subprocess.Popen[str]) -> dict:  # type: ignore[type-arg]
    """Its result."""
    output, _ = process.communicate()
    if process.returncode:
        raise click.ClickException(f"a quantization ended with status {process.returncode}")
    return dict(json.loads(output.splitlines()[-1]))


def spin() -> None:
    """Keeps a core busy."""
    while True:
        pass


def kill_and_go_on(task: dict, kills: int) -> None:  # type: ignore[type-arg]
    """Kills quantizations at random points until they have come to their end."""
    whole = finished(start(task))
    print(f"  not killed          {whole['seconds']:8.1f} s {whole['digest']}", flush=True)
    rng = random.Random(0)
    killed = runs = finished_layers = again = 0
    with tempfile.TemporaryDirectory() as folder:
        kept = {**task, "folder": folder}
        while killed < kills:
            before = {path: path.stat().st_mtime_ns for path in Path(folder).rglob("layer*.pt")}
            process = start(kept)
            runs += 1
            # Somewhere between the start of Python and the next few layers.
            end = time.monotonic() + rng.uniform(0, _START + whole["seconds"] / 4)
            while time.monotonic() < end and process.poll() is None:
                time.sleep(0.01)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                killed += 1
            else:
                result = finished(process)
                assert result["digest"] == whole["digest"], "other integers after kills"
                for path in Path(folder).rglob("*.pt"):
                    path.unlink()
                before = {}
            now = {path: path.stat().st_mtime_ns for path in Path(folder).rglob("layer*.pt")}
            again += sum(before[path] != now.get(path) for path in before)
            finished_layers += len(now.keys() - before.keys())
        result = finished(start(kept))
    print(f"  killed {killed} times in {runs} runs, {finished_layers} layers made, {again} of them made again")
    print(f"  {'the same integers' if result['digest'] == whole['digest'] else 'OTHER INTEGERS'} {result['digest']}")


@click.command()
@click.option("--presets", default="w8a8,w4a8", help="Which.")
@click.option("--networks", "names", default="tdnn,tdnnf", help="tdnn, tdnnf or both.")
@click.option("--layers", default="0", help="Depths of the TDNN-F; 0 for the published one.")
@click.option("--frames", default="6000,60000", help="Calibration frames.")
@click.option("--threads", default=2, help="Of each quantization.")
@click.option("--memory", default=0.5, help="As of 'kaldi-quant quantize --memory'.")
@click.option("--busy", default=0, help="Processes that are always busy, beside the quantization.")
@click.option("--kills", default=0, help="Kill so many quantizations.")
@click.option("--task", hidden=True)
def main(
    presets: str,
    names: str,
    layers: str,
    frames: str,
    threads: int,
    memory: float,
    busy: int,
    kills: int,
    task: str | None,
) -> None:
    if task is not None:
        print(json.dumps(quantized(json.loads(task))))
        return
    others = [multiprocessing.Process(target=spin, daemon=True) for _ in range(busy)]
    for other in others:
        other.start()
    for name in names.split(","):
        for preset in presets.split(","):
            print(f"{name}, {preset}, {threads} threads{f', beside {busy} busy processes' if busy else ''}", flush=True)
            before = None
            for depth in map(int, layers.split(",")):
                for number in map(int, frames.split(",")):
                    one = {"network": name, "preset": preset, "layers": depth, "frames": number, "threads": threads}
                    one |= {"memory": memory, "folder": None}
                    if kills:
                        kill_and_go_on(one, kills)
                        continue
                    found = finished(start(one))
                    growth = f"{found['processor'] / before:6.2f} x" if before else ""
                    before = found["processor"]
                    print(
                        f"  {found['layers']:>3} layers {number:>7} frames {found['seconds']:8.1f} s "
                        f"{found['processor']:8.1f} s of the processor {found['memory']:6.2f} GB "
                        f"{found['digest']} {growth}",
                        flush=True,
                    )
    for other in others:
        other.kill()


if __name__ == "__main__":
    main()
