"""``kaldi-quant forward MODEL FEATURES-RSPECIFIER LOGLIKES-WSPECIFIER``: as nnet3-compute."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import click

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.cli.inference_options import InferenceArguments, inference_options
from kaldi_quant.cli.model_options import ModelArguments, model_options
from kaldi_quant.cli.models import ENGINES, Engine, read_network
from kaldi_quant.cli.options import KaldiCommand, kaldi_bool_option
from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.compatibility import fitting_features
from kaldi_quant.kaldi.tables import matrix_writer
from kaldi_quant.progress import progress

_log = logging.getLogger(__name__)


@click.command(cls=KaldiCommand)
@inference_options
@model_options
@click.option(
    "--acoustic-scale", "output_scale", type=float, default=1.0, show_default=True, help="Multiply the output by this."
)
@kaldi_bool_option(
    "--use-priors", default=True, help="Subtract the log priors in the model, if it has any; chain models have none."
)
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="auto",
    show_default=True,
    help="What runs an integer model. onnxruntime: its integer kernels; reference: the arithmetic that defines the "
    "result; onednn, x86, fbgemm or qnnpack, those of PyTorch; auto, the one that the model was made for, else "
    "onnxruntime where it gives the same integers.",
)
@click.option("--record", metavar="DIR", help="Write a description of the model for 'compare' to DIR.")
@kaldi_bool_option("--float64", default=False, help="Compute a float model in double precision.")
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where to compute a float model.",
)
@click.argument("runnable_model", metavar="MODEL")
@click.argument("features", metavar="FEATURES-RSPECIFIER")
@click.argument("loglikes", metavar="LOGLIKES-WSPECIFIER")
def command(
    inference: InferenceArguments,
    models: ModelArguments,
    output_scale: float,
    use_priors: bool,
    engine: Engine,
    record: str | None,
    float64: bool,
    device: str,
    runnable_model: str,
    features: str,
    loglikes: str,
) -> None:
    """Compute log-likelihoods of FEATURES-RSPECIFIER with MODEL and write them to LOGLIKES-WSPECIFIER.

    MODEL is a .mdl, a raw nnet3 file, or an integer model written by 'quantize'.

    e.g.: kaldi-quant forward final.mdl scp:data/test/feats.scp ark:loglikes.ark
    """
    import torch

    from kaldi_quant.nnet3.inference import FRAMES_PER_SECOND, Inference

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA device; use --device cpu")
    inference.options(1, output_scale)
    inference.set_threads()
    network = read_network(runnable_model, engine, models, inference.frame_subsampling_factor)
    options = inference.options(network.subsampling, output_scale)
    if network.is_integer and (float64 or device != "cpu"):
        raise UsageError(
            f"--float64 and --device cuda are for float models; {runnable_model} is an integer model, which runs on "
            "the CPU"
        )
    if not network.is_integer:
        if engine != "auto":
            raise UsageError(f"--engine {engine} is for integer models, and {runnable_model} is a float model")
        network.model.to(torch.device(device), torch.float64 if float64 else torch.float32)
    bad = BadUtterances(inference.max_bad_share)
    priors = network.priors if use_priors else None
    runner = Inference(network.model, priors, options, inference.ivector_source(network.companions), bad)
    table = inference.read_features(runnable_model, features, bad.report)
    utterances = fitting_features(table, network.model.input_dim, features, runnable_model)
    begin, frames = time.monotonic(), 0
    with matrix_writer(loglikes, inference.allow_pipes) as writer, progress(None, "forward") as advance:
        for utterance, rows in runner.compute(utterances):
            writer.write(utterance, rows)
            frames += len(rows) * options.chunks.frame_subsampling_factor
            advance(1)
        bad.check()
    seconds = time.monotonic() - begin
    if record is not None:
        from kaldi_quant.formats.record import write_record

        write_record(Path(record), network.record, Path(runnable_model))
    speech = frames / FRAMES_PER_SECOND
    _log.info("%d utterances, %d left out, %.0f s of speech in %.1f s", bad.good, bad.bad, speech, seconds)
