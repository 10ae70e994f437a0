"""Names are found, or refused with what comes near; what a scope files is forgotten."""

from __future__ import annotations

import pytest

from provnet.errors import OptionError, UnknownNameError
from provnet.registry import Registry


def test_a_scope_forgets_what_was_filed_and_restores_what_was_taken_out():
    registry: Registry[int] = Registry("number")
    registry.register("one")(1)

    def inside() -> None:
        with registry.scope():
            registry.register("two")(2)
            registry._entries.pop("one")
            assert registry.names() == ("two",)
            raise KeyError

    with pytest.raises(KeyError):
        inside()
    assert registry.names() == ("one",)


def test_names_are_found_whatever_their_case_and_hyphens():
    registry: Registry[int] = Registry("number", {"unity": ("one",), "some": ("one", "two")})
    registry.register("one")(1)
    registry.register("two", "2-fold")(2)
    assert registry.get("One") == registry.get("unity") == 1
    assert registry.get("2 FOLD") == 2
    with pytest.raises(UnknownNameError, match="Did you mean 'one' or 'two'"):
        registry.get("some")
    with pytest.raises(UnknownNameError, match="Known: 2-fold, one, two"):
        registry.get("zzz")
    with pytest.raises(OptionError, match="registered already"):
        registry.register("two")(3)


def test_registries_that_share_names_find_each_others_entries():
    shelves: list[Registry[int]] = []
    numbers, signs = Registry[int]("number", shelves=shelves), Registry[int]("sign", shelves=shelves)
    numbers.register("one")(1)
    signs.register("plus")(2)
    assert numbers.find("plus") == signs.find("Plus") == 2
    assert numbers.find("one") == 1
    with pytest.raises(OptionError, match="number 'one' is registered already"):
        signs.register("one")(3)
    with pytest.raises(UnknownNameError, match="no number is called 'plus'"):
        numbers.get("plus")
    with pytest.raises(UnknownNameError, match=r"no number or sign is called 'plos'. Did you mean 'plus'"):
        numbers.find("plos")
