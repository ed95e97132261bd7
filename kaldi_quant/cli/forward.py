"""``kaldi-quant forward MODEL FEATURES-RSPECIFIER LOGLIKES-WSPECIFIER``: as nnet3-compute."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.cli.options import KaldiCommand, allow_pipes_option, kaldi_bool_option, max_bad_share_option
from kaldi_quant.errors import FormatError, UsageError
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.tables import RandomAccessMatrices, matrix_writer, read_matrices
from kaldi_quant.progress import progress

if TYPE_CHECKING:
    import torch

    from kaldi_quant.nnet.inference import IvectorSource

_log = logging.getLogger(__name__)


@click.command(cls=KaldiCommand)
@click.option("--online-ivectors", metavar="RSPECIFIER", help="i-vectors, a matrix for each utterance.")
@click.option("--online-ivector-period", type=int, default=0, help="Frames per row of --online-ivectors.")
@click.option("--ivectors", metavar="RSPECIFIER", help="i-vectors, a vector for each utterance.")
@click.option(
    "--frame-subsampling-factor", type=int, help="Frames per output row; by default what the model's folder says."
)
@click.option("--frames-per-chunk", type=int, default=0, help="Cut utterances into pieces; 0 for whole utterances.")
@click.option("--extra-left-context", type=int, default=0, help="Frames before a piece, beyond the model's context.")
@click.option("--extra-right-context", type=int, default=0, help="Frames after a piece, beyond the model's context.")
@click.option("--extra-left-context-initial", type=int, default=-1, help="The same at an utterance's begin, if >= 0.")
@click.option("--extra-right-context-final", type=int, default=-1, help="The same at an utterance's end, if >= 0.")
@click.option("--acoustic-scale", type=float, default=1.0, help="Multiplies the output.")
@kaldi_bool_option(
    "--use-priors", default=True, help="Subtract the logarithm of the model's priors; chain models have none."
)
@kaldi_bool_option("--float64", default=False, help="Compute in double precision.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", help="Where to compute.")
@click.option("--num-threads", type=int, default=0, help="CPU threads; 0 for torch's own choice.")
@click.option("--batch-seconds", type=float, default=60.0, help="Speech computed at once.")
@max_bad_share_option()
@allow_pipes_option()
@click.argument("model")
@click.argument("features", metavar="FEATURES-RSPECIFIER")
@click.argument("loglikes", metavar="LOGLIKES-WSPECIFIER")
def command(
    online_ivectors: str | None,
    online_ivector_period: int,
    ivectors: str | None,
    frame_subsampling_factor: int | None,
    frames_per_chunk: int,
    extra_left_context: int,
    extra_right_context: int,
    extra_left_context_initial: int,
    extra_right_context_final: int,
    acoustic_scale: float,
    use_priors: bool,
    float64: bool,
    device: str,
    num_threads: int,
    batch_seconds: float,
    max_bad_share: float,
    allow_pipes: bool,
    model: str,
    features: str,
    loglikes: str,
) -> None:
    """Compute log-likelihoods of FEATURES-RSPECIFIER with MODEL and write them to LOGLIKES-WSPECIFIER.

    e.g.: kaldi-quant forward final.mdl scp:data/test/feats.scp ark:loglikes.ark
    """
    from kaldi_quant.nnet.chunks import ChunkOptions
    from kaldi_quant.nnet.inference import FRAMES_PER_SECOND, Inference, InferenceOptions
    from kaldi_quant.nnet.model import AcousticModel

    placement, dtype = _torch_setting(device, num_threads, float64)
    chunks = ChunkOptions(
        frame_subsampling_factor if frame_subsampling_factor is not None else subsampling_of(model),
        frames_per_chunk,
        extra_left_context,
        extra_right_context,
        extra_left_context_initial,
        extra_right_context_final,
    )
    options = InferenceOptions(chunks, online_ivector_period, acoustic_scale, batch_seconds)
    read = read_model(model)
    network = AcousticModel(read.nnet).to(placement, dtype)
    bad = BadUtterances(max_bad_share)
    source = _ivector_source(ivectors, online_ivectors, allow_pipes)
    inference = Inference(network, read.priors if use_priors else None, options, source, bad)
    begin, frames = time.monotonic(), 0
    with matrix_writer(loglikes, allow_pipes) as writer, progress(None, "forward") as advance:
        for utterance, rows in inference.compute(read_matrices(features, allow_pipes, on_bad=bad.report)):
            writer.write(utterance, rows)
            frames += len(rows) * chunks.frame_subsampling_factor
            advance(1)
        bad.check()
    seconds = time.monotonic() - begin
    speech = frames / FRAMES_PER_SECOND
    _log.info("%d utterances, %d left out, %.0f s of speech in %.1f s", bad.good, bad.bad, speech, seconds)


def subsampling_of(model: str) -> int:
    """The frame-subsampling factor that stands in a model's folder; 1 where there is none, as in Kaldi.

    Raises:
        FormatError: the file does not hold a positive number.
    """
    path = Path(model).parent / "frame_subsampling_factor"
    if not path.exists():
        return 1
    text = path.read_text(errors="replace").strip()
    if not text.isdecimal() or not 0 < int(text) < 1000:
        raise FormatError(str(path), None, f"expected a frame-subsampling factor such as 3, found {text[:40]!r}")
    return int(text)


def _torch_setting(device: str, num_threads: int, float64: bool) -> tuple[torch.device, torch.dtype]:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA device here; use --device cpu")
    if num_threads > 0:
        torch.set_num_threads(num_threads)
    return torch.device(device), torch.float64 if float64 else torch.float32


def _ivector_source(ivectors: str | None, online_ivectors: str | None, allow_pipes: bool) -> IvectorSource | None:
    if ivectors is not None and online_ivectors is not None:
        raise UsageError("--ivectors and --online-ivectors exclude each other")
    specifier = ivectors or online_ivectors
    if specifier is None:
        return None
    table = RandomAccessMatrices(specifier, allow_pipes)
    return lambda utterance: table.get(utterance) if utterance in table else None
