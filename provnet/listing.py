"""What `provnet list` prints, read from a file, so that a list of names does not wait for torch.

The file is made from the registries by `docs/make_listing.py`; a test holds the two together.
"""

from __future__ import annotations

import json
from pathlib import Path

FILE = Path(__file__).with_name("listing.json")


def listing() -> dict[str, dict[str, str]]:
    """Return {what can be listed: {name: the sentence that says what it is}}."""
    return json.loads(FILE.read_text("utf-8"))


def listed(kind: str, as_json: bool = False) -> str:
    """Return the names of a kind with their sentences: a line for each, or JSON. Raises `KeyError` for another kind."""
    found = listing()[kind]
    if as_json:
        rows = [{"name": name, "description": said} for name, said in found.items()]
        return json.dumps(rows, ensure_ascii=False)
    width = max(map(len, found))
    return "\n".join(f"{name:<{width}}  {said}".rstrip() for name, said in found.items())
