"""Stages 0 to 4, which Kaldi's own scripts do: from a GMM system to chain examples.

Source of the commands: ``run_chain_common.sh`` of Kaldi's recipes, and
``steps/libs/nnet3/train/chain_objf/acoustic_model.py``.
"""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kaldi_quant.cli.recipes.egs_options import EgsScriptOptions
from kaldi_quant.cli.recipes.kaldi_folders import (
    KaldiFolders,
    copy,
    fault_of_archives,
    fault_of_examples,
    first_line,
    number_of_jobs,
)
from kaldi_quant.cli.recipes.kaldi_stage import KaldiStage, files_of_table
from kaldi_quant.cli.recipes.stages import Stages, run
from kaldi_quant.errors import UsageError
from kaldi_quant.made import Sources

# As in Kaldi's recipes for chain models.
_CONTEXT = "--context-width=2 --central-position=1"
_LM_OPTIONS = "--num-extra-lm-states=2000"


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
                stage.why()
        for stage in wanted:
            stage.run(self.stages)
            if stage.number == 2 and self.folders.tree_file() is not None:
                self._take_tree()

    def made(self) -> set[str]:
        """The files in the result's folder that stage 3 has made, and that no others are to replace.

        Raises:
            UsageError: it has not ended, or has made them for another model.
        """
        stage = self._denominator(None)
        if stage.spared or not stage.is_ours():
            return set()
        if stage.why() is not None:
            raise UsageError(f"{stage.product} is not complete, or is another model's: begin with --stage 3")
        return {"den.fst", "normalization.fst", "0.trans_mdl"}

    def _lang(self, have_egs: str | None) -> KaldiStage:
        folders = self.folders
        topology = folders.lang_chain / "topo"
        tree = folders.tree_file()
        return KaldiStage(
            0,
            topology,
            have_egs or (f"not needed, the tree {tree} is there" if tree else None),
            _is_filled(folders.lang_chain),
            lambda: None if _has_content(topology) else f"{topology} is missing or empty",
            "--lang-chain",
            lambda: Sources(
                files={"the language": [folders.lang / "phones.txt", folders.lang / "L.fst", *self._phone_lists()]}
            ),
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

    def _lattices(self, have_egs: str | None) -> KaldiStage:
        folders = self.folders
        lang = [folders.lang / name for name in ("phones.txt", "L.fst", "words.txt")]
        data = folders.lores_data
        return KaldiStage(
            1,
            folders.lattices / "lat.1.gz",
            have_egs,
            _is_filled(folders.lattices),
            partial(fault_of_archives, folders.lattices, "lat", "generate_lattices"),
            "--lat-dir",
            lambda: Sources(
                files={
                    "the features": files_of_table(data / "feats.scp"),
                    "their statistics": files_of_table(data / "cmvn.scp"),
                    "the transcripts": [data / "text"],
                    "the language": lang,
                    "the GMM system": [folders.gmm / "final.mdl"],
                }
            ),
            self._make_lattices,
        )

    def _make_lattices(self) -> None:
        folders = self.folders
        options = ["--nj", str(self.jobs), "--cmd", self.cmd]
        places = [folders.lores_data, folders.lang, folders.gmm, folders.lattices]
        run(["steps/align_fmllr_lats.sh", *options, *places], self.log / "align_lats.log")

    def _tree(self, have_egs: str | None) -> KaldiStage:
        folders = self.folders
        spared = have_egs if folders.denominator(needs_normalization=False) else None
        tree = folders.tree_file()
        # Not the number of leaves: a tree with the model's pdfs is the right one, whatever was asked for.
        options = {"the context": _CONTEXT, "the frame-subsampling factor": self.subsampling}
        alignments = folders.alignments
        return KaldiStage(
            2,
            folders.tree / "tree",
            spared if tree is None else f"{tree} is kept" if tree.parent != folders.tree else None,
            _is_filled(folders.tree),
            lambda: None if _has_content(folders.tree / "tree") else f"{folders.tree / 'tree'} is missing or empty",
            "--tree-dir",
            lambda: Sources(
                options,
                {
                    "the features": files_of_table(folders.lores_data / "feats.scp"),
                    "the topology": [folders.lang_chain / "topo"],
                    "the alignments": [alignments / "final.mdl", *sorted(alignments.glob("ali.*.gz"))],
                },
            ),
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

    def _denominator(self, have_egs: str | None) -> KaldiStage:
        folders = self.folders
        needed = not have_egs
        own = folders.model if folders.denominator(needed) == folders.model else None
        made = folders.out / "den.fst"

        def fault() -> str | None:
            names = ["den.fst", *(["normalization.fst"] if needed else [])]
            return next((f"{path} is missing" for name in names if not (path := folders.out / name).is_file()), None)

        return KaldiStage(
            3,
            made,
            f"{own / 'den.fst'} is kept" if own else None,
            made.exists(),
            fault,
            None,
            lambda: (
                Sources(
                    {"the option of chain-est-phone-lm": _LM_OPTIONS},
                    {"the alignments": [folders.tree / "final.mdl", *sorted(folders.tree.glob("ali.*.gz"))]},
                )
                | folders.identity()
            ),
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

    def _examples(self) -> KaldiStage:
        folders = self.folders
        egs = folders.egs
        options = EgsScriptOptions(folders, self.subsampling, self.egs_opts)

        def sources() -> Sources:
            denominator = folders.denominator(needs_normalization=True) or folders.out
            return folders.identity() | Sources(
                {f"get_egs.sh {name}": value for name, value in options.fixed().items()},
                {
                    "the normalization": [denominator / "normalization.fst"],
                    "the features": files_of_table(folders.train_data / "feats.scp"),
                    "their statistics": files_of_table(folders.train_data / "cmvn.scp"),
                    "the i-vectors": files_of_table(Path(folders.ivectors) / "ivector_online.scp"),
                    "the speakers": [folders.train_data / "utt2spk"],
                    "the lattices": sorted(folders.lattices.glob("lat.*.gz")),
                },
            )

        return KaldiStage(
            4,
            egs / "cegs.1.ark",
            None,
            _is_filled(egs),
            partial(fault_of_examples, egs),
            None if egs == folders.out / "egs" else "--egs-dir",
            sources,
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
