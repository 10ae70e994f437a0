"""The examples run as a reader runs them, and what they print is what they claim."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def printed(name: str, folder: Path, *arguments: str) -> str:
    """Run an example in `folder` and return what it prints."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_first_circuit(tmp_path: Path):
    found = printed("01_first_circuit.py", tmp_path)
    assert "hidden[0<-1] ⊗ output[0<-0] ⊕ hidden[1<-1] ⊗ output[0<-1]" in found
    assert re.search(r"counting .* 1, 2, 1\n", found)
    assert re.search(r"real .* 0\.3077, 0\.4615, 0\.2308\n", found)


def test_mnist_digits(data: Path, tmp_path: Path):
    found = printed("02_mnist_digits.py", tmp_path)
    assert found.count("True") == 2 and "False" not in found


@pytest.mark.slow
@pytest.mark.guarantee(
    "SqueezeNet's Boolean relevance puts a larger share into the castle's box than the box has of the area"
)
def test_squeezenet_sees_the_castle(data: Path, tmp_path: Path):
    found = printed("03_squeezenet_castle.py", tmp_path, str(tmp_path))
    shares = re.findall(r"^(Boolean|counting).*: +([\d.]+)% in the box, ([\d.]+)% of the area", found, re.MULTILINE)
    assert [name for name, *_ in shares] == ["Boolean", "Boolean", "counting"]
    assert all(float(share) > float(area) for _, share, area in shares), found
    assert {path.name for path in tmp_path.glob("*.png")} == {
        f"{name}.png" for name in ("photograph", "real", "boolean", "counting", "boolean_features12")
    }


def test_sweep(tmp_path: Path):
    pytest.importorskip("sklearn")
    found = printed("04_sweep.py", tmp_path)
    assert "Tally(1797 examples in 10 classes" in found
    for every, some in re.findall(r"(\d+) pixels in every example, (\d+) in some", found):
        assert int(every) <= int(some) <= 64


def test_pruning(tmp_path: Path):
    pytest.importorskip("sklearn")
    found = printed("05_pruning.py", tmp_path)
    rows = re.findall(r"^(\w+) +([\d.]+)% +([\d.]+)% +([\d.]+)% +([\d.]+)% +\d+$", found, re.MULTILINE)
    assert len(rows) == 9
    assert len({row[1] for row in rows}) == 1  # nothing pruned: the model itself


@pytest.mark.guarantee("On digits, real relevance is better than a random order whatever takes the place of pixels")
def test_evidence(tmp_path: Path):
    pytest.importorskip("sklearn")
    found = printed("06_evidence.py", tmp_path)
    better = re.findall(r"^real +(zero|mean|resampled) +[\d.]+ +(-?[\d.]+)", found, re.MULTILINE)
    assert [name for name, _ in better] == ["zero", "mean", "resampled"]
    assert all(float(value) > 3 for _, value in better)


def test_masks(tmp_path: Path):
    pytest.importorskip("sklearn")
    found = printed("07_masks.py", tmp_path)
    said = re.findall(r"θ = (\S+) +(\d+) pixels .* say (.*)", found)
    assert said[0][2] == "only where the ink is" and said[2][2] == "something"
    sizes = [int(size) for _, size, _ in said]
    assert sizes == sorted(sizes, reverse=True)
    for kept, lost in re.findall(r"digit \d: (\d+)% right .* alone, (\d+)% without", found):
        assert int(kept) > int(lost)


def test_perturbation(tmp_path: Path):
    pytest.importorskip("sklearn")
    found = printed("08_perturbation.py", tmp_path)
    rows = re.findall(r"^(real|boolean|viterbi) +([\d.]+) +([\d.]+)", found, re.MULTILINE)
    assert [name for name, *_ in rows] == ["real", "boolean", "viterbi"]
    assert all(float(deletion) < float(insertion) for _, deletion, insertion in rows[:1])
    assert "the zone that costs most" in found


def test_two_digits(tmp_path: Path):
    pytest.importorskip("sklearn")
    found = printed("09_two_digits.py", tmp_path)
    shares = [int(share) for share in re.findall(r"(\d+)% above$", found, re.MULTILINE)]
    assert shares[0] < shares[1] and "the strongest pixel" in found


def test_subnetworks(tmp_path: Path):
    pytest.importorskip("sklearn")
    found = printed("10_subnetworks.py", tmp_path)
    ours, luck = re.findall(r"%: (\d+)% right of \d+%; as many drawn by lot: (\d+)%", found)[0]
    assert int(ours) > int(luck)
    near, far = re.findall(r"with 8: (\d+)%, with 0: (\d+)%", found)[0]
    assert int(near) > int(far)


@pytest.mark.guarantee("Each application on datasets has an example of fewer than 40 lines that the suite runs")
def test_examples_are_short():
    names = "04_sweep 05_pruning 06_evidence 07_masks 08_perturbation 09_two_digits 10_subnetworks"
    for name in names.split():
        assert len((ROOT / "examples" / f"{name}.py").read_text("utf-8").splitlines()) < 40
