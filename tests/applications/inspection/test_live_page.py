"""The live page in a real browser: every control, and every number it shows against Python's."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import provnet
from provnet.applications.inspection import Explorer, Studio
from provnet.semirings.annotations import Threshold
from tests.applications.inspection.browsing import Seen, number, small
from tests.nets import Residual, seeded

CLASSES = ["cat", 'do"g', "<fish>"]
SEMIRINGS = ("real", "boolean", "counting", "viterbi", "tropical", "bottleneck")


@pytest.fixture(scope="module")
def circuit() -> provnet.Circuit:
    return small()


@pytest.fixture(scope="module")
def studio(circuit: provnet.Circuit) -> Iterator[Studio]:
    with circuit.studio(browser=False, classes=CLASSES) as served:
        yield served


@pytest.fixture(scope="module")
def explorer(circuit: provnet.Circuit) -> Explorer:
    return Explorer(circuit, classes=CLASSES)


def held(circuit: provnet.Circuit, explorer: Explorer, node: str, semiring: str, **options: Any) -> float:
    """Return a neuron's relevance by `evaluate`."""
    layer, index = explorer.locate(node)
    example = options.pop("example", 0)
    name = circuit.data.activations[layer].name
    found = circuit.evaluate(semiring, at="*", route="reference", **options)[name]
    return float(found[example].reshape(-1)[index])


def agree(seen: Seen, circuit: provnet.Circuit, explorer: Explorer, semiring: str, **options: Any) -> None:
    """Check every element on the page."""
    values = seen.values()
    assert len(values) > 1
    for node, text in values.items():
        assert number(text) == held(circuit, explorer, node, semiring, **options), (node, semiring)


def grow(seen: Seen, explorer: Explorer) -> str:
    """Open the strongest input of the target; return its id."""
    question = explorer.question()
    (target,) = explorer.targets(question)
    first = explorer.view(question, [(target, 1, 0)]).nodes[1].id
    seen.node(first).locator(".more.in").click()
    seen.idle()
    return first


def test_it_opens_at_the_target(seen: Seen, studio: Studio, circuit: provnet.Circuit, explorer: Explorer):
    seen.open(studio.url)
    view = explorer.view(explorer.question())
    assert seen.ids() == {node.id for node in view.nodes}
    assert "Sequential" in seen.page.locator("h1").inner_text()
    agree(seen, circuit, explorer, "real")
    (target,) = view.targets
    name = CLASSES[int(target.split(".")[1])]
    assert name in seen.node(target).inner_text()


def test_a_plus_shows_more_and_says_how_many(seen: Seen, studio: Studio, circuit: provnet.Circuit, explorer: Explorer):
    seen.open(studio.url)
    before = seen.ids()
    layer = explorer.layers[1].id
    node = f"{explorer.layers[2].id}.0"
    plus = seen.node(node).locator(".more.in")
    assert plus.inner_text() == "+5"
    plus.click()
    seen.idle()
    assert seen.ids() - before == {f"{layer}.{k}" for k in range(5)}
    assert seen.node(node).locator(".more.in").count() == 0
    agree(seen, circuit, explorer, "real")
    assert "9 wires" in seen.page.locator(".count").inner_text()
    up = seen.node(f"{layer}.0").locator(".more.out")
    assert up.inner_text() == "+3"
    up.click()
    seen.idle()
    assert "12 wires" in seen.page.locator(".count").inner_text()


def test_every_semiring(seen: Seen, studio: Studio, circuit: provnet.Circuit, explorer: Explorer):
    seen.open(studio.url)
    grow(seen, explorer)
    for semiring in SEMIRINGS:
        seen.choose("Semiring", semiring)
        agree(seen, circuit, explorer, semiring)


def test_every_rule(seen: Seen, studio: Studio, circuit: provnet.Circuit, explorer: Explorer):
    seen.open(studio.url)
    grow(seen, explorer)
    for rule in ("epsilon", "gamma", "z-plus", "alpha-beta", "flat"):
        seen.choose("Rule", rule)
        agree(seen, circuit, explorer, "real", rule=rule)


def test_target_and_example(seen: Seen, studio: Studio, circuit: provnet.Circuit, explorer: Explorer):
    seen.open(studio.url)
    seen.choose("Target", "2").choose("Example", "1")
    agree(seen, circuit, explorer, "real", target=2, example=1)
    assert f"{explorer.layers[-1].id}.2" in seen.ids()
    options = seen.page.get_by_label("Target", exact=True).locator("option").all_inner_texts()
    assert '1 do"g' in options


def test_a_rule_that_cannot_apply_is_said_and_nothing_is_lost(seen: Seen, studio: Studio):
    seen.open(studio.url)
    before = seen.values()
    seen.choose("Rule", "z-box")
    if seen.page.locator(".alert").count():  # a box needs bounds that inputs keep to
        assert len(seen.alert()) > 10
        assert seen.values() == before
        seen.page.get_by_role("button", name="Close").first.click()
        assert seen.page.locator(".alert").count() == 0


def test_the_slider_is_exact(seen: Seen, studio: Studio, circuit: provnet.Circuit, explorer: Explorer):
    """Fading, the count, and Boolean itself: all from the Bottleneck pass, all as `evaluate` with θ says."""
    seen.open(studio.url)
    grow(seen, explorer)
    seen.choose("Semiring", "boolean")
    steps, _ = explorer.steps(explorer.question())
    asked = len(seen.requests)
    for place in range(1, len(steps) + 1):
        theta = steps[place - 1]
        seen.slide(place)
        for node, text in seen.values().items():
            passes = held(circuit, explorer, node, "boolean", annotation=Threshold(theta))
            assert number(text) == passes, (node, theta)
            faded = "below" in (seen.node(node).get_attribute("class") or "")
            assert faded != bool(passes)
        alive = int(circuit.evaluate("boolean", annotation=Threshold(theta), route="reference").inputs[0].sum())
        assert f": {alive} of 6 inputs" in seen.page.locator(".theta output").inner_text()
    assert len(seen.requests) == asked  # no neuron is chosen, so nothing was asked
    before = seen.ids()
    seen.page.get_by_role("button", name="Hide below θ").click()
    seen.idle()
    assert seen.ids() < before
    seen.slide(0)
    assert seen.ids() == before


def test_counting_is_asked_again_at_each_threshold(
    seen: Seen, studio: Studio, circuit: provnet.Circuit, explorer: Explorer
):
    seen.open(studio.url)
    grow(seen, explorer)
    seen.choose("Semiring", "counting")
    steps, _ = explorer.steps(explorer.question())
    for place in (1, len(steps)):
        seen.slide(place)
        agree(seen, circuit, explorer, "counting", annotation=Threshold(steps[place - 1]))


def test_a_neuron_in_full(seen: Seen, studio: Studio, circuit: provnet.Circuit, explorer: Explorer):
    seen.open(studio.url)
    node = grow(seen, explorer)
    below = f"{explorer.layers[1].id}.3"
    seen.select(below)
    page = seen.page
    for semiring in SEMIRINGS:
        shown = page.locator(f'td[data-semiring="{semiring}"]').get_attribute("data-value")
        assert number(shown) == held(circuit, explorer, below, semiring)
    gates = circuit.gates(at=("0", 3))
    assert page.locator("[data-formula]").text_content() == str(gates.formula())
    assert page.locator("[data-polynomial]").text_content() == str(gates.polynomial())
    assert page.locator("[data-latex]").text_content() == gates.formula().latex()
    assert page.locator("[data-paths]").get_attribute("data-paths") == "4"
    messages = circuit.evaluate("real", route="reference").messages("0")[0, 3]
    shown = sorted(
        number(t)
        for t in page.locator(".messages")
        .nth(0)
        .locator("[data-message]")
        .evaluate_all("(all) => all.map((one) => one.dataset.message)")
    )
    assert shown == sorted(messages[:6].tolist())
    came = number(page.locator("[data-came]").get_attribute("data-came"))
    assert came == held(circuit, explorer, below, "real")
    assert "lost" in page.locator(".account").inner_text()
    page.locator(f'.messages button:has-text("{explorer.name(node)}")').first.click()
    seen.idle()
    assert page.locator(".neuron h2").inner_text() == explorer.name(node)


def test_best_paths(seen: Seen, studio: Studio, circuit: provnet.Circuit, explorer: Explorer):
    seen.open(studio.url)
    grow(seen, explorer)
    seen.choose("Semiring", "viterbi")
    node = f"{explorer.layers[1].id}.2"
    seen.select(node)
    for presses, k in ((1, 1), (1, 3)):
        for _ in range(presses):
            seen.page.get_by_role("button", name="Best paths").click()
            seen.idle()
        expected = circuit.gates(at=("0", 2)).best_paths(k=k, semiring="viterbi")
        texts = seen.page.locator(".paths li code").all_inner_texts()
        assert texts == [" ⊗ ".join(map(str, path.variables)) for path in expected]
        values = seen.page.locator("[data-path]").evaluate_all("(all) => all.map((one) => one.dataset.path)")
        assert [float(v) for v in values] == [float(path.value) for path in expected]
    seen.page.get_by_role("button", name="Best paths").click()
    seen.idle()
    assert seen.page.locator(".paths").count() == 0


def test_the_picture_and_the_circuit_lead_to_one_another(seen: Seen, studio: Studio, explorer: Explorer):
    seen.open(studio.url)
    box = seen.page.locator(".pixels").bounding_box()
    assert box is not None
    seen.page.mouse.click(box["x"] + box["width"] * 4.5 / 6, box["y"] + box["height"] / 2)
    seen.idle()
    assert seen.page.locator(".neuron h2").inner_text() == "input[4]"
    assert f"{explorer.layers[0].id}.4" in seen.ids()
    seen.page.mouse.move(5, 5)
    assert seen.page.locator("[data-pixel]").get_attribute("data-pixel") == "4"
    seen.page.locator(".pixels").focus()
    seen.press("ArrowRight", "Enter")
    assert seen.page.locator(".neuron h2").inner_text() == "input[5]"


def test_search(seen: Seen, studio: Studio, explorer: Explorer):
    seen.open(studio.url)
    seen.press("Tab")
    seen.page.get_by_label("Search", exact=False).fill("0[4]")
    seen.page.keyboard.press("Enter")
    seen.idle()
    seen.page.locator(".hits button").first.click()
    seen.idle()
    assert f"{explorer.layers[1].id}.4" in seen.ids()
    assert seen.page.locator(".neuron h2").inner_text() == "0[4]"
    seen.page.get_by_label("Search", exact=False).fill("<FISH")
    seen.page.get_by_role("button", name="Find").click()
    seen.idle()
    assert "4[2]" in seen.page.locator(".hits").inner_text()
    seen.page.get_by_label("Search", exact=False).fill("no such")
    seen.page.get_by_role("button", name="Find").click()
    seen.idle()
    assert "Nothing is called so" in seen.page.locator(".hits").inner_text()


def test_collapse_layer_channel_and_group(new_page: Callable[..., Seen]):
    """What is collapsed has the ⊕ of its members, and its wires are joined."""
    torch.manual_seed(1)
    circuit = provnet.trace(seeded(Residual), torch.rand(1, 2, 6, 6, dtype=torch.float64))
    explorer = Explorer(circuit)
    with circuit.studio(browser=False) as studio:
        seen = new_page().open(studio.url)
        before = seen.values()
        members = [node for node in before if explorer.network.place(explorer.locate(node)[0]).path.startswith("pool")]
        seen.page.locator(".layers summary").click()
        layer = explorer.locate(members[0])[0]
        mine = [node for node in members if explorer.locate(node)[0] == layer]
        name = explorer.network.place(layer).path
        seen.page.locator(f'[data-layer="{name}"]').get_by_role("button", name="Collapse").click()
        seen.idle()
        collapsed = seen.values()[f"layer:{layer}"]
        assert number(collapsed) == pytest.approx(sum(number(before[node]) for node in mine))
        assert not set(mine) & seen.ids()
        seen.click(f'[data-id="layer:{layer}"] .body')  # a click opens it again
        assert seen.values() == before
        # A channel, by the keyboard.
        seen.node(mine[0]).locator(".body").focus()
        seen.press("c")
        channel = next(node for node in seen.ids() if node.startswith("channel:"))
        assert number(seen.values()[channel]) != 0
        seen.press("u")
        assert seen.values() == before
        # A group of one's own.
        for node in mine[:2]:
            seen.node(node).locator(".body").focus()
            seen.press("p")
        seen.page.locator(".groups summary").click()
        seen.page.get_by_label("Group of the pins").fill('my "group" <1>')
        seen.page.get_by_role("button", name="Make").click()
        seen.idle()
        group = 'group:my "group" <1>'
        total = sum(number(before[node]) for node in mine[:2])
        assert number(seen.values()[group]) == pytest.approx(total)
        seen.page.get_by_role("button", name="Dissolve").click()
        seen.idle()
        assert set(mine[:2]) <= seen.ids()


def test_the_address_keeps_all_of_it(new_page: Callable[..., Seen], studio: Studio, explorer: Explorer):
    seen = new_page().open(studio.url)
    grow(seen, explorer)
    node = f"{explorer.layers[1].id}.2"
    seen.select(node)
    seen.press("p")
    seen.page.locator("#note").fill('a <note> "of" ours\nand more')
    seen.page.locator("#note").blur()
    seen.idle()
    seen.choose("Semiring", "viterbi").slide(2)
    seen.page.get_by_role("button", name="Gates").click()
    seen.idle()
    again = new_page().open(seen.page.url)
    assert again.values() == seen.values()
    assert again.page.locator("#note").input_value() == 'a <note> "of" ours\nand more'
    assert "pinned" in (again.node(node).get_attribute("class") or "")
    assert again.page.locator(".theta output").inner_text() == seen.page.locator(".theta output").inner_text()
    assert again.page.get_by_role("button", name="Gates").get_attribute("aria-pressed") == "true"
    assert again.page.url == seen.page.url


def test_undo_and_redo(seen: Seen, studio: Studio, explorer: Explorer):
    seen.open(studio.url)
    states = [seen.values()]
    grow(seen, explorer)
    states.append(seen.values())
    seen.choose("Semiring", "tropical")
    states.append(seen.values())
    undo, redo = (seen.page.get_by_role("button", name=name, exact=True) for name in ("Undo", "Redo"))
    for state in reversed(states[:-1]):
        undo.click()
        seen.idle()
        assert seen.values() == state
    assert undo.is_disabled()
    for state in states[1:]:
        redo.click()
        seen.idle()
        assert seen.values() == state
    assert redo.is_disabled()


@pytest.mark.guarantee("a page's every function is reached by the keyboard alone")
def test_keyboard_alone(seen: Seen, studio: Studio, explorer: Explorer):
    seen.open(studio.url)
    active = "() => document.activeElement.closest('.node')?.dataset.id ?? ''"
    for _ in range(40):
        seen.page.keyboard.press("Tab")
        if seen.page.evaluate(active):
            break
    (target,) = explorer.targets(explorer.question())
    assert seen.page.evaluate(active) == target
    seen.press("ArrowLeft")
    strongest = explorer.view(explorer.question(), [(target, 1, 0)]).nodes[1].id
    assert seen.page.evaluate(active) == strongest
    before = seen.ids()
    seen.press("e")
    assert len(seen.ids()) > len(before)
    seen.press("Enter")
    assert seen.page.locator(".neuron h2").inner_text() == explorer.name(strongest)
    seen.press("p")
    assert "pinned" in (seen.node(strongest).get_attribute("class") or "")
    seen.press("b")
    assert seen.page.locator(".paths").count() == 1
    seen.press("-")
    assert seen.ids() == before
    seen.press("u", "r")
    places = []
    for arrow in ("ArrowUp", "ArrowDown", "ArrowDown"):
        seen.press(arrow)
        places.append(seen.page.evaluate(active))
    assert "" not in places
    assert len({strongest, *places}) > 1
    seen.press("g")
    assert any(node.startswith("layer:") for node in seen.ids())
    seen.press("g", "0", "+", "_")
    seen.press("/")
    assert seen.page.evaluate("() => document.activeElement.type") == "search"
    seen.page.locator(".stage").focus()
    seen.press("?")
    assert seen.page.locator("dialog[open]").count() == 1
    seen.press("Enter")
    assert seen.page.locator("dialog[open]").count() == 0
    seen.page.locator(".conservation summary").focus()
    seen.press("Enter")
    assert seen.page.locator("[data-holds]").get_attribute("data-holds") == "true"


# --- what is bad -----------------------------------------------------------------------------------------------------


def hashed(studio: Studio, state: Any, **over: Any) -> str:
    assert studio.requests is not None
    content = {"v": 1, "f": studio.requests.explorer.fingerprint, "s": state, **over}
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("state", "over", "words"),
    [
        ({}, {"v": 9}, "another version"),
        ({}, {"f": "0123"}, "another circuit"),
        ([], {}, "a part is missing"),
        ({"shown": {"<img>": [1, 1]}}, {}, "a neuron is none"),
        ({"shown": {"0.1": [1, -1]}}, {}, "a number is none"),
        ({"shown": {"0.1": "x"}}, {}, "a list is none"),
        ({"shown": {"999.1": [1, 1]}}, {}, "no neuron of this circuit"),
        ({"question": {"semiring": "<script>"}}, {}, "no semiring is called"),
        ({"question": {"rule": "none"}}, {}, "no propagation rule"),
        ({"question": {"target": "77"}}, {}, "out of range"),
        ({"question": {"example": 77}}, {}, "the circuit has 2"),
        ({"question": {"theta": "x"}}, {}, "θ is no number"),
        ({"notes": {"0.1": 5}}, {}, "a text is none"),
    ],
)
def test_a_tampered_address_is_said(state: Any, over: Any, words: str, seen: Seen, studio: Studio, explorer: Explorer):
    text = hashed(studio, state, **over)
    seen.open(f"{studio.url}#{text}")
    assert words in seen.alert()
    assert seen.ids() == {node.id for node in explorer.view(explorer.question()).nodes}
    assert seen.page.url.endswith(text)  # nothing is lost until something is changed
    grow(seen, explorer)
    assert not seen.page.url.endswith(text)


@pytest.mark.parametrize("text", ["%%%", "AAAA", "e30", "x" * 300_000, "bnVsbA", "_-_-"])
def test_an_address_of_noise_is_said(text: str, seen: Seen, studio: Studio):
    seen.open(f"{studio.url}#{text}")
    assert "cannot be shown" in seen.alert()


def test_a_studio_that_has_ended_is_said(seen: Seen, circuit: provnet.Circuit, explorer: Explorer):
    studio = circuit.studio(browser=False)
    seen.open(studio.url)
    before = seen.values()
    studio.stop()
    seen.page.locator(".more.in").first.click()
    seen.idle()
    assert "has ended" in seen.alert()
    assert seen.values() == before
    seen.errors = [error for error in seen.errors if "ERR_CONNECTION_REFUSED" not in error]
