"""Input and output dimensions of every component type, from its own fields.

Source: ``InputDim``, ``OutputDim`` and ``Check`` of each class in ``src/nnet3/nnet-*-component.cc``. Dimensions come
from the parameters wherever there are any, and every stated dimension is checked against them, so that a corrupt one is
found here and not by an allocation.
"""

from collections.abc import Callable
from itertools import pairwise
from math import prod

import numpy as np

from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.descriptor import LARGEST_DIM

Dims = tuple[int, int]

#: These types are given an input in the graph, often themselves, and never read it.
WITHOUT_INPUT = frozenset({"ConstantComponent", "DropoutMaskComponent"})


def component_dims(component: Component) -> Dims:
    """The (input, output) dimensions of a component.

    Raises:
        ValueError: one sentence about fields that contradict each other.
    """
    input_dim, output_dim = _DIMS[component.type](component)
    believable = 0 < input_dim <= LARGEST_DIM and 0 < output_dim <= LARGEST_DIM
    _require(believable, component, f"maps dimension {input_dim} to {output_dim}, which is not believable")
    return input_dim, output_dim


def column_map(component: Component) -> np.ndarray:
    """The column map of a PermuteComponent, (dim,) int32; early files store floats, with a wrong last one.

    Source: ``PermuteComponent::Read``.
    """
    columns = component["ColumnMap"]
    if columns.dtype.kind == "f":
        columns = (columns + 0.5).astype(np.int32)
        columns[-1:] = len(columns) - 1
    return columns


def _require(condition: bool, component: Component, fault: str) -> None:
    if not condition:
        raise ValueError(f"{component.type} {fault}")


def _blocks(component: Component, dim: int, block_dim: int) -> None:
    _require(block_dim > 0 and dim % block_dim == 0, component, f"has dimension {dim} and block dimension {block_dim}")


def _same(name: str) -> Callable[[Component], Dims]:
    def dims(component: Component) -> Dims:
        dim = component[name]
        return dim, dim

    return dims


def _nonlinear(component: Component) -> Dims:
    dim = component["Dim"]
    _blocks(component, dim, component.get("BlockDim", dim))
    return dim, dim


def _input_output(component: Component) -> Dims:
    return component["InputDim"], component["OutputDim"]


def _grouped(component: Component) -> Dims:
    input_dim, output_dim = _input_output(component)
    _blocks(component, input_dim, output_dim)
    return input_dim, output_dim


def _normalize(component: Component) -> Dims:
    _require("InputDim" in component or "Dim" in component, component, "has no <InputDim>")
    dim = component.get("InputDim", component.get("Dim"))
    block_dim = component.get("BlockDim", dim)
    _blocks(component, dim, block_dim)
    return dim, dim + (dim // block_dim if component.get("AddLogStddev", False) else 0)


def _affine(component: Component) -> Dims:
    output_dim, input_dim = component["LinearParams"].shape
    bias = component["BiasParams"]
    _require(len(bias) == output_dim, component, f"has {output_dim} rows and a bias of {len(bias)}")
    return input_dim, output_dim


def _linear(component: Component) -> Dims:
    output_dim, input_dim = component["Params"].shape
    return input_dim, output_dim


def _repeated_affine(component: Component) -> Dims:
    repeats = component["NumRepeats"]
    _require(repeats > 0, component, f"has {repeats} repeats")
    input_dim, output_dim = _affine(component)
    return repeats * input_dim, repeats * output_dim


def _block_affine(component: Component) -> Dims:
    blocks = component["NumBlocks"]
    columns, output_dim = _affine(component)
    _require(blocks > 0 and output_dim % blocks == 0, component, f"has {output_dim} rows in {blocks} blocks")
    return blocks * columns, output_dim


def _vector(name: str) -> Callable[[Component], Dims]:
    def dims(component: Component) -> Dims:
        dim = len(component[name])
        return dim, dim

    return dims


def _per_element_offset(component: Component) -> Dims:
    dim = component.get("Dim", len(component["Offsets"]))
    _blocks(component, dim, len(component["Offsets"]))
    return dim, dim


def _scale_and_offset(component: Component) -> Dims:
    dim, scales, offsets = component["Dim"], component["Scales"], component["Offsets"]
    _require(len(scales) == len(offsets), component, f"has {len(scales)} scales and {len(offsets)} offsets")
    _blocks(component, dim, len(scales))
    return dim, dim


def _sum_group(component: Component) -> Dims:
    sizes = component["Sizes"]
    _require(bool((sizes > 0).all()), component, "has an empty group")
    return int(sizes.sum()), len(sizes)


def _permute(component: Component) -> Dims:
    columns = column_map(component)
    dim = len(columns)
    _require(bool(np.array_equal(np.sort(columns), np.arange(dim))), component, "has a column map that is none")
    return dim, dim


def _batch_norm(component: Component) -> Dims:
    dim, block_dim = component["Dim"], component["BlockDim"]
    _blocks(component, dim, block_dim)
    for name in ("StatsMean", "StatsVar"):
        size = len(component[name])
        _require(size in (0, block_dim), component, f"has block dimension {block_dim} and <{name}> of {size}")
    return dim, dim


def _tdnn(component: Component) -> Dims:
    offsets, weight, bias = component["TimeOffsets"], component["LinearParams"], component["BiasParams"]
    output_dim, columns = weight.shape
    _require(0 < len(offsets) == len(set(offsets.tolist())), component, "has no or repeated time offsets")
    _require(columns % len(offsets) == 0, component, f"has {columns} columns for {len(offsets)} time offsets")
    _require(len(bias) in (0, output_dim), component, f"has {output_dim} rows and a bias of {len(bias)}")
    return columns // len(offsets), output_dim


def _time_height_convolution(component: Component) -> Dims:
    model, weight, bias = component["Model"], component["LinearParams"], component["BiasParams"]
    sizes = [model[name] for name in ("NumFiltersIn", "NumFiltersOut", "HeightIn", "HeightOut", "HeightSubsampleOut")]
    filters_in, filters_out, height_in, height_out, subsample = sizes
    offsets = {tuple(pair) for pair in model["Offsets"].tolist()}
    _require(min(sizes) > 0, component, "has a size that is not positive")
    _require(len(offsets) == len(model["Offsets"]) > 0, component, "has no or repeated offsets")
    _require(
        weight.shape == (filters_out, len(offsets) * filters_in) and len(bias) == filters_out,
        component,
        f"has parameters {weight.shape} for {filters_out} filters of {len(offsets)} x {filters_in}",
    )
    required = set(model["RequiredTimeOffsets"].tolist())
    _require(required <= {time for time, _ in offsets}, component, "requires a time offset that it lacks")
    _require(height_out <= LARGEST_DIM, component, f"has an output of height {height_out}")
    fed = np.zeros(height_out, bool)
    for time, height in offsets:
        # The output rows that this offset gives a part of the input to.
        first, end = max(0, -(height // subsample)), min(height_out, (height_in - 1 - height) // subsample + 1)
        _require(first < end, component, f"has the height offset {height}, which lies outside the input everywhere")
        fed[first:end] |= time in required
    _require(bool(fed.all()), component, "has output rows that none of the required offsets feeds")
    return filters_in * height_in, filters_out * height_out


def _convolution(component: Component) -> Dims:
    names = ("InputXDim", "InputYDim", "InputZDim", "FiltXDim", "FiltYDim", "FiltXStep", "FiltYStep")
    sizes = [component[name] for name in names]
    x, y, z, filter_x, filter_y, step_x, step_y = sizes
    weight, bias = component["FilterParams"], component["BiasParams"]
    _require(min(sizes) > 0 and filter_x <= x and filter_y <= y, component, "has a filter that does not fit its input")
    _require(component["InputVectorization"] in (0, 1), component, "has an unknown <InputVectorization>")
    _require(
        weight.shape == (len(bias), filter_x * filter_y * z),
        component,
        f"has parameters {weight.shape} for {len(bias)} filters of {filter_x * filter_y * z}",
    )
    return x * y * z, len(bias) * (1 + (x - filter_x) // step_x) * (1 + (y - filter_y) // step_y)


def _maxpooling(component: Component) -> Dims:
    inputs, pools, steps = (
        [component[f"{prefix}{axis}{suffix}"] for axis in "XYZ"]
        for prefix, suffix in (("Input", "Dim"), ("Pool", "Size"), ("Pool", "Step"))
    )
    fits = all(0 < step <= pool <= size for size, pool, step in zip(inputs, pools, steps, strict=True))
    _require(fits, component, "has a pool that does not fit its input")
    return prod(inputs), prod(1 + (n - pool) // step for n, pool, step in zip(inputs, pools, steps, strict=True))


def _composite(component: Component) -> Dims:
    parts = [component_dims(part) for part in component["NumComponents"]]
    _require(bool(parts), component, "has no components")
    for (_, output_dim), (input_dim, _) in pairwise(parts):
        _require(output_dim == input_dim, component, f"feeds dimension {output_dim} into {input_dim}")
    return parts[0][0], parts[-1][1]


def _statistics_extraction(component: Component) -> Dims:
    dim, period_in, period_out = component["InputDim"], component["InputPeriod"], component["OutputPeriod"]
    _require(0 < period_in <= period_out and period_out % period_in == 0, component, "has periods that do not divide")
    return dim, 1 + dim * (2 if component["IncludeVarinance"] else 1)


def _statistics_pooling(component: Component) -> Dims:
    dim, period, log_counts = component["InputDim"], component["InputPeriod"], component["NumLogCountFeatures"]
    left, right = component["LeftContext"], component["RightContext"]
    fits = period > 0 and left >= 0 and right >= 0 and left + right > 0 and left % period == 0 and right % period == 0
    _require(fits and log_counts >= 0, component, f"has period {period} and context {left}, {right}")
    _require(
        not component["OutputStddevs"] or dim % 2 == 1, component, f"takes standard deviations of {dim} - 1 columns"
    )
    return dim, dim - 1 + log_counts


def _constant_function(component: Component) -> Dims:
    return component["InputDim"], len(component["Output"])


def _constant(component: Component) -> Dims:
    dim = len(component["Output"])
    return dim, dim


def _general_dropout(component: Component) -> Dims:
    dim = component["Dim"]
    _blocks(component, dim, component["BlockDim"])
    return dim, dim


def _lstm(component: Component) -> Dims:
    rows, cell_dim = component["Params"].shape
    _require(rows == 3, component, f"has {rows} rows of parameters instead of 3")
    return 5 * cell_dim + (3 if component.get("UseDropout", False) else 0), 2 * cell_dim


def _gru(component: Component) -> Dims:
    cell_dim, recurrent_dim, weight = component["CellDim"], component["RecurrentDim"], component["w_h"]
    _require(
        weight.shape == (cell_dim, recurrent_dim),
        component,
        f"has <w_h> {weight.shape} for {cell_dim}, {recurrent_dim}",
    )
    _require(0 < recurrent_dim <= cell_dim, component, f"has recurrent dimension {recurrent_dim} of {cell_dim}")
    projected = recurrent_dim if recurrent_dim != cell_dim else 0
    return 3 * cell_dim + recurrent_dim + projected, 2 * cell_dim


def _output_gru(component: Component) -> Dims:
    cell_dim = component["CellDim"]
    _require(len(component["w_h"]) == cell_dim, component, f"has <w_h> of {len(component['w_h'])} for {cell_dim}")
    return 3 * cell_dim, 2 * cell_dim


def _attention(component: Component) -> Dims:
    heads, key_dim, value_dim = component["NumHeads"], component["KeyDim"], component["ValueDim"]
    left, right = component["NumLeftInputs"], component["NumRightInputs"]
    required = component["NumLeftInputsRequired"], component["NumRightInputsRequired"]
    fits = heads > 0 and key_dim > 0 and value_dim > 0 and component["TimeStride"] > 0 and left + right > 0
    _require(fits and 0 <= required[0] <= left and 0 <= required[1] <= right, component, "has impossible sizes")
    context_dim = left + 1 + right
    output_dim = value_dim + (context_dim if component["OutputContext"] else 0)
    return heads * (2 * key_dim + value_dim + context_dim), heads * output_dim


_DIMS: dict[str, Callable[[Component], Dims]] = {
    **dict.fromkeys(
        ("SigmoidComponent", "TanhComponent", "SoftmaxComponent", "LogSoftmaxComponent", "RectifiedLinearComponent"),
        _nonlinear,
    ),
    **dict.fromkeys(
        (
            "NoOpComponent",
            "ClipGradientComponent",
            "DropoutComponent",
            "SpecAugmentTimeMaskComponent",
            "BackpropTruncationComponent",
        ),
        _same("Dim"),
    ),
    **dict.fromkeys(("AffineComponent", "NaturalGradientAffineComponent", "FixedAffineComponent"), _affine),
    **dict.fromkeys(("RepeatedAffineComponent", "NaturalGradientRepeatedAffineComponent"), _repeated_affine),
    **dict.fromkeys(("PerElementScaleComponent", "NaturalGradientPerElementScaleComponent"), _vector("Params")),
    **dict.fromkeys(("PnormComponent", "ElementwiseProductComponent", "SumBlockComponent"), _grouped),
    "DistributeComponent": _grouped,
    "NormalizeComponent": _normalize,
    "LinearComponent": _linear,
    "PerElementOffsetComponent": _per_element_offset,
    "SumGroupComponent": _sum_group,
    "FixedScaleComponent": _vector("Scales"),
    "FixedBiasComponent": _vector("Bias"),
    "ConvolutionComponent": _convolution,
    "TdnnComponent": _tdnn,
    "MaxpoolingComponent": _maxpooling,
    "PermuteComponent": _permute,
    "CompositeComponent": _composite,
    "BlockAffineComponent": _block_affine,
    "StatisticsExtractionComponent": _statistics_extraction,
    "StatisticsPoolingComponent": _statistics_pooling,
    "ConstantFunctionComponent": _constant_function,
    "ConstantComponent": _constant,
    "DropoutMaskComponent": _same("OutputDim"),
    "GeneralDropoutComponent": _general_dropout,
    "LstmNonlinearityComponent": _lstm,
    "BatchNormComponent": _batch_norm,
    "TimeHeightConvolutionComponent": _time_height_convolution,
    "RestrictedAttentionComponent": _attention,
    "GruNonlinearityComponent": _gru,
    "OutputGruNonlinearityComponent": _output_gru,
    "ScaleAndOffsetComponent": _scale_and_offset,
}
