"""Observers: ranges from what they saw."""

import pytest
import torch

from kaldi_quant.errors import DataError
from kaldi_quant.quant.observers import OBSERVERS, ColumnMinMaxObserver, MseObserver
from kaldi_quant.quant.spec import QSpec

SPEC = QSpec(8, signed=False)


@pytest.fixture
def values() -> torch.Tensor:
    """Mostly small, with a few outliers."""
    random = torch.Generator().manual_seed(0)
    return torch.cat([torch.rand(20000, generator=random), torch.tensor([30.0, 40.0])])


def top(name: str, values: torch.Tensor, spec: QSpec = SPEC) -> float:
    """The end of the range that an observer chooses."""
    observer = OBSERVERS[name]()
    for batch in values.split(5000):
        observer.observe(batch)
    return float(observer.grid(spec).dequantize(torch.tensor(spec.qmax)))


def test_minmax_covers_everything(values: torch.Tensor) -> None:
    assert top("minmax", values) == pytest.approx(40.0, rel=1e-5)


@pytest.mark.parametrize("name", ["percentile", "mse", "kl", "moving-average"])
def test_others_give_outliers_up(name: str, values: torch.Tensor) -> None:
    # At four bits the squared error, too, is smaller without the two outliers.
    assert 0.5 < top(name, values, QSpec(4, signed=False)) < 35.0


@pytest.mark.parametrize("name", OBSERVERS)
def test_all_take_silence_and_refuse_what_is_not_finite(name: str) -> None:
    observer = OBSERVERS[name]()
    with pytest.raises(DataError, match="calibration set is empty"):
        observer.grid(SPEC)
    observer.observe(torch.zeros(10))
    assert float(observer.grid(SPEC).fake(torch.tensor(0.0))) == 0.0
    with pytest.raises(DataError, match="not finite"):
        observer.observe(torch.tensor([1.0, torch.nan]))


@pytest.mark.parametrize("name", OBSERVERS)
def test_batches_that_grow_are_all_counted(name: str) -> None:
    observer = OBSERVERS[name]()
    for scale in (1e-3, 1.0, 100.0):
        observer.observe(torch.linspace(0, scale, 1000))
    assert observer.count == 3000 and not observer.signed
    assert float(observer.grid(SPEC).scale) > 0


@pytest.mark.parametrize("scale", [2.0**-100, 1.0, 2.0**80, 2.0**125])
def test_a_histogram_counts_as_torch_does(scale: float, values: torch.Tensor) -> None:
    observer = MseObserver()
    values = torch.cat([values, -0.3 * values, torch.zeros(3)]) / 40
    observer.observe(values * scale)
    assert torch.equal(observer.counts, torch.histc(values, len(observer.counts), -1, 1).double())


def test_a_histogram_counts_beyond_float32() -> None:
    observer = MseObserver()
    number = (1 << 24) + 3
    observer.observe(torch.zeros(1).expand(number))
    observer.observe(torch.ones(2))
    assert observer.counts.max() == number and observer.counts.sum() == number + 2


def test_features_beyond_the_calibration_set_have_headroom() -> None:
    spec = QSpec(8, signed=False, symmetric=False, per_channel=True)
    seen = torch.tensor([[-10.0, 0.0, 5.0], [30.0, 0.0, 5.0]])
    tight, wide = (ColumnMinMaxObserver(headroom) for headroom in (1.0, 1.5))
    for observer in (tight, wide):
        observer.observe(seen)
    beyond = torch.tensor([38.0, 0.0, 5.0])
    assert tight.grid(spec).fake(beyond).tolist() == pytest.approx([30.0, 0.0, 5.0], abs=0.2)
    assert wide.grid(spec).fake(beyond).tolist() == pytest.approx([38.0, 0.0, 5.0], abs=0.2)
    # The range of 40 becomes one of 60, from -20 to 40.
    assert float(wide.grid(spec).scale[0]) == pytest.approx(60 / 255)
