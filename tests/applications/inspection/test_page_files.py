"""Pages of one file, names made to break them, and exports: in a real browser, without server or network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import provnet
from provnet.applications.inspection import Explorer, Inspection, inspect, write_html
from provnet.applications.inspection.html import page
from provnet.applications.inspection.schema import schema
from provnet.errors import LimitError, OptionError, OutputError
from provnet.semirings.annotations import Threshold
from provnet.writers.base import write
from tests.applications.inspection.browsing import NASTY, WHEEL, Seen, nasty, number, show_every_wire, small
from tests.nets import Residual, perceptron, seeded

SVG = "{http://www.w3.org/2000/svg}"
LIGHT_AND_DARK = ("light", "dark")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_html(small(), tmp_path / "cone.html", classes=["a", "b", "c"])


def test_a_file_opens_without_a_server(file: Path, seen: Seen):
    seen.open(file.as_uri())
    circuit = small()
    everything = inspect(circuit)
    seen.page.locator(".layers summary").click()
    for layer in everything.layers[:0:-1]:
        row = seen.page.locator(f'[data-layer="{layer.name}"]')
        row.get_by_role("button", name="All inputs").click()
        seen.idle()
    assert seen.ids() == {node.id for node in everything.nodes}
    for semiring in ("real", "counting", "viterbi", "tropical", "bottleneck", "boolean"):
        seen.choose("Semiring", semiring)
        expected = {node.id: node.values[semiring] for node in everything.nodes}
        assert {node: number(text) for node, text in seen.values().items()} == expected
    assert all(url.startswith("file:///") for url in seen.requests)
    assert seen.page.get_by_label("Rule", exact=True).is_disabled()


def test_a_file_answers_the_slider_and_paths(file: Path, seen: Seen):
    circuit = small()
    explorer = Explorer(circuit)
    seen.open(file.as_uri()).choose("Semiring", "boolean")
    steps, _ = explorer.steps(explorer.question())
    for place, theta in enumerate(steps, 1):
        seen.slide(place)
        found = circuit.evaluate("boolean", at="*", annotation=Threshold(theta), route="reference")
        for node, text in seen.values().items():
            layer, index = explorer.locate(node)
            assert number(text) == float(found[circuit.data.activations[layer].name][0].reshape(-1)[index])
    seen.slide(0).choose("Semiring", "viterbi")
    seen.page.get_by_label("Search", exact=False).fill("input[3]")
    seen.page.get_by_role("button", name="Find").click()
    seen.idle()
    seen.page.locator(".hits button").first.click()
    seen.idle()
    (path,) = circuit.gates(at=("input", 3)).best_paths(semiring="viterbi")
    assert seen.page.locator(".paths li code").all_inner_texts() == [" ⊗ ".join(map(str, path.variables))]
    seen.page.wait_for_selector("[data-formula]", state="attached")
    assert seen.page.locator("[data-formula]").text_content() == str(circuit.gates(at=("input", 3)).formula())


def test_gates_are_walked_too(tmp_path: Path, seen: Seen):
    gates = small().gates(at=[("input", 0), ("input", 3)])
    seen.open(write(gates, tmp_path / "gates.html").as_uri())
    everything = inspect(gates)
    assert set(everything.targets) <= seen.ids()
    values = {node.id: node.values["real"] for node in everything.nodes}
    for node, text in seen.values().items():
        assert number(text) == values[node]
    target = everything.targets[0]
    seen.select(target)
    assert seen.page.locator("[data-formula]").text_content() == str(gates.formula(gates.roots[0]))


# --- names -----------------------------------------------------------------------------------------------------------


def check_nasty(seen: Seen) -> None:
    """Show every neuron of the chain of nasty names, and every panel; nothing of a name may become markup."""
    for _ in NASTY:
        plus = seen.page.locator(".more.in")
        if plus.count():
            plus.first.click()
            seen.idle()
    seen.page.locator(".layers summary").click()
    text = seen.page.locator(".layers").evaluate("(one) => one.textContent")
    labels = seen.page.locator(".node .body b").evaluate_all("(all) => all.map((one) => one.textContent)")
    for name in NASTY:
        assert name in text
        assert any(name in label for label in labels), name
    assert seen.page.evaluate("() => window.pwned") is None
    assert seen.page.locator("img").count() == 0
    assert seen.page.locator("script").count() == 2


def test_names_that_would_break_a_page(new_page: Callable[..., Seen], tmp_path: Path):
    circuit = nasty()
    options = {"classes": NASTY[:3]}
    path = write_html(circuit, tmp_path / "nasty.html", title="</title><script>window.pwned = 1</script>", **options)
    for_file = new_page().open(path.as_uri())
    check_nasty(for_file)
    assert for_file.page.title() == "</title><script>window.pwned = 1</script>"
    with circuit.studio(browser=False, **options) as studio:
        live = new_page().open(studio.url)
        check_nasty(live)
        for opened in (for_file, live):
            opened.page.locator(".node .body").first.click()
            opened.idle()
            check_exports(opened, NASTY)


def check_exports(seen: Seen, names: list[str]) -> None:
    root = ElementTree.fromstring(seen.download("SVG"))
    texts = " ".join("".join(one.itertext()) for one in root.iter(f"{SVG}title"))
    assert all(name in texts for name in names)
    assert {one.tag for one in root.iter()} <= {SVG + tag for tag in ("svg", "title", "rect", "path", "text", "g")}
    assert seen.download("PNG").startswith(b"\x89PNG\r\n\x1a\n")
    content = seen.download("JSON").decode()
    jsonschema.validate(json.loads(content), schema())
    found = Inspection.from_json(content)
    assert {node.id for node in found.nodes} == {node for node in seen.ids() if ":" not in node}
    assert all(any(name in node.name for node in found.nodes) for name in names)
    text = seen.download("DOT").decode()
    if shutil.which("dot"):
        run = subprocess.run(["dot", "-Tjson"], input=text, capture_output=True, text=True, check=True)
        drawn = json.loads(run.stdout)
        assert len(drawn["objects"]) == len(seen.ids())


def test_exports_are_what_is_seen(file: Path, seen: Seen):
    seen.open(file.as_uri())
    seen.page.locator(".more.in").first.click()
    seen.idle()
    check_exports(seen, [])
    root = ElementTree.fromstring(seen.download("SVG"))
    wires = int(re.search(r"(\d+) wires", seen.page.locator(".count").inner_text())[1])  # type: ignore[index]
    assert len(list(root.iter(f"{SVG}path"))) == wires
    content = Inspection.from_json(seen.download("JSON").decode())
    assert len(content.wires) == wires
    whole = inspect(small())
    held = dict(zip(whole.wires.variable, whole.wires.messages["real"], strict=True))
    for variable, message in zip(content.wires.variable, content.wires.messages["real"], strict=True):
        assert message == held[variable]
    layer = content.layers[1].id
    seen.select(next(node for node in seen.ids() if node.startswith(f"{layer}.")))
    name = seen.page.locator(".neuron h2").inner_text()
    expected = small().gates(at=name.partition("[")[0]).formula(name)
    assert seen.download("Formula").decode().strip() == str(expected)


class Scripts(HTMLParser):
    """What a browser would take for elements."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.data: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["script"]:
            self.data.append(data)


@given(st.text(), st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False)))
def test_any_text_stays_text(title: str, content: dict[str, Any]):
    """Fuzzed: whatever names hold, the page has the same elements, and its data come back as they were."""
    if any("\ud800" <= c <= "\udfff" for c in title + json.dumps(content, ensure_ascii=False)):
        return  # no file holds lone surrogates
    plain, filled = Scripts(), Scripts()
    plain.feed(page("", {}))
    filled.feed(page(title, content))
    assert filled.tags == plain.tags
    found = json.loads(filled.data[0])
    assert {
        key: value if isinstance(value, str) else float(value) for key, value in content.items()
    }.keys() == found.keys()
    assert all(found[key] == value for key, value in content.items() if isinstance(value, str))


# --- how it looks ----------------------------------------------------------------------------------------------------

CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d');
  const style = getComputedStyle(document.documentElement);
  const channel = (c) => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
  const light = (name) => {
    canvas.fillStyle = style.getPropertyValue('--' + name).trim();
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((c) => channel(c / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + .05) / (Math.min(light(a), light(b)) + .05);
  const found = {};
  for (const ink of ['ink', 'pale']) {
    for (const paper of ['paper', 'card', 'field']) found[ink + ' on ' + paper] = ratio(ink, paper);
  }
  for (const wire of ['plus', 'minus', 'best', 'accent']) found[wire] = ratio(wire, 'paper');
  return found;
}"""


@pytest.mark.parametrize("scheme", LIGHT_AND_DARK)
def test_colours_can_be_read(scheme: str, file: Path, new_page: Callable[..., Seen]):
    """WCAG 2: 4.5 for words, 3 for what is drawn."""
    seen = new_page(color_scheme=scheme).open(file.as_uri())
    ratios = seen.page.evaluate(CONTRAST)
    for name, ratio in ratios.items():
        assert ratio >= (4.5 if " on " in name else 3), (scheme, name, ratio)
    background = seen.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(251, 251, 249)") == (scheme == "light")
    seen.page.get_by_role("button", name="Theme: auto").click()
    assert seen.page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(21, 23, 26)"


@pytest.mark.parametrize("width", [320, 640, 1280])
def test_twice_as_large_needs_no_scrolling_sideways(width: int, file: Path, new_page: Callable[..., Seen]):
    """A window of 1280 at 200 % is one of 640, at 400 % one of 320."""
    seen = new_page(viewport={"width": width, "height": 400}).open(file.as_uri())
    assert seen.page.evaluate("() => document.documentElement.scrollWidth") <= width
    box = seen.page.locator(".stage").bounding_box()
    assert box is not None
    assert box["width"] >= 300
    assert box["height"] >= 200
    for button in seen.page.locator(".controls button").all():
        place = button.bounding_box()
        assert place is not None
        assert place["x"] + place["width"] <= width + 1


# --- bad input, and sizes --------------------------------------------------------------------------------------------


def test_files_that_cannot_be_written(tmp_path: Path):
    with pytest.raises(OutputError, match="missing"):
        write_html(small(), tmp_path / "none" / "a.html")
    with pytest.raises(LimitError, match="gates"):
        write_html(small(), tmp_path / "a.html", limit=5)
    with pytest.raises(OptionError, match="finished"):
        write_html(inspect(small()), tmp_path / "a.html", rule="gamma")
    with pytest.raises(OptionError, match="asks for no value"):
        inspect(small(), semirings=())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.guarantee("a page of a cone of 5,000 gates is smaller than 3 MB")
def test_five_thousand_gates_are_small(tmp_path: Path):
    torch.manual_seed(0)
    circuit = provnet.trace(seeded(Residual), torch.randn(1, 2, 6, 6, dtype=torch.float64))
    assert len(circuit.gates()) > 5_000
    assert write_html(circuit, tmp_path / "a.html").stat().st_size < 3_000_000
    assert write_html(circuit.gates(), tmp_path / "b.html").stat().st_size < 3_000_000


def test_thousands_of_wires_at_once(new_page: Callable[..., Seen]):
    """Layers that are too tall for boxes are cells; the page answers the wheel. How fast: bench_inspection."""
    circuit = provnet.trace(perceptron(784, 12, 10), torch.rand(1, 784))
    with circuit.studio(browser=False) as studio:
        seen = new_page().open(studio.url)
        show_every_wire(seen)
        assert "9,420 wires" in seen.page.locator(".count").inner_text()
        before = seen.page.locator(".nodes").get_attribute("style")
        assert min(seen.page.evaluate(WHEEL)) > 0
        assert seen.page.locator(".nodes").get_attribute("style") != before
