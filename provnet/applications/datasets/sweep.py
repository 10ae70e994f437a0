"""`sweep`: relevance of a whole dataset, folded as it goes, in constant memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from os import PathLike
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from provnet.applications.datasets.batch_choice import batch_choice
from provnet.applications.datasets.batches import Batches, batches_of
from provnet.applications.datasets.checkpoint import Checkpoint, checkpoint_at
from provnet.applications.datasets.circuit_feed import CircuitFeed, checked_labels, scores_of
from provnet.applications.datasets.folds import FOLDS
from provnet.applications.datasets.processes import Ranks, started
from provnet.applications.datasets.tally import Tally
from provnet.errors import OptionError, UnknownNameError, UnsupportedOperationError
from provnet.face import Circuit
from provnet.face.neuron_names import items_of, tensors_at
from provnet.semirings.base import Semiring, fingerprint
from provnet.semirings.lookup import get as get_semiring

OVER = ("positions",)


def sweep(
    model: Any,
    data: Any,
    semiring: str | Semiring | Sequence[str | Semiring] = "real",
    target: Any = "predicted",
    at: str | Iterable[str] | None = None,
    combine: str | Sequence[str] = "mean",
    by: Literal["label", "predicted"] | None = None,
    over: Literal["positions"] | None = None,
    batch_size: int | None = None,
    checkpoint: str | PathLike[str] | None = None,
    progress: bool = True,
    trace_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Tally:
    """Return the relevance of a dataset's examples, folded over them, as a `Tally`.

    Each batch's circuit is evaluated once for all semirings and tensors and then let go, so memory does not grow with
    the dataset. Under `torchrun` each process takes a stretch of the batches, and all get the tally of the whole.

    model       a module in evaluation mode, or a function of one tensor.
    data        a tensor [examples, …], a pair (examples, labels), a `Dataset` of examples or (example, label), or a
                `DataLoader` of batches of these.
    semiring    name or object, or several.
    target      "predicted", "label", a class for all, or whatever `Circuit.evaluate` takes for every batch.
    at          tensors, by path or glob, and parameters that `trace_options={"sources": …}` names; None: the sources.
                The walk ends at the deepest of them.
    combine     folds over examples, one or several: "plus" (⊕), "mean", "mean_abs", "mean_finite", "min", "max",
                "any" (∨), "all" (∧), "frequency", "count", "quantiles". Relevant means: not the semiring's zero.
    by          keep classes apart: those of the labels, or those predicted. None: all examples are one class.
    over        "positions": ⊕ over all axes behind the first, so that a convolution's channels get one element each.
    batch_size  examples at a time, where data is no DataLoader; None: as many as 256 MiB hold with their activations
                and relevance, 64 to 2048, for which one example is traced first. The result does not depend on it:
                exact semirings to the bit, floats to the rounding of sums in float64 and of the model's own products.
    checkpoint  a file. It is written after each batch, so that a run that was cut short loses at most one batch, and
                the same call goes on from it, to the same bits. Each of several processes has its own.
    progress    show a bar on a terminal.     trace_options   for `provnet.trace` (opaque=, lean=, …).
    options     for `Circuit.evaluate` (rule=, annotation=, pooling=, dtype=, …).

    Raises: `InputError` for data that cannot be read, labels that are no classes, examples of another shape;
    `OptionError`, `UnknownNameError`; `OutputError` if the checkpoint cannot be written; `WorkerError`; and whatever
    `trace` and `evaluate` raise.
    Memory: one batch's circuit and the tally.
    Example: `provnet.sweep(model, (images, labels), "boolean", "label", combine=["any", "all"], by="label")`
    """
    semirings = _labelled(semiring)
    folds = _folds(combine)
    if by not in (None, "label", "predicted") or over not in (None, *OVER):
        raise OptionError(
            f"by={by!r}, over={over!r}: expected by=None, 'label' or 'predicted', over=None, 'positions'."
        )
    if not isinstance(progress, bool):
        raise OptionError(f"progress={progress!r} is neither True nor False.")
    with started() as ranks:
        if batch_size is None:
            asked = {"target": target, "start": options.get("start")}
            batch_size = batch_choice(model, data, trace_options or {}, asked, len(semirings), ranks.count)
        batches = batches_of(data, batch_size, keeps_order=checkpoint is not None or ranks.count > 1)
        batches = batches if ranks.count == 1 else batches.part(ranks.rank, ranks.count)
        question = _SweepQuestion(semirings, target, at, folds, by, over, options)
        settings = question.settings(batch_size, batches)
        walk = _BatchWalk(CircuitFeed(model, trace_options or {}), question, settings, batches, progress)
        kept = None
        if checkpoint is not None:
            own = {**settings, "model": _digest(model)}
            kept = checkpoint_at(checkpoint, own, ranks.rank, ranks.count)
        return _joined(walk, kept, ranks)


def _joined(walk: _BatchWalk, kept: Checkpoint | None, ranks: Ranks) -> Tally:
    failure: BaseException | None = None
    tally: Tally | None = None
    try:
        with nullcontext() if kept is None else kept.locked():
            tally = walk.run(kept)
    except Exception as error:
        failure = error
    ranks.agree(failure)
    if failure is not None:
        raise failure
    assert tally is not None
    return ranks.gather(tally)


class _SweepQuestion:
    """What is asked of every batch."""

    def __init__(
        self,
        semirings: Mapping[str, Semiring],
        target: Any,
        at: Any,
        folds: tuple[str, ...],
        by: str | None,
        over: str | None,
        options: Mapping[str, Any],
    ) -> None:
        self.semirings, self.target, self.at = semirings, target, at
        self.folds, self.by, self.over, self.options = folds, by, over, options

    def names(self, circuit: Circuit) -> list[str]:
        """Return the names of the tensors that are asked for, each once, in the order of execution; then parameters."""
        data = circuit.session.data
        asked = None if self.at is None else items_of(self.at)
        parameters = [name for name in data.parameters if asked is None or name in asked]
        others = None if asked is None else [item for item in asked if item not in parameters]
        chosen = frozenset(data.sources) if others is None else tensors_at(data, others)
        return [held.name for number, held in data.activations.items() if number in chosen] + parameters

    def answer(
        self, circuit: Circuit, names: list[str], labels: Tensor | None, number: int
    ) -> dict[tuple[str, str], Tensor]:
        """Return (semiring, tensor) -> [batch, *neurons, *element]."""
        target = self.target
        if isinstance(target, str) and target == "label":
            target = checked_labels(labels, scores_of(circuit).shape[1], number)
        sources = self.at is None
        results = circuit.evaluate(
            list(self.semirings.values()), target, at=None if sources else names, sources=sources, **self.options
        )
        found = {}
        for (label, algebra), result in zip(self.semirings.items(), results, strict=True):
            for name in names:
                x = result.by_example(name)
                found[label, name] = x if self.over is None else over_positions(algebra, x)
        return found

    def classes(self, circuit: Circuit) -> int:
        """Return how many classes are kept apart."""
        return 1 if self.by is None else scores_of(circuit).shape[1]

    def classes_of(self, circuit: Circuit, labels: Tensor | None, number: int) -> Tensor:
        """Return the class of each example."""
        if self.by is None:
            return torch.zeros(circuit.batch, dtype=torch.int64)
        scores = scores_of(circuit)
        return checked_labels(labels, scores.shape[1], number) if self.by == "label" else scores.max(1).indices

    def settings(self, batch_size: int, batches: Batches) -> dict[str, Any]:
        """Return as plain data what a result depends on."""
        return {
            "semirings": [str(semiring.key()) for semiring in self.semirings.values()],
            "target": str(fingerprint(self.target)),
            "at": self.at if self.at is None or isinstance(self.at, str) else list(self.at),
            "folds": list(self.folds),
            "by": self.by,
            "over": self.over,
            "options": {key: str(fingerprint(value)) for key, value in sorted(self.options.items())},
            "batch_size": batches.loader.batch_size or batch_size,
            "batches": [batches.count, batches.first, batches.last],
        }


def over_positions(semiring: Semiring, x: Tensor) -> Tensor:
    """Return the ⊕ over all axes behind the channels': [batch, channels, *element]."""
    axes = len(semiring.element_shape)
    while x.dim() - axes > 2:
        x = semiring.sum(x, 2)
    return x


class _BatchWalk:
    """One process's way through its batches."""

    def __init__(
        self, feed: CircuitFeed, question: _SweepQuestion, settings: Mapping[str, Any], batches: Batches, progress: bool
    ) -> None:
        self._feed, self._question, self._settings = feed, question, settings
        self._batches, self._progress = batches, progress
        self._names: list[str] | None = None

    def run(self, kept: Checkpoint | None) -> Tally:
        """Add all batches that a checkpoint has not got yet, and return the tally."""
        tally: Tally | None = None
        done, last = 0, self._batches.last
        if kept is not None and kept.path.exists():
            done, tally = kept.read(self._empty((), 1))
            self._names = list(tally.tensors)
        total = self._batches.count if last is None else last - self._batches.first
        # None: shown on a terminal only.
        with tqdm(total=total, initial=done, unit="batch", disable=None if self._progress else True) as bar:
            for number, (examples, labels) in self._batches.after(done):
                circuit = self._feed.on(examples, number)
                names = self._names = self._names or self._question.names(circuit)
                if tally is None:
                    tally = self._empty(tuple(names), self._question.classes(circuit))
                classes = self._question.classes_of(circuit, labels, number)
                tally.add(self._question.answer(circuit, names, labels, number), classes)
                done += 1
                if kept is not None:
                    kept.write(done, tally)
                bar.update()
        return self._empty((), 1) if tally is None else tally

    def _empty(self, names: tuple[str, ...], classes: int) -> Tally:
        return Tally(self._question.semirings, names, self._question.folds, classes, self._settings)


def _labelled(given: Any) -> dict[str, Semiring]:
    found: dict[str, Semiring] = {}
    for one in given if isinstance(given, list | tuple) else [given]:
        semiring = get_semiring(one)
        if semiring.residues:
            raise UnsupportedOperationError(
                "exact counts have no tensor to fold into. Sweep with semirings.Counting('float64'), which is exact "
                "below 2^53, or evaluate batch by batch."
            )
        taken = sum(label.partition("#")[0] == semiring.name for label in found)
        found[f"{semiring.name}#{taken}" if taken else semiring.name] = semiring
    if not found:
        raise OptionError("semiring=[] asks nothing. Name one.")
    return found


def _folds(given: Any) -> tuple[str, ...]:
    names = tuple(dict.fromkeys([given] if isinstance(given, str) else given))
    for name in names:
        if name not in FOLDS:
            raise UnknownNameError(f"no fold is called {name!r}. Known: {', '.join(FOLDS)}.")
    if not names:
        raise OptionError("combine=[] folds nothing. Name a fold, such as 'mean'.")
    return names


def _digest(model: Any) -> str:
    """Return what tells two models' weights apart."""
    found = hashlib.sha256()
    state = model.state_dict() if isinstance(model, nn.Module) else {}
    for name, tensor in state.items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
