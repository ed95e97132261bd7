"""Keys of two environments that stand outside of FQSS's sections: SpeechBrain's, and those of HTDemucs's trainer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.fqss.tagged_yaml import CLASS_KEY

#: Those that all environments have.
SECTIONS = ("work_dir", "model_cfg", "dataset_cfg", "training_cfg", "testing_cfg")
_HALF = 0.5


class Keys:
    """The keys of a mapping, each of which is asked for; what nobody asks for is refused.

    Args:
        content: the mapping.
        where: it stands, for messages.
    """

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, dict):
            raise UsageError(f"{where}: expected keys and values, found {content!r}")
        self.content, self.where = content, where
        self._asked = {CLASS_KEY}

    def take(self, key: str, default: Any = None) -> Any:
        """A value; the default where there is none."""
        self._asked.add(key)
        return self.content.get(key, default)

    def number(self, key: str, default: float) -> float:
        """A number.

        Raises:
            UsageError: it is none.
        """
        found = self.take(key, default)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise UsageError(f"{self.where}: {key} must be a number like {default}, found {found!r}")
        return found

    def put(self, key: str, target: dict[str, Any], name: str = "") -> None:
        """Hands a value on, under another name, if it is there."""
        if (value := self.take(key)) is not None:
            target[name or key] = value

    def only(self, key: str, *values: Any) -> None:
        """Refuses all other values; what is not there is none.

        Raises:
            UsageError: there is another one.
        """
        found = self.take(key, values[0])
        if found not in values:
            known = " or ".join(map(str, values))
            raise UsageError(f"{self.where}: {key} must be {known} here, found {found!r}")

    def unused(self, *keys: str) -> None:
        """Keys that are taken, and have no effect here."""
        self._asked.update(keys)

    def inner(self, key: str) -> Keys:
        """A mapping within; an empty one where there is none."""
        return Keys(self.take(key, {}), f"{self.where}, {key}")

    def finish(self) -> None:
        """Refuses what nobody has asked for.

        Raises:
            UsageError: there is such a key; names the known ones.
        """
        for key in self.content:
            if key not in self._asked:
                known = ", ".join(sorted(self._asked - {CLASS_KEY}))
                raise UsageError(f"{self.where}: there is no key {key!r}; keys are {known}")


def with_sections(content: dict[str, Any], environment: str, where: str) -> dict[str, Any]:
    """The sections alone, with what other keys say.

    Args:
        content: of a file.
        environment: whose keys it may have.
        where: it stands, for messages.

    Raises:
        UsageError: there is a key that does not exist, or that says again what a section says, or whose value asks for
            what there is not.
    """
    read = _ENVIRONMENTS.get(environment)
    if read is None or set(content) <= set(SECTIONS):
        return content
    keys = Keys(content, where)
    found = {name: value for name in SECTIONS if (value := keys.take(name)) is not None}
    more: dict[str, Any] = {"model_cfg": {}, "dataset_cfg": {}, "training_cfg": {"optim": {}}}
    read(keys, more)
    keys.finish()
    return _joined(found, more, where)


def _joined(first: dict[str, Any], second: dict[str, Any], where: str) -> dict[str, Any]:
    found = dict(first)
    for key, value in second.items():
        before = found.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            found[key] = _joined(before, value, f"{where}, {key}")
        elif before is not None and before != value:
            raise UsageError(f"{where}: {key} is {before!r}, and a key outside of the sections says {value!r}")
        else:
            found[key] = value
    return found


def _speechbrain(keys: Keys, more: dict[str, Any]) -> None:
    model, data, training = more["model_cfg"], more["dataset_cfg"], more["training_cfg"]
    for key, name in {
        "N_epochs": "epochs",
        "seed": "",
        "kd_lambda": "",
        "batch_size": "",
        "loss_upper_lim": "",
    }.items():
        keys.put(key, training, name)
    for key in ("auto_mix_prec", "threshold_byloss", "threshold"):
        keys.put(key, training)
    keys.put("lr", training["optim"])
    keys.put("clip_grad_norm", training["optim"], "clip_grad")
    keys.put("num_spks", model, "n_src")
    keys.put("training_signal_len", data, "segment_samples")
    keys.only("limit_training_signal_len", True)
    for key in ("test_only", "use_wavedrop", "save_audio"):
        keys.only(key, False)
    keys.unused("noprogressbar", "ckpt_interval_minutes", "train_log", "save_folder", "use_wham_noise", "train_logger")
    keys.unused("loss", "loss_kd", "epoch_counter", "wavedrop", "Sepformer", "modules", "checkpointer")
    loader = keys.inner("dataloader_opts")
    loader.put("num_workers", training)
    loader.put("batch_size", training)
    loader.finish()
    _optimizer(keys.inner("optimizer"), training["optim"])
    schedule = keys.inner("lr_scheduler")
    if schedule.content:
        training["half_lr"] = True
        schedule.only("factor", _HALF)
        schedule.put("patience", training)
        schedule.put("dont_halve_until_epoch", training, "hold")
        schedule.finish()
    if any("speedperturb" in key or "rand_shift" in key for key in keys.content):
        data["augment"] = _speech_changes(keys)
    keys.unused("speedperturb", "use_speedperturb", "use_rand_shift", "min_shift", "max_shift")
    paths = Keys(keys.take("pretrained_separator", {}), keys.where).take("paths", {})
    Keys(paths, keys.where).put("model", training, "pretrained")


def _optimizer(keys: Keys, optim: dict[str, Any]) -> None:
    """``optimizer: !name:torch.optim.Adam``."""
    if keys.content:
        optim["optimizer"] = str(keys.content.get(CLASS_KEY, "Adam")).rpartition(".")[2].lower()
        keys.put("lr", optim)
        keys.put("weight_decay", optim)
        keys.finish()


def _speech_changes(keys: Keys) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    speed = keys.inner("speedperturb")
    speed.unused("perturb_prob", "drop_freq_prob", "drop_chunk_prob", "sample_rate")
    percent = speed.take("speeds")
    speed.finish()
    if keys.take("use_speedperturb", True):
        changes["speed"] = {} if percent is None else {"percent": percent}
    low, high = keys.number("min_shift", -8000), keys.number("max_shift", 8000)
    if keys.take("use_rand_shift", False):
        changes["shift"] = {"samples": high - low}
    return changes


def _htdemucs(keys: Keys, more: dict[str, Any]) -> None:
    model, data, training = more["model_cfg"], more["dataset_cfg"], more["training_cfg"]
    keys.only("model", "htdemucs")
    for key in ("seed", "kd_lambda", "epochs", "batch_size"):
        keys.put(key, training)
    keys.unused("defaults", "dora", "dummy", "debug", "valid_apply", "flag", "save_every", "slurm", "hydra", "quant")
    keys.unused("continue_best", "continue_opt", "pretrained_repo", "use_train_segment", "model_segment", "save_every")
    for key in ("continue_from", "continue_pretrained"):
        keys.only(key, None)
    keys.only("weights", [1.0, 1.0, 1.0, 1.0])
    sizes = keys.take("htdemucs", {})
    if sizes:
        model["sizes"] = sizes
    pretrained = keys.take("pretrained")
    if pretrained is not None and keys.take("use_pretrained_weights", True):
        training["pretrained"] = pretrained
    keys.unused("use_pretrained_weights")
    keys.inner("svd").only("penalty", 0)
    averages = keys.inner("ema")
    for key in ("epoch", "batch"):
        averages.only(key, [])
    keys.inner("misc").put("num_workers", training)
    keys.put("max_batches", data, "train")
    if "train" in data:
        data["train"] *= training.get("batch_size", 1)
    _music_data(keys.inner("dset"), data)
    _music_optimizer(keys.inner("optim"), training["optim"])
    metric = keys.inner("test").take("metric", "loss")
    training["validate"] = metric if metric == "loss" else str(metric).upper()
    if "augment" in keys.content:
        data["augment"] = _music_changes(keys.inner("augment"), data)
    keys.unused("augment")


def _music_data(keys: Keys, data: dict[str, Any]) -> None:
    keys.put("musdb", data, "train_dir")
    keys.put("samplerate", data, "sample_rate")
    keys.put("segment", data)
    keys.put("valid_samples", data, "valid")
    if keys.content.get("shift") is not None:
        data["data_stride"] = round(keys.number("shift", 1) * keys.number("samplerate", 44100))
    keys.only("use_musdb", True)
    keys.only("channels", 2)
    keys.only("normalize", True)
    for key in ("wav", "wav2"):
        keys.only(key, None)
    keys.unused("shift", "musdb_samplerate", "train_valid", "full_cv", "metadata", "sources", "backend")
    keys.finish()


def _music_optimizer(keys: Keys, optim: dict[str, Any]) -> None:
    keys.put("optim", optim, "optimizer")
    for key in ("lr", "weight_decay", "clip_grad"):
        keys.put(key, optim)
    for key, value in {"momentum": 0.9, "beta2": 0.999, "loss": "l1"}.items():
        keys.only(key, value)
    keys.finish()


def _music_changes(keys: Keys, data: dict[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    pitch, remix, scale = (keys.inner(key) for key in ("repitch", "remix", "scale"))
    pitch.unused("max_tempo")
    if pitch.content and (share := pitch.number("proba", 0.2)):
        changes["repitch"] = {"share": share}
    keys.only("shift_same", False)
    changes["shift"] = {"samples": data["data_stride"]} if "data_stride" in data else {}
    if keys.take("flip", True):
        changes |= {"flip-channels": {}, "flip-sign": {}}
    if scale.content:
        factors = {"low": scale.number("min", 0.25), "high": scale.number("max", 1.25)}
        changes["scale"] = {**factors, "share": scale.number("proba", 1.0)}
    if remix.content and (share := remix.number("proba", 1.0)):
        changes["remix"] = {"group": int(remix.number("group_size", 4)), "share": share}
    for inner in (keys, pitch, remix, scale):
        inner.finish()
    return changes


_ENVIRONMENTS: dict[str, Callable[[Keys, dict[str, Any]], None]] = {
    "speechbrain": _speechbrain,
    "htdemucs": _htdemucs,
}
