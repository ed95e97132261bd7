"""``kaldi-quant qat MODEL FEATURES-RSPECIFIER OUT-DIR``: an integer model by quantization-aware training."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kaldi_quant.cli.inference_options import InferenceArguments, inference_options, subsampling_of
from kaldi_quant.cli.options import KaldiCommand
from kaldi_quant.cli.quantization_options import QuantizationArguments, quantization_options, read_utterances
from kaldi_quant.cli.quantize import is_file
from kaldi_quant.cli.training_options import TrainingArguments, training_options
from kaldi_quant.errors import ModelError, UsageError
from kaldi_quant.kaldi.model import Model, read_model

if TYPE_CHECKING:
    from kaldi_quant.quant.calibration import CalibrationSet
    from kaldi_quant.train.distillation import Distillation
    from kaldi_quant.train.loop import Source
    from kaldi_quant.train.qat.network import TrainableNetwork

_log = logging.getLogger(__name__)


@click.command(cls=KaldiCommand)
@quantization_options
@training_options
@click.option("--egs-dir", metavar="DIR", help="Train on these examples with LF-MMI; without them by distillation.")
@click.option(
    "--distillation",
    type=float,
    help="The share of distillation in the loss, 0 to 1; by default 0.5 with examples, 1 without.",
)
@click.option("--temperature", type=float, default=1.0, show_default=True, help="Of distillation.")
@click.option("--teacher", metavar="MODEL", help="Whose output is learned; by default MODEL itself, in float.")
@click.option("--held-out", metavar="RSPECIFIER", help="Features that distillation without examples is validated on.")
@click.option(
    "--method",
    default="lsq",
    show_default=True,
    help="lsq: scales are learned; fixed: they stay as calibration found them.",
)
@click.option("--freeze-after", type=float, default=0.8, show_default=True, help="Share of training with free scales.")
@inference_options
@click.argument("model")
@click.argument("features", metavar="FEATURES-RSPECIFIER")
@click.argument("out_dir")
def command(
    quantization: QuantizationArguments,
    training: TrainingArguments,
    inference: InferenceArguments,
    model: str,
    features: str,
    out_dir: str,
    method: str,
    freeze_after: float,
    **teaching: Any,
) -> None:
    """Train MODEL in fake integers, from where quantization after training leaves it, and write OUT-DIR.

    FEATURES-RSPECIFIER is what activation ranges are found on, and without --egs-dir also what is trained on. OUT-DIR
    gets quantized.safetensors and quantization.json as from 'quantize', progress.json and objective.png. A run that was
    killed goes on when it is called again.

    e.g.: kaldi-quant qat --bits 4 --egs-dir exp/chain/egs exp/chain/final.mdl scp:data/train_sub/feats.scp exp/qat_w4
    """
    from kaldi_quant.export.artefact import save
    from kaldi_quant.export.record import ARTEFACT_NAME, make_record, write_record
    from kaldi_quant.quant.divergence import divergence
    from kaldi_quant.quant.ptq import quantize
    from kaldi_quant.train.qat.network import TrainableNetwork
    from kaldi_quant.train.qat.training import QatOptions, train_quantized

    preset, config = quantization.resolve()
    options = QatOptions(method, freeze_after)
    if config.backend == "torch":
        raise UsageError("what PyTorch quantizes is not trained here: choose another preset")
    if is_file(out_dir):
        raise UsageError(f"{out_dir} is a file: give a folder for the results")
    read = read_model(model)
    data = quantization.calibration_set(model, features, inference)
    network = TrainableNetwork.of(quantize(read.nnet, config, data), learned=method == "lsq")
    run = _Run(training, inference, model, read, data, _Teaching(**teaching))
    source = run.source(network)
    trained = train_quantized(network, read, source, options, training.loop(), Path(out_dir), run.identity)
    assert trained is not None
    lost = divergence(trained, data.some())
    record = make_record(trained, config, preset, features, subsampling_of(model), lost)
    record["training"] = {"qat": asdict(options), **run.identity, "optimizer": asdict(training.loop().optimizer)}
    artefact = Path(out_dir) / ARTEFACT_NAME
    size = save(artefact, trained, read, record)
    write_record(Path(out_dir), record, artefact)
    _log.info("%s: %d bytes; KL from float %.5f on calibration data", artefact, size, lost.kl)


@dataclass(frozen=True)
class _Teaching:
    """The values of the options that say what is learned."""

    egs_dir: str | None
    distillation: float | None
    temperature: float
    teacher: str | None
    held_out: str | None

    @property
    def share(self) -> float:
        if self.distillation is not None:
            return self.distillation
        return 0.5 if self.egs_dir else 1.0


@dataclass(frozen=True)
class _Run:
    """What the source of minibatches is made of."""

    training: TrainingArguments
    inference: InferenceArguments
    path: str
    model: Model
    data: CalibrationSet
    teaching: _Teaching

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "teaching": {**asdict(self.teaching), "distillation": self.teaching.share},
            "chain": asdict(self.training.chain()),
            "source": asdict(self.training.source()),
        }

    def source(self, network: TrainableNetwork) -> Source:
        """Examples, or pieces of utterances."""
        from kaldi_quant.train.archives import EgsFolder
        from kaldi_quant.train.chain.den_graph import read_denominator_graph
        from kaldi_quant.train.chain_source import ChainSource
        from kaldi_quant.train.feature_source import FeatureOptions, FeatureSource
        from kaldi_quant.train.objective import ChainLoss

        subsampling = self.inference.options(subsampling_of(self.path)).chunks.frame_subsampling_factor
        teaching, options = self.teaching, self.training.source()
        if teaching.egs_dir is not None:
            graph = read_denominator_graph(self.training.denominator(self.path), network.model.output_dim)
            loss = ChainLoss(graph, self.training.chain(), self._distillation() if teaching.share else None)
            return ChainSource(EgsFolder.find(teaching.egs_dir), loss, options, network.model, subsampling)
        if teaching.share != 1:
            raise UsageError(f"--distillation {teaching.share:g}: without --egs-dir there is nothing else to train on")
        held_out = read_utterances(self.path, teaching.held_out, self.inference).utterances if teaching.held_out else []
        cut = FeatureOptions(options.num_epochs, _one_size(options.minibatch_size), options.srand)
        return FeatureSource(self.data.utterances, self._distillation(), cut, subsampling, held_out)

    def _distillation(self) -> Distillation:
        from kaldi_quant.nnet.model import AcousticModel
        from kaldi_quant.train.distillation import Distillation

        path = self.teaching.teacher
        teacher = AcousticModel((read_model(path) if path else self.model).nnet)
        if teacher.output_dim != self.model.nnet.node_dim("output"):
            found, expected = teacher.output_dim, self.model.nnet.node_dim("output")
            raise ModelError(
                f"{path}: the teacher has {found} pdfs, and {self.path} has {expected}: their trees differ"
            )
        return Distillation(teacher, self.teaching.temperature, self.teaching.share)


def _one_size(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"--minibatch-size {text}: expected one number where there are no examples")
    return int(text)
