"""How pages look: on a wide window, on a phone, and on paper."""

from __future__ import annotations

CSS = """
:root { --ink: #2b303a; --soft: #5b6270; --line: #e3e6ea; --paper: #ffffff; --ground: #f6f7f9; --link: #0060a0; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); overflow-wrap: anywhere;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1280px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; font-weight: 650; margin: 0 0 4px; line-height: 1.25; }
h2 { font-size: 18px; font-weight: 600; margin: 0 0 12px; }
h3 { font-size: 15px; font-weight: 600; margin: 22px 0 8px; }
p.sub { color: var(--soft); margin: 0 0 20px; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0 0 20px; font-size: 14px; }
nav a { color: var(--link); }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 20px 22px;
  margin: 0 0 20px; }
.scroll { overflow-x: auto; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-size: 13px;
  font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 500; text-align: right; vertical-align: bottom; overflow-wrap: normal; }
td { text-align: right; white-space: nowrap; }
th, td { padding: 7px 5px; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 2px; font-weight: 500; }
td:first-child { white-space: normal; min-width: 150px; max-width: 320px; }
tbody tr:last-child td, tbody tr:last-child th { border-bottom: 0; }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 8px; }
table.heat { width: auto; border-spacing: 2px; }
table.heat td, table.heat th { border: 0; padding: 5px 8px; }
table.heat td { min-width: 66px; text-align: center; border-radius: 3px; }
table.heat th[scope="col"] { text-align: center; }
table.heat th[scope="row"] { color: var(--ink); white-space: normal; min-width: 150px; max-width: 320px; }
table.heat td.chosen { outline: 3px solid #111; outline-offset: -1px; box-shadow: inset 0 0 0 4px #fff;
  font-weight: 700; }
table.heat td.none { color: var(--soft); background: #f0f1f3; }
.scale { display: flex; align-items: center; flex-wrap: wrap; gap: 4px 8px; font-size: 13px; color: var(--soft);
  margin: 8px 0 0; }
.scale i { display: inline-block; width: 180px; height: 12px; border-radius: 3px; }
svg { width: 100%; height: auto; display: block; }
svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif !important; }
figure { margin: 0; }
figure .narrow { display: none; }
figure .narrow svg { max-width: 520px; margin: 0 auto; }
.sounds { display: grid; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); gap: 10px 14px; }
.sounds img { display: block; width: 100%; height: 110px; border-radius: 4px; image-rendering: auto; }
.sounds audio { display: block; width: 100%; height: 36px; margin: 4px 0 0; }
.sounds b { color: var(--ink); }
figcaption { color: var(--soft); font-size: 13px; margin: 8px 0 4px; }
ul { margin: 14px 0 0; padding-left: 18px; color: var(--soft); font-size: 13.5px; }
ul.lead { list-style: none; margin: 0; padding: 0; color: var(--ink); font-size: 16px; }
ul.lead li { margin: 4px 0; padding-left: 18px; text-indent: -18px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 16px; margin: 10px 0 4px; font-size: 13.5px; }
dt { color: var(--soft); } dd { margin: 0; min-width: 0; }
summary { cursor: pointer; padding: 4px 0; } pre { margin: 0; white-space: pre-wrap; font-size: 12.5px; }
@media screen and (max-width: 800px) {
  main { padding: 18px 10px 40px; }
  section { padding: 14px 12px; }
  h1 { font-size: 22px; }
  figure .wide { display: none; }
  figure .narrow { display: block; }
  .scroll tr > :first-child { position: sticky; left: 0; z-index: 1; background: var(--paper); }
  td:first-child, table.heat th[scope="row"] { min-width: 116px; max-width: 124px; }
  table.heat td { min-width: 58px; padding: 5px 4px; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin: 0 0 8px; }
}
@page { size: A4 landscape; margin: 12mm; }
@media print {
  body { background: none; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  main { padding: 0; max-width: none; }
  nav { display: none; }
  section { border: 0; padding: 0; }
  figure, tr { break-inside: avoid; } h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; }
  table { font-size: 11px; } th, td { padding: 4px 4px; }
}
"""
