"""Stages 0 to 4, which Kaldi's own scripts do: from a GMM system to chain examples.

What is complete is kept, whoever made it. Nothing is overwritten that these stages have not made themselves.
Source of the commands: ``run_chain_common.sh`` of Kaldi's recipes, and
``steps/libs/nnet3/train/chain_objf/acoustic_model.py``.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kaldi_quant.cli.recipes.egs_options import EgsScriptOptions
from kaldi_quant.cli.recipes.end_markers import EndMarker, Facts, content, contents, table
from kaldi_quant.cli.recipes.kaldi_folders import (
    KaldiFolders,
    copy,
    fault_of_archives,
    fault_of_examples,
    first_line,
    number_of_jobs,
)
from kaldi_quant.cli.recipes.stages import CommandError, Stages, kaldi_root, run
from kaldi_quant.errors import UsageError

# As in Kaldi's recipes for chain models.
_CONTEXT = "--context-width=2 --central-position=1"
_LM_OPTIONS = "--num-extra-lm-states=2000"


@dataclass(frozen=True)
class _Stage:
    """A stage and what it makes.

    Args:
        number: of the stage.
        product: the file that is named in messages.
        spared: why it need not run; None where it may have to.
        there: whether something stands where it would write.
        fault: what is wrong with what is there; None where it is complete.
        option: that names another folder; None in the result's folder, where what does not fit is made again.
        facts: what the result depends on.
        make: does the work.
        prepare: brings what it needs into the result's folder.
    """

    number: int
    product: Path
    spared: str | None
    there: bool
    fault: Callable[[], str | None]
    option: str | None
    facts: Callable[[], Facts]
    make: Callable[[], None]
    prepare: Callable[[], None] = lambda: None

    @property
    def marker(self) -> EndMarker:
        """Says that the stage has ended."""
        return EndMarker.of(self.product.parent, self.number)

    def reason(self) -> str | None:
        """Why it has to run; None where what is there is kept.

        Raises:
            UsageError: what is there cannot be used, and is not to be overwritten.
        """
        if not self.marker.exists():
            if not self.there:
                return f"making {self.product}"
            if fault := self.fault():
                raise UsageError(self._refusal(fault, "is not overwritten, as this recipe has not made it"))
            return None
        if self.marker.is_open():
            return f"making {self.product} again, as the last run did not end it"
        if changed := self.marker.changed(self.facts()):
            others = ", ".join(changed)
            if self.option is not None:
                raise UsageError(self._refusal(f"{self.product} was made from other input: {others}", "is kept"))
            return f"making {self.product} again: {others} changed"
        fault = self.fault()
        return f"making {self.product} again: {fault}" if fault else None

    def is_complete(self) -> bool:
        """Whether what is there can be used."""
        try:
            return self.reason() is None
        except UsageError:
            return False

    def _refusal(self, fault: str, what: str) -> str:
        if self.option is None:
            return f"{fault}; {self.product} {what}: remove it"
        return f"{fault}; {self.product.parent} {what}: remove it, or give another one with {self.option}"


@dataclass(frozen=True)
class KaldiStages:
    """Stages 0 to 4.

    Args:
        folders: of the recipe.
        stages: which are to run.
        subsampling: the model's frame-subsampling factor.
        leaves: of a tree that has to be built.
        jobs: that run at once.
        cmd: runs them, such as run.pl.
        log: the folder of log files.
        egs_opts: options for ``get_egs.sh``, which outrank those that are set here.
    """

    folders: KaldiFolders
    stages: Stages
    subsampling: int
    leaves: int
    jobs: int
    cmd: str
    log: Path
    egs_opts: str = ""

    def run(self) -> None:
        """Makes what is missing.

        Raises:
            UsageError: something is missing, and there is no Kaldi to make it; or what is there is another model's, or
                is not complete and not to be overwritten.
            CommandError: a script of Kaldi's fails.
        """
        if not any(self.stages.begins(number) for number in range(5)):
            return
        self.folders.check()
        # Complete examples spare the stages before them.
        examples = self._examples()
        have = f"not needed, the examples in {self.folders.egs} are there" if examples.is_complete() else None
        work = (self._lang(have), self._lattices(have), self._tree(have), self._denominator(have), examples)
        wanted = [stage for stage in work if self.stages.begins(stage.number)]
        # What is to be refused is refused before anything is made.
        for stage in wanted:
            if not stage.spared:
                stage.reason()
        for stage in wanted:
            self._run(stage)

    def made(self) -> set[str]:
        """The files in the result's folder that stage 3 has made, and that no others are to replace.

        Raises:
            UsageError: it has not ended, or has made them for another model.
        """
        stage = self._denominator(None)
        if stage.spared or not stage.marker.exists():
            return set()
        if stage.reason() is not None:
            raise UsageError(f"{stage.product} is not complete, or is another model's: begin with --stage 3")
        return {"den.fst", "normalization.fst", "0.trans_mdl"}

    def _run(self, stage: _Stage) -> None:
        reason = stage.spared or stage.reason()
        if stage.spared or reason is None:
            self.stages.say(stage.number, stage.spared or f"{stage.product} is kept")
        elif kaldi_root() is None:
            raise UsageError(
                f"stage {stage.number} makes {stage.product} with Kaldi's scripts: set KALDI_ROOT, or give what is "
                "there with --egs-dir and --kaldi-model-dir; run_tdnn_qat.py --distil needs no examples"
            )
        else:
            self.stages.say(stage.number, reason)
            stage.prepare()
            with stage.marker.around(stage.facts()):
                stage.make()
                if fault := stage.fault():
                    raise CommandError(f"stage {stage.number} ended without an error, and {fault}")
        if stage.number == 2 and self.folders.tree_file() is not None:
            self._take_tree()

    def _lang(self, have_egs: str | None) -> _Stage:
        folders = self.folders
        topology = folders.lang_chain / "topo"
        tree = folders.tree_file()
        return _Stage(
            0,
            topology,
            have_egs or (f"not needed, the tree {tree} is there" if tree else None),
            _is_filled(folders.lang_chain),
            lambda: None if _has_content(topology) else f"{topology} is missing or empty",
            "--lang-chain",
            lambda: contents(folders.lang / "phones.txt", folders.lang / "L.fst", *self._phone_lists()),
            self._make_lang,
        )

    def _phone_lists(self) -> list[Path]:
        return [self.folders.lang / "phones" / f"{name}.csl" for name in ("nonsilence", "silence")]

    def _make_lang(self) -> None:
        lists = [first_line(path) for path in self._phone_lists()]
        chain = self.folders.lang_chain
        shutil.copytree(self.folders.lang, chain, dirs_exist_ok=True)
        topology = shlex.quote(str(chain / "topo"))
        script = "steps/nnet3/chain/gen_topo.py"
        run(["bash", "-c", f"{shlex.join([script, *lists])} >{topology}"], self.log / "gen_topo.log", script)

    def _lattices(self, have_egs: str | None) -> _Stage:
        folders = self.folders
        lang = [folders.lang / name for name in ("phones.txt", "L.fst", "words.txt")]
        data = folders.lores_data
        return _Stage(
            1,
            folders.lattices / "lat.1.gz",
            have_egs,
            _is_filled(folders.lattices),
            partial(fault_of_archives, folders.lattices, "lat", "generate_lattices"),
            "--lat-dir",
            lambda: {
                **table(data / "feats.scp"),
                **table(data / "cmvn.scp"),
                **contents(data / "text", *lang, folders.gmm / "final.mdl"),
            },
            self._make_lattices,
        )

    def _make_lattices(self) -> None:
        folders = self.folders
        options = ["--nj", str(self.jobs), "--cmd", self.cmd]
        places = [folders.lores_data, folders.lang, folders.gmm, folders.lattices]
        run(["steps/align_fmllr_lats.sh", *options, *places], self.log / "align_lats.log")

    def _tree(self, have_egs: str | None) -> _Stage:
        folders = self.folders
        spared = have_egs if folders.denominator(needs_normalization=False) else None
        tree = folders.tree_file()
        # Not the number of leaves: a tree with the model's pdfs is the right one, whatever was asked for.
        options = f"{_CONTEXT}, frame-subsampling factor {self.subsampling}"
        alignments = folders.alignments
        return _Stage(
            2,
            folders.tree / "tree",
            spared if tree is None else f"{tree} is kept" if tree.parent != folders.tree else None,
            _is_filled(folders.tree),
            lambda: None if _has_content(folders.tree / "tree") else f"{folders.tree / 'tree'} is missing or empty",
            "--tree-dir",
            lambda: {
                "options": options,
                **table(folders.lores_data / "feats.scp"),
                **contents(alignments / "final.mdl", folders.lang_chain / "topo"),
                **content(f"{alignments}/ali.*.gz", *sorted(alignments.glob("ali.*.gz"))),
            },
            self._make_tree,
        )

    def _make_tree(self) -> None:
        folders = self.folders
        options = ["--frame-subsampling-factor", str(self.subsampling), "--context-opts", _CONTEXT, "--cmd", self.cmd]
        places = [folders.lores_data, folders.lang_chain, folders.alignments, folders.tree]
        run(["steps/nnet3/chain/build_tree.sh", *options, str(self.leaves), *places], self.log / "build_tree.log")

    def _take_tree(self) -> Path:
        """The tree comes into the result's folder, if it is the model's."""
        tree = self.folders.tree_file()
        if tree is None:
            raise UsageError(f"{self.folders.tree / 'tree'} does not exist: stage 2 makes it")
        self.folders.check_tree(tree)
        if tree != self.folders.out / "tree":
            copy(tree, self.folders.out / "tree")
        return self.folders.out / "tree"

    def _denominator(self, have_egs: str | None) -> _Stage:
        folders = self.folders
        needed = not have_egs
        own = folders.model if folders.denominator(needed) == folders.model else None
        made = folders.out / "den.fst"

        def fault() -> str | None:
            names = ["den.fst", *(["normalization.fst"] if needed else [])]
            return next((f"{path} is missing" for name in names if not (path := folders.out / name).is_file()), None)

        return _Stage(
            3,
            made,
            f"{own / 'den.fst'} is kept" if own else None,
            made.exists(),
            fault,
            None,
            lambda: {
                "options": _LM_OPTIONS,
                **folders.identity(),
                **contents(folders.tree / "final.mdl"),
                **content(f"{folders.tree}/ali.*.gz", *sorted(folders.tree.glob("ali.*.gz"))),
            },
            self._make_denominator,
            self._prepare_denominator,
        )

    def _prepare_denominator(self) -> None:
        self._take_tree()
        self.folders.check_same_tree()
        if fault := fault_of_archives(self.folders.tree, "ali", "convert"):
            raise UsageError(f"{fault}: give the tree's folder, with alignments of the training data, with --tree-dir")
        self.folders.take_transitions()

    def _make_denominator(self) -> None:
        out, tree = self.folders.out, self.folders.tree
        jobs = range(1, number_of_jobs(tree) + 1)
        alignments = " ".join(shlex.quote(str(tree / f"ali.{job}.gz")) for job in jobs)
        phones = f"ali-to-phones {shlex.quote(str(tree / 'final.mdl'))} ark:- ark:-"
        estimate = f"chain-est-phone-lm {_LM_OPTIONS} ark:- {shlex.quote(str(out / 'phone_lm.fst'))}"
        pipe = f"set -o pipefail; gunzip -c {alignments} | {phones} | {estimate}"
        run(["bash", "-c", pipe], self.log / "make_phone_lm.log", "chain-est-phone-lm")
        made = [out / "phone_lm.fst", out / "den.fst", out / "normalization.fst"]
        run(["chain-make-den-fst", out / "tree", out / "0.trans_mdl", *made], self.log / "make_den_fst.log")

    def _examples(self) -> _Stage:
        folders = self.folders
        egs = folders.egs
        options = EgsScriptOptions(folders, self.subsampling, self.egs_opts)

        def facts() -> Facts:
            lattices = sorted(folders.lattices.glob("lat.*.gz"))
            denominator = folders.denominator(needs_normalization=True) or folders.out
            return {
                "options": shlex.join(options.fixed()),
                **folders.identity(),
                **contents(denominator / "normalization.fst"),
                **table(folders.train_data / "feats.scp"),
                **table(folders.train_data / "cmvn.scp"),
                **(table(Path(folders.ivectors) / "ivector_online.scp") if folders.ivectors else {}),
                **contents(folders.train_data / "utt2spk"),
                **content(f"{folders.lattices}/lat.*.gz", *lattices),
            }

        return _Stage(
            4,
            egs / "cegs.1.ark",
            None,
            _is_filled(egs),
            partial(fault_of_examples, egs),
            None if egs == folders.out / "egs" else "--egs-dir",
            facts,
            partial(self._make_examples, options),
            self._prepare_examples,
        )

    def _prepare_examples(self) -> None:
        self._take_tree()
        if self.folders.denominator(needs_normalization=True) == self.folders.model:
            self.folders.take("normalization.fst")
        self.folders.take_transitions()

    def _make_examples(self, options: EgsScriptOptions) -> None:
        folders = self.folders
        places = [folders.train_data, folders.out, folders.lattices, folders.egs]
        words = ["--cmd", self.cmd, *options.words()]
        run(["steps/nnet3/chain/get_egs.sh", *words, *places], self.log / "get_egs.log")


def _is_filled(folder: Path) -> bool:
    """Whether a folder is there and holds anything."""
    return folder.is_dir() and any(folder.iterdir())


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
