"""The command line: what it prints and writes, and that a refusal is one message, exit code 2, and nothing written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

import provnet
from provnet.cli import app
from provnet.command import help_text

SOURCE = """
import torch
from torch import nn
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
net.load_state_dict({"0.weight": torch.tensor([[1., 2, 0, 0], [0, 1, 1, 0], [0, 0, 1, 3]]), "0.bias": torch.zeros(3),
                     "2.weight": torch.tensor([[1., 1, 0], [0, 1, 2]]), "2.bias": torch.zeros(2)})
noisy = nn.Sequential(nn.Linear(4, 4), nn.Dropout()).train()
"""
X = np.array([[1.0, 2.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]])


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the current directory with a model, and x.npy beside it."""
    name = f"cli_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(SOURCE)
    np.save(tmp_path / "x.npy", X)  # float64, as numpy makes it; the model is float32
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return f"{name}:net"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def good(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str) -> str:
    before = sorted(Path.cwd().rglob("*"))
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert sorted(p for p in Path.cwd().rglob("*") if "__pycache__" not in str(p)) == [
        p for p in before if "__pycache__" not in str(p)
    ]
    return result.stderr


def circuit_of(net: str) -> provnet.Circuit:
    module, _, name = net.partition(":")
    return provnet.trace(getattr(sys.modules[module], name), torch.tensor(X, dtype=torch.float32))


def test_trace_prints_the_blocks_and_saves(net: str):
    printed = good("trace", net, "x.npy", "--save", "c.provnet")
    assert str(circuit_of(net).summary()) in printed
    assert good("trace", "c.provnet").splitlines()[1:] == printed.splitlines()[1:-1]


@pytest.mark.parametrize("given", ["model", "saved circuit"])
def test_eval_writes_what_the_library_finds(net: str, given: str):
    source = [net, "x.npy"]
    if given == "saved circuit":
        good("trace", *source, "--save", "c.provnet")
        source = ["c.provnet"]
    options = ["--semiring", "viterbi", "--target", "1", "--rule", "epsilon"]
    assert "written: r.npy" in good("eval", *source, *options, "--out", "r.npy")
    wanted = circuit_of(net) if given == "model" else provnet.load("c.provnet")
    assert isinstance(wanted, provnet.Circuit)
    np.testing.assert_array_equal(np.load("r.npy"), wanted.evaluate("viterbi", target=1, rule="epsilon").inputs)


def test_eval_takes_thresholds_by_layer(net: str):
    good("eval", net, "x.npy", "--semiring", "counting", "--theta", "0=0.3,2=0.5", "--target", "0", "--out", "r.npy")
    theta = provnet.annotations.Threshold({"0": 0.3, "2": 0.5})
    np.testing.assert_array_equal(
        np.load("r.npy"), circuit_of(net).evaluate("counting", target=0, annotation=theta).inputs
    )


def test_eval_without_out_prints_the_strongest(net: str):
    said = good("eval", net, "x.npy", "--target", "0")
    assert "strongest: [1] 0.75" in said and "example 0, 2[0]:" in said
    assert good("eval", net, "x.npy", "--target", "2[0]") == said


def test_formula(net: str):
    assert good("formula", net, "x.npy", "--at", "input[0]", "--target", "0").strip() == (
        "0[0<-0] ⊗ 2[0<-0] ⊕ 0[1<-0] ⊗ 2[0<-1] ⊕ 0[2<-0] ⊗ 2[0<-2]"
    )
    assert r"\oplus" in good("formula", net, "x.npy", "--at", "input[0]", "--latex")
    assert "*" in good("formula", net, "x.npy", "--at", "input[0]", "--sympy")
    assert good("formula", net, "x.npy", "--at", "0").count("[") >= 3


def test_draw_writes_every_format(net: str):
    for name in ("o.svg", "o.dot", "o.json", "o.txt"):
        assert f"written: {name}" in good("draw", net, "x.npy", name, "--at", "input[0]")
        assert Path(name).stat().st_size > 0


@pytest.mark.parametrize("kind", ["semirings", "rules", "annotations", "writers", "ops"])
def test_list(kind: str):
    known = {
        "semirings": "viterbi",
        "rules": "epsilon",
        "annotations": "threshold",
        "writers": "svg",
        "ops": "aten.cat",
    }
    lines = {line.split()[0]: line.partition("  ")[2] for line in good("list", kind).splitlines()}
    assert lines[known[kind]].strip()
    assert {one["name"] for one in json.loads(good("list", kind, "--json"))} == set(lines)


def test_help_version_and_lists_load_nothing_heavy():
    code = (
        "import sys; sys.argv = ['provnet', *{!r}]\n"
        "import provnet.command; provnet.command.main()\n"
        "assert not {{'torch', 'numpy', 'sympy', 'matplotlib', 'typer'}} & set(sys.modules), sorted(sys.modules)"
    )
    environment = {"PYTHONPATH": str(Path(provnet.__file__).parents[1]), "PATH": "/usr/bin:/bin"}
    lists = ((["list", "rules"], "epsilon"), (["list", "ops", "--json"], '"name": "aten.cat"'))
    for option, says in ((["--help"], "Commands:"), (["--version"], provnet.__version__), *lists):
        command = [sys.executable, "-c", code.format(option)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        assert says in done.stdout


def test_help_lists_every_command_and_the_exit_codes():
    said = good("--help")
    assert said.strip() == help_text().strip()
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__
        assert f"  {name} " in said and (command.callback.__doc__ or "").split("\n")[0] in said
    assert "Exit codes: 0" in said
    assert good("--version") == f"provnet {provnet.__version__}\n"


@pytest.mark.guarantee("every command prints JSON that a strict reader takes, infinities included")
def test_json_everywhere(net: str):
    def read(*arguments: str) -> Any:
        return json.loads(good(*arguments, "--json"), parse_constant=lambda text: pytest.fail(text))

    found = read("eval", net, "x.npy", "--semiring", "tropical", "--target", "2[0]")
    assert found["explained"] == ["2[0]", "2[0]"] and found["semiring"] == "tropical"
    assert any(value == "inf" for row in found["inputs"] for value in row)
    assert [row["path"] for row in read("trace", net, "x.npy")["blocks"]] == ["0", "1", "2"]
    assert read("formula", net, "x.npy", "--at", "input[0]", "--target", "0")["input[0]"]["paths"] == 3
    assert read("draw", net, "x.npy", "o.json", "--at", "input[0]")["file"] == "o.json"


def test_formulas_are_pruned_and_valued(net: str):
    ask = ["formula", net, "x.npy", "--at", "input[1]", "--target", "0"]
    result = run(*ask, "--keep", "1", "--values", "real")
    assert result.stdout == "0.8·0[0<-1] ⊗ 0.625·2[0<-0]\n"
    assert "left out:" in result.stderr
    assert good(*ask, "--theta", "0.3", "--rule", "epsilon:epsilon=0.1")
    assert "Write parameters as" in refused(*ask, "--rule", "gamma:no=1")
    Path("names.txt").write_text("cat\ndog\n")
    said = good("eval", net, "x.npy", "--classes", "names.txt", "--target", "dog")
    assert "2[1] (dog)" in said


@pytest.mark.guarantee("the command line refuses with one message and exit code 2, and writes nothing")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval", "{net}", "y.npy"], "there is no file y.npy"),
        (["eval", "{net}", "x.npy", "--semiring", "vitrbi"], "Did you mean 'viterbi'"),
        (["eval", "{net}", "x.npy", "--target", "7"], "7"),
        (["eval", "{net}", "x.npy", "--target", "cat"], "target='cat' is unknown"),
        (["eval", "{net}", "x.npy", "--semiring", "boolean", "--theta", "nan"], "NaN"),
        (["eval", "{net}", "x.npy", "--out", "r.gif"], ".png"),
        (["eval", "{net}", "x.npy", "--out", "x.npy"], "exists already"),
        (["eval", "{net}", "x.npy", "--out", "nowhere/r.npy"], "is missing"),
        (["trace", "{net}", "x.npy", "--save", "x.npy"], "exists already"),
        (["trace", "nothing:here", "x.npy"], "importing nothing failed"),
        (["trace", "{noisy}", "x.npy"], "training mode"),
        (["trace", "x.npy"], ""),
        (["formula", "{net}", "x.npy", "--at", "0[9]"], "no neuron"),
        (["formula", "{net}", "x.npy", "--latex", "--sympy"], "exclude each other"),
        (["formula", "{net}", "x.npy", "--limit", "3"], "limit"),
        (["draw", "{net}", "x.npy", "o.gif"], "gif"),
        (["draw", "{net}", "x.npy", "o.svg", "more"], "3 files"),
        (["demo", "--out", "x.npy"], "is a file"),
        (["demo", "--out", ".", "--digits", "2"], "exists already"),
        (["demo", "--out", "d", "--data", "nowhere"], "no folder nowhere"),
        (["demo", "--out", "d", "--data", "."], "mnist_mlp.safetensors"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_refusals(net: str, arguments: list[str], message: str):
    names = {"net": net, "noisy": net.replace(":net", ":noisy")}
    said = refused(*(argument.format(**names) for argument in arguments))
    assert said.startswith("provnet: ")
    assert message in said
    assert "Traceback" not in said


def test_force_writes_over(net: str):
    Path("r.npy").write_bytes(b"old")
    good("eval", net, "x.npy", "--out", "r.npy", "--force")
    assert np.load("r.npy").shape == (2, 4)


def test_as_a_program(net: str):
    """The one test that starts a process: entry point, exit code and streams are as a shell sees them."""
    command = [sys.executable, "-m", "provnet", "eval", net, "x.npy"]
    environment = {"PYTHONPATH": str(Path(provnet.__file__).parents[1]), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Relevance(2[") and " in real, rule Zero()" in done.stdout
    done = subprocess.run([*command[:-1], "no.npy"], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("provnet: there is no file no.npy") and not done.stdout


TWO_INPUTS = """
class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(4, 2)
    def forward(self, x, gate, bias=None):
        y = self.line(x * gate)
        return y if bias is None else y + bias["by_class"]
masked = Masked().eval()
"""


@pytest.fixture
def masked(net: str, tmp_path: Path) -> str:
    """A model of two inputs and a dict, and the files that go with it."""
    name = net.partition(":")[0]
    with (tmp_path / f"{name}.py").open("a") as file:
        file.write(TWO_INPUTS)
    mask, bias = np.array([[1.0, 0, 1, 1], [1, 1, 1, 1]]), np.array([[0.5, 1.0], [0.5, 1.0]])
    np.save(tmp_path / "gate.npy", mask)
    np.save(tmp_path / "bias.npy", bias)
    np.savez(tmp_path / "both.npz", x=X, gate=mask)
    np.savez(tmp_path / "bias.npz", by_class=bias, other=bias)
    return f"{name}:masked"


@pytest.mark.guarantee("the command line takes several inputs: by place, by keyword, in dicts, and from one .npz")
@pytest.mark.parametrize(
    "given",
    [
        ["x.npy", "--input", "gate.npy"],
        ["x.npy", "--input", "gate=gate.npy"],
        ["--input", "gate=gate.npy", "--input", "x=x.npy"],
        ["both.npz"],
        ["--input", "both.npz"],
    ],
)
def test_several_inputs(masked: str, given: list[str]):
    found = json.loads(good("eval", masked, *given, "--target", "1", "--sources", "x", "--json"))
    weight = sys.modules[masked.partition(":")[0]].masked.line.weight
    mask = torch.from_numpy(np.load("gate.npy"))
    wanted = torch.tensor(X) * mask * weight[1] / (torch.tensor(X) * mask * weight[1]).sum(1, keepdim=True)
    both = json.loads(good("eval", masked, *given, "--target", "1", "--rule", "zero", "--json"))
    assert found["shape"] == [2, 4]
    assert both["shape"] == {"x": [2, 4], "gate": [2, 4]}
    assert wanted.shape == (2, 4)
    printed = good("eval", masked, *given, "--target", "1")
    assert "inputs in x relevant" in printed
    assert "inputs in gate relevant" in printed


def test_entries_of_a_dict(masked: str):
    plain = ["x.npy", "--input", "gate.npy", "--sources", "x"]
    for bias in ("bias.by_class=bias.npy", "bias=bias.npz"):
        assert "aten.add" in good("trace", masked, *plain, "--input", bias, "--coverage")


def test_relevance_of_several_inputs_is_written_by_name(masked: str):
    given = ["eval", masked, "both.npz", "--target", "0", "--out"]
    message = refused(*given, "r.npy")
    assert "--sources x" in message
    good(*given, "r.npy", "--sources", "x")
    assert np.load("r.npy").shape == (2, 4)
    good(*given, "r.safetensors")
    assert {"x", "gate"} <= set(load_file("r.safetensors"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["x.npy", "--input", "gate=gate.npy", "--input", "gate=gate.npy"], "came twice. Give each argument once"),
        (["x.npy", "--input", "gate=gate.npy", "--input", "gate.a=gate.npy"], "so it has no entries"),
        (["x.npy", "--input", "2=gate.npy"], "a keyword is a name of an argument"),
        (["x.npy", "--input", "gate=none.npy"], "there is no file none.npy"),
        (["broken.npz"], "cannot be read as arrays of numbers"),
        (["both.npz", "--key", "y"], "holds gate, x, and 'y' is none of them. Choose one with --key"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(masked: str, given: list[str], message: str):
    Path("broken.npz").write_bytes(b"no zip")
    assert message in refused("trace", masked, *given)
