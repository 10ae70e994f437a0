"""Writes provnet/listing.json from the registries: what `provnet list` prints without loading them.

python docs/make_listing.py
"""

from __future__ import annotations

import json

from provnet.applications import inspection
from provnet.applications.command_questions import one_line
from provnet.listing import FILE
from provnet.rules.lrp.base import REGISTRY as RULES
from provnet.rules.ops.base import REGISTRY as OPS
from provnet.semirings.annotations.base import REGISTRY as ANNOTATIONS
from provnet.semirings.base import REGISTRY as SEMIRINGS
from provnet.writers.base import REGISTRY as WRITERS

assert inspection  # its import registers a writer
REGISTRIES = {"semirings": SEMIRINGS, "rules": RULES, "annotations": ANNOTATIONS, "writers": WRITERS, "ops": OPS}


def text() -> str:
    """Return the file's content."""
    found = {kind: {name: one_line(known.get(name)) for name in known.names()} for kind, known in REGISTRIES.items()}
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
