"""Writes docs/semirings/: a page for each registered semiring, numeric and symbolic, and an index.

Everything on a page comes from the class: its docstring, flags, operations, `question`, the laws that bind it, and what
it answers on one small network, computed here. A test fails if a page is out of date.
"""

from __future__ import annotations

import contextlib
import inspect
import io
from pathlib import Path
from typing import Any

import torch

from provnet.semirings import Semiring, annotations, get, names
from provnet.semirings.laws import LAWS, binding
from provnet.symbolic import carriers
from provnet.symbolic.carriers.base import REGISTRY as CARRIERS
from provnet.symbolic.carriers.base import Carrier
from provnet.symbolic.homomorphism import MAPS

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "semirings"
NOTE = "*Generated from the classes by `docs/make_semirings.py`; edit those.*"

FLAGS = {
    "ring": "ring: differences exist",
    "idempotent": "idempotent: x ⊕ x = x",
    "absorptive": "absorptive: 1 ⊕ x = 1",
    "times_idempotent": "⊗ idempotent: x ⊗ x = x",
    "naturally_ordered": "naturally ordered: x ≤ x ⊕ y is an order",
    "selective": "selective: x ⊕ y is x or y",
}
SHORT = {
    "ring": "ring",
    "idempotent": "I",
    "absorptive": "A",
    "times_idempotent": "M",
    "naturally_ordered": "O",
    "selective": "S",
}
OPERATIONS = {"star": "star x*", "monus": "monus x ⊖ y", "residual": "residual x / y"}

NETWORK = """import torch
import provnet

first, second = torch.nn.Linear(3, 2, bias=False), torch.nn.Linear(2, 1, bias=False)
with torch.no_grad():
    first.weight.copy_(torch.tensor([[1.0, -1.0, 2.0], [2.0, 1.0, 0.0]]))
    second.weight.copy_(torch.tensor([[3.0, 0.25]]))
model = torch.nn.Sequential(first, torch.nn.ReLU(), second)
circuit = provnet.trace(model, torch.tensor([[1.0, 2.0, 1.0]]))
"""
COEFFICIENTS = """Three inputs, two hidden neurons, one output. The LRP-0 coefficients of the first layer are
1, −2, 2 and 1/2, 1/2, 0, those of the second 3/4 and 1/4."""

TIED = """import torch
import provnet
from provnet.symbolic.carriers.base import REGISTRY

weight = torch.ones(1, 1, 3)


def model(x):
    for _ in range(3):
        x = torch.nn.functional.conv1d(x, weight, padding=1)
    return x


circuit = provnet.trace(model, torch.ones(1, 1, 7))
gates = circuit.gates(target=(0, 3), at=("input", 0, 3), grain="parameter")
w = {variable.name: f"w{i}" for i, variable in enumerate(gates.variables)}
"""

HEAD = """# Semirings

One circuit, many questions: each semiring gives ⊕ and ⊗ a meaning, and so the circuit an answer. {note}

Flags: **I** ⊕ idempotent, **A** absorptive, **M** ⊗ idempotent, **O** naturally ordered, **S** selective. A flag is
stated only where it holds: `tests/semirings/test_laws.py` and `tests/symbolic/test_carriers.py` try every one. What
they decide is on the [theory page](../theory.md).

## Numbers: `circuit.evaluate(name)`

{numeric}

## Symbols: `gates.provenance(name)`

{symbolic}

## The axioms, which bind them all

{axioms}
"""


def row(*cells: str) -> str:
    """Return one row of a markdown table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def document(thing: object) -> str:
    """Return a docstring without its indentation."""
    return inspect.getdoc(thing) or ""


def printed(code: str) -> str:
    """Run `code` and return what it prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {"__name__": "__page__"})
    return out.getvalue()


def shown(code: str) -> list[str]:
    """Return a block of code and what it prints, in markdown."""
    return ["```python", code.strip(), "```", "```text", printed(code).strip(), "```"]


# --- numeric ---------------------------------------------------------------------------------------------------------


def flags_of(semiring: Semiring | Carrier[Any], table: dict[str, str]) -> list[str]:
    """Return the words of `table` for the flags that hold."""
    return [word for flag, word in table.items() if getattr(semiring, flag, False)]


def held(semiring: Semiring) -> str:
    """Return what one element is, in words."""
    dtype = str(semiring.dtype).removeprefix("torch.") if semiring.dtype else "float32 or float64, as the evaluation"
    if not semiring.element_shape:
        return f"one number, {dtype}"
    return f"a row of {' × '.join(map(str, semiring.element_shape))} numbers on a trailing axis, {dtype}"


def option(parameter: inspect.Parameter) -> str:
    """Return one of a class's options as it is written: k=3."""
    default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
    return f"{'*' if parameter.kind is parameter.VAR_POSITIONAL else ''}{parameter.name}{default}"


def element(value: Any) -> str:
    """Return zero or one as the page shows it."""
    return f"`{value.tolist() if isinstance(value, torch.Tensor) else value}`"


def numeric_page(name: str) -> str:
    """Return the page of one numeric semiring as markdown."""
    semiring = get(name)
    cls = type(semiring)
    options = inspect.signature(cls).parameters.values()
    theta = annotations.REGISTRY.get(semiring.annotation)
    laws = [law for law in binding(semiring) if law.flag or law.method]
    facts = [
        ("made by", f"`provnet.semirings.{cls.__name__}({', '.join(map(option, options))})`"),
        ("an element", held(semiring)),
        ("zero, one", f"{element(semiring.zero)}, {element(semiring.one)}"),
        ("flags", "; ".join(flags_of(semiring, FLAGS)) or "none"),
        *(
            (title, document(getattr(cls, operation)).split("\n")[0].removeprefix("Return ") or "componentwise")
            for operation, title in OPERATIONS.items()
            if semiring.offers(operation)
        ),
        (
            "default annotation Θ",
            f"`{semiring.annotation}`: {document(theta).split(chr(10) * 2)[0].replace(chr(10), ' ')}",
        ),
    ]
    return "\n".join(
        [
            f"# {name}",
            "",
            f"**{semiring.question}**",
            "",
            document(cls),
            "",
            row("", ""),
            "|---|---|",
            *(row(*fact) for fact in facts),
            "",
            "## Laws",
            "",
            "Besides the [axioms](index.md):" if laws else "The [axioms](index.md), and no more.",
            "",
            *(f"- {law.name}: {law.statement}" for law in laws),
            "",
            "## On a network",
            "",
            COEFFICIENTS,
            "",
            *shown(NETWORK + f'\nprint(circuit.evaluate("{name}", target=0).inputs)\n'),
            "",
            NOTE,
            "",
        ]
    )


# --- symbolic --------------------------------------------------------------------------------------------------------


def carrier_names() -> dict[str, tuple[str, ...]]:
    """Return the name of each symbolic carrier, and what else it is called."""
    assert carriers.__doc__  # importing the package is what registers them
    found: dict[str, tuple[str, ...]] = {}
    for name in CARRIERS.names():
        own = CARRIERS.get(name).name
        found[own] = (*found.get(own, ()), *((name,) if name != own else ()))
    return found


def file_name(name: str) -> str:
    """Return a name as it can stand in a file's: n[x] -> n-x."""
    return name.replace("[", "-").replace("]", "")


def valid(carrier: Carrier[Any]) -> str:
    """Return for which semirings the carrier decides the value, in words."""
    if carrier.name == "lin":
        return "only whether it is zero"
    words = {
        "idempotent": "⊕ is idempotent",
        "absorptive": "⊕ is absorptive",
        "times_idempotent": "⊗ is idempotent",
        "squares": "ν(x) ⊗ ν(x) = ν(x) for every edge x",
    }
    conditions = [word for flag, word in words.items() if flag in carrier.valid_for]
    return "wherever " + " and ".join(conditions) if conditions else "in every commutative semiring"


def symbolic_page(name: str, others: tuple[str, ...]) -> str:
    """Return the page of one symbolic carrier as markdown."""
    carrier = CARRIERS.get(name)
    code = TIED + (
        f'\nk = REGISTRY.get("{name}")\n'
        "value = gates.formula().fold(k.plus, k.times, k.zero, k.one, lambda v: k.variable(w[v]))\n"
        "print(k.text(value))\n"
    )
    down = [target for source, target in MAPS if source == name]
    up = [source for source, target in MAPS if target == name]
    facts = [
        ("also called", ", ".join(others) or "–"),
        ("zero, one", f"`{carrier.text(carrier.zero)}`, `{carrier.text(carrier.one)}`"),
        ("flags", "; ".join(flags_of(carrier, FLAGS)) or "none"),
        ("decides the value", valid(carrier)),
        ("image of", ", ".join(up) or "–"),
        ("maps to", ", ".join(f"{t}: {document(MAPS[name, t])}" for t in down) or "–"),
    ]
    return "\n".join(
        [
            f"# {name}",
            "",
            f"**{carrier.question}**",
            "",
            document(type(carrier)),
            "",
            row("", ""),
            "|---|---|",
            *(row(*fact) for fact in facts),
            "",
            "## On a network",
            "",
            "A convolution with three weights, applied three times; the middle input, for the middle output.",
            "",
            *shown(code),
            "",
            NOTE,
            "",
        ]
    )


def index() -> str:
    """Return the index as markdown."""
    semirings = [get(name) for name in names()]
    numeric = [
        row("name", "what it answers", "flags", "Θ"),
        "|---|---|---|---|",
        *(
            row(f"[{s.name}]({s.name}.md)", s.question, " ".join(flags_of(s, SHORT)), f"`{s.annotation}`")
            for s in semirings
        ),
    ]
    known = [CARRIERS.get(name) for name in carrier_names()]
    symbolic = [
        row("name", "what it answers", "flags", "decides the value"),
        "|---|---|---|---|",
        *(
            row(f"[{k.name}]({file_name(k.name)}.md)", k.question, " ".join(flags_of(k, SHORT)), valid(k))
            for k in known
        ),
    ]
    axioms = [f"- {law.name}: {law.statement}" for law in LAWS if not law.flag and not law.method]
    commutes = next(law for law in LAWS if law.flag == "commutative")
    return HEAD.format(
        note=NOTE,
        numeric="\n".join(numeric),
        symbolic="\n".join(symbolic),
        axioms="\n".join([*axioms, f"- {commutes.name}, unless it says otherwise: {commutes.statement}"]),
    )


def pages() -> dict[str, str]:
    """Return every page, file name -> markdown."""
    found = {"index.md": index()}
    found |= {f"{name}.md": numeric_page(name) for name in names()}
    found |= {f"{file_name(name)}.md": symbolic_page(name, others) for name, others in carrier_names().items()}
    return found


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    made = pages()
    for stale in set(FOLDER.glob("*.md")) - {FOLDER / file for file in made}:
        stale.unlink()
    for file, text in made.items():
        (FOLDER / file).write_text(text, "utf-8")
    print(f"{FOLDER.relative_to(ROOT)}: {len(made)} pages")
