"""The group of all verbs. A verb's module is imported when the verb is called, so that ``--help`` answers at once.

Everything that a user can cause becomes one sentence on standard error and exit status 1; a command line that cannot be
understood is answered by what is allowed and exit status 2. ``--debug`` shows the traceback.
"""

import importlib
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import click

from kaldi_quant import __version__
from kaldi_quant.cli.options import describe_options
from kaldi_quant.cores import prepare_libraries
from kaldi_quant.errors import KaldiQuantError, out_of_memory
from kaldi_quant.forked import run_forked, why_not_fork
from kaldi_quant.job_log import command_line, first_lines, last_lines
from kaldi_quant.processes import TerminatedError, describe_status, signals_raise

# verb → what it does; the module is kaldi_quant.cli.<verb> with _ for -.
VERBS = {
    "info": "Print a model's structure, dimensions, context and size (like nnet3-am-info).",
    "copy": "Copy a model, in binary or text form (like nnet3-am-copy).",
    "make-mfcc": "Compute MFCC features from wav files (like compute-mfcc-feats).",
    "compute-cmvn-stats": "Compute statistics that normalise features (like compute-cmvn-stats).",
    "extract-ivectors": "Extract online i-vectors (like ivector-extract-online2).",
    "transcribe": "Print the words that are said in audio files.",
    "forward": "Compute log-likelihoods (like nnet3-compute).",
    "calibrate": "Measure activation ranges on calibration data.",
    "quantize": "Make an integer model from a trained float model, without further training.",
    "export": "Convert an integer model for Kaldi, Vosk and onnxruntime.",
    "sensitivity": "Measure how much the quantization of each layer costs.",
    "search": "Choose the bit width of each layer under a size or loss budget.",
    "compose-graph": "Compose a look-ahead graph into one HCLG.fst (like mkgraph_lookahead.sh --compose-graph).",
    "decode": "Decode log-likelihoods into lattices (like latgen-faster-mapped).",
    "score": "Score lattices for a range of language-model weights and word insertion penalties.",
    "compare": "Compare decode folders, or scores of other tasks: significance tests, size and speed.",
    "compare-trainings": "Compare training methods by the mean WER of several models each.",
    "report": "Write an HTML page about quantized models.",
    "train": "Fine-tune a float model with LF-MMI on Kaldi's examples.",
    "qat": "Make an integer model by quantization-aware training.",
    "chain-prob": "Print the chain objective of examples (like nnet3-chain-compute-prob).",
}
_log = logging.getLogger(__name__)

_EXIT_FAILED, _EXIT_USAGE, _EXIT_INTERRUPTED = 1, 2, 130
# Under which name errors are reported, and whether with their traceback.
_PROGRAM: ContextVar[tuple[str, bool]] = ContextVar("the program", default=("kaldi-quant", False))


class _ReportedError(Exception):
    """A part of the command has failed, and said why."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _PartError(KaldiQuantError):
    """A part of the command was ended from outside."""


class VerbGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order of the work."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the module of a verb; None for an unknown one."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"kaldi_quant.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        command.name = cmd_name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs in ``--help``, without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=VerbGroup, subcommand_metavar="VERB [OPTIONS] [ARGUMENTS]", context_settings={"max_content_width": 120}
)
@click.version_option(__version__, prog_name="kaldi-quant")
@click.option("--debug", is_flag=True, help="Show the Python traceback of an error.")
@click.option("--log", metavar="FILE", help="Also write messages and progress to FILE.")
@click.pass_obj
def group(arguments: list[str], debug: bool, log: str | None) -> None:
    """Make the acoustic model of a Kaldi recogniser smaller and faster without losing accuracy.

    'kaldi-quant VERB --help' describes a verb.
    """
    if log:
        logging.getLogger("kaldi_quant").addHandler(_LogFile(Path(log), ["kaldi-quant", *arguments]))


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command and exits with its status."""
    prepare_libraries()
    arguments = list(sys.argv[1:] if argv is None else argv)
    # --debug may stand anywhere, also behind the verb.
    debug = "--debug" in arguments
    sys.exit(run([argument for argument in arguments if argument != "--debug"], debug))


def run(arguments: list[str], debug: bool = False) -> int:
    """Runs the command and returns the exit status: 0, 1 for an error, 2 for a wrong command line."""
    verb = next((argument for argument in arguments if argument in VERBS), None)
    program = f"kaldi-quant {verb}" if verb else "kaldi-quant"
    with _logging(program) as ended:
        return ended(_run(group, arguments, program, debug))


def run_recipe(command: click.Command, program: str, arguments: list[str]) -> int:
    """Runs a recipe written in Python as ``run`` runs verbs.

    Args:
        command: its options, and what it does.
        program: its name.
        arguments: that the user gave.
    """
    debug = "--debug" in arguments
    with _logging(program) as ended:
        return ended(_run(command, [word for word in arguments if word != "--debug"], program, debug))


def _run(command: click.Command, arguments: list[str], program: str, debug: bool) -> int:
    name = "kaldi-quant" if isinstance(command, VerbGroup) else program

    def work() -> Any:
        with signals_raise():
            return command.main(arguments, prog_name=name, standalone_mode=False, obj=arguments)

    token = _PROGRAM.set((program, debug))
    try:
        return _reported(work)
    except (KeyboardInterrupt, click.Abort):
        return _report("interrupted", debug, _EXIT_INTERRUPTED)
    except TerminatedError as error:
        return _report(f"ended by signal {error}", debug, error.status)
    finally:
        _PROGRAM.reset(token)


def run_apart(work: Callable[[], object], name: str) -> None:
    """Does a part of a command in a copy of this process, which stays as it is: it gets no threads, so that the next
    part can be done in a copy, too.

    Where no copy can be made, or what this process prints goes nowhere else, the work is done here.

    Args:
        work: what is done. Its errors are reported as those of the command.
        name: of the part.

    Raises:
        Exception: the work failed; if that was in the copy, it has been reported.
    """
    if why_not_fork() is not None or not _prints_to_files():
        work()
        return

    def job() -> int:
        try:
            return _reported(work)
        except TerminatedError as error:
            # Whoever has sent the signal to this process's starter reads of it from there.
            return error.status

    status = run_forked(job)
    if status < 0:
        raise _PartError(f"{name} {describe_status(status)}")
    if status:
        raise _ReportedError(status)


def _prints_to_files() -> bool:
    """Whether what is printed goes to files, as a copy of this process prints, and not into this process's memory."""
    try:
        return sys.stdout.fileno() >= 0 and sys.stderr.fileno() >= 0
    except (OSError, ValueError):
        return False


def _reported(work: Callable[[], Any]) -> int:
    """The exit status of what is done, errors reported. Signals stay exceptions."""
    program, debug = _PROGRAM.get()
    try:
        status = work()
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except _ReportedError as error:
        return error.status
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return _EXIT_USAGE
    except click.UsageError as error:
        print(f"{program}: {error.format_message()}{_what_is_allowed(error)}", file=sys.stderr)
        return _EXIT_USAGE
    except click.Abort:
        raise
    except BrokenPipeError:
        # Whoever read the output has read enough (head): nothing more can be said to them.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - the outermost boundary: every error becomes one sentence
        return _report(_sentence(error), debug)


def _report(sentence: str, debug: bool, status: int = _EXIT_FAILED) -> int:
    if debug:
        traceback.print_exc()
    _log.error("%s", sentence)
    return status


class _StandardError(logging.Handler):
    """Writes records to what is standard error at that moment, so that they stay above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


class _LogFile(logging.FileHandler):
    """A log that begins with the command and ends with how it ended, as those of Kaldi's jobs do."""

    def __init__(self, path: Path, command: Sequence[str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, mode="w", encoding="utf-8")
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self._begin = time.monotonic()
        self._write(first_lines(command_line(command)))

    def finish(self, status: int) -> None:
        """Writes the last lines."""
        self._write(last_lines(status, time.monotonic() - self._begin))

    def _write(self, text: str) -> None:
        assert self.stream is not None
        self.stream.write(text)
        self.flush()


@contextmanager
def log_file(path: Path, command: Sequence[str]) -> Iterator[None]:
    """Writes what is reported in the block, and the progress, into a file, too.

    Args:
        path: of the file.
        command: that runs; the log begins with it and ends with how it ended.
    """
    logger, handler = logging.getLogger("kaldi_quant"), _LogFile(path, command)
    logger.addHandler(handler)
    status = _EXIT_FAILED
    try:
        yield
        status = 0
    finally:
        logger.removeHandler(handler)
        handler.finish(status)
        handler.close()


@contextmanager
def _logging(program: str) -> Iterator[Callable[[int], int]]:
    """Reports the package's records on standard error while the command runs; closes its log file behind it.

    Yields:
        what is to be told the exit status, which it gives back.
    """
    logger = logging.getLogger("kaldi_quant")
    before, level = list(logger.handlers), logger.level
    screen = _StandardError(logging.INFO)
    screen.setFormatter(logging.Formatter(f"{program}: %(message)s"))
    logger.addHandler(screen)
    logger.setLevel(logging.DEBUG)

    def ended(status: int) -> int:
        for handler in logger.handlers:
            if isinstance(handler, _LogFile) and handler not in before:
                handler.finish(status)
        return status

    try:
        yield ended
    finally:
        for handler in set(logger.handlers) - set(before):
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(level)


def _sentence(error: Exception) -> str:
    """What went wrong, in one line."""
    if isinstance(error, click.ClickException):
        text = error.format_message()
    elif isinstance(error, KaldiQuantError):
        text = str(error)
    elif isinstance(error, ModuleNotFoundError):
        text = f"the Python package {error.name!r} is missing: source path.sh, or install kaldi_quant again"
    elif memory := out_of_memory(error):
        text = memory
    elif isinstance(error, OSError):
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
    else:
        text = f"internal error, {type(error).__name__}: {error}; --debug shows where"
    return " ".join(text.split())


def _what_is_allowed(error: click.UsageError) -> str:
    """The list that follows a message about the command line: verbs, or the verb's options with their defaults."""
    command = error.ctx.command if error.ctx else None
    if isinstance(command, VerbGroup) and not isinstance(error, click.NoSuchOption):
        return f"\nallowed verbs: {', '.join(VERBS)}"
    if command is None or error.ctx is None:
        return ""
    usage = f"\n{error.ctx.get_usage()}"
    if not isinstance(error, click.NoSuchOption):
        return usage
    return f"{usage}\nallowed options:\n{describe_options(command)}"
