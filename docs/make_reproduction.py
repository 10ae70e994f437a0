"""Writes docs/reproduction.md from what `provnet reproduce mnist` and `provnet reproduce cnn` wrote into docs/.

Make those anew with, for both kinds: provnet reproduce KIND --out docs/reproduction/KIND --force. A test fails if the
page is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from provnet.applications.reproduction.reproduction_page import KINDS, page  # noqa: E402

PAGE = ROOT / "docs" / "reproduction.md"
FOLDERS = {kind: ROOT / "docs" / "reproduction" / kind for kind in KINDS}


def page_text() -> str:
    """Return the page as markdown."""
    return page(FOLDERS, "reproduction/")


if __name__ == "__main__":
    PAGE.write_text(page_text(), "utf-8")
    print(f"{PAGE}: written")
