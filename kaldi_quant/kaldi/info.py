"""What a model is, in the lines of text that Kaldi prints.

Source: ``src/nnet3bin/nnet3-am-info.cc``, ``nnet3-info.cc``, ``AmNnetSimple::Info``, ``Nnet::Info``.
"""

from collections.abc import Iterator

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.component_info import component_info
from kaldi_quant.kaldi.model import AmNnetSimple, Model
from kaldi_quant.kaldi.nnet import ComponentNode, InputNode, Nnet, OutputNode, config_line
from kaldi_quant.kaldi.outputs import OUTPUT, output_names
from kaldi_quant.kaldi.summaries import number

# Arrays of updatable components that training changes; the others are statistics.
_PARAMETERS = ("LinearParams", "BiasParams", "Params", "Scales", "Offsets", "Output", "FilterParams", "w_h")


def num_parameters(component: Component) -> int:
    """The number of trainable parameters (``NumParameters`` in ``src/nnet3/nnet-utils.cc``)."""
    if component.type == "CompositeComponent":
        return sum(num_parameters(part) for part in component["NumComponents"])
    if "LearningRate" not in component or not component.get("IsUpdatable", True):
        return 0
    return sum(value.size for name, value in component.arrays() if name in _PARAMETERS)


def is_simple(nnet: Nnet) -> bool:
    """Whether a network has the inputs and the output of an acoustic model (``IsSimpleNnet``)."""
    inputs = {node.name for node in nnet.nodes_of(InputNode)}
    return OUTPUT in output_names(nnet) and "input" in inputs and (len(inputs) == 1 or "ivector" in inputs)


def model_lines(model: Model) -> Iterator[str]:
    """The lines that nnet3-am-info prints before the network's own; none for raw networks, as nnet3-info."""
    if not isinstance(model.network, AmNnetSimple):
        return
    nnet, priors = model.nnet, model.priors
    yield from size_lines(nnet)
    yield f"num-pdfs: {_output_dim(nnet)}"
    yield f"prior-dimension: {len(priors)}"
    if len(priors):
        yield f"prior-sum: {number(priors.sum())}"
        yield f"prior-min: {number(priors.min())}"
        yield f"prior-max: {number(priors.max())}"
    yield "# Nnet info follows."


def size_lines(nnet: Nnet) -> Iterator[str]:
    """The dimensions of features and i-vectors, -1 where there is no such input."""
    for name in ("input", "ivector"):
        yield f"{name}-dim: {nnet.input_dim(name) or -1}"


def _output_dim(nnet: Nnet) -> int:
    return nnet.node_dim(OUTPUT) if OUTPUT in output_names(nnet) else -1


def nnet_lines(nnet: Nnet) -> Iterator[str]:
    """One line for each node, with dimensions, and one for each component."""
    yield f"num-parameters: {sum(map(num_parameters, nnet.components.values()))}"
    yield f"modulus: {nnet.modulus()}"
    for node in nnet.nodes.values():
        match node:
            case ComponentNode():
                input_dim, output_dim = nnet.component_dims(node)
                yield f"{config_line(node)} input-dim={input_dim} output-dim={output_dim}"
            case OutputNode(name, descriptor, objective):
                yield f"output-node name={name} input={descriptor} dim={nnet.node_dim(name)} objective={objective}"
            case _:
                yield config_line(node)
    for name, component in nnet.components.items():
        try:
            yield f"component name={name} type={component_info(component)}"
        except ValueError as error:
            raise ModelError(f"{nnet.path}: the component {name} is inconsistent: {error}") from error
