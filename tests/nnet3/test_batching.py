"""A batch gives what its utterances give alone, whatever the network, the lengths and the size of the batch."""

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import Inference, InferenceOptions
from tests.references import NNET3, load_network, model_file

NETWORKS = [
    "tdnnf_small",
    "tdnn_component",
    "conv_usual",
    "fast_lstm",
    "lstm",
    "blstm_fast_lstmp",
    "gru",
    "stats_mean_stddev_count",
    "stats_xvector_like",
    "attention_optional_inputs",
    "attention_two_layers",
    "conv_zero_padding",
    "resnet",
    "rnn_sum_failover",
    "descriptor_failover_left",
    "descriptor_ifdefined",
    "descriptor_switch3",
    "ivector_online",
    "constants",
]
LENGTHS = (40, 7, 140, 1, 2, 41, 7, 97, 3, 61, 40)
WHOLE = ChunkOptions(3)
CHUNKED = ChunkOptions(3, 30, 12, 6, 0, 0)


class _Reasons(BadUtterances):
    """Remembers why utterances are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons: dict[str, str] = {}

    def report(self, utterance: str, reason: Exception) -> None:
        super().report(utterance, reason)
        self.reasons[utterance] = str(reason)


def _utterances(dim: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    # Names are not in alphabetical order, nor are lengths in any.
    names = [f"utt{i * 7 % len(LENGTHS):02d}" for i in range(len(LENGTHS))]
    return {
        name: rng.standard_normal((frames, dim)).astype(np.float32) for name, frames in zip(names, LENGTHS, strict=True)
    }


def _ivectors(name: str) -> np.ndarray:
    return np.random.default_rng(int(name[3:])).standard_normal((20, 10)).astype(np.float32)


def _inference(name: str, chunks: ChunkOptions, batch_seconds: float) -> Inference:
    network = load_network(model_file(NNET3 / name), torch.float64)
    return Inference(network, None, InferenceOptions(chunks, 10, batch_seconds=batch_seconds), _ivectors)


@pytest.mark.parametrize("chunks", [WHOLE, CHUNKED], ids=["whole", "chunked"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_gives_what_its_utterances_give_alone(name: str, chunks: ChunkOptions) -> None:
    inference = _inference(name, chunks, 60.0)
    utterances = _utterances(inference.model.input_dim)
    alone = {key: next(inference.compute([(key, feats)]))[1] for key, feats in utterances.items()}
    for batch_seconds in (60.0, 1.0, 0.01):
        together = dict(_inference(name, chunks, batch_seconds).compute(utterances.items()))
        assert list(together) == list(utterances)
        for key, rows in together.items():
            assert rows.shape == (-(-len(utterances[key]) // 3), inference.model.output_dim)
            assert np.abs(rows - alone[key]).max() < 1e-5, (key, batch_seconds)


def test_long_utterances_are_cut_where_that_changes_nothing() -> None:
    inference = _inference("tdnnf_small", WHOLE, 0.3)
    feats = np.random.default_rng(2).standard_normal((500, 20)).astype(np.float32)
    sizes: list[int] = []
    handle = inference.model.register_forward_pre_hook(lambda _, arguments: sizes.append(arguments[0].shape[1]))
    try:
        rows = dict(inference.compute([("long", feats)]))["long"]
    finally:
        handle.remove()
    assert len(sizes) > 10 and max(sizes) < 80
    whole = dict(_inference("tdnnf_small", WHOLE, 60.0).compute([("long", feats)]))["long"]
    assert np.abs(rows - whole).max() < 1e-5


def test_output_begins_before_all_input_is_read() -> None:
    inference = _inference("tdnn_component", WHOLE, 0.1)
    feats = np.zeros((50, inference.model.input_dim), np.float32)
    read = []

    def source() -> Iterator[tuple[str, np.ndarray]]:
        for i in range(1000):
            read.append(i)
            yield f"utt{i:03d}", feats

    output = inference.compute(source())
    assert next(output)[0] == "utt000"
    assert len(read) < 100


def test_outputs_do_not_outlive_their_use() -> None:
    """Not until Python looks for circles of references, either: an hour's outputs take gigabytes."""
    inference = _inference("tdnnf_small", WHOLE, 0.01)
    utterances = _utterances(inference.model.input_dim).items()
    gc.collect()
    gc.disable()
    try:
        outputs = [weakref.ref(rows) for _, rows in inference.compute(utterances)]
        # What the generator has in hand goes with it.
        assert len(outputs) == len(LENGTHS) and not any(rows() is not None for rows in outputs)
    finally:
        gc.enable()


def test_usable_utterances_are_those_that_give_outputs() -> None:
    inference = _inference("tdnnf_small", WHOLE, 1.0)
    utterances = _utterances(inference.model.input_dim)
    names = list(utterances)
    utterances[names[2]] = utterances[names[2]][:0]
    # Finite themselves, but not what the network makes of them.
    utterances[names[4]] = np.full_like(utterances[names[4]], 3e38)
    for found in (Inference.compute, Inference.usable):
        reasons = _Reasons()
        inference.bad = reasons
        good = [one if isinstance(one, str) else one[0] for one in found(inference, utterances.items())]
        assert good == [name for i, name in enumerate(names) if i not in (2, 4)]
        assert list(reasons.reasons) == [names[2], names[4]] and (reasons.good, reasons.bad) == (9, 2)


def test_what_the_context_does_not_suffice_for_is_left_out_alone_and_in_a_batch() -> None:
    """With Failover, Kaldi's context is that of the best case; it dies where that is not enough."""
    network = load_network(NNET3 / "descriptor_failover_right" / "final.raw", torch.float64)
    bad = _Reasons()
    inference = Inference(network, None, InferenceOptions(WHOLE), bad=bad)
    utterances = _utterances(20)
    together = dict(inference.compute(utterances.items()))
    assert set(together) == {key for key, feats in utterances.items() if len(feats) > 9}
    assert set(bad.reasons) == set(utterances) - set(together)
    assert "need more input than the model's context gives them" in next(iter(bad.reasons.values()))
    for key, rows in together.items():
        assert np.abs(rows - dict(inference.compute([(key, utterances[key])]))[key]).max() < 1e-5


def test_an_empty_table_gives_nothing() -> None:
    assert list(_inference("tdnn_component", WHOLE, 60.0).compute([])) == []


def test_the_acoustic_scale_multiplies() -> None:
    feats = np.random.default_rng(3).standard_normal((20, 20)).astype(np.float32)
    network = load_network(NNET3 / "tdnn_component" / "final.raw", torch.float64)
    plain, scaled = (
        dict(Inference(network, None, InferenceOptions(WHOLE, acoustic_scale=scale)).compute([("utt", feats)]))["utt"]
        for scale in (1.0, 0.5)
    )
    assert np.allclose(scaled, 0.5 * plain)
