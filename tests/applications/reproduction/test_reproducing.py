"""The reproductions run from end to end on little data, write whole folders or none, and judge by their numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from docs import make_reproduction
from provnet.applications.reproduction import reproducing
from provnet.applications.reproduction.digit_figures import gini
from provnet.applications.reproduction.findings import Chapter, Claim, tally_of, verdict
from provnet.applications.reproduction.image_networks import (
    SqueezeNet,
    Vgg16,
    squeezenet_subject,
    vgg16,
    vgg16_subject,
    vgg16_weights,
)
from provnet.applications.reproduction.mask_figures import is_ring
from provnet.applications.reproduction.paper_errata import ERRATA
from provnet.applications.reproduction.reproduction_page import KINDS, read_results
from provnet.applications.reproduction.subjects import Digits, trained_as_in_the_notebook
from provnet.errors import FileFormatError, InputError, OutputError, UnknownNameError
from tests.nets import perceptron, seeded, small_cnn

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def digits() -> Digits:
    """Noise with a blob of ink whose place depends on the label."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(100) % 10
    images = (torch.rand(100, 28, 28, generator=generator) - 0.7).clamp(min=0)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[4 + label : 10 + label, 8:20] = 1
    x = images.flatten(1)
    return Digits(x[:60], labels[:60], x[60:], labels[60:])


@pytest.fixture
def no_files(monkeypatch: pytest.MonkeyPatch, digits: Digits) -> None:
    """Small networks and made-up digits in place of the files of the data."""
    narrow = seeded(lambda: SqueezeNet(16), dtype=torch.float32).eval()
    photograph = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for name, value in {
        "data_files": lambda *names: None,
        "read_mnist": lambda folder: digits,
        "given_perceptron": lambda folder: seeded(lambda: perceptron(784, 300, 100, 10), dtype=torch.float32),
        "given_network": lambda folder: seeded(small_cnn, dtype=torch.float32),
        "squeezenet": lambda folder: narrow,
        "read_input": lambda *given, **options: photograph,
        "vgg16_weights": lambda folder: None,
    }.items():
        monkeypatch.setattr(reproducing, name, value)


@pytest.mark.guarantee("`provnet reproduce` writes every figure of its chapters, and puts torch's threads back")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("no_files")
def test_a_quick_reproduction_writes_its_folder(kind: str, tmp_path: Path) -> None:
    threads, seen = torch.get_num_threads(), []
    chapters = reproducing.reproduce(kind, tmp_path / "out", tmp_path, quick=True, on_chapter=seen.append)
    assert torch.get_num_threads() == threads
    assert seen == chapters
    names = {picture.file for chapter in chapters for picture in chapter.pictures}
    assert {file.name for file in (tmp_path / "out").iterdir()} == names | {"results.json", "page.md"}
    assert all((tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG") for name in names)
    setting, read = read_results(tmp_path / "out")
    assert read == chapters and setting["quick"] is True
    assert all(chapter.claims for chapter in chapters)
    page = (tmp_path / "out" / "page.md").read_text("utf-8")
    assert all(f"]({name})" in page for name in names)
    if kind == "mnist":
        paths = next(c for chapter in chapters for c in chapter.claims if "23,520,000" in c.said)
        assert paths.verdict == "fails" and "30,000 to 30,000" in paths.found


@pytest.mark.usefixtures("no_files")
def test_nothing_is_left_of_a_reproduction_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Chapter:
        raise InputError("no more digits")

    threads = torch.get_num_threads()
    monkeypatch.setattr(reproducing, "mask_chapter", fails)
    with pytest.raises(InputError, match="no more"):
        reproducing.reproduce("mnist", tmp_path / "out", tmp_path, quick=True)
    assert not list(tmp_path.iterdir())
    assert torch.get_num_threads() == threads

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reproducing, "write_string", full)
    monkeypatch.setattr(reproducing, "_mnist", lambda folder, sizes: ([], ""))
    with pytest.raises(OutputError, match="No space left"):
        reproducing.reproduce("mnist", tmp_path / "out", tmp_path, quick=True)
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_said_before_anything_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROVNET_DATA", raising=False)
    with pytest.raises(UnknownNameError, match="mnist and cnn"):
        reproducing.reproduce("vgg", tmp_path / "out", tmp_path)
    with pytest.raises(InputError, match="--data"):
        reproducing.reproduce("mnist", tmp_path / "out")
    with pytest.raises(InputError, match=r"lacks squeezenet1_1.safetensors, mnist_cnn.safetensors, images/castle.jpg"):
        reproducing.reproduce("cnn", tmp_path / "out", tmp_path)
    (tmp_path / "full").mkdir()
    with pytest.raises(OutputError, match="--force"):
        reproducing.reproduce("cnn", tmp_path / "full", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["full"]


@pytest.mark.guarantee("docs/reproduction.md is what the two reproductions found, and some claims fail")
def test_the_page_is_put_together_from_the_results() -> None:
    page = make_reproduction.PAGE.read_text("utf-8")
    assert page == make_reproduction.page_text(), "run python docs/make_reproduction.py"
    claims = []
    for folder in make_reproduction.FOLDERS.values():
        setting, chapters = read_results(folder)
        assert setting["quick"] is False
        claims += [claim for chapter in chapters for claim in chapter.claims]
        assert all((folder / picture.file).is_file() for chapter in chapters for picture in chapter.pictures)
    assert tally_of(claims)["fails"] >= 3
    assert all(erratum.where.replace("|", "\\|") in page for erratum in ERRATA)


def test_results_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="provnet reproduce"):
        read_results(tmp_path)
    for text in ("{", json.dumps({"setting": {}}), json.dumps({"setting": {}, "chapters": [{"title": 1}]})):
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(FileFormatError, match="Run it again"):
            read_results(tmp_path)


def test_a_ring_goes_round_the_centre() -> None:
    rows = torch.arange(9)
    distance = (rows[:, None] - 4).abs().maximum((rows[None] - 4).abs())
    ring = distance == 2
    assert is_ring(ring)
    broken = ring.clone()
    broken[2, 4] = False
    assert not is_ring(broken)
    assert not is_ring(torch.zeros(9, 9).bool())
    assert not is_ring(torch.ones(9, 9).bool())
    assert not is_ring(distance <= 2)


def test_gini_is_the_mean_difference_over_twice_the_mean() -> None:
    rows = torch.rand(3, 7, generator=torch.Generator().manual_seed(0)) - 0.5
    sizes = rows.abs().double()
    expected = (sizes[:, :, None] - sizes[:, None, :]).abs().mean((1, 2)) / (2 * sizes.mean(1))
    torch.testing.assert_close(gini(rows), expected)
    assert gini(torch.ones(1, 5)).item() == pytest.approx(0)
    assert gini(torch.eye(5)[:1]).item() == pytest.approx(0.8)


def test_verdicts_are_counted() -> None:
    assert [verdict(True), verdict(False, True), verdict(False)] == ["holds", "in part", "fails"]
    claims = [Claim("", "", "", verdict(bool(k))) for k in (1, 0, 1)]
    assert tally_of(claims) == {"holds": 2, "in part": 0, "fails": 1, "no test": 0}


def test_training_takes_its_seed_and_leaves_torchs_own(digits: Digits) -> None:
    state = torch.get_rng_state()
    one, other = (trained_as_in_the_notebook(digits.train, digits.train_labels, 3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in one.parameters())


def test_vgg16_reads_both_kinds_of_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import save_file  # noqa: PLC0415

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    assert vgg16_weights(tmp_path) is None
    net = seeded(lambda: Vgg16(64), dtype=torch.float32)
    save_file(net.state_dict(), tmp_path / "vgg16.safetensors")
    cached = tmp_path / "torch" / "hub" / "checkpoints" / "vgg16-397923af.pth"
    cached.parent.mkdir(parents=True)
    torch.save(net.state_dict(), cached)
    assert vgg16_weights(tmp_path) == tmp_path / "vgg16.safetensors"
    assert vgg16_weights(tmp_path / "elsewhere") == cached
    x = torch.randn(1, 3, 32, 32)
    for file in (tmp_path / "vgg16.safetensors", cached):
        torch.testing.assert_close(vgg16(file, 64)(x), net.eval()(x))
    cached.write_bytes(b"no weights")
    with pytest.raises(FileFormatError, match="Vgg16"):
        vgg16(cached, 64)


def test_both_networks_are_subjects_of_the_castle(tmp_path: Path) -> None:
    from provnet.applications.reproduction.castle_figures import castle_chapter  # noqa: PLC0415

    assert squeezenet_subject(SqueezeNet(16)).deep == "features.12"
    net = seeded(lambda: Vgg16(64), dtype=torch.float32).eval()
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.5
    chapter = castle_chapter(vgg16_subject(net), x, tmp_path)
    assert chapter.claims and (tmp_path / "vgg16.png").is_file()
    assert np.isfinite(float(chapter.tables[0].rows[0][1].rstrip("%")))
