"""What each nnet3 component type holds in a file: its fields, in the order in which Kaldi writes and reads them.

Source: ``Read`` and ``Write`` of each class in ``src/nnet3/nnet-*-component.cc``. A field is ``Token:kind``; ``?``
marks one that Kaldi's reader does not insist on, because older versions did not write it, because newer ones no longer
do, or because it is written only when it differs from the default. One description serves reading and writing, so that
the two cannot drift apart.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    """One field of a component.

    Args:
        name: its token without the angle brackets.
        kind: int, float, double, bool, vector, matrix, double_vector, double_matrix, ints, pairs, flag (a token without
            a value), int2, float2, components (nested), convolution (a ConvolutionModel), or column_map (integers,
            floats in early files).
        optional: Kaldi reads the component without it.
    """

    name: str
    kind: str
    optional: bool


def _fields(description: str) -> tuple[Field, ...]:
    pairs = (word.split(":") for word in description.split())
    return tuple(Field(name.rstrip("?"), kind, name.endswith("?")) for name, kind in pairs)


# UpdatableComponent::ReadUpdatableCommon
_UPDATABLE = "LearningRateFactor?:float IsGradient?:bool MaxChange?:float L2Regularize?:float LearningRate?:float "

# NonlinearComponent::Read; the statistics only matter in training
_NONLINEAR = (
    "Dim:int BlockDim?:int ValueAvg:vector DerivAvg:vector Count:double OderivRms?:vector OderivCount?:double "
    "NumDimsSelfRepaired?:double NumDimsProcessed?:double SelfRepairLowerThreshold?:float "
    "SelfRepairUpperThreshold?:float SelfRepairScale?:float"
)

_REPEATED_AFFINE = _UPDATABLE + "NumRepeats:int LinearParams:matrix BiasParams:vector IsGradient?:bool"

_GRU_STATISTICS = (
    "w_h:{w_h} ValueAvg:vector DerivAvg:vector SelfRepairTotal:double Count:double SelfRepairThreshold:float "
    "SelfRepairScale:float Alpha:float "
)

CONVOLUTION_MODEL = _fields(
    "NumFiltersIn:int NumFiltersOut:int HeightIn:int HeightOut:int HeightSubsampleOut:int Offsets:pairs "
    "RequiredTimeOffsets:ints"
)

COMPONENT_FIELDS: dict[str, tuple[Field, ...]] = {
    type_name: _fields(description)
    for type_name, description in {
        "SigmoidComponent": _NONLINEAR,
        "TanhComponent": _NONLINEAR,
        "SoftmaxComponent": _NONLINEAR,
        "LogSoftmaxComponent": _NONLINEAR,
        "RectifiedLinearComponent": _NONLINEAR,
        # <Dim> became <InputDim>; the statistics were dropped
        "NormalizeComponent": "Dim?:int InputDim?:int BlockDim?:int TargetRms?:float AddLogStddev?:bool "
        "ValueAvg?:vector DerivAvg?:vector Count?:double",
        "PnormComponent": "InputDim:int OutputDim:int",
        "AffineComponent": _UPDATABLE
        + "LinearParams:matrix BiasParams:vector IsGradient?:bool OrthonormalConstraint?:float",
        "LinearComponent": _UPDATABLE
        + "Params:matrix OrthonormalConstraint?:float UseNaturalGradient:bool RankInOut:int2 Alpha:float "
        "NumSamplesHistory:float UpdatePeriod:int",
        "NaturalGradientAffineComponent": _UPDATABLE
        + "LinearParams:matrix BiasParams:vector RankIn:int RankOut:int OrthonormalConstraint?:float UpdatePeriod:int "
        "NumSamplesHistory:float Alpha:float MaxChangePerSample?:float IsGradient?:bool UpdateCount?:double "
        "ActiveScalingCount?:double MaxChangeScaleStats?:double",
        "PerElementScaleComponent": _UPDATABLE + "Params:vector IsGradient?:bool",
        "NaturalGradientPerElementScaleComponent": _UPDATABLE
        + "Params:vector IsGradient?:bool Rank:int UpdatePeriod:int NumSamplesHistory:float Alpha:float "
        "MaxChangePerMinibatch?:float",
        "PerElementOffsetComponent": _UPDATABLE + "Offsets:vector IsGradient?:bool Dim?:int UseNaturalGradient?:bool",
        "SumGroupComponent": "Sizes:ints",
        "FixedAffineComponent": "LinearParams:matrix BiasParams:vector",
        "FixedScaleComponent": "Scales:vector",
        "FixedBiasComponent": "Bias:vector",
        # the statistics are of the time when NoOpComponent was a nonlinearity
        "NoOpComponent": "Dim:int ValueAvg?:vector DerivAvg?:vector Count?:float OderivRms?:vector "
        "OderivCount?:float NumDimsSelfRepaired?:float NumDimsProcessed?:float BackpropScale?:float",
        "ClipGradientComponent": "Dim:int ClippingThreshold:float NormBasedClipping:bool "
        "SelfRepairClippedProportionThreshold?:float SelfRepairTarget?:float SelfRepairScale?:float "
        "NumElementsClipped:int NumElementsProcessed:int NumSelfRepaired?:int NumBackpropped?:int",
        "ElementwiseProductComponent": "InputDim:int OutputDim:int",
        "ConvolutionComponent": _UPDATABLE
        + "InputXDim:int InputYDim:int InputZDim:int FiltXDim:int FiltYDim:int FiltXStep:int FiltYStep:int "
        "InputVectorization:int FilterParams:matrix BiasParams:vector IsGradient?:bool",
        # <Alpha> stands for both values in files that were never part of a release
        "TdnnComponent": _UPDATABLE
        + "TimeOffsets:ints LinearParams:matrix BiasParams:vector OrthonormalConstraint:float "
        "UseNaturalGradient:bool NumSamplesHistory:float AlphaInOut?:float2 Alpha?:float RankInOut:int2",
        "MaxpoolingComponent": "InputXDim:int InputYDim:int InputZDim:int PoolXSize:int PoolYSize:int PoolZSize:int "
        "PoolXStep:int PoolYStep:int PoolZStep:int",
        "PermuteComponent": "ColumnMap:column_map",
        "DistributeComponent": "InputDim:int OutputDim:int",
        "CompositeComponent": _UPDATABLE + "MaxRowsProcess:int NumComponents:components",
        "RepeatedAffineComponent": _REPEATED_AFFINE,
        "NaturalGradientRepeatedAffineComponent": _REPEATED_AFFINE,
        "BlockAffineComponent": _UPDATABLE + "NumBlocks:int LinearParams:matrix BiasParams:vector IsGradient?:bool",
        # "Varinance" is Kaldi's own spelling
        "StatisticsExtractionComponent": "InputDim:int InputPeriod:int OutputPeriod:int IncludeVarinance:bool",
        "StatisticsPoolingComponent": "InputDim:int InputPeriod:int LeftContext:int RightContext:int "
        "NumLogCountFeatures:int OutputStddevs:bool VarianceFloor:float",
        "ConstantFunctionComponent": _UPDATABLE + "InputDim:int Output:vector IsUpdatable:bool UseNaturalGradient:bool",
        "ConstantComponent": _UPDATABLE + "Output:vector IsUpdatable:bool UseNaturalGradient:bool",
        "DropoutComponent": "Dim:int DropoutProportion:float DropoutPerFrame?:bool TestMode?:bool",
        "DropoutMaskComponent": "OutputDim:int DropoutProportion:float TestMode?:bool Continuous?:flag",
        "GeneralDropoutComponent": "Dim:int BlockDim:int TimePeriod:int DropoutProportion:float "
        "SpecAugmentMaxProportion?:float SpecAugmentMaxRegions?:int TestMode?:flag Continuous?:flag",
        "SpecAugmentTimeMaskComponent": "Dim:int ZeroedProportion:float TimeMaskMaxFrames:int TestMode?:flag",
        "BackpropTruncationComponent": "Dim:int Scale?:float ClippingThreshold:float ZeroingThreshold:float "
        "ZeroingInterval:int RecurrenceInterval:int NumElementsClipped:double NumElementsZeroed:double "
        "NumElementsProcessed:double NumZeroingBoundaries:double",
        "LstmNonlinearityComponent": _UPDATABLE
        + "Params:matrix ValueAvg:matrix DerivAvg:matrix SelfRepairConfig:vector SelfRepairProb:vector "
        "UseDropout?:bool Count:double",
        "BatchNormComponent": "Dim:int BlockDim:int Epsilon:float TargetRms:float TestMode:bool Count:double "
        "StatsMean:vector StatsVar:vector",
        "TimeHeightConvolutionComponent": _UPDATABLE
        + "Model:convolution LinearParams:matrix BiasParams:vector MaxMemoryMb:float UseNaturalGradient:bool "
        "NumMinibatchesHistory:float AlphaInOut:float2 RankInOut:int2",
        "RestrictedAttentionComponent": "NumHeads:int KeyDim:int ValueDim:int NumLeftInputs:int NumRightInputs:int "
        "TimeStride:int NumLeftInputsRequired:int NumRightInputsRequired:int OutputContext:bool KeyScale:float "
        "StatsCount:double EntropyStats:double_vector PosteriorStats:double_matrix",
        "SumBlockComponent": "InputDim:int OutputDim:int Scale:float",
        "GruNonlinearityComponent": _UPDATABLE
        + "CellDim:int RecurrentDim:int "
        + _GRU_STATISTICS.format(w_h="matrix")
        + "RankInOut:int2 UpdatePeriod:int",
        "OutputGruNonlinearityComponent": _UPDATABLE
        + "CellDim:int "
        + _GRU_STATISTICS.format(w_h="vector")
        + "Rank:int UpdatePeriod:int",
        "ScaleAndOffsetComponent": _UPDATABLE + "Dim:int Scales:vector Offsets:vector UseNaturalGradient:bool Rank:int",
    }.items()
}
