"""What a circuit was pruned by, and what was left out."""

from __future__ import annotations

from dataclasses import dataclass

from provnet.symbolic.size import spell


@dataclass(frozen=True)
class Pruned:
    """What a circuit was pruned by, and what was left out of the circuit that it was pruned from.

    how     what was kept, in words.
    edges, all_edges   variables that the gates use; paths, all_paths   over all roots, exact; None: not counted.
    share   Σ |value| of the paths kept over that of all paths, over all roots together, in `semiring`; None where it
            has no meaning or there are no values.
    """

    how: str
    edges: int
    all_edges: int
    paths: int | None = None
    all_paths: int | None = None
    share: float | None = None
    semiring: str = "real"

    @property
    def left_out(self) -> str:
        """What was left out, as a sentence."""
        parts = [f"{self.all_edges - self.edges:,} of {self.all_edges:,} edges"]
        if self.paths is not None and self.all_paths is not None:
            parts.append(f"{spell(self.all_paths - self.paths)} of {spell(self.all_paths)} paths")
        if self.share is not None:
            parts.append(f"{percent(1 - self.share)} of Σ|value| in {self.semiring}")
        return f"left out: {', '.join(parts)}"

    def __str__(self) -> str:
        return f"{self.how}; {self.left_out}"


def percent(share: float) -> str:
    return f"{max(share, 0.0):.2%}"


def joined(before: Pruned | None, now: Pruned) -> Pruned:
    """Return what two prunings, one after the other, left out of the first circuit."""
    if before is None:
        return now
    both = before.share is not None and now.share is not None and before.semiring == now.semiring
    return Pruned(
        f"{before.how}, then {now.how}",
        now.edges,
        before.all_edges,
        None if before.all_paths is None else now.paths,
        before.all_paths,
        before.share * now.share if both else None,  # type: ignore[operator]
        now.semiring,
    )
