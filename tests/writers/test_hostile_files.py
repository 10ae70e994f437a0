"""A file is data: thousands of forged structures with right checksums give an error of provnet's, or a sound circuit.

`PROVNET_FUZZ` is the number of forged files of each kind; a hundred run by default, with a fixed seed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import provnet
from provnet.circuit.gate_check import check
from provnet.circuit.spec import check_circuit
from provnet.errors import FileFormatError, ProvnetError
from provnet.face import Circuit, GateCircuit
from provnet.writers.graphml import read_graphml, write_graphml
from provnet.writers.json import read_json, write_json

COUNT = int(os.environ.get("PROVNET_FUZZ", "100"))
SECONDS = 20.0
"""What one forged file may take, from reading it to its last answer."""

NUMBERS = [0, 1, 2, 3, -1, -2, 7, 64, 1 << 16, 1 << 31, 1 << 40, 1 << 63, -(1 << 63), 10**30, 0.5, True]
OTHERS: list[Any] = [None, "", "x", "aten.from_file", [], {}, [0], [[1]], {"tensor": "t0"}, {"float": "nan"}]


class Net(nn.Module):
    """A block of each kind, wirings of most."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.pool, self.mean = nn.MaxPool2d(2), nn.AvgPool2d(2)
        self.fc, self.out = nn.Linear(10, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm(self.conv(x)))
        z = torch.cat([self.pool(y), self.mean(y)], 1).flatten(2)
        z = torch.cat([z.amax(2), z.sum(2), y[:, :, 0, 0]], 1) + 0.5
        hidden = nn.functional.gelu(self.fc(z))
        return self.out(hidden + hidden.mean(1, keepdim=True))


@pytest.fixture(scope="module")
def circuit() -> Circuit:
    torch.manual_seed(1)
    return provnet.trace(Net().eval(), torch.randn(2, 1, 4, 4))


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of everything inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from places(inner)


def forge(value: Any, dice: random.Random) -> None:
    """Change one to three things in a JSON value."""
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        every = list(places(value))
        numbers = [(held, key) for held, key in every if isinstance(held[key], int | float)]
        held, key = dice.choice(numbers if numbers and dice.random() < 0.6 else every)
        old = held[key]
        match dice.randrange(6):
            case 0:
                held[key] = dice.choice(OTHERS)
            case 1 if isinstance(held, list):
                held.insert(dice.randrange(len(held) + 1), old)
            case 2:
                del held[key]
            case 3:
                other, place = dice.choice(every)
                held[key] = json.loads(json.dumps(other[place])) if place in range(len(other)) or place in other else 0
            case 4 if isinstance(old, int):
                held[key] = old + dice.choice([-1, 1])
            case _:
                held[key] = dice.choice(NUMBERS)


def rewrite(path: Path, target: Path, change: Callable[[Any], Any]) -> None:
    """Write a copy of a file with a changed structure and the checksum that belongs to it."""
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    parts["structure.json"] = json.dumps(change(json.loads(parts["structure.json"]))).encode()
    manifest = json.loads(parts["manifest.json"])
    manifest["sha256"]["structure.json"] = hashlib.sha256(parts["structure.json"]).hexdigest()
    parts["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(target, "w") as new:
        for name, content in parts.items():
            new.writestr(name, content)


def forged(dice: random.Random) -> Callable[[Any], Any]:
    def change(structure: Any) -> Any:
        forge(structure, dice)
        return structure

    return change


def use(circuit: Circuit | GateCircuit) -> None:
    """Ask what reads every block by every route."""
    assert isinstance(circuit, Circuit)
    check_circuit(circuit.session.data)
    str(circuit.summary())
    for ask in (
        lambda: circuit.evaluate("real", target=0, route="auto").conservation(),
        lambda: circuit.evaluate("viterbi", target=0).inputs,
        lambda: circuit.evaluate("counting", target=0).inputs,
        lambda: circuit.evaluate("real", target=0, rule="gradient").inputs,
        lambda: circuit.evaluate("real", target=0, rule="epsilon", route="reference").inputs,
        lambda: circuit.gates(target=0, limit=20_000).provenance("PosBool"),
    ):
        with contextlib.suppress(ProvnetError):
            ask()


def outcome(work: Callable[[], Any]) -> str:
    """Return "refused" or "sound", and see to it that nothing else happens and that it takes no long time."""
    started = time.perf_counter()
    try:
        work()
        return "sound"
    except ProvnetError:
        return "refused"
    finally:
        assert time.perf_counter() - started < SECONDS


@pytest.mark.guarantee("a forged circuit with right checksums is refused, or is a sound circuit, in bounded time")
def test_forged_circuits(circuit, tmp_path):
    provnet.save(circuit, tmp_path / "net")
    dice, found = random.Random(0), []
    for _ in range(COUNT // 2):
        rewrite(tmp_path / "net", tmp_path / "forged", forged(dice))
        found.append(outcome(lambda: use(provnet.load(tmp_path / "forged"))))
    assert found.count("refused") > len(found) / 2
    assert "sound" in found


@pytest.mark.guarantee("forged gates in any file that provnet reads are refused, or are sound, in bounded time")
@pytest.mark.parametrize("grain", ["edge", "channel"])
def test_forged_gates(circuit, tmp_path, grain):
    gates = circuit.gates(target=0, at=("input", 0, 1, 1), grain=grain)
    provnet.save(gates, tmp_path / "gates")
    dice, found = random.Random(0), []

    def read() -> None:
        loaded = provnet.load(tmp_path / "forged")
        assert isinstance(loaded, GateCircuit)
        check(loaded.store)
        loaded.evaluate("counting", dict.fromkeys(loaded.variables, 1))
        str(loaded.formula(loaded.roots[0]))

    for _ in range(COUNT):
        rewrite(tmp_path / "gates", tmp_path / "forged", forged(dice))
        found.append(outcome(read))
    assert "refused" in found


@pytest.mark.guarantee("forged JSON and GraphML files of gates are refused, or are sound, in bounded time")
def test_forged_json_and_graphml(circuit, tmp_path):
    gates = circuit.gates(target=0, at=("input", 0, 1, 1))
    dice, found = random.Random(0), []
    whole = json.loads(write_json(gates, tmp_path / "gates.json").read_text())
    marked = write_graphml(gates, tmp_path / "gates.graphml").read_bytes()
    for _ in range(COUNT):
        content = json.loads(json.dumps(whole))
        forge(content, dice)
        (tmp_path / "forged.json").write_text(json.dumps(content))
        found.append(outcome(lambda: check(read_json(tmp_path / "forged.json"))))
        if len(found) % 10 == 0:
            at, length = dice.randrange(len(marked)), dice.randrange(1, 9)
            other = bytes(dice.choice(b'<>&"0123456789-g') for _ in range(dice.randrange(9)))
            (tmp_path / "forged.graphml").write_bytes(marked[:at] + other + marked[at + length :])
            outcome(lambda: check(read_graphml(tmp_path / "forged.graphml")))
    assert "refused" in found


# --- single attacks ---------------------------------------------------------------------------------------------------


def set_in(structure: Any, name: str, value: Any, where: Callable[[Any], bool] = lambda held: True) -> Any:
    """Set every field called `name` of the holders that `where` picks."""
    hits = [held for held, key in places(structure) if key == name and where(held)]
    assert hits
    for held in hits:
        held[name] = value
    return structure


@pytest.mark.guarantee("a file that names a function outside the closed list runs nothing")
def test_a_file_cannot_name_an_op_that_writes(circuit, tmp_path):
    provnet.save(circuit, tmp_path / "net")
    target = tmp_path / "written"
    call = {
        "op": "from_file",
        "overload": "default",
        "args": [str(target), True, 4, {"class": "Input", "fields": {}}],
        "kwargs": {"map": []},
    }
    rewrite(
        tmp_path / "net",
        tmp_path / "forged",
        lambda s: set_in(s, "call", {"class": "Call", "fields": call}, lambda held: held["kind"] == "elementwise"),
    )
    with pytest.raises(FileFormatError, match="none that a file may name"):
        provnet.load(tmp_path / "forged")
    assert not target.exists()


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ([{"class": "Input", "fields": {}}, "text"], "cannot be run"),
        ([{"class": "Input", "fields": {}}, {"tensor": "t0"}], "changes the shape|cannot be run"),
    ],
)
def test_arguments_of_functions_are_tried_on_shapes(circuit, tmp_path, args, reason):
    provnet.save(circuit, tmp_path / "net")
    call = {"op": "mul", "overload": "Tensor", "args": args, "kwargs": {"map": []}}
    rewrite(
        tmp_path / "net",
        tmp_path / "forged",
        lambda s: set_in(s, "call", {"class": "Call", "fields": call}, lambda held: held["function"] == "gelu"),
    )
    with pytest.raises(FileFormatError, match=reason):
        provnet.load(tmp_path / "forged")


@pytest.mark.parametrize("pattern", ["{0.__class__}", "{0:>9999999999}", "{0!r}", "{1}", "{} {} {} {} {} {} {}", "{"])
def test_a_pattern_of_names_is_no_program(circuit, tmp_path, pattern):
    provnet.save(circuit.gates(target=0, at=("input", 0, 1, 1), grain="channel"), tmp_path / "gates")
    rewrite(tmp_path / "gates", tmp_path / "forged", lambda s: set_in(s, "pattern", pattern))
    with pytest.raises(FileFormatError, match="is no name with"):
        provnet.load(tmp_path / "forged")


@pytest.mark.parametrize("depth", [10_000, 1_000_000])
def test_a_deep_structure_is_refused(circuit, tmp_path, depth):
    (tmp_path / "deep.json").write_text("[" * depth + "]" * depth)
    with pytest.raises(FileFormatError):
        read_json(tmp_path / "deep.json")
    provnet.save(circuit, tmp_path / "net")
    rewrite(tmp_path / "net", tmp_path / "forged", lambda s: s)
    with zipfile.ZipFile(tmp_path / "forged") as old:
        manifest = json.loads(old.read("manifest.json"))
        tensors = old.read("tensors.safetensors")
    structure = b"[" * depth + b"]" * depth
    manifest["sha256"]["structure.json"] = hashlib.sha256(structure).hexdigest()
    with zipfile.ZipFile(tmp_path / "deep", "w") as new:
        new.writestr("manifest.json", json.dumps(manifest))
        new.writestr("structure.json", structure)
        new.writestr("tensors.safetensors", tensors)
    with pytest.raises(FileFormatError):
        provnet.load(tmp_path / "deep")


@pytest.mark.parametrize("header", [b"\xff" * 8, (1 << 40).to_bytes(8, "little"), b"", b"\0" * 8])
def test_a_header_of_tensors_that_lies_is_refused(circuit, tmp_path, header):
    provnet.save(circuit, tmp_path / "net")
    with zipfile.ZipFile(tmp_path / "net") as old:
        parts = {name: old.read(name) for name in old.namelist()}
    parts["tensors.safetensors"] = header + parts["tensors.safetensors"][8:]
    manifest = json.loads(parts["manifest.json"])
    manifest["sha256"]["tensors.safetensors"] = hashlib.sha256(parts["tensors.safetensors"]).hexdigest()
    parts["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(tmp_path / "forged", "w") as new:
        for name, content in parts.items():
            new.writestr(name, content)
    with pytest.raises(FileFormatError):
        provnet.load(tmp_path / "forged")
