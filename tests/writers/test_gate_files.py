"""Formats that hold gates or formulas as text, and their readers."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provnet import writers
from provnet.circuit.expand import expand
from provnet.circuit.gates import GateStore, Neuron, Variable
from provnet.errors import FileFormatError, LimitError, OptionError, OutputError, UnknownNameError
from provnet.symbolic.canonical import Builder
from provnet.symbolic.expand_polynomial import polynomial
from provnet.symbolic.formula import formula
from provnet.symbolic.parse import parse
from provnet.writers.archive import load_archive, save_archive
from provnet.writers.base import REGISTRY, write
from provnet.writers.graphml import read_graphml, write_graphml
from provnet.writers.json import read_json, write_json
from tests.gate_circuits import perceptron, same_arrays, stores

READERS = {"json": (write_json, read_json), "graphml": (write_graphml, read_graphml)}
WAYS = {**READERS, "archive": (save_archive, load_archive)}


def rich() -> GateStore:
    """Gates with every field in use: neurons, keys, odd names, an assumption, a gate with two roots."""
    builder = Builder()
    neurons = Neuron("fc1", (2, 0)), Neuron("fc2#0", ())
    gates = [
        builder.variable(Variable('fc1["<-&é⊕]', "fc1", neurons[0], neurons[1], key=(1, "w", (2, None, True, 0.5)))),
        builder.variable(Variable("b\n`", "fc1", None, neurons[0], key=7)),
    ]
    shared = builder.combine(4, [gates[0], gates[0], gates[1]])
    roots = [Neuron("x", (0, 1)), Neuron("x", (0, 2)), Neuron("y", ())]
    return builder.store([shared, shared, gates[0]], roots, frozenset({"idempotent", "absorptive"}))


def test_every_format_is_registered_by_importing_the_room():
    assert writers.__doc__
    wanted = {"text", "txt", "latex", "tex", "dot", "gv", "svg", "pdf", "png", "json", "graphml"}
    assert wanted <= set(REGISTRY)


@pytest.mark.parametrize("way", WAYS)
@given(store=stores())
def test_gates_come_back_as_they_were(way, store):
    save, load = WAYS[way]
    with tempfile.TemporaryDirectory() as folder:
        save(store, Path(folder) / "gates")
        assert same_arrays(load(Path(folder) / "gates"), store)


@pytest.mark.parametrize("way", WAYS)
def test_every_field_comes_back(way, tmp_path):
    save, load = WAYS[way]
    save(rich(), tmp_path / "gates")
    found = load(tmp_path / "gates")
    assert same_arrays(found, rich())
    assert [found.kind.dtype, found.first.dtype, found.operands.dtype] == [np.uint8, np.int64, np.int32]


@pytest.mark.parametrize("way", WAYS)
def test_gates_of_a_network_come_back(way, tmp_path):
    save, load = WAYS[way]
    store = expand(perceptron(3, 4, 2, bias=True).circuit(), [0], biases=True)
    save(store, tmp_path / "gates")
    assert same_arrays(load(tmp_path / "gates"), store)


@pytest.mark.parametrize("way", READERS)
def test_equal_gates_give_equal_files(way, tmp_path):
    save, _ = READERS[way]
    assert save(rich(), tmp_path / "a").read_bytes() == save(rich(), tmp_path / "b").read_bytes()


@pytest.mark.parametrize("way", READERS)
@given(at=st.floats(0, 1), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_files_are_refused_or_harmless(way, at, byte, cut):
    save, load = READERS[way]
    with tempfile.TemporaryDirectory() as folder:
        path = save(rich(), Path(folder) / "gates")
        data = bytearray(path.read_bytes())
        place = min(int(at * len(data)), len(data) - 1)
        path.write_bytes(data[:place] if cut else data[:place] + bytes([byte]) + data[place + 1 :])
        with contextlib.suppress(FileFormatError):
            assert len(load(path).roots) == 3


def test_other_files_and_newer_ones_are_refused_by_name(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(FileFormatError, match="cannot be read as JSON"):
        read_json(path)
    path.write_text("[1]")
    with pytest.raises(FileFormatError, match="holds no gates"):
        read_json(path)
    write_json(rich(), path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "format": 2}))
    with pytest.raises(FileFormatError, match="has format 2 and this provnet reads 1: update"):
        read_json(path)
    path.write_text(json.dumps({**content, "operands": [5, 5, 5]}))
    with pytest.raises(FileFormatError, match="holds no circuit"):
        read_json(path)
    path.write_text(json.dumps({**content, "operands": [1.5, 0, 0]}))
    with pytest.raises(FileFormatError, match="integers was expected"):
        read_json(path)
    nx.write_graphml(nx.DiGraph([(1, 2)]), path)
    with pytest.raises(FileFormatError, match="no GraphML file that write_graphml wrote"):
        read_graphml(path)


def test_graphml_without_directions_is_refused(tmp_path):
    path = write_graphml(rich(), tmp_path / "a")
    path.write_text(path.read_text("utf-8").replace('edgedefault="directed"', 'edgedefault="undirected"'), "utf-8")
    with pytest.raises(FileFormatError, match="is damaged"):
        read_graphml(path)


def test_graphml_is_a_graph_for_other_programs(tmp_path):
    graph = nx.read_graphml(write(parse("x * x + y"), tmp_path / "a.graphml"), force_multigraph=True)
    assert sorted(label for _, label in graph.nodes(data="label")) == ["x", "y", "⊕", "⊗"]
    assert graph.number_of_edges() == 4  # two of them parallel
    assert [root for _, root in graph.nodes(data="root") if root] == ["formula"]


# --- text and LaTeX --------------------------------------------------------------------------------------------------


def test_text_of_one_formula_is_read_back_and_of_several_names_the_roots(tmp_path):
    written = parse("let r1 = a + b\nr1 * r1 + c")
    assert parse(write(written, tmp_path / "a.txt").read_text("utf-8")) == written
    store = expand(perceptron(2, 2, 1).circuit(), [0])
    lines = write(store, tmp_path / "b.txt").read_text("utf-8").splitlines()
    assert lines == [
        "x[0] = fc1[0<-0] ⊗ fc2[0<-0] ⊕ fc1[1<-0] ⊗ fc2[0<-1]",
        "x[1] = fc1[0<-1] ⊗ fc2[0<-0] ⊕ fc1[1<-1] ⊗ fc2[0<-1]",
    ]
    ascii_only = write(formula(store, "x[0]"), tmp_path / "c", format="text", unicode=False).read_bytes()
    assert ascii_only == b"fc1[0<-0] * fc2[0<-0] + fc1[1<-0] * fc2[0<-1]\n"
    assert write(polynomial(store, "x[0]"), tmp_path / "d.txt").read_text("utf-8").count("·") == 2


def test_latex_is_an_equation_or_a_document(tmp_path):
    found = parse("a * b")
    equation = write(found, tmp_path / "a.tex").read_text("utf-8")
    assert equation == "\\[\n" + found.latex() + "\n\\]\n"
    document = write(found, tmp_path / "b.tex", document=True).read_text("utf-8")
    assert document.startswith("\\documentclass")
    assert found.latex() in document
    assert r"a\,b" in write(polynomial(found.store), tmp_path / "c.tex").read_text("utf-8")


def test_refusals(tmp_path):
    with pytest.raises(UnknownNameError, match="no writer is called 'docx'"):
        write(parse("a"), tmp_path / "a.docx")
    with pytest.raises(OptionError, match="no ending that names a format"):
        write(parse("a"), tmp_path / "a")
    with pytest.raises(OptionError, match="not str"):
        write("a + b", tmp_path / "a.txt")  # type: ignore[arg-type]
    with pytest.raises(LimitError, match="3 symbols"):
        write(parse("a + b + c"), tmp_path / "a.txt", limit=2)
    for name in ("txt", "tex", "dot", "json", "graphml"):
        with pytest.raises(OutputError, match="missing"):
            write(parse("a"), tmp_path / "missing" / f"a.{name}")
    assert not list(tmp_path.iterdir())
