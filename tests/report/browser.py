"""A page as a browser shows it, in a wide window and in a phone's: where things are, how they look, what was asked for.

Both windows are frames of one page, so that the browser starts once. The page that is tested is shown as it is, with
its own policy; the script that measures is outside of it.
"""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path
from typing import Any

import numpy as np

WIDTHS = (1280, 390)
_SECONDS = 60

_MEASURE = """
addEventListener("load", () => {
  const box = (e, x) => { const r = e.getBoundingClientRect(); return [r.left + x, r.top, r.right + x, r.bottom]; };
  let left = 0;
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const d = frame.contentDocument, width = frame.clientWidth, x = left;
    frame.style.height = d.documentElement.scrollHeight + "px";
    left += width;
    const shown = e => e.getClientRects().length > 0;
    const figures = [...d.querySelectorAll("figure")].filter(shown).map(figure => ({
      title: figure.closest("section").querySelector("h2").textContent,
      plots: [...figure.querySelectorAll("svg")].filter(shown).map(svg => ({
        box: box(svg, x),
        texts: [...svg.querySelectorAll("text")].map(t => ({text: t.textContent, box: box(t, x),
          size: parseFloat(getComputedStyle(t).fontSize) * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width
        }))
      }))
    }));
    const cells = [...d.querySelectorAll("table.heat td")].map(td => ({
      box: box(td, x), text: td.textContent, chosen: td.classList.contains("chosen"),
      colour: getComputedStyle(td).backgroundColor.match(/\\d+/g).map(Number),
      end: td.closest(".scroll").getBoundingClientRect().right + x
    }));
    const stray = [...d.querySelectorAll("body *")].filter(
      e => shown(e) && e.getBoundingClientRect().right > width + 1 && !e.closest(".scroll table") && !e.closest("svg"));
    return {width: d.documentElement.scrollWidth, height: d.documentElement.scrollHeight, figures, cells,
            stray: stray.map(e => e.outerHTML.slice(0, 80))};
  });
  const out = document.createElement("pre");
  out.id = "found"; out.textContent = JSON.stringify(found);
  document.body.append(out);
});
"""


@dataclass(frozen=True)
class View:
    """A page in one window.

    Attributes:
        layout: what the script measured; boxes are left, top, right, bottom in pixels of the picture.
        picture: (height, width, 3) uint8, of both windows side by side.
    """

    layout: dict[str, Any]
    picture: np.ndarray

    def count(self, box: list[float], colour: str, tolerance: int = 8) -> int:
        """How many pixels of a box have a colour."""
        left, top, right, bottom = (round(edge) for edge in box)
        wanted = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
        part = self.picture[top:bottom, left:right].astype(int)
        return int((np.abs(part - wanted).max(axis=2) <= tolerance).sum())


def browser() -> str | None:
    """The command of a Chromium; None where there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def show(program: str, page: str, folder: Path, height: int) -> tuple[list[View], list[str]]:
    """Shows a page in all widths.

    Args:
        program: the browser.
        page: HTML.
        folder: for files that it needs.
        height: of the picture, in which all of the page must find room.

    Returns:
        The views, and the addresses that the page asked the network for.
    """
    from matplotlib.image import imread

    frames = "".join(
        f'<iframe style="width:{width}px;height:100px;flex:none;border:0" srcdoc="{escape(page)}"></iframe>'
        for width in WIDTHS
    )
    harness = folder / "harness.html"
    harness.write_text(
        '<!DOCTYPE html><html><body style="margin:0;display:flex;align-items:flex-start">'
        f"{frames}<script>{_MEASURE}</script></body></html>"
    )
    log, picture = folder / "net.json", folder / "picture.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking", f"--log-net-log={log}"]
    options += [f"--user-data-dir={folder / 'profile'}", f"--window-size={sum(WIDTHS)},{height}"]
    command = [program, *options, f"--screenshot={picture}", "--dump-dom", harness.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stderr[-2000:]
    pixels = (imread(picture)[..., :3] * 255).round().astype(np.uint8)
    layouts = json.loads(unescape(found[1]))
    assert max(layout["height"] for layout in layouts) <= height
    return [View(layout, pixels) for layout in layouts], _requests(log)


def _requests(log: Path) -> list[str]:
    """What a page asked for; the browser's own requests have no origin."""
    events = json.loads(log.read_text())["events"]
    asked = [event["params"] for event in events if "initiator" in event.get("params", {})]
    return [params["url"] for params in asked if params["initiator"] != "not an origin" and "url" in params]
