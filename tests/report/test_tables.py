"""The comparison as text, Markdown and JSON."""

import json
import subprocess
from dataclasses import replace

import pytest

from kaldi_quant.report.as_json import as_json
from kaldi_quant.report.cells import _layer_cell
from kaldi_quant.report.comparison import Comparison, ComparisonOptions, compare
from kaldi_quant.report.files.record import LayerRecord
from kaldi_quant.report.markdown import as_markdown
from kaldi_quant.report.text import as_text
from kaldi_quant.speed import Speed
from tests.report.decode_folders import disturbed, real, write_folder

RECORD = {
    "format": 1,
    "model": "gone.safetensors",
    "preset": "w4a8",
    "command": ["kaldi-quant", "quantize", "a b"],
    "bits_per_weight": 4.0625,
    "artefact_bytes": 130,
    "float_bytes": 1000,
    "layers": [
        {"name": "tdnn1.affine", "bits": 4, "act_bits": 8, "parameters": 640, "sqnr_db": 21.46},
        {"name": "output|affine", "bits": 8, "sqnr_db": None},
    ],
    "float_layers": {"lda": "it is small"},
}
EIGHT = {"layers": [{"name": "lda", "bits": 8, "act_bits": 8, "sqnr_db": 40}, {"name": "tdnn1.affine", "sqnr_db": 41}]}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    base = tmp_path_factory.mktemp("decode")
    references, first = real()
    write_folder(base / "float", references, {"16_1.0": first})
    write_folder(base / "w4_<b>", references, {"9_0.5": disturbed(first, 0.05, 1)}, RECORD)
    write_folder(base / "w8", references, {"16_1.0": {**first, "test000-000": ["two", "z", "s", "zero"]}}, EIGHT)
    found = compare([f"{base}/{name}" for name in ("float", "w4_<b>", "w8")], ComparisonOptions(replications=500))
    speeds = {
        "float": Speed(45000, 1.0, 1.0, 1.0),
        "w4_<b>": Speed(99000, 2.2, 2.1, 2.25),
        "nnet3-compute": Speed(18000, 0.4, 0.4, 0.5),
    }
    return replace(found, speeds=speeds)


def shell(command: str, text: str) -> list[str]:
    done = subprocess.run(["bash", "-c", command], input=text, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_rows_begin_as_in_kaldis_results(comparison: Comparison) -> None:
    text = as_text(comparison)
    rows = shell("grep WER", text)
    assert len(rows) == 3
    for row, found in zip(comparison.rows, rows, strict=True):
        assert found.startswith(f"{row.folder.result.wer_line()} {row.folder.score_file} ")
    first = rows[0].split()
    assert first[:14] == [
        *shell("tr ' ' '\\n'", "%WER 14.54 [ 357 / 2456, 80 ins, 52 del, 225 sub ]"),
        str(comparison.rows[0].folder.score_file),
    ]
    assert shell("grep WER | sort -k2n", text)[-1] == max(rows, key=lambda row: float(row.split()[1]))
    # All other lines are comments, tables of layers or of speed, none of which may be taken for a result.
    assert all(line.startswith("#") or "WER" not in line for line in text.splitlines() if line not in rows)


def test_kaldis_best_wer_works(comparison: Comparison) -> None:
    # The patterns of utils/best_wer.sh.
    perl = r"""perl -e 'while (<>) { if (m/[WS]ER (\S+)/ && (!defined $best || $best > $1)) { $best = $1; $line = $_; }}
    print $line;' | awk 'BEGIN{ FS="%WER"; } { if (NF == 2) { print FS$2" "$1; } else { print $0; } }'"""
    found = shell(perl, as_text(comparison))
    best = min(comparison.rows, key=lambda row: row.folder.result.percent)
    assert len(found) == 1 and found[0].startswith(f"{best.folder.result.wer_line()} {best.folder.score_file} ")


def test_columns_of_the_text(comparison: Comparison) -> None:
    lines = as_text(comparison).splitlines()[3:]
    header, _, four, eight = (line.split() for line in lines[:4])
    assert header == [
        "#", "name", "95%-interval", "difference", "95%-interval", "p-bootstrap", "p-MAPSSWE", "significant",
        "bytes", "of-float", "bits", "speed",
    ]  # fmt: skip
    versus = comparison.rows[1].versus
    assert versus is not None
    assert four[14] == "w4_<b>" and four[16] == f"{versus.paired.difference:+.2f}"
    assert four[17] == f"[{versus.paired.interval.low:+.2f},{versus.paired.interval.high:+.2f}]"
    assert four[18:] == ["0.004", "<0.001", "yes", "130", "0.13", "4.06", "2.20"]
    assert eight[20:] == ["no", "-", "-", "-", "-"]
    assert len({line.rindex(end) + len(end) for line, end in zip(lines[:2], ("speed", "1.00"), strict=False)}) == 1


def test_the_verdict_comes_first(comparison: Comparison) -> None:
    first, second, blank = as_text(comparison).splitlines()[:3]
    assert first.startswith("# w4_<b>: 2.2 times as fast, a significant loss (+") and blank == ""
    assert second == "# w8: no loss: the same words in all utterances"
    markdown = as_markdown(comparison)
    assert markdown.startswith("## In short\n\n- w4\\_\\<b\\>: 2.2 times as fast, a significant loss (+")
    assert "errors in 2456 words" in markdown
    assert json.loads(as_json(comparison))["verdicts"]["w8"] == second.removeprefix("# w8: ")
    alone = as_text(replace(comparison, rows=comparison.rows[:1]))
    assert alone.startswith("#   ")


def test_a_layer_whose_weights_alone_are_quantized_says_so(comparison: Comparison) -> None:
    assert _layer_cell(LayerRecord("a", 4, 0, sqnr=21.46)) == "W4 (weights only) 21.5"


def test_layers_and_speed_in_the_text(comparison: Comparison) -> None:
    lines = as_text(comparison).splitlines()
    start = lines.index("# signal-to-quantization-noise of each layer, dB")
    assert [line.split() for line in lines[start + 1 : start + 5]] == [
        ["#", "layer", "parameters", "w4_<b>", "w8"],
        ["tdnn1.affine", "640", "W4A8", "21.5", "41.0"],
        ["output|affine", "-", "W8", "-", "-"],
        ["lda", "-", "-", "W8A8", "40.0"],
    ]
    assert [line.split() for line in lines[-4:]] == [
        ["#", "model", "ratio", "lowest", "highest", "frames/s"],
        ["float", "1.00", "1.00", "1.00", "45000"],
        ["w4_<b>", "2.20", "2.10", "2.25", "99000"],
        ["nnet3-compute", "0.40", "0.40", "0.50", "18000"],
    ]


def test_markdown(comparison: Comparison) -> None:
    text = as_markdown(comparison)
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    for table in tables:
        # Escaped bars do not separate columns.
        assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert tables[0][2].startswith("| float | 14.54 | 357 | 80 / 52 / 225 | 16 / 1.0 | [")
    assert tables[0][3].startswith("| w4\\_\\<b\\> | ")
    assert any(line.startswith("| output\\|affine | ") for line in tables[1])
    plain = as_markdown(replace(comparison, rows=comparison.rows[:1], speeds=None))
    assert "bytes" not in plain and "difference |" not in plain and "##" in plain and "Speed" not in plain


def test_json_holds_everything(comparison: Comparison) -> None:
    content = json.loads(as_json(comparison))
    assert content["format"] == 1 and content["bootstrap"]["units"] == 400
    first, four, eight = content["rows"]
    assert first["errors"] == 357 and first["wer"] == 100 * 357 / 2456 and first["versus_first"] is None
    assert (first["insertions"], first["deletions"], first["substitutions"]) == (80, 52, 225)
    assert first["quantization"] is None and first["bytes"] is None and first["speed"] == 1.0
    assert four["lmwt"] == 9 and four["wip"] == "0.5" and four["bytes"] == 130 and four["speed"] == 2.2
    versus = comparison.rows[1].versus
    assert versus is not None
    assert four["versus_first"]["interval"] == [versus.paired.interval.low, versus.paired.interval.high]
    assert four["versus_first"]["mapsswe"]["z"] == versus.matched.z and four["versus_first"]["significant"] is True
    assert four["quantization"]["layers"][0] == {
        "name": "tdnn1.affine", "bits": 4.0, "act_bits": 8.0, "parameters": 640, "sqnr": 21.46,
    }  # fmt: skip
    assert four["quantization"]["float_layers"] == {"lda": "it is small"}
    assert content["speed"]["nnet3-compute"]["ratio"] == 0.4 and eight["speed"] is None
    assert any("LMWT" in note for note in content["notes"])


def test_the_same_input_gives_the_same_bytes(comparison: Comparison) -> None:
    folders = [str(row.folder.path) for row in comparison.rows]
    again = replace(compare(folders, comparison.options), speeds=comparison.speeds)
    for write in (as_text, as_markdown, as_json):
        assert write(again) == write(comparison)
