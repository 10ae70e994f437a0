"""The page of a reproduction: what holds and what does not, chapter by chapter, from what the command wrote."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from provnet.applications.reproduction.findings import BEYOND, Chapter, NumberTable, tally_of
from provnet.applications.reproduction.paper_errata import ERRATA
from provnet.errors import FileFormatError, InputError

RESULTS = "results.json"
KINDS = ("mnist", "cnn")
MARKS = {"holds": "holds", "in part": "**in part**", "fails": "**fails**", "no test": "no test"}

HEAD = """# The papers, reproduced

Every figure of [GSM25] and [Gro24] that the data allow, with the numbers beside the claims. Written by
`provnet reproduce mnist` and `provnet reproduce cnn`; this page is put together by `docs/make_reproduction.py` from
what they wrote, and nobody edits it. A verdict is decided by the numbers, by a criterion that the row states.

Claims are put in our words after the text of [Gro24] and its notebooks; where [GSM25] treats the same, its section or
figures are named by their subject. The papers' network was trained on 60,000 digits; the data here have the 10,000 of
the test file, of which 8,000 trained the network and 2,000 are held out, so numbers differ and claims may be compared.
"""


def results_text(kind: str, chapters: Iterable[Chapter], setting: Mapping[str, Any]) -> str:
    """Return what a reproduction found as JSON."""
    plain = {"kind": kind, "setting": dict(setting), "chapters": [chapter.plain() for chapter in chapters]}
    return json.dumps(plain, ensure_ascii=False, indent=1)


def read_results(folder: Path) -> tuple[Mapping[str, Any], list[Chapter]]:
    """Return (setting, chapters) of a folder that `provnet reproduce` wrote.

    Raises: `InputError` if nothing was written there, `FileFormatError` if it is damaged.
    """
    file = folder / RESULTS
    if not file.is_file():
        raise InputError(f"there is no {file}: write it with provnet reproduce.")
    try:
        plain = json.loads(file.read_text("utf-8"))
        return plain["setting"], [Chapter.from_plain(one) for one in plain["chapters"]]
    except (ValueError, KeyError, TypeError) as error:
        raise FileFormatError(f"{file} is no result of provnet reproduce ({error!r}). Run it again.") from error


def part(kind: str, setting: Mapping[str, Any], chapters: Iterable[Chapter], pictures: str = "") -> str:
    """Return one reproduction as markdown. `pictures`: the folder of its pictures, as the page sees it."""
    chapters = list(chapters)
    minutes = sum(chapter.seconds for chapter in chapters) / 60
    lines = [f"## {kind}", "", f"{setting['data']} It took {minutes:.1f} minutes on {setting['machine']}.", ""]
    for chapter in chapters:
        lines += [f"### {chapter.title}", "", chapter.text, ""]
        lines += ["| claim | source | found | |", "|---|---|---|---|"] if chapter.claims else []
        lines += [
            f"| {_cell(c.said)} | {_cell(c.source)} | {_cell(c.found)} | {MARKS[c.verdict]} |" for c in chapter.claims
        ]
        lines += [""]
        for picture in chapter.pictures:
            lines += [f"![{picture.caption}]({pictures}{picture.file})", "", f"*{picture.caption}*", ""]
        for table in chapter.tables:
            lines += [*_table(table), ""]
    return "\n".join(lines)


def page(folders: Mapping[str, Path], pictures: str) -> str:
    """Return the whole page from the folders of both reproductions. Raises as `read_results`."""
    found = {kind: read_results(folder) for kind, folder in folders.items()}
    claims = [claim for _, chapters in found.values() for chapter in chapters for claim in chapter.claims]
    theirs = [claim for claim in claims if claim.source != BEYOND]
    counts = tally_of(theirs)
    lines = [
        HEAD,
        f"Of {len(theirs)} claims of the papers, {counts['holds']} hold on these data, {counts['in part']} hold "
        f"in part, {counts['fails']} fail, and {counts['no test']} cannot be decided by a test.",
        "",
        "| claim | source | |",
        "|---|---|---|",
        *(f"| {_cell(c.said)} | {_cell(c.source)} | {MARKS[c.verdict]} |" for c in claims),
        "",
    ]
    lines += [part(kind, *results, pictures=f"{pictures}{kind}/") for kind, results in found.items()]
    lines += ["## Errata", "", "What is printed in the papers and cannot be meant.", ""]
    lines += ["| where | printed | should be |", "|---|---|---|"]
    lines += [f"| {_cell(e.where)} | {_cell(e.printed)} | {_cell(e.meant)} |" for e in ERRATA]
    return "\n".join(lines).rstrip() + "\n"


def _table(table: NumberTable) -> list[str]:
    return [
        f"{table.title}:",
        "",
        f"| {' | '.join(map(_cell, table.columns))} |",
        f"|{'---|' * len(table.columns)}",
        *(f"| {' | '.join(map(_cell, row))} |" for row in table.rows),
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
