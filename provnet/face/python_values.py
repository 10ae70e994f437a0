"""Values of explicit gates that are any Python objects: fractions, sympy expressions, sets, symbolic elements."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from provnet.circuit.fold import fold
from provnet.circuit.gates import GateStore, Neuron, Variable, spelled
from provnet.errors import LimitError, OptionError, UnsupportedOperationError, ValuationError
from provnet.face.spelling import path_and_index
from provnet.symbolic.canonical import Root, cone, find_gate
from provnet.symbolic.carriers.base import Carrier, get
from provnet.symbolic.size import spell, terms

LAWS = ("commutative", "idempotent", "absorptive", "times_idempotent")

UNEXPANDED = ("formula", "boolexpr", "lin")
"""Carriers whose elements stay as small as the circuit, however many paths there are."""


class Values(dict[Neuron, Any]):
    """{root: element} in the order of the roots; a root's name is taken for the root."""

    def __missing__(self, root: object) -> Any:
        wanted = str(Neuron(*path_and_index(root))) if isinstance(root, tuple) else spelled(str(root).strip())
        for neuron, value in self.items():
            if str(neuron) == wanted:
                return value
        raise KeyError(root)


def fold_gates(
    store: GateStore,
    values: Mapping[Any, Any] | Callable[[Variable], Any],
    plus: Callable[[Any, Any], Any],
    times: Callable[[Any, Any], Any],
    zero: Any,
    one: Any,
    laws: Collection[str],
) -> Values:
    """Return the value of every root; see `GateCircuit.fold`."""
    if unknown := sorted(set(laws) - set(LAWS)):
        raise OptionError(f"laws={sorted(laws)}: {unknown[0]!r} is no law that circuits use; those are {LAWS}.")
    if lacking := sorted(store.assumption - set(laws)):
        raise UnsupportedOperationError(
            f"the circuit was simplified for operations that are {' and '.join(lacking)}. Fold the circuit as it was "
            f"before `simplify`, or, if plus and times are so, say laws={tuple(sorted(store.assumption))}."
        )
    value_of = _look_up(store, values) if isinstance(values, Mapping) else values
    return Values(zip(store.roots, fold(store, plus, times, zero, one, value_of), strict=True))


def _look_up(store: GateStore, values: Mapping[Any, Any]) -> Callable[[Variable], Any]:
    """Return the function of a mapping. Raises `ValuationError` if a variable is missing or a key is none."""
    given = {str(key): value for key, value in values.items()}
    names = dict.fromkeys(variable.name for variable in store.variables)
    for what, odd in (
        ("no value for", [name for name in names if name not in given]),
        ("keys that are no variables:", [name for name in given if name not in names]),
    ):
        if odd:
            raise ValuationError(
                f"the values have {what} {', '.join(odd[:3])}{', …' if len(odd) > 3 else ''} ({len(odd)}). The circuit "
                f"has {len(names)} variables; `variables` lists them."
            )
    return lambda variable: given[variable.name]


def symbols_of(store: GateStore, carrier: Carrier[Any], values: Mapping[Any, Any] | None, max_terms: int) -> Values:
    """Return the value of every root in a symbolic carrier, under a valuation; None: each variable is itself."""
    if values is None:
        return _unfolded(store, carrier, max_terms)
    return fold_gates(store, values, carrier.plus, carrier.times, carrier.zero, carrier.one, _laws(carrier))


def provenance_of(store: GateStore, name: str, root: Root, max_terms: int) -> Any:
    """Return the elements of a symbolic carrier; see `GateCircuit.provenance`."""
    carrier = get(name)
    if root is not None:
        gate, neuron = find_gate(store, root)
        store = cone(store, [gate], [neuron])
    found = _unfolded(store, carrier, max_terms)
    return found if root is None else next(iter(found.values()))


def _unfolded(store: GateStore, carrier: Carrier[Any], max_terms: int) -> Values:
    if carrier.name not in UNEXPANDED and len(store.root_gates):
        count = terms(store)
        most = max(count[gate] for gate in store.root_gates.tolist())
        if most > max_terms:
            raise LimitError(
                f"a root has {spell(most)} paths, more than max_terms={max_terms:,}. Ask for 'formula', 'boolexpr' or "
                "'lin', which stay small, for one root or a smaller cone, or raise max_terms."
            )
    own = (carrier.plus, carrier.times, carrier.zero, carrier.one)
    return fold_gates(store, lambda v: carrier.variable(v.name), *own, _laws(carrier))


def _laws(carrier: Carrier[Any]) -> set[str]:
    return {law for law in LAWS if getattr(carrier, law, law == "commutative")}
