"""Log-likelihoods against nnet3-compute's: every reference model, whole utterances and chunks, both precisions."""

from pathlib import Path

import pytest
import torch

from kaldi_quant.errors import ModelError
from tests.references import (
    FLOAT32_TOLERANCE,
    FLOAT64_TOLERANCE,
    REFERENCES,
    Reference,
    largest_difference,
    model_file,
)

# Kaldi's index x is not executed: no recipe for acoustic models uses it.
EXECUTED = [reference for reference in REFERENCES if reference.name != "distribute/output"]
PRECISIONS = [
    pytest.param(torch.float32, FLOAT32_TOLERANCE, id="float32"),
    pytest.param(torch.float64, FLOAT64_TOLERANCE, id="float64"),
]
PARITY = ["tdnnf", "tdnnf_ivec", "cnn_tdnnf", "tdnn_lstm"]
CHUNK51 = (
    ("frames-per-chunk", "51"),
    ("extra-left-context", "21"),
    ("extra-left-context-initial", "0"),
    ("extra-right-context-final", "0"),
)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("reference", EXECUTED, ids=lambda reference: reference.name)
def test_reference_models(reference: Reference, dtype: torch.dtype, tolerance: float) -> None:
    assert largest_difference(reference.compute(dtype), reference.expected()) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("name", PARITY)
def test_larger_models_of_many_topologies(shared: Path, name: str, dtype: torch.dtype, tolerance: float) -> None:
    folder = shared / "parity" / name
    ivectors = (("online-ivectors", "ark:../ivectors.ark"), ("online-ivector-period", "10"))
    common = (("frame-subsampling-factor", "3"), *(ivectors if name == "tdnnf_ivec" else ()))
    feats = shared / "parity" / "feats.ark"
    runs = [Reference(folder / "final.mdl", feats, folder / "output.ark", (*common, ("frames-per-chunk", "10000")))]
    if (folder / "output_chunk51.ark").exists():
        runs.append(Reference(folder / "final.mdl", feats, folder / "output_chunk51.ark", (*common, *CHUNK51)))
    for run in runs:
        assert largest_difference(run.compute(dtype), run.expected()) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize(
    ("model", "archive"),
    [
        ("tdnn1a_sp", "nnet3_compute.test_first4.ark"),
        ("tdnnf1b_sp", "nnet3_compute.tdnnf1b.test_first4.ark"),
    ],
)
def test_example_models(example: Path, model: str, archive: str, dtype: torch.dtype, tolerance: float) -> None:
    output = example / "reference" / archive
    reference = Reference(
        model_file(example / "exp" / "chain" / model),
        example / "data" / "test_hires" / "feats.ark",
        output,
        (("frame-subsampling-factor", "3"), ("frames-per-chunk", "10000")),
    )
    expected = reference.expected()
    assert len(expected) == 4
    assert largest_difference(reference.compute(dtype, limit=4), expected) < tolerance


def test_a_component_over_x_is_answered_by_a_sentence() -> None:
    distribute = next(reference for reference in REFERENCES if reference.name == "distribute/output")
    with pytest.raises(ModelError, match=r"component d is a DistributeComponent, which can be copied but not executed"):
        distribute.compute()
