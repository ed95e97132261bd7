"""``kaldi-quant qat MODEL FEATURES-RSPECIFIER OUT-DIR``: an integer model by quantization-aware training."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kaldi_quant.cli.feature_options import check_features_of_examples, check_teacher, companions_of, feature_record
from kaldi_quant.cli.inference_options import InferenceArguments, inference_options
from kaldi_quant.cli.model_options import ModelArguments, model_options
from kaldi_quant.cli.options import KaldiCommand, hold_folder, result_folder
from kaldi_quant.cli.qat_options import QatArguments, WidthArguments, check_loop, qat_options, width_options
from kaldi_quant.cli.quantization_options import QuantizationArguments, quantization_options
from kaldi_quant.cli.training_options import TrainingArguments, placed, training_options
from kaldi_quant.cli.utterances import read_utterances
from kaldi_quant.errors import ModelError, UsageError
from kaldi_quant.formats.names import ALLOCATION_NAME
from kaldi_quant.kaldi.compatibility import check_examples, check_same_pdfs
from kaldi_quant.kaldi.model import Model

if TYPE_CHECKING:
    from kaldi_quant.kaldi.egs_folder import EgsFolder
    from kaldi_quant.kaldi.nnet import Nnet
    from kaldi_quant.nnet3.training.chain_source import SourceOptions
    from kaldi_quant.nnet3.utterances import UtteranceSet
    from kaldi_quant.quant.config import PtqConfig
    from kaldi_quant.quant.kept_layers import Keeping
    from kaldi_quant.train.distillation import Distillation
    from kaldi_quant.train.parallel.device_context import DeviceContext
    from kaldi_quant.train.qat.learned_widths import WidthOptions
    from kaldi_quant.train.qat.training import Trainable
    from kaldi_quant.train.steps import Source

_log = logging.getLogger(__name__)


@click.command(cls=KaldiCommand)
@quantization_options
@training_options
@qat_options
@width_options
@click.option(
    "--egs-dir", metavar="DIR", help="Train on these examples with LF-MMI; without this option, train by distillation."
)
@inference_options
@model_options
@click.argument("model")
@click.argument("features", metavar="FEATURES-RSPECIFIER")
@click.argument("out_dir", metavar="OUT-DIR")
@placed
def command(
    quantization: QuantizationArguments,
    training: TrainingArguments,
    place: DeviceContext,
    qat: QatArguments,
    learned: WidthArguments,
    inference: InferenceArguments,
    models: ModelArguments,
    egs_dir: str | None,
    model: str,
    features: str,
    out_dir: str,
) -> None:
    """Quantize MODEL, then train it with simulated quantization, and write the integer model to OUT-DIR.

    Activation ranges are measured on FEATURES-RSPECIFIER, which is also the training data if there is no --egs-dir.
    OUT-DIR gets quantized.safetensors and quantization.json as from 'quantize', progress.json and objective.png. A run
    that was interrupted continues when the command is repeated. Under torchrun, several processes share each minibatch.

    With --learn-widths, the width of each layer is learned first, in OUT-DIR/widths. OUT-DIR then also gets
    allocation.yaml, for --config of 'quantize' and 'qat', and learned_widths.json with the weights of all widths.

    e.g.: kaldi-quant qat --bits 4 --egs-dir exp/chain/egs exp/chain/final.mdl scp:data/train_sub/feats.scp exp/qat_w4
    """
    from kaldi_quant.formats.results import check_result_folder, write_result
    from kaldi_quant.quant.kept_layers import Keeping
    from kaldi_quant.train.qat.training import train_quantized

    wanted = learned.options()
    preset, config = learned.without_bits(quantization).resolve()
    qat = _with_method(qat, config)
    options = qat.options()
    folder = result_folder(out_dir)
    if training.num_jobs != 1:
        raise UsageError(
            "--num-jobs: integer models cannot be averaged; run 'qat' under torchrun for several processes"
        )
    _check(qat, egs_dir, place, training.minibatch_size)
    check_loop(training, qat, learned, egs_dir is not None)
    loop, reading = training.loop(), training.source()
    read = models.read(model)
    _check_ranges(read, config, qat)
    if egs_dir is not None:
        check_examples(Path(egs_dir), read)
        check_features_of_examples(egs_dir, model, inference)
    if qat.teacher:
        check_teacher(qat.teacher, model, inference)
    utterances = read_utterances(read, features, inference)
    data = quantization.amount.of(utterances, read)
    companions = companions_of(read, data.options.chunks.frame_subsampling_factor, inference)
    check_result_folder(folder, companions)
    if place.group.is_main:
        hold_folder(folder)
    keeping = Keeping(folder)
    run = _Run(training, reading, inference, models, model, read, utterances, data, qat, egs_dir, place, keeping)
    run.check()
    if wanted is not None:
        preset, config = None, run.learned(wanted, config, learned.width_epochs, folder)
    network = _network(read, config, data, qat, run.keeping)
    source = run.source(network)
    trained = train_quantized(network, read, source, options, loop, folder, run.identity, place=place)
    assert trained is not None
    if not place.group.is_main:
        return
    steps = {"optimizer": asdict(loop.optimizer), "schedule": loop.schedule.as_dict()}
    more: dict[str, Any] = {
        "training": {"qat": options.as_dict(), **run.identity, **steps, "early_stopping": loop.early_stopping}
    }
    more |= {"calibration_frames": data.amount(), **feature_record(model, read.nnet, inference)}
    made = write_result(folder, trained, read, companions, config, features, data, preset, more)
    keeping.finish()
    _log.info("%s: %d bytes; KL from float %.5f on calibration data", made.path, made.bytes, made.lost.distance)


def _check(qat: QatArguments, egs_dir: str | None, place: DeviceContext, minibatch_size: str) -> None:
    """Refuses options that contradict each other, before anything is read."""
    if egs_dir is None and qat.distillation not in (None, 1):
        raise UsageError(
            f"--distillation {qat.distillation:g}: without --egs-dir, distillation is all there is to train on"
        )
    if egs_dir is not None and qat.held_out:
        raise UsageError("--held-out has no effect with --egs-dir, whose valid_diagnostic.cegs is used")
    if egs_dir is None and not minibatch_size.isdecimal():
        raise UsageError(f"--minibatch-size {minibatch_size}: expected a single number when there is no --egs-dir")
    if qat.distillation == 0 and qat.teacher:
        raise UsageError(f"--teacher {qat.teacher}: it has no effect with --distillation 0")
    if qat.hard_weight and place.group.size > 1:
        raise UsageError("--hard-weight needs a whole minibatch in one process: it cannot be used under torchrun")


def _check_ranges(model: Model, config: PtqConfig, qat: QatArguments) -> None:
    """Refuses what needs grids that are known beforehand where there are none, before anything is computed."""
    from kaldi_quant.nnet3.quantization import layer_configs

    quantized = {name: layer for name, layer in layer_configs(model.nnet, config).items() if not layer.float_reason}
    dynamic = [name for name, layer in quantized.items() if layer.is_dynamic]
    if dynamic and config.backend == "torch":
        raise UsageError(f"the layer {dynamic[0]} has dynamic ranges: PyTorch trains static ranges only")
    if qat.feature_weight and not any(layer.is_static for layer in quantized.values()):
        why = "dynamic ranges" if dynamic else "their weights alone quantized"
        raise UsageError(
            f"--feature-weight {qat.feature_weight:g}: hidden layers are compared on static grids, and all layers have "
            f"{why}"
        )


def _with_method(qat: QatArguments, config: PtqConfig) -> QatArguments:
    """The arguments with the only method that there is for what PyTorch quantizes."""
    if config.backend != "torch":
        if qat.method == "moving-average":
            raise UsageError("--method moving-average is only for --preset torch-static: choose lsq or fixed")
        return qat
    if qat.method == "recomputed":
        raise UsageError("--method recomputed is not for the presets torch-*: their scales follow moving averages")
    if qat.method == "fixed":
        raise UsageError(
            "--method fixed is not for the presets torch-*: --freeze-after 0 keeps their scales as calibrated"
        )
    _log.info(
        "with the presets torch-* scales are not learned: they follow moving averages of the activation ranges until "
        "the share --freeze-after of the training (method moving-average)"
    )
    return replace(qat, method="moving-average")


def _network(model: Model, config: PtqConfig, data: UtteranceSet, qat: QatArguments, keeping: Keeping) -> Trainable:
    """What is trained: it begins where quantization after training ends."""
    from kaldi_quant.nnet3.preparation.prepared import Nnet3Source
    from kaldi_quant.nnet3.quantization import quantize
    from kaldi_quant.train.qat.network import TrainableNetwork
    from kaldi_quant.train.qat.torch_network import TorchTrainableNetwork

    if config.backend == "torch":
        return TorchTrainableNetwork.of(Nnet3Source(model.nnet), config, data)
    start = quantize(model.nnet, config, data, keeping=keeping)
    return TrainableNetwork.of(start, qat.options())


@dataclass(frozen=True)
class _Run:
    """What the source of minibatches is made of."""

    training: TrainingArguments
    reading: SourceOptions
    inference: InferenceArguments
    models: ModelArguments
    path: str
    model: Model
    utterances: UtteranceSet
    data: UtteranceSet
    qat: QatArguments
    egs_dir: str | None
    place: DeviceContext
    keeping: Keeping

    @property
    def share(self) -> float:
        """Of distillation in the loss."""
        if self.qat.distillation is not None:
            return self.qat.distillation
        return 0.5 if self.egs_dir else 1.0

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What decides the result, beside the model and the network that training begins with."""
        from kaldi_quant.nnet3.training.finetune import data_digest

        return {
            "teaching": {**self.qat.as_dict(), "egs_dir": self.egs_dir, "distillation": self.share},
            "chain": asdict(self.training.chain()),
            "source": asdict(self.reading),
            "data": data_digest(self._egs, self._denominator) if self._egs else self._digest_of_utterances(),
        }

    def _digest_of_utterances(self) -> str:
        from kaldi_quant.nnet3.utterances import digest_of_sets

        return digest_of_sets(self.utterances, self._held_out)

    @cached_property
    def _egs(self) -> EgsFolder | None:
        """The examples, where there are any."""
        from kaldi_quant.kaldi.egs_folder import EgsFolder

        return EgsFolder.find(self.egs_dir) if self.egs_dir is not None else None

    @property
    def _denominator(self) -> str:
        assert self.egs_dir is not None
        return self.training.denominator(self.path, self.egs_dir)

    def check(self) -> None:
        """Reads what training needs beside the features, so that what is missing shows before anything is computed.

        Raises:
            KaldiQuantError: something is missing, broken or made for another model.
        """
        from kaldi_quant.nnet3.chain.den_graph import read_denominator_graph
        from kaldi_quant.nnet3.training.finetune import check_held_out

        pdfs = self.model.nnet.node_dim("output")
        if self.identity and self._egs is not None:
            read_denominator_graph(self._denominator, pdfs)
            check_held_out(self.training.loop(), self._egs)
        found = pdfs if self._teacher is None else self._teacher.node_dim("output")
        if found != pdfs:
            raise ModelError(
                f"{self.qat.teacher}: the teacher has {found} pdfs, and {self.path} has {pdfs}: their trees differ"
            )
        self._held_out  # noqa: B018 - is read, and kept

    @cached_property
    def _teacher(self) -> Nnet | None:
        """The network whose output is learned, where it is not the model itself."""
        if not self.qat.teacher or not self.share:
            return None
        taught = self.models.read_teacher(self.qat.teacher)
        if taught.transition_model is not None and self.model.transition_model is not None:
            check_same_pdfs(taught.transition_model, taught.path, self.model.transition_model, self.path)
        return taught.nnet

    @cached_property
    def _held_out(self) -> UtteranceSet | None:
        """The utterances that distillation without examples is validated on."""
        return read_utterances(self.model, self.qat.held_out, self.inference) if self.qat.held_out else None

    def source(self, network: Trainable) -> Source:
        """Examples, or pieces of utterances."""
        return self._examples(network, self._egs) if self._egs is not None else self._pieces(network)

    @property
    def _subsampling(self) -> int:
        return self.data.options.chunks.frame_subsampling_factor

    def _examples(self, network: Trainable, egs: EgsFolder) -> Source:
        from kaldi_quant.nnet3.chain.den_graph import read_denominator_graph
        from kaldi_quant.nnet3.model import acoustic_model
        from kaldi_quant.nnet3.training.chain_source import ChainSource
        from kaldi_quant.nnet3.training.objective import ChainLoss

        model = acoustic_model(network.model)
        graph = read_denominator_graph(self._denominator, model.output_dim)
        teacher = self._distillation(network) if self.share else None
        loss = ChainLoss(graph, self.training.chain(), teacher, self.place)
        return ChainSource(egs, loss, self.reading, model, self._subsampling)

    def _pieces(self, network: Trainable) -> Source:
        from kaldi_quant.nnet3.training.feature_source import FeatureOptions, FeatureSource

        reading = self.reading
        cut = FeatureOptions(reading.num_epochs, int(reading.minibatch_size), reading.srand, reading.augmentation)
        teacher = self._distillation(network)
        return FeatureSource.of(self.utterances, teacher, cut, self._held_out, self.place)

    def learned(self, options: WidthOptions, config: PtqConfig, epochs: int | None, folder: Path) -> PtqConfig:
        """The configuration with learned widths; what was learned comes into the folder of the results."""
        from kaldi_quant.formats.results import write_config
        from kaldi_quant.nnet3.preparation.prepared import Nnet3Source
        from kaldi_quant.train.qat.learned_widths import FOLDER_NAME, learn_widths
        from kaldi_quant.train.qat.mixed_widths import MixedNetwork

        run = replace(self, reading=replace(self.reading, num_epochs=epochs or self.reading.num_epochs))
        mixed = MixedNetwork.of(
            Nnet3Source(self.model.nnet), config, self.data, options.widths, options.budget.amount, self.keeping
        )
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
        from kaldi_quant.nnet3.model import AcousticModel
        from kaldi_quant.nnet3.preparation.prepared import nnet_of
        from kaldi_quant.train.distillation import Distillation
        from kaldi_quant.train.hidden_features import HiddenFeatures

        features = None
        teacher = AcousticModel(self._teacher or nnet_of(network.start.host)).to(self.place.device)
        if self.qat.feature_weight:
            hidden = [name for name in network.activations if name not in ("input", "ivector")]
            features = HiddenFeatures(network.model, teacher, hidden)
        qat = self.qat
        return Distillation(teacher, qat.temperature, self.share, qat.hard_weight, features, qat.feature_weight)
