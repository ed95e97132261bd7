"""Features as a model's folder asks for them, in the verbs: the arithmetic is tested against Kaldi's elsewhere."""

import inspect
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import kaldi_quant.cli.forward
import kaldi_quant.cli.qat
import kaldi_quant.cli.search
import kaldi_quant.cli.sensitivity
import kaldi_quant.cli.utterances
from kaldi_quant.cli import feature_options
from kaldi_quant.cli.feature_options import check_features_of_examples, without_normalisation
from kaldi_quant.cli.forward import command as forward_verb
from kaldi_quant.cli.inference_options import InferenceArguments
from kaldi_quant.cli.main import run
from kaldi_quant.cli.options import arguments_of
from kaldi_quant.cli.recipes.passed_options import parsed
from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.features.online_cmvn import OnlineCmvnOptions, apply_online_cmvn
from kaldi_quant.kaldi.tables import matrix_writer
from tests.references import NNET3, largest_difference, read_archive

UTTERANCES = read_archive(NNET3 / "feats20.ark")
# As if no option were given.
NO_OPTIONS = arguments_of(InferenceArguments, parsed(forward_verb, ["model", "features", "log-likelihoods"]))
UTT2SPK = dict(zip(UTTERANCES, ("anna", "anna", "ben"), strict=True))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model in a folder as Kaldi leaves it."""
    folder = tmp_path / "exp" / "chain" / "tdnn"
    folder.mkdir(parents=True)
    shutil.copy(NNET3 / "tdnn_component" / "final.raw", folder / "final.mdl")
    (folder / "frame_subsampling_factor").write_text("3\n")
    return folder / "final.mdl"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder as Kaldi leaves it; its features have means that a network notices."""
    folder = tmp_path / "data" / "test"
    write(folder / "feats.ark", {name: feats + 3 for name, feats in UTTERANCES.items()})
    (folder / "utt2spk").write_text("".join(f"{name} {speaker}\n" for name, speaker in UTT2SPK.items()))
    first, second, third = UTTERANCES
    (folder / "spk2utt").write_text(f"anna {first} {second}\nben {third}\n")
    stats = [f"--spk2utt=ark:{folder}/spk2utt", f"ark:{folder}/feats.ark"]
    assert run(["compute-cmvn-stats", *stats, f"ark,scp:{folder}/cmvn.ark,{folder}/cmvn.scp"]) == 0
    return folder


def write(path: Path, utterances: dict[str, np.ndarray]) -> str:
    with matrix_writer(f"ark:{path}") as writer:
        for name, feats in utterances.items():
            writer.write(name, feats)
    return f"ark:{path}"


def normalised(data: Path, norm_vars: bool = False) -> dict[str, np.ndarray]:
    """Features whose means, and variances, are those of a speaker."""
    feats = read_archive(data / "feats.ark")
    spoken = {
        speaker: np.concatenate([feats[name] for name, other in UTT2SPK.items() if other == speaker]).astype(np.float64)
        for speaker in UTT2SPK.values()
    }
    centred = {name: rows - spoken[UTT2SPK[name]].mean(0) for name, rows in feats.items()}
    return {name: rows / (spoken[UTT2SPK[name]].std(0) if norm_vars else 1) for name, rows in centred.items()}


def forward(model: Path, feats: str, out: Path, *options: str) -> dict[str, np.ndarray]:
    assert run(["forward", *options, str(model), feats, f"ark:{out}"]) == 0
    read_archive.cache_clear()
    return read_archive(out)


@pytest.mark.parametrize(
    ("text", "means", "variances"),
    [
        ("--norm-means=true", True, False),
        ("--norm-vars=false", True, False),
        ("", True, False),
        ("--norm_means=true", True, False),
        ("--norm-means", True, False),
        ("--config=conf/online_cmvn.conf", True, True),
        ("--norm-means=false --norm-vars=false", False, False),
        (None, False, False),
    ],
)
def test_forward_normalises_as_the_folder_says(
    model: Path, data: Path, tmp_path: Path, text: str | None, means: bool, variances: bool
) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "online_cmvn.conf").write_text("# of the variances, too\n--norm_vars\n")
    plain = {name: feats + 3 for name, feats in UTTERANCES.items()}
    expected = forward(
        model, write(tmp_path / "expected.ark", normalised(data, variances) if means else plain), tmp_path / "1.ark"
    )
    if text is not None:
        (model.parent / "cmvn_opts").write_text(f"{text}\n")
    assert largest_difference(forward(model, f"ark:{data}/feats.ark", tmp_path / "2.ark"), expected) < 1e-4
    # Told that it is done already, and told the same by an option in another model's folder.
    done = write(tmp_path / "done.ark", normalised(data, variances) if means else plain)
    assert largest_difference(forward(model, done, tmp_path / "3.ark", "--ignore-cmvn"), expected) < 1e-4
    if text is not None:
        (model.parent / "cmvn_opts").write_text("--norm-means=false\n")
        options = [f"--cmvn-opts={text.replace('conf/', f'{tmp_path}/conf/')}"]
        assert (
            largest_difference(forward(model, f"ark:{data}/feats.ark", tmp_path / "4.ark", *options), expected) < 1e-4
        )


def test_online_normalisation_needs_the_training_datas_statistics(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["forward", str(model), f"ark:{data}/feats.ark", f"ark:{tmp_path}/out.ark"]
    (model.parent / "cmvn_opts").write_text("--norm-means=true\n")
    (model.parent / "online_cmvn").touch()
    assert run(arguments) == 1
    assert "global_cmvn.stats is missing, and" in capsys.readouterr().err
    (model.parent / "cmvn_opts").unlink()
    assert run(arguments) == 1
    assert "online_cmvn is there, and" in capsys.readouterr().err
    assert not (tmp_path / "out.ark").exists()


def test_an_integer_model_knows_its_features(model: Path, data: Path, tmp_path: Path) -> None:
    """Online normalisation, with the statistics and the configuration inside the integer model's file."""
    stats = np.zeros((2, 21))
    stats[0], stats[1, :20] = 100.0, 1000.0
    lines = "\n".join("  " + " ".join(map(str, row)) for row in stats)
    (model.parent / "global_cmvn.stats").write_text(f" [\n{lines} ]\n")
    (model.parent / "cmvn_opts").write_text("--config=conf/online_cmvn.conf\n")
    (model.parent / "online_cmvn").touch()
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "online_cmvn.conf").write_text("--cmn-window=50\n")
    feats, speaker_stats, expected = f"ark:{data}/feats.ark", None, {}
    for name, rows in read_archive(data / "feats.ark").items():
        before = speaker_stats if UTT2SPK[name] == "anna" else None
        expected[name] = apply_online_cmvn(rows, stats, before, OnlineCmvnOptions(cmn_window=50))
        speaker_stats = np.array([[*rows.sum(0), len(rows)], [*np.square(rows).sum(0), 0.0]])
    done = write(tmp_path / "expected.ark", expected)
    out = tmp_path / "w8"
    assert run(["quantize", "--preset", "w8a8", str(model), feats, str(out)]) == 0
    assert run(["quantize", "--preset", "w8a8", "--ignore-cmvn", str(model), done, str(tmp_path / "same")]) == 0
    ranges = [tmp_path / "normalised.json", tmp_path / "done.json"]
    assert run(["calibrate", "--preset", "w8a8", str(model), feats, str(ranges[0])]) == 0
    assert run(["calibrate", "--preset", "w8a8", "--ignore-cmvn", str(model), done, str(ranges[1])]) == 0
    found, wanted = (json.loads(path.read_text())["nodes"] for path in ranges)
    assert all(np.allclose(found[node]["high"], wanted[node]["high"], atol=1e-3) for node in wanted)

    artefact = tmp_path / "elsewhere" / "model.safetensors"
    artefact.parent.mkdir()
    shutil.move(out / "quantized.safetensors", artefact)
    shutil.rmtree(model.parent)
    shutil.rmtree(tmp_path / "conf")
    assert set(json.loads((out / "quantization.json").read_text())["features"]) == {
        "cmvn_opts",
        "online_cmvn",
        "global_cmvn.stats",
    }
    outputs = forward(artefact, feats, tmp_path / "1.ark")
    assert largest_difference(outputs, forward(artefact, done, tmp_path / "2.ark", "--ignore-cmvn")) < 1e-3
    other = tmp_path / "same" / "quantized.safetensors"
    assert largest_difference(outputs, forward(other, feats, tmp_path / "3.ark")) < 0.1
    # So does what is exported of it, without the configuration that the float model's folder named.
    exported = tmp_path / "exported" / "dequantized.mdl"
    assert run(["export", "--formats=mdl", str(artefact), str(exported.parent)]) == 0
    files = {path.name for path in exported.parent.iterdir()}
    assert {"cmvn_opts", "online_cmvn", "global_cmvn.stats"} <= files
    assert largest_difference(forward(exported, feats, tmp_path / "4.ark"), outputs) < 0.1


@pytest.mark.parametrize("said", ["", "--norm-means=false", "--norm-means=true --norm-vars=true"])
@pytest.mark.parametrize("given", ["--norm-means=true", "--norm-means=false --norm-vars=false"])
def test_options_of_normalisation_go_where_the_model_goes(
    said: str, given: str, model: Path, data: Path, tmp_path: Path
) -> None:
    if said:
        (model.parent / "cmvn_opts").write_text(f"{said}\n")
    feats, out = f"ark:{data}/feats.ark", tmp_path / "w8"
    assert run(["quantize", "--preset=w8a8", f"--cmvn-opts={given}", str(model), feats, str(out)]) == 0
    assert run(["export", "--formats=mdl", str(out / "quantized.safetensors"), str(out)]) == 0
    integers = forward(out / "quantized.safetensors", feats, tmp_path / "1.ark")
    assert largest_difference(forward(out / "dequantized.mdl", feats, tmp_path / "2.ark"), integers) < 0.1
    assert largest_difference(forward(model, feats, tmp_path / "3.ark", f"--cmvn-opts={given}"), integers) < 0.1


def test_a_model_from_standard_input_has_no_folder(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files in the current folder belong to other models."""
    expected = forward(model, f"ark:{data}/feats.ark", tmp_path / "1.ark")
    monkeypatch.chdir(tmp_path)
    Path("cmvn_opts").write_text("--norm-means=true\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(model.read_bytes())))
    found = forward(Path("-"), f"ark:{data}/feats.ark", tmp_path / "2.ark", "--frame-subsampling-factor=3")
    assert largest_difference(found, expected) == 0


def test_every_verb_reads_features_in_one_way() -> None:
    """The verbs that run networks read features by ``InferenceArguments.read_features`` alone."""
    for module in (
        kaldi_quant.cli.forward,
        kaldi_quant.cli.utterances,
        kaldi_quant.cli.search,
        kaldi_quant.cli.sensitivity,
        kaldi_quant.cli.qat,
    ):
        assert "read_matrices" not in vars(module), module
    assert "read_features(" in inspect.getsource(kaldi_quant.cli.utterances.read_utterances)


def test_speed_is_measured_on_features_of_the_right_kind(model: Path) -> None:
    """Values do not change speed, and need no statistics; the dimension has to fit."""
    (model.parent / "cmvn_opts").write_text("")
    (model.parent / "online_cmvn").touch()
    (model.parent / "delta_opts").write_text("--delta-order=3\n")
    feats = {name: rows[:, :5] for name, rows in UTTERANCES.items()}
    found = dict(without_normalisation(str(model), feats.items()))
    assert {rows.shape[1] for rows in found.values()} == {20}
    assert all(np.array_equal(found[name][:, :5], rows) for name, rows in feats.items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ark:none.ark", "ark:x"], "none.ark"),
        (["--spk2utt=ark:none", "{feats}", "ark:x"], "none: cannot be read"),
        (["--spk2utt=scp:none", "{feats}", "ark:x"], "expected a text file"),
        (["--spk2utt=ark:{other}", "{feats}", "ark:x"], "there are no utterances"),
        (["--spk2utt=ark:{other}", "{feats}", "global_cmvn.stats"], "global_cmvn.stats is a file"),
    ],
)
def test_statistics_that_cannot_be_made(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (tmp_path / "other").write_text("anna x y\n")
    places = {"feats": f"ark:{data}/feats.ark", "other": str(tmp_path / "other")}
    assert run(["compute-cmvn-stats", *(word.format(**places) for word in arguments)]) == 1
    assert message in capsys.readouterr().err


def test_a_teacher_and_examples_of_other_features(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What goes into two networks, or lies in examples already, is normalised once, and has to suit all."""
    teacher, egs = tmp_path / "teacher", tmp_path / "egs"
    shutil.copytree(model.parent, teacher)
    egs.mkdir()
    (model.parent / "cmvn_opts").write_text("--norm-means=false --norm-vars=false\n")
    check_features_of_examples(str(egs), str(model))
    (egs / "cmvn_opts").write_text("\n")
    for refused in (
        lambda: check_features_of_examples(str(egs), str(model)),
        lambda: feature_options.check_teacher(str(egs / "final.mdl"), str(model), NO_OPTIONS),
    ):
        with pytest.raises(
            UsageError, match=r"normalised in different ways: --norm-means=false .* and --norm-means=tru"
        ):
            refused()
    feature_options.check_teacher(str(teacher / "final.mdl"), str(model), NO_OPTIONS)
    (model.parent / "cmvn_opts").write_text("--norm-vars=false")
    check_features_of_examples(str(egs), str(model))
    assert run(["train", str(model), str(egs), str(tmp_path / "out")]) == 1
    assert "normalised" not in capsys.readouterr().err
    (model.parent / "cmvn_opts").write_text("--norm-vars=true")
    assert run(["train", str(model), str(egs), str(tmp_path / "out")]) == 1
    assert "normalised in different ways" in capsys.readouterr().err
