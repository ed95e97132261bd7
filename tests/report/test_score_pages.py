"""Pages of scores: axes, captions and fronts in the direction in which the metric is better."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from kaldi_quant.metrics.known import ACCURACY, PESQ, SI_SDR
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.metrics.score import Score
from kaldi_quant.report.comparison import Comparison, ComparisonOptions, compare
from kaldi_quant.report.pages.comparison_page import as_html
from kaldi_quant.report.pages.contents import Contents
from kaldi_quant.report.pages.front import _clipped, _levels, front
from kaldi_quant.report.pages.plots import plots
from kaldi_quant.report.pages.report_json import as_json
from kaldi_quant.report.pages.report_page import as_html as as_report
from kaldi_quant.report.pages.scale import beyond
from kaldi_quant.report.significance.bootstrap import Interval
from tests.report.outline import Outline
from tests.report.score_folders import values, write_scores

pytest.importorskip("matplotlib")

LOSSES = {"float": (0.0, 6400), "w8": (0.01, 1600), "w4": (0.4, 800), "large": (0.6, 5000)}
LOWER = replace(SI_SDR, name="LSD", better="lower")


def compared(base: Path, metric: Metric = SI_SDR, **more: tuple[float, int]) -> Comparison:
    """Networks that lose so much and have so many bytes."""
    sign = 1 if metric.better == "higher" else -1
    arguments = []
    for seed, (name, (loss, size)) in enumerate((LOSSES | more).items()):
        record = {"artefact_bytes": size, "layers": [{"name": "conv", "bits": 4, "sqnr_db": 20.0}]}
        arguments.append(write_scores(base / name, values(sign * loss, 0.1 * (seed > 0), seed), metric, record=record))
    return compare(arguments, ComparisonOptions(replications=200))


def texts(svg: str) -> list[str]:
    return [text.strip() for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


@pytest.mark.parametrize(
    ("metric", "axis", "difference"),
    [
        (SI_SDR, "SI-SDR, dB", "difference to float, dB"),
        (PESQ, "PESQ", "difference to float"),
        (ACCURACY, "accuracy, %", "difference to float, % absolute"),
        (replace(LOWER, title="log-spectral distance"), "log-spectral distance, dB", "difference to float, dB"),
    ],
)
def test_axes_have_the_metrics_title_and_unit(metric: Metric, axis: str, difference: str, tmp_path: Path) -> None:
    figures = plots(compared(tmp_path, metric))
    assert axis in texts(figures["scores"].wide) and axis in texts(figures["size"].wide)
    assert difference in texts(figures["differences"].wide)
    assert "model on disk, kB" in texts(figures["size"].wide)
    assert figures["scores"].title == metric.heading and figures["size"].title == f"{metric.heading} and size"
    assert figures["differences"].caption.startswith(f"{metric.heading} minus that of float. ")


def test_the_direction_is_said(tmp_path: Path) -> None:
    higher = plots(compared(tmp_path / "higher"))
    assert "further up is better" in higher["size"].caption
    assert higher["differences"].caption.endswith("Further to the right is better.")
    lower = plots(compared(tmp_path / "lower", LOWER))
    assert "further down is better" in lower["size"].caption and "right is better" not in lower["differences"].caption


@pytest.mark.parametrize("metric", [SI_SDR, LOWER])
def test_the_front_is_that_of_the_better_ones(metric: Metric, tmp_path: Path) -> None:
    comparison = compared(tmp_path, metric)
    assert [row.name for row in front(comparison.rows)] == ["w4", "w8", "float"]
    assert "in both, w4 (0.8 kB, " in plots(comparison)["size"].caption
    content = json.loads(as_json(Contents(comparison=comparison)))
    assert content["front"] == ["w4", "w8", "float"] and content["comparison"]["metric"]["better"] == metric.better


def test_the_best_of_all_is_named(tmp_path: Path) -> None:
    for metric, extreme in ((SI_SDR, "highest"), (LOWER, "lowest")):
        comparison = compared(tmp_path / extreme, metric, best=(-1.0, 100))
        caption = plots(comparison)["size"].caption
        assert f"is the smallest and has the {extreme} {metric.title}." in caption


def test_one_bad_network_flattens_nothing(tmp_path: Path) -> None:
    comparison = compared(tmp_path, w2=(19.0, 400))
    far = beyond(comparison.rows, SI_SDR)
    assert [row.name for row in comparison.rows if far(row)] == ["w2"]
    value = f"{comparison.rows[-1].value:.2f}"
    figures = plots(comparison)
    for key, said in (("scores", value), ("size", f"↓ {value}")):
        assert said in texts(figures[key].wide) and "beyond the scale" in figures[key].caption
        ticks = [
            float(text.replace("−", "-")) for text in texts(figures[key].wide) if re.fullmatch(r"[−-]?[\d.]+", text)
        ]
        assert min(tick for tick in ticks if f"{tick:.2f}" != value) >= 0


@pytest.mark.parametrize("metric", [SI_SDR, LOWER])
def test_the_edge_of_the_scale_is_on_the_side_of_the_bad_ones(metric: Metric, tmp_path: Path) -> None:
    rows = compared(tmp_path, metric).rows
    low, high, edge = _levels(rows, metric)
    ends = [end for row in rows for end in (row.interval.low, row.interval.high)]
    assert low < min(ends) < max(ends) < high
    if metric.better == "higher":
        assert low < edge < min(ends) and _clipped(edge - 5, edge, metric) == edge < _clipped(edge + 1, edge, metric)
    else:
        assert max(ends) < edge < high and _clipped(edge + 5, edge, metric) == edge > _clipped(edge - 1, edge, metric)


def test_bad_values_on_this_side_of_zero_are_bars_as_all_others(tmp_path: Path) -> None:
    # The bars begin at zero, so that 60 % beside 97 % are on the axis.
    comparison = compared(tmp_path)
    rows = [
        replace(row, folder=replace(row.folder, score=Score(ACCURACY, {"u": share})),
                interval=Interval(100 * share - 1, 100 * share + 1))
        for row, share in zip(comparison.rows, (0.97, 0.965, 0.96, 0.6), strict=True)
    ]  # fmt: skip
    assert [beyond(rows, ACCURACY)(row) for row in rows] == [False, False, False, True]
    figures = plots(replace(comparison, rows=rows))
    assert "beyond the scale" not in figures["scores"].caption and "60.00" in texts(figures["scores"].wide)
    assert "beyond the scale" in figures["size"].caption and "↓ 60.00" in texts(figures["size"].wide)


def test_negative_values(tmp_path: Path) -> None:
    for name, loss in (("a", 20.0), ("b", 21.0)):
        write_scores(tmp_path / name, values(loss))
    comparison = compare([f"{tmp_path}/a", f"{tmp_path}/b"], ComparisonOptions(replications=200))
    figure = plots(comparison)["scores"]
    assert all(f"{row.value:.2f}" in texts(figure.wide) and row.value < 0 for row in comparison.rows)
    assert "beyond" not in figure.caption


def test_pages(tmp_path: Path) -> None:
    comparison = compared(tmp_path)
    for page in (as_html(comparison), as_report(Contents(comparison=comparison))):
        outline = Outline(page)
        titles = re.findall("<h2>(.*?)</h2>", page)
        assert titles[:5] == ["In short", "Results", "SI-SDR", "Differences", "SI-SDR and size"]
        assert outline.tags.count("figure") == 4 and outline.loads_nothing()
        assert "200 utterances · kaldi_quant" in outline.text and "folders" in re.findall("<h1>(.*?)</h1>", page)[0]
        names = re.findall(r'(?<= id=")[^"]+', page)
        assert len(names) == len(set(names))
        assert "word" not in outline.text and "decode" not in outline.text and "LMWT" not in outline.text
    assert as_html(comparison) == as_html(compared(tmp_path))


def test_a_single_folder(tmp_path: Path) -> None:
    folder = write_scores(tmp_path / "only", values(), units_are="files")
    comparison = compare([folder], ComparisonOptions(replications=200))
    row = comparison.rows[0]
    text = Outline(as_html(comparison)).text
    low, high = row.interval.low, row.interval.high
    assert f"only: {row.value:.2f} dB SI-SDR, 95 % interval {low:.2f} to {high:.2f}" in text
    assert "Comparison of 1 folder\n" in text and "200 files" in text
