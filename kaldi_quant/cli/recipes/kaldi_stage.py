"""A stage that Kaldi's scripts do: what is complete is kept, whoever made it; only this project's is overwritten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from kaldi_quant.cli.recipes.stages import CommandError, Stages, kaldi_root
from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.table_files import table_files
from kaldi_quant.made import Made, Sources


@dataclass(frozen=True)
class KaldiStage:
    """A stage and what it makes.

    Args:
        number: of the stage.
        product: the file that stands for all that it makes.
        spared: why it need not run; None where it may have to.
        there: whether something stands where it would write.
        fault: what is wrong with what is there; None where it is complete.
        option: that names another folder; None in the result's folder, where what does not fit is made again.
        sources: what the result depends on.
        make: does the work.
        prepare: brings what it needs into the result's folder.
    """

    number: int
    product: Path
    spared: str | None
    there: bool
    fault: Callable[[], str | None]
    option: str | None
    sources: Callable[[], Sources]
    make: Callable[[], None]
    prepare: Callable[[], None] = lambda: None

    def is_ours(self) -> bool:
        """Whether this project has made what is there."""
        return Made(self.product).is_recorded()

    def why(self) -> str | None:
        """Why it has to run; None where what is there is kept.

        Raises:
            UsageError: what is there cannot be used, and is not to be overwritten.
            DataError: a source cannot be read.
        """
        if not self.is_ours():
            if not self.there:
                return f"making {self.product}"
            if fault := self.fault():
                raise UsageError(self._refusal(fault, "is not overwritten, as this recipe has not made it"))
            return None
        made = self._made()
        if made.is_open():
            return f"making {self.product} again, as the last run did not end it"
        if change := made.change():
            if self.option is not None:
                raise UsageError(self._refusal(f"{self.product} was made from something else: {change}", "is kept"))
            return f"making {self.product} again: {change}"
        fault = self.fault()
        return f"making {self.product} again: {fault}" if fault else None

    def is_complete(self) -> bool:
        """Whether what is there can be used."""
        try:
            return self.why() is None
        except UsageError:
            return False

    def run(self, stages: Stages) -> None:
        """Makes what is missing, and says what it does.

        Raises:
            UsageError: there is no Kaldi to make it; and as ``why``.
            CommandError: a script of Kaldi's fails.
        """
        why = None if self.spared else self.why()
        if why is None:
            stages.say(self.number, self.spared or self._kept())
            return
        if kaldi_root() is None:
            raise UsageError(
                f"stage {self.number} makes {self.product} with Kaldi's scripts: set KALDI_ROOT, or give what is "
                "there with --egs-dir and --kaldi-model-dir; run_tdnn_qat.py --distil needs no examples"
            )
        stages.say(self.number, why)
        self.prepare()
        # What is prepared may be among the sources.
        made = self._made()
        made.begin()
        self.make()
        if fault := self.fault():
            raise CommandError(f"stage {self.number} ended without an error, and {fault}")
        made.finish()

    def _made(self) -> Made:
        return Made(self.product, replace(self.sources(), external=True))

    def _kept(self) -> str:
        changed = self.is_ours() and self._made().damage() is not None
        return f"{self.product} is kept" + (", which others have made since" if changed else "")

    def _refusal(self, fault: str, what: str) -> str:
        if self.option is None:
            return f"{fault}; {self.product} {what}: remove it"
        return f"{fault}; {self.product.parent} {what}: remove it, or give another one with {self.option}"


def files_of_table(scp: Path) -> list[Path]:
    """An scp file and the archives that it names; none where there is no such file."""
    return list(table_files(f"scp:{scp}", allow_pipes=True).files) if scp.is_file() else []
