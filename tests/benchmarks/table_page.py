"""The tables of docs/benchmarks.md, made from JSON lines, between the two marks of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
MARKS = ("<!-- table -->", "<!-- /table -->")
V, M = "VGG-16 b1", "MLP b256"
NETWORKS = ("MLP b1", M, V, "ResNet-18 b1")

Line = Mapping[str, Any]


def write(lines: Sequence[Line], page: Path = PAGE) -> None:
    """Put the tables of the lines between the page's marks. Parts without a line are left out.

    Raises: `ValueError` if the page lacks the marks.
    """
    text = page.read_text("utf-8")
    before, found, rest = text.partition(MARKS[0])
    _, closed, after = rest.partition(MARKS[1])
    if not found or not closed:
        raise ValueError(f"{page} has no section between {MARKS[0]} and {MARKS[1]}.")
    sections = [section for make in SECTIONS if (section := make(lines))]
    page.write_text("\n\n".join([before + MARKS[0], *sections, MARKS[1] + after]), "utf-8")


def chosen(lines: Iterable[Line], benchmark: str, **wanted: Any) -> list[Line]:
    """Return the lines of a benchmark that have these figures, without those that were skipped."""
    return [
        line
        for line in lines
        if line["benchmark"] == benchmark
        and "skipped" not in line
        and all(line.get(name) == value for name, value in wanted.items())
    ]


def one(lines: Iterable[Line], benchmark: str, **wanted: Any) -> Line | None:
    """Return the last such line, None if there is none."""
    found = chosen(lines, benchmark, **wanted)
    return found[-1] if found else None


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rules = ["---"] * len(head)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rules, *rows))


def number(x: float) -> str:
    """Return three significant digits without an exponent."""
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.1f}" if abs(x) >= 10 else f"{x:.2f}"


# --- sections ---------------------------------------------------------------------------------------------------------


def machine(lines: Sequence[Line]) -> str:
    line = lines[0]
    return (
        f"{line['threads']} threads, {line['processor']}, torch {line['torch']}, float32. Milliseconds, medians; "
        "in brackets times forward + input gradient of the same run."
    )


def whole(lines: Sequence[Line], engine: str = "numba") -> str:
    """The whole way, trace and evaluation."""
    rows = _rows(lines, engine, lambda line: f"{number(line['ms'])} ({number(line['times_forward_and_gradient'])})")
    if not rows:
        return ""
    title = "with numba" if engine == "numba" else "by torch alone"
    return f"### The whole way, {title}\n\n" + table(("", *NETWORKS), rows)


def torch_alone(lines: Sequence[Line]) -> str:
    return whole(lines, "torch")


def evaluation(lines: Sequence[Line]) -> str:
    """What evaluation takes of it, and the next evaluation of the same circuit."""

    def cell(line: Line) -> str:
        return f"{number(line['evaluate_ms'])}, {number(line['again_ms'])}"

    rows = _rows([line for line in lines if "again_ms" in line], "numba", cell)
    if not rows:
        return ""
    return "### Evaluation alone, with numba: the first and the next of one circuit\n\n" + table(("", *NETWORKS), rows)


def _rows(lines: Sequence[Line], engine: str, cell: Callable[[Line], str]) -> list[list[str]]:
    # VGG-16 is asked most, so its rows give the order.
    own = sorted(chosen(lines, "table", engine=engine), key=lambda line: line["network"] != V)
    rows = []
    # int64 counts take another threshold on each network: one row for all, which says which.
    for way in dict.fromkeys(_plain(line["way"]) for line in own):
        row = [way]
        for network in NETWORKS:
            line = next((x for x in own if _plain(x["way"]) == way and x["network"] == network), None)
            theta = "" if line is None or "θ =" not in line["way"] else f", θ = {line['way'].split('= ')[1]}"
            row.append("–" if line is None else cell(line) + theta)
        rows.append(row)
    return rows


def _plain(way: str) -> str:
    return way.split(", θ =")[0]


@dataclass(frozen=True)
class Goal:
    """A ratio that was aimed at: of a way's time to a baseline's on one network, by one engine, and the stretch."""

    way: str
    network: str
    against: str
    engine: str
    most: float
    stretch: float | None = None


F, G = "times_forward", "times_forward_and_gradient"
INT64 = "counting, int64"
GOALS = (
    *(Goal(f"real, {rule}", V, G, "numba", 1.25, 1.1) for rule in ("rule 0", "ε")),
    *(Goal(f"real, {rule}", V, G, "numba", 2.5, 2.0) for rule in ("gamma", "z^B composite")),
    Goal("Boolean", V, F, "torch", 12),
    Goal("Boolean", V, F, "numba", 3.5, 2.3),
    Goal("Viterbi", V, F, "torch", 20),
    Goal("Viterbi", V, F, "numba", 4.3, 2.8),
    Goal("counting, float64", V, F, "torch", 18),
    Goal(INT64, V, F, "numba", 4.3, 3),
    Goal("counting", V, F, "numba", 4.3, 3),
    Goal("real, rule 0", M, G, "numba", 1.0),
    Goal("Boolean", M, G, "torch", 6),
    Goal("Boolean", M, G, "numba", 1.3, 1.1),
    Goal("Viterbi", M, G, "torch", 10),
    Goal("Viterbi", M, G, "numba", 2.3, 1.8),
    Goal("counting, float64", M, G, "torch", 6),
    Goal(INT64, M, G, "numba", 2.3, 1.8),
)
FASTER = {"Boolean": (40, 150, 250), "Viterbi": (25, 120, 200), "counting, Θ by element": (350, 1500, 2000)}
"""Over the authors' loops: by torch, with numba, stretch."""


def verdict(met: bool, beyond: bool = False) -> str:
    return ("met, stretch too" if beyond else "met") if met else "**missed**"


def goals(lines: Sequence[Line]) -> str:
    rows = []
    for goal in GOALS:
        own = chosen(lines, "table", network=goal.network, engine=goal.engine)
        line = next((x for x in own if _plain(x["way"]) == f"provnet {goal.way}"), None)
        if line is None:
            continue
        found = line[goal.against]
        beyond = goal.stretch is not None and found <= goal.stretch
        against = "forward" if goal.against == F else "forward + gradient"
        wanted = f"≤ {goal.most:g}" + ("" if goal.stretch is None else f" ({goal.stretch:g})")
        name, engine = line["way"].removeprefix("provnet "), "torch" if goal.engine == "torch" else "numba"
        verdicted = verdict(found <= goal.most, beyond)
        rows.append([name, goal.network, engine, against, number(found), wanted, verdicted])
    if not rows:
        return ""
    head = ("the whole way", "network", "by", "times", "measured", "target (stretch)", "")
    return "### Targets\n\n" + table(head, rows)


def loops(lines: Sequence[Line]) -> str:
    rows = []
    for line in chosen(lines, "loops"):
        goal = FASTER.get(line["way"])
        by_torch, by_numba = line.get("times_faster_torch", 0.0), line["times_faster_numba"]
        row = [line["way"], number(line["loop_s"]), number(by_torch), number(by_numba)]
        if goal is None:
            rows.append([*row, "–", ""])
            continue
        judged = f"torch {verdict(by_torch >= goal[0])}, numba {verdict(by_numba >= goal[1], by_numba >= goal[2])}"
        rows.append([*row, f"≥ {goal[0]}, {goal[1]:,} ({goal[2]:,})", judged])
    if not rows:
        return ""
    note = (
        "### VGG-16 against a Python loop over neurons\n\n"
        "One Python step an input neuron and one numpy expression over all its outputs, as the papers' notebooks have "
        "it; 64 random neurons of each of the 16 layers are timed and scaled to all (an extrapolation). With “Θ by "
        "element” the threshold is a Python function, called once an edge through `numpy.vectorize`. provnet: the "
        "whole way, counts in float64.\n\n"
    )
    return note + table(("", "loop, s", "× torch alone", "× numba", "targets: torch, numba (stretch)", ""), rows)


def memory(lines: Sequence[Line]) -> str:
    rows = []
    for line in chosen(lines, "memory", engine="numba"):
        torch_line = one(lines, "memory", engine="torch", way=line["way"])
        found, other = line["extra_mb"], None if torch_line is None else torch_line["extra_mb"]
        cells = [number(found), "–" if other is None else number(other)]
        judged = f"numba {verdict(found <= 128)}" + ("" if other is None else f", torch {verdict(other <= 64)}")
        rows.append([line["way"], *cells, judged])
    if not rows:
        return ""
    note = (
        "### Memory of one evaluation of VGG-16, MB above model and recorded activations\n\n"
        "Targets: 128, by torch 64.\n\n"
    )
    return note + table(("", "with numba", "by torch alone", ""), rows)


def sweep(lines: Sequence[Line]) -> str:
    own = chosen(lines, "sweep")
    if not own:
        return ""
    rows = [[x["network"], x["way"], number(x["ms"]), number(x["times"])] for x in own]
    return "### A sweep over 100 thresholds\n\n" + table(("", "evaluation", "ms", "× Bottleneck"), rows)


def batches(lines: Sequence[Line]) -> str:
    rows = []
    for x in chosen(lines, "batch8"):
        evaluation = number(x["evaluate_ratio"]) if "evaluate_ratio" in x else "–"
        judged = "" if x["way"] == "forward" else verdict(x["ratio"] <= 1)
        rows.append(
            [x["network"], x["way"], number(x["ms"]), number(x["ms_image"]), number(x["ratio"]), evaluation, judged]
        )
    if not rows:
        return ""
    head = ("", "", "alone, ms", "in a batch of 8, ms an image", "ratio", "of evaluation alone", "target ≤ 1")
    return "### An image alone and in a batch of 8\n\n" + table(head, rows)


def large(lines: Sequence[Line]) -> str:
    rows = [
        [x["way"], number(x["whole_ms_image"]), number(x["evaluate_ms_image"]), number(x["peak_gb"])]
        for x in chosen(lines, "batch32")
    ]
    if not rows:
        return ""
    head = ("", "ms an image", "of it evaluation", "peak of the process, GB")
    return "### VGG-16, batch 32, one process a semiring\n\nTarget: within 24 GiB.\n\n" + table(head, rows)


def own_semirings(lines: Sequence[Line]) -> str:
    rows = []
    for x in chosen(lines, "user"):
        found = (number(x["named_ms"]), number(x["made_ms"]), number(x["ratio"]), verdict(x["ratio"] <= 10))
        rows.append([x["network"], x["way"], *found])
    if not rows:
        return ""
    head = ("", "", "named, ms", "made, ms", "ratio", "target ≤ 10")
    return "### A semiring made of two torch functions, against the named one by torch alone\n\n" + table(head, rows)


SECTIONS = (machine, goals, whole, evaluation, torch_alone, loops, memory, sweep, batches, large, own_semirings)
