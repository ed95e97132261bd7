"""Corrupt files, and limits on what answering them may cost."""

import os
import re
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import numpy as np

from kaldi_quant.errors import KaldiQuantError

SECONDS = 10
_MEGABYTE = 1 << 20
LARGEST_GROWTH = 300 * _MEGABYTE
# Address space that is only reserved (threads' stacks, allocators' arenas) counts for the limit, but is not used.
_ADDRESS_SPACE = 4 * LARGEST_GROWTH

_EXTREME = [0, 1, -1, 2, 3, 255, 65536, 10**6, 2**28, 2**31 - 1, -(2**31), 2**30 + 1]
_WORDS = ["0", "-1", "1", "2147483647", "99999999999", "nan", "-inf", "1e38", "[", "]", ")", "T", "", "<Nnet3>", "3.5"]


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    """The file ends too early."""
    return data[: int(rng.integers(len(data)))]


def flip(data: bytes, rng: np.random.Generator) -> bytes:
    """One byte is another."""
    changed = bytearray(data)
    changed[int(rng.integers(len(data)))] = int(rng.integers(256))
    return bytes(changed)


def _flip_bit(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    changed[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _resize(data: bytes, rng: np.random.Generator) -> bytes:
    """An integer of Kaldi's binary form is an extreme one."""
    places = [found.end() for found in re.finditer(rb"\x04", data[:-4])]
    if not places:
        return flip(data, rng)
    place = places[int(rng.integers(len(places)))]
    value = _EXTREME[int(rng.integers(len(_EXTREME)))]
    return data[:place] + value.to_bytes(4, "little", signed=True) + data[place + 4 :]


def _reword(data: bytes, rng: np.random.Generator) -> bytes:
    """A word of a text is another."""
    words = list(re.finditer(rb"[^\s(),=]+", data[:20_000] if rng.random() < 0.7 else data))
    if not words:
        return flip(data, rng)
    word = words[int(rng.integers(len(words)))]
    other = words[int(rng.integers(len(words)))][0]
    new = other if rng.random() < 0.3 else _WORDS[int(rng.integers(len(_WORDS)))].encode()
    return data[: word.start()] + new + data[word.end() :]


def _lose(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes are missing in the middle, or there twice."""
    begin = int(rng.integers(len(data)))
    end = begin + int(rng.integers(1, 100))
    return data[:begin] + data[end:] if rng.random() < 0.5 else data[:end] + data[begin:]


_CORRUPTIONS: list[Callable[[bytes, np.random.Generator], bytes]] = [cut, flip, _flip_bit, _resize, _reword, _lose]


# Most faults are near a file's beginning, where dimensions and names stand, some near its end.
_AT_THE_END = 0.15


def corrupt(data: bytes, seed: int, ways: int = len(_CORRUPTIONS)) -> bytes:
    """The bytes of a file with one seeded fault."""
    rng = np.random.default_rng(seed)
    way = _CORRUPTIONS[int(rng.integers(ways))]
    size = int(min(len(data), 10 ** rng.uniform(1.5, 7)))
    if rng.random() < _AT_THE_END:
        return data[:-size] + way(data[-size:], rng)
    return way(data[:size], rng) + (b"" if way is cut else data[size:])


_CONFIG_WORDS = ["*", "name=", "name=*", "=", "#", "'", '"', "x=1", "rank=3", "bottleneck-dim=2", "\n", "\t", "output"]


def reworded(data: bytes, seed: int) -> bytes:
    """The bytes of a config file, such as one of edits, with one seeded fault: in its words, or anywhere."""
    rng = np.random.default_rng(seed)
    if rng.random() < 1 / 3:
        return corrupt(data, seed)
    words = data.split(b" ")
    place, other = (int(rng.integers(len(words))) for _ in range(2))
    new = _CONFIG_WORDS[int(rng.integers(len(_CONFIG_WORDS)))].encode() if rng.random() < 1 / 2 else words[other]
    words[place : place + int(rng.integers(2))] = [new] if rng.random() < 3 / 4 else []
    return b" ".join(words)


@contextmanager
def limits() -> Iterator[None]:
    """Fails when the block takes more than SECONDS, or more than LARGEST_GROWTH of memory."""
    peak_before = _reset_peak()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + _ADDRESS_SPACE, hard))
    previous = signal.signal(signal.SIGALRM, _too_slow)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    growth = _status("VmHWM") - peak_before
    assert growth < LARGEST_GROWTH, f"{growth / _MEGABYTE:.0f} MB were allocated"


def _too_slow(number: int, frame: FrameType | None) -> NoReturn:
    raise AssertionError(f"no answer after {SECONDS} s")


def _status(field: str) -> int:
    """A size in bytes that the kernel tells of this process."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def _reset_peak() -> int:
    """Sets the peak of the resident memory to what it is now, and returns that."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def answer(action: Callable[[], object], places: tuple[str, ...]) -> str:
    """What an action answers to a corrupt file: "" for a result, else one sentence that names one of ``places``.

    Any other exception, and whatever exceeds the limits, fails the test.
    """
    with limits():
        try:
            action()
        except KaldiQuantError as error:
            sentence = str(error)
            assert any(place in sentence for place in places), f"no place in: {sentence}"
            assert "\n" not in sentence and len(sentence) < 1000, sentence
            return sentence
    return ""


def in_child(action: Callable[[], None]) -> None:
    """Runs an action in a child process, so that a library that aborts or loops ends that and not the tests.

    Fails the test where the child raises, is killed, or takes more than SECONDS.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + _ADDRESS_SPACE, resource.RLIM_INFINITY))
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            action()
            status = 0
        finally:
            os._exit(status)
    _, state = os.waitpid(child, 0)
    assert not os.WIFSIGNALED(state), f"the child was killed by signal {os.WTERMSIG(state)}"
    assert os.WEXITSTATUS(state) == 0, "the child ended with an exception"
