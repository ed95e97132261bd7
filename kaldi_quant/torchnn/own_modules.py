"""Modules of torch that hide their products are replaced by modules that compute the same and can be traced."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from kaldi_quant.torchnn.attention import Attention
from kaldi_quant.torchnn.calls import Call, tensors_in
from kaldi_quant.torchnn.recurrent import RecurrentCell, RecurrentStack
from kaldi_quant.torchnn.transformer import own_kind
from kaldi_quant.torchnn.variants import FAILURES

#: The attribute of a module of torch that says why it stays in float.
REASON = "float_reason"

# How far what a network computes may be from what it computed before, as a share of its largest value.
_TOLERANCE = 1e-4


def with_own_modules(network: nn.Module, call: Call) -> nn.Module:
    """The network with its recurrent modules and attentions replaced; those that cannot be have their ``REASON``.

    Args:
        network: in test mode; it is changed.
        call: an example of how it is called.
    """
    found = {module: _own(module) for module in network.modules()}
    makers = {module: make for module, make in found.items() if make is not None}
    for module in found:
        if isinstance(module, nn.RNNBase) and module not in makers:
            setattr(module, REASON, "its class has a forward of its own")
    if not makers:
        return network
    reasons = _reasons(network, call, makers)
    made = {module: makers[module]().eval() for module, reason in reasons.items() if not reason}
    if not _computes_the_same(network, made, call):
        # One after the other, to find those that cannot be.
        wanted, made = made, {}
        for module, new in wanted.items():
            if _computes_the_same(network, {**made, module: new}, call):
                made[module] = new
            else:
                reasons[module] = "the network does not compute the same with another module in its place"
    for module, reason in reasons.items():
        if reason:
            setattr(module, REASON, reason)
    return _replaced(network, made)


def float_reasons(module: nn.Module) -> dict[str, str]:
    """For the modules within a module that stay in float, by path, the reasons."""
    return {path: getattr(inner, REASON) for path, inner in module.named_modules() if REASON in vars(inner)}


def is_packed(call: Call) -> bool:
    """Whether an argument of a call is a packed sequence."""
    return any(isinstance(value, PackedSequence) for value in (*call.args, *call.kwargs.values()))


def _own(module: nn.Module) -> Callable[[], nn.Module] | None:
    """What makes the module that can take a module's place."""
    computes = type(module).forward
    if isinstance(module, nn.RNNBase) and computes in (nn.LSTM.forward, nn.GRU.forward, nn.RNN.forward):
        return lambda: RecurrentStack(module)
    if isinstance(module, nn.LSTMCell) and computes is nn.LSTMCell.forward:
        return lambda: RecurrentCell(module, "LSTM")
    if isinstance(module, nn.GRUCell) and computes is nn.GRUCell.forward:
        return lambda: RecurrentCell(module, "GRU")
    if isinstance(module, nn.RNNCell) and computes is nn.RNNCell.forward:
        return lambda: RecurrentCell(module, f"RNN_{module.nonlinearity.upper()}")
    if isinstance(module, nn.MultiheadAttention) and computes is nn.MultiheadAttention.forward:
        return lambda: Attention(module)
    own = own_kind(module)
    return None if own is None else lambda: own(module)


def _reasons(network: nn.Module, call: Call, modules: Mapping[nn.Module, object]) -> dict[nn.Module, str]:
    """For the modules that are called why they cannot be replaced; empty for those that can."""
    called, packed = _called(network, call)
    found = {}
    for path, module in network.named_modules():
        if module in modules and path in called:
            found[module] = "it is given packed sequences" if path in packed else ""
            if getattr(module, "proj_size", 0):
                found[module] = "its hidden states are projected (proj_size)"
            if getattr(module, "bias_k", None) is not None or getattr(module, "add_zero_attn", False):
                found[module] = "it attends to more than it is given (add_bias_kv, add_zero_attn)"
            if module._forward_hooks or module._forward_pre_hooks:
                found[module] = "it has hooks"
    return found


def _called(network: nn.Module, call: Call) -> tuple[set[str], set[str]]:
    """The paths of modules that are called, and of those that are given packed sequences."""
    copied = copy.deepcopy(network)
    called: set[str] = set()
    packed: set[str] = set()

    def recorder(path: str) -> Callable[..., None]:
        def record(_: nn.Module, args: tuple, kwargs: dict) -> None:
            called.add(path)
            if is_packed(Call(args, kwargs)):
                packed.add(path)

        return record

    for path, module in copied.named_modules():
        module.register_forward_pre_hook(recorder(path), with_kwargs=True)
    _run(copied, call)
    return called, packed


def _run(network: nn.Module, call: Call) -> list[torch.Tensor]:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return tensors_in(call.copied().run(network))


def _computes_the_same(network: nn.Module, made: Mapping[nn.Module, nn.Module], call: Call) -> bool:
    """Whether the network does with other modules in the place of its own."""
    expected = _run(copy.deepcopy(network), call)
    # Together, as what takes a module's place may have others within it that are replaced, too.
    copied, copies = copy.deepcopy((network, dict(made)))
    try:
        found = _run(_replaced(copied, copies), call)
    except FAILURES:
        return False
    return len(found) == len(expected) and all(
        x.shape == y.shape and bool(((x - y).abs() <= _TOLERANCE * y.abs().max()).all())
        for x, y in zip(found, expected, strict=True)
        if x.is_floating_point() and y.is_floating_point() and y.numel()
    )


def _replaced(network: nn.Module, made: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """The network with some modules in the place of others."""
    for parent in list(network.modules()):
        for name, child in parent._modules.items():
            if child is not None and child in made:
                parent._modules[name] = made[child]
    return made.get(network, network)
