"""Options as Kaldi's programs take them, shared by the verbs.

Kaldi writes a boolean option as ``--binary=false``, ``--binary false`` or just ``--binary``. A verb is declared with
``@click.command(cls=KaldiCommand)``.
"""

import dataclasses
import functools
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from kaldi_quant.bad_utterances import DEFAULT_MAX_BAD_SHARE
from kaldi_quant.cli.vosk_option import given_by, takes_folder
from kaldi_quant.errors import UsageError
from kaldi_quant.folder_lock import folder_lock

_log = logging.getLogger(__name__)

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Kind = TypeVar("_Kind")
_SLASHES = re.compile(r"(?<!:)//+")
# More threads than any machine has processors: torch would try to start them.
_MOST_THREADS = 1024
_VOSK_OPTION, _VOSK_MODEL = "--vosk-model", "vosk_model"
_BOOLEANS = ("true", "false", "t", "f", "1", "0", "yes", "no")


def result_folder(path: str) -> Path:
    """A folder for results, which need not be there yet.

    Raises:
        UsageError: something that is no folder stands there.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{path} is a file: give a folder for the results")
    return folder


def result_file(path: str) -> Path:
    """A file for a result, which need not be there yet.

    Raises:
        UsageError: a folder stands there, or a file where its folder should be.
    """
    file = Path(path)
    if file.is_dir():
        raise UsageError(f"{path} is a folder: give a file for the result")
    above = next((folder for folder in file.parents if folder.exists()), None)
    if above is not None and not above.is_dir():
        raise UsageError(f"{path} cannot be written: {above} is a file")
    return file


def num_threads_option() -> Callable[[_Function], _Function]:
    """``--num-threads`` of everything that computes."""
    text = "CPU threads; 0: as many as there are cores for this process, or as OMP_NUM_THREADS says."
    return click.option("--num-threads", type=int, default=0, show_default=True, callback=_checked_threads, help=text)


def _checked_threads(ctx: click.Context, option: click.Parameter, number: int | None) -> int | None:
    """Refuses a number that is negative, or more than torch can start. It is None where a recipe passes the option."""
    if number is not None and not 0 <= number <= _MOST_THREADS:
        raise UsageError(f"--num-threads must be from 0 to {_MOST_THREADS}, found {number}")
    return number


def set_threads(number: int) -> None:
    """Sets the number of CPU threads that compute, as ``--num-threads`` says: to be called before a model is read."""
    if number:
        import torch

        torch.set_num_threads(number)


def check_number_of_utterances(option: str, number: int) -> None:
    """Refuses a number of utterances that cannot be.

    Raises:
        UsageError: it is negative.
    """
    if number < 0:
        raise UsageError(f"{option} cannot be negative, found {number}: give 0 for all")


def hold_folder(folder: Path) -> None:
    """Keeps other runs from writing into a folder until the verb has ended.

    Raises:
        DataError: another process writes into it, or it cannot be written.
    """
    click.get_current_context().with_resource(folder_lock(folder))


class KaldiCommand(click.Command):
    """A command that takes Kaldi's boolean options, and whose unknown options are answered by a list of the known.

    With ``--vosk-model`` a folder of Vosk's gives it those of its arguments, and the values of options, that it can.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        arguments, options = self._names()
        self._takes_folder = _VOSK_MODEL not in options and takes_folder(arguments, options)
        if self._takes_folder:
            text = "A Vosk folder, in the place of the model, the graph and the i-vectors."
            option = click.Option([_VOSK_OPTION], metavar="DIR", expose_value=False, help=text)
            position = next((place for place, found in enumerate(self.params) if isinstance(found, click.Argument)), 0)
            self.params.insert(position, option)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Gives each bare boolean option the value true and tidies paths, then parses as click does."""
        words = list(map(_tidy, _complete_booleans(_with_hyphens(args), self._boolean_names())))
        folder = _value_of(_VOSK_OPTION, words) if self._takes_folder else None
        if folder is None:
            return super().parse_args(ctx, words)
        places, values = given_by(folder, *self._names())
        shown = [*places.values(), *(f"--{name.replace('_', '-')}={value}" for name, value in values.items())]
        _log.info("%s %s: %s", _VOSK_OPTION, folder, " ".join(shown))
        ctx.meta[_VOSK_OPTION] = places
        several = {found.name for found in self.params if isinstance(found, click.Option) and found.multiple}
        ctx.default_map = {name: [value] if name in several else value for name, value in values.items()}
        rest = super().parse_args(ctx, words)
        ctx.params.update(places)
        return rest

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its parameters but for the arguments that a folder gives."""
        given = ctx.meta.get(_VOSK_OPTION, {})
        found = super().get_params(ctx)
        return [one for one in found if not (isinstance(one, click.Argument) and one.name in given)]

    def _names(self) -> tuple[list[str], list[str]]:
        """Of the arguments, and of the options."""
        names: tuple[list[str], list[str]] = ([], [])
        for parameter in self.params:
            names[isinstance(parameter, click.Option)].append(str(parameter.name))
        return names

    def _boolean_names(self) -> set[str]:
        options = [option for option in self.params if isinstance(option.type, _KaldiBool)]
        return {name for option in options for name in option.opts}


class _KaldiBool(click.ParamType):
    name = "true|false"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() not in _BOOLEANS:
            self.fail(f"expected true or false, found {value!r}", param, ctx)
        return str(value).lower() in ("true", "t", "1", "yes")


def kaldi_bool_option(
    *names: str, default: bool | None, help: str, show_default: str | bool = True
) -> Callable[[_Function], _Function]:
    """A boolean option: ``--name=false``, ``--name false`` or ``--name``.

    Args:
        names: such as ``"--binary"``.
        default: the value where the option is not given; None lets the verb know that it was not.
        help: what the option does.
        show_default: what the help says of a default that is None.
    """
    value = default if default is None else str(default).lower()
    return click.option(*names, type=_KaldiBool(), default=value, show_default=show_default, help=help)


def allow_pipes_option() -> Callable[[_Function], _Function]:
    """``--allow-pipes``: whether shell commands in rspecifiers, wspecifiers and scp files run."""
    text = "Run shell commands (… |) found in rspecifiers and scp files. Use it only with files that you trust."
    return kaldi_bool_option("--allow-pipes", default=False, help=text)


def max_bad_share_option() -> Callable[[_Function], _Function]:
    """``--max-bad-share``: how many utterances may be unusable."""
    text = "Fail if a larger share of the utterances cannot be used."
    return click.option(
        "--max-bad-share", type=float, default=DEFAULT_MAX_BAD_SHARE, show_default=True, metavar="SHARE", help=text
    )


def frame_subsampling_option(where: str = "the model's folder") -> Callable[[_Function], _Function]:
    """``--frame-subsampling-factor``: what is said here decides, whatever files say.

    Args:
        where: it is looked for otherwise, for the help.
    """
    from kaldi_quant.kaldi.frame_subsampling import LARGEST_FACTOR

    text = f"Frames per output row; by default what {where} says."
    return click.option("--frame-subsampling-factor", type=click.IntRange(1, LARGEST_FACTOR), help=text)


def backend_option() -> Callable[[_Function], _Function]:
    """``--backend``: which of the two ways decodes and scores."""
    # Imported here, so that the list of verbs comes up without the packages that decoding needs.
    from kaldi_quant.decode.options import BACKENDS

    text = "Which programs decode and score: Kaldi's, or the embedded ones. auto: Kaldi's if KALDI_ROOT is set."
    return click.option("--backend", type=click.Choice(BACKENDS), default="auto", show_default=True, help=text)


def describe_options(command: click.Command) -> str:
    """The names of a command's options with their defaults, one line each."""
    lines = []
    for option in command.params:
        if isinstance(option, click.Option):
            shown = option.show_default if isinstance(option.show_default, str) else option.default
            default = f" (default: {shown})" if isinstance(shown, (str, int, float)) and shown != "" else ""
            lines.append(f"  {', '.join(option.opts)}{default}")
    return "\n".join(lines)


def _tidy(argument: str) -> str:
    """A path without doubled or trailing slashes, so that messages and results name it as people write it.

    Shell commands and addresses (https://…) stay as they are.
    """
    if "|" in argument:
        return argument
    single = _SLASHES.sub("/", argument)
    return single.rstrip("/") or "/" if "/" in single else argument


def _value_of(option: str, words: list[str]) -> str | None:
    """What an option is given, the last time; None where it is not there, or nothing follows."""
    found = None
    for place, word in enumerate(words):
        if word == "--":
            break
        name, equals, value = word.partition("=")
        if name == option and (equals or place + 1 < len(words)):
            found = value if equals else words[place + 1]
    return found


def _with_hyphens(args: list[str]) -> list[str]:
    """Names of options with ``-`` for ``_``, as Kaldi's programs take both."""
    end = args.index("--") if "--" in args else len(args)
    return [_hyphens(argument) for argument in args[:end]] + args[end:]


def _hyphens(argument: str) -> str:
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else argument


def _complete_booleans(args: list[str], names: set[str]) -> list[str]:
    completed: list[str] = []
    position = 0
    while position < len(args):
        argument = args[position]
        position += 1
        if argument == "--":
            return [*completed, *args[position - 1 :]]
        if argument in names:
            value = "true"
            if position < len(args) and args[position].lower() in _BOOLEANS[:2]:
                value = args[position]
                position += 1
            argument = f"{argument}={value}"
        completed.append(argument)
    return completed


def grouped_options(
    argument: str, kind: type, options: Sequence[Callable[..., Any]]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that gives verbs some options, and their values together as one argument.

    Args:
        argument: its name.
        kind: the dataclass of the values, with a field for each option.
        options: what click's ``option`` returned, in the order of the help.
    """
    names = [field.name for field in dataclasses.fields(kind)]

    def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
        # Of two groups that have an option in common both get its value.
        shared = {option.name for option in getattr(function, "__click_params__", ())} & set(names)

        @functools.wraps(function)
        def verb(**values: Any) -> Any:
            grouped = kind(**{name: values[name] if name in shared else values.pop(name) for name in names})
            return function(**{argument: grouped}, **values)

        decorated: Callable[..., Any] = verb
        for option in reversed(options):
            decorated = option(decorated)
        if shared:
            parameters: list[click.Parameter] = decorated.__click_params__  # type: ignore[attr-defined]
            parameters[:] = list({option.name: option for option in parameters}.values())
        return decorated

    return decorator


def arguments_of(kind: type[_Kind], params: Mapping[str, Any]) -> _Kind:
    """A dataclass of options' values.

    Args:
        kind: the dataclass.
        params: the values of at least its options.

    Raises:
        UsageError: a value is impossible.
    """
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    return kind(**{field.name: params[field.name] for field in fields})
