"""``run_forward_pass.sh``: features, log-likelihoods, lattices, scores. Other recipes run other models by it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path

import click

from kaldi_quant.atomic import atomic_write
from kaldi_quant.cli.feature_options import feature_settings
from kaldi_quant.cli.models import ENGINES
from kaldi_quant.cli.options import KaldiCommand
from kaldi_quant.cli.recipes.experiment import Experiment, require_file
from kaldi_quant.cli.recipes.forward_pass_options import ForwardPassArguments, forward_pass_options, stage_option
from kaldi_quant.cli.recipes.ivectors import IVECTOR_OPTIONS, Ivectors
from kaldi_quant.cli.recipes.model_step import (
    ModelFile,
    ModelStep,
    Work,
    feature_sources,
    model_sources,
)
from kaldi_quant.cli.recipes.places import Places, mfcc_config
from kaldi_quant.cli.recipes.verbs import call_verb, settings_of, words_of
from kaldi_quant.decode.choice import choose_backend
from kaldi_quant.decode.error_rate import remove_scores
from kaldi_quant.errors import DataError
from kaldi_quant.folder_lock import folder_lock
from kaldi_quant.kaldi.features.normalisation import NormalisationOptions
from kaldi_quant.kaldi.features.speakers import by_speaker, read_utt2spk
from kaldi_quant.kaldi.recipe_folders import RecipeFolders
from kaldi_quant.kaldi.table_files import table_files
from kaldi_quant.made import Made, Sources, make

_log = logging.getLogger(__name__)

STAGES = ("checks", "features", "log-likelihoods", "lattices", "scores")


class ForwardPass:
    """The stages of a run.

    Args:
        arguments: the values of the options.
        places: the folders.
        model: that computes.
    """

    def __init__(self, arguments: ForwardPassArguments, places: Places, model: ModelStep) -> None:
        self.arguments, self.places, self.model = arguments, places, model
        self.log = places.out / "log"

    def check(self) -> None:
        """Stage 0.

        Raises:
            KaldiQuantError: the run cannot succeed.
        """
        self.places.check()
        self.model.check()
        places, final = self.places, self.places.model / "final.mdl"
        computes = self.model.float_model or final
        RecipeFolders(
            computes,
            transitions=None if computes == final else final,
            graph=places.graph,
            data=(places.data,),
            ivectors=() if self._ivectors.folder is None else (self._ivectors.folder,),
            mfcc_config=None if (places.data / "feats.scp").is_file() else self.mfcc_config,
            allow_pipes=self.arguments.inference.allow_pipes,
        ).check()

    def run(self, first: int = 0) -> None:
        """Runs the stages from one on; what is skipped has to be there and to fit.

        Raises:
            KaldiQuantError: a stage failed, or what it needs does not fit.
        """
        self.check()
        _say(0, "what is read is there and belongs together")
        with folder_lock(self.places.out):
            self._features(first)
            self._loglikes(first)
            self._lattices(first)
            _say(4, f"{self.places.out}")
            self._scores()

    @cached_property
    def _ivectors(self) -> Ivectors:
        given, model = self.arguments, self.places.model / "final.mdl"
        folder = given.folders.online_ivector_dir
        return Ivectors.of(model, self.places.data, folder, "--online-ivector-dir", given.inference)

    @property
    def features(self) -> str:
        """The rspecifier of the features."""
        folder = self.places.data if (self.places.data / "feats.scp").is_file() else self.places.out
        return f"scp:{folder}/feats.scp"

    @property
    def mfcc_config(self) -> Path:
        """How features are made."""
        return mfcc_config(self.arguments.folders, self.places.model)

    def _features(self, first: int) -> None:
        data, out = self.places.data, self.places.out
        if (data / "feats.scp").is_file():
            return
        allow_pipes = self.arguments.inference.allow_pipes
        config = require_file(self.mfcc_config, "it says how features are made: see --mfcc-config")
        audio = table_files(f"scp:{data}/wav.scp", allow_pipes)
        segments = [data / "segments"] if (data / "segments").is_file() else []
        files = {"the audio": audio.files, "the segments": segments, "the configuration of MFCC": [config]}
        made = Made(out / "feats.scp", Sources({}, files, audio.repeatable), f"the table of features {out}/feats.scp")

        def work() -> list[Path]:
            words = [f"--config={config}", *(f"--segments={path}" for path in segments)]
            words += [f"--allow-pipes={str(allow_pipes).lower()}"]
            tables = [f"scp:{data}/wav.scp", f"ark,scp:{out}/feats.ark,{out}/feats.scp"]
            call_verb("make-mfcc", [*words, *tables], self.log / "make_mfcc.log")
            return [out / "feats.ark"]

        self._stage(1, first, made, work, f"features of {data}/wav.scp")
        if self._is_normalised():
            self._statistics(first)

    def _is_normalised(self) -> bool:
        given = self.arguments.inference
        options = NormalisationOptions(given.cmvn_opts, given.online_cmvn, given.global_cmvn_stats)
        asked = feature_settings(str(self.places.model / "final.mdl"), options).is_normalised
        return asked and not given.ignore_cmvn and given.cmvn is None

    def _statistics(self, first: int) -> None:
        """The statistics of speakers that normalise features which are made here, where verbs look for them."""
        data, out = self.places.data, self.places.out
        speakers = require_file(data / "utt2spk", "normalisation needs the speakers")
        features = table_files(self.features).files
        made = Made(out / "cmvn.scp", Sources({}, {"the features": features, "the speakers": [speakers]}))

        def work() -> list[Path]:
            with atomic_write(out / "utt2spk") as stream:
                stream.write(speakers.read_bytes())
            with atomic_write(out / "spk2utt", "w") as stream:
                for speaker, names in by_speaker(read_utt2spk(str(speakers))).items():
                    stream.write(f"{' '.join([speaker, *names])}\n")
            tables = [self.features, f"ark,scp:{out}/cmvn.ark,{out}/cmvn.scp"]
            call_verb("compute-cmvn-stats", [f"--spk2utt=ark:{out}/spk2utt", *tables], self.log / "cmvn_stats.log")
            return [out / name for name in ("cmvn.ark", "utt2spk", "spk2utt")]

        self._stage(1, first, made, work, f"statistics of the speakers of {data}")

    def _loglikes(self, first: int) -> None:
        inference, out = self.arguments.inference, self.places.out
        model = self.model.make(partial(self._stage, 2, first))
        ivectors = self._ivectors
        sources = model_sources(model, inference.frame_subsampling_factor)
        sources |= feature_sources(inference, model, self.features, ivectors) | Sources(self.model.options)
        made = Made(out / "loglikes.ark", sources, f"the archive {out}/loglikes.ark")

        def work() -> list[Path]:
            remove_scores(out)
            for stale in out.glob("lat.*.gz"):
                stale.unlink()
            words = [*words_of(inference, IVECTOR_OPTIONS), *ivectors.words]
            words += [f"{name}={value}" for name, value in self.model.options.items()]
            tables: list[str | Path] = [model, self.features, f"ark:{out}/loglikes.ark"]
            call_verb("forward", [*words, f"--record={out}", *tables], self.log / "forward.log")
            return []

        self._stage(2, first, made, work, f"log-likelihoods of {self.places.data} with {model}")

    def _lattices(self, first: int) -> None:
        places, options = self.places, self.arguments.decode_options()
        loglikes = places.out / "loglikes.ark"
        model, graph, table = places.model / "final.mdl", places.graph / "HCLG.fst", places.graph / "words.txt"
        decoder = choose_backend(options.backend)
        files = {
            "the transition model": [model],
            "the graph": [graph],
            "the word table": [table],
            "the log-likelihoods": [loglikes],
            "the decoder's program": list(decoder.programs),
        }
        settings = {**settings_of(self.arguments.decoding), "--nj": options.nj, "the decoder": decoder.name}
        made = Made(places.out / "num_jobs", Sources(settings, files), f"the set of lattices in {places.out}")

        def work() -> list[Path]:
            words: list[str | Path] = [f"--word-symbol-table={table}", f"--nj={options.nj}"]
            words += [f"--backend={options.backend}", f"--max-bad-share={options.max_bad_share}"]
            words += [] if options.cmd is None else [f"--cmd={options.cmd}"]
            words += words_of(self.arguments.decoding)
            call_verb("decode", [*words, model, graph, f"ark:{loglikes}", places.out], self.log / "decode.log")
            return sorted(places.out.glob("lat.*.gz"))

        self._stage(3, first, made, work, f"lattices with {graph}")

    def _scores(self) -> None:
        places, options = self.places, self.arguments.score_options()
        words = [f"--backend={options.backend}", *words_of(self.arguments.scoring)]
        words += [] if options.cmd is None else [f"--cmd={options.cmd}"]
        call_verb("score", [*words, places.data, places.graph, places.out], self.log / "score.log")

    @staticmethod
    def _stage(number: int, first: int, made: Made, work: Work, what: str) -> None:
        """Runs a stage unless its result can be kept. One that is skipped must have a result that fits.

        Raises:
            DataError: a stage is skipped, and what is there was made from something else.
        """
        if number < first:
            reason = made.why_again()
            if reason is not None:
                raise DataError(
                    f"--stage {first} would use {made.output}, which no longer fits: {reason}; begin with --stage "
                    f"{number}"
                )
            return
        make(made, lambda: _announced(number, what, work), lambda text: _say(number, text))


def _announced(number: int, what: str, work: Work) -> Sequence[Path] | None:
    _say(number, what)
    return work()


def _say(number: int, text: str) -> None:
    _log.info("stage %d, %s: %s", number, STAGES[number], text)


@click.command(cls=KaldiCommand)
@stage_option(STAGES)
@forward_pass_options
@click.option(
    "--model-file",
    metavar="MODEL",
    help="The model that computes, also an integer one, from EXP-FOLDER; by default final.mdl in MODEL-DIR.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="What computes.")
@click.option(
    "--engine", type=click.Choice(ENGINES), default="auto", show_default=True, help="What runs an integer model."
)
def run_forward_pass(
    stage: int, arguments: ForwardPassArguments, model_file: str | None, device: str, engine: str, exp: str | None
) -> None:
    """Compute a Kaldi model's word error rate: features, log-likelihoods, lattices, scores.

    EXP-FOLDER is the root of a Kaldi recipe; without it the embedded example egs/alphadigits is used. Results go to
    --out-dir, by default MODEL-DIR/decode_DATA, with --affix appended. What is there and was made from the same files
    with the same options is kept.

    e.g.: run_forward_pass.sh --nj 8 ~/kaldi/egs/librispeech/s5

    run_forward_pass.sh --model-dir exp/chain/tdnn1k_sp --graph-dir exp/chain/tree_sp/graph --data-dir data/eval_hires
    ~/s5
    """
    here = Path.cwd()
    places = Places.of(arguments.folders, Experiment.enter(exp), here)
    model = Path(model_file) if model_file else places.model / "final.mdl"
    ForwardPass(arguments, places, ModelFile(model, device, engine)).run(stage)
