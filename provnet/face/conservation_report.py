"""Where the relevance went, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from provnet.circuit.blocks import BlockCircuit
from provnet.errors import ProvnetError
from provnet.notebook import card
from provnet.semirings.base import Semiring
from provnet.torch_backend.walk.evaluate import Evaluation, WalkQuestion
from provnet.torch_backend.walk.unit_edges import has_constants
from provnet.torch_backend.walk.workspace import Workspace


@dataclass(frozen=True, eq=False)
class LayerAccount:
    """One block's account, elements [batch] (or [targets, batch]): came = passed ⊕ bias ⊕ lost, if it conserves."""

    path: str
    op: str
    came: Tensor
    passed: Tensor
    bias: Tensor | None
    lost: Tensor | None
    given: Tensor
    """passed ⊕ bias: what left the block by its edges."""
    sinks: Mapping[str, Tensor] = field(default_factory=dict)
    """Where the rest went, by name: "bias", or the op that made it of a traced tensor ("sign_1"); "undefined"
    (neurons without a defined edge: z = 0, dead windows);
    "stabiliser" (what ε took); "rule" (what the rule itself does not pass on: an empty pool of alpha-beta, a gradient);
    "constant" (entries that no input feeds: what cat, where, masked_fill or a padding put there);
    "softmax's rest" (softmax="attnlrp"); "constant softmax"; "full products" (what products="full" makes: less than 0);
    "dropped" (what `only=` kept back)."""

    def residual(self) -> float:
        """Return the largest difference between what came and what was given, over examples (inf: one is infinite)."""
        return difference(self.came, self.given)


def difference(x: Tensor, y: Tensor) -> float:
    """Return max |x - y|, 0 where both are equal (infinities included)."""
    if not x.numel():
        return 0.0
    gap = (x.to(torch.float64) - y.to(torch.float64)).abs()
    return float(torch.where(x == y, torch.zeros_like(gap), gap.nan_to_num(nan=torch.inf)).max())


@dataclass(frozen=True, eq=False)
class Conservation:
    """The report: layers from the target down, and the whole: its start, and ⊕ inputs ⊕ biases ⊕ lost."""

    semiring: str
    layers: tuple[LayerAccount, ...]
    start: Tensor
    inputs: Tensor
    sinks: Tensor
    total: Tensor
    _named: Mapping[str, Tensor] = field(default_factory=dict)

    def residual(self) -> float:
        """Return the largest difference over examples between the start and what is accounted for."""
        return difference(self.start, self.total)

    @property
    def named(self) -> dict[str, Tensor]:
        """The ⊕ over all layers of each named sink."""
        return dict(self._named)

    def holds(self, tolerance: float = 1e-4) -> bool:
        """Whether the whole is accounted for, within an absolute `tolerance`."""
        return self.residual() <= tolerance

    def check(self, tolerance: float = 1e-4) -> None:
        """Raise `ProvnetError`, with the first layer that does not conserve, if the whole is not accounted for.

        tolerance   the largest residual that is accepted.
        """
        if not self.holds(tolerance):
            guilty = next((layer for layer in self.layers if layer.residual() > tolerance), None)
            where = f" First at {guilty.path!r}: off by {guilty.residual():.3g}." if guilty else ""
            raise ProvnetError(f"relevance is not conserved: off by {self.residual():.3g} in {self.semiring!r}.{where}")

    def __repr__(self) -> str:
        return f"Conservation({self.semiring}: {len(self.layers)} layers, residual {self.residual():.3g})"

    def _repr_html_(self) -> str:
        rows = [
            [layer.path, layer.op, *map(_number, (layer.came, layer.passed, layer.bias, layer.lost))]
            for layer in self.layers
        ]
        sinks = [f"sink {name}: {_number(taken)}" for name, taken in self._named.items()]
        lines = [f"residual {self.residual():.3g}", *str(self).splitlines()[-1:], *sinks]
        columns = ["block", "op", "came", "inputs", "bias", "lost"]
        return card(f"Conservation in {self.semiring}", lines, columns, rows)

    def __str__(self) -> str:
        lines = [f"{'block':<24} {'op':<28} {'came':>12} {'inputs':>12} {'bias':>12} {'lost':>12}"]
        for layer in self.layers:
            numbers = " ".join(f"{_number(x):>12}" for x in (layer.came, layer.passed, layer.bias, layer.lost))
            lines.append(f"{layer.path:<24.24} {layer.op:<28.28} {numbers}")
        lines += [f"{'':<24} sink {name}: {_number(taken)}" for name, taken in self._named.items()]
        lines.append(
            f"start {_number(self.start)} | inputs {_number(self.inputs)} ⊕ sinks {_number(self.sinks)} = "
            f"{_number(self.total)}"
        )
        return "\n".join(lines)


def _number(x: Tensor | None) -> str:
    """Show the first example's element, and that there are more."""
    if x is None:
        return "-"
    flat = x.reshape(-1)
    shown = flat[0].item() if flat.numel() else "-"
    return (f"{shown:.5g}" if isinstance(shown, float) else str(shown)) + (" …" if flat.numel() > 1 else "")


def conservation_of(
    circuit: BlockCircuit,
    semiring: Semiring,
    evaluations: list[Evaluation],
    jobs: Sequence[WalkQuestion],
    workspace: Workspace,
) -> Conservation:
    """Return the report of evaluations (one a target) that kept every activation."""
    reports = [_one(circuit, semiring, e, job, workspace) for e, job in zip(evaluations, jobs, strict=True)]
    return reports[0] if len(reports) == 1 else _stacked(reports)


def _one(
    circuit: BlockCircuit, semiring: Semiring, evaluation: Evaluation, job: WalkQuestion, workspace: Workspace
) -> Conservation:
    layers, named, show = [], {}, partial(_shown, semiring)
    sinks: Tensor | None = None
    for index in reversed(range(len(circuit.blocks))):
        block = circuit.blocks[index]
        if block.output not in evaluation.relevance or index not in evaluation.passed:
            continue
        came = semiring.sum(evaluation.relevance[block.output], 1)
        passed, bias, lost = evaluation.passed[index], evaluation.bias.get(index), evaluation.lost.get(index)
        given = passed if bias is None else semiring.plus(passed, bias)
        if semiring.ring:
            lost = semiring.monus(came, given)
        parts = {} if bias is None else {block.bias_name or block.sink or "bias": bias}
        parts |= _lost_by_name(workspace, index, job, evaluation.relevance[block.output], lost)
        for taken in (bias, lost):
            if taken is not None:
                sinks = taken if sinks is None else semiring.plus(sinks, taken)
        _join(semiring, named, parts)
        taken = {name: show(x) for name, x in parts.items()}
        layers.append(
            LayerAccount(block.path, block.op, show(came), show(passed), show(bias), show(lost), show(given), taken)
        )
    for dropped in evaluation.dropped.values():
        sinks = dropped if sinks is None else semiring.plus(sinks, dropped)
        _join(semiring, named, {"dropped": dropped})
    start = semiring.sum(job.start, 1)
    zero = semiring.full((len(start),), semiring.zero, start)
    inputs = zero
    for source in circuit.sources:
        if source in evaluation.relevance:
            inputs = semiring.plus(inputs, semiring.sum(evaluation.relevance[source], 1))
    sinks = zero if sinks is None else sinks
    return Conservation(
        semiring.name,
        tuple(layers),
        show(start),
        show(inputs),
        show(sinks),
        show(semiring.plus(inputs, sinks)),
        {name: show(x) for name, x in named.items()},
    )


def _shown(semiring: Semiring, x: Any) -> Any:
    """Return a total as the report holds it: exact counts, which are residues, as float64. None stays None."""
    if x is None or not semiring.residues:
        return x
    return torch.from_numpy(semiring.decode(x).astype(np.float64)).to(x.device)


def _join(semiring: Semiring, named: dict[str, Tensor], parts: Mapping[str, Tensor]) -> None:
    for name, taken in parts.items():
        named[name] = semiring.plus(named[name], taken) if name in named else taken


def _lost_by_name(
    workspace: Workspace, index: int, job: WalkQuestion, relevance: Tensor, lost: Tensor | None
) -> dict[str, Tensor]:
    """Return what was lost at a block, by name. Outside of the rings it is the undefined neurons' alone."""
    if lost is None:
        return {}
    block = workspace.circuit.blocks[index]
    if has_constants(block):
        return {block.sink or "constant": lost}
    if not job.semiring.ring:
        return {"undefined": lost}
    if not block.has_coefficients:
        return {"rule": lost} if workspace.choice(index, job.rule).rule.units else {}
    rule = workspace.choice(index, job.rule).rule
    remainder = block.sink if block.sink and block.bias is None else rule.remainder
    undefined = workspace.prepared(index, job.rule).undefined()
    if undefined is None:
        return {remainder: lost}
    mask = undefined[(...,) + (None,) * len(job.semiring.element_shape)]
    zero = job.semiring.full((), job.semiring.zero, relevance)
    undefined = job.semiring.sum(torch.where(mask, relevance, zero), 1)
    return {"undefined": undefined, remainder: job.semiring.monus(lost, undefined)}


def _stacked(reports: list[Conservation]) -> Conservation:
    def stack(parts: Sequence[Tensor | None]) -> Tensor | None:
        return None if any(part is None for part in parts) else torch.stack([p for p in parts if p is not None])

    def stack_named(each: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        zero = torch.zeros_like(reports[0].start)
        names = dict.fromkeys(name for named in each for name in named)
        return {name: torch.stack([named.get(name, zero) for named in each]) for name in names}

    layers = tuple(
        LayerAccount(
            row[0].path,
            row[0].op,
            torch.stack([layer.came for layer in row]),
            torch.stack([layer.passed for layer in row]),
            stack([layer.bias for layer in row]),
            stack([layer.lost for layer in row]),
            torch.stack([layer.given for layer in row]),
            stack_named([layer.sinks for layer in row]),
        )
        for row in zip(*(report.layers for report in reports), strict=True)
    )
    whole = [torch.stack([getattr(r, name) for r in reports]) for name in ("start", "inputs", "sinks", "total")]
    start, inputs, sinks, total = whole
    return Conservation(
        reports[0].semiring, layers, start, inputs, sinks, total, stack_named([r._named for r in reports])
    )
