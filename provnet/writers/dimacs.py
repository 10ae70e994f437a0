"""A Boolean circuit as a formula in conjunctive normal form, in the DIMACS format of SAT solvers and model counters.

Source: Tseitin 1968, On the complexity of derivation in propositional calculus; DIMACS 1993, satisfiability format.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from provnet.circuit.gates import ONE, PLUS, TIMES, VARIABLE, ZERO, GateStore
from provnet.errors import FileFormatError, UnsupportedOperationError
from provnet.symbolic.canonical import Root, cone, find_gate
from provnet.writers.atomic import write_string
from provnet.writers.base import StrPath, Subject, gates_of, writer

Clause = tuple[int, ...]

BOOLEAN = frozenset({"commutative", "idempotent", "absorptive", "times_idempotent"})
"""Laws that hold in 𝔹."""


@writer("cnf", "dimacs")
def write_dimacs(subject: Subject, path: StrPath, root: Root = None) -> Path:
    """Write the condition that a root is true: satisfied by the sets of edges that hold a whole path to the target.

    Numbers 1, 2, … are the circuit's variables, in comments `c variable 1 fc1[0<-2]`; those after them the gates, each
    tied to its operands both ways, so that models and sets of edges correspond one to one (model counters agree).
    Raises `UnsupportedOperationError` after a simplification by laws that 𝔹 lacks, `OutputError`.
    """
    store = gates_of(subject)
    if foreign := sorted(store.assumption - BOOLEAN):
        raise UnsupportedOperationError(f"the circuit was simplified by {foreign}, which does not hold in 𝔹.")
    gate, neuron = find_gate(store, root)
    below = cone(store, [gate], [neuron])
    count, clauses = clauses_of(below)
    names = [f"c variable {n} {_escaped(v.name)}" for n, v in enumerate(below.variables, start=1)]
    lines = [f"c relevance of {_escaped(str(neuron))} in the Boolean semiring", *names]
    lines += [f"p cnf {count} {len(clauses)}", *(" ".join(map(str, (*clause, 0))) for clause in clauses)]
    return write_string(path, "\n".join(lines) + "\n")


def _escaped(name: str) -> str:
    return name.encode("unicode_escape").decode("ascii")


def clauses_of(store: GateStore) -> tuple[int, list[Clause]]:
    """Return (how many propositions, clauses) that are satisfied where the only root is true."""
    numbers, count = [], len(store.variables)
    clauses: list[Clause] = []
    for gate, kind in enumerate(store.kind.tolist()):
        if kind == VARIABLE:
            numbers.append(int(store.variable[gate]) + 1)
            continue
        count += 1
        numbers.append(count)
        operands = [numbers[o] for o in store.operands_of(gate).tolist()]
        clauses += _definition(kind, count, operands)
    return count, [*clauses, (numbers[int(store.root_gates[0])],)]


def _definition(kind: int, gate: int, operands: list[int]) -> Iterator[Clause]:
    """Yield the clauses of gate ⟺ its operands' disjunction or conjunction."""
    if kind in (ZERO, ONE):
        yield (gate if kind == ONE else -gate,)
        return
    sign = 1 if kind == PLUS else -1
    assert kind in (PLUS, TIMES)
    yield (-sign * gate, *(sign * operand for operand in operands))
    for operand in operands:
        yield sign * gate, -sign * operand


def read_dimacs(path: StrPath) -> tuple[dict[int, str], int, list[Clause]]:
    """Return (variables' names by number, how many propositions, clauses) of a file that `write_dimacs` wrote.

    What comes back is the normal form and not the circuit, which the format does not hold. Raises `FileFormatError`.
    """
    names: dict[int, str] = {}
    count, wanted, numbers = 0, -1, []
    try:
        for line in Path(path).read_text("utf-8").splitlines():
            if line.startswith("c variable "):
                number, name = line.removeprefix("c variable ").split(" ", 1)
                names[int(number)] = name.encode("ascii").decode("unicode_escape")
            elif line.startswith("p cnf "):
                count, wanted = map(int, line.split()[2:])
            elif line and not line.startswith("c"):
                numbers += map(int, line.split())
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{path} cannot be read as DIMACS ({error}).") from error
    clauses: list[Clause] = []
    start = 0
    for at, number in enumerate(numbers):
        if number == 0:
            clauses.append(tuple(numbers[start:at]))
            start = at + 1
    if len(clauses) != wanted or start != len(numbers) or any(abs(n) > count for n in numbers):
        raise FileFormatError(f"{path} is damaged: {len(clauses)} clauses where {wanted} were announced.")
    return names, count, clauses
