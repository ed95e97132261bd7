"""Convolutions over time and height, residual networks, and the front of Kaldi's TDNN-F and CNN-TDNN recipes."""

from typing import Any

from archives import IVECTOR_DIM, random_generator
from layers import OUTPUT
from lifelike import format_block
from model_folder import CHUNKED, CHUNKED_BARE, ONLINE, WHOLE_ONLY, Model, node


def conv_models() -> list[Model]:
    """Models of conv."""
    image = "input dim=40 name=input\n"
    first = "conv-relu-batchnorm-layer name=cnn1 height-in=40 height-out=20 height-subsample-out=2 num-filters-out=4 "

    def model(name: str, what: str, layers: str, **rest: Any) -> Model:
        return Model(
            f"conv_{name}",
            what,
            xconfig=image + layers + "\n" + OUTPUT,
            feats="feats40.ark",
            **{"runs": CHUNKED_BARE, **rest},
        )

    return [
        model(
            "usual",
            "time -1,0,1, height -1,0,1 with height padding, then height subsampling 2",
            "conv-relu-batchnorm-layer name=cnn1 height-in=40 height-out=40 time-offsets=-1,0,1 "
            "height-offsets=-1,0,1 num-filters-out=3\n"
            "conv-relu-batchnorm-layer name=cnn2 height-in=40 height-out=20 height-subsample-out=2 time-offsets=-1,0,1 "
            "height-offsets=-1,0,1 num-filters-out=4",
            runs=WHOLE_ONLY,
        ),
        model(
            "no_height_padding",
            "height offsets 0,1,2, height-out 38, then subsampling by 3 with offsets -1..2",
            "conv-relu-layer name=cnn1 height-in=40 height-out=38 time-offsets=-1,0,1 height-offsets=0,1,2 "
            "num-filters-out=3\n"
            "conv-layer name=cnn2 height-in=38 height-out=12 height-subsample-out=3 time-offsets=0 "
            "height-offsets=-1,0,1,2 "
            "num-filters-out=4",
            runs=WHOLE_ONLY,
        ),
        model(
            "zero_padding",
            "required-time-offsets=0 of -1,0,1, twice: zeros beyond the input's edges",
            first + "time-offsets=-1,0,1 height-offsets=-1,0,1 required-time-offsets=0\n"
            "conv-relu-batchnorm-layer name=cnn2 height-in=20 height-out=10 height-subsample-out=2 time-offsets=-1,0,1 "
            "height-offsets=-1,0,1 num-filters-out=4 required-time-offsets=0",
        ),
        model(
            "zero_padding_left",
            "required-time-offsets=0,1 of -2,-1,0,1: zeros on the left only",
            first + "time-offsets=-2,-1,0,1 height-offsets=-1,0,1 required-time-offsets=0,1",
        ),
        model(
            "zero_padding_stride3",
            "time offsets -6,-3,0,3, required -3,0, after a layer with -1,0,1",
            first + "time-offsets=-1,0,1 height-offsets=-2,-1,0,1,2\n"
            "conv-relu-batchnorm-layer name=cnn2 height-in=20 height-out=10 height-subsample-out=2 "
            "time-offsets=-6,-3,0,3 "
            "height-offsets=-1,0,1 num-filters-out=4 required-time-offsets=-3,0",
        ),
        model(
            "zero_padding_no_subsampling",
            "required-time-offsets=0 of -2,0,2 without frame subsampling",
            first + "time-offsets=-1,0,1 height-offsets=-1,0,1 required-time-offsets=0\n"
            "conv-relu-layer name=cnn2 height-in=20 height-out=20 time-offsets=-2,0,2 height-offsets=0 "
            "num-filters-out=3 "
            "required-time-offsets=0",
            subsampling=1,
        ),
        model(
            "strides",
            "time strides 3 and 9 at the low rate, height offsets -3,0,3",
            first + "time-offsets=-1,0,1 height-offsets=-3,0,3\n"
            "conv-relu-batchnorm-layer name=cnn2 height-in=20 height-out=20 time-offsets=-3,0,3 "
            "height-offsets=-1,0,1 num-filters-out=4\n"
            "conv-relu-renorm-layer name=cnn3 height-in=20 height-out=10 height-subsample-out=2 time-offsets=-9,0,9 "
            "height-offsets=-1,0 num-filters-out=4",
            runs=CHUNKED,
        ),
        model(
            "uneven_offsets",
            "time offsets -4,-1,0,2 and one-sided 1,3",
            first + "time-offsets=-4,-1,0,2 height-offsets=-1,0,1\n"
            "conv-relu-layer name=cnn2 height-in=20 height-out=20 time-offsets=1,3 height-offsets=0,1 "
            "num-filters-out=3",
            runs=CHUNKED,
        ),
        model(
            "orders",
            "batchnorm-conv-relu, relu-batchnorm-conv, relu-conv-renorm, conv-relu-batchnorm-so, conv-relu-dropout",
            "conv-layer name=cnn1 height-in=40 height-out=20 height-subsample-out=2 time-offsets=-1,0,1 "
            "height-offsets=-1,0,1 num-filters-out=3\n"
            "batchnorm-conv-relu-layer name=cnn2 height-in=20 height-out=20 time-offsets=0 height-offsets=-1,0,1 "
            "num-filters-out=3\n"
            "relu-batchnorm-conv-layer name=cnn3 height-in=20 height-out=20 time-offsets=-1,0 height-offsets=0 "
            "num-filters-out=3\n"
            "relu-conv-renorm-layer name=cnn4 height-in=20 height-out=20 time-offsets=0,1 height-offsets=-1,0,1 "
            "num-filters-out=3\n"
            "conv-relu-batchnorm-so-layer name=cnn5 height-in=20 height-out=10 height-subsample-out=2 time-offsets=0 "
            "height-offsets=-1,0,1 num-filters-out=4\n"
            "conv-relu-dropout-layer name=cnn6 height-in=10 height-out=10 time-offsets=0 height-offsets=-1,0,1 "
            "num-filters-out=4 "
            "dropout-proportion=0.2\n"
            "relu-batchnorm-noconv-layer name=cnn7 height-in=10 height-out=10 num-filters-out=4",
            runs=WHOLE_ONLY,
        ),
        Model(
            "conv_offset_pairs",
            "TimeHeightConvolution with 'offsets' as pairs, not a grid: -2,0;-1,-1;0,0;0,2;1,1; required -1,0",
            config="input-node name=input dim=40\n"
            + node(
                "conv",
                "TimeHeightConvolutionComponent",
                "input",
                "num-filters-in=2 num-filters-out=3 height-in=20 height-out=10 "
                "height-subsample-out=2 offsets=-2,0;-1,-1;0,0;0,2;1,1 required-time-offsets=-1,0 bias-stddev=0.3",
            )
            + node("relu", "RectifiedLinearComponent", "conv", "dim=30 block-dim=3")
            + node("last", "NaturalGradientAffineComponent", "relu", "input-dim=30 output-dim=10")
            + "output-node name=output input=last\n",
            feats="feats40.ark",
            runs=CHUNKED_BARE,
            text=True,
        ),
        Model(
            "conv_old",
            "the old ConvolutionComponent (zyx and yzx order) and Maxpooling",
            config="input-node name=input dim=20\n"
            + node(
                "conv1",
                "ConvolutionComponent",
                "Append(Offset(input, -1), input, Offset(input, 1))",
                "input-x-dim=3 input-y-dim=20 input-z-dim=1 filt-x-dim=2 filt-y-dim=5 filt-x-step=1 filt-y-step=1 "
                "num-filters=3 "
                "input-vectorization-order=zyx",
            )
            + node(
                "pool1",
                "MaxpoolingComponent",
                "conv1",
                "input-x-dim=2 input-y-dim=16 input-z-dim=3 pool-x-size=1 pool-y-size=2 "
                "pool-z-size=1 pool-x-step=1 pool-y-step=2 pool-z-step=1",
            )
            + node("relu1", "RectifiedLinearComponent", "pool1", "dim=48")
            + node(
                "conv2",
                "ConvolutionComponent",
                "relu1",
                "input-x-dim=2 input-y-dim=8 input-z-dim=3 filt-x-dim=2 filt-y-dim=3 filt-x-step=1 filt-y-step=1 "
                "num-filters=4 "
                "input-vectorization-order=yzx",
            )
            + node(
                "pool2",
                "MaxpoolingComponent",
                "conv2",
                "input-x-dim=1 input-y-dim=6 input-z-dim=4 pool-x-size=1 pool-y-size=3 "
                "pool-z-size=2 pool-x-step=1 pool-y-step=3 pool-z-step=2",
            )
            + node("last", "AffineComponent", "pool2", "input-dim=4 output-dim=10")
            + "output-node name=output input=last\n",
        ),
    ]


def residual_models() -> list[Model]:
    """Models of residual."""
    conv = (
        "conv-layer name=conv1 height-in=40 height-out=40 time-offsets=-1,0,1 height-offsets=-1,0,1 num-filters-out=3 "
    )
    shrink = (
        "relu-batchnorm-conv-layer name=conv9 height-in=40 height-out=20 height-subsample-out=2 time-offsets=-1,0,1 "
        "height-offsets=-1,0,1 num-filters-out=4 required-time-offsets=0\n"
    )

    def resnet(name: str, what: str, blocks: str, **rest: Any) -> Model:
        return Model(
            name,
            what,
            xconfig="input dim=40 name=input\n" + conv + "required-time-offsets=0\n" + blocks + OUTPUT,
            feats="feats40.ark",
            **{"runs": CHUNKED_BARE, **rest},
        )

    return [
        resnet(
            "resnet",
            "res-block (zero padding), subsampling in height, bottleneck res-block at time-period 3, channel average",
            "res-block name=res1 num-filters=3 height=40 time-period=1\n"
            + shrink
            + "res-block name=res2 num-filters=4 num-bottleneck-filters=2 height=20 time-period=3\n"
            "channel-average-layer name=average dim=4 input=res2\n",
        ),
        resnet(
            "resnet_bypasses",
            "res-blocks with bypass-source relu, batchnorm and input, no zero padding in one, no subsampling",
            "res-block name=res1 num-filters=3 height=40 bypass-source=relu\n"
            "res-block name=res2 num-filters=3 height=40 bypass-source=batchnorm allow-zero-padding=false "
            "time-period=2\n" + shrink + "res-block name=res3 num-filters=4 height=20 bypass-source=input\n",
            subsampling=1,
        ),
        Model(
            "resnet_res2",
            "what res2-block makes (that layer itself is broken under Python 3): convolutions halving the height, "
            "bypass convolution, Sum, ReLU",
            config="input-node name=input dim=40\n"
            + "".join(
                node(
                    f"{name}{stage}",
                    "TimeHeightConvolutionComponent",
                    source,
                    f"num-filters-in={fi} num-filters-out={fo} height-in={hi} height-out={ho} "
                    f"height-subsample-out={hi // ho} "
                    f"{options} required-time-offsets=0 bias-stddev=0.2",
                )
                + (
                    node(f"relu{stage}", "RectifiedLinearComponent", after, f"dim={ho * fo} block-dim={fo}")
                    if after
                    else ""
                )
                for stage, name, source, fi, fo, hi, ho, options, after in (
                    (1, "conv", "input", 1, 3, 40, 20, "height-offsets=-1,0,1 time-offsets=-1,0,1", "conv1"),
                    (2, "conv", "relu1", 3, 3, 20, 20, "height-offsets=-1,0,1 time-offsets=-2,0,2", ""),
                    (2, "bypass", "input", 1, 3, 40, 20, "height-offsets=0 time-offsets=0", "Sum(conv2, bypass2)"),
                )
            )
            + node("last", "NaturalGradientAffineComponent", "relu2", "input-dim=60 output-dim=10")
            + "output-node name=output input=last\n",
            feats="feats40.ark",
            runs=CHUNKED_BARE,
        ),
        Model(
            "tdnnf_small",
            "tdnnf-layers (stride 1, 0, 3; bypass 0.66 and 0), linear-component, prefinal layers, output and "
            "output-xent",
            xconfig="input dim=20 name=input\nrelu-batchnorm-dropout-layer name=tdnn1 dim=24 input=Append(-1,0,1) "
            "dropout-proportion=0.1 "
            "dropout-per-dim-continuous=true\n"
            "tdnnf-layer name=tdnnf2 dim=24 bottleneck-dim=8 bypass-scale=0.66 dropout-proportion=0.1 time-stride=1\n"
            "tdnnf-layer name=tdnnf3 dim=24 bottleneck-dim=8 bypass-scale=0.66 dropout-proportion=0.1 time-stride=0\n"
            "tdnnf-layer name=tdnnf4 dim=24 bottleneck-dim=8 bypass-scale=0.5 time-stride=3\n"
            "tdnnf-layer name=tdnnf5 dim=20 bottleneck-dim=8 bypass-scale=0 time-stride=3\n"
            "linear-component name=prefinal-l dim=12 orthonormal-constraint=-1.0\n"
            "prefinal-layer name=prefinal-chain input=prefinal-l small-dim=12 big-dim=24\n"
            "output-layer name=output include-log-softmax=false dim=10\n"
            "prefinal-layer name=prefinal-xent input=prefinal-l small-dim=12 big-dim=24\n"
            "output-layer name=output-xent dim=10 learning-rate-factor=5.0",
            runs=CHUNKED,
        ),
        Model(
            "tdnn_lda",
            "fixed-affine-layer from lda.mat with delay 2, spliced input, skip connections by Append and Sum",
            xconfig="input dim=20 name=input\nfixed-affine-layer name=lda input=Append(-2,-1,0,1,2) delay=2 "
            "affine-transform-file=lda.mat\nrelu-batchnorm-layer name=tdnn1 dim=16\n"
            "relu-batchnorm-layer name=tdnn2 dim=16 input=Append(-1,0,2,tdnn1@-4)\n"
            "relu-batchnorm-layer name=tdnn3 dim=16 input=Append(-3,3,Sum(tdnn1,Scale(0.4,tdnn2)))\n" + OUTPUT,
            files={
                "lda.mat": lambda path: path.write_text(
                    format_block(random_generator("lda").standard_normal((100, 101)) / 10) + "\n"
                )
            },
        ),
        Model(
            "delta_idct",
            "idct-layer, delta-layer, spec-augment-layer, combine-feature-maps-layer with a linear i-vector path: "
            "the front of "
            "Kaldi's CNN-TDNN recipes",
            xconfig=f"input name=ivector dim={IVECTOR_DIM}\ninput name=input dim=20\n"
            "idct-layer name=idct input=input dim=20 cepstral-lifter=22 affine-transform-file=idct.mat\n"
            "linear-component name=ivector-linear dim=40 input=ReplaceIndex(ivector, t, 0)\n"
            "batchnorm-component name=ivector-batchnorm target-rms=0.025\n"
            "batchnorm-component name=idct-batchnorm input=idct\n"
            "spec-augment-layer name=idct-spec-augment freq-max-proportion=0.5 time-zeroed-proportion=0.2 "
            "time-mask-max-frames=20\n"
            "combine-feature-maps-layer name=combine_inputs input=Append(idct-spec-augment, ivector-batchnorm) "
            "num-filters1=1 "
            "num-filters2=2 height=20\n"
            "conv-relu-batchnorm-layer name=cnn1 height-in=20 height-out=10 height-subsample-out=2 time-offsets=-1,0,1 "
            "height-offsets=-1,0,1 num-filters-out=4\n"
            "delta-layer name=delta input=idct\n"
            "relu-batchnorm-layer name=tdnn2 dim=14 input=Append(cnn1, delta)\n" + OUTPUT,
            ivectors=ONLINE,
            runs=CHUNKED,
        ),
    ]
