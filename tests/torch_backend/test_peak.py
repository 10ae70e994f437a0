"""The peak of memory is reported if asked for, and None is said where nobody knows it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import provnet
from provnet.torch_backend.walk import memory_peak as peak
from provnet.torch_backend.walk.memory_peak import Peak

CPU = torch.device("cpu")
MEGABYTE = 1 << 20
known = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux keeps a high-water mark")


SCRIPT = """
import sys
import torch
from provnet.torch_backend.walk.memory_peak import Peak

MEGABYTE = 1 << 20
held = torch.ones(64 * MEGABYTE // 4)
for sizes in ((16, 96, 32), (16,)):
    with Peak(torch.device("cpu")) as found:
        for size in sizes:
            torch.ones(size * MEGABYTE // 4)
    print(found.bytes / MEGABYTE)
"""


@known
@pytest.mark.guarantee("the reported peak of memory is what was held at most, within a few megabytes")
def test_the_peak_is_what_was_held_at_most():
    """In a process of its own: in this one, other tests' memory is given back meanwhile. The second measurement does
    not see the first."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    first, second = map(float, done.stdout.split())
    assert abs(first - 96) < 8
    assert second < 24


def test_none_where_nobody_knows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with Peak(torch.device("meta")) as found:
        pass
    assert found.bytes is None
    monkeypatch.setattr(peak, "CLEAR", tmp_path / "no" / "such")
    with Peak(CPU) as found:
        torch.ones(MEGABYTE)
    assert found.bytes is None


@known
def test_an_evaluation_reports_it_if_asked():
    circuit = provnet.trace(nn.Linear(2000, 1500), torch.randn(1, 2000))
    assert circuit.evaluate("viterbi").peak_memory is None
    one, other = circuit.evaluate(["boolean", "bottleneck"], measure_memory=True)
    assert one.peak_memory == other.peak_memory
    assert one.peak_memory is not None
    assert 0 < one.peak_memory < 500 * MEGABYTE
    options: dict[str, Any] = {"target": torch.ones(1, 1500), "route": "reference", "measure_memory": True}
    less = circuit.evaluate("bottleneck", memory=1 << 16, **options).peak_memory
    more = circuit.evaluate("bottleneck", memory=1 << 28, **options).peak_memory
    assert less is not None
    assert more is not None
    assert less + 20 * MEGABYTE < more
