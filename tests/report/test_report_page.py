"""The report: the front, the heat map, whole pages of all parts and of some, and the same numbers as JSON."""

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kaldi_quant.formats.artefact import save
from kaldi_quant.quant.search.options import FLOAT_BITS
from kaldi_quant.report.comparison import Comparison, compare
from kaldi_quant.report.files.sensitivity_file import read_sensitivity
from kaldi_quant.report.pages.contents import Contents, model_ranges
from kaldi_quant.report.pages.front import front
from kaldi_quant.report.pages.heat_map import Cell, HeatMap, heat_map
from kaldi_quant.report.pages.report_json import as_json
from kaldi_quant.report.pages.report_page import as_html
from kaldi_quant.report.pages.search_part import search_part
from tests.formats.quantized_examples import quantized
from tests.report.decode_folders import real, write_folder
from tests.report.found_files import sensitivity_content, write_json
from tests.report.outline import Outline
from tests.report.report_contents import QUICK, full_contents, ranges

pytest.importorskip("matplotlib")

HOSTILE = "<script>alert(1)</script> $x_1$ & \"y'"


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    return full_contents(tmp_path_factory.mktemp("found"), HOSTILE, (HOSTILE, "tdnn2.affine"))


@pytest.fixture(scope="module")
def page(contents: Contents) -> str:
    return as_html(contents)


def test_all_parts_are_there_and_nothing_is_loaded(page: str) -> None:
    outline = Outline(page)
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert [title.split(":")[0] for title in titles] == [
        "In short", "Results", "Word error rates", "Differences", "Word error rate and size", "Search", "Search",
        "Sensitivity", "Activation ranges", "Layers", "Speed", "What was compared",
    ]  # fmt: skip
    # Of the comparison five, of each search and sensitivity one, of each model's activations one; each in two widths.
    assert outline.tags.count("figure") == 5 + 2 + 1 + 2
    assert outline.tags.count("svg") == 2 * outline.tags.count("figure")
    assert outline.loads_nothing() and "default-src 'none'" in page and not re.search(r"@import|url\((?!#)", page)
    links = [attributes["href"] for tag, attributes in outline.elements if tag == "a"]
    places = [f"#{attributes.get('id')}" for tag, attributes in outline.elements if tag == "section"]
    assert links == places and len(links) == len(titles)


def test_names_stay_text(page: str) -> None:
    assert "<script" not in page
    text = Outline(page).text
    assert text.count("<script>alert(1)</script> $x_1$") >= 15
    assert "<script>alert(1)<script>" in text  # the search's folder, whose name cannot hold a slash


def test_the_inside_of_plots_has_no_names_in_common(page: str) -> None:
    names = re.findall(r'(?<= id=")[^"]+', page)
    assert len(names) == len(set(names)) > 100
    assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', page)) <= set(names)


def test_the_same_contents_give_the_same_page(contents: Contents) -> None:
    small = replace(contents, comparison=None, searches=contents.searches[:1], ranges=contents.ranges[:1])
    assert as_html(small) == as_html(small) and as_json(small) == as_json(small)


def sized(comparison: Comparison, sizes: list[int | None], errors: list[int]) -> Comparison:
    """Rows of given sizes and numbers of errors; the first row's words stand for all."""
    row = comparison.rows[0]
    rows = []
    for number, (size, count) in enumerate(zip(sizes, errors, strict=True)):
        result = replace(
            row.folder.result, edits=replace(row.folder.result.edits, insertions=count, deletions=0, substitutions=0)
        )
        record = replace(row.folder.record, artefact_bytes=size, model_file=None) if row.folder.record else None
        rows.append(replace(row, folder=replace(row.folder, name=str(number), result=result, record=record)))
    return replace(comparison, rows=rows)


@pytest.mark.parametrize(
    ("sizes", "errors", "expected"),
    [
        ([100, 50, 20], [10, 12, 15], "210"),
        ([100, 50, 20], [10, 16, 15], "20"),
        ([100, 50, 20], [10, 10, 10], "2"),
        # Equals stand beside each other; one of the same size and worse does not.
        ([100, 100, 100], [10, 10, 11], "01"),
        ([None, 50, 20], [1, 12, 15], "21"),
        # A single model is no front.
        ([100], [10], ""),
        ([None, 50], [1, 12], ""),
    ],
)  # fmt: skip
def test_the_front(contents: Contents, sizes: list[int | None], errors: list[int], expected: str) -> None:
    assert contents.comparison is not None
    rows = sized(contents.comparison, sizes, errors).rows
    assert "".join(row.name for row in front(rows)) == expected


def test_the_page_names_the_front(page: str) -> None:
    caption = next(text for text in re.findall("<figcaption>(.*?)</figcaption>", page) if "The front" in text)
    assert "float (3 kB, " in caption and "w8 (" not in caption


def brightness(colour: str) -> float:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_heat_map() -> None:
    values = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    cells = [Cell(f"{value:g}", value, value == 1e-3) for value in values]
    page = heat_map(HeatMap("layer", [f"{n} bits" for n in range(6)], [("a<b", [*cells, Cell("base")])], "nats"))
    back = re.findall(r'<td[^>]*style="background:(#\w{6});color:(#\w{6})">([^<]*)<', page)
    assert [text for *_, text in back] == [cell.text for cell in cells]
    levels = [brightness(colour) for colour, *_ in back]
    # Equal ratios are about equal steps, from light to dark, and text can be read on all.
    steps = [lighter - darker for lighter, darker in pairwise(levels)]
    assert min(steps) > 15
    assert all(abs(brightness(text) - brightness(colour)) > 90 for colour, text, _ in back)
    assert re.findall(r'class="([^"]*chosen[^"]*)"[^>]*>([^<]*)', page) == [("chosen", "0.001")]
    assert '<td class="none">base</td>' in page and "a&lt;b" in page
    assert "1e-5 " in page and " 0.1 nats, logarithmic" in page


def test_heat_maps_of_what_has_no_logarithm() -> None:
    page = heat_map(HeatMap("layer", ["4"], [("a", [Cell("0", 0.0)]), ("b", [Cell("-1", -1.0, True)])], "nats"))
    assert "logarithmic" not in page and page.count("background:") == 2
    one = heat_map(HeatMap("layer", ["4"], [("a", [Cell("-1", -1.0), Cell("2", 2.0)])], "nats"))
    assert len(set(re.findall("background:(#[^;]+);", one))) == 1


def test_a_layer_that_the_search_left_in_float_has_no_width_of_its_input(contents: Contents) -> None:
    search = contents.searches[0]
    layers = (replace(search.layers[0], bits=FLOAT_BITS, act_bits=FLOAT_BITS), *search.layers[1:])
    page = search_part(replace(search, layers=layers), "search")
    assert "<td>float</td><td>-</td>" in page and "<td>32</td>" not in page


def test_widths_and_costs_of_a_search(page: str) -> None:
    maps = re.findall(r'<table class="heat">(.*?)</table>', page, re.DOTALL)
    assert len(maps) == 4
    weights, inputs = maps[:2]
    rows = [re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", row) for row in weights.split("<tr>")[1:]]
    assert rows[0] == ["layer", "2 bits", "4 bits", "8 bits"]
    assert rows[2] == ["tdnn2.affine", "0.2", "0.004", "base"]
    assert re.findall(r'class="chosen"[^>]*>([^<]*)', weights) == ["0.002", "0.004"]
    # Of the first layer's input 4 bits were chosen, of the second's the base.
    assert re.findall(r'class="chosen[^>]*>([^<]*)', inputs) == ["-1e-5", "base"]


def test_models_that_a_search_measured(page: str) -> None:
    rows = [
        re.findall("<td>([^<]*)</td>", row) for row in re.findall(r"<tr>(<td>(?:another|chosen)</td>.*?)</tr>", page)
    ]
    assert rows[:2] == [["another", "150", "0.02000", "-", "-"], ["chosen", "201", "0.00500", "15.00", "30 / 200"]]


def test_searches_alone(contents: Contents) -> None:
    outline = Outline(as_html(Contents(searches=contents.searches[:1])))
    assert outline.tags.count("figure") == 1 and "Quantized models: 1 search" in outline.text
    assert "Results" not in outline.text
    outline = Outline(as_html(Contents(sensitivities=contents.sensitivities)))
    assert outline.tags.count("figure") == 1 and "Quantized models: 1 sensitivity" in outline.text


def test_an_interrupted_sensitivity(tmp_path: Path) -> None:
    content = sensitivity_content()
    for kept in (1, 3, 4):
        part = {**content, "measurements": content["measurements"][:kept]}
        found = read_sensitivity(write_json(tmp_path / f"{kept}/sensitivity.json", part))
        text = Outline(as_html(Contents(sensitivities=(found,)))).text
        assert ("holds no measurement of a layer yet" in text) == (kept == 1)
        assert ("not measured yet in full: tdnn1.affine" in text) == (kept == 3)


def test_gains_and_word_error_rates_of_layers(page: str) -> None:
    row = re.search(r"<tr><td>tdnn2.affine</td><td>0.02000</td>(.*?)</tr>", page)
    assert row is not None
    assert re.findall(r"<td>([^<]*)</td>", row[1]) == ["0.05000", "0.01000", "15.00", "15.00"]


def test_activation_ranges(page: str) -> None:
    text = Outline(page).text
    assert "8 bits, 40 grids [-8, 7.5]" in text and "6 bits [0, 5]" in text
    assert "0.02 %" in text and "&lt; 0.001 %" in page
    assert "activations in float, on 12 seconds of speech" in text


def test_ranges_without_speech(contents: Contents) -> None:
    page = as_html(replace(contents, ranges=(ranges("w8", "tdnn1.relu", None),), searches=(), sensitivities=()))
    assert "8 bits, 40 grids [-8, 7.5]" in page and "seconds of speech" not in page


def test_json_holds_everything(contents: Contents) -> None:
    content: dict[str, Any] = json.loads(as_json(contents))
    assert content["format"] == 1 and content["front"] == [HOSTILE, "float"]
    assert [row["name"] for row in content["comparison"]["rows"]] == ["float", HOSTILE, "w8"]
    search = content["searches"][0]
    assert {"layer": "tdnn2.affine", "bits": 2, "divergence": 0.2} in search["weight_costs"]
    assert search["front"][1] == {"bytes": 150, "divergence": 0.025, "bits_per_weight": 4.0}
    assert search["tried"][1]["errors"] == 30
    assert search["layers"][1]["bits"] == 4 and search["float_layers"] == {"lda": "it is small"}
    assert content["sensitivities"][0]["measurements"][1] == {"mode": "all", "layer": "", "kl": 0.06, "wer": 16.0}
    node = content["activation_ranges"][0]["nodes"][1]
    assert node["name"] == HOSTILE and node["spread"]["values"][-1] == 90.0 and node["spread"]["beyond"] == 1e-6
    assert content["notes"] == [f"{HOSTILE}: gone"]


def test_models_that_cannot_be_shown_are_noted(tmp_path: Path) -> None:
    model, network, _ = quantized("tdnn_lda", "w8")
    _, dynamic, _ = quantized("tdnn_lda", "dynamic")
    sizes = {name: save(tmp_path / name, of, model, {}) for name, of in (("here", network), ("dynamic", dynamic))}
    references, first = real()
    records = {
        "float": {"model": "final.mdl"},
        "here": {"model": str(tmp_path / "here"), "artefact_bytes": sizes["here"]},
        "gone": {"model": "gone.safetensors", "artefact_bytes": 100},
        "other": {"model": str(tmp_path / "here"), "artefact_bytes": 100},
        "dynamic": {"model": str(tmp_path / "dynamic")},
    }
    layers = {"layers": [{"name": "tdnn1.affine", "bits": 8}]}
    folders = [
        write_folder(
            tmp_path / "decode" / name, references, {"16_1.0": first}, record | (layers if name != "float" else {})
        )
        for name, record in records.items()
    ]
    found, notes = model_ranges(compare(folders, QUICK))
    assert [ranges.name for ranges in found] == ["here"]
    assert [node.name for node in found[0].nodes] == list(network.activations)
    assert notes == [
        "gone: no activation ranges, its model gone.safetensors is gone",
        f"other: no activation ranges, {tmp_path}/here is not the model that was decoded: it has {sizes['here']} "
        "bytes, and then had 100",
        "dynamic: no activation ranges, it finds them for each utterance",
    ]
