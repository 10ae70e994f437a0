"""What a page asks of the circuit behind it: each request checked, and answered as plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from provnet.applications.inspection import details, neuron_search, shown_paths
from provnet.applications.inspection.explorer import Explorer
from provnet.applications.inspection.model import PageQuestion
from provnet.errors import OptionError

TARGETS = 100
"""Targets that are listed; of more, one writes the number."""

Given = Mapping[str, Any]
"""A request as JSON holds it, of which nothing may be taken for granted."""


class Requests:
    """The requests of a page on one circuit. `start` is the question where a request leaves it open.

    Example: `Requests(Explorer(circuit), {}).answer("view", {"question": {}})`
    """

    def __init__(self, explorer: Explorer, start: Given) -> None:
        self.explorer, self.start = explorer, dict(start)

    def answer(self, name: str, given: Given) -> Any:
        """Return the answer to a request. Raises `ProvnetError` for one that has none."""
        if name not in ANSWERS:
            raise OptionError(f"the page asked for {name!r}, which this studio does not know.")
        return ANSWERS[name](self, given)

    def question(self, given: Given) -> PageQuestion:
        """Return the question of a request. Raises `OptionError` where it is none."""
        asked = given.get("question")
        if not isinstance(asked, dict):
            raise OptionError("the question is missing.")
        known = {field.name for field in fields(PageQuestion)}
        unknown = sorted(set(asked) - known)
        if unknown:
            raise OptionError(f"a question has no {unknown[0]!r}.")
        asked = self.start | asked
        for name in ("semiring", "rule", "order"):
            if not isinstance(asked.get(name, ""), str):
                raise OptionError(f"{name} is {asked[name]!r}: give a name.")
        theta, example = asked.get("theta"), asked.get("example", 0)
        if theta is not None and (isinstance(theta, bool) or not isinstance(theta, int | float)):
            raise OptionError(f"θ is {theta!r}: give a number.")
        if isinstance(example, bool) or not isinstance(example, int):
            raise OptionError(f"the example is {example!r}: give a whole number.")
        if not isinstance(asked.get("target", ""), str):
            raise OptionError(f"the target is {asked['target']!r}: give a text.")
        return self.explorer.question(**asked)


def _open(requests: Requests, given: Given) -> Any:
    explorer = requests.explorer
    question = requests.question(given)
    held = explorer.circuit.data.activations[explorer.output]
    single = held.size == (held.shape[-1] if held.shape else 1)
    few = single and held.size <= TARGETS
    choices = {
        "algebras": [explorer.answers.algebra(name) for name in explorer.answers.semirings],
        "rules": list(explorer.answers.rules),
        "examples": explorer.circuit.batch,
        "classes": {str(number): name for number, name in explorer.classes.items()},
        "targets": ["predicted", *map(str, range(held.size))] if few else [],
    }
    return {"inspection": explorer.whole(question), "choices": choices}


def _view(requests: Requests, given: Given) -> Any:
    shown = [(_text(node), _whole(down), _whole(up)) for node, down, up in _list(given, "shown")]
    nodes = [_text(node) for node in _list(given, "nodes")]
    return requests.explorer.view(requests.question(given), shown, nodes)


def _neuron(requests: Requests, given: Given) -> Any:
    return details.details(requests.explorer, requests.question(given), _text(given.get("node")))


def _written(requests: Requests, given: Given) -> Any:
    return details.written(requests.explorer, requests.question(given), _text(given.get("node")))


def _paths(requests: Requests, given: Given) -> Any:
    node, k = _text(given.get("node")), _whole(given.get("k", 1))
    return shown_paths.best_paths(requests.explorer, requests.question(given), node, k)


def _search(requests: Requests, given: Given) -> Any:
    return neuron_search.search(requests.explorer, requests.question(given), _text(given.get("text")))


def _layer(requests: Requests, given: Given) -> Any:
    layer = _whole(given.get("layer"))
    if layer not in requests.explorer.network.layers:
        raise OptionError(f"there is no layer {layer}.")
    count = min(_whole(given.get("count", 8)), 10_000)
    return neuron_search.strongest(requests.explorer, requests.question(given), layer, count)


def _conservation(requests: Requests, given: Given) -> Any:
    return details.conservation(requests.explorer, requests.question(given))


ANSWERS: dict[str, Callable[[Requests, Given], Any]] = {
    "open": _open,
    "view": _view,
    "neuron": _neuron,
    "written": _written,
    "paths": _paths,
    "search": _search,
    "layer": _layer,
    "conservation": _conservation,
}


# --- what a request holds ---------------------------------------------------------------------------------------------


def _list(given: Given, name: str) -> list[Any]:
    found = given.get(name, [])
    if not isinstance(found, list) or len(found) > 1_000_000:
        raise OptionError(f"{name} is no list.")
    if name == "shown" and not all(isinstance(one, list) and len(one) == 3 for one in found):
        raise OptionError("shown lists (neuron, inputs, outputs).")
    return found


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise OptionError(f"{given!r} is no text.")
    return given


def _whole(given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise OptionError(f"{given!r} is no number of wires.")
    return min(given, 1 << 40)
