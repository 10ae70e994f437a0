"""A real browser for the tests of the page: headless Chromium, driven by Playwright, that may not leave the machine."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

import provnet
from tests.nets import perceptron, seeded

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

HERE = re.compile(r"(http://(127\.0\.0\.1|localhost):\d+/|file:///|data:|blob:)")

NASTY = [
    "<b>bold</b>",
    "quo\"te's",
    "</script><script>window['pwned'] = 1</script>",
    '"><img src=x onerror="window[0] = pwned = 1">',
    "new\nline\ttab",
    "back\\slash $\\alpha$ {{7*7}} ${1+1} %s",
    "&amp; &lt; \u2028 ⊕ é 漢",
]


def program() -> str:
    """Return Chromium's path; the test skips where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    return found


@contextmanager
def chromium() -> Iterator[Any]:
    """Yield a browser with a profile of its own; skip where Playwright is missing."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    path = program()
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Seen:
    """A page, with what it asked of the network and what went wrong in it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self._said(message))
        page.set_default_timeout(15_000)

    def _said(self, message: Any) -> None:
        # A refused request is shown to the reader; the browser lists it here too.
        if message.type == "error" and "the server responded with a status of 400" not in message.text:
            self.errors.append(message.text)

    def open(self, url: str) -> Seen:
        self.page.goto(url)
        self.page.wait_for_selector(".node")
        return self.idle()

    def idle(self) -> Seen:
        """Wait until the page has its answers and has drawn them."""
        self.page.wait_for_function("() => document.body.getAttribute('aria-busy') === 'false'")
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.page.wait_for_function("() => document.body.getAttribute('aria-busy') === 'false'")
        return self

    def click(self, selector: str) -> Seen:
        self.page.locator(selector).first.click()
        return self.idle()

    def choose(self, label: str, value: str) -> Seen:
        self.page.get_by_label(label, exact=True).select_option(value)
        return self.idle()

    def press(self, *keys: str) -> Seen:
        for key in keys:
            self.page.keyboard.press(key)
            self.idle()
        return self

    def values(self) -> dict[str, str]:
        """Return the elements on the page, by the neurons' ids, as JavaScript spells them."""
        script = "(all) => all.map((one) => [one.parentElement.dataset.id, one.dataset.value])"
        return dict(self.page.locator(".node .body").evaluate_all(script))

    def ids(self) -> set[str]:
        return set(self.values())

    def node(self, node: str) -> Any:
        return self.page.locator(f'.node[data-id="{node}"]')

    def select(self, node: str) -> Seen:
        self.node(node).locator(".body").click()
        self.idle()
        self.page.wait_for_selector(f'[data-neuron="{node}"] .formula')
        return self

    def alert(self) -> str:
        return self.page.locator(".alert span").inner_text()

    def slide(self, place: int) -> Seen:
        """Move the slider of θ as a reader does, and let go."""
        self.page.get_by_label("θ", exact=False).first.evaluate(
            "(one, value) => { one.value = value; for (const kind of ['input', 'change']) "
            "one.dispatchEvent(new Event(kind, { bubbles: true })); }",
            str(place),
        )
        return self.idle()

    def download(self, kind: str) -> bytes:
        """Return what the menu exports."""
        self.page.locator(".menu").evaluate("(menu) => { menu.open = true; }")
        with self.page.expect_download() as waiting:
            self.page.locator(".menu").get_by_role("button", name=kind, exact=True).click()
        self.idle()
        return waiting.value.path().read_bytes()


def number(text: str | None) -> float:
    """Return an element that the page shows, as a number."""
    words = {"true": 1.0, "false": 0.0, "Infinity": float("inf"), "-Infinity": float("-inf")}
    assert text is not None
    return words[text] if text in words else float(text)


def small(dtype: torch.dtype = torch.float32) -> provnet.Circuit:
    """Return a perceptron 6-5-4-3 on two examples."""
    torch.manual_seed(4)
    return provnet.trace(seeded(lambda: perceptron(6, 5, 4, 3), 4, dtype), torch.rand(2, 6, dtype=dtype))


def nasty() -> provnet.Circuit:
    """Return a chain of layers whose names are made to break a page."""
    torch.manual_seed(0)
    model = nn.Sequential()
    for name in NASTY:
        model.add_module(name, nn.Linear(3, 3))
    return provnet.trace(model.eval(), torch.rand(1, 3))


def show_every_wire(seen: Seen) -> None:
    """Show all inputs of both linear layers of a perceptron."""
    seen.page.set_default_timeout(60_000)
    seen.page.locator(".layers summary").click()
    for name in ("2", "0"):
        row = seen.page.locator(f'[data-layer="{name}"]')
        row.get_by_role("button", name="All inputs").click()
        seen.idle()


WHEEL = """async () => {
  const stage = document.querySelector('.stage'), spent = [];
  for (let k = 0; k < 9; k++) {
    const start = performance.now();
    const options = { deltaY: k % 2 ? -60 : 60, clientX: 300, clientY: 400, bubbles: true, cancelable: true };
    stage.dispatchEvent(new WheelEvent('wheel', options));
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    spent.push(performance.now() - start);
  }
  return spent;
}"""
"""Nine turns of the wheel: milliseconds from each to the frame that shows it."""
