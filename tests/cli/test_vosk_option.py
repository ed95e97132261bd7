"""``--vosk-model``: a folder of Vosk's in the place of models, graphs and i-vectors."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.cli.main import VERBS, group, run
from kaldi_quant.cli.recipes.forward_pass import run_forward_pass
from kaldi_quant.kaldi.tables import matrix_writer, read_matrices

Capture = pytest.CaptureFixture[str]
NAMES = 3


@pytest.fixture(scope="module")
def data(example: Path, vosk_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of some of the example's recordings, with features that the model takes."""
    folder = tmp_path_factory.mktemp("data") / "some"
    folder.mkdir()
    paths = sorted((example / "wav").glob("*.wav"))[:NAMES]
    texts = dict(line.split(" ", 1) for line in (example / "data/test_hires/text").read_text().splitlines())
    (folder / "wav.scp").write_text("".join(f"{path.stem} {path}\n" for path in paths))
    (folder / "utt2spk").write_text("".join(f"{path.stem} {path.stem}\n" for path in paths))
    (folder / "text").write_text("".join(f"{path.stem} {texts[path.stem]}\n" for path in paths))
    tables = [f"scp:{folder}/wav.scp", f"ark,scp:{folder}/feats.ark,{folder}/feats.scp"]
    assert run(["make-mfcc", "--vosk-model", str(vosk_model), *tables]) == 0
    return folder


def _forward(out: Path, *arguments: str) -> dict[str, np.ndarray]:
    assert run(["forward", *arguments, f"ark:{out}"]) == 0
    return dict(read_matrices(f"ark:{out}"))


def test_it_stands_for_model_factor_and_extractor(data: Path, vosk_model: Path, tmp_path: Path) -> None:
    feats = f"scp:{data}/feats.scp"
    ivectors = f"ark:{tmp_path}/ivectors.ark"
    assert run(["extract-ivectors", "--vosk-model", str(vosk_model), feats, ivectors]) == 0
    explicit = _forward(
        tmp_path / "explicit.ark",
        f"--online-ivectors={ivectors}",
        "--online-ivector-period=10",
        "--frame-subsampling-factor=3",
        str(vosk_model / "am/final.mdl"),
        feats,
    )
    found = _forward(tmp_path / "found.ark", f"--vosk-model={vosk_model}", feats)
    assert len(found) == NAMES
    for name, rows in explicit.items():
        assert np.array_equal(found[name], rows)
    other = _forward(tmp_path / "other.ark", "--vosk-model", str(vosk_model), "--frame-subsampling-factor", "1", feats)
    assert all(len(other[name]) > 2 * len(rows) for name, rows in found.items())


def test_from_log_likelihoods_to_scores(data: Path, vosk_model: Path, tmp_path: Path, capsys: Capture) -> None:
    vosk = f"--vosk-model={vosk_model}"
    assert run(["forward", vosk, f"scp:{data}/feats.scp", f"ark:{tmp_path}/loglikes.ark"]) == 0
    assert run(["decode", vosk, "--nj=1", f"ark:{tmp_path}/loglikes.ark", str(tmp_path / "decode")]) == 0
    assert run(["score", vosk, str(data), str(tmp_path / "decode")]) == 0
    assert "%WER" in capsys.readouterr().out


def test_an_integer_model_runs_where_there_is_one(data: Path, vosk_model: Path, tmp_path: Path) -> None:
    quantized, feats = tmp_path / "w8", f"scp:{data}/feats.scp"
    options = ["--preset=baseline", f"--vosk-model={vosk_model}"]
    assert run(["quantize", *options, f"{data}/wav.scp", str(quantized)]) == 0
    found = _forward(tmp_path / "folder.ark", f"--vosk-model={quantized}", feats)
    expected = _forward(
        tmp_path / "model.ark",
        f"--ivector-extractor={vosk_model / 'ivector'}",
        str(quantized / "am/quantized.safetensors"),
        feats,
    )
    assert found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in found)
    assert run(["export", f"--vosk-model={quantized}", "--formats=mdl", str(tmp_path / "forms")]) == 0
    assert run(["export", f"--vosk-model={vosk_model}", "--formats=mdl", str(tmp_path / "forms")]) == 1


def test_measuring_verbs(data: Path, vosk_model: Path, tmp_path: Path) -> None:
    vosk, feats = f"--vosk-model={vosk_model}", f"scp:{data}/feats.scp"
    ranges = tmp_path / "ranges.json"
    assert run(["calibrate", vosk, "--preset=baseline", feats, str(ranges)]) == 0
    assert json.loads(ranges.read_text())
    assert run(["info", vosk]) == 0
    assert run(["copy", vosk, str(tmp_path / "copied.mdl")]) == 0
    assert (tmp_path / "copied.mdl").read_bytes() == (vosk_model / "am/final.mdl").read_bytes()


def test_words_of_recordings(example: Path, vosk_model: Path, capsys: Capture) -> None:
    wav = str(example / "wav/test030-006.wav")
    assert run(["transcribe", f"--vosk-model={vosk_model}", wav]) == 0
    assert capsys.readouterr().out == f"{wav} e four p p\n"


def test_a_recipe_with_it(data: Path, vosk_model: Path, tmp_path: Path, capsys: Capture) -> None:
    words = [f"--vosk-model={vosk_model}", f"--data-dir={data}", f"--out-dir={tmp_path / 'out'}", "--nj=1"]
    run_forward_pass.main([*words, str(tmp_path)], standalone_mode=False)
    first = dict(read_matrices(f"ark:{tmp_path}/out/loglikes.ark"))
    expected = _forward(tmp_path / "found.ark", f"--vosk-model={vosk_model}", f"scp:{data}/feats.scp")
    assert all(np.array_equal(first[name], rows) for name, rows in expected.items())
    assert (tmp_path / "out/scoring_kaldi/best_wer").is_file()


def test_every_verb_with_a_model_takes_it() -> None:
    without = {"compute-cmvn-stats", "compare", "compare-trainings"}
    for verb in VERBS:
        command = group.get_command(None, verb)  # type: ignore[arg-type]
        assert command is not None
        taken = any("--vosk-model" in option.opts for option in command.params)
        assert taken == (verb not in without), verb


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "--vosk-model=nowhere"], "is no folder of a Vosk model"),
        (["decode", "--vosk-model={lookahead}", "ark:x", "out"], "has a look-ahead graph"),
        (["extract-ivectors", "--vosk-model={bare}", "ark:x", "ark:y"], "has no extractor of i-vectors"),
        (["forward", "--vosk-model={bare}", "scp:{data}/feats.scp", "ark:y"], "needs i-vectors of dimension"),
        (["forward", "--vosk-model={vosk}", "--ivectors=ark:x", "ark:x", "ark:y"], "exclude each other"),
    ],
)
def test_wrong_folders_are_one_sentence(
    arguments: list[str], message: str, data: Path, vosk_model: Path, tmp_path: Path, capsys: Capture
) -> None:
    lookahead, bare = tmp_path / "lookahead", tmp_path / "bare"
    shutil.copytree(vosk_model, lookahead)
    for name in ("HCLr.fst", "Gr.fst", "disambig_tid.int"):
        (lookahead / "graph" / name).write_bytes(b"")
    (lookahead / "graph/HCLG.fst").unlink()
    shutil.copytree(vosk_model, bare, ignore=shutil.ignore_patterns("ivector"))
    places = {"lookahead": lookahead, "bare": bare, "data": data, "vosk": vosk_model}
    assert run([argument.format(**places) for argument in arguments]) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_ivectors_of_a_speaker_go_on(data: Path, vosk_model: Path, tmp_path: Path) -> None:
    """With speakers, what is heard of one is known in the next utterance."""
    with matrix_writer(f"ark:{tmp_path}/feats.ark") as writer:
        for name, matrix in read_matrices(f"scp:{data}/feats.scp"):
            writer.write(name, matrix)
    (tmp_path / "utt2spk").write_text(
        "".join(f"{name} same\n" for name, _ in read_matrices(f"ark:{tmp_path}/feats.ark"))
    )
    options = [f"--vosk-model={vosk_model}", f"ark:{tmp_path}/feats.ark"]
    apart = _forward(tmp_path / "apart.ark", *options)
    together = _forward(tmp_path / "together.ark", f"--utt2spk=ark:{tmp_path}/utt2spk", *options)
    first, *others = apart
    assert np.array_equal(apart[first], together[first])
    assert all(not np.array_equal(apart[name], together[name]) for name in others)
