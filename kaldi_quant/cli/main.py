"""The group of all verbs. A verb's module is imported when the verb is called, so that ``--help`` answers at once.

Everything that a user can cause becomes one sentence on standard error and exit status 1; a command line that cannot be
understood is answered by what is allowed and exit status 2. ``--debug`` shows the traceback.
"""

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from kaldi_quant import __version__
from kaldi_quant.cli.options import describe_options
from kaldi_quant.errors import KaldiQuantError, out_of_memory

# verb → what it does; the module is kaldi_quant.cli.<verb> with _ for -.
VERBS = {
    "info": "Print a model's structure, dimensions, context and size (as nnet3-am-info).",
    "copy": "Copy a model between the binary and the text form (as nnet3-am-copy).",
    "make-mfcc": "Compute MFCC features from wav files (as compute-mfcc-feats).",
    "compute-cmvn-stats": "Compute statistics that normalise features (as compute-cmvn-stats).",
    "forward": "Compute log-likelihoods (as nnet3-compute).",
    "calibrate": "Find activation ranges on a calibration set.",
    "quantize": "Make an integer model from a float one, after training.",
    "export": "Write an integer model for Kaldi, Vosk and onnxruntime.",
    "sensitivity": "Measure what the quantization of each layer costs.",
    "search": "Find the best width for each layer under a budget.",
    "decode": "Decode log-likelihoods into lattices (as latgen-faster-mapped).",
    "score": "Score lattices: WER over language-model weights and insertion penalties.",
    "compare": "Compare decode folders: WER with its significance, size, speed.",
    "compare-trainings": "Compare ways of training by the mean WER of several models each.",
    "report": "Make a page of quantized models: the front, widths, sensitivity, ranges.",
    "train": "Fine-tune a float model with LF-MMI on Kaldi's examples.",
    "qat": "Make an integer model from a float one by training it in fake integers.",
    "chain-prob": "Print the chain objective of examples (as nnet3-chain-compute-prob).",
}
_log = logging.getLogger(__name__)

_EXIT_FAILED, _EXIT_USAGE, _EXIT_INTERRUPTED = 1, 2, 130


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
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--log", metavar="FILE", help="Write what is reported, and the progress, into FILE too.")
def group(debug: bool, log: str | None) -> None:
    """Makes the acoustic model of a Kaldi recogniser smaller and faster without losing words.

    'kaldi-quant VERB --help' describes a verb.
    """
    if log:
        path = Path(log)
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, mode="w", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logging.getLogger("kaldi_quant").addHandler(handler)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command and exits with its status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # --debug may stand anywhere, also behind the verb.
    debug = "--debug" in arguments
    sys.exit(run([argument for argument in arguments if argument != "--debug"], debug))


def run(arguments: list[str], debug: bool = False) -> int:
    """Runs the command and returns the exit status: 0, 1 for an error, 2 for a wrong command line."""
    verb = next((argument for argument in arguments if argument in VERBS), None)
    program = f"kaldi-quant {verb}" if verb else "kaldi-quant"
    with _logging(program):
        return _run(group, arguments, program, debug)


def run_recipe(command: click.Command, program: str) -> int:
    """Runs a recipe written in Python as ``run`` runs verbs.

    Args:
        command: its options, and what it does.
        program: its name.
    """
    with _logging(program):
        return _run(command, sys.argv[1:], program, debug=False)


def _run(command: click.Command, arguments: list[str], program: str, debug: bool) -> int:
    try:
        name = "kaldi-quant" if isinstance(command, VerbGroup) else program
        status = command.main(arguments, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return _EXIT_USAGE
    except click.UsageError as error:
        print(f"{program}: {error.format_message()}{_what_is_allowed(error)}", file=sys.stderr)
        return _EXIT_USAGE
    except (KeyboardInterrupt, click.Abort):
        return _report("interrupted", debug, _EXIT_INTERRUPTED)
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


@contextmanager
def _logging(program: str) -> Iterator[None]:
    """Reports the package's records on standard error while the command runs; closes its log file behind it."""
    logger = logging.getLogger("kaldi_quant")
    before, level = list(logger.handlers), logger.level
    screen = _StandardError(logging.INFO)
    screen.setFormatter(logging.Formatter(f"{program}: %(message)s"))
    logger.addHandler(screen)
    logger.setLevel(logging.DEBUG)
    try:
        yield
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
