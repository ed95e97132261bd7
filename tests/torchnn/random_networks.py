"""Random networks of ``torch.nn``, small, of every layer and with everything around layers that networks have.

A network is a list of steps, each of which reads values that were made before. It is built while it runs, so that each
step fits what it reads. Weights are of extreme sizes now and then, or zero; modules are shared; values branch and meet
again; operations work in place.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

#: What a value's axes are: (N, C), (N, T, C), (N, C, T) or (N, C, H, W).
LAYOUTS = ("flat", "rows", "sequence", "image")
_MOST_VALUES = 6000


class Function(nn.Module):
    """A step without parameters of its own; ``text`` says what it does."""

    def __init__(self, text: str, compute: Callable[..., Tensor]) -> None:
        super().__init__()
        self.text, self.compute = text, compute

    def forward(self, *values: Tensor) -> Tensor:
        return self.compute(*values)

    def extra_repr(self) -> str:
        return self.text


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, inner: nn.Module, coefficient: float) -> None:
        super().__init__()
        self.inner, self.coefficient = inner, coefficient

    def forward(self, x: Tensor) -> Tensor:
        return x + self.coefficient * self.inner(x)


class Untraceable(nn.Module):
    """Decides by values, so that it cannot be traced; what is within can be."""

    def __init__(self, inner: nn.Module, other: nn.Module) -> None:
        super().__init__()
        self.inner, self.other = inner, other

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        if x.abs().sum() < 0:
            return x
        return self.other(x)


class Causal(nn.Conv1d):
    """A convolution of a subclass, which pads on the left alone."""

    def forward(self, x: Tensor) -> Tensor:
        reach = self.dilation[0] * (self.kernel_size[0] - 1)
        return super().forward(functional.pad(x, (reach, 0)))


class Recurrent(nn.Module):
    """The hidden states of a recurrent module, or the last ones of its last layer; x: (N, T, C)."""

    def __init__(self, rnn: nn.RNNBase, gives_last: bool) -> None:
        super().__init__()
        self.rnn, self.gives_last = rnn, gives_last

    def forward(self, x: Tensor) -> Tensor:
        states, last = self.rnn(x if self.rnn.batch_first else x.transpose(0, 1))
        if self.gives_last:
            return (last[0] if isinstance(last, tuple) else last)[-1]
        return states if self.rnn.batch_first else states.transpose(0, 1)


class Network(nn.Module):
    """Steps one after another.

    Args:
        steps: modules.
        wiring: for each step the values that it reads; value 0 is the input.
    """

    def __init__(self, steps: Sequence[nn.Module], wiring: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)
        self.wiring = list(wiring)

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for step, sources in zip(self.steps, self.wiring, strict=True):
            values.append(step(*[values[source] for source in sources]))
        return values[-1]


@dataclass
class RandomNetwork:
    """A network and what it is called with.

    Args:
        seed: that it was made from.
        network: in test mode.
        example: float32, a batch of two.
        layout: of the example's axes.
    """

    seed: int
    network: Network
    example: Tensor
    layout: str

    def inputs(self, number: int, batch: int = 2) -> list[Tensor]:
        """More inputs of the example's sizes."""
        generator = torch.Generator().manual_seed(self.seed)
        shape = (batch, *self.example.shape[1:])
        return [torch.randn(shape, generator=generator) for _ in range(number)]


def random_networks(
    number: int, first: int = 0, layers: tuple[int, int] = (3, 12), recurrent: bool = False
) -> Iterator[RandomNetwork]:
    """Networks with seeds from ``first`` on."""
    return (random_network(seed, layers, recurrent) for seed in range(first, first + number))


def random_network(seed: int, layers: tuple[int, int] = (3, 12), recurrent: bool = False) -> RandomNetwork:
    """A network that has at least one layer with weights that can be quantized.

    Args:
        seed: the same seed makes the same network.
        layers: the least and the greatest number of steps.
        recurrent: whether it begins with rows, and recurrent modules are among the steps.
    """
    return _Builder(seed, layers, recurrent).build()


class _Builder:
    def __init__(self, seed: int, layers: tuple[int, int], recurrent: bool) -> None:
        self.seed, self.layers, self.recurrent = seed, layers, recurrent
        self.random = random.Random(seed)
        self.steps: list[nn.Module] = []
        self.wiring: list[tuple[int, ...]] = []
        self.values: list[Tensor] = []
        self.layouts: list[str] = []

    def build(self) -> RandomNetwork:
        torch.manual_seed(self.seed)
        layout = "rows" if self.recurrent else self.random.choice(LAYOUTS)
        size = self.random.randint
        shape = {
            "flat": (2, size(2, 8)),
            "rows": (2, size(3, 9), size(2, 8)),
            "sequence": (2, size(1, 6), size(4, 14)),
            "image": (2, size(1, 4), size(4, 8), size(4, 8)),
        }[layout]
        example = torch.randn(shape)
        self.values, self.layouts = [example], [layout]
        wanted = self.random.randint(*self.layers)
        for _ in range(20 * wanted):
            if len(self.steps) >= wanted:
                break
            self._try()
        if not any(_has_weights(step) for step in self.steps):
            self._add(nn.Linear(self.values[-1].shape[-1], 3), (len(self.values) - 1,), self.layouts[-1])
        network = Network(self.steps, self.wiring).eval()
        return RandomNetwork(self.seed, network, example, layout)

    def _try(self) -> None:
        layout = self.layouts[-1]
        kinds = [*_EVERYWHERE, *_OF_LAYOUT[layout]]
        if self.recurrent and layout == "rows":
            kinds.append((_B.cells, 8))
        kind = self.random.choices(kinds, [weight for _, weight in kinds])[0][0]
        last = len(self.values) - 1
        try:
            found = kind(self, self.values[last])
        except (RuntimeError, ValueError):
            # It does not fit.
            return
        if found is not None:
            step, sources, changed = found if isinstance(found, tuple) else (found, (last,), layout)
            self._add(step, sources, changed)

    def _add(self, step: nn.Module, sources: tuple[int, ...], layout: str) -> None:
        _disturb(step, self.random)
        step.eval()
        try:
            with torch.no_grad():
                value = step(*[self.values[source].clone() for source in sources])
        except (RuntimeError, ValueError):
            return
        sound = value.numel() and value.numel() <= _MOST_VALUES and torch.isfinite(value).all()
        if sound and value.dim() == _AXES[layout] and value.abs().max() < 1e6:
            self.steps.append(step)
            self.wiring.append(sources)
            self.values.append(value)
            self.layouts.append(layout)

    # Steps: each returns a module that reads the last value, or (module, what it reads, layout), or None.

    def linear(self, x: Tensor) -> nn.Module:
        return nn.Linear(x.shape[-1], self.random.randint(1, 8), bias=self.random.random() < 0.8)

    def cells(self, x: Tensor) -> nn.Module | tuple:
        pick = self.random
        kind = pick.choice([nn.LSTM, nn.GRU, nn.RNN])
        rnn = kind(
            x.shape[-1],
            pick.randint(1, 6),
            pick.randint(1, 2),
            batch_first=pick.random() < 0.6,
            bidirectional=pick.random() < 0.4,
            bias=pick.random() < 0.8,
        )
        last = pick.random() < 0.1
        return (Recurrent(rnn, last), (len(self.values) - 1,), "flat" if last else "rows")

    def convolution(self, x: Tensor) -> nn.Module:
        return self._convolution(x, self.random.randint(1, 8))

    def _convolution(self, x: Tensor, channels: int, keep: bool = False) -> nn.Module:
        axes, pick = x.dim() - 2, self.random
        kernel = tuple(pick.randint(1, 3) for _ in range(axes))
        groups, inputs = 1, x.shape[1]
        if pick.random() < 0.35:
            groups = pick.choice([number for number in range(1, inputs + 1) if inputs % number == 0])
            channels = inputs if keep else groups * pick.randint(1, 2)
        same = keep or pick.random() < 0.3
        return (nn.Conv1d, nn.Conv2d)[axes - 1](
            inputs,
            channels,
            kernel if pick.random() < 0.5 else kernel[0],
            stride=1 if same else pick.randint(1, 2),
            padding="same" if same else pick.randint(0, 2),
            dilation=pick.randint(1, 2),
            groups=groups,
            bias=pick.random() < 0.7,
            padding_mode=pick.choice(["zeros", "zeros", "zeros", "reflect", "replicate", "circular"]),
        )

    def causal(self, x: Tensor) -> nn.Module:
        return Causal(
            x.shape[1], self.random.randint(1, 6), self.random.randint(1, 3), dilation=self.random.randint(1, 2)
        )

    def transposed(self, x: Tensor) -> nn.Module:
        axes, pick = x.dim() - 2, self.random
        stride = pick.randint(1, 3)
        inputs, groups = x.shape[1], 1
        if pick.random() < 0.3:
            groups = pick.choice([number for number in range(1, inputs + 1) if inputs % number == 0])
        return (nn.ConvTranspose1d, nn.ConvTranspose2d)[axes - 1](
            inputs,
            groups * pick.randint(1, 3),
            tuple(pick.randint(1, 4) for _ in range(axes)),
            stride=stride,
            padding=pick.randint(0, 1),
            output_padding=pick.randint(0, stride - 1),
            dilation=pick.randint(1, 2),
            groups=groups,
            bias=pick.random() < 0.7,
        )

    def batch_norm(self, x: Tensor) -> nn.Module:
        kind = nn.BatchNorm2d if x.dim() == 4 else nn.BatchNorm1d
        return kind(x.shape[1], affine=self.random.random() < 0.8, track_running_stats=self.random.random() < 0.97)

    def usual_block(self, x: Tensor) -> nn.Module:
        """Convolution or fully connected layer, BatchNorm, ReLU, in one order or another."""
        pick = self.random
        layer = self.linear(x) if x.dim() == 2 else self.convolution(x)
        with torch.no_grad():
            channels = layer(x).shape[1]
        norm = nn.BatchNorm2d if x.dim() == 4 else nn.BatchNorm1d
        relu = nn.ReLU(inplace=pick.random() < 0.5)
        order = pick.randint(0, 3)
        if order == 0:
            return nn.Sequential(layer, norm(channels), relu)
        if order == 1:
            return nn.Sequential(layer, relu, norm(channels), nn.Dropout(0.3))
        if order == 2:
            return nn.Sequential(norm(x.shape[1]), layer, relu)
        return nn.Sequential(norm(x.shape[1]), relu, layer)

    def normed_weight(self, x: Tensor) -> nn.Module:
        layer = self.linear(x) if x.dim() == 2 else self.convolution(x)
        if self.random.random() < 0.5:
            return nn.utils.parametrizations.weight_norm(layer)
        return nn.utils.weight_norm(layer)

    def residual(self, x: Tensor) -> nn.Module:
        inner = nn.Linear(x.shape[-1], x.shape[-1]) if x.dim() < 4 and self.random.random() < 0.3 else None
        if inner is None and x.dim() > 2:
            inner = nn.Sequential(self._convolution(x, x.shape[1], keep=True), nn.ReLU(self.random.random() < 0.5))
        return Residual(inner or nn.Linear(x.shape[-1], x.shape[-1]), self.random.choice([1.0, 0.5, -1.0]))

    def untraceable(self, x: Tensor) -> nn.Module:
        inner = nn.Linear(x.shape[-1], x.shape[-1]) if x.dim() < 3 else self._convolution(x, x.shape[1], keep=True)
        other = nn.Sequential(self.linear(x), nn.ReLU(True))
        return Untraceable(inner, other)

    def again(self, x: Tensor) -> tuple | None:
        """A module that was used before, once more."""
        able = [
            step for step in self.steps if isinstance(step, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Sequential | nn.ELU)
        ]
        return (self.random.choice(able), (len(self.values) - 1,), self.layouts[-1]) if able else None

    def activation(self, x: Tensor) -> nn.Module | tuple:
        pick = self.random
        in_place = pick.random() < 0.3
        channels = x.shape[1]
        return pick.choice(
            [
                nn.ReLU(in_place),
                nn.ReLU(),
                Function("relu", functional.relu),
                Function("x.relu()", lambda x: x.relu()),
                Function("relu_", torch.relu_),
                Function("clamp", lambda x: x.clamp(min=0)),
                nn.PReLU(channels),
                nn.PReLU(),
                nn.ELU(inplace=in_place),
                nn.GELU(),
                nn.LeakyReLU(0.1, in_place),
                nn.Sigmoid(),
                nn.Tanh(),
                nn.SiLU(in_place),
                Function("swish", lambda x: x * torch.sigmoid(x)),
                nn.Softmax(dim=1),
                nn.Identity(),
                nn.Dropout(0.2),
            ]
        )

    def glu(self, x: Tensor) -> nn.Module | None:
        return nn.GLU(dim=1) if x.shape[1] % 2 == 0 else None

    def layer_norm(self, x: Tensor) -> nn.Module:
        return nn.LayerNorm(x.shape[-1]) if x.shape[-1] > 1 else nn.Identity()

    def group_norm(self, x: Tensor) -> nn.Module | None:
        groups = [number for number in (1, 2, 3) if x.shape[1] % number == 0]
        return nn.GroupNorm(self.random.choice(groups), x.shape[1]) if x[0, 0].numel() > 1 else None

    def addition(self, x: Tensor) -> tuple | None:
        last, pick = len(self.values) - 1, self.random
        same = [
            i for i, value in enumerate(self.values) if value.shape == x.shape and self.layouts[i] == self.layouts[-1]
        ]
        other = pick.choice(same)
        step = pick.choice(
            [
                Function("x + y", lambda x, y: x + y),
                Function("add", torch.add),
                Function("add, alpha", lambda x, y: torch.add(x, y, alpha=0.5)),
                Function("x - y", lambda x, y: x - y),
                Function("multiples", lambda x, y: 0.3 * x + y * 2.0),
                Function("x / 2 - y", lambda x, y: x / 2 - y),
                Function("x += y", _add_in_place),
                Function("sum", lambda x, y: sum([x, y])),
                Function("x + 1", lambda x, y: x + 1.0),
                Function("x * y", lambda x, y: x * torch.sigmoid(y)),
                Function("x + mean of y", lambda x, y: x + y.mean(dim=-1, keepdim=True)),
            ]
        )
        return step, (last, other), self.layouts[-1]

    def concatenation(self, x: Tensor) -> tuple | None:
        last, layout = len(self.values) - 1, self.layouts[-1]
        axis = self.random.choice(range(1, x.dim()))

        def fits(value: Tensor) -> bool:
            return value.dim() == x.dim() and all(value.shape[a] == x.shape[a] for a in range(x.dim()) if a != axis)

        others = [i for i, value in enumerate(self.values) if self.layouts[i] == layout and fits(value)]
        return Function(f"cat {axis}", lambda *xs: torch.cat(xs, axis)), (self.random.choice(others), last), layout

    def move(self, x: Tensor) -> nn.Module:
        axis = self.random.choice(range(1, x.dim()))
        half = max(1, x.shape[axis] // 2)
        return self.random.choice(
            [
                Function(f"halves of {axis} in turn", lambda x: torch.cat(x.split(half, axis)[::-1], axis)),
                Function(f"chunks of {axis}", lambda x: torch.cat(list(reversed(x.chunk(2, dim=axis))), dim=axis)),
                Function(f"first of {axis}", lambda x: x.narrow(axis, 0, half)),
                Function("all but one", lambda x: x[..., 1:]),
                Function("flip", lambda x: x.flip(-1)),
                Function("clone", lambda x: x.clone().contiguous()),
                Function("pad", lambda x: functional.pad(x, (1, 2))),
                Function("pad with ones", lambda x: functional.pad(x, (1, 0), value=1.0)),
                Function("there and back", lambda x: x.unsqueeze(1).squeeze(1).transpose(1, -1).transpose(-1, 1)),
                Function("reshaped", lambda x: x.reshape(x.shape[0], -1).view(x.size())),
            ]
        )

    def max_pool(self, x: Tensor) -> nn.Module:
        pick = self.random
        if pick.random() < 0.2:
            return (nn.AdaptiveMaxPool1d(2), nn.AdaptiveMaxPool2d((2, 3)))[x.dim() - 3]
        kind = (nn.MaxPool1d, nn.MaxPool2d)[x.dim() - 3]
        return kind(pick.randint(2, 3), stride=pick.choice([None, 1, 2]), padding=pick.randint(0, 1))

    def average_pool(self, x: Tensor) -> nn.Module:
        if self.random.random() < 0.3:
            return (nn.AdaptiveAvgPool1d(2), nn.AdaptiveAvgPool2d(2))[x.dim() - 3]
        return (nn.AvgPool1d, nn.AvgPool2d)[x.dim() - 3](2)

    def upsample(self, x: Tensor) -> nn.Module:
        if self.random.random() < 0.5:
            return nn.Upsample(scale_factor=2, mode="nearest")
        return Function("interpolate", lambda x: functional.interpolate(x, scale_factor=1.5, mode="nearest"))

    def padding(self, x: Tensor) -> nn.Module:
        pick = self.random
        if x.dim() == 3:
            return pick.choice(
                [nn.ReflectionPad1d(1), nn.ReplicationPad1d((1, 0)), nn.ConstantPad1d(1, 0.0), nn.ZeroPad1d(2)]
            )
        return pick.choice([nn.ZeroPad2d(1), nn.ReflectionPad2d((1, 0, 0, 1)), nn.ConstantPad2d(1, 0.5)])

    def pixel_shuffle(self, x: Tensor) -> nn.Module | None:
        return nn.PixelShuffle(2) if x.shape[1] % 4 == 0 else nn.ChannelShuffle(1)

    def to_rows(self, x: Tensor) -> tuple:
        last = (len(self.values) - 1,)
        if x.dim() == 3:
            return Function("transpose", lambda x: x.transpose(1, 2)), last, "rows"
        return Function("rows", lambda x: x.flatten(2).permute(0, 2, 1)), last, "rows"

    def to_sequence(self, x: Tensor) -> tuple:
        return Function("transpose", lambda x: x.transpose(1, 2).contiguous()), (len(self.values) - 1,), "sequence"

    def to_image(self, x: Tensor) -> tuple:
        return Function("one channel", lambda x: x.unsqueeze(1)), (len(self.values) - 1,), "image"

    def to_flat(self, x: Tensor) -> tuple:
        step = self.random.choice(
            [
                nn.Flatten(),
                Function("last", lambda x: x[..., -1].flatten(1)),
                Function("mean", lambda x: x.mean(-1).flatten(1)),
            ]
        )
        return step, (len(self.values) - 1,), "flat"


_B = _Builder
_EVERYWHERE = [
    (_B.activation, 5),
    (_B.addition, 4),
    (_B.concatenation, 2),
    (_B.move, 2),
    (_B.again, 2),
    (_B.residual, 1),
    (_B.untraceable, 0.5),
    (_B.linear, 2),
    (_B.batch_norm, 3),
    (_B.layer_norm, 1),
    (_B.group_norm, 1),
    (_B.glu, 1),
]
_CONVOLUTIONAL = [
    (_B.convolution, 6),
    (_B.transposed, 3),
    (_B.usual_block, 5),
    (_B.normed_weight, 1),
    (_B.max_pool, 1),
    (_B.average_pool, 1),
    (_B.upsample, 1),
    (_B.padding, 1),
    (_B.to_rows, 1),
    (_B.to_flat, 0.5),
]
_OF_LAYOUT = {
    "flat": [(_B.linear, 4), (_B.usual_block, 4), (_B.normed_weight, 1)],
    "rows": [(_B.linear, 6), (_B.to_sequence, 2), (_B.to_image, 1), (_B.to_flat, 0.5)],
    "sequence": [*_CONVOLUTIONAL, (_B.causal, 1)],
    "image": [*_CONVOLUTIONAL, (_B.pixel_shuffle, 1)],
}
_AXES = {"flat": 2, "rows": 3, "sequence": 3, "image": 4}


def _add_in_place(x: Tensor, y: Tensor) -> Tensor:
    x = x * 1.0
    x += y
    return x


def _has_weights(module: nn.Module) -> bool:
    kinds = nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d
    return any(isinstance(part, kinds) for part in module.modules())


@torch.no_grad()
def _disturb(step: nn.Module, pick: random.Random) -> None:
    """Weights of extreme sizes now and then, rows of zeros, and what BatchNorm has learned."""
    for module in step.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            if module.running_mean is not None:
                module.running_mean.normal_()
                module.running_var.uniform_(0.2, 2.0)
                if pick.random() < 0.2:
                    module.running_var.mul_(torch.pow(10.0, torch.randint(-4, 3, module.running_var.shape)))
            if module.weight is not None:
                module.weight.uniform_(0.3, 1.5)
                module.bias.normal_()
                if pick.random() < 0.2:
                    module.weight.normal_()
                if pick.random() < 0.1:
                    module.weight[0] = 0.0
        elif _has_weights(module) and hasattr(module, "weight") and isinstance(module.weight, nn.Parameter):
            if pick.random() < 0.15:
                shape = (len(module.weight),) + (1,) * (module.weight.dim() - 1)
                module.weight.mul_(torch.pow(10.0, torch.randint(-3, 2, shape)))
            if pick.random() < 0.15:
                module.weight[0] = 0.0
