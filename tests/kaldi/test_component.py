"""All 46 component types, in both forms, as Kaldi writes them now and as it wrote them once."""

import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import FormatError, ModelError
from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.component_dims import WITHOUT_INPUT
from kaldi_quant.kaldi.component_fields import COMPONENT_FIELDS
from kaldi_quant.kaldi.model import Model, read_model
from tests.references import COMPONENT_NAMES, COMPONENT_REFERENCES, COMPONENTS, Reference, largest_difference, load

# Kaldi multiplies and divides them by a count on their way, so that the two forms differ in the last bit.
_STATISTICS = (
    "ValueAvg",
    "DerivAvg",
    "OderivRms",
    "StatsMean",
    "StatsVar",
    "SelfRepairProb",
    "EntropyStats",
    "PosteriorStats",
)


def _component(model: Model) -> Component:
    return model.nnet.components["it"]


def test_there_is_a_network_of_every_type() -> None:
    assert len(COMPONENT_FIELDS) == 46
    assert {name.split(".")[0] for name in COMPONENT_NAMES} == set(COMPONENT_FIELDS)


@pytest.mark.parametrize("name", COMPONENT_NAMES)
def test_round_trip_in_both_forms(name: str) -> None:
    binary, text = COMPONENTS / f"{name}.raw", COMPONENTS / f"{name}.txt"
    assert read_model(binary).getvalue(binary=True) == binary.read_bytes()
    assert read_model(text).getvalue(binary=False) == text.read_bytes()


@pytest.mark.parametrize("name", COMPONENT_NAMES)
def test_both_forms_hold_the_same(name: str) -> None:
    binary, text = (_component(load(COMPONENTS / f"{name}{form}")) for form in (".raw", ".txt"))
    _assert_same(binary, text)
    converted = read_model(COMPONENTS / f"{name}.txt").getvalue(binary=True)
    assert len(converted) == (COMPONENTS / f"{name}.raw").stat().st_size


def _assert_same(one: Component, other: Component) -> None:
    assert one.type == other.type and one.closing == other.closing
    assert [field for field, _ in one.fields] == [field for field, _ in other.fields]
    for (field, value), (_, found) in zip(one.fields, other.fields, strict=True):
        if isinstance(value, list):
            for part, found_part in zip(value, found, strict=True):
                _assert_same(part, found_part)
        elif isinstance(value, dict):
            assert all(np.array_equal(value[key], found[key]) for key in value)
        elif field in _STATISTICS:
            assert value.dtype == found.dtype
            assert np.allclose(value, found, rtol=1e-6, atol=0)
        else:
            assert np.array_equal(value, found) and np.asarray(value).dtype == np.asarray(found).dtype


@dataclass(frozen=True)
class Legacy:
    """A form that Kaldi's reader takes and its writer does not, or no longer, produce.

    Args:
        name: what is special.
        source: the component as it is written today.
        now: a pattern in its text form.
        then: what stood there.
    """

    name: str
    source: str
    now: str
    then: str

    def text(self) -> str:
        text, number = re.subn(self.now, self.then, (COMPONENTS / f"{self.source}.txt").read_text(), flags=re.S)
        assert number >= 1, f"{self.name} is no change"
        return text


_SIX = "[ 0.1 0.2 0.3 0.4 0.5 0.6 ]\n"
_NO_STATISTICS = "<ValueAvg>  [ ]\n<DerivAvg>  [ ]\n<Count> 0 "
_DIM_AND_NATURAL_GRADIENT = "<Dim> 6 <UseNaturalGradient> T "
_CLIP_GRADIENT_SELF_REPAIR = r"<SelfRepairClipped.*?(?=<NumElements)|<NumSelf.*?(?=</)"
LEGACY = [
    Legacy("nonlinearity-before-oderiv", "SigmoidComponent", r"<OderivRms>.*?(?=<NumDims)", ""),
    Legacy("nonlinearity-without-self-repair", "TanhComponent", r"<NumDimsSelf.*?(?=</)", ""),
    Legacy("nonlinearity-first-form", "RectifiedLinearComponent", r"<OderivRms>.*?(?=</)", ""),
    Legacy(
        "softmax-without-statistics",
        "SoftmaxComponent",
        r"<ValueAvg>.*?(?=</)",
        _NO_STATISTICS,
    ),
    Legacy("normalize-dim", "NormalizeComponent", r"<InputDim>", "<Dim>"),
    Legacy("normalize-without-log-stddev", "NormalizeComponent", r"<AddLogStddev> F ", ""),
    Legacy(
        "normalize-with-statistics",
        "NormalizeComponent",
        r"<InputDim> 6 <TargetRms> 0.5 <AddLogStddev> F ",
        f"<Dim> 6 <TargetRms> 0.5 <ValueAvg>  {_SIX}<DerivAvg>  {_SIX}<Count> 100 ",
    ),
    Legacy("affine-is-gradient-at-the-end", "AffineComponent", r"(?=</Affine)", "<IsGradient> F "),
    Legacy("affine-is-gradient-in-front", "AffineComponent", r"<LearningRate>", "<IsGradient> F <LearningRate>"),
    Legacy("affine-learning-rate-only", "AffineComponent.orthonormal", r"<L2Regularize> \S+ |<Orthonormal\S+ 1 ", ""),
    Legacy(
        "natural-gradient-max-change-per-sample",
        "NaturalGradientAffineComponent",
        r"(?=</NaturalG)",
        "<MaxChangePerSample> 0.075 ",
    ),
    Legacy("natural-gradient-is-gradient", "NaturalGradientAffineComponent", r"(?=</NaturalG)", "<IsGradient> F "),
    Legacy(
        "natural-gradient-update-count",
        "NaturalGradientAffineComponent",
        r"(?=</Natural.*?>)",
        "<MaxChangePerSample> 0.075 <IsGradient> F <UpdateCount> 10 <ActiveScalingCount> 2 <MaxChangeScaleStats> 1.5 ",
    ),
    Legacy("natural-gradient-closed-by-its-opening", "NaturalGradientAffineComponent", r"</(?=Natural)", "<"),
    Legacy("per-element-scale-is-gradient", "PerElementScaleComponent", r"(?=</PerElement)", "<IsGradient> F "),
    Legacy(
        "per-element-scale-max-change",
        "NaturalGradientPerElementScaleComponent",
        r"(?=</Natural)",
        "<MaxChangePerMinibatch> 0.75 ",
    ),
    Legacy("per-element-offset-without-dim", "PerElementOffsetComponent", _DIM_AND_NATURAL_GRADIENT, ""),
    Legacy(
        "per-element-offset-is-gradient",
        "PerElementOffsetComponent",
        _DIM_AND_NATURAL_GRADIENT,
        "<IsGradient> F ",
    ),
    Legacy("sum-group-closed-by-its-opening", "SumGroupComponent", r"</(?=Sum)", "<"),
    Legacy(
        "no-op-as-nonlinearity",
        "NoOpComponent",
        r"<BackpropScale> 0.5 ",
        _NO_STATISTICS,
    ),
    Legacy(
        "no-op-as-later-nonlinearity",
        "NoOpComponent",
        r"<BackpropScale> 0.5 ",
        f"<ValueAvg>  {_SIX}<DerivAvg>  {_SIX}<Count> 5 <OderivRms>  {_SIX}<OderivCount> 5 "
        "<NumDimsSelfRepaired> 0 <NumDimsProcessed> 0 ",
    ),
    Legacy(
        "clip-gradient-without-self-repair",
        "ClipGradientComponent",
        _CLIP_GRADIENT_SELF_REPAIR,
        "",
    ),
    Legacy("clip-gradient-without-counts", "ClipGradientComponent", r"<NumSelfRepaired>.*?(?=</)", ""),
    Legacy("convolution-without-is-gradient", "ConvolutionComponent", r"<IsGradient> F ", ""),
    Legacy("tdnn-one-alpha", "TdnnComponent", r"<AlphaInOut> 4 4", "<Alpha> 4"),
    Legacy("composite-without-learning-rate", "CompositeComponent", r"<LearningRate> 0.001 (?=<MaxRows)", ""),
    Legacy("repeated-affine-is-gradient", "RepeatedAffineComponent", r"(?=</Repeated)", "<IsGradient> F "),
    Legacy("block-affine-is-gradient", "BlockAffineComponent", r"(?=</Block)", "<IsGradient> F "),
    Legacy("constant-function-without-learning-rate", "ConstantFunctionComponent", r"<LearningRate> 0.001 ", ""),
    Legacy("constant-without-learning-rate", "ConstantComponent", r"<LearningRate> 0.001 ", ""),
    Legacy("dropout-first-form", "DropoutComponent", r"<DropoutPerFrame> T <TestMode> F ", ""),
    Legacy("dropout-without-test-mode", "DropoutComponent", r"<TestMode> F ", ""),
    Legacy("dropout-mask-without-test-mode", "DropoutMaskComponent", r"<TestMode> F ", ""),
    Legacy("general-dropout-without-regions", "GeneralDropoutComponent.specaugment", r"<SpecAugmentMaxRegions> 2 ", ""),
    Legacy("backprop-truncation-without-scale", "BackpropTruncationComponent", r"<Scale> 0.8 ", ""),
    Legacy("lstm-without-dropout-flag", "LstmNonlinearityComponent.dropout", r"<MaxChange> 0.75 ", ""),
    Legacy("convolution-before-learning-rate", "TimeHeightConvolutionComponent", r"<LearningRate> 0.001 ", ""),
]


@pytest.mark.parametrize("legacy", LEGACY, ids=lambda legacy: legacy.name)
def test_early_forms_are_read_executed_and_written_back(tmp_path: Path, legacy: Legacy) -> None:
    text = tmp_path / "early.txt"
    text.write_text(legacy.text())
    model = read_model(text)
    assert model.getvalue(binary=False) == text.read_bytes()
    binary = tmp_path / "early.raw"
    binary.write_bytes(model.getvalue(binary=True))
    assert read_model(binary).getvalue(binary=True) == binary.read_bytes()
    assert read_model(binary).getvalue(binary=False) == text.read_bytes()
    alone = legacy.source not in WITHOUT_INPUT
    if alone and legacy.name != "backprop-truncation-without-scale":
        _assert_computes_as_today(binary, legacy.source)


def _assert_computes_as_today(path: Path, source: str) -> None:
    today = next(reference for reference in COMPONENT_REFERENCES if reference.output.stem == source)
    early = Reference(path, today.feats, today.output, today.options)
    assert largest_difference(early.compute(), today.expected()) < 1e-5


def test_scale_of_backprop_truncation_is_one_where_it_is_not_written(tmp_path: Path) -> None:
    legacy = next(found for found in LEGACY if found.name == "backprop-truncation-without-scale")
    (tmp_path / "early.txt").write_text(legacy.text())
    today = next(found for found in COMPONENT_REFERENCES if found.output.stem == legacy.source)
    got = Reference(tmp_path / "early.txt", today.feats, today.output, today.options).compute()
    assert np.allclose(0.8 * got["utt"], today.expected()["utt"], atol=1e-6)


def early_permute() -> bytes:
    """PermuteComponent with a column map of floats, whose last one was written wrongly."""
    today = (COMPONENTS / "PermuteComponent.raw").read_bytes()
    columns = np.array([3, 1, 2, 0, 4], "<i4")
    floats = np.array([3, 1, 2, 0, 0], "<f4")
    was = struct.pack("<bi", 4, 5) + columns.tobytes()
    assert today.count(was) == 1
    return today.replace(was, b"FV " + struct.pack("<bi", 4, 5) + floats.tobytes())


def test_permute_with_a_map_of_floats(tmp_path: Path) -> None:
    path = tmp_path / "early.raw"
    path.write_bytes(early_permute())
    assert read_model(path).getvalue(binary=True) == early_permute()
    _assert_computes_as_today(path, "PermuteComponent")


def test_scalars_keep_the_width_that_the_file_has(tmp_path: Path) -> None:
    """Builds of Kaldi with double precision write eight bytes where others write four."""
    today = (COMPONENTS / "DropoutComponent.raw").read_bytes()
    wide = today.replace(struct.pack("<bf", 4, 0.25), struct.pack("<bd", 8, 0.25))
    assert wide != today
    path = tmp_path / "wide.raw"
    path.write_bytes(wide)
    assert read_model(path).getvalue(binary=True) == wide
    assert _component(read_model(path))["DropoutProportion"].dtype == np.float64


@pytest.mark.parametrize(
    ("source", "now", "then", "error", "sentence"),
    [
        ("AffineComponent", "<AffineComponent>", "<AffineComponet>", FormatError, "expected a component of a type"),
        ("AffineComponent", "<BiasParams>", "<BiasParms>", FormatError, "expected <BiasParams> of AffineComponent"),
        ("AffineComponent", "</AffineComponent>", "<More> </AffineComponent>", FormatError, "expected </AffineComp"),
        ("NoOpComponent", "<Dim> 5", "<Dim> x", FormatError, "expected an integer, found 'x'"),
        ("NoOpComponent", "<Dim> 5", "<Dim> 99999999999", FormatError, "expected a 32-bit integer"),
        ("TdnnComponent", "<UseNaturalGradient> T", "<UseNaturalGradient> U", FormatError, "expected T or F"),
        ("AffineComponent", "0.25575", "0.25575 7", FormatError, "rows of 4 and of 5 columns"),
        ("AffineComponent", "0.25575", "0.255x5", FormatError, "not a number"),
        ("AffineComponent", "-0.39301 ]", "]", ModelError, "component it is inconsistent: .* 3 rows and a bias of 2"),
        ("SumGroupComponent", "[ 1 2 3 ]", "[ 1 0 5 ]", ModelError, "empty group"),
        ("PermuteComponent", "3 1 2 0 4", "3 1 2 3 4", ModelError, "column map"),
        ("TdnnComponent", "[ -1 0 2 ]", "[ -1 0 0 ]", ModelError, "no or repeated time offsets"),
        ("BatchNormComponent", "<BlockDim> 5", "<BlockDim> 4", ModelError, "dimension 5 and block dimension 4"),
        ("PnormComponent", "<OutputDim> 3", "<OutputDim> 4", ModelError, "dimension 6 and block dimension 4"),
        ("TimeHeightConvolutionComponent", "-1,-1 ", "-1,-9 ", ModelError, "height offset -9, which lies outside"),
        ("TimeHeightConvolutionComponent", "[ 0 1 ]", "[ 0 5 ]", ModelError, "requires a time offset that it lacks"),
        ("DropoutMaskComponent", "<OutputDim> 3", "<OutputDim> 2000000000", ModelError, "not believable"),
        ("CompositeComponent", "<Dim> 6", "<Dim> 5", ModelError, "feeds dimension 6 into 5"),
        ("RestrictedAttentionComponent", "<TimeStride> 1", "<TimeStride> 0", ModelError, "impossible sizes"),
        (
            "StatisticsExtractionComponent",
            "<InputPeriod> 1",
            "<InputPeriod> 3",
            ModelError,
            "that do not divide",
        ),
    ],
)
def test_wrong_components(
    tmp_path: Path, source: str, now: str, then: str, error: type[Exception], sentence: str
) -> None:
    text = (COMPONENTS / f"{source}.txt").read_text()
    assert now in text
    path = tmp_path / "wrong.txt"
    path.write_text(text.replace(now, then, 1))
    with pytest.raises(error, match=sentence) as caught:
        read_model(path)
    assert str(path) in str(caught.value)


def test_nesting_has_an_end(tmp_path: Path) -> None:
    deep = "<CompositeComponent> <MaxRowsProcess> 4096 <NumComponents> 1 " * 50
    text = (COMPONENTS / "NoOpComponent.txt").read_text().replace("<NoOpComponent>", deep + "<NoOpComponent>")
    (tmp_path / "deep.txt").write_text(text)
    with pytest.raises(FormatError, match="nested more than"):
        read_model(tmp_path / "deep.txt")


def test_fields_can_be_replaced() -> None:
    component = _component(read_model(COMPONENTS / "DropoutComponent.raw"))
    component.replace("DropoutProportion", np.float32(0.5))
    assert component["DropoutProportion"] == 0.5
    with pytest.raises(KeyError, match="DropoutComponent has no <Scales>"):
        component.replace("Scales", 1)
    with pytest.raises(KeyError, match="DropoutComponent has no <Scales>"):
        component["Scales"]
