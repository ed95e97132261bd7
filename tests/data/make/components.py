"""One tiny network for each component type, in binary and text form, with an input and Kaldi's output."""

import shutil
import zlib
from pathlib import Path

import numpy as np
from archives import random_generator, read_matrices, smooth_matrix, write_matrices
from kaldi_programs import Kaldi
from lifelike import lifelike
from model_folder import node

# What the output node reads, where it is not the component itself at every frame.
_OUTPUTS = {
    "DistributeComponent": "Append(it, Offset(it, 0, 1), Offset(it, 0, 2))",
    "StatisticsExtractionComponent": "Round(it, 2)",
}


def component_specs() -> dict[str, tuple[str, int, str]]:
    """(options, input dimension, what the node reads) by name, whose part before the dot is the type."""
    lstm, gru, ogru = 5 * 2, 3 * 3 + 2 * 2, 3 * 3
    plain = {
        "SigmoidComponent": ("dim=6", 6),
        "TanhComponent": ("dim=6 self-repair-scale=1e-05", 6),
        "SoftmaxComponent": ("dim=6", 6),
        "LogSoftmaxComponent": ("dim=6", 6),
        "RectifiedLinearComponent": (
            "dim=6 self-repair-scale=2e-05 self-repair-lower-threshold=0.05 self-repair-upper-threshold=0.9",
            6,
        ),
        "RectifiedLinearComponent.block": ("dim=6 block-dim=3", 6),
        "NormalizeComponent": ("dim=6 target-rms=0.5", 6),
        "NormalizeComponent.log": ("dim=6 add-log-stddev=true", 6),
        "NormalizeComponent.block": ("dim=6 block-dim=3 add-log-stddev=true target-rms=0.7", 6),
        "PnormComponent": ("input-dim=6 output-dim=3", 6),
        "AffineComponent": ("input-dim=4 output-dim=3", 4),
        "AffineComponent.orthonormal": (
            "input-dim=4 output-dim=3 orthonormal-constraint=1.0 learning-rate=0.002 l2-regularize=0.1",
            4,
        ),
        "LinearComponent": ("input-dim=4 output-dim=3", 4),
        "LinearComponent.orthonormal": (
            "input-dim=4 output-dim=3 orthonormal-constraint=-1.0 max-change=0.75 l2-regularize=0.01 "
            "learning-rate-factor=0.5 use-natural-gradient=false",
            4,
        ),
        "NaturalGradientAffineComponent": ("input-dim=4 output-dim=3 max-change=0.75", 4),
        "NaturalGradientAffineComponent.orthonormal": (
            "input-dim=4 output-dim=3 orthonormal-constraint=1.0 l2-regularize=0.01 "
            "learning-rate-factor=5.0 rank-in=2 rank-out=2 update-period=3",
            4,
        ),
        "PerElementScaleComponent": ("dim=5 param-stddev=0.3", 5),
        "NaturalGradientPerElementScaleComponent": ("dim=5 param-stddev=0.3 max-change=0.75", 5),
        "PerElementOffsetComponent": ("dim=6 param-stddev=0.3", 6),
        "PerElementOffsetComponent.block": ("dim=6 block-dim=2 param-stddev=0.3 use-natural-gradient=false", 6),
        "SumGroupComponent": ("sizes=1,2,3", 6),
        "FixedAffineComponent": ("input-dim=4 output-dim=3", 4),
        "FixedScaleComponent": ("dim=5", 5),
        "FixedBiasComponent": ("dim=5", 5),
        "NoOpComponent": ("dim=5 backprop-scale=0.5", 5),
        "ClipGradientComponent": ("dim=5 clipping-threshold=10 norm-based-clipping=true self-repair-scale=0.1", 5),
        "ElementwiseProductComponent": ("input-dim=6 output-dim=3", 6),
        "ConvolutionComponent": (
            "input-x-dim=3 input-y-dim=4 input-z-dim=1 filt-x-dim=2 filt-y-dim=2 filt-x-step=1 filt-y-step=2 "
            "num-filters=2 input-vectorization-order=zyx",
            12,
        ),
        "ConvolutionComponent.yzx": (
            "input-x-dim=2 input-y-dim=3 input-z-dim=2 filt-x-dim=2 filt-y-dim=2 filt-x-step=1 filt-y-step=1 "
            "num-filters=3 input-vectorization-order=yzx",
            12,
        ),
        "TdnnComponent": ("input-dim=4 output-dim=3 time-offsets=-1,0,2 orthonormal-constraint=-1.0", 4),
        "TdnnComponent.nobias": (
            "input-dim=4 output-dim=3 time-offsets=-3,0,3 use-bias=false use-natural-gradient=false",
            4,
        ),
        "MaxpoolingComponent": (
            "input-x-dim=2 input-y-dim=3 input-z-dim=2 pool-x-size=1 pool-y-size=3 pool-z-size=2 pool-x-step=1 "
            "pool-y-step=3 pool-z-step=2",
            12,
        ),
        "MaxpoolingComponent.overlap": (
            "input-x-dim=3 input-y-dim=2 input-z-dim=2 pool-x-size=2 pool-y-size=2 pool-z-size=1 pool-x-step=1 "
            "pool-y-step=2 pool-z-step=1",
            12,
        ),
        "PermuteComponent": ("column-map=3,1,2,0,4", 5),
        "CompositeComponent": (
            "num-components=3 component1='type=AffineComponent input-dim=4 output-dim=6' "
            "component2='type=RectifiedLinearComponent dim=6' component3='type=NormalizeComponent dim=6'",
            4,
        ),
        "RepeatedAffineComponent": ("input-dim=6 output-dim=4 num-repeats=2", 6),
        "BlockAffineComponent": ("input-dim=6 output-dim=4 num-blocks=2", 6),
        "NaturalGradientRepeatedAffineComponent": ("input-dim=6 output-dim=4 num-repeats=2", 6),
        "StatisticsExtractionComponent": ("input-dim=3 input-period=1 output-period=2 include-variance=true", 3),
        "StatisticsPoolingComponent": (
            "input-dim=5 input-period=1 left-context=2 right-context=3 num-log-count-features=2 output-stddevs=true "
            "variance-floor=0.1",
            5,
        ),
        "ConstantFunctionComponent": (
            "input-dim=4 output-dim=3 output-mean=0.5 output-stddev=1.0 is-updatable=true use-natural-gradient=false",
            4,
        ),
        "ConstantComponent": ("output-dim=3 output-mean=0.5 output-stddev=1.0 is-updatable=true", 4),
        "DropoutComponent": ("dim=5 dropout-proportion=0.25 dropout-per-frame=true", 5),
        "DropoutMaskComponent": ("output-dim=3 dropout-proportion=0.25", 4),
        "DropoutMaskComponent.continuous": ("output-dim=3 dropout-proportion=0.25 continuous=true test-mode=true", 4),
        "GeneralDropoutComponent": ("dim=6 dropout-proportion=0.25", 6),
        "GeneralDropoutComponent.more": (
            "dim=6 block-dim=3 time-period=4 dropout-proportion=0.25 continuous=true test-mode=true",
            6,
        ),
        "GeneralDropoutComponent.specaugment": ("dim=6 specaugment-max-proportion=0.4 specaugment-max-regions=2", 6),
        "SpecAugmentTimeMaskComponent": ("dim=5 zeroed-proportion=0.2 time-mask-max-frames=5", 5),
        "BackpropTruncationComponent": (
            "dim=5 scale=0.8 clipping-threshold=20 zeroing-threshold=10 zeroing-interval=5 recurrence-interval=2",
            5,
        ),
        "LstmNonlinearityComponent": ("cell-dim=2", lstm),
        "LstmNonlinearityComponent.dropout": ("cell-dim=3 use-dropout=true max-change=0.75", 18),
        "BatchNormComponent": ("dim=5 target-rms=0.5", 5),
        "BatchNormComponent.block": ("dim=6 block-dim=3 epsilon=0.01", 6),
        "TimeHeightConvolutionComponent": (
            "num-filters-in=2 num-filters-out=3 height-in=4 height-out=2 height-subsample-out=2 "
            "height-offsets=-1,0,1 time-offsets=-1,0,1 required-time-offsets=0,1",
            8,
        ),
        "RestrictedAttentionComponent": (
            "num-heads=2 key-dim=1 value-dim=1 num-left-inputs=1 num-right-inputs=1 "
            "num-left-inputs-required=0 num-right-inputs-required=0",
            12,
        ),
        "RestrictedAttentionComponent.nocontext": (
            "key-dim=2 value-dim=3 num-left-inputs=2 num-right-inputs=1 time-stride=2 "
            "output-context=false key-scale=0.4",
            11,
        ),
        "SumBlockComponent": ("input-dim=6 output-dim=2 scale=0.5", 6),
        "GruNonlinearityComponent": ("cell-dim=3 recurrent-dim=2", gru),
        "GruNonlinearityComponent.full": ("cell-dim=3", 12),
        "OutputGruNonlinearityComponent": ("cell-dim=3 param-mean=0.2", ogru),
        "ScaleAndOffsetComponent": ("dim=5", 5),
        "ScaleAndOffsetComponent.block": ("dim=6 block-dim=3 rank=5 use-natural-gradient=false", 6),
    }
    specs = {name: (options, dim, "input") for name, (options, dim) in plain.items()}
    for name, (options, dim, _) in list(specs.items()):
        if name.startswith(("ConstantComponent", "DropoutMaskComponent")):
            specs[name] = options, dim, "it"
    specs["DistributeComponent"] = "input-dim=6 output-dim=2", 6, "input"
    return specs


def make_components(out: Path, kaldi: Kaldi) -> str:
    """Makes the folder of single components; returns a line about it."""
    folder = out / "components"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    specs = component_specs()
    for dim in sorted({dim for _, dim, _ in specs.values()}):
        inputs = smooth_matrix(random_generator(f"component {dim}"), 12, dim)
        inputs[:, 0] = abs(inputs[:, 0]) + 0.5  # a count above 0 for StatisticsPooling
        write_matrices(folder / f"in{dim}.ark", {"utt": inputs})
    log: list[str] = []
    for name, (options, dim, source) in specs.items():
        kind = name.split(".")[0]
        (folder / "net.config").write_text(
            f"input-node name=input dim={dim}\n"
            + node("it", kind, source, options)
            + f"output-node name=output input={_OUTPUTS.get(kind, 'it')}\n"
        )
        text, _ = kaldi(f"nnet3-init --srand={zlib.crc32(name.encode()) % 100000} --binary=false net.config -", folder)
        (folder / "edited.txt").write_text(lifelike(text, random_generator(name)))
        kaldi(f"nnet3-copy edited.txt {name}.raw && nnet3-copy --binary=false {name}.raw {name}.txt", folder)
        kaldi(f"nnet3-compute --use-priors=false {name}.raw ark:in{dim}.ark ark:{name}.ark", folder, log)
        if not np.isfinite(read_matrices(folder / f"{name}.ark")["utt"]).all():
            raise RuntimeError(f"{name}: not finite")
    for scratch in ("net.config", "edited.txt"):
        (folder / scratch).unlink()
    (folder / "cmd.txt").write_text("\n".join(log) + "\n")
    types = {name.split(".")[0] for name in specs}
    missing = kaldi.component_types() - types
    if missing:
        raise RuntimeError(f"there is no network of {', '.join(sorted(missing))}")
    return f"components: {len(specs)} networks of {len(types)} types"
