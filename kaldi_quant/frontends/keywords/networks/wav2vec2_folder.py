"""Checkpoints of Wav2Vec2 as transformers writes them: a folder with ``config.json`` and weights in safetensors.

Nothing is downloaded, and nothing in such a folder can be executed: weights that are pickled (``pytorch_model.bin``)
and code beside them are not read.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import save
from torch import nn

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError, FormatError, ModelError
from kaldi_quant.frontends.keywords.networks.wav2vec2 import SAMPLE_RATE, KeywordWav2Vec2, transformers
from kaldi_quant.json_file import JsonObject, read_object

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
#: Names the files where weights are in several.
INDEX = "model.safetensors.index.json"
#: Says how waves are normalised.
FEATURES = "preprocessor_config.json"

_CLASSIFIER = "Wav2Vec2ForSequenceClassification"
# What pre-trained checkpoints have beside the network itself, and the heads of other tasks.
_OTHER_HEADS = ("quantizer.", "project_hid.", "project_q.", "lm_head.", "projector.", "classifier.")
_HEAD = ("projector.", "classifier.")

# What transformers raises of a folder that it cannot read.
_FAILURES = (
    OSError,
    ValueError,
    RuntimeError,
    LookupError,
    TypeError,
    AttributeError,
    SafetensorError,
    StrictDataclassError,
)


def read_wav2vec2(
    folder: str | Path, classes: Sequence[str] | None = None, *, new_head: bool = False, seed: int = 0
) -> KeywordWav2Vec2:
    """Reads a network, in test mode.

    Args:
        folder: of the checkpoint.
        classes: the words that it must tell apart, in their order; by default those of the checkpoint.
        new_head: whether the two last layers begin with random weights, for ``classes``: the checkpoint may be of a
            network that was pre-trained, or of another task.
        seed: of these weights.

    Raises:
        DataError: there is no such folder, or it is no checkpoint in safetensors.
        FormatError: one of its files is broken.
        ModelError: it is of another network, or tells other classes apart.
    """
    folder = Path(folder)
    config = _config(folder, new_head)
    names = _labels(config)
    if classes is not None and not new_head:
        _check_classes(folder, names, list(classes))
    if new_head:
        if classes is None:
            raise ModelError(f"{folder}: a new head needs the classes that it is to tell apart")
        names = list(classes)
    with _silence(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            network, found = transformers.Wav2Vec2ForSequenceClassification.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=new_head,
                attn_implementation="eager",
                dtype=torch.float32,
                id2label=dict(enumerate(names)),
                label2id={name: number for number, name in enumerate(names)},
            )
        except _FAILURES as error:
            raise FormatError(str(folder), None, f"cannot be read as {_CLASSIFIER}: {_line(error)}") from error
        _check_loaded(folder, found, new_head)
        if new_head:
            for layer in (network.projector, network.classifier):
                nn.init.normal_(layer.weight, std=network.config.initializer_range)
                nn.init.zeros_(layer.bias)
    return KeywordWav2Vec2(network, _normalises(folder)).eval()


def write_wav2vec2(network: KeywordWav2Vec2, folder: str | Path) -> None:
    """Writes a checkpoint that ``read_wav2vec2`` and transformers read.

    Raises:
        DataError: the folder cannot be written.
    """
    folder = Path(folder)
    tensors = {name: value.detach().contiguous() for name, value in network.network.state_dict().items()}
    config = {**network.network.config.to_dict(), "architectures": [_CLASSIFIER]}
    with atomic_write(folder / WEIGHTS) as stream:
        stream.write(save(tensors, {"format": "pt"}))
    for name, content in ((FEATURES, _features(network)), (CONFIG, config)):
        with atomic_write(folder / name, "w") as stream:
            stream.write(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _config(folder: Path, new_head: bool) -> JsonObject:
    """``config.json``, of a network that is Wav2Vec2."""
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist: expected a folder with {CONFIG} and {WEIGHTS}")
    lacking = "it has no " + CONFIG if not (folder / CONFIG).is_file() else ""
    if not lacking and not any((folder / name).is_file() for name in (WEIGHTS, INDEX)):
        pickled = " (pytorch_model.bin is not read, as it may hold code)" * (folder / "pytorch_model.bin").exists()
        lacking = f"it has no {WEIGHTS}{pickled}"
    if lacking:
        raise DataError(f"{folder} is no checkpoint of Wav2Vec2: {lacking}")
    config = read_object(folder / CONFIG)
    kind = config.content.get("model_type")
    if kind != "wav2vec2":
        raise ModelError(f"{config.path} is of a network of the type {kind!r}: expected wav2vec2")
    made = config.content.get("architectures") or [_CLASSIFIER]
    if made != [_CLASSIFIER] and not new_head:
        raise ModelError(f"{config.path} is of {made}, which tells no classes apart: expected {_CLASSIFIER}")
    return config


def _labels(config: JsonObject) -> list[str]:
    """The classes that a checkpoint tells apart, in the order of logits."""
    given = config.content.get("id2label") or {}
    numbers = [str(number) for number in range(len(given))]
    if not isinstance(given, dict) or set(given) != set(numbers) or not all(isinstance(x, str) for x in given.values()):
        config.refuse("id2label", "the name of each class by its number")
    return [given[number] for number in numbers]


def _check_classes(folder: Path, names: list[str], wanted: list[str]) -> None:
    if len(names) != len(wanted):
        raise ModelError(f"{folder} tells {len(names)} classes apart: expected {len(wanted)}")
    generic = [f"LABEL_{number}" for number in range(len(names))]
    for number, (name, word) in enumerate(zip(names, wanted, strict=True)):
        if name != word and names != generic:
            raise ModelError(f"{folder}: its class {number} is {name!r}, expected {word!r}")


def _check_loaded(folder: Path, found: dict[str, Collection[Any]], new_head: bool) -> None:
    """Refuses weights that are not all there, or too many; found: what transformers says of them."""
    missing = {name for name in found["missing_keys"] if name != "wav2vec2.masked_spec_embed"}
    mismatched = {entry if isinstance(entry, str) else entry[0] for entry in found["mismatched_keys"]}
    unexpected = set(found["unexpected_keys"])
    if new_head:
        missing, mismatched = _without(missing, _HEAD), _without(mismatched, _HEAD)
        unexpected = _without(unexpected, _OTHER_HEADS)
    for names, problem in (
        (missing, "is missing"),
        (mismatched, "has another shape than its configuration says"),
        (unexpected, "belongs to nothing in the network"),
    ):
        if names:
            raise FormatError(str(folder), None, f"the tensor {min(names)[:80]} {problem} ({len(names)} such)")


def _without(names: set[str], beginnings: tuple[str, ...]) -> set[str]:
    return {name for name in names if not name.startswith(beginnings)}


def _normalises(folder: Path) -> bool:
    """Whether waves are normalised, as ``Wav2Vec2FeatureExtractor`` does unless told otherwise."""
    if not (folder / FEATURES).is_file():
        return True
    found = read_object(folder / FEATURES)
    value = found.content.get("do_normalize", True)
    if not isinstance(value, bool):
        found.refuse("do_normalize", "true or false")
    return value


def _features(network: KeywordWav2Vec2) -> dict[str, Any]:
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": SAMPLE_RATE,
        "padding_value": 0.0,
        "do_normalize": network.normalises,
        "return_attention_mask": False,
    }


@contextmanager
def _silence() -> Iterator[None]:
    """Within the block transformers shows neither bars nor reports: what is wrong is raised."""
    logging = transformers.utils.logging
    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
