"""Digests of what models, presets, trainings and searches give, to compare before and after a change that changes none.

    PYTHONPATH=CHECKOUT python3 benchmarks/digests.py before.txt    # with the package of another checkout
    python3 benchmarks/digests.py after.txt && diff before.txt after.txt

One line for each result: of integer models the contents of all tensors, however they are named in the file; of networks
their outputs; of measurements the numbers. A digest of floats is of all their bits: compare on one machine, with one
number of threads.
"""

import argparse
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

_EXAMPLE = Path(__file__).resolve().parent.parent / "egs" / "alphadigits"
_CHAIN = _EXAMPLE / "exp" / "chain"
_FEATURES = f"scp:{_EXAMPLE}/data/train_sub_hires/feats.scp"
_DEV = f"scp:{_EXAMPLE}/data/dev_hires/feats.scp"
_TRAINING = [
    "--egs-dir",
    f"{_CHAIN}/tdnn1a_sp/egs",
    "--num-epochs",
    "1",
    "--minibatch-size",
    "32",
    "--max-utterances",
    "8",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--parity", type=Path, help="a folder of more models, each with final.mdl, and feats.ark")
    parser.add_argument("--only", default="", help="results whose name contains this")
    arguments = parser.parse_args()
    parity = arguments.parity and arguments.parity.resolve()
    with arguments.output.open("w") as stream:
        os.chdir(_EXAMPLE)
        for name, digest in results(parity, arguments.only):
            print(name, digest, file=stream, flush=True)
            print(name, digest)


def results(parity: Path | None, only: str) -> Iterator[tuple[str, str]]:
    """Names and digests."""
    from kaldi_quant.quant.presets import preset_names

    for model, features, options in models(parity):
        for preset in preset_names():
            name = f"{model.parent.name} {preset}"
            if only in name:
                yield from quantized(name, model, features, ["--preset", preset, *options])
    for preset in ("w4a8", "w2a8", "w8a4", "by-structure", "torch-static"):
        if only in (name := f"qat {preset}"):
            yield from trained(name, ["--preset", preset])
    if only in (name := "qat learned widths"):
        yield from trained(name, ["--learn-widths", "3 bits", "--preset", "w4a8"])
    for name, verb, options, result in (
        ("sensitivity", "sensitivity", ["--bits", "4"], "sensitivity.json"),
        ("search", "search", ["--budget", "3 bits", "--max-dev-utterances", "4"], "search.json"),
        ("search second-order", "search", ["--budget", "3 bits", "--estimate", "second-order"], "search.json"),
    ):
        if only in name:
            with folder() as out:
                model = _CHAIN / "tdnn1a_sp" / "final.mdl"
                dev = head(_DEV, out / "dev.scp", 4)
                call(verb, *options, "--max-utterances", "3", model, _FEATURES, dev, out / "result")
                yield name, of_numbers(out / "result" / result)


def models(parity: Path | None) -> Iterator[tuple[Path, str, list[str]]]:
    """Models, features to calibrate on, and options."""
    for name in ("tdnn1a_sp", "tdnnf1b_sp"):
        yield _CHAIN / name / "final.mdl", _FEATURES, ["--max-utterances", "3"]
    if parity is not None:
        for path in sorted(parity.glob("*/final.mdl")):
            given = ["--online-ivectors", f"ark:{parity}/ivectors.ark", "--online-ivector-period", "10"]
            ivectors = given if path.parent.name.endswith("_ivec") else []
            yield path, f"ark:{parity}/feats.ark", [*ivectors, "--frame-subsampling-factor", "3"]


def quantized(name: str, model: Path, features: str, options: list[str]) -> Iterator[tuple[str, str]]:
    """An integer model and its outputs."""
    with folder() as out:
        if not call("quantize", *options, model, features, out):
            yield name, "refused"
            return
        yield name, of_tensors(out / "quantized.safetensors")
        yield from outputs(name, out, features, [word for word in options if word != "--preset"])


def outputs(name: str, out: Path, features: str, options: list[str]) -> Iterator[tuple[str, str]]:
    """What an integer model and its exports give."""
    ivectors = options[options.index("--online-ivectors") :][:4] if "--online-ivectors" in options else []
    some = features if features.startswith("ark:") else head(features, out / "some.scp", 4)
    for engine in ("reference", "auto"):
        archive = out / f"{engine}.ark"
        if call("forward", "--engine", engine, *ivectors, out / "quantized.safetensors", some, f"ark:{archive}"):
            yield f"{name} {engine}", of_bytes(archive.read_bytes())
    if call("export", out / "quantized.safetensors", out / "exported"):
        for path in sorted((out / "exported").glob("*.onnx")):
            yield f"{name} {path.name}", of_onnx(path)
        for path in sorted((out / "exported").glob("*.mdl")):
            yield f"{name} {path.name}", of_bytes(path.read_bytes())


def trained(name: str, options: list[str]) -> Iterator[tuple[str, str]]:
    """The integer model of a short training."""
    with folder() as out:
        if call("qat", *options, *_TRAINING, _CHAIN / "tdnn1a_sp" / "final.mdl", _FEATURES, out):
            yield name, of_tensors(out / "quantized.safetensors")


def of_tensors(path: Path) -> str:
    """Of all tensors in a file."""
    tensors = {name: value for name, value in load_file(path).items() if name != "checksum"}
    contents = [(str(value.dtype), value.shape, of_bytes(value.tobytes())) for value in tensors.values()]
    return of_bytes(repr(sorted(contents)).encode())


def of_onnx(path: Path) -> str:
    """Of the outputs of an ONNX file for inputs that its shapes allow."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    inputs = {}
    for value in session.get_inputs():
        sizes = [size if isinstance(size, int) else (2, 90)[min(axis, 1)] for axis, size in enumerate(value.shape)]
        inputs[value.name] = rng.normal(scale=10.0, size=sizes).astype(np.float32)
    return of_bytes(b"".join(output.tobytes() for output in session.run(None, inputs)))


def of_numbers(path: Path) -> str:
    """Of the numbers in a JSON file, but for those that tell time or the program."""

    def kept(value: object) -> object:
        if isinstance(value, dict):
            return {
                key: kept(below) for key, below in sorted(value.items()) if key not in ("seconds", "program", "command")
            }
        return [kept(below) for below in value] if isinstance(value, list) else value

    # The temporary folder has another name at every run.
    text = path.read_text().replace(str(path.parents[1]), "")
    return of_bytes(json.dumps(kept(json.loads(text))).encode())


def of_bytes(data: bytes) -> str:
    """A short form."""
    return hashlib.sha256(data).hexdigest()[:16]


def head(rspecifier: str, scp: Path, lines: int) -> str:
    """The first lines of a table."""
    text = Path(rspecifier.removeprefix("scp:")).read_text().splitlines(keepends=True)
    scp.write_text("".join(text[:lines]))
    return f"scp:{scp}"


def call(*words: object) -> bool:
    """Runs a verb in this process; whether it succeeded."""
    from kaldi_quant.cli.main import run

    return run([str(word) for word in words]) == 0


class folder:
    """A temporary folder."""

    def __enter__(self) -> Path:
        self.path = Path(tempfile.mkdtemp())
        return self.path

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.path)


if __name__ == "__main__":
    main()
