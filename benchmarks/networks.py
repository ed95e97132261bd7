"""Networks of published size with random parameters, written as Kaldi would write them.

The TDNN has the layers of ``egs/librispeech/s5/local/chain/run_tdnn.sh`` (7 layers of 625), the TDNN-F those of
``egs/librispeech/s5/local/chain/tuning/run_tdnn_1d.sh`` (17 layers of 1536, bottleneck 160).
"""

import numpy as np

from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.nnet import Nnet

FEATURES = 40


class NetworkBuilder:
    """Collects config lines and components with random parameters of a scale that keeps activations near one."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.lines = [f"input-node name=input dim={FEATURES}"]
        self.components: dict[str, Component] = {}

    def node(self, name: str, component: Component, source: str) -> str:
        """Adds a component and its node; returns the node's name."""
        self.components[name] = component
        self.lines.append(f"component-node name={name} component={name} input={source}")
        return name

    def _weight(self, rows: int, columns: int) -> np.ndarray:
        return (self.random.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32)

    def affine(self, name: str, source: str, input_dim: int, output_dim: int) -> str:
        """y = W x + b."""
        bias = self.random.standard_normal(output_dim).astype(np.float32)
        fields = [("LinearParams", self._weight(output_dim, input_dim)), ("BiasParams", bias)]
        return self.node(name, Component("FixedAffineComponent", fields), source)

    def tdnn(self, name: str, source: str, dims: tuple[int, int], offsets: tuple[int, ...], bias: bool) -> str:
        """One of the two halves of a factorised layer."""
        input_dim, output_dim = dims
        fields = [
            ("LearningRate", np.float32(0.001)),
            ("TimeOffsets", np.array(offsets, np.int32)),
            ("LinearParams", self._weight(output_dim, input_dim * len(offsets))),
            ("BiasParams", self.random.standard_normal(output_dim if bias else 0).astype(np.float32)),
            ("OrthonormalConstraint", np.float32(0.0)),
            ("UseNaturalGradient", True),
            ("NumSamplesHistory", np.float32(2000.0)),
            ("AlphaInOut", (np.float32(4.0), np.float32(4.0))),
            ("RankInOut", (20, 80)),
        ]
        return self.node(name, Component("TdnnComponent", fields), source)

    def relu_batchnorm(self, name: str, source: str, dim: int) -> str:
        """ReLU, then normalization by statistics."""
        empty = np.zeros(0, np.float32)
        relu = [("Dim", dim), ("ValueAvg", empty), ("DerivAvg", empty), ("Count", np.float64(0.0))]
        source = self.node(f"{name}.relu", Component("RectifiedLinearComponent", relu), source)
        fields = [
            ("Dim", dim),
            ("BlockDim", dim),
            ("Epsilon", np.float32(0.001)),
            ("TargetRms", np.float32(1.0)),
            ("TestMode", False),
            ("Count", np.float64(1000.0)),
            ("StatsMean", np.full(dim, 0.5, np.float32)),
            ("StatsVar", np.full(dim, 0.5, np.float32)),
        ]
        return self.node(f"{name}.batchnorm", Component("BatchNormComponent", fields), source)

    def finish(self, source: str) -> Nnet:
        """The network whose output is the node ``source``."""
        self.lines.append(f"output-node name=output input={source} objective=linear")
        nnet = Nnet.of_lines(self.lines, self.components, "synthetic network")
        nnet.check()
        return nnet


def splice(source: str, offsets: tuple[int, ...]) -> str:
    """Several frames side by side."""
    return "Append(" + ", ".join(source if o == 0 else f"Offset({source}, {o})" for o in offsets) + ")"


def tdnn(dim: int = 625, pdfs: int = 6000) -> Nnet:
    """7 TDNN layers behind an LDA."""
    builder = NetworkBuilder()
    source = builder.affine("lda", splice("input", (-1, 0, 1)), 3 * FEATURES, 3 * FEATURES)
    source = builder.relu_batchnorm("tdnn1", builder.affine("tdnn1", source, 3 * FEATURES, dim), dim)
    for layer, step in enumerate((1, 1, 3, 3, 3, 3), start=2):
        name = f"tdnn{layer}"
        affine = builder.affine(name, splice(source, (-step, 0, step)), 3 * dim, dim)
        source = builder.relu_batchnorm(name, affine, dim)
    source = builder.relu_batchnorm("prefinal", builder.affine("prefinal", source, dim, dim), dim)
    return builder.finish(builder.affine("output.affine", source, dim, pdfs))


def tdnnf(dim: int = 1536, bottleneck: int = 160, layers: int = 17, pdfs: int = 6000) -> Nnet:
    """Factorised layers with bypass, then a small prefinal layer."""
    builder = NetworkBuilder()
    source = builder.affine("lda", splice("input", (-1, 0, 1)), 3 * FEATURES, 3 * FEATURES)
    source = builder.relu_batchnorm("tdnn1", builder.affine("tdnn1", source, 3 * FEATURES, dim), dim)
    for layer, step in enumerate([1, 1, 1, 0] + [3] * (layers - 5), start=2):
        name = f"tdnnf{layer}"
        before, after = ((-step, 0), (0, step)) if step else ((0,), (0,))
        linear = builder.tdnn(f"{name}.linear", source, (dim, bottleneck), before, bias=False)
        affine = builder.tdnn(f"{name}.affine", linear, (bottleneck, dim), after, bias=True)
        normalized = builder.relu_batchnorm(name, affine, dim)
        no_op = Component("NoOpComponent", [("Dim", dim), ("BackpropScale", np.float32(1.0))])
        source = builder.node(f"{name}.noop", no_op, f"Sum(Scale(0.66, {source}), {normalized})")
    linear = builder.tdnn("prefinal-l", source, (dim, 256), (0,), bias=False)
    big = builder.relu_batchnorm("prefinal.big", builder.affine("prefinal.big", linear, 256, dim), dim)
    small = builder.tdnn("prefinal.small", big, (dim, 256), (0,), bias=False)
    return builder.finish(builder.affine("output.affine", small, 256, pdfs))
