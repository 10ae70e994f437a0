"""How the report looks: one style sheet, light and dark."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --ink: #1d1f23; --pale: #62676f; --paper: #fcfcfa; --card: #ffffff; --line: #e2e2dc;
  --accent: #a50f37; --code: #f3f3ee; }
@media (prefers-color-scheme: dark) { :root { --ink: #e9e9e6; --pale: #a2a7ae; --paper: #16181b; --card: #1e2125;
  --line: #34383e; --accent: #ff8a70; --code: #24282d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", Helvetica,
  Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 2.1rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.35rem; margin: 3rem 0 .5rem; }
p, ul, ol { max-width: 46rem; margin: .5rem 0 .9rem; }
.lead { font-size: 1.12rem; color: var(--pale); }
.facts { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1.4rem 0 0; padding: 0; list-style: none; max-width:
  none; }
.facts li { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .55rem .9rem; }
.facts b { display: block; font-size: 1.2rem; font-variant-numeric: tabular-nums; }
.facts span { color: var(--pale); font-size: .85rem; }
nav { margin-top: 1.2rem; font-size: .92rem; } nav a { margin-right: 1rem; }
a { color: var(--accent); }
.wide { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { padding: .5rem .7rem; text-align: left; vertical-align: middle; border-bottom: 1px solid var(--line); }
tr:last-child td { border-bottom: 0; }
thead th { font-size: .8rem; color: var(--pale); font-weight: 600; background: var(--code); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td .big { font-size: 1.1rem; font-weight: 650; font-variant-numeric: tabular-nums; white-space: nowrap; }
small, .pale { color: var(--pale); font-size: .84rem; }
.grid { table-layout: fixed; min-width: 900px; } .grid td, .grid th { text-align: center; padding: .45rem .3rem;
  vertical-align: top; }
.grid th small { font-weight: 400; line-height: 1.25; display: block; } .grid img { width: 100px; height: auto; } td
  img { max-width: none; }
.grid .number { display: block; font-size: .82rem; font-variant-numeric: tabular-nums; margin-top: .15rem; }
img { border-radius: 4px; vertical-align: middle; image-rendering: pixelated; max-width: 100%; }
img.drawn { image-rendering: auto; background: #fff; padding: .8rem; border-radius: 10px; display: block; margin: 0
  auto; }
figure { margin: 1rem 0; } figcaption { color: var(--pale); font-size: .88rem; max-width: 46rem; margin-top: .4rem; }
pre { background: var(--code); border: 1px solid var(--line); border-radius: 10px; padding: .8rem 1rem; overflow-x:
  auto;
  font: .84rem/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
code { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: .9em; }
.strip { display: flex; flex-wrap: wrap; gap: .65rem; } .strip img { width: 96px; height: auto; } .strip figure {
  margin: 0; text-align: center; }
.strip figcaption { font-size: .82rem; font-variant-numeric: tabular-nums; } .named img { outline: 3px solid
  var(--accent); outline-offset: 1px; }
.key { display: inline-block; width: 9rem; height: .8rem; border-radius: 4px; vertical-align: middle; margin: 0
  .4rem; }
.note { border-left: 4px solid var(--accent); padding: .3rem .9rem; background: var(--card); max-width: 46rem; }
.curve { width: 100%; max-width: 46rem; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
footer { margin-top: 3.5rem; color: var(--pale); font-size: .86rem; border-top: 1px solid var(--line); padding-top:
  1rem; }
"""
