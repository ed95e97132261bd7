"""The HTML page: well formed, on its own, and safe with any name."""

import re
import sys
import warnings
import xml.etree.ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from kaldi_quant.errors import MissingDependencyError
from kaldi_quant.report.comparison import Comparison, ComparisonOptions, compare
from kaldi_quant.report.pages.comparison_page import as_html
from kaldi_quant.report.pages.plot_style import require_matplotlib
from kaldi_quant.report.pages.plots import plots
from kaldi_quant.speed import Speed
from tests.report.decode_folders import disturbed, real, write_folder
from tests.report.outline import Outline

# Its last letter is in none of matplotlib's fonts.
HOSTILE = "<script>alert(1)</script> $x_1$ & \"y'\N{CJK UNIFIED IDEOGRAPH-6E2C}"


def record(model_bytes: int, sqnr: float | None) -> dict[str, object]:
    layers = [{"name": f"tdnn{number}&", "bits": 4, "act_bits": 8, "sqnr_db": sqnr} for number in range(3)]
    return {"artefact_bytes": model_bytes, "preset": HOSTILE, "config": {"a": HOSTILE}, "layers": layers}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    pytest.importorskip("matplotlib")
    base = tmp_path_factory.mktemp("decode")
    references, first = real()
    folders = [write_folder(base / "float", references, {"16_1.0": first}, record(3_000_000, None))]
    second = write_folder(base / "w4", references, {"16_1.0": disturbed(first, 0.02, 1)}, record(400_000, 20.0))
    found = compare([*folders, f"{HOSTILE}={second}"], ComparisonOptions(replications=200))
    return replace(found, speeds={"float": Speed(10, 1, 1, 1), HOSTILE: Speed(30, 3, 2.9, 3.2)})


@pytest.fixture(scope="module")
def page(comparison: Comparison) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return as_html(comparison)


def test_the_page_is_whole_and_loads_nothing(page: str) -> None:
    outline = Outline(page)
    # Each plot is drawn for wide windows and for narrow ones.
    assert outline.tags.count("figure") == 5 and outline.tags.count("svg") == 10
    assert outline.loads_nothing()
    assert not re.search(r"@import|url\((?!#)", page)
    assert "default-src 'none'" in page


def test_names_stay_text(page: str) -> None:
    outline = Outline(page)
    # In the table, the notes, the plots and where it is said what was compared.
    assert outline.text.count("<script>alert(1)</script> $x_1$") >= 5
    assert "tdnn0&" in outline.text and "word error rate, %" in outline.text


def test_plots_are_separate_documents_without_common_names(page: str) -> None:
    svgs = re.findall(r"<svg .*?</svg>", page, re.DOTALL)
    names: list[str] = []
    for svg in svgs:
        root = xml.etree.ElementTree.fromstring(svg)
        assert root.get("viewBox") and not root.get("width") and not root.get("height")
        own = [element.get("id") for element in root.iter() if element.get("id")]
        names += [name for name in own if name]
        used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
        assert used and used <= set(own)
    assert len(names) == len(set(names))


def test_the_same_comparison_gives_the_same_page(comparison: Comparison, page: str) -> None:
    assert as_html(comparison) == page


def test_a_single_folder_without_a_record(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    references, first = real()
    folder = write_folder(tmp_path / "only", references, {"16_1.0": first})
    outline = Outline(as_html(compare([folder], ComparisonOptions(replications=200))))
    assert outline.tags.count("figure") == 1
    assert "Comparison of 1 decode folder\n" in outline.text and "Speed" not in outline.text


def test_without_a_single_error(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    references, _ = real()
    folders = [write_folder(tmp_path / name, references, {"16_1.0": references}) for name in ("one", "two")]
    outline = Outline(as_html(compare(folders, ComparisonOptions(replications=200))))
    assert outline.tags.count("figure") == 2


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"need the package matplotlib: pip install matplotlib"):
        require_matplotlib()


@pytest.mark.parametrize(
    ("sizes", "moved"),
    [((1_000_000, 2_000_000, 100_000_000), False), ((90_000_000, 95_000_000, 100_000_000), False),
     ((95_000_000, 97_050_000, 100_000_000), True), ((1_000_000, 1_050_000, 100_000_000), True)],
)  # fmt: skip
def test_the_caption_says_what_the_plot_of_sizes_does(sizes: tuple[int, ...], moved: bool, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    references, first = real()
    folders = [write_folder(tmp_path / str(size), references, {"16_1.0": first}, record(size, None)) for size in sizes]
    size_plot = plots(compare(folders, ComparisonOptions(replications=200)))["size"]
    assert ("stand side by side" in size_plot.caption) is moved


def test_one_bad_model_flattens_nothing_and_equals_are_told_apart(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    references, first = real()
    words = {
        "float": first,
        "one": disturbed(first, 0.01, 1),
        "two": disturbed(first, 0.01, 1),
        "silent": {utterance: [] for utterance in references},
    }
    sizes = {"float": 3_000_000, "one": 400_000, "two": 400_000, "silent": 200_000}
    folders = [
        write_folder(tmp_path / name, references, {"16_1.0": words[name]}, record(size, None))
        for name, size in sizes.items()
    ]
    comparison = compare(folders, ComparisonOptions(replications=200))
    figures = plots(comparison)
    for key in ("scores", "differences", "size"):
        texts = [text.strip() for text in re.findall(r"<text[^>]*>([^<]*)</text>", figures[key].wide)]
        assert any("100.00" in text or "+85.46" in text for text in texts), "its value is said"
        numbers = [float(text.replace("−", "-")) for text in texts if re.fullmatch(r"[−-]?\d+(\.\d+)?", text)]
        assert max(number for number in numbers if number not in (100.0, 85.46)) < 25, "the scale is that of the others"
        assert "beyond the scale" in figures[key].caption
    assert "stand side by side" in figures["size"].caption
    # Their lines of 95 % are at different places.
    paths = re.findall(r'd="M ([\d.]+) [\d.]+ \nL ([\d.]+) [\d.]+ \n"[^>]*stroke-opacity: 0.55', figures["size"].wide)
    assert len(paths) == 3 and len({begin for begin, _ in paths}) == 3
    assert all(begin == end for begin, end in paths)
