"""Pictures, by graphviz where its program is, else by matplotlib, else none: both ways on every machine."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from provnet.circuit.expand import expand
from provnet.circuit.gates import GateStore
from provnet.errors import LimitError, MissingProgramError, MissingProgramWarning, OptionError, OutputError
from provnet.symbolic.canonical import cone
from provnet.symbolic.parse import parse
from provnet.writers import picture
from provnet.writers.base import write
from provnet.writers.dot import wire_labels
from provnet.writers.plain_drawing import arrange, as_graph
from tests.gate_circuits import perceptron

STARTS = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}
needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz's program is not installed")


def network() -> GateStore:
    """The gates of a 2-2-2-1 perceptron: two roots, shared gates, wires that carry neurons."""
    return expand(perceptron(2, 2, 2, 1).circuit(), [0])


@pytest.fixture
def without_dot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide every program; nothing is uninstalled."""
    (tmp_path / "nothing").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


def test_dot_text_labels_every_gate_wire_and_variable(tmp_path):
    text = write(network(), tmp_path / "a.dot").read_text("utf-8")
    store = cone(network(), network().root_gates.tolist(), network().roots)
    assert text.count(" -> ") == store.wires + 2
    assert len(re.findall(r"g\d+ -> g\d+ \[label=", text)) == store.wires
    assert all(v.name in text for v in store.variables)
    assert text.count("shape=circle") == sum(kind in (3, 4) for kind in store.kind.tolist())
    assert "rankdir=BT" in text
    assert ">r1<" in text
    assert all(f'"{root}"' in text for root in store.roots)
    assert text == write(network(), tmp_path / "b.dot").read_text("utf-8")


def test_wires_are_named_after_the_neuron_whose_relevance_they_carry():
    store = network()
    product = next(
        g for g in range(len(store)) if "relu1[0]" in wire_labels(store, g) or "fc1[0]" in wire_labels(store, g)
    )
    assert len(wire_labels(store, product)) == 2
    assert wire_labels(parse("a * (b + c)").store, 4) == ["1", "2"]


def test_names_cannot_break_the_picture(tmp_path):
    odd = parse('`"; } <b> \\\\N \\` é` + `<<i>>` * `a->b`')
    text = write(odd, tmp_path / "a.dot").read_text("utf-8")
    assert text.count("shape=box") == 3
    if shutil.which("dot"):
        assert b"&lt;i&gt;" in write(odd, tmp_path / "a.svg").read_bytes()


@pytest.mark.guarantee("with dot: SVG, PDF and PNG")
@needs_dot
@pytest.mark.parametrize("format", STARTS)
def test_graphviz_draws(format, tmp_path):
    path = write(network(), tmp_path / f"a.{format}")
    assert path.read_bytes().startswith(STARTS[format])
    assert [p.name for p in tmp_path.iterdir()] == [f"a.{format}"]
    if format == "svg":
        text = path.read_text("utf-8")
        assert text.count("⊗") == 8
        assert "fc1[1&lt;&#45;0]" in text


@pytest.mark.guarantee("without the program dot: DOT text, a plain drawing, and a message that names the package")
@pytest.mark.usefixtures("without_dot")
@pytest.mark.parametrize("format", STARTS)
def test_without_graphviz_matplotlib_draws_and_the_package_is_named(format, tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.warns(MissingProgramWarning, match="Install the package graphviz"):
        path = write(network(), tmp_path / f"a.{format}")
    assert path.read_bytes().startswith(STARTS[format])
    assert (tmp_path / "a.dot").read_text("utf-8").startswith("digraph")
    with pytest.warns(MissingProgramWarning):
        again = write(network(), tmp_path / f"b.{format}")
    assert again.read_bytes() == path.read_bytes()
    if format == "svg":
        text = path.read_text("utf-8")
        assert text.count("⊗") == 8
        assert "fc1[1&lt;-0]" in text


@pytest.mark.usefixtures("without_dot")
def test_without_either_the_dot_text_is_written_and_both_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(picture, "HAS_MATPLOTLIB", False)
    with pytest.warns(MissingProgramWarning, match="dot is missing, and so is matplotlib.*package graphviz"):
        path = write(network(), tmp_path / "a.png")
    assert path == tmp_path / "a.dot"
    assert path.read_text("utf-8").startswith("digraph")
    assert not (tmp_path / "a.png").exists()


def test_a_program_that_fails_leaves_no_file(monkeypatch, tmp_path):
    fake = tmp_path / "bin" / "dot"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho no fonts >&2\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent))
    with pytest.raises(MissingProgramError, match="no fonts"):
        write(network(), tmp_path / "a.svg")
    assert not (tmp_path / "a.svg").exists()


def test_the_plain_drawing_puts_operands_below_their_gates_and_nothing_on_top_of_another():
    graph = as_graph(network())
    places = arrange(graph)
    assert len(set(places.values())) == len(graph)
    assert all(places[below][1] < places[above][1] for below, above in graph.edges())
    rows: dict[float, list[float]] = {}
    for x, y in places.values():
        rows.setdefault(y, []).append(x)
    assert all(b - a > 0.999 for row in rows.values() for a, b in zip(sorted(row), sorted(row)[1:], strict=False))


@pytest.mark.guarantee("a circuit too large to draw is refused")
def test_what_nobody_could_read_is_not_drawn(tmp_path):
    large = parse(" + ".join(f"x{i}" for i in range(500)))
    for name in ("dot", "svg"):
        with pytest.raises(LimitError, match=r"501 gates and 500 wires is more than limit=500.*smaller cone"):
            write(large, tmp_path / f"a.{name}")
    assert write(large, tmp_path / "a.dot", limit=501).exists()
    with pytest.raises(OutputError, match="is a folder"):
        write(parse("a"), tmp_path, format="dot")
    with pytest.raises(OptionError, match=r"\.gates"):
        write(3, tmp_path / "b.dot")  # type: ignore[arg-type]
