"""Training on a GPU, which is pretended: whatever is forgotten in the main memory, or not brought back to it, fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor

from kaldi_quant.kaldi.egs_folder import EgsFolder
from kaldi_quant.kaldi.mfcc_options import read_mfcc_config
from kaldi_quant.kaldi.model import Model
from kaldi_quant.nnet3.chain.den_graph import read_denominator_graph
from kaldi_quant.nnet3.chain.options import ChainOptions
from kaldi_quant.nnet3.inference import Inference
from kaldi_quant.nnet3.linear import float_backend
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.preparation.prepared import Nnet3Source
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.training.augmentation import AugmentationOptions
from kaldi_quant.nnet3.training.chain_source import ChainSource, SourceOptions
from kaldi_quant.nnet3.training.feature_source import FeatureOptions, FeatureSource
from kaldi_quant.nnet3.training.finetune import TrainingData, finetune
from kaldi_quant.nnet3.training.objective import ChainLoss
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.search.options import parse_budget
from kaldi_quant.train.distillation import Distillation
from kaldi_quant.train.hidden_features import HiddenFeatures
from kaldi_quant.train.loop import LoopOptions
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.orthonormal import orthonormality_error
from kaldi_quant.train.parallel.device_context import DeviceContext
from kaldi_quant.train.qat.learned_widths import LearnedWidths, WidthOptions, learn_widths
from kaldi_quant.train.qat.mixed_widths import MixedNetwork
from kaldi_quant.train.qat.network import TrainableNetwork
from kaldi_quant.train.qat.options import QatOptions
from kaldi_quant.train.qat.torch_network import TorchTrainableNetwork
from kaldi_quant.train.qat.training import Trainable, train_quantized
from kaldi_quant.train.schedules import Exponential
from tests.references import NNET3, load, model_file, read_archive
from tests.train.fake_quantized import OPTIONS, SUBSAMPLING
from tests.train.pretend_gpu import DEVICE, WrongDeviceError, is_on_gpu, pretend_gpu
from tests.train.small_egs import small_egs

torch.set_num_threads(1)
CHAIN = ChainOptions(0.1, 0.1, 5e-5, 0.01)
LOOP = LoopOptions(OptimizerOptions("adam"), average_last=2, schedule=Exponential(1e-4, 5e-5))
MINMAX = PtqConfig(LayerConfig(bits=4, method="minmax"), observer="minmax")
DYNAMIC = replace(MINMAX, layers={"*affine": {"ranges": "dynamic"}})
TORCH = PtqConfig(LayerConfig(method="minmax"), observer="minmax", bias_correction=False, backend="torch")

Utterances = list[tuple[str, np.ndarray]]
Result = TypeVar("Result")
Train = Callable[[Path, DeviceContext, int | None], Result | None]


@pytest.fixture(scope="module")
def egs(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_egs(example, tmp_path_factory.mktemp("egs"), 1)


@pytest.fixture(scope="module")
def small() -> tuple[Model, Utterances]:
    """A small TDNN-F with bypasses, and features for it."""
    model = load(model_file(NNET3 / "tdnnf_small"))
    return model, list(read_archive(NNET3 / f"feats{model.nnet.input_dim()}.ark").items())[:3]


@pytest.fixture(autouse=True)
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kaldi_quant.train.loop.plot_progress", lambda *_: None)


@pytest.fixture
def cpu_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU would compute in bfloat16 is computed so here."""
    autocast = torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda _, dtype: autocast("cpu", dtype))


def assert_trains_as_on_the_cpu(train: Train[Result], folder: Path, bf16: bool = False) -> Result:
    """What comes of a training that was killed and went on, on the GPU."""
    place = DeviceContext(DEVICE, bf16)
    with float_backend("torch"):
        assert train(folder / "cpu", DeviceContext(bf16=bf16), None) is not None
        with pretend_gpu() as gpu:
            assert train(folder / "gpu", place, 1) is None
            result = train(folder / "gpu", place, None)
    assert gpu.operations > 1000
    found, expected = (json.loads((folder / name / "progress.json").read_text()) for name in ("gpu", "cpu"))
    assert len(found["iterations"]) == len(expected["iterations"]) == 3
    for one, other in zip(found["iterations"], expected["iterations"], strict=True):
        for part in ("train", "valid"):
            assert one[part] == pytest.approx(other[part], rel=1e-3, abs=1e-4)
    assert result is not None
    return result


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return torch.full((3,), 2.0) * grad_outputs[0]


@pytest.mark.parametrize(
    "mistake",
    [
        lambda x: x + torch.ones(3),
        lambda x: x.sum() + torch.ones(3),
        lambda x: torch.stack([x.sum(), torch.tensor(1.0)]),
        lambda x: x.index_select(0, torch.tensor([1])),
        lambda x: torch.ones(3)[torch.arange(2, device=x.device)],
        lambda x: x.to("cpu") * x,
        lambda x: torch.eye(3) @ x,
        lambda x: torch.eye(3).to_sparse_csr() @ x[:, None],
        lambda x: x.detach().numpy(),
        lambda x: np.asarray(x.detach()),
        lambda x: Twice.apply(x.requires_grad_()).sum().backward(),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_a_mistake_is_found(mistake: Callable[[Tensor], object]) -> None:
    with pretend_gpu(), pytest.raises(WrongDeviceError):
        mistake(torch.arange(3.0).to(DEVICE))


def test_what_a_gpu_permits() -> None:
    with pretend_gpu():
        x = torch.arange(3.0).to(DEVICE)
        assert x.device == x[1:].device == (x * torch.tensor(2.0)).device == x[torch.tensor([1, 2])].device == DEVICE
        assert torch.zeros(3).copy_(x).device == x.to("cpu").device == torch.device("cpu")
        assert x.new_tensor([1.0]).device == torch.zeros(3, device=x.device).device == DEVICE
        product = torch.eye(3, device=DEVICE).to_sparse_csr() @ x[:, None]
        assert product.to("cpu").numpy().ravel().tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "name", ["ivector_online", "resnet", "opgru", "rnn_sum_failover", "stats_left_only", "tdnn_lstm_stack"]
)
def test_networks(name: str) -> None:
    model = AcousticModel(load(model_file(NNET3 / name)).nnet)
    span = (-model.context.left, 12 + model.context.right)
    with pretend_gpu():
        model.to(DEVICE)
        feats, ivectors = torch.ones(2, span[1] - span[0] + 3, model.input_dim), torch.ones(2, model.ivector_dim)
        # Where inputs are optional, sequences of two lengths have masks.
        spans = [span, (span[0], span[1] + 3)]
        output = model(feats.to(DEVICE), spans, np.arange(0, 12, 3), ivectors.to(DEVICE) if model.ivector_dim else None)
        output.square().sum().backward()
        assert all(is_on_gpu(p.grad) for p in model.parameters() if p.grad is not None)
        (rows,) = Inference(model, ivectors=lambda _: np.ones(model.ivector_dim)).compute([("a", feats[0].numpy())])
        assert rows[1].shape[1] == model.output_dim


def test_fine_tuning(tdnnf: Model, example: Path, egs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kaldi_quant.train.optimizer.EVERY", 1)
    data = TrainingData(str(egs), str(example / "exp/chain/tdnn1a_sp/den.fst"), 3)
    augmentation = AugmentationOptions(0.1, 4.0, read_mfcc_config(example / "conf/mfcc_hires.conf"))

    def train(folder: Path, place: DeviceContext, stop_after: int | None) -> Model | None:
        source = SourceOptions(1, "1", augmentation=augmentation)
        return finetune(tdnnf, data, folder, CHAIN, source, LOOP, stop_after, place)

    trained = assert_trains_as_on_the_cpu(train, tmp_path)
    assert trained.getvalue() != tdnnf.getvalue()


def test_training_of_integers_on_examples_in_bfloat16(
    model: Model, example: Path, egs: Path, utterances: Utterances, tmp_path: Path, cpu_autocast: None
) -> None:
    start = quantize(model.nnet, MINMAX, UtteranceSet(utterances[:2], OPTIONS))
    graph = read_denominator_graph(example / "exp/chain/tdnn1a_sp/den.fst", start.host.nodes["output"].channels)

    def train(folder: Path, place: DeviceContext, stop_after: int | None) -> QuantizedNetwork | None:
        network = TrainableNetwork.of(start)
        loss = ChainLoss(graph, CHAIN, Distillation(AcousticModel(model.nnet).to(place.device), share=0.5), place)
        source = ChainSource(EgsFolder.find(egs), loss, SourceOptions(1, "1"), network.model, SUBSAMPLING)
        return train_quantized(network, model, source, QatOptions(), LOOP, folder, {}, stop_after, place)

    assert_trains_as_on_the_cpu(train, tmp_path, bf16=True)


@pytest.mark.parametrize(
    ("made", "weights", "config"),
    [("lsq", "steps", MINMAX), ("lsq", "values", DYNAMIC), ("moving-average", "steps", MINMAX)],
    ids=["lsq", "dynamic", "moving-average"],
)
def test_training_of_integers_on_features(
    made: str, weights: str, config: PtqConfig, small: tuple[Model, Utterances], tmp_path: Path
) -> None:
    model, utterances = small
    data = UtteranceSet(utterances, OPTIONS)
    start = quantize(model.nnet, config, data)
    trained: list[Trainable] = []

    def train(folder: Path, place: DeviceContext, stop_after: int | None) -> QuantizedNetwork | None:
        torch_s_own = made == "moving-average"
        network = (
            TorchTrainableNetwork.of(Nnet3Source(model.nnet), TORCH, data)
            if torch_s_own
            else TrainableNetwork.of(start, QatOptions(weights=weights))
        )
        teacher = AcousticModel(model.nnet).to(place.device)
        hidden = HiddenFeatures(network.model, teacher, [name for name in network.activations if name != "input"])
        teaching = Distillation(teacher, 2.0, hard_weight=0.5, features=hidden, feature_weight=0.2)
        source = FeatureSource(utterances, teaching, FeatureOptions(2, frames=30), SUBSAMPLING, utterances[:1], place)
        trained.append(network)
        return train_quantized(
            network, model, source, QatOptions(made, 0.5, weights), LOOP, folder, {}, stop_after, place
        )

    result = assert_trains_as_on_the_cpu(train, tmp_path)
    assert all(map(is_on_gpu, trained[-1].model.parameters()))
    tensors = [x for layer in result.layers.values() for x in (layer.weight.integers, layer.weight.scale, layer.bias)]
    assert not any(map(is_on_gpu, [*tensors, *(grid.scale for grid in result.activations.values())]))


def test_learning_of_widths(small: tuple[Model, Utterances], tmp_path: Path) -> None:
    model, utterances = small
    data, options = UtteranceSet(utterances, OPTIONS), WidthOptions(parse_budget("4 bits"), (2, 4, 8))

    def train(folder: Path, place: DeviceContext, stop_after: int | None) -> LearnedWidths | None:
        mixed = MixedNetwork.of(Nnet3Source(model.nnet), MINMAX, data, options.widths, options.budget.amount)
        teaching = Distillation(AcousticModel(model.nnet).to(place.device))
        source = FeatureSource(utterances, teaching, FeatureOptions(2, frames=30), SUBSAMPLING, (), place)
        return learn_widths(mixed, model, source, options, MINMAX, LOOP, folder, {}, stop_after, place)

    assert_trains_as_on_the_cpu(train, tmp_path)


def test_the_distance_from_orthogonal_rows() -> None:
    with pretend_gpu():
        assert orthonormality_error(torch.eye(3).to(DEVICE)) == 0
