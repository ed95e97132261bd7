"""Models of a few components each: nonlinearities, normalization, affine kinds, scales, dropouts, gates by hand."""

from typing import Any

from archives import random_generator
from layers import OUTPUT
from model_folder import CHUNKED, Model, node


def nonlinearity_models() -> list[Model]:
    """Models of nonlinearity."""

    def hand(name: str, what: str, *nodes: tuple[str, str, str, str], **rest: Any) -> Model:
        lines = "input-node name=input dim=20\n" + "".join(node(*n) for n in nodes)
        return Model(name, what, config=lines + f"output-node name=output input={nodes[-1][0]}\n", **rest)

    affine = "NaturalGradientAffineComponent"
    return [
        Model(
            "layers_relu_renorm",
            "relu-renorm layers with target-rms 0.5 at the end",
            xconfig="input dim=20 name=input\nrelu-renorm-layer name=tdnn1 dim=16 input=Append(-2,-1,0,1,2)\n"
            "relu-renorm-layer name=tdnn2 dim=16 input=Append(-3,0,3) target-rms=0.5\n" + OUTPUT,
        ),
        Model(
            "layers_sigmoid_tanh",
            "sigmoid-layer, tanh-layer, batchnorm-layer, log-softmax at the output",
            xconfig="input dim=20 name=input\nsigmoid-layer name=tdnn1 dim=16 input=Append(-1,0,1)\n"
            "tanh-layer name=tdnn2 dim=14 "
            "input=Append(-3,0,3)\nbatchnorm-layer name=tdnn3 dim=12 target-rms=0.7\noutput-layer name=output dim=10",
        ),
        Model(
            "layers_orders",
            "relu-batchnorm-dropout, relu-dropout, relu-batchnorm-so and batchnorm-so-relu layers",
            xconfig="input dim=20 name=input\nrelu-batchnorm-dropout-layer name=tdnn1 dim=16 input=Append(-1,0,1) "
            "dropout-proportion=0.2 "
            "dropout-per-dim-continuous=true\nrelu-dropout-layer name=tdnn2 dim=16 input=Append(-3,0,3) "
            "dropout-proportion=0.3\n"
            "relu-batchnorm-so-layer name=tdnn3 dim=16 target-rms=0.8\nbatchnorm-so-relu-layer name=tdnn4 dim=16\n"
            + OUTPUT,
        ),
        Model(
            "output_prior_scale",
            "FixedScale from a file before the log-softmax, as presoftmax-scale-file once made",
            config="input-node name=input dim=20\n"
            + node("a", affine, "Append(Offset(input, -1), input)", "input-dim=40 output-dim=10")
            + node("scale", "FixedScaleComponent", "a", "scales=scale.vec")
            + node("out", "LogSoftmaxComponent", "scale", "dim=10")
            + "output-node name=output input=Offset(out, 5)\n",
            files={
                "scale.vec": lambda path: path.write_text(
                    " [ " + " ".join(f"{v:.4g}" for v in random_generator("scale").uniform(0.3, 2, 10)) + " ]\n"
                )
            },
        ),
        hand(
            "pnorm_sumgroup",
            "Pnorm (group size 3) then Normalize, SumGroup with unequal and equal sizes",
            ("a", affine, "Append(Offset(input, -1), input, Offset(input, 1))", "input-dim=60 output-dim=24"),
            ("p", "PnormComponent", "a", "input-dim=24 output-dim=8"),
            ("n", "NormalizeComponent", "p", "dim=8"),
            ("b", affine, "n", "input-dim=8 output-dim=12"),
            ("g", "SumGroupComponent", "b", "sizes=1,2,4,5"),
            ("c", affine, "g", "input-dim=4 output-dim=30"),
            ("h", "SumGroupComponent", "c", "input-dim=30 output-dim=10"),
        ),
        hand(
            "softmax",
            "Softmax in the middle and at the end",
            ("a", affine, "input", "input-dim=20 output-dim=12"),
            ("s", "SoftmaxComponent", "a", "dim=12"),
            ("b", affine, "s", "input-dim=12 output-dim=10"),
            ("out", "SoftmaxComponent", "b", "dim=10"),
        ),
        hand(
            "logsoftmax",
            "LogSoftmax in the middle and at the end",
            ("a", affine, "input", "input-dim=20 output-dim=12"),
            ("s", "LogSoftmaxComponent", "a", "dim=12"),
            ("b", affine, "s", "input-dim=12 output-dim=10"),
            ("out", "LogSoftmaxComponent", "b", "dim=10"),
        ),
        hand(
            "normalize",
            "Normalize: add-log-stddev, block-dim, both, target-rms 0.5",
            ("a", affine, "input", "input-dim=20 output-dim=12"),
            ("n1", "NormalizeComponent", "a", "dim=12 add-log-stddev=true"),
            ("b", affine, "n1", "input-dim=13 output-dim=12"),
            ("n2", "NormalizeComponent", "b", "dim=12 block-dim=4 target-rms=0.5"),
            ("c", affine, "n2", "input-dim=12 output-dim=12"),
            ("n3", "NormalizeComponent", "c", "dim=12 block-dim=4 add-log-stddev=true target-rms=0.5"),
            ("d", affine, "n3", "input-dim=15 output-dim=10"),
        ),
        hand(
            "batchnorm",
            "BatchNorm: block-dim, epsilon, target-rms; directly on the input and after a non-affine",
            ("n0", "BatchNormComponent", "input", "dim=20 target-rms=0.9"),
            ("a", affine, "n0", "input-dim=20 output-dim=12"),
            ("s", "TanhComponent", "a", "dim=12"),
            ("n1", "BatchNormComponent", "s", "dim=12 block-dim=4 epsilon=0.01 target-rms=0.5"),
            ("n2", "BatchNormComponent", "n1", "dim=12"),
            ("b", affine, "n2", "input-dim=12 output-dim=10"),
        ),
    ]


def component_models() -> list[Model]:
    """Models of component."""
    affine = "NaturalGradientAffineComponent"

    def chain(name: str, what: str, *nodes: tuple[str, str, str, str], **rest: Any) -> Model:
        lines = "input-node name=input dim=20\n" + "".join(node(*n) for n in nodes)
        return Model(name, what, config=lines + f"output-node name=output input={nodes[-1][0]}\n", **rest)

    return [
        chain(
            "affine_kinds",
            "Affine, BlockAffine, RepeatedAffine, NaturalGradientRepeatedAffine, Linear, FixedAffine",
            ("fixed", "FixedAffineComponent", "Append(Offset(input, -1), input)", "input-dim=40 output-dim=24"),
            ("t0", "TanhComponent", "fixed", "dim=24"),
            ("block", "BlockAffineComponent", "t0", "input-dim=24 output-dim=36 num-blocks=4 bias-stddev=0.5"),
            ("t1", "TanhComponent", "block", "dim=36"),
            ("repeated", "RepeatedAffineComponent", "t1", "input-dim=36 output-dim=24 num-repeats=3 bias-stddev=0.5"),
            ("t2", "TanhComponent", "repeated", "dim=24"),
            (
                "repeated2",
                "NaturalGradientRepeatedAffineComponent",
                "t2",
                "input-dim=24 output-dim=18 num-repeats=6 bias-stddev=0.5",
            ),
            ("t3", "TanhComponent", "repeated2", "dim=18"),
            ("plain", "AffineComponent", "t3", "input-dim=18 output-dim=12"),
            ("linear", "LinearComponent", "plain", "input-dim=12 output-dim=10"),
        ),
        chain(
            "scales_and_offsets",
            "FixedScale, FixedBias, PerElementScale, PerElementOffset (with block-dim), "
            "NaturalGradientPerElementScale, ScaleAndOffset (with block-dim)",
            ("a", affine, "input", "input-dim=20 output-dim=12"),
            ("r0", "RectifiedLinearComponent", "a", "dim=12"),
            ("s1", "FixedScaleComponent", "r0", "dim=12"),
            ("s2", "FixedBiasComponent", "s1", "dim=12"),
            ("r1", "TanhComponent", "s2", "dim=12"),
            ("s3", "PerElementScaleComponent", "r1", "dim=12 param-stddev=0.3"),
            ("s4", "PerElementOffsetComponent", "s3", "dim=12 block-dim=4 param-stddev=0.3"),
            ("s5", "PerElementOffsetComponent", "s4", "dim=12 param-mean=0.2 param-stddev=0.3"),
            ("r2", "SigmoidComponent", "s5", "dim=12"),
            ("s6", "NaturalGradientPerElementScaleComponent", "r2", "dim=12 param-stddev=0.3"),
            ("s7", "ScaleAndOffsetComponent", "s6", "dim=12"),
            ("r3", "TanhComponent", "s7", "dim=12"),
            ("s8", "ScaleAndOffsetComponent", "r3", "dim=12 block-dim=4"),
            ("b", affine, "s8", "input-dim=12 output-dim=10"),
        ),
        chain(
            "dropouts",
            "GeneralDropout (with time-period, block-dim, specaugment), Dropout 0.3 (scales by 0.7), "
            "SpecAugmentTimeMask, "
            "BackpropTruncation with scale 0.8, ClipGradient, NoOp: at test time most do nothing",
            ("d0", "SpecAugmentTimeMaskComponent", "input", "dim=20 zeroed-proportion=0.3 time-mask-max-frames=10"),
            (
                "d1",
                "GeneralDropoutComponent",
                "d0",
                "dim=20 specaugment-max-proportion=0.4 specaugment-max-regions=2 time-period=0",
            ),
            ("a", affine, "d1", "input-dim=20 output-dim=12"),
            ("r0", "RectifiedLinearComponent", "a", "dim=12"),
            (
                "d2",
                "GeneralDropoutComponent",
                "r0",
                "dim=12 block-dim=4 dropout-proportion=0.3 continuous=true time-period=0",
            ),
            ("d3", "GeneralDropoutComponent", "d2", "dim=12 dropout-proportion=0.4"),
            ("d4", "DropoutComponent", "d3", "dim=12 dropout-proportion=0.3"),
            ("t0", "TanhComponent", "d4", "dim=12"),
            ("d5", "DropoutComponent", "t0", "dim=12 dropout-proportion=0.2 dropout-per-frame=true"),
            ("d6", "BackpropTruncationComponent", "d5", "dim=12 scale=0.8 recurrence-interval=3"),
            ("d7", "ClipGradientComponent", "d6", "dim=12 norm-based-clipping=true"),
            ("d8", "NoOpComponent", "d7", "dim=12 backprop-scale=0.5"),
            ("b", affine, "d8", "input-dim=12 output-dim=10"),
        ),
        chain(
            "products_and_blocks",
            "ElementwiseProduct of 2 and of 3 parts, SumBlock with a scale, Permute",
            ("a", affine, "input", "input-dim=20 output-dim=24"),
            ("p1", "ElementwiseProductComponent", "a", "input-dim=24 output-dim=12"),
            ("p2", "PermuteComponent", "p1", "column-map=3,1,2,0,11,10,9,8,4,5,6,7"),
            ("b", affine, "p2", "input-dim=12 output-dim=36"),
            ("t", "TanhComponent", "b", "dim=36"),
            ("p3", "ElementwiseProductComponent", "t", "input-dim=36 output-dim=12"),
            ("p4", "SumBlockComponent", "t", "input-dim=36 output-dim=9 scale=0.25"),
            ("c", affine, "Append(p3, p4)", "input-dim=21 output-dim=10"),
        ),
        Model(
            "composite",
            "CompositeComponent with an affine, a ReLU, a block affine and a Normalize inside",
            config="input-node name=input dim=20\ncomponent name=c type=CompositeComponent num-components=4 "
            "max-rows-process=7 "
            "component1='type=NaturalGradientAffineComponent input-dim=20 output-dim=12' "
            "component2='type=RectifiedLinearComponent dim=12' "
            "component3='type=BlockAffineComponent input-dim=12 output-dim=12 num-blocks=3' "
            "component4='type=NormalizeComponent dim=12'\ncomponent-node name=c component=c input=input\n"
            + node("last", affine, "c", "input-dim=12 output-dim=10")
            + "output-node name=output input=last\n",
            text=True,
        ),
        Model(
            "constants",
            "ConstantFunction (takes an input it ignores), Constant (its own input), DropoutMask used as an input",
            config="input-node name=input dim=20\n"
            + node("a", affine, "input", "input-dim=20 output-dim=12")
            + node(
                "f", "ConstantFunctionComponent", "input", "input-dim=20 output-dim=4 output-mean=0.5 output-stddev=1.0"
            )
            + node("k", "ConstantComponent", "k", "output-dim=3 output-mean=-0.5 output-stddev=1.0")
            + node("m", "DropoutMaskComponent", "m", "output-dim=3 dropout-proportion=0.3")
            + node("m2", "DropoutMaskComponent", "m2", "output-dim=2 dropout-proportion=0.3 continuous=true")
            + node("t", "TanhComponent", "Append(a, f, k, m, m2)", "dim=24")
            + node("p", "ElementwiseProductComponent", "t", "input-dim=24 output-dim=12")
            + node("last", affine, "p", "input-dim=12 output-dim=10")
            + "output-node name=output input=last\n",
        ),
        Model(
            "distribute",
            "DistributeComponent: three blocks, reached by an x-offset in Offset(node, 0, x)",
            config="input-node name=input dim=20\n"
            + node("a", affine, "input", "input-dim=20 output-dim=12")
            + node("d", "DistributeComponent", "a", "input-dim=12 output-dim=4")
            + node("t", "TanhComponent", "d", "dim=4")
            + node("last", affine, "Append(t, Offset(t, 0, 1), Offset(t, -3, 2))", "input-dim=12 output-dim=10")
            + "output-node name=output input=last\n",
        ),
        Model(
            "lstm_gates",
            "LstmNonlinearity by hand with use-dropout and a constant mask given by three of its inputs",
            config="input-node name=input dim=20\n"
            + node("a", affine, "Append(input, IfDefined(Offset(m, -3)))", "input-dim=26 output-dim=24")
            + node("mask", "SigmoidComponent", "mask1", "dim=3")
            + node("mask1", affine, "input", "input-dim=20 output-dim=3")
            + node(
                "lstm",
                "LstmNonlinearityComponent",
                "Append(a, IfDefined(Offset(c, -3)), mask)",
                "cell-dim=6 use-dropout=true",
            )
            + "dim-range-node name=c1 input-node=lstm dim-offset=0 dim=6\n"
            "dim-range-node name=m input-node=lstm dim-offset=6 dim=6\n"
            + node("c", "BackpropTruncationComponent", "c1", "dim=6 scale=0.9")
            + node("last", affine, "Append(m, Scale(0.5, c))", "input-dim=12 output-dim=10")
            + "output-node name=output input=last\n",
            runs=CHUNKED,
        ),
        Model(
            "gru_gates",
            "GruNonlinearity and OutputGruNonlinearity by hand, side by side",
            config="input-node name=input dim=20\n"
            # GruNonlinearity: (z, r, hpart, c(t-1), s(t-1)) -> (h, c); OutputGruNonlinearity: (z, hpart, c(t-1)) ->
            # (h, c)
            + node("zr1", affine, "Append(input, IfDefined(Offset(s, -3)))", "input-dim=25 output-dim=12")
            + node("zr", "SigmoidComponent", "zr1", "dim=12")
            + node("hpart", affine, "input", "input-dim=20 output-dim=7")
            + node(
                "g",
                "GruNonlinearityComponent",
                "Append(zr, hpart, IfDefined(Offset(c, -3)), IfDefined(Offset(s, -3)))",
                "cell-dim=7 recurrent-dim=5",
            )
            + "dim-range-node name=c input-node=g dim-offset=7 dim=7\n"
            + node("s", "LinearComponent", "c", "input-dim=7 output-dim=5")
            + node("z1", affine, "Append(input, IfDefined(Offset(o2, -3)))", "input-dim=26 output-dim=6")
            + node("z", "SigmoidComponent", "z1", "dim=6")
            + node("hpart2", affine, "input", "input-dim=20 output-dim=6")
            + node("o", "OutputGruNonlinearityComponent", "Append(z, hpart2, IfDefined(Offset(o2, -3)))", "cell-dim=6")
            + "dim-range-node name=o2 input-node=o dim-offset=6 dim=6\n"
            + node("last", affine, "Append(c, o2)", "input-dim=13 output-dim=10")
            + "output-node name=output input=last\n",
            runs=CHUNKED,
        ),
    ]
