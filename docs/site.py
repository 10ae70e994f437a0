"""What the site needs besides the pages: the README as its home, the semirings in the menu, and the reference."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from docs.reference import PAGES
from docs.reference import pages as reference_pages

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = re.compile(r"\[([^\]]*)\]\(((?!https?:|#)[^)\s]+)\)")
"""A link that is relative."""


def on_config(config: Any) -> Any:
    """Put every page of semirings, and of the reference, into the menu."""
    pages = sorted(path.name for path in (ROOT / "docs" / "semirings").glob("*.md"))
    listed = ["semirings/index.md", *(f"semirings/{name}" for name in pages if name != "index.md")]
    for section in config["nav"]:
        for entries in section.values():
            if isinstance(entries, list):
                entries[:] = [_completed(entry, listed) for entry in entries]
    return config


def _completed(entry: Any, listed: list[str]) -> Any:
    if entry == {"semirings": "semirings/"}:
        return {"Semirings": listed}
    if entry == {"reference": "reference/"}:
        return {"Programming interface": ["reference/index.md", *(f"reference/{name}.md" for name in PAGES)]}
    return entry


def on_files(files: Files, config: Any) -> Files:
    """Add the README as the home page, and the reference."""
    text = (ROOT / "README.md").read_text("utf-8").replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=text))
    for name, page in reference_pages().items():
        files.append(File.generated(config, f"reference/{name}", content=page))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Show links that lead out of docs/ (to sources, examples, the licence) as plain text: no such page is here."""
    here = posixpath.dirname(page.file.src_uri)

    def shown(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(here, link[2].partition("#")[0]))
        inside = (ROOT / "docs" / target).exists() or target == "index.md" or target.startswith("reference/")
        return link[0] if inside and not link[2].endswith("/") else link[1]

    return OUTSIDE.sub(shown, markdown)
