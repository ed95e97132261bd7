"""``kaldi-quant train MODEL EGS-DIR OUT-DIR``: LF-MMI fine-tuning of a float model."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import click

from kaldi_quant.cli.feature_options import check_features_of_examples
from kaldi_quant.cli.inference_options import subsampling_of
from kaldi_quant.cli.options import KaldiCommand, result_folder
from kaldi_quant.cli.training_options import TrainingArguments, placed, training_options
from kaldi_quant.errors import UsageError

if TYPE_CHECKING:
    from kaldi_quant.train.parallel.place import Place

_log = logging.getLogger(__name__)


@click.command(cls=KaldiCommand)
@training_options
@click.option("--frame-subsampling-factor", type=click.IntRange(min=1), help="By default what the model's folder says.")
@click.option("--num-threads", type=int, default=0, help="CPU threads; 0 for torch's own choice.")
@click.argument("model")
@click.argument("egs", metavar="EGS-DIR")
@click.argument("out_dir")
@placed
def command(
    training: TrainingArguments,
    place: Place,
    frame_subsampling_factor: int | None,
    num_threads: int,
    model: str,
    egs: str,
    out_dir: str,
) -> None:
    """Fine-tune MODEL with LF-MMI on the examples in EGS-DIR, and write OUT-DIR/final.mdl.

    Statistics of normalization stay as they are. A run that was killed goes on when it is called again. OUT-DIR gets
    progress.json and objective.png, too. Started by torchrun, several processes share each minibatch.

    e.g.: kaldi-quant train --lr-initial=1e-5 --lr-final=5e-6 exp/chain/tdnn1a_sp/final.mdl exp/chain/egs exp/tuned
    """
    import torch

    from kaldi_quant.kaldi.model import read_model
    from kaldi_quant.train.finetune import TrainingData, finetune, write_model

    if num_threads > 0:
        torch.set_num_threads(num_threads)
    folder = result_folder(out_dir)
    if (folder / "final.mdl").exists() and (folder / "final.mdl").samefile(model):
        raise UsageError(f"{out_dir} is the model's own folder, whose final.mdl would be lost: give another one")
    subsampling = subsampling_of(model) if frame_subsampling_factor is None else frame_subsampling_factor
    check_features_of_examples(egs, model)
    data = TrainingData(egs, training.denominator(model), subsampling)
    objective, source, loop = training.chain(), training.source(), training.loop()
    trained = finetune(read_model(model), data, folder, objective, source, loop, place=place, jobs=training.jobs())
    assert trained is not None
    if not place.group.is_main:
        return
    path = write_model(folder / "final.mdl", trained)
    _log.info("%s: %d bytes", path, path.stat().st_size)
