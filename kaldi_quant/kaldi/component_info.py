"""One line on a component, in the words of nnet3-info.

Source: ``Info`` of each class in ``src/nnet3/nnet-*-component.cc``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.component_dims import column_map, component_dims
from kaldi_quant.kaldi.component_edits import is_updatable
from kaldi_quant.kaldi.component_text import option, pairs, plain, text_of, updatable
from kaldi_quant.kaldi.summaries import number, parameter_summary, vector_summary

# NonlinearComponent::kUnsetThreshold
_UNSET_THRESHOLD = -1000
_NONLINEAR = (
    "SigmoidComponent",
    "TanhComponent",
    "SoftmaxComponent",
    "LogSoftmaxComponent",
    "RectifiedLinearComponent",
)
_LSTM_NONLINEARITIES = ("i_t_sigmoid", "f_t_sigmoid", "c_t_tanh", "o_t_sigmoid", "m_t_tanh")
# More columns of a PermuteComponent, and heads of an attention, are not listed.
_MOST_COLUMNS = _MOST_HEADS = 5
# TdnnComponent has its own, which is not in the file.
_TDNN_UPDATE_PERIOD = 4


def component_info(component: Component) -> str:
    """A component's type, sizes, options, and its parameters and statistics summed up.

    Raises:
        ValueError: fields contradict each other.
    """
    describe = _TEXTS.get(component.type)
    return describe(component) if describe else updatable(component) if is_updatable(component) else plain(component)


def _own(*fields: str) -> Callable[[Component], str]:
    """The type and some fields."""
    return lambda component: component.type + pairs(component, *fields)


def _nonlinear(component: Component) -> str:
    dim = component["Dim"]
    text = f"{component.type}, dim={dim}"
    if component.get("BlockDim", dim) != dim:
        text += pairs(component, "BlockDim")
    for field in ("SelfRepairLowerThreshold", "SelfRepairUpperThreshold"):
        if component.get(field, _UNSET_THRESHOLD) != _UNSET_THRESHOLD:
            text += pairs(component, field)
    if component.get("SelfRepairScale", 0.0):
        text += pairs(component, "SelfRepairScale")
    if component["Count"] > 0 and len(component["ValueAvg"]) == dim:
        repaired, processed = component.get("NumDimsSelfRepaired", 0.0), component.get("NumDimsProcessed", 0.0)
        proportion = repaired / processed if processed > 0 else 0
        text += f", count={number(component['Count'], 3)}, self-repaired-proportion={number(proportion)}"
        text += f", value-avg={vector_summary(component['ValueAvg'])}"
        if len(component["DerivAvg"]) == dim:
            text += f", deriv-avg={vector_summary(component['DerivAvg'])}"
    if component.get("OderivCount", 0.0) > 0 and len(component["OderivRms"]) == dim:
        text += f", oderiv-rms={vector_summary(component['OderivRms'])}"
        text += f", oderiv-count={number(component['OderivCount'])}"
    return text


def _orthonormal(component: Component) -> str:
    return pairs(component, "OrthonormalConstraint") if component.get("OrthonormalConstraint", 0.0) else ""


def _affine(component: Component) -> str:
    text = updatable(component) + _orthonormal(component)
    text += parameter_summary("linear-params", component["LinearParams"], with_norms=True)
    return text + parameter_summary("bias", component["BiasParams"], with_mean=True)


def _natural_gradient_affine(component: Component) -> str:
    return _affine(component) + pairs(component, "RankIn", "RankOut", "NumSamplesHistory", "UpdatePeriod", "Alpha")


def _ranks(component: Component) -> str:
    rank_in, rank_out = component["RankInOut"]
    return f", rank-in={rank_in}, rank-out={rank_out}"


def _linear(component: Component) -> str:
    text = updatable(component) + parameter_summary("params", component["Params"], with_norms=True)
    text += _orthonormal(component) + pairs(component, "UseNaturalGradient") + _ranks(component)
    return text + pairs(component, "NumSamplesHistory", "UpdatePeriod", "Alpha")


def _tdnn(component: Component) -> str:
    text = updatable(component) + _orthonormal(component)
    text += f", time-offsets={','.join(map(str, component['TimeOffsets'].tolist()))}"
    text += parameter_summary("linear-params", component["LinearParams"], with_norms=True)
    bias = component["BiasParams"]
    text += parameter_summary("bias", bias, with_mean=True) if len(bias) else ", has-bias=false"
    if not component["UseNaturalGradient"]:
        return f"{text}, use-natural-gradient=false"
    text += f"{_ranks(component)}{pairs(component, 'NumSamplesHistory')}, update-period={_TDNN_UPDATE_PERIOD}"
    alphas = component.get("AlphaInOut") or (component.get("Alpha", 4.0),) * 2
    return f"{text}, alpha-in={number(alphas[0])}, alpha-out={number(alphas[1])}"


def _affine_alike(base: Callable[[Component], str], *fields: str) -> Callable[[Component], str]:
    """Affine components without norms, with some fields of their own."""

    def describe(component: Component) -> str:
        text = base(component) + pairs(component, *fields)
        text += parameter_summary("linear-params", component["LinearParams"])
        return text + parameter_summary("bias", component["BiasParams"], with_mean=True)

    return describe


def _vector(base: Callable[[Component], str], field: str, name: str) -> Callable[[Component], str]:
    return lambda component: base(component) + parameter_summary(name, component[field], with_mean=True)


def _with_extremes(component: Component, field: str, name: str) -> str:
    values = component[field]
    return f"{updatable(component)}, {name}-min={number(values.min())}, {name}-max={number(values.max())}"


def _per_element_scale(component: Component) -> str:
    text = _with_extremes(component, "Params", "scales") + parameter_summary("scales", component["Params"], True)
    return text + pairs(component, "Rank", "UpdatePeriod", "NumSamplesHistory", "Alpha")


def _per_element_offset(component: Component) -> str:
    offsets = component["Offsets"]
    natural = text_of(component.get("UseNaturalGradient", True))
    text = (
        f"{_with_extremes(component, 'Offsets', 'offsets')}, block-dim={len(offsets)}, use-natural-gradient={natural}"
    )
    return text + parameter_summary("offsets", offsets, with_mean=True)


def _scale_and_offset(component: Component) -> str:
    scales, offsets = component["Scales"], component["Offsets"]
    text = updatable(component) + pairs(component, "Rank")
    text += f", block-size={len(scales)}" if component["Dim"] != len(scales) else ""
    return text + parameter_summary("scales", scales, True) + parameter_summary("offsets", offsets, True)


def _constant(component: Component) -> str:
    input_dim, output_dim = component_dims(component)
    sizes = f"output-dim={output_dim}"
    if component.type == "ConstantFunctionComponent":
        sizes = f"input-dim={input_dim}, {sizes}"
    text = f"{updatable(component)}, {component.type}, {sizes}"
    text += pairs(component, "IsUpdatable", "UseNaturalGradient")
    return text + parameter_summary("output", component["Output"], with_mean=True)


def _dropout(component: Component) -> str:
    per_frame = text_of(component.get("DropoutPerFrame", False))
    return f"{component.type}{pairs(component, 'Dim', 'DropoutProportion')}, dropout-per-frame={per_frame}"


def _dropout_mask(component: Component) -> str:
    text = component.type + pairs(component, "OutputDim", "DropoutProportion")
    return text + (", continuous=true" if "Continuous" in component else "")


def _general_dropout(component: Component) -> str:
    text = component.type + pairs(component, "Dim", "BlockDim", "DropoutProportion")
    text += ", continuous=true" if "Continuous" in component else ""
    if component.get("SpecAugmentMaxProportion", 0.0):
        share, regions = component["SpecAugmentMaxProportion"], component.get("SpecAugmentMaxRegions", 1)
        text += f", specaugment-max-proportion={number(share)}, specaugment-max-regions={regions}"
    return text + (pairs(component, "TimePeriod") if component["TimePeriod"] > 0 else "")


def _no_op(component: Component) -> str:
    scale = component.get("BackpropScale", 1.0)
    return f"{component.type}, dim={component['Dim']}" + (f", backprop-scale={number(scale)}" if scale != 1.0 else "")


def _clip_gradient(component: Component) -> str:
    clipped, processed = component["NumElementsClipped"], component["NumElementsProcessed"]
    text = component.type + pairs(component, "Dim", "NormBasedClipping", "ClippingThreshold")
    text += f", clipped-proportion={number(clipped / processed if processed > 0 else 0)}"
    if component.get("SelfRepairScale", 0.0):
        fields = ("SelfRepairClippedProportionThreshold", "SelfRepairTarget", "SelfRepairScale")
        text += pairs(component, *fields)
    return text


def _backprop_truncation(component: Component) -> str:
    def share(part: str, whole: str) -> str:
        return number(component[part] / component[whole] if component[whole] > 0 else 0)

    scale, count = number(component.get("Scale", 1.0)), number(component["NumElementsProcessed"], 3)
    clipped = share("NumElementsClipped", "NumElementsProcessed")
    zeroed = share("NumElementsZeroed", "NumZeroingBoundaries")
    return (
        f"{component.type}, dim={component['Dim']}, scale={scale}, count={count}"
        f"{pairs(component, 'RecurrenceInterval', 'ClippingThreshold')}, clipped-proportion={clipped}"
        f"{pairs(component, 'ZeroingThreshold', 'ZeroingInterval')}, zeroed-proportion={zeroed}"
        f", count-zeroing-boundaries={number(np.trunc(component['NumZeroingBoundaries']), 10)}"
    )


def _normalize(component: Component) -> str:
    input_dim, _ = component_dims(component)
    log_stddev, rms = component.get("AddLogStddev", False), component.get("TargetRms", 1.0)
    text = f"{plain(component)}, target-rms={number(rms)}, add-log-stddev={text_of(log_stddev)}"
    return text + (pairs(component, "BlockDim") if component.get("BlockDim", input_dim) != input_dim else "")


def _batch_norm(component: Component) -> str:
    text = component.type + pairs(component, "Dim", "BlockDim", "Epsilon", "TargetRms", "Count", "TestMode")
    if component["Count"] > 0:
        stddev = np.sqrt(np.maximum(component["StatsVar"].astype(np.float64), 0.0))
        text += f", data-mean={vector_summary(component['StatsMean'])}, data-stddev={vector_summary(stddev)}"
    return text


def _permute(component: Component) -> str:
    columns = column_map(component).tolist()
    shown = "".join(f"{column} " for column in columns[:_MOST_COLUMNS])
    return f"{component.type}, dim={len(columns)} , column-map=[ {shown}{'... ' * (len(columns) > _MOST_COLUMNS)}]"


def _composite(component: Component) -> str:
    parts = enumerate(component["NumComponents"], start=1)
    return f"{component.type} " + ", ".join(f"sub-component{i} = {{ {component_info(part)} }}" for i, part in parts)


def _convolution(component: Component) -> str:
    sizes = ("InputXDim", "InputYDim", "InputZDim", "FiltXDim", "FiltYDim", "FiltXStep", "FiltYStep")
    text = updatable(component) + pairs(component, *sizes, "InputVectorization")
    text += f", num-filters={len(component['FilterParams'])}"
    text += parameter_summary("filter-params", component["FilterParams"])
    return text + parameter_summary("bias-params", component["BiasParams"], with_mean=True)


def _time_height_convolution(component: Component) -> str:
    model, weight, bias = component["Model"], component["LinearParams"], component["BiasParams"]
    names = ("NumFiltersIn", "NumFiltersOut", "HeightIn", "HeightOut", "HeightSubsampleOut")
    sizes = ", ".join(f"{option(name)}={model[name]}" for name in names)
    offsets = " ".join(f"{time},{height}" for time, height in model["Offsets"].tolist())
    required = ",".join(map(str, sorted(set(model["RequiredTimeOffsets"].tolist()))))
    input_dim, output_dim = component_dims(component)
    natural = component["UseNaturalGradient"]
    text = (
        f"{updatable(component)} {sizes}, {{time,height}}-offsets=[{offsets}], required-time-offsets=[{required}], "
        f"input-dim={input_dim}, output-dim={output_dim}"
        f"{parameter_summary('filter-params', weight)}{parameter_summary('bias-params', bias, True)}"
        f", num-params={weight.size + bias.size}{pairs(component, 'MaxMemoryMb')}, use-natural-gradient={natural:d}"
    )
    if natural:
        text += pairs(component, "NumMinibatchesHistory") + _ranks(component)
        text += f", alpha={number(component['AlphaInOut'][0])}"
    return text


def _attention(component: Component) -> str:
    context = component["NumLeftInputs"] + 1 + component["NumRightInputs"]
    text = plain(component) + pairs(component, "NumHeads", "TimeStride", "KeyDim", "ValueDim")
    text += f"{pairs(component, 'NumLeftInputs', 'NumRightInputs')}, context-dim={context}"
    text += pairs(component, "NumLeftInputsRequired", "NumRightInputsRequired", "OutputContext", "KeyScale")
    if component["StatsCount"]:
        count = component["StatsCount"]
        entropy, posteriors = (component[name] / count for name in ("EntropyStats", "PosteriorStats"))
        text += f", entropy={''.join(f'{number(value)},' for value in entropy)}"
        for head, row in enumerate(posteriors[:_MOST_HEADS]):
            text += f" posterior-stats[{head}]={''.join(f'{number(value)},' for value in row)}"
        text += f" stats-count={number(count)}"
    return text


def _lstm(component: Component) -> str:
    rows, config = component["Params"], component["SelfRepairConfig"]
    use_dropout = text_of(component.get("UseDropout", False))
    text = f"{updatable(component)}, cell-dim={rows.shape[1]}, use-dropout={use_dropout}"
    text += "".join(parameter_summary(f"w_{gate}c", row) for gate, row in zip("ifo", rows, strict=True))
    counted = component["Count"] != 0
    sizes = [len(component[name]) for name in ("SelfRepairProb", "ValueAvg", "DerivAvg")]
    if len(config) != 10 or (counted and min(sizes) < len(_LSTM_NONLINEARITIES)):
        raise ValueError(f"{component.type} has statistics of the wrong size")
    text += f", count={number(component['Count'], 3)}" if component["Count"] > 0 else ""
    for i, name in enumerate(_LSTM_NONLINEARITIES):
        text += (
            f", {name}={{ self-repair-lower-threshold={number(config[i])}, self-repair-scale={number(config[i + 5])}"
        )
        if counted:
            text += f", self-repaired-proportion={number(component['SelfRepairProb'][i])}"
            text += f", value-avg={vector_summary(component['ValueAvg'][i])}"
            text += f", deriv-avg={vector_summary(component['DerivAvg'][i])}"
        text += " }"
    return text


def _gru(component: Component) -> str:
    text = updatable(component) + pairs(component, "CellDim", "RecurrentDim")
    text += parameter_summary("w_h", component["w_h"])
    text += pairs(component, "SelfRepairThreshold", "SelfRepairScale")
    count = component["Count"]
    if count > 0:
        proportion = component["SelfRepairTotal"] / (count * component["CellDim"])
        text += f", count={number(count, 3)}, self-repaired-proportion={number(proportion)}"
        text += f", value-avg={vector_summary(component['ValueAvg'])}"
        text += f", deriv-avg={vector_summary(component['DerivAvg'])}"
    text += pairs(component, "Alpha", "Rank")
    return text + (_ranks(component) if "RankInOut" in component else "") + pairs(component, "UpdatePeriod")


_TEXTS: dict[str, Callable[[Component], str]] = {
    **dict.fromkeys(_NONLINEAR, _nonlinear),
    "AffineComponent": _affine,
    "NaturalGradientAffineComponent": _natural_gradient_affine,
    "LinearComponent": _linear,
    "TdnnComponent": _tdnn,
    "FixedAffineComponent": _affine_alike(plain),
    "RepeatedAffineComponent": _affine_alike(updatable, "NumRepeats"),
    "NaturalGradientRepeatedAffineComponent": _affine_alike(updatable, "NumRepeats"),
    "BlockAffineComponent": _affine_alike(updatable, "NumBlocks"),
    "FixedScaleComponent": _vector(plain, "Scales", "scales"),
    "FixedBiasComponent": _vector(plain, "Bias", "bias"),
    "PerElementScaleComponent": _per_element_scale,
    "NaturalGradientPerElementScaleComponent": _per_element_scale,
    "PerElementOffsetComponent": _per_element_offset,
    "ScaleAndOffsetComponent": _scale_and_offset,
    "ConstantFunctionComponent": _constant,
    "ConstantComponent": _constant,
    "DropoutComponent": _dropout,
    "DropoutMaskComponent": _dropout_mask,
    "GeneralDropoutComponent": _general_dropout,
    "SpecAugmentTimeMaskComponent": _own("Dim", "ZeroedProportion", "TimeMaskMaxFrames"),
    "NoOpComponent": _no_op,
    "ClipGradientComponent": _clip_gradient,
    "BackpropTruncationComponent": _backprop_truncation,
    "NormalizeComponent": _normalize,
    "BatchNormComponent": _batch_norm,
    "PermuteComponent": _permute,
    "SumBlockComponent": _own("InputDim", "OutputDim", "Scale"),
    "CompositeComponent": _composite,
    "ConvolutionComponent": _convolution,
    "MaxpoolingComponent": _own(
        "InputXDim",
        "InputYDim",
        "InputZDim",
        "PoolXSize",
        "PoolYSize",
        "PoolZSize",
        "PoolXStep",
        "PoolYStep",
        "PoolZStep",
    ),
    "TimeHeightConvolutionComponent": _time_height_convolution,
    "RestrictedAttentionComponent": _attention,
    "LstmNonlinearityComponent": _lstm,
    "GruNonlinearityComponent": _gru,
    "OutputGruNonlinearityComponent": _gru,
}
