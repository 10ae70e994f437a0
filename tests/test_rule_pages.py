"""The pages about propagation rules run, and name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import provnet
from provnet import rules
from provnet.rules.lrp.base import REGISTRY

DOCS = Path(__file__).resolve().parents[1] / "docs"


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.S)


@pytest.fixture
def registered():
    """Rules that a page registers are gone afterwards."""
    before = dict(REGISTRY._entries)
    yield
    REGISTRY._entries.clear()
    REGISTRY._entries.update(before)


@pytest.mark.guarantee("the how-to 'write a rule' runs, and the rule in it takes under 15 lines")
def test_write_a_rule(registered: None, capsys: pytest.CaptureFixture[str]):
    scope: dict[str, object] = {"__name__": __name__}
    parts = blocks("write-a-rule.md")
    for part in parts:
        exec(compile(part, "write-a-rule.md", "exec"), scope)
    assert len([line for line in parts[0].splitlines() if line.strip()]) < 15
    assert "LargeWeights" in capsys.readouterr().out


def test_the_composite_of_the_page_is_made():
    scope: dict[str, object] = {"__name__": __name__}
    exec(compile(blocks("rules.md")[0], "rules.md", "exec"), scope)
    assert isinstance(scope["composite"], rules.Composite)


@pytest.mark.parametrize("page", ["rules.md", "coming-from-zennit.md"])
def test_pages_name_what_there_is(page: str):
    text = (DOCS / page).read_text("utf-8")
    for name in (
        "Zero",
        "Epsilon",
        "Gamma",
        "AlphaBeta",
        "ZPlus",
        "ZBox",
        "WSquare",
        "Flat",
        "Pass",
        "Norm",
        "Gradient",
        "Absolute",
    ):
        assert hasattr(rules, name)
        assert f"{name}" in text or page != "rules.md"
    for annotation in re.findall(r'`"([a-z-]+)"`', text):
        known = {*provnet.annotations.names(), *rules.names()}
        assert annotation in known or annotation in ("pooling", "sum", "scale", "default"), annotation
