"""The seven questions that one circuit answers, in words and as semirings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from provnet.applications.demo.odds import odds
from provnet.semirings import Semiring, get
from provnet.semirings.annotations import Annotation, Threshold


@dataclass(frozen=True, eq=False)
class DemoQuestion:
    """One question: its words, the semiring that answers it, Θ, and which number sums up a picture.

    `algebra` is the semiring as mathematicians write it, `theta` what an edge is annotated with, `measure` what the one
    number says, `shows` how to read the picture.
    """

    words: str
    semiring: Semiring
    annotation: Annotation | None
    algebra: str
    theta: str
    measure: str
    shows: str

    @property
    def name(self) -> str:
        return self.semiring.name

    def number(self, relevance: Tensor) -> float:
        """Return the number that `measure` describes, of one example's relevance [inputs]."""
        return MEASURES[self.name](relevance)

    def spoken(self, relevance: Tensor) -> str:
        """Return that number as the report prints it."""
        return spoken(self.number(relevance), self.name)


def _strong(relevance: Tensor) -> int:
    return int((relevance >= STRONG).sum())


STRONG = 0.5

MEASURES: dict[str, Callable[[Tensor], float]] = {
    "real": lambda r: float(r.sum()),
    "boolean": lambda r: int(r.sum()),
    "counting": lambda r: int(r.sum()),
    "viterbi": _strong,
    "tropical": lambda r: float(r[r.isfinite()].median()) if bool(r.isfinite().any()) else float("inf"),
    "bottleneck": lambda r: float(r.max()),
    "odds": _strong,
}

UNITS = {"boolean": "pixel", "counting": "path", "viterbi": "pixel", "odds": "pixel"}


def spoken(number: float, name: str) -> str:
    """Return a number with as many digits as it deserves, and its unit."""
    if isinstance(number, int):
        return f"{number:,} {UNITS[name]}{'' if number == 1 else 's'}"
    return "none" if number in (float("inf"), float("-inf")) else f"{number:.3g}"


def questions(theta: float) -> list[DemoQuestion]:
    """Return the seven questions; `theta` is the threshold of the Boolean and the counting one."""
    threshold = Threshold(theta)
    return [
        DemoQuestion(
            "What share of the answer is each pixel's own?",
            get("real"),
            None,
            "(ℝ, +, ×)",
            "the share d of its neuron's sum (LRP-0)",
            "sum over pixels; biases took the rest of 1",
            "red has the sign of the answer, blue the other: if it is positive, for and against the class",
        ),
        DemoQuestion(
            "Which pixels reach the answer over strong edges alone?",
            get("boolean"),
            threshold,
            "({0, 1}, ∨, ∧)",
            f"d ≥ {theta:.3g}",
            "pixels that do",
            "dark pixels do",
        ),
        DemoQuestion(
            "Over how many strong paths?",
            get("counting"),
            threshold,
            "(ℕ, +, ×)",
            f"d ≥ {theta:.3g}",
            "paths, all pixels together",
            "the darker, the more paths",
        ),
        DemoQuestion(
            "How strong is the strongest path from each pixel?",
            get("viterbi"),
            None,
            "([0, 1], max, ×)",
            "|p| / max |p|, the strength beside the strongest input",
            f"pixels with a path of strength {STRONG} or more",
            "the darker, the stronger",
        ),
        DemoQuestion(
            "What does the cheapest path from each pixel cost?",
            get("tropical"),
            None,
            "([0, ∞], min, +)",
            "−log of that strength",
            "the median cost of the pixels that are reached; 0 is free",
            "the darker, the cheaper",
        ),
        DemoQuestion(
            "Up to which threshold is each pixel still reached?",
            get("bottleneck"),
            None,
            "([−∞, ∞], max, min)",
            "the share d itself",
            "of the pixel that is reached longest",
            "the darker, the longer; every threshold at once",
        ),
        DemoQuestion(
            "How good are the odds of the best path, if the odds against its steps add up?",
            odds(),
            None,
            "([0, 1], max, xy / (x + y − xy))",
            "|p| / max |p|",
            f"pixels with odds {STRONG} or better",
            "the darker, the better; defined in the demo itself",
        ),
    ]
