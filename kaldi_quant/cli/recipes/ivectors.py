"""The i-vectors that a recipe gives to its verbs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kaldi_quant.cli.inference_options import InferenceArguments
from kaldi_quant.cli.recipes.verbs import settings_of, words_of
from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.table_files import table_files

#: The options that give i-vectors to a verb.
IVECTOR_OPTIONS = ("ivectors", "online_ivectors", "online_ivector_period")


@dataclass(frozen=True)
class Ivectors:
    """I-vectors of a data folder; none for models without that input.

    Args:
        words: the options that give them to a verb.
        settings: the same, as what a result depends on.
        files: that they are read from.
        repeatable: whether these files alone decide them.
    """

    words: Sequence[str] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    files: Sequence[Path] = ()
    repeatable: bool = True

    @classmethod
    def of(cls, model: Path, data: Path, folder: str | None, option: str, inference: InferenceArguments) -> Ivectors:
        """The i-vectors of a data folder, from options or from the folder that Kaldi's recipes leave.

        Args:
            model: the file.
            data: the data folder.
            folder: as named by an option; None for the one by default.
            option: its name.
            inference: where tables can be named, too.

        Raises:
            UsageError: the model needs i-vectors, and there are none.
        """
        if not read_model(model).nnet.input_dim("ivector"):
            return cls()
        if inference.ivectors or inference.online_ivectors:
            others = [name for name in vars(inference) if name not in IVECTOR_OPTIONS]
            named = [name for name in (inference.ivectors, inference.online_ivectors) if name]
            tables = [table_files(name, inference.allow_pipes) for name in named]
            return cls(
                words_of(inference, others),
                settings_of(inference, (*others, "ivectors", "online_ivectors")),
                [path for table in tables for path in table.files],
                all(table.repeatable for table in tables),
            )
        found = Path(folder) if folder else _by_default(data.name)
        table, period = (found / name if found else None for name in ("ivector_online.scp", "ivector_period"))
        if table is None or period is None or not table.is_file() or not period.is_file():
            raise UsageError(
                f"{model} has an i-vector input: give {option}, the folder of ivector_online.scp and ivector_period"
            )
        frames = period.read_text("utf-8", "replace").strip()
        files = table_files(f"scp:{table}", inference.allow_pipes)
        words = [f"--online-ivectors=scp:{table}", f"--online-ivector-period={frames}"]
        return cls(words, {"--online-ivector-period": frames}, files.files, files.repeatable)


def _by_default(data: str) -> Path | None:
    return next((path for path in sorted(Path("exp").glob(f"nnet3*/ivectors_{data}")) if path.is_dir()), None)
