"""What an import of provnet loads, and what it leaves until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from provnet.on_use import installed, on_use

SCRIPT = """
import sys
import torch
before = set(sys.modules)
import provnet
provnet.trace, provnet.sweep, provnet.inspection, provnet.semirings, provnet.rules
late = {"sympy", "networkx", "matplotlib", "graphviz", "jinja2", "PIL", "numba", "triton", "typer", "sklearn"}
print(sorted(late & (set(sys.modules) - before)))
gates = provnet.trace(torch.nn.Linear(2, 1), torch.ones(1, 2)).gates(target=0)
gates.polynomial("input[0]").sympy()
print(gates.to_networkx().number_of_nodes() > 1, {"sympy", "networkx"} <= set(sys.modules))
"""


@pytest.mark.guarantee("provnet loads sympy, networkx, matplotlib, graphviz and numba when they are used, not before")
def test_heavy_modules_are_loaded_when_they_are_used():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True True"]


def test_a_stand_in_is_the_module_once_it_is_used():
    math = on_use("math")
    assert math.sqrt(4) == 2
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = math.no_such_name
    with pytest.raises(ModuleNotFoundError):
        _ = on_use("no_such_module").name
    assert installed("math") and not installed("no_such_module")
