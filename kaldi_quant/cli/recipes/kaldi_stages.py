"""Stages 0 to 4, which Kaldi's own scripts do: from a GMM system to chain examples.

What is there already is kept. Source of the commands: ``run_chain_common.sh`` of Kaldi's recipes, and
``steps/libs/nnet3/train/chain_objf/acoustic_model.py``.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.cli.recipes.stages import Stages, kaldi_root, run
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.kaldi.model import read_model

# As in Kaldi's recipes for chain models.
_CONTEXT = "--context-width=2 --central-position=1"
_FRAMES_PER_EG = "150,110,100"
_LM_OPTIONS = "--num-extra-lm-states=2000"
_CMVN_OPTIONS = "--norm-means=false --norm-vars=false"


@dataclass(frozen=True)
class KaldiFolders:
    """Folders of a Kaldi recipe, from its root.

    Args:
        model: of the trained model: its tree, transition model and denominator are used where it has them.
        lang: of the GMM system.
        lang_chain: with the topology of chain models.
        gmm: the GMM system.
        alignments: of the training data by the GMM system.
        lattices: of the training data by the GMM system.
        tree: of the chain model.
        train_data: features of the chain model.
        lores_data: features of the GMM system.
        ivectors: of the training data; empty for models without them.
        egs: the examples.
    """

    model: Path
    lang: Path
    lang_chain: Path
    gmm: Path
    alignments: Path
    lattices: Path
    tree: Path
    train_data: Path
    lores_data: Path
    ivectors: str
    egs: Path


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
    """

    folders: KaldiFolders
    stages: Stages
    subsampling: int
    leaves: int
    jobs: int
    cmd: str
    log: Path

    def run(self) -> None:
        """Makes what is missing.

        Raises:
            UsageError: something is missing, and there is no Kaldi to make it.
            CommandError: a script of Kaldi's fails.
        """
        have_egs = any(self.folders.egs.glob("cegs.*.ark"))
        folders = self.folders
        work: list[tuple[Path, bool, Callable[[], None]]] = [
            (folders.lang_chain / "topo", have_egs, self._lang),
            (folders.lattices / "lat.1.gz", have_egs, self._lattices),
            (folders.model / "tree", False, self._tree),
            (folders.model / "den.fst", False, self._denominator),
            (folders.egs / "cegs.1.ark", have_egs, self._examples),
        ]
        for number, (product, spared, make) in enumerate(work):
            if not self.stages.begins(number):
                continue
            if product.exists():
                self.stages.say(number, f"{product} is kept")
            elif spared:
                self.stages.say(number, f"not needed, the examples in {folders.egs} are there")
            elif kaldi_root() is None:
                raise UsageError(
                    f"stage {number} makes {product} with Kaldi's scripts: set KALDI_ROOT, or give what is there with "
                    "--egs-dir and --kaldi-model-dir; run_tdnn_qat.py --distil needs no examples"
                )
            else:
                self.stages.say(number, f"making {product}")
                make()

    def _lang(self) -> None:
        lang, chain = self.folders.lang, self.folders.lang_chain
        lists = [_first_line(lang / "phones" / f"{name}.csl") for name in ("nonsilence", "silence")]
        shutil.copytree(lang, chain, dirs_exist_ok=True)
        # The last of the folder's files: a run that is killed here begins again.
        topology = chain / "topo"
        topology.unlink(missing_ok=True)
        unfinished = chain / ".topo"
        words = shlex.join(["steps/nnet3/chain/gen_topo.py", *lists])
        run(["bash", "-c", f"{words} >{shlex.quote(str(unfinished))}"], self.log / "gen_topo.log")
        unfinished.rename(topology)

    def _lattices(self) -> None:
        folders = self.folders
        options = ["--nj", str(self.jobs), "--cmd", self.cmd]
        run(
            ["steps/align_fmllr_lats.sh", *options, folders.lores_data, folders.lang, folders.gmm, folders.lattices],
            self.log / "align_lats.log",
        )

    def _tree(self) -> None:
        folders = self.folders
        options = ["--frame-subsampling-factor", str(self.subsampling), "--context-opts", _CONTEXT, "--cmd", self.cmd]
        places = [folders.lores_data, folders.lang_chain, folders.alignments, folders.tree]
        run(["steps/nnet3/chain/build_tree.sh", *options, str(self.leaves), *places], self.log / "build_tree.log")
        shutil.copyfile(folders.tree / "tree", folders.model / "tree")

    def _denominator(self) -> None:
        model, tree = self.folders.model, self.folders.tree
        jobs = _first_line(tree / "num_jobs")
        alignments = " ".join(shlex.quote(str(tree / f"ali.{job}.gz")) for job in range(1, int(jobs) + 1))
        phones = f"ali-to-phones {shlex.quote(str(tree / 'final.mdl'))} ark:- ark:-"
        estimate = f"chain-est-phone-lm {_LM_OPTIONS} ark:- {shlex.quote(str(model / 'phone_lm.fst'))}"
        pipe = f"set -o pipefail; gunzip -c {alignments} | {phones} | {estimate}"
        run(["bash", "-c", pipe], self.log / "make_phone_lm.log")
        transitions = model / "0.trans_mdl"
        run(["copy-transition-model", tree / "final.mdl", transitions], self.log / "copy_transition_model.log")
        made = [model / "phone_lm.fst", model / "den.fst", model / "normalization.fst"]
        run(["chain-make-den-fst", model / "tree", transitions, *made], self.log / "make_den_fst.log")

    def _examples(self) -> None:
        from kaldi_quant.nnet.model import AcousticModel

        folders = self.folders
        context = AcousticModel(read_model(folders.model / "final.mdl").nnet).context
        cmvn = folders.model / "cmvn_opts"
        options = {
            "cmd": self.cmd,
            "cmvn-opts": _first_line(cmvn) if cmvn.exists() else _CMVN_OPTIONS,
            "online-ivector-dir": folders.ivectors,
            # Room for frame shifts, as Kaldi's train.py leaves it.
            "left-context": context.left + self.subsampling // 2,
            "right-context": context.right + self.subsampling // 2,
            "frame-subsampling-factor": self.subsampling,
            "alignment-subsampling-factor": self.subsampling,
            "frames-per-eg": _FRAMES_PER_EG,
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        places = [folders.train_data, folders.model, folders.lattices, folders.egs]
        run(["steps/nnet3/chain/get_egs.sh", *words, *places], self.log / "get_egs.log")


def _first_line(path: Path) -> str:
    try:
        return path.read_text().split("\n", 1)[0].strip()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
