"""The ways out that the commands on datasets and the reproduction name."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import provnet
from provnet.applications.reproduction import reproducing
from provnet.cli import app
from provnet.errors import OptionError
from tests.advice.refusals import X, dense
from tests.advice.sites import follows


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, " ".join(result.stderr.split())


@follows("What is no list stands for all; for every combination give product=True.")
def test_lists_of_other_lengths_are_crossed() -> None:
    circuit = provnet.trace(dense(3, 2), X)
    asked = {"rule": ["zero", "epsilon", "gamma"]}
    with pytest.raises(OptionError, match="product=True"):
        circuit.evaluate(["real", "boolean"], **asked)  # pyright: ignore[reportArgumentType]
    assert len(circuit.evaluate(["real", "boolean"], product=True, **asked)) == 6  # pyright: ignore[reportArgumentType]


@follows("{} needs labels: give their file with --labels.")
def test_labels_are_given_by_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "labelled_net.py").write_text("from tests.nets import perceptron\nnet = perceptron(3, 2).float()\n")
    np.save(tmp_path / "x.npy", X.numpy())
    np.save(tmp_path / "y.npy", np.arange(len(X)) % 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    code, said = run("masks", "labelled_net:net", "x.npy")
    assert code == 2 and "--labels" in said
    assert run("masks", "labelled_net:net", "x.npy", "--labels", "y.npy")[0] == 0


@follows(
    "there is no folder {}. Give the one of the data with --data",
    "lacks {}. Give the folder of the data with --data.",
    "the folder of the data is not known. Give it with --data",
)
def test_the_folder_of_the_data_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")

    def nothing_but_files(folder: Path, sizes: object) -> tuple[list[object], str]:
        reproducing.data_files(folder, "mnist_mlp.safetensors")
        return [], ""

    monkeypatch.setattr(reproducing, "_mnist", nothing_but_files)
    monkeypatch.delenv("PROVNET_DATA", raising=False)
    asked = ["reproduce", "mnist", "--out", str(tmp_path / "out")]
    for given, message in (
        ([], "is not known"),
        (["--data", str(tmp_path / "gone")], "there is no folder"),
        (["--data", str(tmp_path)], "lacks"),
    ):
        code, said = run(*asked, *given)
        assert code == 2 and message in said and "--data" in said
    (tmp_path / "mnist_mlp.safetensors").touch()
    assert run(*asked, "--data", str(tmp_path))[0] == 0
    monkeypatch.setenv("PROVNET_DATA", str(tmp_path))
    assert run(*asked, "--force")[0] == 0
