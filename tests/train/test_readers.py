"""Processes that read examples: the same minibatches whatever their number, and none is left behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.cores import helpers
from kaldi_quant.errors import DataError, FormatError, UsageError
from kaldi_quant.kaldi.egs import EgsOptions, read_examples
from kaldi_quant.nnet3.chain.arc_layout import ArcLayout, PaddedLayout, Places
from kaldi_quant.nnet3.training.example_arrays import ExampleArrays, ExpectedExample, Wanted
from kaldi_quant.nnet3.training.example_readers import ExampleReaders

EXPECTED = ExpectedExample(40, 0, ("output",), 208, 0, 0, False)


@pytest.fixture(scope="module")
def archive(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first examples of the example, enough for several minibatches of two lengths, and some that are left over."""
    end = b"</Nnet3ChainEg> "
    parts = (example / "exp/chain/tdnn1a_sp/egs/valid_diagnostic.cegs").read_bytes().split(end, 40)
    path = tmp_path_factory.mktemp("egs") / "cegs.1.ark"
    path.write_bytes(b"".join(part + end for part in parts[:40]))
    assert len(list(read_examples(f"ark:{path}"))) == 40
    return path


def wanted(path: Path, minibatch_size: str = "6", srand: int = 1, **changed: object) -> Wanted:
    return replace(Wanted(f"ark:{path}", EgsOptions(minibatch_size, 1, 8, srand), EXPECTED), **changed)


@pytest.fixture
def readers() -> Iterator[Callable[[int], ExampleReaders]]:
    made: list[ExampleReaders] = []

    def make(number: int) -> ExampleReaders:
        made.append(ExampleReaders(number))
        return made[-1]

    yield make
    for each in made:
        each.close()


def contents(found: Iterator[ExampleArrays | None]) -> list[tuple[object, ...]]:
    """All that minibatches hold, to the bit."""
    return [
        ()
        if one is None
        else (
            one.key,
            one.span,
            one.output,
            *(
                None if part is None else (part.dtype.str, part.shape, part.tobytes())
                for part in (one.feats, one.ivectors, one.output_times, one.deriv_weights, *_arrays(one.arcs))
            ),
        )
        for one in found
    ]


def _arrays(arcs: ArcLayout | PaddedLayout) -> list[np.ndarray]:
    values = [
        part
        for value in vars(arcs).values()
        for part in (vars(value).values() if isinstance(value, Places) else [value])
    ]
    return [np.asarray(value) for value in values]


def _is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def assert_end(processes: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(map(_is_alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(_is_alive, processes))


def test_minibatches_do_not_depend_on_the_number_of_processes(
    archive: Path, readers: Callable[[int], ExampleReaders]
) -> None:
    """Fewer processes than minibatches, and more; of two passes, of which the second is read ahead."""
    first, second = wanted(archive), wanted(archive, "5", 2, padded=True, rank=1, size=3)
    expected = [contents(given.read()) for given in (first, second)]
    assert len(expected[0]) > 3 and expected[0] != expected[1]
    for number in (2, 5):
        several = readers(number)
        assert contents(several.read(first, following=second)) == expected[0]
        pids = [process.pid for process in several._processes]
        assert len(pids) == number
        assert contents(several.read(second)) == expected[1]
        assert [process.pid for process in several._processes] == pids
        several.close()
        assert_end(pids)


def test_a_process_may_have_no_share(archive: Path, readers: Callable[[int], ExampleReaders]) -> None:
    given = wanted(archive, rank=7, size=8)
    assert contents(readers(2).read(given)) == contents(given.read()) == [()] * len(list(given.read()))


def test_what_was_read_ahead_and_is_not_wanted_is_forgotten(
    archive: Path, readers: Callable[[int], ExampleReaders]
) -> None:
    first, second, other = (wanted(archive, srand=srand) for srand in (1, 2, 3))
    pair = readers(2)
    for given, following in ((first, second), (other, None)):
        assert contents(pair.read(given, following)) == contents(given.read())


def test_abandoned_reading_ends_the_processes(archive: Path, readers: Callable[[int], ExampleReaders]) -> None:
    pair, given = readers(2), wanted(archive)
    reading = pair.read(given)
    next(reading)
    pids = [process.pid for process in pair._processes]
    reading.close()
    assert_end(pids)
    assert contents(pair.read(given)) == contents(given.read())


def test_who_forgets_readers_ends_them(archive: Path) -> None:
    pair = ExampleReaders(2)
    list(pair.read(wanted(archive)))
    pids = [process.pid for process in pair._processes]
    assert all(map(_is_alive, pids))
    del pair
    assert_end(pids)


@pytest.mark.parametrize("truncated", [True, False])
def test_an_error_is_the_one_of_a_single_process(
    archive: Path, tmp_path: Path, readers: Callable[[int], ExampleReaders], truncated: bool
) -> None:
    """A truncated archive, and one with a broken example in the middle."""
    data = archive.read_bytes()
    broken = tmp_path / "broken.ark"
    place = data.index(b"<LabelDim>", len(data) // 2)
    broken.write_bytes(data[: len(data) // 2] if truncated else data[:place] + b"<Label>" + data[place + 10 :])
    given = wanted(broken)
    messages, counts = [], []
    for found in (given.read(), readers(3).read(given)):
        count = 0
        with pytest.raises(DataError) as raised:
            for _ in found:
                count += 1
        messages.append(str(raised.value))
        counts.append(count)
    assert len(set(messages)) == len(set(counts)) == 1 and messages[0].startswith("example ") and counts[0] > 0


def test_errors_of_content_name_the_example(
    archive: Path, tmp_path: Path, readers: Callable[[int], ExampleReaders]
) -> None:
    """A label of no pdf is found when the minibatch is made, also in examples that are in none."""
    broken = tmp_path / "broken.ark"
    data = archive.read_bytes()
    broken.write_bytes(data.replace(b"<LabelDim> \4\xd0\0\0\0", b"<LabelDim> \4\x05\0\0\0"))
    sentence = rf"^example \S+: {broken}, byte \d+: a label of the supervision's FST is not one of the 5 pdfs$"
    given = replace(wanted(broken), expected=replace(EXPECTED, output_dim=5))
    too_few = replace(given, options=replace(given.options, minibatch_size="50"))
    for found in (given.read(), too_few.read(), readers(2).read(given)):
        with pytest.raises(DataError, match=sentence):
            list(found)


def test_examples_of_another_model(archive: Path, readers: Callable[[int], ExampleReaders]) -> None:
    given = replace(wanted(archive), expected=replace(EXPECTED, output_dim=207))
    with pytest.raises(DataError, match=r"^example \S+: it was made for 208 pdfs, and the model has 207"):
        list(readers(2).read(given))


def test_missing_files_and_refused_commands(tmp_path: Path, readers: Callable[[int], ExampleReaders]) -> None:
    with pytest.raises(FormatError, match=f"^{tmp_path}/none.ark: cannot be read: No such file or directory$") as error:
        list(readers(1).read(wanted(tmp_path / "none.ark")))
    assert error.value.path == f"{tmp_path}/none.ark" and error.value.offset is None
    with pytest.raises(UsageError, match=r"the command 'cat x\|' is not run"):
        list(readers(1).read(replace(wanted(tmp_path), rspecifier="ark:cat x|")))


def test_a_process_that_is_killed_is_an_error(archive: Path, readers: Callable[[int], ExampleReaders]) -> None:
    pair = readers(2)
    reading = pair.read(wanted(archive))
    next(reading)
    os.kill(pair._processes[1].pid, signal.SIGKILL)
    with pytest.raises(DataError, match=r"a process that reads examples was ended by signal SIGKILL"):
        list(reading)


def test_what_is_said_is_said_once(
    archive: Path, readers: Callable[[int], ExampleReaders], caplog: pytest.LogCaptureFixture
) -> None:
    """Here that many examples are lost."""
    with caplog.at_level(logging.INFO, "kaldi_quant"):
        list(readers(3).read(wanted(archive, "7")))
    told = [line for line in caplog.messages if line.startswith("Merged specific eg types")]
    assert len(told) == 1


def test_processes_end_with_whoever_has_started_them(archive: Path) -> None:
    script = f"""
import os, signal
from kaldi_quant.kaldi.egs import EgsOptions
from kaldi_quant.nnet3.training.example_arrays import ExpectedExample, Wanted
from kaldi_quant.nnet3.training.example_readers import ExampleReaders
readers = ExampleReaders(2)
reading = readers.read(Wanted("ark:{archive}", EgsOptions("6"), {EXPECTED!r}))
next(reading)
print(*(process.pid for process in readers._processes), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    run = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=False)
    pids = [int(word) for word in run.stdout.split()]
    assert run.returncode == -signal.SIGKILL and len(pids) == 2
    assert_end(pids)


def test_processes_that_read_are_small() -> None:
    """They do without torch."""
    script = "import kaldi_quant.nnet3.training.example_reader, sys; print({'torch', 'scipy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "set()\n"


def test_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kaldi_quant.cores.cores", lambda: 16)
    assert [helpers(8), helpers(8, 4), helpers(8, 16), helpers(8, 0)] == [8, 3, 1, 8]
    monkeypatch.setattr("kaldi_quant.cores.cores", lambda: 1)
    assert helpers(8) == 1
