"""``kaldi-quant export INTEGER-MODEL OUT-DIR``: what other programs can run."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kaldi_quant.cli.options import KaldiCommand, frame_subsampling_option, hold_folder
from kaldi_quant.errors import MissingDependencyError, ModelError, UsageError
from kaldi_quant.formats.file_kind import is_artefact
from kaldi_quant.formats.names import DEQUANTIZED_NAME
from kaldi_quant.kaldi.companions import Companions

if TYPE_CHECKING:
    from kaldi_quant.backends.onnx.parameters import WeightForm
    from kaldi_quant.formats.artefact import Artefact

_log = logging.getLogger(__name__)

FORMATS = ("mdl", "onnx")


@click.command(cls=KaldiCommand)
@click.option(
    "--formats",
    help="A list with commas: mdl, for Kaldi and Vosk; onnx, for onnxruntime and other readers of QDQ; by default, all "
    "that the model has.",
)
@click.option(
    "--frames", type=int, default=150, show_default=True, help="Number of frames of the fixed-length ONNX model."
)
@click.option(
    "--extra-left-context",
    type=int,
    default=0,
    show_default=True,
    help="Extra frames on the left of the fixed-length ONNX model, for recurrent networks.",
)
@click.option("--extra-right-context", type=int, default=0, show_default=True, help="The same on the right.")
@click.option(
    "--onnx-weights",
    type=click.Choice(["signed", "exact"]),
    default="signed",
    show_default=True,
    help="signed is fastest on most devices; exact is right in onnxruntime on x86 processors without VNNI, too.",
)
@frame_subsampling_option("the integer model")
@click.argument("integer_model", metavar="INTEGER-MODEL")
@click.argument("out_dir", metavar="OUT-DIR")
def command(
    formats: str | None,
    frames: int,
    extra_left_context: int,
    extra_right_context: int,
    onnx_weights: WeightForm,
    frame_subsampling_factor: int | None,
    integer_model: str,
    out_dir: str,
) -> None:
    """Convert INTEGER-MODEL, as written by 'quantize', into formats that other programs run, and write them to OUT-DIR.

    dequantized.mdl: the quantized weights in a Kaldi model, activations in float; beside it come
    frame_subsampling_factor and what else lay beside the float model: tree, phones.txt, cmvn_opts and so on.
    quantized.onnx: batch and time are free; quantized.FRAMES.onnx: for devices that need a fixed length. Recurrent
    networks have the second alone.

    e.g.: kaldi-quant export exp/tdnn1a_w4/quantized.safetensors exp/tdnn1a_w4
    """
    from kaldi_quant.formats.artefact import load
    from kaldi_quant.formats.dequantized import write_dequantized
    from kaldi_quant.formats.record import subsampling_in

    wanted = parse_formats(formats)
    if frames < 1:
        raise UsageError(f"--frames must be at least 1, found {frames}")
    for option, value in (("left", extra_left_context), ("right", extra_right_context)):
        if value < 0:
            raise UsageError(f"--extra-{option}-context cannot be negative, found {value}")
    if not is_artefact(integer_model):
        raise UsageError(
            f"{integer_model} is not an integer model: give the quantized.safetensors written by 'quantize'"
        )
    artefact, folder = load(integer_model), Path(out_dir)
    period = subsampling_in(artefact.record, integer_model, frame_subsampling_factor)
    hold_folder(folder)
    paths = []
    if "mdl" in wanted:
        companions = Companions.of_record(artefact.record, integer_model, period)
        companions.write(folder, DEQUANTIZED_NAME)
        paths.append(write_dequantized(folder / DEQUANTIZED_NAME, artefact))
    if "onnx" in wanted:
        extra = (extra_left_context, extra_right_context)
        try:
            paths.extend(_onnx_files(artefact, folder, period, frames, extra, onnx_weights))
        except (ModelError, MissingDependencyError) as error:
            if formats is not None:
                raise
            _log.warning("no ONNX file: %s", error)
    for path in paths:
        _log.info("%s: %d bytes", path, path.stat().st_size)


def parse_formats(text: str | None) -> Sequence[str]:
    """The formats that ``--formats`` lists; all where it is not given.

    Raises:
        UsageError: there is none, or an unknown one.
    """
    wanted = FORMATS if text is None else [name for name in text.split(",") if name]
    if not wanted or set(wanted) - set(FORMATS):
        raise UsageError(f"--formats {text}: expected a list from {', '.join(FORMATS)}")
    return wanted


def _onnx_files(
    artefact: Artefact, folder: Path, period: int, frames: int, extra: tuple[int, int], form: WeightForm
) -> Iterator[Path]:
    from kaldi_quant.formats.onnx_qdq import write_onnx

    try:
        yield write_onnx(artefact.network, folder / "quantized.onnx", period, form=form).path
    except ModelError as error:
        _log.warning("no ONNX file for any number of frames: %s", error)
    fixed = folder / f"quantized.{frames}.onnx"
    yield write_onnx(artefact.network, fixed, period, -(-frames // period), form, *extra).path
