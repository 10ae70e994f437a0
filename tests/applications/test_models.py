"""A model is found by its name, and a name that leads to none says why."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from torch import nn

from provnet.applications.models import load_model
from provnet.errors import InputError

SOURCE = """
from torch import nn
net = nn.Linear(2, 1)
def make(): return nn.Linear(3, 1)
def needs(x): return nn.Linear(x, 1)
def number(): return 3
class Holder:
    inner = nn.Linear(4, 1)
Net = lambda: nn.Linear(5, 1)
text = "a"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"nets_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(SOURCE)
    (tmp_path / f"{name}_broken.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return name


@pytest.mark.parametrize(("attribute", "width"), [("net", 2), ("make", 3), ("Holder.inner", 4), ("Net", 5)])
def test_a_module_or_a_function_that_returns_one(here: str, attribute: str, width: int):
    found = load_model(f"{here}:{attribute}")
    assert isinstance(found, nn.Linear) and found.in_features == width


@pytest.mark.guarantee("a model's name that leads to no model is refused with the reason")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nets", "names no model"),
        (":net", "names no model"),
        ("no_such_module_at_all:net", "importing no_such_module_at_all failed: ModuleNotFoundError"),
        ("{here}_broken:net", "ZeroDivisionError"),
        ("{here}:nowhere", "has no 'nowhere'. It has .*make"),
        ("{here}:text", "is a str"),
        ("{here}:needs", "must run without arguments"),
        ("{here}:number", "returned a int"),
    ],
)
def test_refusals(here: str, name: str, message: str):
    with pytest.raises(InputError, match=message):
        load_model(name.format(here=here))
