"""ST Edge AI, which makes C code of a network and tells what it needs on a board; called where it is installed."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.enhancement.zoo.board_sections import Stedgeai

_log = logging.getLogger(__name__)
PROGRAM = "stedgeai"
FOLDER_NAME, _REPORT = "stm32ai_files", "network_report.json"
# Boards with a processor for neural networks have a target of their own.
_ACCELERATED, _PLAIN = "stm32n6", "stm32"
_SECONDS = 1800


@dataclass(frozen=True)
class Footprint:
    """What the program tells of a network.

    Args:
        activations: bytes of RAM.
        weights: bytes of flash memory.
        operations: multiply-accumulates.
    """

    activations: int
    weights: int
    operations: int


def find_program(asked: Stedgeai) -> Path | None:
    """The program: as ``path_to_stedgeai`` says, or on the PATH; None where it is missing, which is told."""
    if asked.on_cloud:
        _log.warning("tools.stedgeai.on_cloud: ST's developer cloud is not called from here")
    given = asked.path_to_stedgeai
    if given and Path(given).expanduser().is_file():
        return Path(given).expanduser()
    found = shutil.which(PROGRAM)
    if found is None:
        _log.warning(
            "%s is not on the PATH%s: install ST Edge AI Core to measure and build for a board",
            PROGRAM,
            f", and there is no {given}" if given else "",
        )
        return None
    return Path(found)


def is_accelerated(board: str) -> bool:
    """Whether a board or a series has a processor for neural networks."""
    return board.casefold().startswith(_ACCELERATED)


def generate(program: Path, model: Path, board: str, asked: Stedgeai, out: Path) -> Footprint | None:
    """Makes C code of a network.

    Args:
        program: from ``find_program``.
        model: the network, of a fixed number of frames.
        board: it is for.
        asked: how.
        out: folder for code and reports.

    Returns:
        what the report tells; None where it has no such numbers.

    Raises:
        DataError: the program fails; says what it said last.
    """
    version = _called([str(program), "--version"])
    if asked.version and asked.version not in version:
        _log.warning("tools.stedgeai.version is %s, but %s says: %s", asked.version, program, version.strip())
    out.mkdir(parents=True, exist_ok=True)
    words = [str(program), "generate", "--target", _ACCELERATED if is_accelerated(board) else _PLAIN]
    words += ["-m", str(model.absolute()), "--output", str(out.absolute()), "--workspace", str(out.absolute())]
    words += ["--optimization", asked.optimization]
    words += ["--st-neural-art"] if is_accelerated(board) else ["--allocate-inputs", "--allocate-outputs"]
    _log.info("%s", " ".join(words))
    _called(words)
    return _footprint(out / _REPORT)


def _called(words: list[str]) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except OSError as error:
        raise DataError(f"{words[0]} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{words[0]} has not ended after {_SECONDS} s") from error
    if done.returncode:
        last = ((done.stderr.strip() or done.stdout.strip()).splitlines() or ["nothing"])[-1]
        raise DataError(f"{words[0]} ended with status {done.returncode}, and said: {last}")
    return done.stdout


def _footprint(report: Path) -> Footprint | None:
    try:
        found = json.loads(report.read_text("utf-8"))
        ram = found["ram_size"]
        # Older versions list parts, the first of which is that of activations.
        activations = ram[0] if isinstance(ram, list) else ram
        return Footprint(int(activations), int(found["rom_size"]), int(found["rom_n_macc"]))
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        _log.warning("%s does not tell what the network needs", report)
        return None
