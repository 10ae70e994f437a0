"""The reference has every public object once, each with a sentence that says what it is."""

from __future__ import annotations

import pkgutil
from collections import Counter

import pytest

import provnet
from docs import reference
from provnet import applications, errors, public, rules, semirings
from provnet.semirings import annotations
from provnet.writers.base import REGISTRY as WRITERS


def listed(*modules: str) -> list[str]:
    """Return the names that the reference has, of some modules or of all."""
    parts = [part for _, page in reference.PAGES.values() for part in page]
    return [name for part in parts if not modules or part.module in modules for name, _ in reference.objects(part)]


@pytest.mark.guarantee("the reference lists every public object, of applications and writers too")
def test_every_public_object_is_there():
    modules = {"annotations", "errors", "inspection", "rules", "semirings"}
    assert set(public.__all__) - modules <= set(listed("provnet")) | set(listed("provnet.errors"))
    assert set(rules.__all__) - {"IMAGENET_HIGH", "IMAGENET_LOW"} <= set(listed("provnet.rules"))
    functions = {name for name in semirings.__all__ if name[0].islower()} - {"annotations", "homomorphism"}
    assert functions | {"Semiring"} == set(listed("provnet.semirings"))  # each semiring has a page of its own
    open_names = {name for name in vars(annotations) if name[0].isupper() and name != "REGISTRY"}
    assert open_names <= set(listed("provnet.semirings.annotations"))
    assert set(provnet.inspection.__all__) == set(listed("provnet.applications.inspection"))
    assert {name for name, kind in vars(errors).items() if isinstance(kind, type)} == set(listed("provnet.errors"))


def test_every_writer_is_there():
    known = {WRITERS.get(name).__name__ for name in WRITERS.names()}
    assert known <= set(listed()), f"add a Part for {known - set(listed())} to the writers of docs/reference.py"


def test_every_application_is_there_or_serves_another():
    found = {module.name for module in pkgutil.iter_modules(applications.__path__)}
    parts = [part for _, page in reference.PAGES.values() for part in page]
    shown = {part.module.split(".")[2] for part in parts if part.module.startswith("provnet.applications.")}
    assert found == shown | set(reference.INNER)


def test_each_has_a_sentence_and_a_page_of_its_own():
    for _, parts in reference.PAGES.values():
        for part in parts:
            for name, thing in reference.objects(part):
                assert reference.first_sentence(thing), f"{part.module}.{name} has no docstring"
    pages = reference.pages()
    for name in ("Circuit", "write_sql", "why_not", "GateCircuit.prune", "Relevance.token_html"):
        assert Counter(f"# {name}\n" in page for page in pages.values())[True] == 1, name


def test_docstrings_become_lists_and_prose():
    text = "semiring   its name, or\n           an object\n*args      the rest"
    assert reference.formatted(text) == "- `semiring`: its name, or an object\n- `*args`: the rest"
    assert reference.formatted("Of a_b and `a_b`:\nx <y>.") == r"Of a\_b and `a_b`: x \<y\>."


def test_signatures_are_written_as_in_the_source():
    def short(x: int, *rest: str) -> None: ...
    def long(first_of_them: str, *, second_of_them: dict[str, int] | None = None, third_of_them: str = "x") -> int: ...

    assert reference.signature(short) == "(x: int, *rest: str) -> None"
    lines = ["(", "    first_of_them: str,", "    *,", "    second_of_them: dict[str, int] | None = None,"]
    assert reference.signature(long).split("\n") == [*lines, "    third_of_them: str = 'x',", ") -> int"]
