"""Every exported format is opened by the program or library it is for, with names that are hard to write."""

from __future__ import annotations

import io
import json
import pickle
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from typing import Any

import networkx as nx
import numpy as np
import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st

import provnet
from provnet.circuit.gates import PLUS, TIMES, VARIABLE, GateStore, Neuron, Variable
from provnet.circuit.graph import from_networkx, to_networkx
from provnet.errors import UnsupportedOperationError
from provnet.symbolic.parse import parse
from provnet.symbolic.polynomial import Polynomial
from provnet.writers.archive import load_archive, save_archive
from provnet.writers.base import REGISTRY, write
from provnet.writers.graphml import read_graphml, write_graphml
from provnet.writers.json import read_json, write_json
from tests.gate_circuits import same_arrays, stores
from tests.nets import perceptron, seeded

HARD = [
    '"',
    "'",
    "<b>",
    "&amp;",
    "\\",
    "$x^2_{",
    "%",
    "a\nb",
    "\r",
    "\t",
    "\u2028",
    "é",
    "日本",
    "{",
    "}",
    "]]>",
    "`",
    " ",
]

NAMES = st.one_of(
    st.sampled_from(HARD),
    st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn"), include_characters="\n\r\t"), min_size=1, max_size=8),
)


def named(first: str, second: str = "other", root: str = "root") -> GateStore:
    """first ⊗ first ⊕ second, with these names."""
    variables = (Variable(first, first), Variable(second, second, Neuron(first, (1,)), None, (1, first)))
    return GateStore(
        kind=np.array([VARIABLE, VARIABLE, TIMES, PLUS], np.uint8),
        first=np.array([0, 0, 0, 2, 4], np.int64),
        operands=np.array([0, 0, 2, 1], np.int32),
        variable=np.array([0, 1, -1, -1], np.int32),
        variables=variables,
        roots=(Neuron(root, (0,)), Neuron(root, ())),
        root_gates=np.array([3, 3], np.int32),
    )


def same(found: GateStore, wanted: GateStore) -> bool:
    parts = ("variables", "roots", "assumption")
    return same_arrays(found, wanted) and all(getattr(found, name) == getattr(wanted, name) for name in parts)


# --- networkx ---------------------------------------------------------------------------------------------------------


def through(graph: nx.MultiDiGraph, kind: str) -> Any:
    """Write a graph with networkx's own writer and read it back with networkx's own reader."""
    file = io.BytesIO()
    if kind == "graphml":
        nx.write_graphml(graph, file)
        return nx.read_graphml(io.BytesIO(file.getvalue()), force_multigraph=True)
    if kind == "gml":
        return nx.parse_gml("\n".join(nx.generate_gml(graph)), label="id")
    if kind == "gexf":
        nx.write_gexf(graph, file)
        return nx.read_gexf(io.BytesIO(file.getvalue()))
    if kind == "json":
        return nx.node_link_graph(json.loads(json.dumps(nx.node_link_data(graph, edges="edges"))), edges="edges")
    return pickle.loads(pickle.dumps(graph))


@pytest.mark.guarantee("networkx's own writers (GraphML, GML, GEXF, node-link JSON, pickle) take to_networkx()")
@pytest.mark.parametrize("kind", ["graphml", "gml", "gexf", "json", "pickle"])
def test_networkx_writes_what_it_is_given(kind):
    torch.manual_seed(0)
    circuit = provnet.trace(seeded(lambda: perceptron(3, 4, 2)), torch.rand(1, 3, dtype=torch.float64))
    for store in (circuit.gates(target=0, at="input").store, named("x", "y")):
        graph = to_networkx(store)
        found = through(graph, kind)
        assert found.number_of_nodes() == len(store)
        assert found.number_of_edges() == store.wires
        kinds = sorted(data["kind"] for _, data in found.nodes(data=True))
        assert kinds == sorted(data["kind"] for _, data in graph.nodes(data=True))
        if kind in ("json", "pickle", "gml"):
            assert same(from_networkx(found), from_networkx(graph))


@given(stores())
def test_attributes_are_plain_and_keys_unique(store):
    graph = to_networkx(store)
    held = [*graph.nodes.values(), graph.graph, *(data for *_, data in graph.edges(data=True))]
    assert all(type(value) in (str, int) for data in held for value in data.values())
    keys = [key for *_, key in graph.edges(keys=True)]
    assert len(set(keys)) == len(keys)


@pytest.mark.guarantee("GraphML has an id of its own for every edge")
def test_edge_ids_are_unique(tmp_path):
    root = ET.parse(write_graphml(named("x"), tmp_path / "g.graphml")).getroot()
    ids = [edge.get("id") for edge in root.iter("{http://graphml.graphdrawing.org/xmlns}edge")]
    assert len(ids) == len(set(ids)) == 4


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.guarantee("names with quotes, markup, LaTeX and line breaks come back from every file that is read back")
@given(NAMES, NAMES)
def test_hard_names_come_back(tmp_path_factory, first, second):
    if first == second:
        second += "2"
    folder, store = tmp_path_factory.mktemp("names"), named(first, second, first)
    assert same(read_json(write_json(store, folder / "a.json")), store)
    assert same(read_graphml(write_graphml(store, folder / "a.graphml")), store)
    found = load_archive(save_archive(store, folder / "a"))
    assert isinstance(found, GateStore)
    assert same(found, store)
    assert same(from_networkx(to_networkx(store)), store)


@pytest.mark.guarantee("names that no format can hold are refused by every writer alike")
@pytest.mark.parametrize("name", ["\ud800", "a\0b", "\x0b", "\x1b[1m", "\x7f", "\x85", "\uffff"])
def test_names_that_no_format_holds_are_refused(tmp_path, name):
    for store in (named(name), named("x", root=name)):
        for kind in REGISTRY.names():
            with pytest.raises(UnsupportedOperationError, match=r"holds U\+.*rename it"):
                write(store, tmp_path / f"a.{kind}", kind)
        with pytest.raises(UnsupportedOperationError, match=r"holds U\+.*rename it"):
            save_archive(store, tmp_path / "a")
    for kind in ("text", "latex"):
        with pytest.raises(UnsupportedOperationError, match=r"holds U\+.*rename it"):
            write(Polynomial.variable(name), tmp_path / "a", kind)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.guarantee("dot reads the DOT files")
@pytest.mark.skipif(shutil.which("dot") is None, reason="the program dot is not installed")
@pytest.mark.parametrize("name", HARD)
def test_dot_and_svg_are_read_by_their_programs(tmp_path, name):
    store = named(name, "other", name)
    path = write(store, tmp_path / "a.dot")
    made = subprocess.run(["dot", "-Tjson", str(path)], capture_output=True, check=True, timeout=60)
    labels = {node.get("label") for node in json.loads(made.stdout)["objects"]}
    assert len(labels) >= 4
    text = "".join(ET.parse(write(store, tmp_path / "a.svg")).getroot().itertext())
    assert "other" in text
    if name in ("<b>", "&amp;", '"', "é", "日本", "%", "\\"):
        assert name in text


@pytest.mark.guarantee("LaTeX has balanced braces and no stray special characters, whatever the names")
@given(NAMES, NAMES)
def test_latex_is_balanced(tmp_path_factory, first, second):
    if first == second:
        second += "2"
    folder = tmp_path_factory.mktemp("latex")
    for subject in (named(first, second, first), Polynomial.variable(first) * Polynomial.variable(second) + 2):
        text = write(subject, folder / "a.tex").read_text("utf-8").removeprefix("\\[").removesuffix("\\]\n")
        plain = re.sub(r"\\([#$%&{}_ \\,;!]|[a-zA-Z]+)", "", text)
        depth = 0
        for character in plain:
            depth += {"{": 1, "}": -1}.get(character, 0)
            assert depth >= 0
        assert depth == 0
        assert not set(plain) & set("#$%\\~")
        assert not re.search(r"\n\s*\n", text)


def test_sympy_reads_the_latex_of_plain_names():
    latex = pytest.importorskip("sympy.parsing.latex", reason="sympy's reader of LaTeX")
    polynomial = Polynomial.variable("x1") * Polynomial.variable("x12") + Polynomial.variable("y")
    try:
        found = latex.parse_latex(polynomial.latex())
    except ImportError:
        pytest.skip("sympy's reader of LaTeX wants antlr4")
    assert len(found.free_symbols) == 3


@given(NAMES, NAMES)
def test_text_is_read_back_by_the_parser(first, second):
    if first == second:
        second += "2"
    formula = provnet.GateCircuit(named(first, second)).formula(Neuron("root", ()))
    assert parse(formula.text()) == formula


# --- sympy ------------------------------------------------------------------------------------------------------------


POLYNOMIALS = st.lists(
    st.tuples(st.integers(1, 30), st.dictionaries(st.sampled_from([f"x{i}" for i in range(25)]), st.integers(1, 12))),
    max_size=6,
).map(lambda terms: sum((c * monomial(m) for c, m in terms), Polynomial()))


def monomial(exponents: dict[str, int]) -> Polynomial:
    found = Polynomial.constant(1)
    for name, exponent in exponents.items():
        found = found * Polynomial.variable(name) ** exponent
    return found


@pytest.mark.guarantee("a polynomial as sympy is canonical: it equals its expansion, and its pickle")
@given(POLYNOMIALS)
def test_sympy_is_canonical(polynomial):
    found = polynomial.sympy()
    assert found == sympy.expand(found)
    assert pickle.loads(pickle.dumps(found)) == found
    terms = [c * sympy.Mul(*(sympy.Symbol(n) ** e for n, e in m)) for m, c in polynomial.terms.items()]
    assert found == sympy.Add(*terms)


def test_an_index_of_two_digits():
    """x10 comes before x2 for sympy, and after it for people."""
    names = [f"x{i}" for i in range(1, 13)]
    polynomial = sum((Polynomial.variable(name) for name in names), Polynomial())
    assert polynomial.sympy() == sympy.expand(sum(sympy.symbols(names)))
    assert polynomial.text().endswith("x11 + x12")
