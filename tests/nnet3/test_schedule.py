"""Each layer computes the times that the output needs, and no others."""

import numpy as np
import pytest

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.descriptor import (
    Append,
    Const,
    Descriptor,
    NodeName,
    Offset,
    ReplaceIndex,
    Round,
    Scale,
    Sum,
    Switch,
)
from kaldi_quant.kaldi.nnet import DimRangeNode, InputNode
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.schedule import Request, Schedule
from kaldi_quant.nnet3.time_access import TimeOffsets, TimeRange
from tests.references import NNET3, load_network

ROWS = 30
LOW_RATE = np.arange(ROWS) * 3
FEED_FORWARD = [
    "tdnnf_small",
    "tdnn_component",
    "tdnn_lda",
    "conv_usual",
    "conv_strides",
    "conv_uneven_offsets",
    "delta_idct",
    "asymmetric_context",
    "subsampling2",
    "attention_relu_batchnorm_heads",
    "descriptor_append_inside",
    "descriptor_round_offset",
    "descriptor_switch2",
    "descriptor_sum_scale_const",
    "dim_range",
    "ivector_online",
]


def _schedule(name: str, output_times: np.ndarray = LOW_RATE, extra: int = 0) -> Schedule:
    network = load_network(NNET3 / name / "final.raw")
    span = (-network.context.left - extra, int(output_times[-1]) + network.context.right + 1)
    return Schedule(network.graph, Request((span,), output_times))


def _wanted(descriptor: Descriptor, t: int) -> set[tuple[str, int]]:
    """The rows that a descriptor without optional parts reads at a time: an independent, slow definition."""
    match descriptor:
        case NodeName(node):
            return {(node, t)}
        case Offset(source, shift):
            return _wanted(source, t + shift)
        case Round(source, modulus):
            return _wanted(source, t // modulus * modulus)
        case ReplaceIndex(source, _, value):
            return _wanted(source, value)
        case Switch(parts):
            return _wanted(parts[t % len(parts)], t)
        case Const():
            return set()
        case Append() | Sum() | Scale():
            return set().union(*(_wanted(source, t) for source in descriptor.sources()))
    raise AssertionError(descriptor)


def _needed(network: AcousticModel, output_times: np.ndarray) -> dict[str, set[int]]:
    graph = network.graph
    pending = [(graph.output, int(t)) for t in output_times]
    seen = set(pending)
    while pending:
        name, t = pending.pop()
        node, access = graph.node(name), graph.access(name)
        if isinstance(node, InputNode):
            continue
        times = [t + offset for offset in access.offsets] if isinstance(access, TimeOffsets) else [t]
        for time in times:
            rows = {(node.input_node, time)} if isinstance(node, DimRangeNode) else _wanted(node.input, time)
            pending += rows - seen
            seen |= rows
    found: dict[str, set[int]] = {name: set() for name in graph.names}
    for name, t in seen:
        found[name].add(t)
    return found


@pytest.mark.parametrize("name", FEED_FORWARD)
def test_exactly_what_the_output_needs(name: str) -> None:
    schedule = _schedule(name)
    needed = _needed(load_network(NNET3 / name / "final.raw"), LOW_RATE)
    assert {node: set(times.tolist()) for node, times in schedule.times.items()} == needed


def test_layers_behind_the_subsampling_run_at_the_low_rate() -> None:
    counts = {node: len(times) for node, times in _schedule("tdnnf_small").times.items()}
    # A layer with time stride 3 reads one frame more on the left and one on the right, all of them at the low rate.
    assert counts["output"] == counts["output.affine"] == counts["prefinal-l"] == counts["tdnnf5.affine"] == ROWS
    assert counts["tdnnf5.linear"] == ROWS + 1
    assert counts["tdnnf4.affine"] == ROWS + 2
    assert counts["tdnnf3.linear"] == counts["tdnnf2.affine"] == ROWS + 4
    # Time stride 1 reads the frames between, too.
    assert counts["tdnnf2.linear"] == 2 * (ROWS + 4)
    assert counts["tdnn1.affine"] == 3 * (ROWS + 4)
    assert counts["input"] == 3 * (ROWS + 4) + 2
    times = _schedule("tdnnf_small").times["tdnnf4.linear"]
    assert (np.diff(times) == 3).all()


def test_what_the_output_does_not_depend_on_is_not_computed() -> None:
    schedule = _schedule("tdnnf_small")
    assert "output-xent" not in schedule.times and "prefinal-xent.affine" not in schedule.times


@pytest.mark.parametrize(
    ("name", "step"), [("low_rate_lstm", 3), ("low_rate_lstm_delay1", 1), ("low_rate_lstm_delay4", 1)]
)
def test_recurrences_run_at_the_rate_of_their_delay(name: str, step: int) -> None:
    times = _schedule(name).times["lstm1.lstm_nonlin"]
    assert (np.diff(times)[5:-5] == step).all()
    assert len(times) <= (ROWS + 4) * 3 // step


def test_extra_context_is_used_by_what_can_use_it() -> None:
    assert len(_schedule("tdnnf_small", extra=30).times["input"]) == len(_schedule("tdnnf_small").times["input"])
    assert len(_schedule("fast_lstm", extra=30).times["lstm1.lstm_nonlin"]) == ROWS + 10


def test_an_ivector_is_read_once() -> None:
    assert _schedule("ivector_online").times["ivector"].tolist() == [0]
    assert len(_schedule("descriptor_replace_index_hidden").times["small"]) == 1


def test_statistics_are_computed_once_in_a_period() -> None:
    times = _schedule("stats_mean").times
    extraction = next(times[name] for name in times if "extraction" in name)
    pooling = next(times[name] for name in times if "pooling" in name)
    assert (np.diff(extraction) == 9).all() and (np.diff(pooling) == 9).all()
    assert len(pooling) == ROWS * 3 // 9


def test_input_that_does_not_suffice() -> None:
    network = load_network(NNET3 / "tdnnf_small" / "final.raw")
    with pytest.raises(ModelError, match="the input frames do not suffice to compute the output at frame 81"):
        network.program(Request(((-8, 87),), LOW_RATE))


@pytest.mark.parametrize("seed", range(200))
def test_ranges_of_times(seed: int) -> None:
    """TimeRange against its definition."""
    rng = np.random.default_rng(seed)
    step = int(rng.integers(1, 5))
    left, right, period = (int(rng.integers(low, 12)) for low in (0, 0, 1))
    access = TimeRange(left, right, step, period, only_multiples=bool(rng.integers(2)))
    t = np.unique(rng.integers(-30, 40, int(rng.integers(1, 20))))
    exists = rng.random((2, 200)) < 0.15
    ranges = [[int(first) + shift for shift in range(0, left + right + 1, step)] for first in access.bounds(t)[0]]
    assert access.inputs(t).tolist() == sorted(set().union(*ranges))

    def available(times: np.ndarray) -> np.ndarray:
        inside = (times >= -100) & (times < 100)
        return exists[:, np.where(inside, times + 100, 0)] & inside

    expected = np.stack([available(np.array(times)).any(axis=1) for times in ranges], axis=1)
    if access.only_multiples:
        expected &= t % step == 0
    assert np.array_equal(access.computable(t, available), expected)
