"""``kaldi-quant train MODEL EGS-DIR OUT-DIR``: LF-MMI fine-tuning of a float model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kaldi_quant.cli.feature_options import check_features_of_examples
from kaldi_quant.cli.model_options import ModelArguments, model_options
from kaldi_quant.cli.options import (
    KaldiCommand,
    frame_subsampling_option,
    hold_folder,
    num_threads_option,
    result_folder,
    set_threads,
)
from kaldi_quant.cli.training_options import TrainingArguments, placed, training_options
from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.companions import Companions
from kaldi_quant.kaldi.compatibility import check_examples
from kaldi_quant.kaldi.frame_subsampling import factor_of

if TYPE_CHECKING:
    from kaldi_quant.train.parallel.device_context import DeviceContext

_log = logging.getLogger(__name__)


@click.command(cls=KaldiCommand)
@training_options
@model_options
@frame_subsampling_option()
@num_threads_option()
@click.argument("model")
@click.argument("egs", metavar="EGS-DIR")
@click.argument("out_dir", metavar="OUT-DIR")
@placed
def command(
    training: TrainingArguments,
    place: DeviceContext,
    models: ModelArguments,
    frame_subsampling_factor: int | None,
    num_threads: int,
    model: str,
    egs: str,
    out_dir: str,
) -> None:
    """Fine-tune MODEL with LF-MMI on the examples in EGS-DIR, and write OUT-DIR/final.mdl.

    The statistics of batch normalization are not changed. A run that was interrupted continues when the command is
    repeated. Also writes progress.json and objective.png. Under torchrun, several processes share each minibatch.

    e.g.: kaldi-quant train --lr-initial=1e-5 --lr-final=5e-6 exp/chain/tdnn1a_sp/final.mdl exp/chain/egs exp/tuned
    """
    from kaldi_quant.nnet3.training.finetune import TrainingData, finetune, write_model

    set_threads(num_threads)
    folder = result_folder(out_dir)
    if (folder / "final.mdl").exists() and (folder / "final.mdl").samefile(model):
        raise UsageError(f"{out_dir} is the model's own folder, whose final.mdl would be lost: give another one")
    read = models.read(model)
    factor = factor_of(read, frame_subsampling_factor)
    check_examples(Path(egs), read)
    check_features_of_examples(egs, model)
    companions = Companions.beside(model, factor)
    companions.check(folder, "final.mdl")
    if place.group.is_main:
        hold_folder(folder)
    data = TrainingData(egs, training.denominator(model, egs), factor)
    objective, source, loop = training.chain(), training.source(), training.loop()
    trained = finetune(read, data, folder, objective, source, loop, place=place, jobs=training.jobs(num_threads))
    assert trained is not None
    if not place.group.is_main:
        return
    companions.write(folder, "final.mdl")
    path = write_model(folder / "final.mdl", trained)
    _log.info("%s: %d bytes", path, path.stat().st_size)
