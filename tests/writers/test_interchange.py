"""PROV-JSON, DIMACS and SQL: what other programs make of a circuit agrees with what we make of it."""

from __future__ import annotations

import itertools
import operator
import os
import pwd
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import provnet
from provnet.circuit.fold import fold
from provnet.circuit.gates import GateStore
from provnet.errors import FileFormatError, UnsupportedOperationError
from provnet.writers.dimacs import read_dimacs, write_dimacs
from provnet.writers.prov_json import read_prov_json, write_prov_json
from provnet.writers.sql import write_sql
from tests.gate_circuits import same_arrays, stores
from tests.nets import perceptron


@given(store=stores())
@pytest.mark.guarantee("gates come back from PROV-JSON bit by bit")
def test_prov_json_comes_back(store: GateStore):
    with tempfile.TemporaryDirectory() as folder:
        assert same_arrays(read_prov_json(write_prov_json(store, Path(folder) / "gates.provjson")), store)


@pytest.mark.parametrize("content", ["", "{}", '{"entity": {"provnet:circuit": {}}, "wasDerivedFrom": {}}', "[1]"])
def test_damaged_prov_json_is_refused(content: str, tmp_path: Path):
    (tmp_path / "x").write_text(content)
    with pytest.raises(FileFormatError, match="PROV-JSON"):
        read_prov_json(tmp_path / "x")


def satisfied(clauses: list[tuple[int, ...]], chosen: tuple[bool, ...], count: int) -> int:
    """Return in how many ways the gates' propositions satisfy the clauses, the variables' being given."""
    rest = count - len(chosen)
    models = (chosen + gates for gates in itertools.product([False, True], repeat=rest))
    return sum(all(any(model[abs(x) - 1] == (x > 0) for x in clause) for clause in clauses) for model in models)


@settings(max_examples=60, deadline=None)
@given(store=stores(gates=7, variables=3))
@pytest.mark.guarantee("DIMACS has exactly one model for each set of edges with which the root is true, and no other")
def test_dimacs_has_a_model_for_each_set_of_edges(store: GateStore):
    root = int(store.root_gates[0])
    with tempfile.TemporaryDirectory() as folder:
        names, count, clauses = read_dimacs(write_dimacs(store, Path(folder) / "f.cnf", root=root))
    for chosen in itertools.product([False, True], repeat=len(names)):
        values = dict(zip(names.values(), chosen, strict=True))
        assert satisfied(clauses, chosen, count) == int(truth(store, values))


def truth(store: GateStore, values: dict[str, bool]) -> bool:
    """Return whether the first root is true."""
    return fold(store, operator.or_, operator.and_, False, True, lambda v: values.get(v.name, False))[0]


def test_damaged_dimacs_is_refused(tmp_path: Path):
    (tmp_path / "x.cnf").write_text("p cnf 2 2\n1 2 0\n")
    with pytest.raises(FileFormatError, match="announced"):
        read_dimacs(tmp_path / "x.cnf")


# --- SQL --------------------------------------------------------------------------------------------------------------


def circuit() -> provnet.GateCircuit:
    """Return a circuit with shared gates, under names that SQL has to quote."""
    torch.manual_seed(0)
    model = torch.nn.Sequential()
    for name, layer in zip(("it's", "r", "b"), perceptron(4, 3, 2), strict=True):
        model.add_module(name, layer)
    return provnet.trace(model.eval(), torch.rand(1, 4)).gates(target=1)


def updates(gates: provnet.GateCircuit) -> tuple[str, dict[str, tuple[int, int, float]]]:
    """Return statements that give every variable values, and the values: present, multiplicity, cost."""
    values = {v.name: (int(n % 3 > 0), n % 4 + 1, n / 8) for n, v in enumerate(gates.variables)}
    quoted = {name: name.replace("'", "''") for name in values}
    lines = [
        f"UPDATE variable SET present = {p}, multiplicity = {m}, cost = {c} WHERE name = '{quoted[name]}';"
        for name, (p, m, c) in values.items()
    ]
    return "\n".join(lines), values


def wanted(gates: provnet.GateCircuit, values: dict[str, tuple[int, int, float]]) -> list[tuple[int, int, float]]:
    def answer(semiring: str, at: int) -> list[float]:
        given = {name: bool(value[at]) if semiring == "boolean" else value[at] for name, value in values.items()}
        return gates.evaluate(semiring, given).tensor.tolist()

    boolean, counting, tropical = answer("boolean", 0), answer("counting", 1), answer("tropical", 2)
    return [(int(b), int(c), float(t)) for b, c, t in zip(boolean, counting, tropical, strict=True)]


ASK = "SELECT boolean_value, counting_value, tropical_value FROM relevance ORDER BY id"


@pytest.mark.guarantee("plain SQL over the written relations gives the Boolean, counting and tropical values")
def test_sqlite_gives_our_values(tmp_path: Path):
    gates = circuit()
    script, values = write_sql(gates, tmp_path / "c.sql").read_text(), updates(gates)
    connection = sqlite3.connect(":memory:")
    connection.executescript(script + values[0])
    found = [(int(b), int(c), float(t)) for b, c, t in connection.execute(ASK)]
    assert found == wanted(gates, values[1])
    assert [row[0] for row in connection.execute("SELECT neuron FROM root ORDER BY id")] == list(map(str, gates.roots))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=2, max_size=4))
def test_sqlite_counts_the_paths_of_any_perceptron(sizes: list[int]):
    gates = provnet.trace(perceptron(*sizes), torch.ones(1, sizes[0])).gates(target=0)
    with tempfile.TemporaryDirectory() as folder:
        script = write_sql(gates, Path(folder) / "c.sql").read_text()
    connection = sqlite3.connect(":memory:")
    connection.executescript(script)
    counted = [row[0] for row in connection.execute("SELECT counting_value FROM relevance ORDER BY id")]
    assert counted == [gates.formula(root).terms for root in gates.roots]


def program(name: str) -> str:
    known = sorted(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")))
    found = shutil.which(name) or (known[-1] if known else None)
    if found is None:
        pytest.skip(f"{name} of PostgreSQL is not installed: apt install postgresql")
    return found


@pytest.fixture(scope="module")
def postgres() -> Iterator[list[str]]:
    """A server of its own on a socket in a temporary folder; the command that runs SQL there."""
    initdb, pg_ctl, psql = map(program, ("initdb", "pg_ctl", "psql"))
    user: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() == 0:  # the server refuses to run as root
            try:
                account = pwd.getpwnam("postgres")
            except KeyError:
                pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
            os.chown(folder, account.pw_uid, account.pw_gid)
            user = {"user": "postgres", "group": "postgres"}
        data = f"{folder}/data"

        def run(*command: str) -> None:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, cwd=folder, stdin=subprocess.DEVNULL, **user
            )
            assert done.returncode == 0, done.stderr

        run(initdb, "-D", data, "-U", "provnet", "--auth=trust", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        start = [pg_ctl, "-D", data, "-w", "-l", f"{folder}/log", "-o", options, "start"]
        subprocess.run(start, check=True, cwd=folder, stdout=subprocess.DEVNULL, **user)
        try:
            yield [psql, "-h", folder, "-U", "provnet", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-qtAF,"]
        finally:
            run(pg_ctl, "-D", data, "-m", "immediate", "stop")


@pytest.mark.slow
@pytest.mark.guarantee("PostgreSQL gives the Boolean, counting and tropical values of the written relations")
def test_postgresql_gives_our_values(postgres: list[str], tmp_path: Path):
    gates = circuit()
    script, values = write_sql(gates, tmp_path / "c.sql").read_text(), updates(gates)
    done = subprocess.run(postgres, input=script + values[0] + ASK + ";", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(",") for line in done.stdout.split()]
    assert [(int(b), int(c), float(t)) for b, c, t in rows] == wanted(gates, values[1])


def test_what_a_relation_does_not_hold_is_refused(tmp_path: Path):
    doubled = circuit().simplify("boolean")
    if doubled.store.assumption - {"commutative"}:
        with pytest.raises(UnsupportedOperationError):
            write_sql(doubled, tmp_path / "c.sql")
