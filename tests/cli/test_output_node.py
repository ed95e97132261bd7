"""``--output-node``: every verb does with one output of several what it does with a network that has it alone."""

from pathlib import Path

import pytest

from kaldi_quant.cli.main import run
from kaldi_quant.export.artefact import load as load_artefact
from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.kaldi.outputs import with_output
from kaldi_quant.kaldi.tables import read_matrices
from tests.kaldi.multilingual import multilingual, write_multilingual
from tests.references import NNET3
from tests.train.small_egs import small_egs

FEATS = f"ark:{NNET3 / 'feats20.ark'}"
CHOSEN = ["--output-node", "output-1"]
FACTOR = ["--frame-subsampling-factor", "3"]


@pytest.fixture
def several(tmp_path: Path) -> str:
    """A network with two outputs."""
    return str(write_multilingual(tmp_path / "several.raw"))


@pytest.fixture
def alone(tmp_path: Path) -> str:
    """The second of them alone."""
    path = tmp_path / "alone.raw"
    path.write_bytes(Model(with_output(multilingual(), "output-1"), None, True, "").getvalue())
    return str(path)


def _rows(model: str, path: Path, *options: str) -> bytes:
    assert run(["forward", *FACTOR, *options, model, FEATS, f"ark:{path}"]) == 0
    return path.read_bytes()


def test_forward(several: str, alone: str, tmp_path: Path) -> None:
    found = _rows(several, tmp_path / "a.ark", *CHOSEN)
    assert found == _rows(alone, tmp_path / "b.ark") != _rows(several, tmp_path / "c.ark", "--output-node=output-0")
    assert {rows.shape[1] for _, rows in read_matrices(f"ark:{tmp_path / 'a.ark'}")} == {7}


def test_calibrate_quantize_and_export(several: str, alone: str, tmp_path: Path) -> None:
    ranges = [tmp_path / "a.json", tmp_path / "b.json"]
    for model, path, chosen in ((several, ranges[0], CHOSEN), (alone, ranges[1], [])):
        assert run(["calibrate", *FACTOR, *chosen, model, FEATS, str(path)]) == 0
    first, second = (path.read_text().split('"ranges"', 1)[1] for path in ranges)
    assert first == second
    artefacts = []
    for model, chosen in ((several, CHOSEN), (alone, [])):
        folder = tmp_path / f"quantized{len(chosen)}"
        assert run(["quantize", *FACTOR, *chosen, "--ranges", str(ranges[0]), model, FEATS, str(folder)]) == 0
        artefacts.append(str(folder / "quantized.safetensors"))
    assert _rows(artefacts[0], tmp_path / "q0.ark") == _rows(artefacts[1], tmp_path / "q1.ark")
    assert (
        load_artefact(artefacts[0]).network.host.nodes.keys() == load_artefact(artefacts[1]).network.host.nodes.keys()
    )
    assert run(["export", "--formats", "mdl", artefacts[0], str(tmp_path)]) == 0
    assert _rows(str(tmp_path / "dequantized.mdl"), tmp_path / "d.ark")


def test_an_integer_model_has_one_output(several: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["quantize", *FACTOR, *CHOSEN, several, FEATS, str(tmp_path)]) == 0
    model = str(tmp_path / "quantized.safetensors")
    assert run(["forward", *CHOSEN, model, FEATS, f"ark:{tmp_path / 'a.ark'}"]) != 0
    assert "is an integer model, which has one output" in capsys.readouterr().err


def test_sensitivity(several: str, alone: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = []
    for model, chosen in ((several, CHOSEN), (alone, [])):
        folder = str(tmp_path / f"sensitivity{len(chosen)}")
        assert run(["sensitivity", *FACTOR, "--preset", "w8a8", *chosen, model, FEATS, FEATS, folder]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]
    # What was measured of one output is not taken for another.
    folder = str(tmp_path / "sensitivity2")
    words = ["sensitivity", *FACTOR, "--preset", "w8a8", "--output-node=output-0", several, FEATS, FEATS, folder]
    assert run(words) == 0
    said = capsys.readouterr()
    assert "is measured again, as this has changed: model content" in said.err and said.out != tables[0]


def test_search(several: str, alone: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["search", *FACTOR, "--budget", "6 bits", "--widths", "4,8", "--preset", "w8a8"]
    tables = []
    for model, chosen in ((several, CHOSEN), (alone, [])):
        assert run([*words, *chosen, model, FEATS, FEATS, str(tmp_path / f"search{len(chosen)}")]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]
    assert run([*words, "--output-node=output-0", several, FEATS, FEATS, str(tmp_path / "search2")]) == 0
    said = capsys.readouterr()
    assert "is measured again, as this has changed: model" in said.err and said.out != tables[0]


def test_qat(several: str, alone: str, tmp_path: Path) -> None:
    words = ["qat", *FACTOR, "--preset", "w8a8", "--num-epochs", "1", "--minibatch-size", "2"]
    found = []
    for model, chosen in ((several, CHOSEN), (alone, [])):
        folder = tmp_path / f"qat{len(chosen)}"
        assert run([*words, *chosen, "--teacher", several if chosen else alone, model, FEATS, str(folder)]) == 0
        found.append(_rows(str(folder / "quantized.safetensors"), tmp_path / "rows.ark"))
    assert found[0] == found[1]


def _with_two_outputs(model: Model, path: Path) -> str:
    """The example's model with its output as output-1, its branch as output-1-xent, and another output."""
    lines = [line.replace("output-node name=output", "output-node name=output-1") for line in model.nnet.config_lines]
    lines.append("output-node name=output-0 input=tdnn1.affine")
    path.write_bytes(Model(Nnet.of_lines(lines, model.nnet.components), None, True, "").getvalue())
    return str(path)


def test_train_and_chain_prob(example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chain = example / "exp/chain/tdnn1a_sp"
    original = tmp_path / "original.raw"
    original.write_bytes(read_model(chain / "final.mdl").bare().getvalue())
    several = _with_two_outputs(read_model(chain / "final.mdl"), tmp_path / "several.raw")
    egs = str(small_egs(example, tmp_path, 4))
    options = ["--num-epochs", "1", "--minibatch-size", "2", "--den-fst", str(chain / "den.fst"), *FACTOR]
    prob = ["chain-prob", "--xent-regularize=0.1"]
    trained, lines = [], []
    for model, chosen in ((several, CHOSEN), (str(original), [])):
        folder = tmp_path / f"train{len(chosen)}"
        assert run(["train", *options, *chosen, model, egs, str(folder)]) == 0
        trained.append(read_model(folder / "final.mdl"))
        capsys.readouterr()
        assert run([*prob, *chosen, model, str(chain / "den.fst"), f"ark:{egs}/valid_diagnostic.cegs"]) == 0
        lines.append(capsys.readouterr().out)
    assert lines[0] == lines[1] and "'output-xent'" in lines[0]
    assert [node.name for node in trained[0].nnet.nodes.values()] == [
        node.name for node in trained[1].nnet.nodes.values()
    ]
    assert trained[0].nnet.components.keys() == trained[1].nnet.components.keys()
    assert trained[0].getvalue() == trained[1].getvalue()


@pytest.mark.parametrize(
    "words",
    [
        ["forward", "MODEL", FEATS, "ark:OUT"],
        ["calibrate", "MODEL", FEATS, "OUT"],
        ["quantize", "MODEL", FEATS, "OUT"],
        ["quantize", "--preset", "torch-static", "MODEL", FEATS, "OUT"],
        ["sensitivity", "MODEL", FEATS, FEATS, "OUT"],
        ["search", "--budget", "4 bits", "MODEL", FEATS, FEATS, "OUT"],
        ["qat", "MODEL", FEATS, "OUT"],
        ["train", "--den-fst", "den.fst", "MODEL", "egs", "OUT"],
        ["chain-prob", "MODEL", "den.fst", "ark:egs"],
    ],
    ids=lambda words: " ".join(words[:3]),
)
@pytest.mark.parametrize("option", [[], ["--output-node=output-7"]])
def test_an_output_that_does_not_exist(
    several: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], option: list[str]
) -> None:
    places = {"MODEL": several, "OUT": str(tmp_path / "out"), "ark:OUT": f"ark:{tmp_path / 'out'}"}
    factor = [] if words[0] == "chain-prob" else FACTOR
    assert run([words[0], *factor, *option, *(places.get(word, word) for word in words[1:])]) != 0
    name = "output-7" if option else "output"
    expected = f"there is no output node {name}, only output-0, output-1, output-0-xent, output-1-xent"
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_info(several: str, alone: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", several]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("num-parameters: ") and "left-context" not in "".join(printed)
    assert "output-0, output-1, output-0-xent, output-1-xent" in next(line for line in printed if line[0] == "#")
    assert {"output-0-dim: 10", "output-1-dim: 7"} <= set(printed)
    assert run(["info", *CHOSEN, several]) == 0
    chosen = capsys.readouterr().out.splitlines()
    assert run(["info", alone]) == 0
    assert [line for line in chosen if not line.startswith("file-bytes")] == [
        line for line in capsys.readouterr().out.splitlines() if not line.startswith("file-bytes")
    ]
    assert chosen[0] == "left-context: 1"
