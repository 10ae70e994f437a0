"""The ways out that other batches and whole datasets name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import provnet
from provnet import semirings
from provnet.applications.datasets.sketch import LIMIT, SIZE
from provnet.applications.perturbation import attack
from provnet.applications.subnetworks import subnetworks
from provnet.errors import (
    CountOverflowError,
    InputError,
    LimitError,
    OptionError,
    OutputError,
    ReplayError,
    StaleCircuitError,
    TargetError,
    UnsupportedOperationError,
)
from tests.advice.refusals import X, answer, dense, refused
from tests.advice.sites import follows

MORE = torch.tensor([[2.0, 1.0, 1.0], [1.0, 3.0, 2.0], [1.0, 1.0, 4.0]], dtype=torch.float64)


class Doubled(nn.Module):
    """A layer between ways for every example, and ways that do not hold for other batches."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.layer, self.way = dense(3, 2), way
        self.heard: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "values" and bool(x.sum() > 0):
            x = x * 2
        if self.way == "constants" and len(x) == 2:
            x = x + torch.ones(2, 3, dtype=torch.float64)
        if self.way == "ops" and len(x) > 2:
            x = torch.relu(x)
        made = self.layer(x)
        if self.way == "formula":
            made = made / len(x)
        if self.way == "heard":
            made = made.relu()
            self.heard.append(made)
        return made


@follows(
    "Trace each batch: provnet.trace(model, x).",
    "Trace the new batch with provnet.trace, or pass {} examples.",
    "or in another order. Trace the new batch with provnet.trace.",
    "a mode, a hook). Trace the new batch with provnet.trace.",
)
@pytest.mark.filterwarnings("ignore::provnet.errors.TraceWarning")
@pytest.mark.parametrize("way", ["values", "constants", "ops", "formula"])
def test_a_batch_that_a_recording_does_not_fit_is_traced(way: str):
    model = Doubled(way).eval()
    circuit = provnet.trace(model, X)
    message = refused(lambda: circuit.on(MORE), ReplayError)
    assert "provnet.trace" in message
    answer(provnet.trace(model, MORE))
    if "or pass 2 examples" in message:
        answer(circuit.on(MORE[:2]))


@follows("may differ. Trace the new shape with provnet.trace.")
def test_another_shape_is_traced():
    model = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool1d(1)).eval()
    circuit, wider = provnet.trace(model, X[:, None]), torch.cat([X, X], 1)[:, None]
    assert "provnet.trace" in refused(lambda: circuit.on(wider), InputError)
    answer(provnet.trace(model, wider))


@follows("so it cannot take another input. Trace it: provnet.trace(model, x).")
def test_a_loaded_circuit_is_traced_for_another_input(tmp_path: Path):
    model = dense(3, 2)
    provnet.save(provnet.trace(model, X), tmp_path / "circuit")
    loaded: Any = provnet.load(tmp_path / "circuit")
    for circuit in (loaded, provnet.trace(model, X, differentiable=True)):
        assert "provnet.trace(model, x)" in refused(lambda circuit=circuit: circuit.on(MORE), ReplayError)
    answer(provnet.trace(model, MORE))


@follows("Trace again, or trace with copy=True to keep the old weights.")
def test_a_model_that_changed_is_traced_again_or_copied():
    model: Any = nn.Sequential(dense(3, 2))
    model.double().eval()
    circuit, copied = provnet.trace(model, X), provnet.trace(model, X, copy=True)
    model[0] = dense(3, 2)
    assert "copy=True" in refused(lambda: circuit.on(MORE), StaleCircuitError)
    answer(copied.on(MORE))
    answer(provnet.trace(model, MORE))


@follows("Trace again, and change a copy: t.clone().")
def test_a_recorded_tensor_is_copied_before_it_is_changed():
    model: Any = nn.Sequential(dense(3, 2), nn.ReLU()).double().eval()
    given = []
    circuit = provnet.trace(lambda x: (given.append(model(x)), given[-1])[1], X)  # as a model that keeps its output
    held = circuit.outputs[0]
    given[0].data.mul_(2)
    assert "t.clone()" in refused(lambda: circuit.evaluate("real", 0), StaleCircuitError)
    again = provnet.trace(model, X)
    again.outputs[0].clone().mul_(2)
    answer(again)
    assert held.shape == (2, 2)


@follows("Name one: at='fc1'.")
def test_some_tensor_is_named_where_sources_are_not_kept():
    circuit = provnet.trace(dense(3, 4, 2), X)
    assert "at='fc1'" in refused(lambda: circuit.evaluate("real", 0, sources=False), OptionError)
    assert circuit.evaluate("real", 0, sources=False, at="0")["0"].any()


# -- whole datasets ----------------------------------------------------------------------------------------------------

EIGHT = torch.cat([X, MORE, MORE])
LABELS = torch.tensor([0, 1] * 4)


def sweep(semiring: Any = "real", data: Any = (EIGHT, LABELS), **options: Any) -> provnet.Tally:
    settings: dict[str, Any] = {"target": 0} | options
    return provnet.sweep(dense(3, 2), data, semiring, **settings)


@follows("Build it with shuffle=False.")
def test_a_loader_that_keeps_its_order(tmp_path: Path):
    data = TensorDataset(EIGHT, LABELS)
    options = {"checkpoint": tmp_path / "sweep"}
    assert "shuffle=False" in refused(lambda: sweep(data=DataLoader(data, 4, shuffle=True), **options), OptionError)
    assert len(sweep(data=DataLoader(data, 4, shuffle=False), **options).states)


@follows("Mend or leave out that example; with checkpoint= the batches before it are kept.")
def test_a_bad_example_is_mended(tmp_path: Path):
    class Examples(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
        def __init__(self, bad: bool) -> None:
            self.bad, self.read = bad, []

        def __len__(self) -> int:
            return len(EIGHT)

        def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
            self.read.append(number)
            if self.bad and number == 6:
                raise OSError("truncated")
            return EIGHT[number], LABELS[number]

    options = {"checkpoint": tmp_path / "sweep", "batch_size": 2}
    assert "checkpoint=" in refused(lambda: sweep(data=Examples(bad=True), **options), InputError)
    mended = Examples(bad=False)
    found = sweep(data=mended, **options)
    assert min(mended.read) == 6, "the batches before it were kept"
    whole = sweep(batch_size=2)
    assert all(torch.equal(found.states[key], state) for key, state in whole.states.items())


@follows("Sweep with by=None and a target that fits.", "expected by=None, 'label' or 'predicted'")
def test_an_output_without_classes_is_not_told_apart_by_class():
    model, data = nn.ReLU(), EIGHT[:, None].expand(-1, 2, -1)
    assert "by=None" in refused(lambda: provnet.sweep(model, data, "real", (0, 0), by="predicted"), TargetError)
    assert "by=None" in refused(lambda: provnet.sweep(model, data, "real", (0, 0), by=cast(Any, "class")), OptionError)
    assert len(provnet.sweep(model, data, "real", (0, 0), by=None).states)
    assert len(sweep(by="label").states) and len(sweep(by="predicted").states)


@follows(
    "Sweep with semiring=provnet.semirings.Counting('float64'), or fewer examples at a time.",
    "⊕ over this dataset exceeds 2^62. Sweep with semirings.Counting('float64').",
    "exact counts have no tensor to fold into. Sweep with semirings.Counting('float64')",
)
@pytest.mark.parametrize(("counts", "fold"), [("raise", "mean"), ("raise", "plus"), ("exact", "mean")])
def test_sums_of_counts_that_are_too_large_are_taken_in_doubles(counts: str, fold: str):
    model = nn.Sequential(*(dense(width, 256) for width in [3] + [256] * 7)).double().eval()  # 2^56 paths an example
    data = EIGHT[:1].repeat(128, 1)

    def found(overflow: str) -> provnet.Tally:
        semiring = semirings.Counting(overflow)  # type: ignore[arg-type]
        return provnet.sweep(model, data, semiring, 0, combine=fold, batch_size=32)

    assert "Counting('float64')" in refused(lambda: found(counts), (CountOverflowError, UnsupportedOperationError))
    (state,) = found("float64").states.values()
    assert torch.equal(state.double().flatten(), torch.full((3,), 2.0**63, dtype=torch.float64))


@follows("Take a smaller tensor, over='positions', or by=None.")
def test_a_sketch_is_made_smaller():
    class Wide(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.expand(-1, 16, size, size).mean((2, 3))

    size = int((LIMIT / SIZE / 16) ** 0.5) + 1
    data = torch.rand(2, 16, size, size)

    def found(**options: Any) -> provnet.Tally:
        return provnet.sweep(Wide(), data, "real", 0, combine=["quantiles"], **options)

    assert "over='positions'" in refused(found, LimitError)
    assert len(found(over="positions").states)


@follows("Choose another with port=, or leave it out and get a free one.")
def test_another_port_is_chosen():
    circuit = provnet.trace(dense(3, 2), X)
    with circuit.studio(browser=False) as first:
        port = int(first.url.split(":")[2].split("/")[0])
        assert "port=" in refused(lambda: circuit.studio(port=port, browser=False), OutputError)
        with circuit.studio(browser=False) as second:
            assert second.url != first.url


@follows("leave semiring= out.", "Name parameters: weights=['fc.weight'].")
def test_a_subnetwork_is_asked_for_as_the_message_says():
    model, data = dense(3, 2), (X, torch.tensor([0, 1]))
    assert "semiring=" in refused(lambda: subnetworks(model, data, semiring="real"), OptionError)
    assert "weights=['fc.weight']" in refused(lambda: subnetworks(model, data, weights=[]), OptionError)
    assert "0.weight" in subnetworks(model, data, weights=["0.weight"])[0].weights


@follows("a temperature above 0.")
def test_chances_are_asked_for_as_the_message_says():
    model, scores = dense(3, 2), torch.rand(2, 3, dtype=torch.float64)
    assert "0 to 3 inputs" in refused(lambda: attack(model, X, scores, count=4), OptionError)
    cases: list[dict[str, Any]] = [{"draws": 0}, {"temperature": 0.0}]
    for wrong in cases:
        assert "draws from 1 on" in refused(lambda wrong=wrong: attack(model, X, scores, count=1, **wrong), OptionError)
    assert attack(model, X, scores, count=3, draws=1, temperature=0.5).shape == (1, 2)
