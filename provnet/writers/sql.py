"""A circuit as a relation of edges, and the recursive queries over it whose provenance is the circuit.

Source: the provenance of a recursive query over an edge relation is the ⊕ over paths of the ⊗ of their edges ([GKT07]
section 6); ProvSQL (Sénellart et al., VLDB 2018) tracks it for PostgreSQL.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from provnet.circuit.gates import ONE, PLUS, VARIABLE, ZERO, GateStore
from provnet.circuit.variables import names_of
from provnet.errors import UnsupportedOperationError
from provnet.symbolic.canonical import cone
from provnet.writers.atomic import write_string
from provnet.writers.base import StrPath, Subject, gates_of, writer

HEAD = """\
-- A provenance circuit as relations. Loads into PostgreSQL and SQLite; paths are unfolded by the queries, so the time
-- grows with their number.
-- variable  one row an edge of the network. present, multiplicity and cost are its value in the Boolean, the counting
--           and the tropical semiring: set them, and the views below give the roots' values.
-- wire      from a place in the circuit to the next one, through a variable, or through none (NULL: the unit one).
-- root      where each neuron's relevance begins. Place 1 is the target.
CREATE TABLE variable (id integer PRIMARY KEY, name text NOT NULL, present integer NOT NULL DEFAULT 1,
                       multiplicity bigint NOT NULL DEFAULT 1, cost double precision NOT NULL DEFAULT 0);
CREATE TABLE wire (source integer NOT NULL, target integer NOT NULL, variable integer REFERENCES variable (id));
CREATE TABLE root (id integer PRIMARY KEY, neuron text NOT NULL, place integer NOT NULL);
"""

QUERIES = """\
CREATE INDEX wire_source ON wire (source);
-- Each root's paths to the target. With ProvSQL: SELECT add_provenance('variable'); then the provenance of a root's row
-- in SELECT DISTINCT id, neuron FROM path WHERE place = 1; is this circuit.
CREATE VIEW path AS
WITH RECURSIVE walk (id, neuron, place, present, multiplicity, cost) AS (
  SELECT id, neuron, place, 1, CAST(1 AS bigint), CAST(0 AS double precision) FROM root
  UNION ALL
  SELECT walk.id, walk.neuron, wire.target,
         walk.present * COALESCE(variable.present, 1),
         walk.multiplicity * COALESCE(variable.multiplicity, 1),
         walk.cost + COALESCE(variable.cost, 0)
  FROM walk JOIN wire ON wire.source = walk.place LEFT JOIN variable ON variable.id = wire.variable
)
SELECT id, neuron, place, present, multiplicity, cost FROM walk;
CREATE VIEW relevance AS
SELECT root.id, root.neuron,
       COALESCE(MAX(path.present), 0) AS boolean_value,
       COALESCE(SUM(path.multiplicity), 0) AS counting_value,
       MIN(path.cost) AS tropical_value -- NULL is the semiring's zero, an infinite cost
FROM root LEFT JOIN path ON path.id = root.id AND path.place = 1
GROUP BY root.id, root.neuron;
"""


class Wire(NamedTuple):
    """One row of `wire`; None: no variable."""

    source: int
    target: int
    variable: int | None


@writer("sql")
def write_sql(subject: Subject, path: StrPath) -> Path:
    """Write a circuit as SQL: tables of variables, wires and roots, and views that evaluate it.

    The view `relevance` has a row a root, with its value in the Boolean, counting and tropical semiring from the
    columns `present`, `multiplicity` and `cost` of `variable`.
    Raises `UnsupportedOperationError` for a ⊗ of two sums, which no network's circuit has, and after a simplification;
    `OutputError`.
    """
    store = gates_of(subject)
    if store.assumption - {"commutative"}:
        raise UnsupportedOperationError(
            "the circuit was simplified by laws of some semirings only: write it as it was before `simplify(semiring)`."
        )
    store = cone(store, store.root_gates.tolist(), store.roots)
    lines = [HEAD]
    lines += _rows("variable (id, name)", [f"({n}, {_text(name)})" for n, name in enumerate(names_of(store.variables))])
    lines += _rows("wire", [f"({w.source}, {w.target}, {_null(w.variable)})" for w in wires_of(store)])
    places = [gate + PLACES for gate in store.root_gates.tolist()]
    roots = [f"({n}, {_text(str(r))}, {p})" for n, (r, p) in enumerate(zip(store.roots, places, strict=True))]
    lines += _rows("root", roots)
    return write_string(path, "\n".join([*lines, QUERIES]))


PLACES = 2
"""Number of the place of gate 0: 1 is the target."""


def wires_of(store: GateStore) -> list[Wire]:
    """Return the wires between places: gate g is the place g + 2, one is 1, zero leads nowhere.

    A ⊕ leads to its operands' places; a ⊗ of variables and at most one gate is a chain of places of its own.
    """
    found, fresh = [], len(store) + PLACES
    for gate, kind in enumerate(store.kind.tolist()):
        here = gate + PLACES
        operands = store.operands_of(gate).tolist()
        if kind == VARIABLE:
            found.append(Wire(here, 1, int(store.variable[gate])))
        elif kind == ONE:
            found.append(Wire(here, 1, None))
        elif kind == PLUS:
            found += [Wire(here, operand + PLACES, None) for operand in operands]
        elif kind != ZERO:
            leaves = [o for o in operands if store.kind[o] == VARIABLE]
            others = [o for o in operands if store.kind[o] != VARIABLE]
            if len(others) > 1:
                raise UnsupportedOperationError(
                    f"gate {gate} is the ⊗ of {len(others)} gates that are no variables, which a relation of edges "
                    "does not hold: write JSON instead."
                )
            end = others[0] + PLACES if others else 1
            places = [here, *range(fresh, fresh + len(leaves) - 1), end]
            fresh += max(len(leaves) - 1, 0)
            chain = zip(places[:-1], places[1:], leaves, strict=True)
            found += [Wire(source, target, int(store.variable[leaf])) for source, target, leaf in chain]
    return found


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _null(number: int | None) -> str:
    return "NULL" if number is None else str(number)


def _rows(table: str, rows: list[str]) -> list[str]:
    """Return INSERT statements, 500 rows each."""
    return [f"INSERT INTO {table} VALUES\n" + ",\n".join(rows[at : at + 500]) + ";" for at in range(0, len(rows), 500)]
