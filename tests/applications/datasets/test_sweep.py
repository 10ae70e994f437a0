"""Sweeps: every fold is what a plain loop over examples gives, however the data is cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import provnet
from provnet.applications.datasets import folds
from provnet.applications.datasets.sketch import ERROR
from provnet.errors import (
    FileFormatError,
    InputError,
    OptionError,
    OutputError,
    ProvnetError,
    UnknownNameError,
    UnsupportedOperationError,
)
from tests.capture.models import Lambda
from tests.nets import perceptron, seeded, small_cnn

CLASSES = 4


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return seeded(lambda: perceptron(6, 5, CLASSES), dtype=torch.float32)


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return torch.randn(23, 6), torch.randint(0, CLASSES - 1, (23,))  # the last class is empty


def examples(model: Any, x: Tensor, semiring: Any, target: Any, at: str = "input") -> Iterator[Tensor]:
    """The slow twin: one example after the other, each traced by itself."""
    for n in range(len(x)):
        one = target if isinstance(target, int | str) else int(target[n])
        yield provnet.trace(model, x[n : n + 1]).evaluate(semiring, one, at="*").by_example(at)[0]


def mean_finite(found: list[Tensor]) -> Tensor:
    x = torch.stack(found).double()
    return torch.where(torch.isfinite(x), x, 0.0).sum(0) / torch.isfinite(x).sum(0)


LOOPS: dict[str, Callable[[list[Tensor], Any], Tensor]] = {
    "mean": lambda found, zero: torch.stack(found).double().mean(0),
    "mean_abs": lambda found, zero: torch.stack(found).double().abs().mean(0),
    "mean_finite": lambda found, zero: mean_finite(found),
    "min": lambda found, zero: torch.stack(found).min(0).values,
    "max": lambda found, zero: torch.stack(found).max(0).values,
    "any": lambda found, zero: torch.stack([x != zero for x in found]).any(0),
    "all": lambda found, zero: torch.stack([x != zero for x in found]).all(0),
    "count": lambda found, zero: torch.stack([x != zero for x in found]).sum(0),
    "frequency": lambda found, zero: torch.stack([x != zero for x in found]).double().mean(0),
}


@pytest.mark.guarantee("Each fold of a sweep is what a plain loop over single examples gives")
@pytest.mark.parametrize("semiring", ["real", "boolean", "counting", "viterbi", "tropical"])
@pytest.mark.parametrize("at", ["input", "1"])
def test_folds_are_plain_loops(model: nn.Module, data: tuple[Tensor, Tensor], semiring: str, at: str) -> None:
    x, y = data
    finite = semiring != "tropical"
    folds = [name for name in LOOPS if finite or not name.startswith("mean") or name == "mean_finite"]
    tally = provnet.sweep(model, data, semiring, "label", at=at, combine=[*folds, "plus"], by="label", batch_size=7)
    algebra = provnet.semirings.get(semiring)
    found = list(examples(model, x, semiring, y, at))
    for label in (None, *range(CLASSES - 1)):
        chosen = [r for r, c in zip(found, y.tolist(), strict=True) if label in (None, c)]
        for fold in folds:
            expected = LOOPS[fold](chosen, algebra.zero)
            torch.testing.assert_close(
                tally.of(fold, label=label), expected, rtol=1e-5, atol=1e-6, equal_nan=True, check_dtype=False
            )
        plus = algebra.sum(torch.stack(chosen), 0)
        torch.testing.assert_close(tally.of("plus", label=label), plus, rtol=1e-4, atol=1e-5)
    assert tally.examples.tolist() == torch.bincount(y, minlength=CLASSES).tolist()


EXACT = ["boolean", "counting", "bottleneck"]


@pytest.mark.guarantee(
    "A sweep of an exact semiring does not depend on the batch size, to the bit; of floats, up to rounding"
)
def test_the_batch_size_does_not_matter(data: tuple[Tensor, Tensor]) -> None:
    """Small whole numbers, so that the model's own products are the same in batches of any size."""
    model: Any = perceptron(6, 5, CLASSES)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-3, 4, parameter.shape))
    x = (data[0] * 4).round()
    folds = ["plus", "min", "max", "any", "all", "frequency", "quantiles"]
    whole, *parts = (
        provnet.sweep(model, x, [*EXACT, "real"], combine=folds, by="predicted", batch_size=size) for size in (23, 1, 5)
    )
    real = [provnet.sweep(model, x, "real", combine="mean", batch_size=size)["mean"] for size in (23, 1, 5)]
    for tally in parts:
        for key, state in whole.states.items():
            if key[0] != "real":
                assert torch.equal(tally.states[key], state), key
    for other in real[1:]:
        torch.testing.assert_close(other, real[0], rtol=1e-6, atol=1e-7)


@pytest.mark.guarantee("Tallies are a monoid: parts join to the whole, the empty one changes nothing")
def test_tallies_are_a_monoid(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    folds = ["plus", "any", "all", "count", "min", "max", "quantiles"]

    def tally(first: int, last: int) -> provnet.Tally:
        part = data[0][first:last], data[1][first:last]
        return provnet.sweep(model, part, ["boolean", "counting"], combine=folds, by="label", batch_size=4)

    whole, a, b, c = tally(0, 23), tally(0, 8), tally(8, 16), tally(16, 23)
    for joined in ((a + b) + c, a + (b + c), a.empty() + a + b + c + c.empty()):
        assert joined.examples.tolist() == whole.examples.tolist()
        assert all(torch.equal(joined.states[key], state) for key, state in whole.states.items())
    with pytest.raises(OptionError, match="different questions"):
        _ = a + provnet.sweep(model, data, "boolean", combine=folds, by="label")


def test_quantiles_are_within_their_error(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    tally = provnet.sweep(model, data[0], "real", combine="quantiles", batch_size=6)
    found = torch.stack(list(examples(model, data[0], "real", "predicted")))
    for q in (0.0, 0.25, 0.5, 1.0):
        expected = found.sort(0).values[int((len(found) - 1) * q)]
        torch.testing.assert_close(tally.quantile(q).float(), expected, rtol=ERROR * 1.01, atol=1e-8)
    with pytest.raises(OptionError, match="between 0 and 1"):
        tally.quantile(1.5)


def test_channels_get_the_sum_over_positions() -> None:
    model, x = small_cnn(8), torch.rand(3, 1, 8, 8)
    for semiring in ("real", "boolean", "viterbi"):
        name = "2"
        tally = provnet.sweep(model, x, semiring, at=name, combine="plus", over="positions", batch_size=2)
        r = provnet.trace(model, x).evaluate(semiring, at=name)[name]
        algebra = provnet.semirings.get(semiring)
        torch.testing.assert_close(tally["plus"], algebra.sum(algebra.sum(r.flatten(2), 2), 0))


class Pairs(Dataset[Any]):
    def __init__(self, x: Tensor, y: Tensor, bad: int | None = None) -> None:
        self.x, self.y, self.bad = x, y, bad

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, n: int) -> Any:
        if n == self.bad:
            raise OSError("image file is truncated")
        return self.x[n], int(self.y[n])


class Stream(IterableDataset[Any]):
    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.x)


def test_all_kinds_of_data_give_the_same(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    x, y = data
    forms: list[Any] = [x, (x, y), Pairs(x, y), TensorDataset(x, y), DataLoader(Pairs(x, y), 8), Stream(x), list(x)]
    counts = [provnet.sweep(model, form, "boolean", combine="count", batch_size=8)["count"] for form in forms]
    assert all(torch.equal(one, counts[0]) for one in counts)


@pytest.mark.filterwarnings("ignore::provnet.errors.TraceWarning")
def test_models_that_cannot_be_replayed_are_traced_batch_by_batch(data: tuple[Tensor, Tensor]) -> None:
    model = Lambda(lambda m, x: m.a(x) * (x.sum() > 0).float().item(), a=nn.Linear(6, 4)).eval()
    x = data[0].abs()
    found = provnet.sweep(model, x, "real", target=1, batch_size=5)["mean"]
    torch.testing.assert_close(found.float(), provnet.trace(model, x).evaluate("real", 1).inputs.mean(0))


def test_a_tally_survives_its_file(model: nn.Module, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    tally = provnet.sweep(model, data, ["boolean", "boolean", "real"], combine=["any", "plus"], by="label")
    tally.save(tmp_path / "tally")
    again = provnet.Tally.load(tmp_path / "tally")
    assert repr(again) == repr(tally)
    assert list(again.semirings) == ["boolean", "boolean#1", "real"]
    assert again.states.keys() == tally.states.keys()
    assert all(torch.equal(again.states[key], state) for key, state in tally.states.items())
    (tmp_path / "cut").write_bytes((tmp_path / "tally").read_bytes()[:-9])
    (tmp_path / "other").write_text("hello")
    for name in ("cut", "other"):
        with pytest.raises(FileFormatError):
            provnet.Tally.load(tmp_path / name)
    with pytest.raises(InputError, match="cannot be read"):
        provnet.Tally.load(tmp_path / "none")


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.guarantee("Data and labels that do not fit a sweep are refused by cause")
def test_data_that_does_not_fit_is_refused(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    x, y = data
    cases: list[tuple[Any, dict[str, Any], str]] = [
        ("text", {}, "expected a tensor"),
        (3, {}, "expected a tensor"),
        (x[:0], {}, "no example"),
        ((x, y[:5]), {}, "one label for each"),
        (x, {"by": "label"}, "no labels"),
        (x, {"target": "label"}, "no labels"),
        ((x, y + 2), {"by": "label"}, "labels 2 to 4"),
        ((x, y - 1), {"target": "label"}, "labels -1 to"),
        ((x, y.float()), {"by": "label"}, "whole number"),
        (Pairs(x, y, bad=9), {}, "truncated"),
        ([torch.rand(6)] * 4 + [torch.rand(5)] * 4, {"batch_size": 4}, "one size"),
        (DataLoader(TensorDataset(x, y, y), 4), {}, "examples and labels"),
    ]
    for given, options, message in cases:
        with pytest.raises(InputError, match=message):
            provnet.sweep(model, given, "boolean", **options)


def test_questions_that_do_not_fit_are_refused(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    cases: list[tuple[dict[str, Any], type[ProvnetError]]] = [
        ({"combine": "median"}, UnknownNameError),
        ({"combine": []}, OptionError),
        ({"semiring": []}, OptionError),
        ({"by": "colour"}, OptionError),
        ({"over": "time"}, OptionError),
        ({"batch_size": 0}, OptionError),
        ({"progress": 1}, OptionError),
        ({"at": "nowhere"}, UnknownNameError),
        ({"semiring": "tropical", "combine": "mean"}, UnsupportedOperationError),
        ({"semiring": provnet.semirings.Counting("exact")}, UnsupportedOperationError),
    ]
    x = data[0] * torch.tensor([0.0, 1, 1, 1, 1, 1])  # no path of finite cost leads to the first input
    for options, error in cases:
        with pytest.raises(error):
            provnet.sweep(model, (x, data[1]), options.pop("semiring", "boolean"), **options)


def test_what_a_tally_does_not_hold_is_refused(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    tally = provnet.sweep(model, data, ["boolean", "real"], at=["input", "1"], combine=["any", "mean"], by="label")
    asks: list[tuple[Callable[[], Any], type[ProvnetError], str]] = [
        (lambda: tally["any"], OptionError, "say which"),
        (lambda: tally.of("any", "boolean"), OptionError, "say which"),
        (lambda: tally.of("max", "boolean", "1"), UnknownNameError, "did by any, mean"),
        (lambda: tally.of("mean", "real", "1", label=CLASSES - 1), OptionError, "no example of class 3"),
        (lambda: tally.of("mean", "real", "1", label=9), OptionError, "4 classes"),
    ]
    for ask, error, message in asks:
        with pytest.raises(error, match=message):
            ask()
    assert not tally.of("any", "boolean", "1", label=CLASSES - 1).any()


# -- checkpoints -------------------------------------------------------------------------------------------------------

QUESTION: dict[str, Any] = {"semiring": ["real", "boolean"], "combine": ["mean", "any"], "by": "label", "batch_size": 4}


@pytest.mark.guarantee("A sweep that was cut short goes on from its checkpoint, to the same bits")
def test_an_interrupted_sweep_goes_on_to_the_same_bits(
    model: nn.Module, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    whole, path = provnet.sweep(model, data, **QUESTION), tmp_path / "sweep"
    with pytest.raises(InputError, match="truncated"):
        provnet.sweep(model, Pairs(*data, bad=13), checkpoint=path, **QUESTION)
    seen: list[int] = []

    class Watched(Pairs):
        def __getitem__(self, n: int) -> Any:
            seen.append(n)
            return super().__getitem__(n)

    resumed = provnet.sweep(model, Watched(*data), checkpoint=path, **QUESTION)
    assert seen == list(range(12, 23))
    assert all(torch.equal(resumed.states[key], state) for key, state in whole.states.items())
    again = provnet.sweep(model, data, checkpoint=path, **QUESTION)
    assert torch.equal(again.of("mean", "real"), whole.of("mean", "real"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["sweep", "sweep.lock"]


def test_checkpoints_of_other_sweeps_and_damaged_ones_are_refused(
    model: nn.Module, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "sweep"
    provnet.sweep(model, data, checkpoint=path, **QUESTION)
    content = path.read_bytes()
    changes: list[dict[str, Any]] = [{"rule": "gamma"}, {"batch_size": 5}, {"combine": "any"}, {"target": 1}]
    for change in changes:
        with pytest.raises(OptionError, match="another sweep"):
            provnet.sweep(model, data, checkpoint=path, **QUESTION | change)
    other = seeded(lambda: perceptron(6, 5, CLASSES), seed=3, dtype=torch.float32)
    with pytest.raises(OptionError, match="model"):
        provnet.sweep(other, data, checkpoint=path, **QUESTION)
    with pytest.raises(OptionError, match="shuffle=False"):
        provnet.sweep(model, DataLoader(Pairs(*data), 4, shuffle=True), checkpoint=tmp_path / "new", **QUESTION)
    assert path.read_bytes() == content
    path.write_bytes(content[:40])
    with pytest.raises(FileFormatError):
        provnet.sweep(model, data, checkpoint=path, **QUESTION)


@pytest.mark.guarantee("Two runs cannot write one checkpoint; a full disk leaves it as it was")
def test_two_runs_and_a_full_disk(
    model: nn.Module, data: tuple[Tensor, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, held = tmp_path / "sweep", []

    class Nested(Pairs):
        def __getitem__(self, n: int) -> Any:
            if n == 0:
                with pytest.raises(OutputError, match="another run"):
                    provnet.sweep(model, data, checkpoint=path, **QUESTION)
                held.append(n)
            return super().__getitem__(n)

    provnet.sweep(model, Nested(*data), checkpoint=path, **QUESTION)
    assert held == [0]

    path.unlink()
    write, calls = Path.write_bytes, []

    def full(self: Path, content: Any) -> int:
        calls.append(self)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space"):
        provnet.sweep(model, data, checkpoint=path, **QUESTION)
    monkeypatch.undo()
    resumed = provnet.sweep(model, data, checkpoint=path, **QUESTION)
    assert torch.equal(resumed.of("mean", "real"), provnet.sweep(model, data, **QUESTION).of("mean", "real"))
    with pytest.raises(OutputError):
        provnet.sweep(model, data, checkpoint=tmp_path / "no folder" / "sweep", **QUESTION)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("sizes", [False, True])
def test_floats_that_are_summed_piece_by_piece_are_all_summed_once(
    count: int, sizes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folds, "PIECE", 10)
    x, classes = torch.arange(-20.0, 22.0).reshape(14, 3), torch.arange(14) % count
    before, found = x.clone(), folds._sum_by_class(classes, count, x, sizes)
    rows = (x.abs() if sizes else x).double()
    assert torch.equal(found, torch.stack([rows[classes == one].sum(0) for one in range(count)]))
    assert torch.equal(x, before)


@pytest.mark.parametrize("sizes", [False, True])
def test_whole_numbers_are_summed_with_their_signs_or_without(sizes: bool) -> None:
    x = torch.tensor([[-3, 2], [1, -7]])
    found = folds._sum_by_class(torch.zeros(2, dtype=torch.int64), 1, x, sizes)
    assert found.tolist() == [[4, 9] if sizes else [-2, -5]]
