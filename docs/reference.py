"""The reference of the programming interface: every public object, in an order made by hand, from its docstring.

`pages()` returns the pages; `docs/site.py` puts them into the site when it is built: none lies here to go stale.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Part:
    """A page, or a section of one: names of a module, or all that the module itself defines in the open."""

    title: str
    module: str
    names: tuple[str, ...] = ()
    members: bool = True
    """Whether classes are shown with their methods."""


PAGES: dict[str, tuple[str, tuple[Part, ...]]] = {
    "asking": (
        "Asking",
        (
            Part("Trace and evaluate", "provnet", ("trace", "explain", "sweep", "Targets")),
            Part("Keep and compare", "provnet", ("save", "load", "difference", "homomorphism", "plot")),
        ),
    ),
    "circuits": (
        "Circuits",
        (
            Part("Circuits of blocks", "provnet", ("Circuit",)),
            Part("Explicit gates", "provnet", ("GateCircuit", "Elements", "Variable", "Neuron")),
            Part("Formulas", "provnet.symbolic.formula", ("Formula",)),
            Part("Polynomials", "provnet.symbolic.polynomial", ("Polynomial",)),
            Part("Homomorphisms", "provnet", ("Homomorphism",)),
        ),
    ),
    "results": ("Results", (Part("Relevance", "provnet", ("Relevance", "Conservation", "Tally")),)),
    "semirings": (
        "Semirings and Θ",
        (
            Part("Making and finding", "provnet.semirings", ("make", "get", "names", "check_laws")),
            Part("The base class", "provnet.semirings", ("Semiring",)),
            Part(
                "Annotation functions",
                "provnet.semirings.annotations",
                (
                    *(
                        "Identity",
                        "AbsoluteValue",
                        "Absolute",
                        "Positive",
                        "MaxNormalised",
                        "NegLog",
                        "LogPositive",
                        "LogAbsolute",
                        "Cost",
                    ),
                    *("Conserving", "Threshold", "Thresholds", "Support", "Level", "SignedParts", "ExpectationPair"),
                    *(
                        "GradedElement",
                        "Single",
                        "Edits",
                        "Each",
                        "Seed",
                        "Annotation",
                        "Edges",
                        "resolve",
                        "get",
                        "names",
                    ),
                ),
                members=False,
            ),
        ),
    ),
    "rules": (
        "Rules",
        (
            Part(
                "Rules",
                "provnet.rules",
                (
                    *("Zero", "Epsilon", "Gamma", "AlphaBeta", "ZPlus", "ZBox", "WSquare", "Flat", "Absolute", "Pass"),
                    *("Norm", "Gradient", "ExcitationBackprop", "AttnLRP"),
                ),
                members=False,
            ),
            Part(
                "Composites",
                "provnet.rules",
                (
                    *("Composite", "EpsilonPlus", "EpsilonPlusFlat", "EpsilonAlpha2Beta1", "EpsilonAlpha2Beta1Flat"),
                    *("EpsilonGammaBox", "DeepTaylor", "VGG16", "assignment", "Module", "Path", "Kind", "OpName"),
                    *("Entry", "Depth", "Where", "Choice"),
                ),
                members=False,
            ),
            Part(
                "Rules of one's own",
                "provnet.rules",
                (
                    "Rule",
                    "Stabilised",
                    "Branch",
                    "Product",
                    "Factors",
                    "Terms",
                    "RuleEdges",
                    "register",
                    "get",
                    "names",
                    "to_json",
                    "from_json",
                ),
                members=False,
            ),
            Part("Ops of one's own", "provnet", ("register_op",)),
        ),
    ),
    "pages": (
        "Pages and inspection",
        (
            Part(
                "Inspection",
                "provnet.applications.inspection",
                ("studio", "Studio", "write_html", "inspect", "Inspection", "Explorer"),
            ),
        ),
    ),
    "writers": (
        "Writers and readers",
        (
            Part("By the ending of a path", "provnet.writers.base", ("write", "writer")),
            Part("JSON", "provnet.writers.json"),
            Part("GraphML", "provnet.writers.graphml"),
            Part("PROV-JSON", "provnet.writers.prov_json"),
            Part("SQL", "provnet.writers.sql"),
            Part("DIMACS", "provnet.writers.dimacs"),
            Part("LaTeX", "provnet.writers.latex"),
            Part("Text", "provnet.writers.text"),
            Part("DOT", "provnet.writers.dot"),
            Part("Pictures", "provnet.writers.picture"),
        ),
    ),
    "applications": (
        "Applications",
        tuple(
            Part(title, f"provnet.applications.{name}")
            for title, name in (
                ("Thresholds", "thresholds"),
                ("Marginals", "marginals"),
                ("Paths", "paths"),
                ("Best paths of large circuits", "ranked_paths"),
                ("Why not", "why_not"),
                ("Contrast", "contrast"),
                ("Shapley and Banzhaf values", "shapley"),
                ("Reliability", "reliability"),
                ("Circuits together", "circuits"),
                ("Equivalence", "equivalence"),
                ("Conservation", "conservation"),
                ("Conservation as a picture", "conservation_plot"),
                ("Cancellation", "cancellation"),
                ("Masks of a dataset", "datasets.masks"),
                ("Evidence", "evidence"),
                ("Ablation", "ablation"),
                ("Pruning a network", "pruning"),
                ("Faithfulness", "perturbation"),
                ("For Quantus", "quantus_adapter"),
                ("Comparing pictures", "comparison"),
                ("Heatmaps", "heatmaps"),
                ("Coverage", "coverage"),
                ("IDX files", "idx"),
            )
        ),
    ),
    "errors": ("Errors and warnings", (Part("", "provnet.errors", members=False),)),
}

INNER = {
    "demo": "the command `provnet demo`",
    "inspection": "on its own page, by its public names",
    "pages": "templates",
    "reproduction": "the command `provnet reproduce`",
    "inputs": "the command line",
    "named_inputs": "the command line",
    "models": "the command line",
    "outputs": "the command line",
    "command_questions": "the command line",
    "datasets": "`provnet.sweep`, `provnet.Tally`, and the masks above",
}
"""Modules of `provnet.applications` that a user does not import, and what they serve."""


def pages() -> dict[str, str]:
    """Return {file's name: Markdown}, the index first."""
    found = {"index.md": index()}
    for name, (title, parts) in PAGES.items():
        body = "\n".join(line for part in parts for line in section(part))
        found[f"{name}.md"] = f"# {title}\n\n{body}\n"
    return found


def index() -> str:
    """Return the page that lists every object with its first sentence."""
    lines = ["# Reference", "", "Every public object, with the sentence that says what it is.", ""]
    for name, (title, parts) in PAGES.items():
        lines += [f"## [{title}]({name}.md)", ""]
        for part in parts:
            lines += [f"- `{shown}`: {first_sentence(thing)}" for shown, thing in objects(part)]
        lines.append("")
    return "\n".join(lines)


def section(part: Part) -> Iterator[str]:
    """Yield the lines of a part: its title, then each object with its signature and docstring."""
    if part.title:
        yield f"## {part.title}\n"
        if not part.names and (said := inspect.getdoc(importlib.import_module(part.module))):
            yield f"{prose(said.split(chr(10) * 2)[0])}\n"
        yield f"`import {part.module}`\n" if part.module != "provnet" else ""
    for shown, thing in objects(part):
        yield f"### {shown}\n"
        yield from described(shown, thing)
        if part.members and inspect.isclass(thing):
            for name, member in methods(thing):
                yield f"#### {shown}.{name}\n"
                yield from described(name, member)


def objects(part: Part) -> list[tuple[str, Any]]:
    """Return (name, object) of a part. Raises `AttributeError` for a name that does not exist."""
    module = importlib.import_module(part.module)
    names = part.names or tuple(own_names(module))
    return [(name, getattr(module, name)) for name in names]


def own_names(module: ModuleType) -> Iterator[str]:
    """Yield the functions and classes that a module defines in the open, in the order of its source."""
    for name, thing in vars(module).items():
        defined = inspect.isfunction(thing) or inspect.isclass(thing)
        if not name.startswith("_") and defined and thing.__module__ == module.__name__:
            yield name


def methods(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties of a class that have something to say, in the order of the source."""
    for base in kind.__mro__:
        if not base.__module__.startswith("provnet"):
            continue
        for name, member in vars(base).items():
            plain = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            known = inspect.isfunction(plain) or isinstance(plain, property)
            if known and not name.startswith("_") and getattr(kind, name, None) is not None and plain.__doc__:
                yield name, plain


def described(name: str, thing: Any) -> Iterator[str]:
    """Yield the signature and the docstring of an object, as Markdown."""
    text = inspect.getdoc(thing) or ""
    if callable(thing):
        with contextlib.suppress(TypeError, ValueError):  # an exception's class has no signature
            yield f"```py\n{name}{signature(thing)}\n```\n"
    for paragraph in text.split("\n\n"):
        yield f"{formatted(paragraph)}\n"


class Written:
    """A type as the source writes it, without the quotes of a text."""

    def __init__(self, text: object) -> None:
        self.text = text

    def __repr__(self) -> str:
        return str(self.text)


def signature(thing: Any) -> str:
    """Return what a function takes and gives, a parameter a line where it would be long."""
    found = inspect.signature(thing)
    parameters = [
        one.replace(annotation=Written(one.annotation)) if isinstance(one.annotation, str) else one
        for one in found.parameters.values()
        if one.name != "self"
    ]
    gives = found.return_annotation
    gives = Written(gives) if isinstance(gives, str) else gives
    text = str(found.replace(parameters=parameters, return_annotation=gives))
    if len(text) < WIDTH:
        return text
    inner = "".join(f"    {line},\n" for line in _marked(parameters))
    return f"(\n{inner})" + ("" if gives is inspect.Signature.empty else f" -> {gives!r}")


WIDTH = 80
"""Characters of a signature on one line."""


def _marked(parameters: list[inspect.Parameter]) -> Iterator[str]:
    """Yield parameters as text, with the star before the first that goes by name alone."""
    star = any(one.kind is one.VAR_POSITIONAL for one in parameters)
    for one in parameters:
        if one.kind is one.KEYWORD_ONLY and not star:
            yield "*"
            star = True
        yield str(one)


PARAMETER = re.compile(r"^(?P<name>[\w*][\w*,. ]*?) {2,}(?P<text>\S.*)$")
"""A line of a docstring that says what a parameter means: its name, two blanks or more, the words."""


def formatted(paragraph: str) -> str:
    """Return a paragraph of a docstring as Markdown: parameters as a list, code as code, all else as prose."""
    if paragraph.lstrip().startswith((">>>", "...")):
        return f"```py\n{paragraph}\n```"
    lines: list[str] = []
    for line in paragraph.split("\n"):
        parameter = PARAMETER.match(line)
        listed = bool(lines) and lines[-1].startswith("- `")
        if parameter is not None:
            lines.append(f"- `{parameter['name'].strip()}`: {prose(parameter['text'])}")
        elif lines and (line.startswith(" ") or not listed):  # the line above goes on
            lines[-1] += f" {prose(line.strip())}"
        else:
            lines += ["", prose(line.strip())]
    return "\n".join(lines).strip()


def prose(text: str) -> str:
    """Return text in which no character is taken for Markdown, but for what stands between backticks."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(
        part if part.startswith("`") and len(part) > 1 else re.sub(r"([*_<>\[\]`|])", r"\\\1", part) for part in parts
    )


def first_sentence(thing: Any) -> str:
    """Return the first sentence of an object's docstring."""
    text = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return prose(re.split(r"(?<=[.?])\s", text)[0])
