"""All ten descriptors, alone and nested, and recurrences written with them by hand."""

from typing import Any

from archives import IVECTOR_DIM
from layers import PAIR
from model_folder import CHUNKED, CHUNKED_BARE, CHUNKED_BOTH, ONLINE, WHOLE_ONLY, Model, node

WITH_IVECTOR = PAIR.replace("\n", f"\ninput-node name=ivector dim={IVECTOR_DIM}\n", 1)


def descriptor_models() -> list[Model]:
    """Models of descriptor."""

    def model(
        name: str, what: str, descriptor: str, dim: int, front: str = PAIR, middle: str = "", **rest: Any
    ) -> Model:
        last = node("last", "NaturalGradientAffineComponent", descriptor, f"input-dim={dim} output-dim=10")
        return Model(
            f"descriptor_{name}",
            what,
            config=front + middle + last + "output-node name=output input=last\n",
            **{"runs": CHUNKED_BARE, **rest},
        )

    online = {"front": WITH_IVECTOR, "ivectors": ONLINE}
    return [
        model("append_offset", "Append of Offsets", "Append(Offset(a, -3), a, Offset(b, 6))", 36),
        model(
            "sum_scale_const",
            "Sum of Scales and a Const",
            "Sum(Scale(0.7, Offset(a, -3)), Scale(-1.3, b), Const(0.25, 12))",
            12,
        ),
        model("const", "Const appended, Const in a Sum", "Append(Sum(a, Const(-0.5, 12)), Const(1.5, 2))", 14),
        model("switch2", "Switch between two nodes: by t modulo 2; with subsampling 3", "Switch(a, b)", 12),
        model(
            "switch3",
            "Switch between three, no subsampling (chunk lengths become multiples of 3)",
            "Append(b, Switch(a, b, Offset(a, -2)))",
            24,
            subsampling=1,
        ),
        model(
            "failover",
            "Failover: the past 12 frames back where it is there, else the other node. The right context is 0, "
            "although "
            "the other node needs the next frame: at the end of a long window the past is there",
            "Failover(Offset(a, -12), b)",
            12,
            runs=WHOLE_ONLY,
        ),
        model(
            "failover_left",
            "the same with another node that never needs the future, so that short chunks work too",
            "Failover(Offset(a, -12), Offset(b, -1))",
            12,
        ),
        model(
            "failover_right",
            "Failover to the left where the right is missing, and the other way, no subsampling",
            "Append(Failover(Offset(a, 7), Offset(b, -1)), Failover(Offset(b, -9), a))",
            24,
            subsampling=1,
        ),
        model(
            "ifdefined",
            "IfDefined: zeros where there is nothing",
            "Append(Sum(a, IfDefined(Offset(b, 9))), IfDefined(Offset(b, -9)))",
            24,
        ),
        model("round", "Round to multiples of 6: modulus 6", "Append(Round(a, 6), b)", 24),
        model(
            "round_offset",
            "Round of an Offset, Offset of a Round, no subsampling: modulus 4",
            "Append(Round(Offset(a, -1), 4), Offset(Round(b, 4), 2), a)",
            36,
            subsampling=1,
        ),
        model(
            "replace_index",
            "ReplaceIndex(ivector, t, 0) beside a frame",
            "Append(a, ReplaceIndex(ivector, t, 0))",
            22,
            **online,
        ),
        model(
            "replace_index_hidden",
            "a linear layer computed from the ivector at t = 0 only, then ReplaceIndex of its output",
            "Append(a, ReplaceIndex(small, t, 0))",
            17,
            middle=node("small", "LinearComponent", "ivector", f"input-dim={IVECTOR_DIM} output-dim=5"),
            **online,
        ),
        model(
            "round_ivector",
            "Round(ivector, 30) is not of use here, so Failover(Round(ivector, 30), ReplaceIndex(ivector, t, 0)): "
            "both are frame 0 or nothing",
            "Append(a, Failover(Round(ivector, 30), ReplaceIndex(ivector, t, 0)))",
            22,
            **online,
        ),
        model(
            "append_inside",
            "Append inside Sum, Offset, Scale and Round: Kaldi moves it outwards",
            "Append(Sum(Append(a, b), Append(b, a)), Offset(Append(a, b), -3), Scale(0.5, Append(a, b)), "
            "Round(Append(b, a), 3))",
            96,
        ),
        model(
            "nested",
            "Failover of a Sum, Sum of a Switch, Offset of a Switch",
            "Append(Failover(Sum(Offset(a, -6), Offset(b, -6)), b), Sum(Switch(a, b), Const(0.1, 12)), "
            "Offset(Switch(b, a), 1))",
            36,
        ),
        model(
            "all_ten",
            "all ten descriptors in one input",
            "Append(Sum(Scale(0.5, a), IfDefined(Offset(b, -9))), Switch(Offset(b, -1), a), Failover(Offset(a, "
            "-15), b), "
            "Round(b, 3), Const(0.7, 3), ReplaceIndex(ivector, t, 0))",
            61,
            runs=CHUNKED,
            **online,
            text=True,
        ),
        Model(
            "descriptor_output",
            "the output node itself has Sum, Scale, Offset and Const; a second output, output-xent",
            config=PAIR
            + "output-node name=output input=Sum(Scale(0.5, Offset(a, -2)), b, Const(-0.3, 12)) objective=linear\n"
            + node("xent", "NaturalGradientAffineComponent", "b", "input-dim=12 output-dim=7")
            + node("xent.log", "LogSoftmaxComponent", "xent", "dim=7")
            + "output-node name=output-xent input=xent.log objective=linear\n",
        ),
        Model(
            "rnn_append",
            "a plain recurrence with Append(…, IfDefined(Offset(r, -1))), no subsampling",
            config=PAIR
            + node(
                "r1",
                "NaturalGradientAffineComponent",
                "Append(b, IfDefined(Offset(r, -1)))",
                "input-dim=24 output-dim=12",
            )
            + node("r", "TanhComponent", "r1", "dim=12")
            + node("last", "NaturalGradientAffineComponent", "r", "input-dim=12 output-dim=10")
            + "output-node name=output input=last\n",
            runs=CHUNKED_BOTH,
            subsampling=1,
        ),
        Model(
            "rnn_sum_failover",
            "recurrences with Sum(…, IfDefined(…)) 3 back and with Failover(Offset(s, -3), start)",
            config=PAIR
            + node("r1", "LinearComponent", "IfDefined(Offset(r, -3))", "input-dim=12 output-dim=12")
            + node("r", "TanhComponent", "Sum(a, r1)", "dim=12")
            + node(
                "s1",
                "NaturalGradientAffineComponent",
                "Append(Failover(Offset(s, -3), b), r)",
                "input-dim=24 output-dim=12",
            )
            + node("s", "SigmoidComponent", "s1", "dim=12")
            + node("last", "NaturalGradientAffineComponent", "Append(r, s)", "input-dim=24 output-dim=10")
            + "output-node name=output input=last\n",
            runs=CHUNKED_BOTH,
        ),
        Model(
            "tdnn_component",
            "TdnnComponent with offsets -3,0,3, with and without bias, and offsets -2,1 in that order",
            config="input-node name=input dim=20\n"
            + node("t1", "TdnnComponent", "input", "input-dim=20 output-dim=16 time-offsets=-1,0,1")
            + node("r1", "RectifiedLinearComponent", "t1", "dim=16")
            + node(
                "t2",
                "TdnnComponent",
                "r1",
                "input-dim=16 output-dim=12 time-offsets=-3,0,3 use-bias=false orthonormal-constraint=1.0",
            )
            + node("t3", "TdnnComponent", "t2", "input-dim=12 output-dim=12 time-offsets=-2,1")
            + node("r3", "RectifiedLinearComponent", "t3", "dim=12")
            + node("t4", "TdnnComponent", "r3", "input-dim=12 output-dim=10 time-offsets=0,3,-6")
            + "output-node name=output input=t4\n",
            runs=CHUNKED,
        ),
    ]
