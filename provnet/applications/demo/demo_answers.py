"""Everything that the report shows, computed: answers, what ties them together, a small cone, times."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from provnet.applications.demo.data import Subject
from provnet.applications.demo.demo_questions import DemoQuestion, questions
from provnet.applications.demo.threshold_search import Search, search
from provnet.circuit.gates import Neuron
from provnet.face import Circuit, GateCircuit, Relevance, Targets, trace
from provnet.semirings.annotations import Threshold

SEARCHED = 100
"""Held-out digits that the search for the threshold looks at."""

DRAWN_PATHS = 4
"""As many paths as a drawn cone should have: it then fits a page."""


@dataclass(frozen=True, eq=False)
class PixelCone:
    """The gates of one input pixel, those of edges below the threshold left out."""

    pixel: Neuron
    gates: GateCircuit
    whole_gates: int
    whole_paths: int


@dataclass(frozen=True, eq=False)
class DemoAnswers:
    """The run. `relevance` goes by semiring; `classes` too, and has the first digit with every class as the target."""

    subject: Subject
    chosen: list[int]
    circuit: Circuit
    predicted: list[int]
    logits: Tensor
    search: Search
    questions: list[DemoQuestion]
    relevance: Mapping[str, Relevance]
    classes: Mapping[str, Tensor]
    cone: PixelCone
    seconds: dict[str, float] = field(default_factory=dict)

    def image(self, k: int) -> np.ndarray:
        """Return the k-th explained digit, [side, side]."""
        return self.subject.images[self.chosen[k]].numpy()

    def label(self, k: int) -> int:
        """Return what the k-th explained digit is."""
        return int(self.subject.labels[self.chosen[k]])

    def of(self, question: DemoQuestion, k: int) -> Tensor:
        """Return the relevance of the k-th digit's pixels, [inputs]."""
        return self.relevance[question.name].inputs[k]

    def picture(self, relevance: Tensor) -> np.ndarray:
        """Return relevance [inputs] as an array [side, side]."""
        return relevance.reshape(self.subject.images.shape[1:]).cpu().numpy()


def answer(subject: Subject, count: int) -> DemoAnswers:
    """Trace once, ask seven questions of `count` digits, and time each step."""
    seconds: dict[str, float] = {}
    chosen = subject.chosen(count)
    x = subject.inputs[chosen]
    with torch.no_grad():
        logits = _timed(seconds, "a plain forward pass", lambda: subject.model(x))
    with tqdm(total=12, desc="explaining", unit="step", leave=False, disable=None) as bar:

        def step(name: str, work: Callable[[], Any]) -> Any:
            found = _timed(seconds, name, work)
            bar.update()
            return found

        circuit = step("tracing: the run becomes a circuit", lambda: trace(subject.model, x))
        found = step(f"the search for a threshold, on {SEARCHED} digits in Bottleneck", lambda: _search(subject))
        asked = questions(found.theta)
        relevance = {
            q.name: step(f"{q.name}: {count} digits", lambda q=q: circuit.evaluate(q.semiring, annotation=q.annotation))
            for q in asked
        }
        together = [q.semiring for q in asked]
        thetas = [q.annotation for q in asked]
        step("all seven in one walk", lambda: circuit.evaluate(together, annotation=thetas))
        classes = step("every class for one digit", lambda: _classes(subject.model, x[:1], found.theta))
        cone = step(
            "the gates of one pixel, pruned", lambda: small_cone(circuit, found.theta, relevance["counting"].inputs[0])
        )
    return DemoAnswers(
        subject,
        chosen,
        circuit,
        logits.argmax(1).tolist(),
        logits,
        found,
        asked,
        relevance,
        classes,
        cone,
        seconds,
    )


def _search(subject: Subject) -> Search:
    tried = subject.chosen(min(SEARCHED, len(subject.labels)))
    x = subject.inputs[tried]
    return search(trace(subject.model, x), x > 0, subject.labels[tried])


def _timed(seconds: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    before = time.perf_counter()
    found = work()
    seconds[name] = time.perf_counter() - before
    return found


def _classes(model: Any, x: Tensor, theta: float) -> dict[str, Tensor]:
    """Return {semiring: relevance [classes, inputs]} of one digit for every class, strong and weak thresholds.

    Real relevance starts at the class's own logit, so that its sign says what it does to the class: shares of a
    negative logit would have the opposite one.
    """
    one, every = trace(model, x), Targets(*range(10))
    real = one.evaluate("real", target=every, start="logit").inputs[:, 0]
    masks = {
        name: one.evaluate("boolean", target=every, annotation=Threshold(value)).inputs[:, 0]
        for name, value in (("boolean", theta), ("boolean at 1e-9", 1e-9))
    }
    return {"real": real, **masks}


def small_cone(circuit: Circuit, theta: float, paths: Tensor) -> PixelCone:
    """Return the gates of the pixel of the first digit whose number of paths at θ is nearest to `DRAWN_PATHS`."""
    alive = torch.where(paths > 0, (paths - DRAWN_PATHS).abs(), torch.iinfo(torch.int64).max)
    pixel = int(alive.argmin())
    source = circuit.sources[0]
    gates = circuit.gates(batch=0, at=(source, pixel))
    return PixelCone(Neuron(source, (pixel,)), gates.prune(theta=theta), len(gates), gates.formula().terms)
