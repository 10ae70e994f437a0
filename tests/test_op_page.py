"""The page of supported operations is what the registry says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.mark.guarantee("docs/supported-ops.md lists exactly the operations that have a rule")
def test_the_page_is_made_from_the_registry():
    spec = importlib.util.spec_from_file_location("make_ops", DOCS / "make_ops.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert (DOCS / "supported-ops.md").read_text("utf-8") == made.page(), "run python docs/make_ops.py"
