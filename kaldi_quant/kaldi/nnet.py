"""The nnet3 network: a graph of nodes, and the components that the nodes use.

Source: ``src/nnet3/nnet-nnet.cc``. In a file the graph is text, a config line for each node. Lines that were read are
written back as they stood in the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.component_dims import component_dims as dims_of
from kaldi_quant.kaldi.config_line import ConfigLine, is_plain_value, is_valid_name, read_config_lines
from kaldi_quant.kaldi.descriptor import LARGEST_DIM, Descriptor, as_printed, parse_descriptor
from kaldi_quant.kaldi.reader import Reader
from kaldi_quant.kaldi.writer import Writer

_NODE_KINDS = ("input-node", "component-node", "output-node", "dim-range-node")


@dataclass(frozen=True)
class InputNode:
    """Features or i-vectors of dimension ``dim``."""

    name: str
    dim: int


@dataclass(frozen=True)
class ComponentNode:
    """A component applied to a descriptor."""

    name: str
    component: str
    input: Descriptor


@dataclass(frozen=True)
class OutputNode:
    """A descriptor that the network gives to the outside."""

    name: str
    input: Descriptor
    objective: str


@dataclass(frozen=True)
class DimRangeNode:
    """``dim`` columns of another node, from ``dim_offset`` on."""

    name: str
    input_node: str
    dim_offset: int
    dim: int


Node = InputNode | ComponentNode | OutputNode | DimRangeNode
NodeType = TypeVar("NodeType", InputNode, ComponentNode, OutputNode, DimRangeNode)


@dataclass
class Nnet:
    """An nnet3 network.

    ``of_nodes`` builds one, ``of_lines`` reads the graph from text, and ``dataclasses.replace`` exchanges components.

    Args:
        nodes: the graph, by name, in file order.
        components: by name, in file order.
        path: where it came from, for messages.
        lines: of nodes that were read from text, the config lines, which are written as they stand there.
    """

    nodes: dict[str, Node]
    components: dict[str, Component]
    path: str = "nnet"
    lines: dict[Node, str] = field(default_factory=dict)

    @classmethod
    def of_nodes(cls, nodes: Iterable[Node], components: dict[str, Component], path: str = "nnet") -> Nnet:
        """Builds a network, which is not checked yet.

        Constants in descriptors get the digits that they are written with: the network computes what its file will.

        Raises:
            ModelError: two nodes have one name, or a component has one that no config line can hold.
        """
        return cls(_by_name((_as_written(node, path) for node in nodes), path), components, path)

    @classmethod
    def of_lines(cls, lines: Iterable[str], components: dict[str, Component], path: str = "nnet") -> Nnet:
        """Takes the graph from config lines, which stay as they are; it is not checked yet.

        Raises:
            ModelError: a line is malformed, or two nodes have one name.
        """
        parsed = [(_node_of(line, path), line) for line in lines]
        return cls(_by_name((node for node, _ in parsed), path), components, path, dict(parsed))

    @classmethod
    def read(cls, reader: Reader) -> Nnet:
        """Reads ``<Nnet3> … </Nnet3>`` and checks that the graph is consistent.

        Raises:
            FormatError: the file is malformed.
            ModelError: the graph contradicts itself or the components.
        """
        nnet = cls.read_unchecked(reader)
        nnet.check()
        return nnet

    @classmethod
    def read_unchecked(cls, reader: Reader, path: str | None = None) -> Nnet:
        """Reads ``<Nnet3> … </Nnet3>``, for whoever completes its components before they are checked.

        Args:
            reader: where it stands.
            path: what messages call it, by default what the reader's are.

        Raises:
            FormatError: the file is malformed.
            ModelError: a line of the graph is malformed.
        """
        reader.expect("<Nnet3>")
        first = reader.line()
        if first:
            reader.fail(f"expected the end of the line after <Nnet3>, found {first[:40]!r}")
        text = []
        # The graph ends with an empty line, not with one of white space or with a comment.
        while line := reader.line():
            text.append(line)
        lines = read_config_lines("\n".join(text))
        reader.expect("<NumComponents>")
        components: dict[str, Component] = {}
        for _ in range(reader.count("components")):
            reader.expect("<ComponentName>")
            position = reader.position
            name = reader.token()
            if name in components:
                reader.fail(f"the component {name[:80]!r} is defined twice", position)
            components[name] = Component.read(reader)
        reader.expect("</Nnet3>")
        return cls.of_lines(lines, components, reader.path if path is None else path)

    def write(self, writer: Writer) -> None:
        """Writes ``<Nnet3> … </Nnet3>``."""
        writer.token("<Nnet3>")
        writer.line("")
        for line in self.config_lines:
            writer.line(line)
        writer.line("")
        writer.token("<NumComponents>")
        writer.int32(len(self.components))
        writer.newline()
        for name, component in self.components.items():
            writer.token("<ComponentName>")
            writer.token(name)
            component.write(writer)
            writer.newline()
        writer.token("</Nnet3>")

    @property
    def config_lines(self) -> list[str]:
        """The graph as text, a node a line: as it was read, and as Kaldi writes it where it was not."""
        return [self.lines.get(node) or config_line(node) for node in self.nodes.values()]

    def nodes_of(self, kind: type[NodeType]) -> list[NodeType]:
        """The nodes of one kind, in file order."""
        return [node for node in self.nodes.values() if isinstance(node, kind)]

    def node_dim(self, name: str) -> int:
        """The output dimension of a node.

        Raises:
            ModelError: there is no such node, or it has none.
        """
        node = self.nodes.get(name)
        match node:
            case InputNode() | DimRangeNode():
                return node.dim
            case ComponentNode():
                return self.component_dims(node)[1]
            case OutputNode():
                return self._descriptor_dim(node)
        raise ModelError(f"{self.path}: a descriptor names the node {name[:80]!r}, which does not exist")

    def input_dim(self, name: str = "input") -> int:
        """The dimension of an input node, 0 where there is none of that name."""
        node = self.nodes.get(name)
        return node.dim if isinstance(node, InputNode) else 0

    def modulus(self) -> int:
        """The number of frames by which input and output can be shifted together (``Nnet::Modulus``)."""
        descriptors = [node.input for node in self.nodes.values() if isinstance(node, ComponentNode | OutputNode)]
        return math.lcm(*(descriptor.modulus() for descriptor in descriptors))

    def check(self) -> None:
        """Checks that names exist and dimensions agree, as ``Nnet::Check`` does.

        Raises:
            ModelError: names the node and what does not agree.
        """
        for node in self.nodes.values():
            match node:
                case InputNode():
                    self._require(0 < node.dim <= LARGEST_DIM, node, f"has dimension {node.dim}")
                case OutputNode():
                    self._descriptor_dim(node)
                case ComponentNode():
                    expected, found = self.component_dims(node)[0], self._descriptor_dim(node)
                    self._require(expected == found, node, f"has input of {found} columns, needs {expected}")
                case DimRangeNode():
                    whole = self.node_dim(node.input_node)
                    read = self.nodes[node.input_node]
                    self._require(isinstance(read, InputNode | ComponentNode), node, f"cannot read {read.name}")
                    inside = node.dim > 0 and 0 <= node.dim_offset <= whole - node.dim
                    self._require(inside, node, f"takes {node.dim} columns from {node.dim_offset} of {whole}")

    def _require(self, condition: bool, node: Node, fault: str) -> None:
        if not condition:
            raise ModelError(f"{self.path}: the node {node.name} {fault}")

    def component_dims(self, node: ComponentNode) -> tuple[int, int]:
        """The (input, output) dimensions of a node's component.

        Raises:
            ModelError: the component does not exist or contradicts itself.
        """
        component = self.components.get(node.component)
        if component is None:
            raise ModelError(f"{self.path}: the node {node.name} uses {node.component!r}, which is not defined")
        try:
            return dims_of(component)
        except ValueError as error:
            raise ModelError(f"{self.path}: the component {node.component} is inconsistent: {error}") from error

    def _descriptor_dim(self, node: ComponentNode | OutputNode) -> int:
        try:
            return node.input.dim(self._source_dim)
        except ValueError as error:
            raise ModelError(f"{self.path}: the input of node {node.name} is inconsistent: {error}") from error

    def _source_dim(self, name: str) -> int:
        if isinstance(self.nodes.get(name), OutputNode):
            raise ModelError(
                f"{self.path}: a descriptor names the output node {name}, but other nodes cannot read output nodes"
            )
        return self.node_dim(name)


def config_line(node: Node) -> str:
    """A node as a line of a config file (``Nnet::GetAsConfigLine``)."""
    match node:
        case InputNode(name, dim):
            return f"input-node name={name} dim={dim}"
        case ComponentNode(name, component, descriptor):
            return f"component-node name={name} component={component} input={descriptor}"
        case OutputNode(name, descriptor, objective):
            return f"output-node name={name} input={descriptor} objective={objective}"
        case DimRangeNode(name, source, offset, dim):
            return f"dim-range-node name={name} input-node={source} dim-offset={offset} dim={dim}"


def _by_name(nodes: Iterable[Node], path: str) -> dict[str, Node]:
    found: dict[str, Node] = {}
    for node in nodes:
        if node.name in found:
            raise ModelError(f"{path}: the node {node.name} is defined twice")
        found[node.name] = node
    return found


def _as_written(node: Node, path: str) -> Node:
    """A node as it is after it was written and read again."""
    match node:
        case OutputNode():
            return replace(node, input=as_printed(node.input))
        case ComponentNode(name, component, descriptor):
            if not is_plain_value(component):
                shown = repr(component[:80])
                raise ModelError(f"{path}: the node {name} uses {shown}, a name that cannot stand in a config line")
            return replace(node, input=as_printed(descriptor))
    return node


def _node_of(line: str, path: str) -> Node:
    try:
        return _parse_node(line)
    except ValueError as error:
        raise ModelError(f"{path}: the config line {line[:100]!r} is wrong: {error}") from error


def _parse_node(text: str) -> Node:
    """Parses one config line; raises ValueError in one sentence."""
    line = ConfigLine.parse(text)
    if line.first not in _NODE_KINDS:
        raise ValueError(f"{line.first[:40]!r} is not one of {', '.join(_NODE_KINDS)}")
    name = line.take("name")
    if not is_valid_name(name):
        raise ValueError(f"name={name[:40]} is not a valid node name")
    node: Node
    match line.first:
        case "input-node":
            node = InputNode(name, line.take_int("dim"))
        case "component-node":
            node = ComponentNode(name, line.take("component"), parse_descriptor(line.take("input")))
        case "output-node":
            objective = line.values.pop("objective", "linear")
            if objective not in ("linear", "quadratic"):
                raise ValueError(f"objective={objective[:40]} is neither linear nor quadratic")
            node = OutputNode(name, parse_descriptor(line.take("input")), objective)
        case _:
            node = DimRangeNode(name, line.take("input-node"), line.take_int("dim-offset"), line.take_int("dim"))
    line.finish()
    return node
