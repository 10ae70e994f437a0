"""The page of supported operations is what the registry says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.mark.guarantee("docs/supported-ops.md lists exactly the operations that have a rule")
def test_the_page_is_made_from_the_registry():
    # In a program of its own, where no test has registered ops.
    command = [sys.executable, "-c", "import make_ops; print(make_ops.page(), end='')"]
    made = subprocess.run(command, cwd=DOCS, capture_output=True, encoding="utf-8", check=True).stdout
    assert (DOCS / "supported-ops.md").read_text("utf-8") == made, "run python docs/make_ops.py"
