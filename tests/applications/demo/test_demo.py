"""The demo: what it writes, that a seed fixes it, that its claims hold, and what it says where something is missing."""

from __future__ import annotations

import csv
import dataclasses
import html
import json
import re
import shutil
import warnings
from pathlib import Path

import pytest
import torch

import provnet
from provnet.applications.demo import data as demo_data
from provnet.applications.demo import run_demo
from provnet.applications.demo.data import subject
from provnet.applications.demo.demo_answers import DemoAnswers, answer, small_cone
from provnet.applications.demo.odds import odds
from provnet.applications.demo.run import write_folder
from provnet.applications.demo.sections import laws, lines
from provnet.applications.demo.threshold_search import apart, in_common
from provnet.errors import InputError, MissingProgramError, MissingProgramWarning, OutputError
from provnet.semirings import Semiring, make

NAMES = ["real", "boolean", "counting", "viterbi", "tropical", "bottleneck", "odds"]

needs_digits = pytest.mark.skipif(not demo_data.HAS_SKLEARN, reason="scikit-learn is not installed: extra `demo`")


@pytest.fixture(scope="module")
def answers() -> DemoAnswers:
    if not demo_data.HAS_SKLEARN:
        pytest.skip("scikit-learn is not installed: extra `demo`")
    return answer(subject(None, 0), 3)


@pytest.fixture(scope="module")
def folder(answers: DemoAnswers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_folder(answers, out)
    return out


def test_the_folder(folder: Path):
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    wanted = {
        "report.html",
        "studio.html",
        "answers.csv",
        "answers.json",
        "formula.txt",
        "formula.tex",
        "circuit.svg",
        "summary.svg",
    }
    wanted |= {f"heatmaps/{k:02}_{k}_{name}.png" for k in range(3) for name in ["digit", *NAMES]}
    assert wanted | {"heatmaps/overview.png"} <= found


def test_the_network_learned_and_digits_are_held_out(answers: DemoAnswers):
    assert answers.subject.accuracy > 0.9
    assert [answers.label(k) for k in range(3)] == [0, 1, 2]
    assert len(answers.subject.labels) == 450


def test_the_table_holds_what_the_pictures_show(answers: DemoAnswers, folder: Path):
    with (folder / "answers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    held = json.loads((folder / "answers.json").read_text())
    assert [row["semiring"] for row in rows] == NAMES * 3
    assert [row["semiring"] for row in held["answers"]] == NAMES * 3
    assert int(rows[1]["number"]) == int(answers.relevance["boolean"].inputs[0].sum())
    assert int(rows[2]["number"]) == int(answers.relevance["counting"].inputs[0].sum())
    assert held["theta"] == answers.search.theta


def test_the_report_is_one_page_that_needs_nothing_else(folder: Path):
    page = (folder / "report.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    assert "<script" not in page and "@import" not in page
    assert page.count("data:image/png;base64,") == 1 + 7 + 3 * 8 + 30
    assert "holds on every pixel" in page and "FAILS" not in page


@pytest.mark.guarantee("red speaks for a class and blue against it, for classes with negative logits too")
def test_the_sign_of_a_class_is_that_of_its_logit(answers: DemoAnswers):
    """The slow twin: with no kink on the way, relevance from the logit is pixel times gradient, whatever its sign."""
    x = answers.subject.inputs[answers.chosen[:1]].clone().requires_grad_()
    logits = answers.subject.model(x)[0]
    assert int((logits < 0).sum()) > 2
    for target, logit in enumerate(logits):
        (gradient,) = torch.autograd.grad(logit, x, retain_graph=True)
        torch.testing.assert_close(answers.classes["real"][target], (x * gradient)[0].detach(), atol=1e-4, rtol=1e-3)


@pytest.mark.guarantee("the lines that the report shows run and give the report's answers")
def test_the_lines_behind_the_page_run(answers: DemoAnswers, folder: Path):
    shown = re.search(r'id="again">.*?<pre>(.*?)</pre>', (folder / "report.html").read_text(), re.DOTALL)
    assert shown is not None
    code = html.unescape(shown.group(1))
    assert code == lines(answers)
    seen: dict[str, object] = {"model": answers.subject.model, "x": answers.subject.inputs[answers.chosen]}
    exec(compile(code, "report.html", "exec"), seen)
    circuit = seen["circuit"]
    assert isinstance(circuit, provnet.Circuit)
    assert torch.equal(circuit.evaluate("viterbi").inputs, answers.relevance["viterbi"].inputs)


@pytest.mark.guarantee("the report's own semiring is shown as code that runs")
def test_the_own_semiring_that_is_shown_runs(folder: Path):
    shown = re.search(r'id="own">.*?<pre>(.*?)</pre>', (folder / "report.html").read_text(), re.DOTALL)
    assert shown is not None
    seen: dict[str, object] = {"Tensor": torch.Tensor, "torch": torch, "make": make, "Semiring": Semiring}
    exec(compile(html.unescape(shown.group(1)), "report.html", "exec"), seen)
    assert seen["odds"]().name == "odds"  # type: ignore[operator]


def test_laws_hold(answers: DemoAnswers):
    found = dict(laws(answers))
    assert found["Boolean is counting > 0"] == "holds on every pixel"
    assert float(found["tropical is −log of Viterbi"].split()[-1]) < 1e-5


def test_the_threshold_tells_classes_apart(answers: DemoAnswers):
    search, inputs = answers.search, answers.subject.inputs[answers.chosen]
    assert search.apart[search.best] == max(search.apart) > search.apart[0]
    relevant, ink = answers.relevance["boolean"].inputs, inputs > 0
    assert 0 < int(relevant.sum()) < int(ink.sum())  # at 1e-9 they are all but equal
    assert len(torch.unique(answers.classes["boolean"], dim=0)) > 5
    assert len(torch.unique(answers.classes["boolean at 1e-9"], dim=0)) < 3


def test_the_pruned_cone_keeps_the_paths_that_counting_counts(answers: DemoAnswers):
    pixel = answers.cone.pixel.index[0]
    counted = int(answers.relevance["counting"].inputs[0, pixel])
    assert answers.cone.gates.polynomial().paths == counted
    assert len(answers.cone.gates) < answers.cone.whole_gates


def test_a_threshold_that_nothing_reaches_still_makes_a_report(answers: DemoAnswers, tmp_path: Path):
    cone = small_cone(answers.circuit, 1e9, torch.zeros(64, dtype=torch.int64))
    assert str(cone.gates.formula()) == "0"
    write_folder(dataclasses.replace(answers, cone=cone), tmp_path)
    assert (tmp_path / "report.html").is_file()


def test_the_demos_own_semiring_obeys_the_laws():
    semiring = odds()
    provnet.semirings.check_laws(semiring, torch.tensor([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]))
    half = torch.tensor(0.5)
    assert semiring.times(half, half).item() == pytest.approx(1 / 3)  # odds of 1 to 1 twice are 2 to 1 against


def test_jaccard_and_its_comparison():
    masks = torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 0]], dtype=torch.bool)
    torch.testing.assert_close(in_common(masks)[:2, :2], torch.tensor([[1, 1 / 3], [1 / 3, 1]], dtype=torch.float64))
    assert not in_common(masks)[2].any()
    same, different = torch.tensor([0.5, 0.2]), torch.tensor([0.2, 0.1, 0.7])
    pairs = [(s > d) + 0.5 * (s == d) for s in same.tolist() for d in different.tolist()]
    assert apart(same, different) == pytest.approx(sum(pairs) / 6)


@pytest.mark.guarantee("the demo's output is fixed by its seed, times apart")
@needs_digits
def test_one_seed_one_output(folder: Path, tmp_path: Path):
    state = torch.get_rng_state()
    run_demo(tmp_path / "again", digits=3, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    for path in folder.rglob("*"):
        if path.is_file():
            first, second = (p.read_bytes() for p in (path, tmp_path / "again" / path.relative_to(folder)))
            assert without_times(first) == without_times(second), path.name


def without_times(page: bytes) -> bytes:
    return re.sub(rb'<h2 id="time">.*?</table>', b"", page, flags=re.DOTALL)


@needs_digits
def test_an_existing_folder_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("provnet.applications.demo.run.subject", None)  # nothing is computed
    with pytest.raises(OutputError, match="exists already"):
        run_demo(tmp_path)


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo_data, "HAS_SKLEARN", False)
    with pytest.raises(MissingProgramError, match=r"pip install 'provnet\[demo\]'"):
        subject(None, 0)


@pytest.mark.guarantee("without the program dot the demo still draws its circuit and says what is missing")
def test_without_dot(answers: DemoAnswers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda *_: None)
    monkeypatch.setattr("provnet.applications.demo.run.answer", lambda *_: answers)
    with pytest.warns(MissingProgramWarning, match="graphviz"):
        run_demo(tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "graphviz" in page and "data:image/svg+xml" in page
    assert str(tmp_path) not in page
    assert (tmp_path / "out" / "circuit.dot").is_file()


def test_without_dot_and_matplotlib(answers: DemoAnswers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda *_: None)
    monkeypatch.setattr("provnet.writers.picture.HAS_MATPLOTLIB", False)
    drawing = write_folder(answers, tmp_path)
    assert drawing.svg is None and "matplotlib" in drawing.missing[0]
    assert "digraph provnet" in (tmp_path / "report.html").read_text()


def test_mnist(data: Path):
    found = subject(data, 0)
    assert found.sizes == (784, 300, 100, 10)
    assert len(found.labels) == 2000
    assert found.accuracy == pytest.approx(0.9805)
    with pytest.raises(InputError, match="5000 digits"):
        found.chosen(5000)
