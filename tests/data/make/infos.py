"""What nnet3-info and nnet3-am-info print on the models here, and on one of them after edits by nnet3-copy."""

import shutil
from pathlib import Path

from kaldi_programs import Kaldi

_MODELS = (
    "attention_two_layers",
    "composite",
    "conv_usual",
    "conv_old",
    "fast_gru",
    "fast_opgru",
    "lstm",
    "priors_mdl",
    "scales_and_offsets",
    "tdnnf_small",
)
_EXAMPLE = Path(__file__).resolve().parents[3] / "egs/alphadigits/exp/chain/tdnnf1b_sp/final.mdl"
_EDITED = "tdnnf_small"
EDITS = (
    "convert-to-fixed-affine name=*chain.affine",
    "rename-node old-name=output-xent new-name=other; rename-node old-name=tdnnf2.noop new-name=middle",
    "remove-output-nodes name=*-xent; remove-orphans",
    "remove-output-nodes name=output; remove-orphan-nodes; remove-orphan-components",
    "set-learning-rate-factor name=tdnn*.affine learning-rate-factor=0.5; set-learning-rate learning-rate=2e-3",
    "set-learning-rate name=*l learning-rate=0.1 # behind it\n\n# nothing",
    "set-dropout-proportion name=tdnnf2.* proportion=0.25",
    "reduce-rank name=*.affine rank=5",
    "apply-svd name=*.affine bottleneck-dim=6 shrinkage-threshold=0.9",
    "apply-svd name='tdnn*' energy-threshold=0.6 shrinkage-threshold=0.99; rename-node old-name=output new-name=x",
)


def make_infos(out: Path, kaldi: Kaldi) -> str:
    """Makes the folder ``info``; returns a line about it."""
    folder = out / "info"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    lines = []
    for path in sorted((out / "components").glob("*.raw")):
        text, _ = kaldi(f"nnet3-info {path}", folder)
        lines.append(f"{path.stem} {text.split('component name=it ', 1)[1]}")
    (folder / "components.txt").write_text("".join(lines))
    files = {name: next((out / "nnet3" / name).glob("final.[mr]*")) for name in _MODELS}
    for name, path in {**files, "example": _EXAMPLE}.items():
        program = "nnet3-am-info" if path.suffix == ".mdl" else "nnet3-info"
        text, _ = kaldi(f"{program} {path}", folder)
        (folder / f"{name}.txt").write_text(text)
    for number, edits in enumerate(EDITS):
        (folder / "edits").write_text(edits.replace(";", "\n"))
        text, _ = kaldi(f"nnet3-copy --edits-config=edits {files[_EDITED]} - | nnet3-info -", folder)
        (folder / f"edits.{number}.txt").write_text(f"{edits!r}\n{text}")
    (folder / "edits").unlink()
    return f"info: {len(lines)} components, {len(files) + 1} models, {len(EDITS)} edits"
