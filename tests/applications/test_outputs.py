"""Results appear whole or not at all, and never in the place of something that was there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import provnet
from provnet.applications.outputs import require_free, require_result, staged_folder, write_result
from provnet.errors import OptionError, OutputError
from tests.nets import perceptron, seeded


@pytest.fixture
def circuit() -> provnet.Circuit:
    model = seeded(lambda: perceptron(4, 3, 2))
    return provnet.trace(model, torch.linspace(0, 1, 8, dtype=torch.float64).reshape(2, 4))


@pytest.mark.parametrize("semiring", ["real", "boolean", "counting", "viterbi"])
def test_numbers_are_read_back(tmp_path: Path, circuit: provnet.Circuit, semiring: str):
    relevance = circuit.evaluate(semiring, target=1)
    found = np.load(write_result(relevance, tmp_path / "r.npy"), allow_pickle=False)
    np.testing.assert_array_equal(found, relevance.inputs.numpy())
    tensors = load_file(write_result(relevance, tmp_path / "r.safetensors"))
    assert torch.equal(tensors["inputs"], relevance.inputs)
    assert torch.equal(tensors["bias.0"], relevance.bias["0"])
    with safe_open(tmp_path / "r.safetensors", "pt") as file:
        assert file.metadata() == {"semiring": semiring}
    assert write_result(relevance, tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.guarantee("an existing or unwritable output is refused before any work is done")
def test_refusals(tmp_path: Path):
    (tmp_path / "there.npy").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        require_result(tmp_path / "there.npy", force=False)
    assert require_result(tmp_path / "there.npy", force=True) == tmp_path / "there.npy"
    with pytest.raises(OutputError, match="is missing"):
        require_free(tmp_path / "no" / "file.npy", force=True)
    with pytest.raises(OutputError, match="is a folder"):
        require_free(tmp_path, force=True)
    with pytest.raises(OutputError, match="is a file"):
        require_free(tmp_path / "there.npy", force=True, folder=True)
    with pytest.raises(OutputError, match="exists already"):
        require_free(tmp_path, force=False, folder=True)
    with pytest.raises(OptionError, match=r"\.npy, \.safetensors, \.png"):
        require_result(tmp_path / "r.gif", force=False)
    assert (tmp_path / "there.npy").read_bytes() == b"mine"


@pytest.mark.guarantee("a run that fails leaves no half-written output folder")
@pytest.mark.parametrize("existing", [False, True])
def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path, existing: bool):
    out = tmp_path / "out"
    if existing:
        out.mkdir()
        (out / "kept").write_text("mine")
    before = sorted(tmp_path.rglob("*"))

    def fail_half_way() -> None:
        with staged_folder(out, force=True) as folder:
            (folder / "half").write_text("written")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_is_filled_and_keeps_what_it_had(tmp_path: Path):
    out = tmp_path / "out"
    for text in ("first", "second"):
        with staged_folder(out, force=text == "second") as folder:
            (folder / "deep").mkdir()
            (folder / "deep" / "file").write_text(text)
        (out / "kept").write_text("mine")
    assert (out / "deep" / "file").read_text() == "second"
    assert (out / "kept").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
