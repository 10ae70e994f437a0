"""One browser for all tests of the page; each test gets a fresh page that must stay on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.applications.inspection.browsing import HERE, Seen, chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def new_page(browser: Any) -> Iterator[Callable[..., Seen]]:
    """A function that opens pages. At the end: no request left the machine, nothing went wrong in a page."""
    contexts: list[Any] = []
    pages: list[Seen] = []

    def make(**options: Any) -> Seen:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        pages.append(Seen(context.new_page()))
        return pages[-1]

    yield make
    for context in contexts:
        context.close()
    assert [url for seen in pages for url in seen.requests if not HERE.match(url)] == []
    assert [error for seen in pages for error in seen.errors] == []


@pytest.fixture
def seen(new_page: Callable[..., Seen]) -> Seen:
    return new_page()
