"""The i-vectors that a recipe gives to its verbs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kaldi_quant.cli.inference_options import InferenceArguments
from kaldi_quant.cli.recipes.verbs import settings_of, words_of
from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.features.speakers import file_of
from kaldi_quant.kaldi.ivector_folder import IvectorFolder, find_ivectors
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.table_files import files_of, table_files
from kaldi_quant.kaldi.vosk_folder import extraction_at

#: The options that give i-vectors to a verb.
IVECTOR_OPTIONS = ("ivectors", "online_ivectors", "online_ivector_period", "ivector_extractor")


@dataclass(frozen=True)
class Ivectors:
    """I-vectors of a data folder; none for models without that input.

    Args:
        words: the options that give them to a verb.
        settings: the same, as what a result depends on.
        files: that they are read from.
        repeatable: whether these files alone decide them.
        folder: that they lie in, where it is Kaldi's.
    """

    words: Sequence[str] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    files: Sequence[Path] = ()
    repeatable: bool = True
    folder: Path | None = None

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
        if inference.ivector_extractor and folder is None:
            return cls.extracted(model, inference.ivector_extractor)
        if not read_model(model).nnet.input_dim("ivector"):
            return cls()
        if inference.ivectors or inference.online_ivectors:
            others = [name for name in vars(inference) if name not in IVECTOR_OPTIONS]
            named = [name for name in (inference.ivectors, inference.online_ivectors) if name]
            tables = [table_files(name, inference.allow_pipes) for name in named]
            if inference.ivectors and inference.utt2spk:
                tables.append(files_of([file_of(inference.utt2spk)]))
            return cls(
                words_of(inference, others),
                settings_of(inference, (*others, "ivectors", "online_ivectors")),
                [path for table in tables for path in table.files],
                all(table.repeatable for table in tables),
            )
        return cls.in_folder(model, data, folder, option, inference.allow_pipes)

    @classmethod
    def extracted(cls, model: Path, extractor: str) -> Ivectors:
        """I-vectors that verbs extract from features.

        Args:
            model: the file.
            extractor: its configuration or folder.

        Raises:
            KaldiQuantError: it is broken.
        """
        if not read_model(model).nnet.input_dim("ivector"):
            return cls()
        info = extraction_at(Path(extractor))
        return cls([f"--ivector-extractor={extractor}"], {"how i-vectors are found": asdict(info.options)}, info.files)

    @classmethod
    def in_folder(cls, model: Path, data: Path, folder: str | None, option: str, allow_pipes: bool) -> Ivectors:
        """The i-vectors of a data folder that Kaldi's recipes leave.

        Args:
            model, data, folder, option: as for ``of``.
            allow_pipes: whether commands in scp files run.
        """
        named = IvectorFolder.read(Path(folder)) if folder else None
        if not read_model(model).nnet.input_dim("ivector"):
            return cls()
        try:
            found = named or find_ivectors(Path(), data.name, model.parent)
        except UsageError as error:
            raise UsageError(f"{model} has an i-vector input, and {error} with {option}") from error
        table = table_files(found.rspecifier, allow_pipes)
        words = [f"--online-ivectors={found.rspecifier}", f"--online-ivector-period={found.period}"]
        settings = {"--online-ivector-period": found.period}
        return cls(words, settings, (*found.files, *table.files), table.repeatable, found.path)
