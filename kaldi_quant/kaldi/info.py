"""What a model is, in lines of text.

Source: ``src/nnet3bin/nnet3-am-info.cc``, ``Nnet::Info``. The lines on the graph are Kaldi's own; a component's line
names its fields as the file does and sums arrays up by their root mean square.
"""

from collections.abc import Iterator

import numpy as np

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.component_dims import component_dims
from kaldi_quant.kaldi.model import AmNnetSimple, Model
from kaldi_quant.kaldi.nnet import ComponentNode, Nnet, OutputNode

# Arrays of updatable components that training changes; the others are statistics.
_PARAMETERS = ("LinearParams", "BiasParams", "Params", "Scales", "Offsets", "Output", "FilterParams", "w_h")


def num_parameters(component: Component) -> int:
    """The number of trainable parameters (``NumParameters`` in ``src/nnet3/nnet-utils.cc``)."""
    if component.type == "CompositeComponent":
        return sum(num_parameters(part) for part in component["NumComponents"])
    if "LearningRate" not in component or not component.get("IsUpdatable", True):
        return 0
    return sum(value.size for name, value in component.arrays() if name in _PARAMETERS)


def num_bytes(component: Component) -> int:
    """Bytes of a component's arrays, statistics included."""
    return sum(value.nbytes for _, value in component.arrays())


def model_lines(model: Model) -> Iterator[str]:
    """The lines that nnet3-am-info (for raw networks nnet3-info) prints before the network's own."""
    nnet = model.nnet
    yield f"input-dim: {nnet.input_dim('input')}"
    # Kaldi prints -1 where there is no such input.
    yield f"ivector-dim: {nnet.input_dim('ivector') or -1}"
    if not isinstance(model.network, AmNnetSimple):
        yield f"output-dim: {nnet.node_dim('output')}"
        return
    yield f"num-pdfs: {nnet.node_dim('output')}"
    priors = model.priors
    yield f"prior-dimension: {len(priors)}"
    if len(priors):
        yield f"prior-sum: {priors.sum():g}"
        yield f"prior-min: {priors.min():g}"
        yield f"prior-max: {priors.max():g}"


def nnet_lines(nnet: Nnet) -> Iterator[str]:
    """One line for each node, with dimensions, and one for each component."""
    yield f"num-parameters: {sum(map(num_parameters, nnet.components.values()))}"
    yield f"modulus: {nnet.modulus()}"
    for line, node in zip(nnet.config_lines, nnet.nodes.values(), strict=True):
        match node:
            case ComponentNode():
                input_dim, output_dim = nnet.component_dims(node)
                yield f"{line} input-dim={input_dim} output-dim={output_dim}"
            case OutputNode():
                yield line.replace(" objective=", f" dim={nnet.node_dim(node.name)} objective=")
            case _:
                yield line
    for name, component in nnet.components.items():
        yield f"component name={name} type={_component_text(component)}"


def _component_text(component: Component) -> str:
    try:
        input_dim, output_dim = component_dims(component)
    except ValueError as error:
        raise ModelError(str(error)) from error
    parts = [component.type, f"input-dim={input_dim}", f"output-dim={output_dim}"]
    parts += [f"{_option_name(name)}{_value_text(value)}" for name, value in component.fields]
    return ", ".join([*parts, f"bytes={num_bytes(component)}"])


def _option_name(name: str) -> str:
    """``BiasParams`` → ``bias-params``."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")


def _value_text(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return f"={str(bool(value)).lower()}"
    if isinstance(value, int):
        return f"={value}"
    if isinstance(value, np.floating):
        return f"={value:g}"
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        shape = "x".join(map(str, value.shape))
        rms = float(np.sqrt(np.mean(np.square(value, dtype=np.float64)))) if value.size else 0.0
        return f"[{shape}]-rms={rms:.4g}"
    if isinstance(value, np.ndarray):
        items = ",".join(" ".join(map(str, item)) if value.ndim > 1 else str(item) for item in value.tolist()[:20])
        return f"=[{items}{',...' if len(value) > 20 else ''}]"
    if isinstance(value, dict):
        return "={" + ", ".join(f"{_option_name(name)}{_value_text(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "={" + " | ".join(_component_text(part) for part in value) + "}"
    return "=" + ",".join(f"{item:g}" for item in value)  # type: ignore[attr-defined]
