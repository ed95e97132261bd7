"""``torch.nn``'s encoders and decoders of attention, written so that their layers can be traced.

Torch's own modules decide by the values of masks, and hide whole layers in one function. Dropout does nothing at
inference.

Source: A. Vaswani et al., "Attention is all you need", NeurIPS 2017; R. Xiong et al., "On layer normalization in the
transformer architecture", ICML 2020 (``norm_first``).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from kaldi_quant.torchnn.attention import Attention
from kaldi_quant.torchnn.recurrent import options_of

Layers = nn.TransformerEncoderLayer | nn.TransformerDecoderLayer


class _Layer(nn.Module):
    """What layers of encoders and decoders have in common.

    Args:
        module: whose parts and options it has.
    """

    self_attn: nn.Module
    linear1: nn.Module
    linear2: nn.Module
    norm1: nn.Module
    norm2: nn.Module
    norm_first: bool
    activation: Any

    def __init__(self, module: Layers) -> None:
        super().__init__()
        for name, value in options_of(module):
            setattr(self, name, value)
        for name, child in module.named_children():
            setattr(self, name, Attention(child) if isinstance(child, nn.MultiheadAttention) else child)

    def _attended(self, attention: nn.Module, x: Tensor, memory: Tensor, mask: Any, padding: Any) -> Tensor:
        result, _ = attention(x, memory, memory, key_padding_mask=padding, need_weights=False, attn_mask=mask)
        return result

    def _fed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.activation(self.linear1(x)))


class EncoderLayer(_Layer):
    """As ``torch.nn.TransformerEncoderLayer`` in test mode."""

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """As of torch's module; ``is_causal``, a hint about the mask, is not needed here."""
        x, masks = src, (src_mask, src_key_padding_mask)
        if self.norm_first:
            normed = self.norm1(x)
            x = x + self._attended(self.self_attn, normed, normed, *masks)
            return x + self._fed_forward(self.norm2(x))
        x = self.norm1(x + self._attended(self.self_attn, x, x, *masks))
        return self.norm2(x + self._fed_forward(x))


class DecoderLayer(_Layer):
    """As ``torch.nn.TransformerDecoderLayer`` in test mode."""

    multihead_attn: nn.Module
    norm3: nn.Module

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """As of torch's module; the hints about masks are not needed here."""
        x, own = tgt, (tgt_mask, tgt_key_padding_mask)
        other = (memory_mask, memory_key_padding_mask)
        if self.norm_first:
            normed = self.norm1(x)
            x = x + self._attended(self.self_attn, normed, normed, *own)
            x = x + self._attended(self.multihead_attn, self.norm2(x), memory, *other)
            return x + self._fed_forward(self.norm3(x))
        x = self.norm1(x + self._attended(self.self_attn, x, x, *own))
        x = self.norm2(x + self._attended(self.multihead_attn, x, memory, *other))
        return self.norm3(x + self._fed_forward(x))


class _Stack(nn.Module):
    """Layers one after another.

    Args:
        module: whose layers it has, and whose norm at the end, if that has one.
    """

    norm: nn.Module | None

    def __init__(self, module: nn.TransformerEncoder | nn.TransformerDecoder) -> None:
        super().__init__()
        for name, value in options_of(module):
            setattr(self, name, value)
        self.layers = nn.ModuleList(with_own_layer(layer) for layer in module.layers)
        self.norm = module.norm

    def _through(self, x: Tensor, *others: Tensor, **masks: Any) -> Tensor:
        for layer in self.layers:
            x = layer(x, *others, **masks)
        return x

    def _normed(self, x: Tensor) -> Tensor:
        return x if self.norm is None else self.norm(x)


class Encoder(_Stack):
    """As ``torch.nn.TransformerEncoder`` in test mode.

    With ``use_nested_tensor`` torch leaves padding out of all sequences that end in it, and gives zeros there.
    """

    use_nested_tensor: bool

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """As of torch's module; ``is_causal``, a hint about the mask, is not needed here."""
        x = self._through(src, src_mask=mask, src_key_padding_mask=src_key_padding_mask)
        if self.use_nested_tensor and mask is None and src_key_padding_mask is not None:
            padding = src_key_padding_mask
            x = x.masked_fill((padding != 0 if padding.is_floating_point() else padding).unsqueeze(-1), 0.0)
        return self._normed(x)


class Decoder(_Stack):
    """As ``torch.nn.TransformerDecoder`` in test mode."""

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """As of torch's module; the hints about masks are not needed here."""
        x = self._through(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
        )
        return self._normed(x)


#: For modules of torch what takes their place.
OWN: dict[type[nn.Module], type[nn.Module]] = {
    nn.TransformerEncoderLayer: EncoderLayer,
    nn.TransformerDecoderLayer: DecoderLayer,
    nn.TransformerEncoder: Encoder,
    nn.TransformerDecoder: Decoder,
}


def own_kind(module: nn.Module) -> type[nn.Module] | None:
    """What can take a module's place: none for those of others, and of subclasses with a ``forward`` of their own."""
    found = [own for kind, own in OWN.items() if isinstance(module, kind) and type(module).forward is kind.forward]
    return found[0] if found else None


def with_own_layer(layer: nn.Module) -> nn.Module:
    """The layer, or what takes its place."""
    own = own_kind(layer)
    return layer if own is None else own(layer)
