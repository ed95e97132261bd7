"""The folders that stages 0 to 4 work in, what of them is complete, and whether it belongs to the model."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError, KaldiQuantError, UsageError
from kaldi_quant.job_log import error_lines, status_of
from kaldi_quant.kaldi.egs_folder import EgsFolder, EgsInfo
from kaldi_quant.kaldi.fst_file import read_fst
from kaldi_quant.kaldi.transition_model import TransitionModel, read_transition_model
from kaldi_quant.kaldi.tree import read_context_dependency
from kaldi_quant.kaldi.writer import BinaryWriter
from kaldi_quant.made import Made, Sources
from kaldi_quant.processes import describe_status


@dataclass(frozen=True)
class KaldiFolders:
    """Folders of a Kaldi recipe, from its root.

    Args:
        model: of the trained model. Its tree, transition model and denominator are used where it has them; nothing is
            written to it.
        out: of the result: what is made for the model comes here.
        lang: of the GMM system.
        lang_chain: with the topology of chain models.
        gmm: the GMM system.
        alignments: of the training data by the GMM system.
        lattices: of the training data by the GMM system.
        tree: of the chain model, with alignments of the training data.
        train_data: features of the chain model.
        lores_data: features of the GMM system.
        ivectors: of the training data; empty for models without them.
        egs: the examples.
    """

    model: Path
    out: Path
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

    @cached_property
    def transitions(self) -> TransitionModel:
        """The model's own."""
        return read_transition_model(self.model / "final.mdl")

    def tree_file(self) -> Path | None:
        """The model's tree: its own, or the one in the tree's folder, or the one that an earlier run has taken."""
        folders = [self.model, *([] if Made(self.tree / "tree").is_open() else [self.tree]), self.out]
        return next((path for folder in folders if (path := folder / "tree").is_file()), None)

    def denominator(self, needs_normalization: bool) -> Path | None:
        """The folder that has the denominator, and what examples are normalized with where they have to be made."""
        names = ["den.fst", *(["normalization.fst"] if needs_normalization else [])]
        folders = [self.model, *([] if Made(self.out / "den.fst").is_open() else [self.out])]
        return next((folder for folder in folders if all((folder / name).is_file() for name in names)), None)

    def identity(self) -> Sources:
        """The model, as far as denominators and examples depend on it: its tree and its transitions."""
        tree = self.tree_file()
        transitions = hashlib.sha256(self._transitions_file().getvalue()).hexdigest()
        return Sources({"the digest of the model's transitions": transitions}, {"the tree": [tree] if tree else []})

    def _transitions_file(self) -> BinaryWriter:
        writer = BinaryWriter()
        self.transitions.write(writer)
        return writer

    def take(self, name: str) -> None:
        """Copies one of the model's files to the result's folder, where the model has it."""
        if (self.model / name).is_file():
            copy(self.model / name, self.out / name)

    def take_transitions(self) -> None:
        """Writes the model's transition model to the result's folder, as ``copy-transition-model`` does."""
        self._transitions_file().save(self.out / "0.trans_mdl")

    def check_tree(self, path: Path) -> None:
        """Refuses a tree of another model.

        Raises:
            UsageError: it has another number of pdfs.
            FormatError: it is malformed.
        """
        found, expected = read_context_dependency(path).num_pdfs, self.transitions.num_pdfs
        if found != expected:
            raise UsageError(
                f"{path} has {found} pdfs, and {self.model / 'final.mdl'} has {expected}: the model was trained with "
                "another tree; put it beside the model, or give its folder with --tree-dir"
            )

    def check_same_tree(self) -> None:
        """Refuses alignments of another tree than the model's, where both trees are there.

        Raises:
            UsageError: the trees differ.
        """
        own, other = self.tree_file(), self.tree / "tree"
        if own is None or not other.is_file() or own.read_bytes() == other.read_bytes():
            return
        found = read_context_dependency(other).num_pdfs
        raise UsageError(
            f"{other} ({found} pdfs) is another tree than {own} ({self.transitions.num_pdfs} pdfs): the denominator is "
            "made from alignments with the model's own tree; give its folder with --tree-dir"
        )

    def check(self) -> None:
        """Refuses what is there already and belongs to another model.

        Raises:
            UsageError, DataError: a file has other pdfs or transition-ids.
            FormatError: a file is malformed.
        """
        if (tree := self.tree_file()) is not None:
            self.check_tree(tree)
        if (self.model / "0.trans_mdl").is_file():
            self._check_transitions(self.model / "0.trans_mdl")
        if (self.model / "den.fst").is_file():
            self.check_denominator(self.model / "den.fst")
        # What these stages have made themselves is made again where it does not fit.
        pdfs = None if Made(self.egs / "cegs.1.ark").is_recorded() else EgsInfo.read(self.egs).num_pdfs
        if pdfs not in (None, self.transitions.num_pdfs):
            raise UsageError(
                f"{self.egs} has examples for {pdfs} pdfs, and {self.model / 'final.mdl'} has "
                f"{self.transitions.num_pdfs}: they were made with another tree"
            )

    def _check_transitions(self, path: Path) -> None:
        own, other = self.transitions, read_transition_model(path)
        for what, expected, found in (
            ("pdfs", own.num_pdfs, other.num_pdfs),
            ("transition-ids", own.num_transition_ids, other.num_transition_ids),
        ):
            if found != expected:
                raise UsageError(
                    f"{path} has {found} {what}, and {self.model / 'final.mdl'} has {expected}: it is another model's"
                )

    def check_denominator(self, path: Path) -> None:
        """Refuses a denominator of another model.

        Raises:
            UsageError: its labels are none of the model's pdfs.
            FormatError: it is malformed.
        """
        labels = read_fst(path).ilabel
        largest = int(labels.max()) if len(labels) else 0
        if largest > self.transitions.num_pdfs:
            raise UsageError(
                f"{path} is for {largest} pdfs or more, and {self.model / 'final.mdl'} has "
                f"{self.transitions.num_pdfs}: it was made with another tree"
            )


def copy(source: Path, target: Path) -> None:
    """Copies a file, which appears under its name when it is complete."""
    with atomic_write(target) as stream:
        stream.write(source.read_bytes())


def number_of_jobs(folder: Path) -> int:
    """What the file ``num_jobs`` says.

    Raises:
        DataError: it is missing, or says something else than a number.
    """
    text = first_line(folder / "num_jobs")
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:7]) < 100_000:
        raise DataError(f"{folder / 'num_jobs'}: expected the number of jobs, found {text[:40]!r}")
    return int(text)


def first_line(path: Path) -> str:
    """The first line of a small file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_text(errors="replace").split("\n", 1)[0].strip()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def fault_of_archives(folder: Path, name: str, log: str) -> str | None:
    """What is wrong with gzipped archives of jobs, ``NAME.JOB.gz``; None where all are there.

    Args:
        folder: that holds them, and ``num_jobs``.
        name: such as ``lat``.
        log: the log that each of Kaldi's jobs has left, ``log/LOG.JOB.log``; a missing one says nothing.
    """
    try:
        jobs = number_of_jobs(folder)
        for job in range(1, jobs + 1):
            path = folder / f"{name}.{job}.gz"
            if not path.is_file():
                return f"{path} of {jobs} such files is missing"
            with gzip.open(path) as stream:
                if not stream.read(1):
                    return f"{path} is empty"
            if fault := fault_of_log(folder / "log" / f"{log}.{job}.log"):
                return fault
    except (OSError, EOFError, DataError) as error:
        return f"{folder} is not complete ({error})"
    return None


def fault_of_log(path: Path) -> str | None:
    """What a job's log says went wrong; None where all is well, or where there is no log.

    The first program of a pipe may fail, and the job ends with code 0 all the same.
    """
    if not path.is_file():
        return None
    if status := status_of(path):
        return f"{path} says that its job {describe_status(status)}"
    if status is None:
        return f"{path} says that its job has not ended"
    errors = error_lines(path)
    return f"{path} says {errors[0]}" if errors else None


def fault_of_examples(folder: Path) -> str | None:
    """Why the examples in a folder are not those that ``get_egs.sh`` makes when it ends; None where they are."""
    left = next(folder.glob("cegs_orig.*"), None)
    if left is not None:
        return f"{left} is left: get_egs.sh has not ended"
    try:
        found = EgsFolder.find(folder, quiet=True)
    except KaldiQuantError as error:
        return str(error)
    logs = (folder / "log" / f"shuffle.{number}.log" for number in range(1, len(found.archives) + 1))
    return next((fault for log in logs if (fault := fault_of_log(log))), None)
