"""``run_enhanced.sh``: noisy speech, enhanced or not, recognised by a float and by an integer acoustic model."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import click

from kaldi_quant.atomic import atomic_write
from kaldi_quant.cli.main import run_apart
from kaldi_quant.cli.models import ENGINES
from kaldi_quant.cli.options import KaldiCommand
from kaldi_quant.cli.recipes.calibration_options import (
    CalibrationArguments,
    MethodArguments,
    calibration_options,
    method_options,
)
from kaldi_quant.cli.recipes.experiment import EXAMPLE, Experiment, require_file
from kaldi_quant.cli.recipes.forward_pass import ForwardPass
from kaldi_quant.cli.recipes.forward_pass_options import ForwardPassArguments, forward_pass_options, stage_option
from kaldi_quant.cli.recipes.model_step import ModelFile, Work
from kaldi_quant.cli.recipes.noisy_words import FILES, NoiseChoice, enhanced_data, noisy_data
from kaldi_quant.cli.recipes.places import Places
from kaldi_quant.cli.recipes.quantization import QuantizedModel
from kaldi_quant.cli.recipes.spoken_words import FILES as SPOKEN_FILES
from kaldi_quant.cli.recipes.spoken_words import check_spoken, speak_words
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.folder_lock import folder_lock
from kaldi_quant.kaldi.table_files import table_files
from kaldi_quant.made import Made, Sources, make
from kaldi_quant.report.files.decode_folder import FixedPoint
from kaldi_quant.report.significance.bootstrap import check_draws

_log = logging.getLogger(__name__)

STAGES = ("noisy speech", "enhancement", "acoustic models", "words", "table")
RESULTS_NAME, PAGE_NAME = "RESULTS", "report.html"
_FLOAT, _PRESET = "float", "w4a8"
_EXAMPLE_DATA = "data/test_wav"


@dataclass(frozen=True)
class _Words:
    """A run.

    Args:
        arguments: of the recipe.
        places: its folders; ``data`` is the original speech.
        choice: what noise.
        networks: names, what enhances, and which network it is.
        quantized: the integer acoustic model.
        stage: to begin with.
        fixed: where in the sweep.
        draws: replications and seed of the bootstrap.
        spoken: how many utterances are synthesised into ``places.data``; 0 where it is there.
    """

    arguments: ForwardPassArguments
    places: Places
    choice: NoiseChoice
    networks: Sequence[tuple[str, str, str]]
    quantized: QuantizedModel
    stage: int
    fixed: FixedPoint
    draws: tuple[int, int]
    spoken: int

    def check(self) -> None:
        """Refuses what cannot work, before any work."""
        from kaldi_quant.frontends.enhancement.enhancers import check_enhancer

        if self.spoken:
            require_file(self.places.graph / "words.txt", "see --graph-dir")
            check_spoken(self.spoken, self.places.graph / "words.txt")
        else:
            self.places.check()
            require_file(self.places.data / "wav.scp", "the speech that noise is added to: see --data-dir")
        self.quantized.check()
        for _, what, network in self.networks:
            check_enhancer(what, network)

    @cached_property
    def noisy(self) -> Path:
        """The data folder of noisy speech."""
        return self.places.out / "data" / "none"

    def run(self) -> None:
        """Runs the stages."""
        self.check()
        with folder_lock(self.places.out):
            if self.spoken:
                self._speak()
            self._mix()
            self._enhance()
            model = self.quantized.make(partial(self._step, 2))
            folders = self._recognise(model)
            self._tell(folders)

    def _speak(self) -> None:
        from kaldi_quant.frontends.enhancement.enhancers import RATE

        seed, out = self.choice.seed, self.places.data

        def work() -> None:
            speak_words(out, self.spoken, seed, RATE)

        sources = Sources({"--synthesise": self.spoken, "--seed": seed})
        self._data(0, out, sources, work, f"letters and digits, {self.spoken} utterances", SPOKEN_FILES)

    def _mix(self) -> None:
        data, allow_pipes = self.places.data, self.arguments.inference.allow_pipes
        audio = table_files(f"scp:{data}/wav.scp", allow_pipes)
        beside = [data / name for name in ("text", "segments", "utt2spk") if (data / name).is_file()]
        sources = Sources(
            dataclasses.asdict(self.choice), {"the audio": audio.files, "the data": beside}, audio.repeatable
        )

        def work() -> None:
            from kaldi_quant.frontends.enhancement.enhancers import RATE

            noisy_data(data, self.noisy, self.choice, RATE, allow_pipes)

        self._data(0, self.noisy, sources, work, f"{data} with noise")

    def _enhance(self) -> None:
        for name, what, network in self.networks:
            from kaldi_quant.frontends.enhancement.enhancers import RATE, file_of, open_enhancer

            path = file_of(what)
            files = {"the noisy speech": [self.noisy / "wav.ark"], "the network": [] if path is None else [path]}
            out = self.noisy.parent / name

            def work(name: str = name, what: str = what, network: str = network, out: Path = out) -> None:
                enhanced_data(self.noisy, out, open_enhancer(name, what, network).enhance, RATE)

            self._data(1, out, Sources({"what": what, "network": network}, files), work, f"noisy speech by {name}")

    def _data(
        self,
        number: int,
        out: Path,
        sources: Sources,
        work: Callable[[], None],
        what: str,
        names: Sequence[str] = FILES,
    ) -> None:
        made = Made(out / names[0], sources, f"the data folder {out}")

        def apart() -> list[Path]:
            # In a copy of this process, which must have no threads.
            run_apart(work, what)
            return [out / name for name in names[1:]]

        self._step(number, made, apart, what)

    def _step(self, number: int, made: Made, work: Work, what: str) -> None:
        """Runs a step unless its result can be kept; one that is skipped must have a result that fits."""
        if number < self.stage:
            reason = made.why_again()
            if reason is not None:
                raise DataError(
                    f"--stage {self.stage} would use {made.output}, which no longer fits: {reason}; begin with "
                    f"--stage {number}"
                )
            return

        def announced() -> Sequence[Path] | None:
            _say(number, what)
            return work()

        make(made, announced, lambda text: _say(number, text))

    def _recognise(self, model: Path) -> dict[tuple[str, str], Path]:
        """The decode folder of each enhancement and acoustic model."""
        found = {}
        models: dict[str, tuple[Path, str]] = {
            _FLOAT: (self.places.model / "final.mdl", "auto"),
            self.quantized.method.name: (model, self.quantized.engine),
        }
        for name in ("none", *(name for name, *_ in self.networks)):
            for kind, (file, engine) in models.items():
                _say(3, f"words of {name} by the acoustic model {kind}")
                out = self.places.out / name / kind
                places = replace(self.places, data=self.noisy.parent / name, out=out)
                ForwardPass(self.arguments, places, ModelFile(file, engine=engine)).run()
                found[name, kind] = out
        return found

    def _tell(self, folders: dict[tuple[str, str], Path]) -> None:
        from kaldi_quant.cli.recipes.enhanced_results import results_of, written

        _say(4, str(self.places.out / RESULTS_NAME))
        text, page = written(results_of(folders, self.noisy, self.fixed, self.draws), self.fixed)
        for name, content in ((RESULTS_NAME, text), (PAGE_NAME, page)):
            with atomic_write(self.places.out / name, "w") as stream:
                stream.write(content)
        click.echo(text)


def _say(number: int, text: str) -> None:
    _log.info("stage %d, %s: %s", number, STAGES[number], text)


def _found_from(here: Path, what: str) -> str:
    """A file or a folder, wherever the program goes from here; a method's name as it is."""
    return str(here / what) if "/" in what or (here / what).exists() else what


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise UsageError(f"{option}: expected numbers with commas between them, found {text!r}") from None


_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _noise_options(function: Callable[..., Any]) -> Callable[..., Any]:
    options: tuple[_Decorator, ...] = (
        click.option(
            "--networks",
            default="",
            metavar="LIST",
            help="What enhances, with commas between: [NAME=]FILE[@NETWORK] of a float network, an integer model or an "
            "ONNX file, folders of cells, spectral-subtraction, or identity.",
        ),
        click.option(
            "--noises", default="babble,coloured,machine", show_default=True, metavar="LIST", help="Kinds of noise."
        ),
        click.option(
            "--snrs",
            default="0,5,10",
            show_default=True,
            metavar="LIST",
            help="Ratios of speech to noise in dB; each with each noise.",
        ),
        click.option(
            "--conditions",
            default="unheard",
            show_default=True,
            help="What noises are drawn from: heard, as in training, or unheard.",
        ),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of noises and draws."),
        click.option(
            "--synthesise",
            type=int,
            metavar="N",
            help="In the place of --data-dir: N utterances of letters and digits, by synthetic voices of the test.",
        ),
        click.option("--lmwt", type=int, help="Score all at this language-model weight; by default each at its best."),
        click.option("--wip", metavar="NUMBER", help="And at this word insertion penalty."),
        click.option("--replications", type=int, default=10_000, show_default=True, help="Of the bootstrap."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.command(cls=KaldiCommand)
@stage_option(STAGES)
@_noise_options
@method_options
@click.option(
    "--engine", type=click.Choice(ENGINES[:3]), default="auto", show_default=True, help="Of the integer acoustic model."
)
@calibration_options
@forward_pass_options
def run_enhanced(
    stage: int,
    networks: str,
    noises: str,
    snrs: str,
    conditions: str,
    seed: int,
    synthesise: int | None,
    lmwt: int | None,
    wip: str | None,
    replications: int,
    quantizing: MethodArguments,
    engine: str,
    calibration: CalibrationArguments,
    arguments: ForwardPassArguments,
    exp: str | None,
) -> None:
    """Add noise to speech, enhance it or not, and count the words that acoustic models get out of it.

    All combinations of enhancement (none, and each of --networks) and acoustic model (float, and quantized as --preset
    or --bits say, by default w4a8) stand in one table: word error rates for speech without added noise and for each
    noise and ratio, and what enhancement changes, with its significance. --data-dir is any Kaldi folder with wav.scp
    and text, 16 kHz; --synthesise makes one. EXP-FOLDER is the root of a Kaldi recipe; without it the embedded example
    egs/alphadigits is used. Results go to --out-dir, by default MODEL-DIR/enhanced_DATA, with --affix appended. What is
    there and was made from the same files with the same options is kept.

    e.g.: run_enhanced.sh --networks float=exp/0/crn-100k/float,w4a8=exp/0/crn-100k/ours-w4a8

    run_enhanced.sh --networks q.onnx@tcn-100k --snrs -5,0,5 --data-dir data/eval --model-dir exp/chain/tdnn1k_sp ~/s5
    """
    from kaldi_quant.frontends.enhancement.enhancers import parse_enhancers

    here = Path.cwd()
    check_draws(replications, seed)
    fixed = FixedPoint(lmwt, wip)
    choice = NoiseChoice(tuple(filter(None, noises.split(","))), _numbers("--snrs", snrs), conditions, seed)
    chosen = [(name, _found_from(here, what), network) for name, what, network in parse_enhancers(networks)]
    if not quantizing.preset and not quantizing.config and quantizing.bits is None and quantizing.act_bits is None:
        quantizing = replace(quantizing, preset=_PRESET)
    quantizing = quantizing.from_folder(here)
    experiment = Experiment.enter(exp)
    folders = arguments.folders
    if synthesise is not None and folders.data_dir:
        raise UsageError("--data-dir and --synthesise exclude each other")
    if folders.data_dir is None and synthesise is None and experiment.root.resolve() == EXAMPLE:
        folders = replace(folders, data_dir=_EXAMPLE_DATA)
    places = Places.of(folders, experiment, here)
    if not folders.out_dir:
        name = places.data.name if synthesise is None else f"synthetic{synthesise}"
        places = replace(places, out=experiment.root / places.model / f"enhanced_{name}{folders.affix}")
    if synthesise is not None:
        places = replace(places, data=places.out / "data" / "speech")
    data = calibration.folder(experiment.defaults, places.data)
    integer = replace(places, out=places.out / "models" / quantizing.name)
    draws = replications, seed
    quantized = QuantizedModel(arguments, integer, quantizing, calibration, data, None, engine)
    _Words(arguments, places, choice, chosen, quantized, stage, fixed, draws, synthesise or 0).run()
