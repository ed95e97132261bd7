"""``kaldi-quant train MODEL EGS-DIR OUT-DIR``: LF-MMI fine-tuning of a float model."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from kaldi_quant.cli.options import KaldiCommand
from kaldi_quant.cli.training_options import TrainingArguments, training_options

_log = logging.getLogger(__name__)


@click.command(cls=KaldiCommand)
@training_options
@click.argument("model")
@click.argument("egs", metavar="EGS-DIR")
@click.argument("out_dir")
def command(training: TrainingArguments, model: str, egs: str, out_dir: str) -> None:
    """Fine-tune MODEL with LF-MMI on the examples in EGS-DIR, and write OUT-DIR/final.mdl.

    Statistics of normalization stay as they are. A run that was killed goes on when it is called again. OUT-DIR gets
    progress.json and objective.png, too.

    e.g.: kaldi-quant train --lr-initial=1e-5 --lr-final=5e-6 exp/chain/tdnn1a_sp/final.mdl exp/chain/egs exp/tuned
    """
    from kaldi_quant.kaldi.model import read_model
    from kaldi_quant.train.finetune import finetune, write_model

    training.set_threads()
    folder = Path(out_dir)
    trained = finetune(
        read_model(model), training.data(model, egs), folder, training.chain(), training.source(), training.loop()
    )
    assert trained is not None
    path = write_model(folder / "final.mdl", trained)
    _log.info("%s: %d bytes", path, path.stat().st_size)
