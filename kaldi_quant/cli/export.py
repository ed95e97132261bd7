"""``kaldi-quant export INTEGER-MODEL OUT-DIR``: what other programs can run."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from kaldi_quant.cli.models import is_artefact
from kaldi_quant.cli.options import KaldiCommand
from kaldi_quant.errors import UsageError

_log = logging.getLogger(__name__)

FORMATS = ("mdl", "onnx")


@click.command(cls=KaldiCommand)
@click.option(
    "--formats",
    default=",".join(FORMATS),
    show_default=True,
    help="Separated by commas: mdl, for Kaldi and Vosk; onnx, for onnxruntime and what else reads QDQ.",
)
@click.option(
    "--frames", type=int, default=150, show_default=True, help="Frames of the ONNX model of fixed length."
)
@click.argument("model", metavar="INTEGER-MODEL")
@click.argument("out_dir")
def command(formats: str, frames: int, model: str, out_dir: str) -> None:
    """Write INTEGER-MODEL, as 'quantize' made it, in forms that other programs run, to OUT-DIR.

    dequantized.mdl: the quantized weights in a Kaldi model, activations in float. quantized.onnx: batch and time are
    free; quantized.FRAMES.onnx: for devices that need a fixed length.

    e.g.: kaldi-quant export exp/tdnn1a_w4/quantized.safetensors exp/tdnn1a_w4
    """
    from kaldi_quant.export.artefact import load
    from kaldi_quant.export.dequantized import write_dequantized
    from kaldi_quant.export.onnx_qdq import write_onnx
    from kaldi_quant.export.record import subsampling_in

    wanted = [name for name in formats.split(",") if name]
    unknown = [name for name in wanted if name not in FORMATS]
    if unknown or not wanted:
        raise UsageError(f"--formats {formats}: expected some of {', '.join(FORMATS)}")
    if not is_artefact(model):
        raise UsageError(f"{model} is no integer model: give the quantized.safetensors that 'quantize' wrote")
    if frames < 1:
        raise UsageError(f"--frames must be at least 1, found {frames}")
    artefact = load(model)
    paths = []
    if "mdl" in wanted:
        paths.append(write_dequantized(Path(out_dir) / "dequantized.mdl", artefact))
    if "onnx" in wanted:
        period = subsampling_in(artefact.record, model)
        for name, outputs in (("quantized.onnx", None), (f"quantized.{frames}.onnx", -(-frames // period))):
            write_onnx(artefact.network, Path(out_dir) / name, period, outputs)
            paths.append(Path(out_dir) / name)
    for path in paths:
        _log.info("%s: %d bytes", path, path.stat().st_size)
