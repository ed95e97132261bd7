"""Log-likelihoods chunk by chunk against Kaldi's looped computation, whole utterances, and the integer reference."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

from kaldi_quant.errors import DataError, ModelError, UsageError
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.execution.chunks import OnnxruntimeChunks
from kaldi_quant.nnet3.incremental import IncrementalNetwork
from kaldi_quant.nnet3.inference import Inference, InferenceOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.recogniser.network import NetworkStream, StreamingNetwork
from tests.conftest import needs
from tests.references import DATA, FLOAT32_TOLERANCE, NNET3, load, load_network, model_file, read_archive

LOOPED = sorted((DATA / "looped").glob("*.ark"))
PERIOD = 10  # of the i-vectors in tests/data


def feats_of(name: str) -> dict[str, np.ndarray]:
    return read_archive(NNET3 / f"feats{load(model_file(NNET3 / name)).nnet.input_dim()}.ark")


@lru_cache(maxsize=8)
def streaming(name: str, factor: int, frames: int, execution: str) -> StreamingNetwork:
    return StreamingNetwork(load_network(model_file(NNET3 / name)), factor, frames, execution=execution)


def computed(
    network: StreamingNetwork, feats: np.ndarray, ivectors: np.ndarray | None = None, longest: int = 30, seed: int = 0
) -> np.ndarray:
    """An utterance in pieces; a chunk has the i-vector at its end, as Kaldi's DecodableNnetSimpleLooped."""
    stream, random, begin, found = NetworkStream(network), np.random.default_rng(seed), 0, []

    def ivector() -> np.ndarray:
        end = (stream._chunks + 1) * network.frames_per_chunk + network.context.right
        return ivectors[min(end // PERIOD, len(ivectors) - 1)]

    while begin < len(feats):
        end = begin + int(random.integers(0, longest))
        found.append(stream.accept(feats[begin:end], ivector))
        begin = end
    return np.concatenate([*found, stream.finish(ivector)])


def whole(model: AcousticModel, feats: np.ndarray, factor: int = 1, ivector: np.ndarray | None = None) -> np.ndarray:
    inference = Inference(model, None, InferenceOptions(ChunkOptions(factor)), lambda utterance: ivector)
    ((_, rows),) = inference.compute([("utt", feats)])
    return rows


@pytest.mark.parametrize("execution", ["reference", "auto"])
@pytest.mark.parametrize("path", LOOPED, ids=lambda path: path.stem)
def test_kaldis_looped_computation(path: Path, execution: str) -> None:
    """TDNN-F, convolutions, attention, LSTM, statistics and i-vectors; some values depend on where a chunk ends."""
    name, factor, frames = path.stem.split(".")
    network = streaming(name, int(factor), int(frames), execution)
    ivectors = read_archive(NNET3 / "ivectors_online.ark")
    for utterance, expected in read_archive(path).items():
        found = computed(network, feats_of(name)[utterance], ivectors[utterance])
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=FLOAT32_TOLERANCE)


@pytest.mark.parametrize("name", ["tdnn1a_sp", "tdnnf1b_sp"])
def test_example_models(example: Path, name: str) -> None:
    model = load_network(model_file(example / "exp" / "chain" / name))
    feats = next(iter(read_archive(example / "data" / "test_hires" / "feats.ark").values()))
    expected = whole(model, feats, 3)
    network = StreamingNetwork(model, 3, 20, execution="reference")
    assert network.frames_per_chunk == 21
    np.testing.assert_array_equal(computed(network, feats), expected)
    found = computed(StreamingNetwork(model, 3, 20), feats)
    np.testing.assert_allclose(found, expected, rtol=0, atol=FLOAT32_TOLERANCE)


@lru_cache(maxsize=4)
def quantized(name: str, act_bits: int = 8) -> QuantizedNetwork:
    data = UtteranceSet(
        list(feats_of(name).items())[:1],
        InferenceOptions(ChunkOptions(3), PERIOD),
        lambda utterance: read_archive(NNET3 / "ivectors_online.ark")[utterance],
    )
    config = PtqConfig(LayerConfig(8, 8, method="minmax"), {"@input": {"act_bits": act_bits}}, bias_correction=False)
    return quantize(load(model_file(NNET3 / name)).nnet, config, data)


@pytest.mark.parametrize(
    ("name", "bits"),
    [("tdnnf_small", 8), ("tdnnf_small", 12), ("ivector_online", 8), ("conv_usual", 8), ("tdnn_component", 8)],
)
def test_integers_are_the_references_bit_for_bit(name: str, bits: int) -> None:
    needs("onnxruntime")
    network = quantized(name, bits)
    fast, reference = (StreamingNetwork(network, 3, 20, execution=each) for each in ("onnxruntime", "reference"))
    assert isinstance(fast.computer, OnnxruntimeChunks) and isinstance(reference.computer, IncrementalNetwork)
    ivectors = read_archive(NNET3 / "ivectors_online.ark")
    for utterance, feats in feats_of(name).items():
        expected = computed(reference, feats, ivectors[utterance])
        np.testing.assert_array_equal(computed(fast, feats, ivectors[utterance], seed=1), expected)
        if not fast.ivector_dim:
            np.testing.assert_array_equal(expected, whole(network.model(), feats, 3))


def test_integers_within_a_recurrence() -> None:
    network = quantized("fast_lstmp")
    streamed = StreamingNetwork(network, 3, 20)
    assert isinstance(streamed.computer, IncrementalNetwork)
    feats = feats_of("fast_lstmp")["utt097"]
    found, expected = computed(streamed, feats), whole(network.model(), feats, 3)
    # A float that is rounded to another step changes what follows: most are the same.
    assert np.median(np.abs(found - expected)) < 1e-5


@pytest.mark.parametrize("execution", ["reference", "auto"])
@pytest.mark.parametrize("frames", [1, 2, 5, 20, 21, 22])
def test_short_utterances(frames: int, execution: str) -> None:
    network = streaming("tdnnf_small", 3, 20, execution)
    feats = feats_of("tdnnf_small")["utt061"][:frames]
    expected = whole(load_network(model_file(NNET3 / "tdnnf_small")), feats, 3)
    np.testing.assert_allclose(computed(network, feats), expected, rtol=0, atol=FLOAT32_TOLERANCE)
    np.testing.assert_allclose(computed(network, feats, longest=2), expected, rtol=0, atol=FLOAT32_TOLERANCE)


def test_no_frames_are_no_rows() -> None:
    stream = NetworkStream(streaming("tdnnf_small", 3, 20, "reference"))
    assert stream.accept(np.zeros((0, 20), np.float32)).shape == stream.finish().shape == (0, 10)


def test_rows_come_as_soon_as_their_right_context_is_there() -> None:
    network = streaming("tdnnf_small", 3, 20, "auto")
    stream, feats = NetworkStream(network), feats_of("tdnnf_small")["utt061"]
    right = network.context.right
    assert len(stream.accept(feats[: 21 + right - 1])) == 0
    assert len(stream.accept(feats[21 + right - 1 : 21 + right])) == 7
    assert len(stream.accept(feats[21 + right : 42 + right])) == 7
    assert stream.frames == 42 + right


@pytest.mark.parametrize(
    ("name", "execution"),
    [("tdnnf_small", "auto"), ("tdnnf_small", "reference"), ("ivector_lstm", "reference"), ("stats_mean", "reference")],
)
def test_memory_does_not_grow(name: str, execution: str) -> None:
    network = streaming(name, 1, 20, execution)
    stream, sizes = NetworkStream(network), []
    feats = np.random.default_rng(0).standard_normal((60, network.input_dim)).astype(np.float32)
    ivector = np.ones(network.ivector_dim, np.float32)
    for _ in range(18):
        stream.accept(feats, ivector)
        state = stream._state.nodes if execution == "reference" else stream._state.values
        sizes.append(sum(value.nbytes for value in state.values()) + stream._feats.nbytes + 8 * len(stream._blocks))
    assert max(sizes[-6:]) == max(sizes[-12:-6])


def test_priors_are_taken_off() -> None:
    model = load_network(model_file(NNET3 / "tdnnf_small"))
    feats, priors = feats_of("tdnnf_small")["utt061"], np.linspace(0.05, 0.2, 10, dtype=np.float32)
    found = computed(StreamingNetwork(model, 3, 20, priors, "reference"), feats)
    np.testing.assert_allclose(found, whole(model, feats, 3) - np.log(priors), atol=1e-5)
    priors[3] = 0
    with pytest.raises(ModelError, match="the prior of pdf 3 is 0, which has no logarithm"):
        StreamingNetwork(model, 3, 20, priors)


def test_each_chunk_asks_for_its_ivector() -> None:
    network = streaming("ivector_online", 1, 20, "reference")
    stream, asked = NetworkStream(network), []

    def ivector() -> np.ndarray:
        asked.append(stream.frames)
        return np.zeros(network.ivector_dim, np.float32)

    feats = feats_of("ivector_online")["utt061"]
    for begin in range(0, 61, 10):
        stream.accept(feats[begin : begin + 10], ivector)
    stream.finish(ivector)
    assert asked == [30, 50, 61, 61]


@pytest.mark.parametrize("name", ["blstm_old", "bgru_fast_opgru"])
def test_what_depends_on_later_frames_of_itself_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="depends on later frames of itself: it cannot be computed chunk by chunk"):
        streaming(name, 1, 20, "auto")


def test_ivectors_that_are_read_in_another_way_are_refused() -> None:
    with pytest.raises(ModelError, match=r"chunk by chunk only ReplaceIndex\(ivector, t, 0\) can be read"):
        streaming("descriptor_round_ivector", 1, 20, "reference")


def test_onnxruntime_refuses_recurrences() -> None:
    needs("onnxruntime")
    with pytest.raises(ModelError):
        streaming("fast_lstmp", 3, 20, "onnxruntime")


@pytest.mark.parametrize(
    ("feats", "ivector", "message"),
    [
        (np.zeros((40, 7)), None, r"features of dimension \d+ are expected, found the shape \(40, 7\)"),
        (np.full((40, 20), np.nan), None, "features hold values that are not finite"),
        (np.zeros((40, 20)), None, "the network needs i-vectors of dimension 10, found none"),
        (np.zeros((40, 20)), np.zeros(3), r"the network needs i-vectors of dimension 10, found the shape \(3,\)"),
        (np.zeros((40, 20)), np.full(10, np.inf), "i-vectors are not finite"),
    ],
)
def test_input_that_cannot_be_used(feats: np.ndarray, ivector: np.ndarray | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        NetworkStream(streaming("ivector_online", 1, 20, "reference")).accept(feats, ivector)


def test_a_finished_stream_takes_nothing() -> None:
    stream = NetworkStream(streaming("tdnnf_small", 3, 20, "reference"))
    stream.finish()
    with pytest.raises(UsageError, match="finished"):
        stream.accept(np.zeros((1, 20), np.float32))


@pytest.mark.parametrize(("factor", "frames"), [(0, 20), (3, 0)])
def test_impossible_chunks(factor: int, frames: int) -> None:
    with pytest.raises(UsageError, match="must be positive"):
        StreamingNetwork(load_network(model_file(NNET3 / "tdnnf_small")), factor, frames)


def test_double_precision_stays() -> None:
    model = load_network(model_file(NNET3 / "tdnnf_small"), torch.float64)
    feats = feats_of("tdnnf_small")["utt061"]
    found = computed(StreamingNetwork(model, 3, 20, execution="reference"), feats)
    np.testing.assert_allclose(found, whole(model, feats, 3), rtol=0, atol=1e-6)
