"""``kaldi-quant qat MODEL FEATURES-RSPECIFIER OUT-DIR``: an integer model by quantization-aware training."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kaldi_quant.cli.feature_options import check_features_of_examples, check_teacher, feature_record
from kaldi_quant.cli.inference_options import InferenceArguments, inference_options, subsampling_of
from kaldi_quant.cli.options import KaldiCommand, result_folder
from kaldi_quant.cli.qat_options import QatArguments, WidthArguments, qat_options, width_options
from kaldi_quant.cli.quantization_options import QuantizationArguments, quantization_options, read_utterances
from kaldi_quant.cli.training_options import TrainingArguments, placed, training_options
from kaldi_quant.errors import ModelError, UsageError
from kaldi_quant.kaldi.model import Model, read_model

if TYPE_CHECKING:
    import numpy as np

    from kaldi_quant.quant.calibration import CalibrationSet
    from kaldi_quant.quant.config import PtqConfig
    from kaldi_quant.train.distillation import Distillation
    from kaldi_quant.train.parallel.place import Place
    from kaldi_quant.train.qat.learned_widths import WidthOptions
    from kaldi_quant.train.qat.training import Trainable
    from kaldi_quant.train.sources.archives import EgsFolder
    from kaldi_quant.train.sources.chain_source import SourceOptions
    from kaldi_quant.train.steps import Source

_log = logging.getLogger(__name__)


@click.command(cls=KaldiCommand)
@quantization_options
@training_options
@qat_options
@width_options
@click.option("--egs-dir", metavar="DIR", help="Train on these examples with LF-MMI; without them by distillation.")
@inference_options
@click.argument("model")
@click.argument("features", metavar="FEATURES-RSPECIFIER")
@click.argument("out_dir")
@placed
def command(
    quantization: QuantizationArguments,
    training: TrainingArguments,
    place: Place,
    qat: QatArguments,
    learned: WidthArguments,
    inference: InferenceArguments,
    egs_dir: str | None,
    model: str,
    features: str,
    out_dir: str,
) -> None:
    """Train MODEL in fake integers, from where quantization after training leaves it, and write OUT-DIR.

    FEATURES-RSPECIFIER is what activation ranges are found on, and without --egs-dir also what is trained on. OUT-DIR
    gets quantized.safetensors and quantization.json as from 'quantize', progress.json and objective.png. A run that was
    killed goes on when it is called again. Started by torchrun, several processes share each minibatch.

    With --learn-widths the widths of layers are learned first, in OUT-DIR/widths. OUT-DIR then gets allocation.yaml for
    --config of 'quantize' and 'qat', and learned_widths.json with the shares of all widths.

    e.g.: kaldi-quant qat --bits 4 --egs-dir exp/chain/egs exp/chain/final.mdl scp:data/train_sub/feats.scp exp/qat_w4
    """
    from kaldi_quant.export.results import write_result
    from kaldi_quant.train.qat.training import QatOptions, train_quantized

    wanted = learned.options()
    preset, config = learned.without_bits(quantization).resolve()
    qat = _with_method(qat, config)
    options = QatOptions(qat.method, qat.freeze_after)
    folder = result_folder(out_dir)
    if training.num_jobs != 1:
        raise UsageError("--num-jobs: integers are not averaged; start 'qat' by torchrun for more processes")
    _check(qat, egs_dir, place)
    loop, reading = training.loop(), training.source()
    read = read_model(model)
    if egs_dir is not None:
        check_features_of_examples(egs_dir, model, inference)
    if qat.teacher:
        check_teacher(qat.teacher, model, inference)
    data = quantization.calibration_set(model, features, inference)
    run = _Run(training, reading, inference, model, read, data, qat, egs_dir, place)
    if wanted is not None:
        preset, config = None, run.learned(wanted, config, learned.width_epochs, folder)
    network = _network(read, config, data, qat)
    source = run.source(network)
    trained = train_quantized(network, read, source, options, loop, folder, run.identity, place=place)
    assert trained is not None
    if not place.group.is_main:
        return
    more = {"training": {"qat": asdict(options), **run.identity, "optimizer": asdict(loop.optimizer)}}
    more |= feature_record(model, read.nnet, inference)
    made = write_result(folder, trained, read, config, features, data, subsampling_of(model), preset, more)
    _log.info("%s: %d bytes; KL from float %.5f on calibration data", made.path, made.bytes, made.lost.kl)


def _check(qat: QatArguments, egs_dir: str | None, place: Place) -> None:
    """Refuses options that contradict each other, before anything is read."""
    if egs_dir is None and qat.distillation not in (None, 1):
        raise UsageError(f"--distillation {qat.distillation:g}: without --egs-dir there is nothing else to train on")
    if egs_dir is not None and qat.held_out:
        raise UsageError("--held-out: examples have held-out ones of their own, valid_diagnostic.cegs")
    if qat.distillation == 0 and qat.teacher:
        raise UsageError(f"--teacher {qat.teacher}: with --distillation 0 nothing is learned from it")
    if qat.hard_weight and place.group.size > 1:
        raise UsageError("--hard-weight compares the utterances of a whole minibatch, which torchrun's processes share")


def _with_method(qat: QatArguments, config: PtqConfig) -> QatArguments:
    """The arguments with the only method that there is for what PyTorch quantizes."""
    if config.backend != "torch":
        if qat.method == "moving-average":
            raise UsageError("--method moving-average is PyTorch's: choose lsq or fixed, or --preset torch-static")
        return qat
    if qat.method == "fixed":
        raise UsageError(
            "--method fixed: PyTorch's scales follow moving averages of ranges; --freeze-after 0 keeps them"
        )
    _log.info(
        "PyTorch learns no scales: until --freeze-after of the training they follow moving averages of ranges "
        "(method moving-average)"
    )
    return replace(qat, method="moving-average")


def _network(model: Model, config: PtqConfig, data: CalibrationSet, qat: QatArguments) -> Trainable:
    """What is trained: it begins where quantization after training ends."""
    from kaldi_quant.quant.ptq import quantize
    from kaldi_quant.train.qat.network import TrainableNetwork
    from kaldi_quant.train.qat.torch_network import TorchTrainableNetwork

    if config.backend == "torch":
        return TorchTrainableNetwork.of(model.nnet, config, data)
    return TrainableNetwork.of(quantize(model.nnet, config, data), learned=qat.method == "lsq")


@dataclass(frozen=True)
class _Run:
    """What the source of minibatches is made of."""

    training: TrainingArguments
    reading: SourceOptions
    inference: InferenceArguments
    path: str
    model: Model
    data: CalibrationSet
    qat: QatArguments
    egs_dir: str | None
    place: Place

    @property
    def share(self) -> float:
        """Of distillation in the loss."""
        if self.qat.distillation is not None:
            return self.qat.distillation
        return 0.5 if self.egs_dir else 1.0

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What decides the result, beside the model and the network that training begins with."""
        from kaldi_quant.train.finetune import data_digest

        return {
            "teaching": {**asdict(self.qat), "egs_dir": self.egs_dir, "distillation": self.share},
            "chain": asdict(self.training.chain()),
            "source": asdict(self.reading),
            **({"data": data_digest(self._egs, self.training.denominator(self.path))} if self._egs else {}),
        }

    @cached_property
    def _egs(self) -> EgsFolder | None:
        """The examples, where there are any."""
        from kaldi_quant.train.sources.archives import EgsFolder

        return EgsFolder.find(self.egs_dir) if self.egs_dir is not None else None

    def source(self, network: Trainable) -> Source:
        """Examples, or pieces of utterances."""
        return self._examples(network, self._egs) if self._egs is not None else self._pieces(network)

    @property
    def _subsampling(self) -> int:
        return self.inference.options(subsampling_of(self.path)).chunks.frame_subsampling_factor

    def _examples(self, network: Trainable, egs: EgsFolder) -> Source:
        from kaldi_quant.train.chain.den_graph import read_denominator_graph
        from kaldi_quant.train.objective import ChainLoss
        from kaldi_quant.train.sources.chain_source import ChainSource

        graph = read_denominator_graph(self.training.denominator(self.path), network.model.output_dim)
        teacher = self._distillation(network) if self.share else None
        loss = ChainLoss(graph, self.training.chain(), teacher, self.place)
        return ChainSource(egs, loss, self.reading, network.model, self._subsampling)

    def _pieces(self, network: Trainable) -> Source:
        from kaldi_quant.train.sources.feature_source import FeatureOptions, FeatureSource

        held_out: list[tuple[str, np.ndarray]] = []
        if self.qat.held_out:
            held_out = list(read_utterances(self.path, self.qat.held_out, self.inference).utterances)
        reading = self.reading
        size = _one_size(reading.minibatch_size)
        cut = FeatureOptions(reading.num_epochs, size, reading.srand, reading.augmentation)
        teacher = self._distillation(network)
        return FeatureSource(self.data.utterances, teacher, cut, self._subsampling, held_out, self.place)

    def learned(self, options: WidthOptions, config: PtqConfig, epochs: int | None, folder: Path) -> PtqConfig:
        """The configuration with learned widths; what was learned comes into the folder of the results."""
        from kaldi_quant.export.results import ALLOCATION_NAME, write_config
        from kaldi_quant.train.qat.learned_widths import FOLDER_NAME, learn_widths
        from kaldi_quant.train.qat.mixed_widths import MixedNetwork

        run = replace(self, reading=replace(self.reading, num_epochs=epochs or self.reading.num_epochs))
        mixed = MixedNetwork.of(self.model.nnet, config, self.data, options.widths, options.budget.amount)
        source, loop = run.source(mixed.network), self.training.loop()
        found = learn_widths(
            mixed, self.model, source, options, config, loop, folder / FOLDER_NAME, run.identity, place=self.place
        )
        assert found is not None
        if self.place.group.is_main:
            found.write(folder)
            write_config(folder / ALLOCATION_NAME, found.config)
        return found.config

    def _distillation(self, network: Trainable) -> Distillation:
        from kaldi_quant.nnet.model import AcousticModel
        from kaldi_quant.train.distillation import Distillation, HiddenFeatures

        path, features = self.qat.teacher, None
        teacher = AcousticModel(read_model(path).nnet if path else network.start.nnet).to(self.place.device)
        if teacher.output_dim != network.model.output_dim:
            found, expected = teacher.output_dim, network.model.output_dim
            raise ModelError(
                f"{path}: the teacher has {found} pdfs, and {self.path} has {expected}: their trees differ"
            )
        if self.qat.feature_weight:
            if path:
                raise UsageError("--feature-weight: hidden layers can be compared with the model's own alone")
            hidden = [name for name in network.activations if name not in ("input", "ivector")]
            features = HiddenFeatures(network.model, teacher, hidden)
        qat = self.qat
        return Distillation(teacher, qat.temperature, self.share, qat.hard_weight, features, qat.feature_weight)


def _one_size(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"--minibatch-size {text}: expected one number where there are no examples")
    return int(text)
