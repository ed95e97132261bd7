"""One model's folder: the model, Kaldi's answers to it, and the commands that gave them."""

import re
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from archives import IVECTOR_PERIOD, random_generator, read_matrices
from kaldi_programs import Kaldi
from lifelike import format_block, lifelike

WHOLE = "--frames-per-chunk=10000"
EDGES = "--extra-left-context-initial=0 --extra-right-context-final=0"
CHUNK51 = f"--frames-per-chunk=51 --extra-left-context=21 --extra-right-context=0 {EDGES}"
CHUNK51_RIGHT = f"--frames-per-chunk=51 --extra-left-context=21 --extra-right-context=9 {EDGES}"
CHUNK51_PADDED = "--frames-per-chunk=51 --extra-left-context=21 --extra-right-context=9"
CHUNK51_BARE = "--frames-per-chunk=51"
ONLINE = f"--online-ivectors=ark:../ivectors_online.ark --online-ivector-period={IVECTOR_PERIOD}"
PER_UTTERANCE = "--ivectors=ark:../ivectors_utt.ark"

#: The runs of nnet3-compute that a model can have, by the name of the file that they write.
WHOLE_ONLY = {"output.ark": WHOLE}
CHUNKED = {**WHOLE_ONLY, "output_chunk51.ark": CHUNK51}
CHUNKED_BOTH = {**CHUNKED, "output_chunk51_21_9.ark": CHUNK51_RIGHT, "output_chunk51_padded.ark": CHUNK51_PADDED}
CHUNKED_BARE = {**CHUNKED, "output_chunk51_bare.ark": CHUNK51_BARE}

_LARGEST_BYTES = 150_000


@dataclass
class Model:
    """A model and how to run it; exactly one of ``xconfig`` and ``config`` is given.

    Args:
        name: its folder.
        what: what it is a test of.
        xconfig: its layers.
        config: its nodes and components.
        feats: the archive that it is given.
        subsampling: the frame-subsampling factor.
        runs: options of nnet3-compute by the name of the archive that they give.
        ivectors: the options that name the i-vectors.
        files: functions that write a file that the network's configuration names.
        transition_model: with one the model is a final.mdl, without one a final.raw.
        priors: whether a final.mdl has priors, and nnet3-compute subtracts their logarithms.
        text: whether the text form is kept too.
    """

    name: str
    what: str
    xconfig: str = ""
    config: str = ""
    feats: str = "feats20.ark"
    subsampling: int = 3
    runs: dict[str, str] = field(default_factory=lambda: WHOLE_ONLY)
    ivectors: str = ""
    files: dict[str, Callable[[Path], object]] = field(default_factory=dict)
    transition_model: Path | None = None
    priors: bool = False
    text: bool = False


def node(name: str, kind: str, source: str, options: str) -> str:
    """The two lines of a component and the node that uses it."""
    return f"component name={name} type={kind} {options}\ncomponent-node name={name} component={name} input={source}\n"


def make_model(model: Model, out: Path, kaldi: Kaldi) -> str:
    """Makes a model's folder; returns a line about it."""
    folder = out / model.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    final = _init(model, folder, kaldi)
    info = "nnet3-am-info" if model.transition_model else "nnet3-info"
    text, _ = kaldi(f"{info} {final}", folder)
    # What follows, Kaldi's own summary of each component, is not compared with.
    (folder / "info.txt").write_text(text.split("component name=", 1)[0])
    if model.text:
        kaldi(f"{info.replace('info', 'copy')} --binary=false {final} final.txt", folder)
    outputs, log = {}, [f"# {model.what}"]
    for name, options in model.runs.items():
        ivectors = f" {model.ivectors}" if model.ivectors else ""
        priors = "true" if model.priors else "false"
        kaldi(
            f"nnet3-compute --use-priors={priors} --frame-subsampling-factor={model.subsampling} {options}{ivectors} "
            f"{final} ark:../{model.feats} ark:{name}",
            folder,
            log,
        )
        outputs[name] = read_matrices(folder / name)
    (folder / "cmd.txt").write_text("\n".join(log) + "\n")
    return _check(folder, final, outputs)


def _init(model: Model, folder: Path, kaldi: Kaldi) -> str:
    """Makes the model itself; returns its file's name."""
    scratch = [*model.files, "final.config", "edited.txt"]
    for name, write in model.files.items():
        write(folder / name)
    config = kaldi.xconfig(model.xconfig, folder) if model.xconfig else model.config
    (folder / "final.config").write_text(config)
    seed = zlib.crc32(model.name.encode()) % 100000
    text, _ = kaldi(f"nnet3-init --srand={seed} --binary=false final.config -", folder)
    (folder / "edited.txt").write_text(lifelike(text, random_generator(model.name)))
    kaldi("nnet3-copy edited.txt final.raw", folder)
    final = "final.raw"
    if model.transition_model:
        kaldi(f"nnet3-am-init {model.transition_model} final.raw final.mdl", folder)
        scratch.append("final.raw")
        final = "final.mdl"
    if model.priors:
        text, _ = kaldi("nnet3-am-copy --binary=false final.mdl -", folder)
        priors = random_generator("priors").dirichlet(np.ones(208) * 5)
        (folder / "edited.txt").write_text(re.sub(r"<Priors>\s+\[ *\]", f"<Priors> {format_block(priors)}", text))
        kaldi("nnet3-am-copy edited.txt final.mdl", folder)
    for name in scratch:
        (folder / name).unlink()
    return final


def _check(folder: Path, final: str, outputs: dict[str, dict[str, np.ndarray]]) -> str:
    """One line about a finished model; complains where the outputs would not test anything."""
    whole = outputs["output.ark"]
    stacked = np.concatenate(list(whole.values()))
    if not all(np.isfinite(rows).all() for output in outputs.values() for rows in output.values()):
        raise RuntimeError(f"{folder}: not finite")
    spread = stacked.std(axis=0)
    if (spread > 1e-4).mean() <= 0.5:
        raise RuntimeError(f"{folder}: the output hardly moves: {spread}")
    size = (folder / final).stat().st_size
    if size >= _LARGEST_BYTES:
        raise RuntimeError(f"{folder}: {size} bytes")
    line = f"{folder.name}: {size / 1000:.1f} kB, spread {np.median(spread):.3f}, largest {abs(stacked).max():.2f}"
    for name, other in outputs.items():
        if name != "output.ark":
            line += f", {name[7:-4]} differs by {max(abs(whole[key] - other[key]).max() for key in whole):.2g}"
    return line
