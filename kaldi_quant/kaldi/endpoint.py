"""When an utterance that is still going on has ended, by Kaldi's rules.

Source: ``src/online2/online-endpoint.h``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.parse_options import Defaults, integers
from kaldi_quant.units import Seconds

_PREFIX = "endpoint."


@dataclass(frozen=True)
class EndpointRule:
    """An utterance has ended where all of this holds.

    Attributes:
        must_contain_nonsilence: something was said.
        min_trailing_silence: it ends with so much silence.
        max_relative_cost: a final state costs so much more than the best one, at most.
        min_utterance_length: it is so long.
    """

    must_contain_nonsilence: bool = True
    min_trailing_silence: Seconds = 1.0
    max_relative_cost: float = math.inf
    min_utterance_length: Seconds = 0.0

    def applies(self, length: Seconds, trailing_silence: Seconds, relative_cost: float) -> bool:
        """Whether all of it holds.

        Args:
            length: of the utterance so far.
            trailing_silence: that it ends with.
            relative_cost: of final states.
        """
        return (
            (length > trailing_silence or not self.must_contain_nonsilence)
            and trailing_silence >= self.min_trailing_silence
            and relative_cost <= self.max_relative_cost
            and length >= self.min_utterance_length
        )


@dataclass(frozen=True)
class EndpointConfig:
    """The rules, any of which ends an utterance.

    Attributes:
        silence_phones: phones of silence, such as ``1:2:3``.
        rule1: after 5 s of silence, whatever was said.
        rule2: after 0.5 s of silence in a state that is final with good probability.
        rule3: after 1 s of silence in one that is final with some probability.
        rule4: after 2 s of silence.
        rule5: after 20 s.
    """

    silence_phones: str = ""
    rule1: EndpointRule = EndpointRule(False, 5.0)
    rule2: EndpointRule = EndpointRule(True, 0.5, 2.0)
    rule3: EndpointRule = EndpointRule(True, 1.0, 8.0)
    rule4: EndpointRule = EndpointRule(True, 2.0)
    rule5: EndpointRule = EndpointRule(False, 0.0, math.inf, 20.0)

    def __post_init__(self) -> None:
        self.silence()
        for name, rule in self._rules().items():
            values = (rule.min_trailing_silence, rule.max_relative_cost, rule.min_utterance_length)
            if any(math.isnan(value) for value in values):
                raise UsageError(f"--{_PREFIX}{name}: a value is not a number")

    def _rules(self) -> dict[str, EndpointRule]:
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name.startswith("rule")}

    def silence(self) -> frozenset[int]:
        """The phones of silence.

        Raises:
            UsageError: they are no integers.
        """
        return frozenset(integers(self.silence_phones.replace(",", ":"), f"{_PREFIX}silence-phones"))

    def has_ended(self, length: Seconds, trailing_silence: Seconds, relative_cost: float) -> bool:
        """Whether an utterance has ended; arguments as of ``EndpointRule.applies``."""
        return any(rule.applies(length, trailing_silence, relative_cost) for rule in self._rules().values())

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> EndpointConfig:
        """The rules that options state, by Kaldi's names; what they do not state has its default.

        Raises:
            UsageError: a value is impossible.
        """
        default = cls()
        rules = {}
        for name, rule in default._rules().items():
            stated = {
                field.name: values.get(_option(name, field.name), getattr(rule, field.name)) for field in fields(rule)
            }
            rules[name] = EndpointRule(**stated)
        return cls(values.get(f"{_PREFIX}silence-phones", default.silence_phones), **rules)


def endpoint_options() -> Defaults:
    """Kaldi's names of all options, with their defaults."""
    default = EndpointConfig()
    own = {
        _option(name, field.name): getattr(rule, field.name)
        for name, rule in default._rules().items()
        for field in fields(rule)
    }
    return {f"{_PREFIX}silence-phones": default.silence_phones, **own}


def _option(rule: str, field: str) -> str:
    return f"{_PREFIX}{rule}.{field.replace('_', '-')}"
