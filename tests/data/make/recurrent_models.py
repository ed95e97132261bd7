"""Recurrent models: every LSTM and GRU layer of Kaldi's xconfig, one way and both ways."""

from pathlib import Path
from typing import Any

from layers import FRONT, LSTMP, OUTPUT, PGRU
from model_folder import CHUNKED, CHUNKED_BOTH, Model

_TRANSITION_MODEL = Path(__file__).resolve().parents[3] / "egs/alphadigits/exp/chain/tdnn1a_sp/0.trans_mdl"


def lstm_models() -> list[Model]:
    """Models of lstm."""

    def model(name: str, what: str, layers: str, **rest: Any) -> Model:
        return Model(name, what, xconfig=FRONT + layers + "\n" + OUTPUT, **{"runs": CHUNKED, **rest})

    return [
        model(
            "lstm",
            "lstm-layer: the old LSTM built from affines and products, delay -3",
            "lstm-layer name=lstm1 cell-dim=12 delay=-3",
        ),
        model(
            "lstm_decay",
            "lstm-layer with decay-time (BackpropTruncation with a scale below 1)",
            "lstm-layer name=lstm1 cell-dim=12 delay=-3 decay-time=20",
        ),
        model(
            "fast_lstm",
            "fast-lstm-layer (LstmNonlinearity), delay -3",
            "fast-lstm-layer name=lstm1 cell-dim=12 delay=-3",
            text=True,
        ),
        model(
            "fast_lstm_batchnorm",
            "fast-lstm-batchnorm-layer, delay -1, no frame subsampling",
            "fast-lstm-batchnorm-layer name=lstm1 cell-dim=12 delay=-1",
            subsampling=1,
        ),
        model("fast_lstmp", "fast-lstmp-layer, no decay", f"fast-lstmp-layer name=lstm1 {LSTMP} delay=-3"),
        model(
            "fast_lstmp_decay",
            "fast-lstmp-layer with decay-time 20",
            f"fast-lstmp-layer name=lstm1 {LSTMP} delay=-3 decay-time=20",
        ),
        model(
            "fast_lstmp_dropout",
            "fast-lstmp-layer with per-gate dropout: DropoutMask into LstmNonlinearity (use-dropout), proportion 0.25",
            f"fast-lstmp-layer name=lstm1 {LSTMP} delay=-3 decay-time=20 dropout-proportion=0.25",
        ),
        model(
            "fast_lstmp_batchnorm",
            "fast-lstmp-batchnorm-layer",
            f"fast-lstmp-batchnorm-layer name=lstm1 {LSTMP} delay=-3",
        ),
        model("lstmp", "lstmp-layer: the old projected LSTM", f"lstmp-layer name=lstm1 {LSTMP} delay=-3"),
        model(
            "lstmp_decay_dropout",
            "lstmp-layer with decay-time and dropout 0.2",
            f"lstmp-layer name=lstm1 {LSTMP} delay=-3 decay-time=20 dropout-proportion=0.2",
        ),
        model(
            "lstmp_dropout_per_frame",
            "lstmp-layer with dropout per frame 0.3",
            f"lstmp-layer name=lstm1 {LSTMP} delay=-3 dropout-proportion=0.3 dropout-per-frame=true",
        ),
        model("lstmp_batchnorm", "lstmp-batchnorm-layer", f"lstmp-batchnorm-layer name=lstm1 {LSTMP} delay=-3"),
        model(
            "lstmb",
            "lstmb-layer: LSTM with a bottleneck and batch normalisation",
            "lstmb-layer name=lstm1 cell-dim=16 bottleneck-dim=8 delay=-3",
        ),
        model(
            "tdnn_lstm_stack",
            "TDNN, fast LSTMP, TDNN, fast LSTMP",
            f"fast-lstmp-layer name=lstm1 {LSTMP} delay=-3 decay-time=20\n"
            "relu-renorm-layer name=tdnn2 dim=14 input=Append(-3,0,3)\n"
            f"fast-lstmp-layer name=lstm2 {LSTMP} delay=-3 decay-time=20",
        ),
        Model(
            "lstm_output_delay",
            "fast-lstm-layer with output-delay=5 (Offset(…, 5): right context 6) and log-softmax",
            xconfig=FRONT + "fast-lstm-layer name=lstm1 cell-dim=12 delay=-3\n"
            "output-layer name=output dim=10 output-delay=5",
            runs=CHUNKED,
        ),
        Model(
            "lstm_mdl",
            "fast-lstmp-layer in a final.mdl with transition model (208 pdfs)",
            xconfig=FRONT + "fast-lstmp-layer name=lstm1 cell-dim=16 recurrent-projection-dim=6 "
            "non-recurrent-projection-dim=6 delay=-3\noutput-layer name=output dim=208 include-log-softmax=false",
            runs=CHUNKED,
            transition_model=_TRANSITION_MODEL,
        ),
        Model(
            "priors_mdl",
            "a small TDNN in a final.mdl with priors, run with --use-priors=true",
            xconfig="input dim=20 name=input\nrelu-batchnorm-layer name=tdnn1 dim=12 input=Append(-1,0,1)\n"
            "output-layer name=output dim=208",
            transition_model=_TRANSITION_MODEL,
            priors=True,
            text=True,
        ),
    ]


def blstm_models() -> list[Model]:
    """Models of blstm."""

    def both(kind: str, i: int, source: str, options: str, delay: int) -> str:
        return (
            f"{kind} name=f{i} {options} delay=-{delay} input={source}\n"
            f"{kind} name=b{i} {options} delay={delay} input={source}\n"
        )

    last = "output-layer name=output dim=10 include-log-softmax=false input=Append(f2,b2)\n"
    one = "output-layer name=output dim=10 include-log-softmax=false input=Append(f1,b1)\n"
    return [
        Model(
            "blstm_fast_lstmp",
            "two layers of forward (-3) and backward (+3) fast LSTMP",
            xconfig=FRONT
            + both("fast-lstmp-layer", 1, "tdnn1", LSTMP, 3)
            + both("fast-lstmp-layer", 2, "Append(f1,b1)", LSTMP, 3)
            + last,
            runs=CHUNKED_BOTH,
        ),
        Model(
            "blstm_fast_decay",
            "one layer, both ways, decay-time 20",
            xconfig=FRONT + both("fast-lstmp-layer", 1, "tdnn1", LSTMP + " decay-time=20", 3) + one,
            runs=CHUNKED_BOTH,
        ),
        Model(
            "blstm_old",
            "one layer of old lstm-layer, delays -1 and +1, no frame subsampling",
            xconfig=FRONT + both("lstm-layer", 1, "tdnn1", "cell-dim=8", 1) + one,
            runs=CHUNKED_BOTH,
            subsampling=1,
        ),
        Model(
            "bgru_fast_opgru",
            "fast-norm-opgru-layer both ways",
            xconfig=FRONT + both("fast-norm-opgru-layer", 1, "tdnn1", PGRU, 3) + one,
            runs=CHUNKED_BOTH,
        ),
    ]


def gru_models() -> list[Model]:
    """Models of gru."""
    kinds = {
        "gru": "cell-dim=12",
        "pgru": PGRU,
        "norm-pgru": PGRU,
        "opgru": PGRU,
        "norm-opgru": PGRU,
        "fast-gru": "cell-dim=12",
        "fast-pgru": PGRU,
        "fast-norm-pgru": PGRU,
        "fast-opgru": PGRU,
        "fast-norm-opgru": PGRU,
    }
    found = [
        Model(
            kind.replace("-", "_"),
            f"{kind}-layer, delay -3",
            xconfig=FRONT + f"{kind}-layer name=gru1 {options} delay=-3\n" + OUTPUT,
            runs=CHUNKED,
        )
        for kind, options in kinds.items()
    ]
    for kind in ("norm-pgru", "norm-opgru", "fast-norm-pgru", "fast-norm-opgru"):
        for per_frame in ("true", "false"):
            found.append(
                Model(
                    f"{kind}-dropout-{'frame' if per_frame == 'true' else 'each'}".replace("-", "_"),
                    f"{kind}-layer with dropout 0.2, per-frame {per_frame}",
                    xconfig=FRONT + f"{kind}-layer name=gru1 {PGRU} delay=-3 dropout-proportion=0.2 "
                    f"dropout-per-frame={per_frame}\n" + OUTPUT,
                    runs=CHUNKED,
                )
            )
    return found
