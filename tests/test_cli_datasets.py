"""The commands on datasets: what they print is what the library finds, and bad input is one message and exit code 2."""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import provnet
from provnet.applications.ablation import score
from provnet.applications.datasets.checkpoint import Checkpoint
from provnet.applications.datasets.masks import class_masks
from provnet.applications.datasets.tally import Tally
from provnet.applications.evidence import evidence, table
from provnet.applications.perturbation import perturbation_curve
from provnet.applications.pruning import pruning_curve, ranking, relevance_scores
from provnet.applications.subnetworks import read_subnetworks, subnetworks
from provnet.cli import app

SOURCE = """
import torch
from tests.nets import perceptron, seeded
net = seeded(lambda: perceptron(4, 5, 3), dtype=torch.float32)
"""


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the current directory with a model; x.npy, y.npy and IDX files beside it."""
    name = f"data_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(SOURCE)
    random = np.random.default_rng(0)
    x, y = random.random((12, 4)), np.arange(12) % 3
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    pixels = (x * 255).astype(np.uint8).reshape(12, 2, 2)
    header = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (12, 2, 2))
    (tmp_path / "images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels.tobytes()))
    (tmp_path / "labels-idx1-ubyte").write_bytes(
        bytes([0, 0, 8, 1]) + (12).to_bytes(4, "big") + y.astype(np.uint8).tobytes()
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return f"{name}:net"


def good(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str, output: bool = False) -> str:
    """Return the message of a refusal that wrote nothing; `output`: it may have printed what it could not write."""
    before = {path for path in Path.cwd().iterdir() if path.name != "__pycache__"}
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 2, result.output
    assert output or result.stdout == ""
    assert {path for path in Path.cwd().iterdir() if path.name != "__pycache__"} == before
    return re.sub(r"\s+", " ", result.stderr)


def model_of(net: str) -> torch.nn.Module:
    module, _, name = net.partition(":")
    return getattr(sys.modules[module], name)


def data() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(np.load("x.npy"), dtype=torch.float32), torch.tensor(np.load("y.npy"))


def test_sweep_writes_the_tally_of_the_library(net: str) -> None:
    options = ["--semiring", "boolean", "--semiring", "real", "--target", "label", "--by", "label"]
    said = good("sweep", net, "x.npy", "--labels", "y.npy", *options, "--combine", "mean", "--at", "1", "--out", "t")
    assert "Tally(12 examples in 3 classes" in said and "written: t" in said
    wanted = provnet.sweep(model_of(net), data(), ["boolean", "real"], "label", at="1", by="label")
    found = Tally.load("t")
    assert torch.equal(found.of("mean", "real", label=2), wanted.of("mean", "real", label=2))
    plain = json.loads(good("sweep", net, "x.npy", "--labels", "y.npy", *options, "--at", "1", "--json"))
    assert plain["examples"] == [4, 4, 4]
    answer = next(one for one in plain["answers"] if one["semiring"] == "real" and one["class"] is None)
    assert answer["values"] == pytest.approx(wanted.of("mean", "real").tolist())


def test_idx_files_are_divided_and_reshaped(net: str) -> None:
    files = ["images-idx3-ubyte.gz", "--labels", "labels-idx1-ubyte", "--shape", "4", "--divide", "255"]
    found = json.loads(good("sweep", net, *files, "--count", "5", "--first", "2", "--json"))
    x = (torch.tensor(np.load("x.npy")) * 255).to(torch.uint8).float()[2:7] / 255
    wanted = provnet.sweep(model_of(net), x)["mean"]
    assert found["answers"][0]["values"] == pytest.approx(wanted.tolist(), rel=1e-5)


def test_masks_say_what_classes_have_in_common(net: str) -> None:
    given = [net, "x.npy", "--labels", "y.npy", "--share", "0.5", "--at", "1"]
    said = good("masks", *given, "--out", "m.npy")
    wanted = class_masks(model_of(net), data(), 0.5, "1")
    np.testing.assert_array_equal(np.load("m.npy"), wanted)
    assert ", ".join(str(int(mask.sum())) for mask in wanted) in said
    assert json.loads(good("masks", *given, "--json"))["sizes"] == wanted.sum(1).tolist()


def test_subnetworks_say_what_classes_need(net: str) -> None:
    given = [net, "x.npy", "--labels", "y.npy", "--theta", "0.1"]
    said = good("subnetworks", *given, "--out", "s.safetensors")
    wanted = subnetworks(model_of(net), data(), annotation=provnet.annotations.Threshold(0.1))
    for one, written in zip(wanted, read_subnetworks("s.safetensors"), strict=True):
        assert one.overlap(written) == one.overlap(written, edges=False) == 1
        assert all(str(int(mask.sum())) in said for mask in one.weights.values())
    found = json.loads(good("subnetworks", *given, "--share", "0.5", "--at", "1", "--weights", "0.weight", "--json"))
    half = subnetworks(model_of(net), data(), 0.5, "1", ["0.weight"], annotation=provnet.annotations.Threshold(0.1))
    assert [size["0.weight"] for size in found["sizes"]] == [int(one.weights["0.weight"].sum()) for one in half]
    x, y = data()
    assert found["accuracy_alone"][2] == score(half[2].model(model_of(net)), (x[y == 2], y[y == 2])).accuracy


def test_prune_ranks_on_one_part_and_measures_on_the_other(net: str) -> None:
    x, y = data()
    given = [net, "x.npy", "--labels", "y.npy", "--by", "viterbi", "--by", "l1", "--by", "tropical"]
    found = json.loads(good("prune", *given, "--ranked", "8", "--fractions", "0,0.5,1", "--json"))
    model = model_of(net)
    order = ranking(relevance_scores(model, (x[:8], y[:8]), "0", "viterbi", target="label"))
    wanted = pruning_curve(model, (x[8:], y[8:]), "0", order, (0, 0.5, 1))
    assert found["rankings"]["viterbi"]["loss"] == pytest.approx([step.loss for step in wanted])
    assert set(found["rankings"]) == {"viterbi", "l1", "tropical"} and found["measured"] == 4
    assert good("prune", *given, "--fractions", "0,1").startswith("pruned")


def test_perturb_follows_the_probability(net: str) -> None:
    x, y = data()
    given = [net, "x.npy", "--labels", "y.npy", "--semiring", "real", "--semiring", "tropical", "--steps", "4"]
    found = json.loads(good("perturb", *given, "--mode", "insertion", "--change", "inverted", "--json"))
    r = provnet.trace(model_of(net), x).evaluate("tropical", y.tolist()).inputs
    wanted = perturbation_curve(model_of(net), x, r, "insertion", y.tolist(), provnet_inverted, steps=4, costs=True)
    assert found["tropical"]["mean"] == pytest.approx(wanted.mean.tolist())
    assert good("perturb", *given).startswith("deletion")


def provnet_inverted(x: torch.Tensor) -> torch.Tensor:
    return x.amax(1, keepdim=True) - x


def test_evidence_prints_the_table(net: str) -> None:
    said = good("evidence", net, "x.npy", "--semiring", "real", "--steps", "2")
    x = data()[0]
    assert said.strip() == table(evidence(model_of(net), x, ["real"], steps=2)).strip()
    rows = json.loads(good("evidence", net, "x.npy", "--semiring", "boolean", "--steps", "2", "--json"))
    assert {row["change"] for row in rows} == {"zero", "mean", "resampled"}


def test_agree_compares_and_localises(net: str) -> None:
    given = [net, "x.npy", "--semiring", "real", "--semiring", "viterbi"]
    found = json.loads(good("agree", *given, "--json"))
    assert found["names"] == ["real", "viterbi"] and found["correlation"][0][0] == pytest.approx(1)
    assert "viterbi" in good("agree", *given)


@pytest.mark.guarantee("The commands on datasets refuse bad data with one message and exit code 2, and write nothing")
def test_bad_data_is_refused(net: str) -> None:
    x, y = np.load("x.npy"), np.load("y.npy")
    np.save("far.npy", np.where(y == 2, 7, y))
    np.save("short.npy", y[:5])
    np.save("halves.npy", y + 0.5)
    np.save("none.npy", x[:0])
    np.save("wide.npy", np.ones((3, 9)))
    Path("cut.npy").write_bytes(Path("x.npy").read_bytes()[:100])
    Path("cut-idx3-ubyte.gz").write_bytes(Path("images-idx3-ubyte.gz").read_bytes()[:20])
    Path("text.txt").write_text("digits")
    labelled = ["--labels", "y.npy"]
    cases = {
        ("sweep", net, "gone.npy"): "there is no file",
        ("sweep", net, "cut.npy"): "cannot be read",
        ("sweep", net, "cut-idx3-ubyte.gz"): "cannot be unpacked",
        ("sweep", net, "text.txt"): "no IDX file",
        ("sweep", net, "none.npy"): "expected one or more examples",
        ("sweep", net, "wide.npy"): "model",
        ("sweep", net, "x.npy", "--labels", "short.npy"): "one whole number for each",
        ("sweep", net, "x.npy", "--labels", "halves.npy"): "one whole number for each",
        ("sweep", net, "x.npy", "--labels", "far.npy", "--by", "label"): "label",
        ("sweep", net, "x.npy", "--by", "label"): "label",
        ("sweep", net, "x.npy", "--combine", "median"): "no fold",
        ("sweep", net, "x.npy", "--shape", "3"): "does not hold",
        ("sweep", net, "x.npy", "--shape", "1.5"): "whole numbers",
        ("sweep", net, "x.npy", "--divide", "0"): "above 0",
        ("sweep", net, "x.npy", "--first", "99"): "there are 12 examples",
        ("sweep", net, "x.npy", "--out", "gone/t"): "the folder",
        ("sweep", net, "x.npy", "--out", "y.npy"): "--force",
        ("sweep", net, "x.npy", "--checkpoint", "gone/c"): "gone",
        ("masks", net, "x.npy"): "needs labels",
        ("masks", net, "x.npy", *labelled, "--share", "2"): "share=",
        ("masks", net, "x.npy", *labelled, "--out", "m.png"): ".npy",
        ("subnetworks", net, "x.npy"): "needs labels",
        ("subnetworks", net, "x.npy", *labelled, "--weights", "9.weight"): "9.weight",
        ("subnetworks", net, "x.npy", *labelled, "--out", "y.npy"): "--force",
        ("prune", net, "x.npy"): "needs labels",
        ("prune", net, "x.npy", *labelled, "--ranked", "12"): "none to rank on, or none to measure",
        ("prune", net, "x.npy", *labelled, "--layer", "1"): "1",
        ("prune", net, "x.npy", *labelled, "--fractions", "2"): "between 0 and 1",
        ("prune", net, "x.npy", *labelled, "--by", "luck"): "luck",
        ("evidence", net, "x.npy", "--count", "1"): "two or more",
        ("agree", net, "x.npy", "--box", "1,2"): "top,left,bottom,right",
        ("agree", net, "x.npy", "--box", "0,0,1,9"): "no images",
    }
    for arguments, message in cases.items():
        assert message in refused(*arguments), arguments


def test_a_sweep_that_was_cut_goes_on_from_its_checkpoint(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["sweep", net, "x.npy", "--batch-size", "4", "--checkpoint", "c", "--json"]
    whole = good(*given[:-3], "--json")
    walk = provnet.applications.datasets.sweep.CircuitFeed
    real, calls = walk.on, []

    def breaks(self: object, x: torch.Tensor, number: int) -> object:
        calls.append(number)
        if number == 2 and len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, x, number)  # type: ignore[arg-type]

    monkeypatch.setattr(walk, "on", breaks)
    assert CliRunner().invoke(app, given).exit_code != 0
    assert good(*given) == whole
    assert calls == [0, 1, 2, 2]
    Path("c").write_bytes(b"no checkpoint")
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 2 and "c " in result.stderr
    assert Path("c").read_bytes() == b"no checkpoint"


def test_two_runs_do_not_write_one_checkpoint(net: str) -> None:
    with Checkpoint(Path("c"), {}).locked():
        assert "another run is writing the checkpoint c" in refused("sweep", net, "x.npy", "--checkpoint", "c")
    assert "Tally(12 examples" in good("sweep", net, "x.npy", "--checkpoint", "c")


def test_a_full_disk_is_one_message(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "No space left" in refused("masks", net, "x.npy", "--by", "predicted", "--out", "m.npy", output=True)
