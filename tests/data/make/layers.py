"""Pieces of networks that several models share."""

from model_folder import node

OUTPUT = "output-layer name=output dim=10 include-log-softmax=false\n"
FRONT = "input dim=20 name=input\nrelu-batchnorm-layer name=tdnn1 dim=16 input=Append(-1,0,1)\n"
LSTMP = "cell-dim=16 recurrent-projection-dim=6 non-recurrent-projection-dim=6"
PGRU = LSTMP

#: Two nodes, a and b, of dimension 12, made by hand from an input of 20 columns.
PAIR = (
    "input-node name=input dim=20\n"
    + node(
        "a1",
        "NaturalGradientAffineComponent",
        "Append(Offset(input, -1), input, Offset(input, 1))",
        "input-dim=60 output-dim=12",
    )
    + node("a", "TanhComponent", "a1", "dim=12")
    + node("b1", "NaturalGradientAffineComponent", "a", "input-dim=12 output-dim=12")
    + node("b", "SigmoidComponent", "b1", "dim=12")
)
