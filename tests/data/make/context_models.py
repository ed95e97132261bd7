"""Models whose output depends on more than a fixed context: attention, statistics, i-vectors, sampling rates."""

from typing import Any

from archives import IVECTOR_DIM
from layers import FRONT, LSTMP, OUTPUT, PAIR
from model_folder import CHUNKED, CHUNKED_BARE, EDGES, ONLINE, PER_UTTERANCE, Model, node


def attention_models() -> list[Model]:
    """Models of attention."""

    def model(name: str, what: str, kind: str, options: str, **rest: Any) -> Model:
        return Model(
            f"attention_{name}",
            what,
            xconfig=FRONT + f"{kind} name=att1 {options}\n" + OUTPUT,
            **{"runs": CHUNKED_BARE, **rest},
        )

    return [
        model(
            "relu_renorm",
            "one head, 5 left and 2 right inputs, all required",
            "attention-relu-renorm-layer",
            "value-dim=6 key-dim=4 num-left-inputs=5 num-right-inputs=2",
        ),
        model(
            "relu_batchnorm_heads",
            "3 heads, time-stride 3, batch normalisation",
            "attention-relu-batchnorm-layer",
            "num-heads=3 value-dim=5 key-dim=4 num-left-inputs=5 num-right-inputs=2 time-stride=3",
        ),
        model(
            "no_output_context",
            "2 heads, output-context=false, time-stride 3",
            "attention-relu-renorm-layer",
            "num-heads=2 value-dim=6 key-dim=4 num-left-inputs=3 num-right-inputs=3 time-stride=3 output-context=false",
        ),
        model(
            "optional_inputs",
            "2 heads, stride 3, of 5 left inputs 1 required and of 2 right inputs 0",
            "attention-relu-batchnorm-layer",
            "num-heads=2 value-dim=6 key-dim=4 num-left-inputs=5 num-right-inputs=2 time-stride=3 "
            "num-left-inputs-required=1 num-right-inputs-required=0",
        ),
        model(
            "nothing_required",
            "as optional_inputs, nothing required, stride 1, no subsampling",
            "attention-relu-renorm-layer",
            "num-heads=2 value-dim=6 key-dim=4 num-left-inputs=4 num-right-inputs=4 "
            "num-left-inputs-required=0 num-right-inputs-required=0",
            subsampling=1,
        ),
        model(
            "renorm_first",
            "relu-renorm-attention-layer, key-scale 0.3",
            "relu-renorm-attention-layer",
            "num-heads=2 value-dim=6 key-dim=4 num-left-inputs=2 num-right-inputs=2 time-stride=3 key-scale=0.3",
        ),
        Model(
            "attention_two_layers",
            "TDNN between two attention layers, optional inputs in both, prefinal",
            xconfig=FRONT
            + "attention-relu-batchnorm-layer name=att1 num-heads=2 value-dim=6 key-dim=4 num-left-inputs=5 "
            "num-right-inputs=2 time-stride=3 num-left-inputs-required=1 num-right-inputs-required=1\n"
            "relu-batchnorm-layer name=tdnn2 dim=14 input=Append(-3,0,3)\n"
            "attention-relu-batchnorm-layer name=att2 num-heads=2 value-dim=4 key-dim=3 num-left-inputs=3 "
            "num-right-inputs=3 "
            "time-stride=3 num-left-inputs-required=0 num-right-inputs-required=1\n" + OUTPUT,
            runs=CHUNKED_BARE,
        ),
    ]


def stats_models() -> list[Model]:
    """Models of stats."""

    def model(name: str, what: str, config: str, **rest: Any) -> Model:
        return Model(
            f"stats_{name}",
            what,
            xconfig=FRONT + f"stats-layer name=stats1 config={config}\n"
            "relu-batchnorm-layer name=tdnn2 dim=14 input=Append(tdnn1, stats1)\n" + OUTPUT,
            **{"runs": CHUNKED_BARE, **rest},
        )

    return [
        model("mean", "mean over -99..99, input every 3, statistics every 9 frames", "mean(-99:3:9:99)"),
        model("mean_stddev", "mean and standard deviation over -99..99, 3, 9", "mean+stddev(-99:3:9:99)"),
        model("mean_count", "mean and log count, short window -18..9, statistics every 9", "mean+count(-18:3:9:9)"),
        model(
            "mean_stddev_count", "all three, -12..6, input every 1, statistics every 6", "mean+stddev+count(-12:1:6:6)"
        ),
        model("left_only", "mean and deviation, -30..0, input every 1, statistics every 1", "mean+stddev(-30:1:1:0)"),
        model(
            "period2",
            "mean and deviation, -20..20, input every 2, statistics every 4, no subsampling (modulus 4)",
            "mean+stddev(-20:2:4:20)",
            subsampling=1,
        ),
        Model(
            "stats_hand",
            "StatisticsExtraction and Pooling by hand: 3 log-count features, variance floor 0.2, not rounded at all "
            "(all periods 1), left 7 and right 4",
            config="input-node name=input dim=20\n"
            + node("affine", "NaturalGradientAffineComponent", "input", "input-dim=20 output-dim=8")
            + node(
                "extract",
                "StatisticsExtractionComponent",
                "affine",
                "input-dim=8 input-period=1 output-period=1 include-variance=true",
            )
            + node(
                "pool",
                "StatisticsPoolingComponent",
                "extract",
                "input-dim=17 input-period=1 left-context=7 right-context=4 "
                "num-log-count-features=3 output-stddevs=true variance-floor=0.2",
            )
            + node("last", "NaturalGradientAffineComponent", "pool", "input-dim=19 output-dim=10")
            + "output-node name=output input=last\n",
            runs=CHUNKED_BARE,
        ),
        Model(
            "stats_xvector_like",
            "TDNN layers, statistics over the whole utterance, and the frame beside it: Round inside Append",
            xconfig=FRONT + "relu-batchnorm-layer name=tdnn2 dim=12 input=Append(-3,0,3)\n"
            "stats-layer name=stats1 config=mean+stddev(-600:3:30:600)\n"
            "relu-renorm-layer name=tdnn3 dim=12 input=Append(tdnn2@-3, tdnn2, stats1)\n" + OUTPUT,
            runs=CHUNKED_BARE,
        ),
    ]


def ivector_models() -> list[Model]:
    """Models of ivector."""
    layers = (
        f"input name=ivector dim={IVECTOR_DIM}\ninput name=input dim=20\n"
        "relu-batchnorm-layer name=tdnn1 dim=16 input=Append(-1,0,1,ReplaceIndex(ivector,t,0))\n"
        "relu-batchnorm-layer name=tdnn2 dim=16 input=Append(-3,0,3)\n" + OUTPUT
    )
    linear = (
        f"input name=ivector dim={IVECTOR_DIM}\ninput name=input dim=20\n"
        "linear-component name=ivector-linear dim=6 input=ReplaceIndex(ivector,t,0)\n"
        "batchnorm-component name=ivector-batchnorm target-rms=0.5\n"
        "relu-batchnorm-layer name=tdnn1 dim=16 input=Append(input@-1,input,input@1,ivector-batchnorm)\n"
        "relu-batchnorm-layer name=tdnn2 dim=16 input=Append(-3,0,3)\n" + OUTPUT
    )
    return [
        Model(
            "ivector_online",
            "i-vectors estimated online, one per chunk (period 10)",
            xconfig=layers,
            ivectors=ONLINE,
            runs={**CHUNKED_BARE, "output_chunk20_sub.ark": "--frames-per-chunk=20"},
        ),
        Model(
            "ivector_utterance", "one i-vector per utterance", xconfig=layers, ivectors=PER_UTTERANCE, runs=CHUNKED_BARE
        ),
        Model(
            "ivector_linear_online",
            "i-vectors through a linear component and batchnorm, online",
            xconfig=linear,
            ivectors=ONLINE,
            runs=CHUNKED_BARE,
        ),
        Model(
            "ivector_linear_utterance",
            "the same with one i-vector per utterance",
            xconfig=linear,
            ivectors=PER_UTTERANCE,
            runs=CHUNKED_BARE,
        ),
        Model(
            "ivector_lstm",
            "fast LSTMP with online i-vectors, chunk 20 without subsampling: many chunks",
            subsampling=1,
            xconfig=layers.replace(OUTPUT, "") + f"fast-lstmp-layer name=lstm1 {LSTMP} delay=-3\n" + OUTPUT,
            ivectors=ONLINE,
            runs={**CHUNKED, "output_chunk20.ark": f"--frames-per-chunk=20 --extra-left-context=21 {EDGES}"},
        ),
    ]


def rate_models() -> list[Model]:
    """Models of rate."""
    affine = "NaturalGradientAffineComponent"
    return [
        Model(
            "low_rate_lstm",
            "TDNN at the full rate, then LSTM with delay -3 at the low rate, TDNN stride 3, dim-range-component",
            xconfig=FRONT + "relu-batchnorm-layer name=tdnn2 dim=16 input=Append(-1,0,1)\n"
            f"fast-lstmp-layer name=lstm1 {LSTMP} delay=-3 decay-time=20\n"
            "relu-batchnorm-layer name=tdnn3 dim=16 input=Append(-6,-3,0,3)\n"
            "dim-range-component name=part dim=9 dim-offset=4\n" + OUTPUT,
            runs=CHUNKED,
        ),
        Model(
            "low_rate_lstm_delay1",
            "LSTM with delay -1 under frame subsampling 3: the recurrence still runs at every frame",
            xconfig=FRONT + f"fast-lstmp-layer name=lstm1 {LSTMP} delay=-1\n" + OUTPUT,
            runs=CHUNKED,
        ),
        Model(
            "low_rate_lstm_delay4",
            "LSTM with delay -4 under frame subsampling 3: the recurrence visits a third set of frames",
            xconfig=FRONT + f"fast-lstmp-layer name=lstm1 {LSTMP} delay=-4\n" + OUTPUT,
            runs=CHUNKED_BARE,
        ),
        Model(
            "dim_range",
            "dim-range nodes: of a component, overlapping, of the input node",
            config="input-node name=input dim=20\ndim-range-node name=low input-node=input dim-offset=0 dim=7\n"
            + node("a", affine, "Append(Offset(low, -2), low, input)", "input-dim=34 output-dim=16")
            + node("t", "TanhComponent", "a", "dim=16")
            + "dim-range-node name=t1 input-node=t dim-offset=3 dim=8\n"
            "dim-range-node name=t2 input-node=t dim-offset=8 dim=8\n"
            + node("p", "ElementwiseProductComponent", "Append(t1, Offset(t2, 1))", "input-dim=16 output-dim=8")
            + node("last", affine, "Append(p, t1)", "input-dim=16 output-dim=10")
            + "output-node name=output input=last\n",
        ),
        Model(
            "modulus_round",
            "Round to 4 under frame subsampling 3: modulus 4, so chunk lengths become multiples of 12",
            config=PAIR
            + node("c", affine, "Append(Round(a, 4), b)", "input-dim=24 output-dim=10")
            + "output-node name=output input=c\n",
            runs=CHUNKED_BARE,
        ),
        Model(
            "modulus_round_lstm",
            "LSTM beside statistics rounded to 6 frames",
            xconfig=FRONT + "stats-layer name=stats1 config=mean+stddev(-18:3:6:18)\n"
            "relu-batchnorm-layer name=tdnn2 dim=14 input=Append(tdnn1, stats1)\n"
            f"fast-lstmp-layer name=lstm1 {LSTMP} delay=-3\n" + OUTPUT,
            runs=CHUNKED_BARE,
        ),
        Model(
            "subsampling2",
            "a TDNN run with frame subsampling factor 2",
            xconfig=FRONT + "relu-batchnorm-layer name=tdnn2 dim=16 input=Append(-2,0,2)\n" + OUTPUT,
            subsampling=2,
            runs=CHUNKED_BARE,
        ),
        Model(
            "asymmetric_context",
            "context only on the left (9 frames), and an output-layer with output-delay -2",
            xconfig=FRONT + "relu-batchnorm-layer name=tdnn2 dim=16 input=Append(-8,-4,0)\n"
            "output-layer name=output dim=10 include-log-softmax=false "
            "output-delay=-2\n",
            runs=CHUNKED_BARE,
        ),
    ]
