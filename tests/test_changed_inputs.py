"""Whatever a finished recipe was made from is changed, and the recipe run again: the old number never comes out."""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant import made
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.kaldi.outputs import with_network
from kaldi_quant.kaldi.tables import matrix_writer, read_matrices
from tests.recipes import Outcome, few_utterances, run

MODEL, GRAPH = "exp/chain/tdnn1a_sp", "exp/chain/tdnn1a_sp/graph_alphadigits"
OPTIONS = ["--nj", "1", "--model-dir", MODEL, "--graph-dir", GRAPH, "--data-dir", "data/test", "--out-dir", "out"]


def rewritten(path: Path, content: bytes) -> None:
    """Other content under the old time stamps."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=times)


def change_model(root: Path) -> None:
    model = read_model(root / MODEL / "final.mdl")
    component = model.nnet.components["tdnn3.affine"]
    component.replace("BiasParams", component["BiasParams"] + np.float32(0.3))
    rewritten(root / MODEL / "final.mdl", model.getvalue())


def change_features(root: Path) -> None:
    changed = [(name, feats + np.float32(1.0)) for name, feats in read_matrices(f"scp:{root}/data/test/feats.scp")]
    # The table keeps its name and its lines: only the archive that they name is another one.
    archive = root / "data" / "test" / "feats.ark"
    with matrix_writer(f"ark:{archive}", False) as writer:
        for name, feats in changed:
            writer.write(name, feats)


def change_ivectors(root: Path) -> None:
    with matrix_writer(f"ark:{root}/exp/nnet3/ivectors_test/ivectors.ark", False) as writer:
        for name, feats in read_matrices(f"scp:{root}/data/test/feats.scp"):
            writer.write(name, np.full((-(-len(feats) // 10), 2), 2.0, np.float32))


def change_graph(root: Path) -> None:
    """Graph costs that were made with another language-model weight, as it were."""
    from kaldi_quant.kaldi.fst_file import read_fst

    path = root / GRAPH / "HCLG.fst"
    content = bytearray(path.read_bytes())
    arcs = read_fst(path)
    words = np.flatnonzero(arcs.olabel)
    size = 16
    begin = len(content) - len(arcs.weight) * size
    table = np.frombuffer(bytes(content[begin:]), "<i4,<i4,<f4,<i4").copy()
    assert np.array_equal(table["f0"], arcs.ilabel)
    table["f2"][words] += np.where(np.arange(len(words)) % 2, 9.0, 0.0).astype(np.float32)
    rewritten(path, bytes(content[:begin]) + table.tobytes())


def change_words(root: Path) -> None:
    path = root / GRAPH / "words.txt"
    lines = path.read_text().splitlines()
    names, numbers = zip(*(line.split() for line in lines), strict=True)
    # Two words change places.
    order = list(names)
    order[5], order[6] = order[6], order[5]
    rewritten(path, "".join(f"{name} {number}\n" for name, number in zip(order, numbers, strict=True)).encode())


def change_text(root: Path) -> None:
    path = root / "data" / "test" / "text"
    path.write_text(re.sub(r" (\S+)\n", r" \1 \1\n", path.read_text()))


def nothing(root: Path) -> None:
    pass


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda root: (root / name).write_text(text) and None


@dataclass
class Change:
    """One input that changes.

    Args:
        reason: what the recipe says of it.
        files: changes files of the experiment.
        before, after: options of the first and of the second run.
        recipe: that runs.
    """

    reason: str
    files: Callable[[Path], None] = nothing
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    recipe: str = "run_forward_pass.sh"


QUANTIZATION = "run_forward_pass_quantization.sh"
CALIBRATION = ["--calibration-dir", "data/train", "--calibration-utterances", "2", "--formats", "none"]
PLAIN, OTHER = ["--config", "plain.yaml"], ["--config", "other.yaml"]

CHANGES = {
    "model": Change("other content in the model", change_model),
    "another model": Change("other content in the model", after=["--model-file", "exp/chain/tdnnf1b_sp/final.mdl"]),
    "factor": Change("the frame-subsampling factor was 3 and is 1", write(f"{MODEL}/frame_subsampling_factor", "1")),
    "factor by option": Change(
        "the frame-subsampling factor was 3 and is 1", after=["--frame-subsampling-factor", "1"]
    ),
    "features": Change("other content in the features", change_features),
    "chunks": Change("--frames-per-chunk was 0 and is 50", after=["--frames-per-chunk", "50"]),
    "graph": Change("other content in the graph", change_graph),
    "words": Change("other content in the word table", change_words),
    "beam": Change("--beam was 15.0 and is 3.0", after=["--beam", "3"]),
    "acoustic scale": Change("--acoustic-scale was 1.0 and is 2.0", after=["--acwt", "2"]),
    "text": Change("", change_text),
    "weights": Change("", after=["--min-lmwt", "1", "--max-lmwt", "2"]),
    "quantized model": Change("other content in the model", change_model, PLAIN, PLAIN, QUANTIZATION),
    "configuration": Change("the configuration was", nothing, PLAIN, OTHER, QUANTIZATION),
    "content of the configuration": Change(
        "the configuration was", write("plain.yaml", "default: {bits: 2, method: minmax}\n"), PLAIN, PLAIN, QUANTIZATION
    ),
    "calibration data": Change(
        "other content in the calibration features",
        lambda root: shutil.copy(root / "data/other/feats.scp", root / "data/train/feats.scp") and None,
        PLAIN,
        PLAIN,
        QUANTIZATION,
    ),
    "engine": Change("--engine was", nothing, PLAIN, [*PLAIN, "--engine", "reference"], QUANTIZATION),
}


@pytest.fixture(scope="module")
def experiment(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a recipe with four utterances, whose features lie in an archive of their own."""
    root = tmp_path_factory.mktemp("s5")
    for model in ("tdnn1a_sp", "tdnnf1b_sp"):
        (root / "exp/chain" / model).mkdir(parents=True)
        for name in ("final.mdl", "frame_subsampling_factor", "cmvn_opts"):
            shutil.copy(example / "exp/chain" / model / name, root / "exp/chain" / model)
    shutil.copytree(example / GRAPH, root / GRAPH)
    few_utterances(example / "data/test_hires", root / "data/test", 4, example)
    few_utterances(example / "data/train_sub_hires", root / "data/train", 2, example)
    few_utterances(example / "data/train_sub_hires", root / "data/other", 4, example)
    lines = (root / "data/other/feats.scp").read_text().splitlines(keepends=True)
    (root / "data/other/feats.scp").write_text("".join(lines[2:]))
    feats = list(read_matrices(f"scp:{root}/data/test/feats.scp"))
    # From the recipe's root, so that a copy of it has features of its own.
    with matrix_writer(f"ark,scp:{root}/data/test/feats.ark,{root}/data/test/feats.scp", False) as writer:
        for name, values in feats:
            writer.write(name, values)
    scp = root / "data/test/feats.scp"
    scp.write_text(scp.read_text().replace(f"{root}/", ""))
    (root / "plain.yaml").write_text("default: {bits: 4, method: minmax}\n")
    (root / "other.yaml").write_text("default: {bits: 2, method: minmax}\n")
    return root


@pytest.fixture(scope="module")
def finished(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Outcome]]:
    """What each recipe made of it: the folder to copy, and what it printed."""
    found = {}
    for recipe, options in (("run_forward_pass.sh", []), (QUANTIZATION, [*CALIBRATION, *PLAIN])):
        root = tmp_path_factory.mktemp("finished") / "s5"
        shutil.copytree(experiment, root)
        found[recipe] = (root, call(recipe, root, options))
    return found


def call(recipe: str, root: Path, options: list[str], out: str = "out") -> Outcome:
    outcome = run(recipe, *OPTIONS[:-1], out, *options, ".", cwd=root)
    assert outcome.status == 0, outcome.stderr
    return outcome


def log_likelihoods(root: Path, out: str = "out") -> bytes:
    return b"".join(values.tobytes() for _, values in read_matrices(f"ark:{root}/{out}/loglikes.ark"))


@pytest.mark.parametrize("name", CHANGES)
def test_the_old_number_never_comes_out(name: str, finished: dict[str, tuple[Path, Outcome]], tmp_path: Path) -> None:
    change = CHANGES[name]
    source, first = finished[change.recipe]
    root = tmp_path / "s5"
    shutil.copytree(source, root, copy_function=shutil.copy2)
    change.files(root)
    options = [*(CALIBRATION if change.recipe == QUANTIZATION else []), *change.after]
    again = call(change.recipe, root, options)
    fresh = call(change.recipe, root, options, "fresh")
    assert again.score == fresh.score
    assert log_likelihoods(root) == log_likelihoods(root, "fresh")
    assert change.reason in again.stderr
    assert not (root / "out/scoring_kaldi/best_wer").read_text().startswith(first.score) or first.score == fresh.score
    assert sorted(path.name for path in (root / "out").glob("wer_*")) == sorted(
        path.name for path in (root / "fresh").glob("wer_*")
    )


def test_a_copy_of_a_finished_folder_is_kept(finished: dict[str, tuple[Path, Outcome]], tmp_path: Path) -> None:
    for recipe, (source, first) in finished.items():
        root = tmp_path / recipe
        shutil.copytree(source, root)
        options = [*CALIBRATION, *PLAIN] if recipe == QUANTIZATION else []
        again = call(recipe, root, options)
        assert again.score == first.score
        assert "made again" not in again.stderr and again.stderr.count("is kept") >= 2


def test_another_program_makes_all_again(
    finished: dict[str, tuple[Path, Outcome]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, first = finished[QUANTIZATION]
    shutil.copytree(source, tmp_path / "s5")
    monkeypatch.setattr(made, "program_digest", lambda: "of another version")
    again = call(QUANTIZATION, tmp_path / "s5", [*CALIBRATION, *PLAIN])
    assert again.stderr.count("is made again: the program or a library that computes has changed") == 3
    assert again.score == first.score


def test_i_vectors(experiment: Path, tmp_path: Path) -> None:
    """With zeros the model is the one without i-vectors, with twos another one."""
    root = tmp_path / "s5"
    shutil.copytree(experiment, root)
    model = read_model(root / MODEL / "final.mdl")
    affine = model.nnet.components["tdnn1.affine"]
    more = np.random.default_rng(0).normal(0, 0.5, (len(affine["BiasParams"]), 2)).astype(np.float32)
    affine.replace("LinearParams", np.concatenate([affine["LinearParams"], more], 1))
    appended = "input=Append(lda, ReplaceIndex(ivector, t, 0))"
    lines = ["input-node name=ivector dim=2"] + [
        line.replace("component=tdnn1.affine input=lda", f"component=tdnn1.affine {appended}")
        for line in model.nnet.config_lines
    ]
    nnet = Nnet.of_lines(lines, model.nnet.components)
    (root / MODEL / "final.mdl").write_bytes(with_network(model, nnet).getvalue())
    folder = root / "exp/nnet3/ivectors_test"
    folder.mkdir(parents=True)
    with matrix_writer(f"ark,scp:{folder}/ivectors.ark,{folder}/ivector_online.scp", False) as writer:
        for name, feats in read_matrices(f"scp:{root}/data/test/feats.scp"):
            writer.write(name, np.zeros((-(-len(feats) // 10), 2), np.float32))
    (folder / "ivector_period").write_text("10\n")
    first = call("run_forward_pass.sh", root, [])
    before = log_likelihoods(root)
    change_ivectors(root)
    again = call("run_forward_pass.sh", root, [])
    assert "other content in the i-vectors" in again.stderr
    call("run_forward_pass.sh", root, [], "fresh")
    assert before != log_likelihoods(root) == log_likelihoods(root, "fresh")
    assert first.score


@pytest.mark.parametrize(
    ("change", "stage", "reason"),
    [
        (change_model, 3, "loglikes.ark, which no longer fits: other content in the model"),
        (change_model, 4, "loglikes.ark, which no longer fits: other content in the model"),
        (change_graph, 4, "num_jobs, which no longer fits: other content in the graph"),
    ],
)
def test_a_stage_that_is_skipped_has_to_fit(
    change: Callable[[Path], None], stage: int, reason: str, finished: dict[str, tuple[Path, Outcome]], tmp_path: Path
) -> None:
    root = tmp_path / "s5"
    shutil.copytree(finished["run_forward_pass.sh"][0], root)
    assert run("run_forward_pass.sh", *OPTIONS, "--stage", stage, ".", cwd=root).status == 0
    change(root)
    outcome = run("run_forward_pass.sh", *OPTIONS, "--stage", stage, ".", cwd=root)
    assert outcome.status == 1
    assert reason in outcome.stderr
    assert "%WER" not in outcome.stdout
