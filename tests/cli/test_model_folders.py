"""What lies beside models: verbs find it, take it along, and refuse what is another model's."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.cli.main import run
from kaldi_quant.kaldi.tables import matrix_writer, read_matrices
from tests.references import NNET3, largest_difference, read_archive

FEATS = f"ark:{NNET3}/feats20.ark"
WITH_IVECTORS = NNET3 / "ivector_utterance"


@pytest.fixture
def folder(example: Path, tmp_path: Path) -> Path:
    """The example's model in a folder that does not state the factor."""
    path = tmp_path / "am"
    path.mkdir()
    source = example / "exp/chain/tdnn1a_sp"
    for name in ("final.mdl", "tree", "phones.txt", "cmvn_opts"):
        shutil.copy(source / name, path)
    (path / "final.ie.id").write_text("of the example\n")
    return path


@pytest.fixture
def feats(example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Four test utterances of which Kaldi's log-likelihoods are known."""
    monkeypatch.chdir(example)
    known = read_archive(example / "reference/nnet3_compute.test_first4.ark")
    with matrix_writer(f"ark:{tmp_path}/feats.ark") as writer:
        for name, matrix in read_matrices("scp:data/test_hires/feats.scp"):
            if name in known:
                writer.write(name, matrix)
    return f"ark:{tmp_path}/feats.ark"


def _forward(tmp_path: Path, *arguments: str) -> dict[str, np.ndarray]:
    assert run(["forward", *arguments, f"ark:{tmp_path}/out.ark"]) == 0
    return dict(read_matrices(f"ark:{tmp_path}/out.ark"))


def _chain2(folder: Path) -> None:
    (folder / "init").mkdir()
    (folder / "init/info.txt").write_text("frame_subsampling_factor 3\nlangs default\n")


def _vosk(folder: Path) -> None:
    (folder.parent / "conf").mkdir()
    (folder.parent / "conf/model.conf").write_text("--beam=13.0\n--frame-subsampling-factor=3\n")


@pytest.mark.parametrize("state", [_chain2, _vosk])
def test_folders_of_chain2_and_vosk_give_kaldis_output(
    state: object, folder: Path, feats: str, tmp_path: Path, example: Path
) -> None:
    assert callable(state)
    state(folder)
    expected = read_archive(example / "reference/nnet3_compute.test_first4.ark")
    assert largest_difference(_forward(tmp_path, str(folder / "final.mdl"), feats), expected) < 3e-4


@pytest.mark.parametrize(
    "verb",
    [
        ["forward", "{model}", "{feats}", "ark:{out}/o.ark"],
        ["calibrate", "{model}", "{feats}", "{out}/ranges.json"],
        ["quantize", "{model}", "{feats}", "{out}"],
        ["sensitivity", "{model}", "{feats}", "{feats}", "{out}"],
        ["search", "--budget=3 bits", "{model}", "{feats}", "{feats}", "{out}"],
        ["qat", "{model}", "{feats}", "{out}"],
        ["train", "{model}", "{example}/exp/chain/tdnn1a_sp/egs", "{out}"],
    ],
    ids=lambda verb: verb[0],
)
def test_no_verb_takes_a_chain_model_without_a_factor(
    verb: list[str], folder: Path, feats: str, tmp_path: Path, example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"model": str(folder / "final.mdl"), "feats": feats, "out": str(tmp_path / "out"), "example": str(example)}
    assert run([word.format(**values) for word in verb]) == 1
    assert "final.mdl: a chain model (it has no priors) needs a frame-subsampling factor" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_verbs_chain(folder: Path, feats: str, tmp_path: Path, example: Path) -> None:
    """The factor that an option gives goes into the integer model and lies beside the exported one."""
    out, moved = tmp_path / "w8", tmp_path / "moved"
    options = ["--frame-subsampling-factor", "3", "--preset", "torch-dynamic"]
    assert run(["quantize", *options, str(folder / "final.mdl"), feats, str(out)]) == 0
    record = json.loads((out / "quantization.json").read_text())
    assert record["frame_subsampling_factor"] == 3
    assert record["companions"]["final.ie.id"] == "of the example\n"
    companions = {"cmvn_opts", "final.ie.id", "frame_subsampling_factor"}
    assert {path.name for path in out.iterdir()} >= {*companions, "tree", "phones.txt"}
    moved.mkdir()
    shutil.move(out / "quantized.safetensors", moved)
    assert run(["export", "--formats=mdl", str(moved / "quantized.safetensors"), str(tmp_path / "exported")]) == 0
    exported = {path.name for path in (tmp_path / "exported").iterdir()} - {".companions.json", ".lock"}
    assert exported == {"dequantized.mdl", *companions}
    expected = read_archive(example / "reference/nnet3_compute.test_first4.ark")
    for model in (moved / "quantized.safetensors", tmp_path / "exported/dequantized.mdl"):
        found = _forward(tmp_path, str(model), feats)
        assert {name: rows.shape for name, rows in found.items()} == {n: rows.shape for n, rows in expected.items()}
        for name, rows in expected.items():
            assert np.abs(found[name] - rows).mean() < 0.2


def test_another_model_into_the_same_folder(
    folder: Path, feats: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that was there before stays, and the error comes before any work."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/frame_subsampling_factor").write_text("1\n")
    for verb in (["quantize"], ["search", "--budget=3 bits"]):
        arguments = [str(folder / "final.mdl"), *[feats] * len(verb), str(tmp_path / "out")]
        assert run([*verb, "--frame-subsampling-factor=3", *arguments]) == 1
        assert "out holds models with frame-subsampling factor 1" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["frame_subsampling_factor"]


def test_an_option_against_the_record(
    folder: Path, feats: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--frame-subsampling-factor", "3", "--preset", "torch-dynamic"]
    assert run(["quantize", *options, str(folder / "final.mdl"), feats, str(tmp_path)]) == 0
    artefact = str(tmp_path / "quantized.safetensors")
    threes = _forward(tmp_path, artefact, feats)
    ones = _forward(tmp_path, "--frame-subsampling-factor=1", artefact, feats)
    assert "--frame-subsampling-factor 1 is used, though" in capsys.readouterr().err
    for name, rows in threes.items():
        # Its ranges are those of the batch, which other rows change.
        assert ones[name][::3].shape == rows.shape and np.abs(ones[name][::3] - rows).mean() < 0.1


def test_copy_takes_companions_along(folder: Path, tmp_path: Path) -> None:
    _vosk(folder)
    assert run(["copy", str(folder / "final.mdl"), str(tmp_path / "new/other.mdl")]) == 0
    assert (tmp_path / "new/frame_subsampling_factor").read_text() == "3\n"
    assert (tmp_path / "new/tree").read_bytes() == (folder / "tree").read_bytes()
    assert run(["copy", "--raw", str(folder / "final.mdl"), str(tmp_path / "raw/other.raw")]) == 0
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["other.raw"]


def test_train_takes_companions_along(folder: Path, tmp_path: Path, example: Path) -> None:
    egs, out = tmp_path / "egs", tmp_path / "tuned"
    egs.mkdir()
    shutil.copy(example / "exp/chain/tdnn1a_sp/egs/valid_diagnostic.cegs", egs / "cegs.1.ark")
    shutil.copy(example / "exp/chain/tdnn1a_sp/den.fst", folder)
    options = [
        "--frame-subsampling-factor=3",
        "--num-epochs=1",
        "--minibatch-size=64",
        "--lr-initial=1e-6",
        "--lr-final=1e-6",
    ]
    assert run(["train", *options, str(folder / "final.mdl"), str(egs), str(out)]) == 0
    assert (out / "frame_subsampling_factor").read_text() == "3\n"
    assert {path.name for path in out.iterdir()} >= {"final.mdl", "tree", "phones.txt", "cmvn_opts", "final.ie.id"}


@pytest.mark.parametrize("verb", ["train", "qat"])
def test_examples_of_another_model(
    verb: str, folder: Path, feats: str, tmp_path: Path, example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    egs = tmp_path / "egs"
    shutil.copytree(example / "exp/chain/tdnn1a_sp/egs", egs)
    (egs / "info/num_pdfs").write_text("2000\n")
    model, out = str(folder / "final.mdl"), str(tmp_path / "out")
    arguments = [model, str(egs), out] if verb == "train" else [f"--egs-dir={egs}", model, feats, out]
    assert run([verb, "--frame-subsampling-factor=3", *arguments]) == 1
    assert "egs/info/num_pdfs says 2000, and" in capsys.readouterr().err


def test_a_graph_of_another_model_whose_labels_fit(
    example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = example / "exp/chain/tdnn1a_sp"
    graph = tmp_path / "graph"
    shutil.copytree(model / "graph_alphadigits", graph)
    (graph / "num_pdfs").write_text("300\n")
    loglikes = f"ark:{example}/reference/nnet3_compute.test_first4.ark"
    assert run(["decode", str(model / "0.trans_mdl"), str(graph / "HCLG.fst"), loglikes, str(tmp_path / "dec")]) == 1
    assert "graph/num_pdfs says that the graph was made for a model of 300 pdfs" in capsys.readouterr().err
    assert not (tmp_path / "dec").exists()


def _vectors(path: Path, table: dict[str, np.ndarray]) -> str:
    """Writes vectors in Kaldi's text form."""
    lines = (f"{key}  [ {' '.join(map(repr, map(float, vector)))} ]\n" for key, vector in table.items())
    path.write_text("".join(lines))
    return f"ark:{path}"


@pytest.fixture
def utterance_ivectors() -> dict[str, np.ndarray]:
    """One i-vector for each utterance of the fixture."""
    rng = np.random.default_rng(1)
    names = [name for name, _ in read_matrices(FEATS)]
    return {name: rng.normal(size=10).astype(np.float32) for name in names}


@pytest.mark.parametrize("form", ["ark:{}", "{}", "ark,s,cs:{}"])
def test_ivectors_of_speakers(form: str, tmp_path: Path, utterance_ivectors: dict[str, np.ndarray]) -> None:
    """The i-vector of its speaker gives an utterance what its own one with the same values gives."""
    model = str(WITH_IVECTORS / "final.raw")
    speakers = {name: f"speaker{number // 2}" for number, name in enumerate(utterance_ivectors)}
    of_speakers = {speakers[name]: vector for name, vector in utterance_ivectors.items()}
    expanded = {name: of_speakers[speaker] for name, speaker in speakers.items()}
    (tmp_path / "utt2spk").write_text("".join(f"{name} {speaker}\n" for name, speaker in speakers.items()))
    expected = _forward(tmp_path, f"--ivectors={_vectors(tmp_path / 'utt.ark', expanded)}", model, FEATS)
    table = _vectors(tmp_path / "spk.ark", of_speakers)
    mapped = form.format(tmp_path / "utt2spk")
    found = _forward(tmp_path, f"--ivectors={table}", f"--utt2spk={mapped}", model, FEATS)
    assert found.keys() == expected.keys()
    assert largest_difference(found, expected) == 0


def test_speakers_that_are_missing(
    tmp_path: Path, utterance_ivectors: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, *_ = utterance_ivectors
    (tmp_path / "utt2spk").write_text(f"{first} a\n{second} b\n")
    table = _vectors(tmp_path / "spk.ark", {"a": utterance_ivectors[first]})
    options = ["--max-bad-share=1", f"--ivectors={table}", f"--utt2spk=ark:{tmp_path}/utt2spk"]
    found = _forward(tmp_path, *options, str(WITH_IVECTORS / "final.raw"), FEATS)
    assert set(found) == {first}
    errors = capsys.readouterr().err
    assert f"utterance {second}: its speaker b has no i-vector in" in errors
    assert f"it has no speaker in ark:{tmp_path}/utt2spk" in errors


def test_ivectors_of_another_extractor(
    tmp_path: Path, utterance_ivectors: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model/final.raw"
    model.parent.mkdir()
    shutil.copy(WITH_IVECTORS / "final.raw", model)
    (model.parent / "final.ie.id").write_text("right\n")
    (tmp_path / "final.ie.id").write_text("wrong\n")
    table = f"--ivectors={_vectors(tmp_path / 'utt.ark', utterance_ivectors)}"
    for verb in (["forward", table], ["quantize", table]):
        assert run([*verb, str(model), FEATS, str(tmp_path / "out")]) == 1
        assert "are of the extractor 'wrong', and" in capsys.readouterr().err
    (tmp_path / "final.ie.id").write_text("right\n")
    assert _forward(tmp_path, table, str(model), FEATS)


def test_features_of_another_width_are_refused_at_once(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, options = str(tmp_path / "out"), ["--frame-subsampling-factor=3", str(folder / "final.mdl"), FEATS]
    for verb in (["forward", *options, f"ark:{out}"], ["quantize", *options, out]):
        assert run(verb) == 1
        errors = capsys.readouterr().err
        assert "have 20 columns (utterance " in errors and "final.mdl needs 40" in errors
        assert "leaving out" not in errors
