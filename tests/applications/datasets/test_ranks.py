"""A sweep of two processes gives what one process gives, and says so when one of them is lost."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import provnet
from tests.nets import perceptron, seeded

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import os, signal, sys, torch, provnet
from tests.nets import perceptron, seeded

model = seeded(lambda: perceptron(6, 5, 4), dtype=torch.float32)
torch.manual_seed(1)
data = torch.randn(41, 6), torch.randint(0, 4, (41,))
rank, how, folder = int(os.environ["RANK"]), sys.argv[1], sys.argv[2]

class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 41
    def __getitem__(self, n):
        if n == 30 and how == "raise":
            raise OSError("image file is truncated")
        if n == 30 and how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return data[0][n], int(data[1][n])

tally = provnet.sweep(
    model, Data(), ["boolean", "counting", "real"], combine=["plus", "any", "mean", "quantiles"], by="label",
    batch_size=4, checkpoint=folder + "/checkpoint",
)
tally.save(f"{folder}/{rank}")
"""


def run(tmp_path: Path, how: str) -> list[tuple[int, str]]:
    """Run the program in two processes, as torchrun would start them; return (status, errors) of each."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"PYTHONPATH": str(ROOT), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen(
            [sys.executable, str(program), how, str(tmp_path)],
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in started]
    return [(process.returncode, error) for process, error in zip(started, errors, strict=True)]


@pytest.fixture(scope="module")
def alone() -> provnet.Tally:
    model = seeded(lambda: perceptron(6, 5, 4), dtype=torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        data = torch.randn(41, 6), torch.randint(0, 4, (41,))
    folds = ["plus", "any", "mean", "quantiles"]
    return provnet.sweep(model, data, ["boolean", "counting", "real"], combine=folds, by="label", batch_size=4)


@pytest.mark.guarantee("A process that gets no batch of a dataset does not disturb the others")
def test_a_tally_of_no_batch_joins_any_other(alone: provnet.Tally) -> None:
    nothing = provnet.Tally(alone.semirings, (), alone.folds, 1)
    for joined in (nothing + alone, alone + nothing, nothing + nothing + alone + nothing):
        assert joined is alone
    with pytest.raises(provnet.errors.OptionError, match="different questions"):
        provnet.Tally(alone.semirings, (), ("mean",), 1) + alone  # pyright: ignore[reportUnusedExpression]


def assert_same(tally: provnet.Tally, alone: provnet.Tally) -> None:
    assert tally.examples.tolist() == alone.examples.tolist()
    for key, state in alone.states.items():
        if key[0] == "real" and state.is_floating_point():
            torch.testing.assert_close(tally.states[key], state, rtol=1e-5, atol=1e-5)
        elif key[0] != "real":
            assert torch.equal(tally.states[key], state), key


@pytest.mark.slow
@pytest.mark.guarantee("A sweep of several processes gives what one process gives, exact semirings to the bit")
def test_two_processes_give_what_one_gives(tmp_path: Path, alone: provnet.Tally) -> None:
    for status, error in run(tmp_path, "well"):
        assert status == 0, error[-2000:]
    first, second = (provnet.Tally.load(tmp_path / str(rank)) for rank in range(2))
    assert all(torch.equal(second.states[key], state) for key, state in first.states.items())
    assert_same(first, alone)


@pytest.mark.slow
@pytest.mark.guarantee("A worker that fails or is killed stops the others with a clear error, and all go on afterwards")
@pytest.mark.parametrize("how", ["raise", "kill"])
def test_a_lost_worker_is_an_error_and_the_rest_goes_on(tmp_path: Path, alone: provnet.Tally, how: str) -> None:
    (status, error), (lost, other) = run(tmp_path, how)
    assert status != 0 and lost != 0
    assert "WorkerError" in error and "checkpoint=" in error
    assert how == "kill" or "truncated" in other
    assert (tmp_path / "checkpoint.1-of-2").exists()
    for status, error in run(tmp_path, "well"):
        assert status == 0, error[-2000:]
    assert_same(provnet.Tally.load(tmp_path / "0"), alone)
