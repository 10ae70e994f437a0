"""What a reproduction finds: claims beside numbers, and the figures that show them, as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

BEYOND = "not in the papers"
"""The source of a claim that is ours."""

Verdict = Literal["holds", "in part", "fails", "no test"]


@dataclass(frozen=True)
class Claim:
    """One claim of the papers.

    source    where it stands.    said   the claim, in our words or theirs.
    found     what was measured, with the numbers, and what would have made it hold.
    verdict   "holds", "in part" or "fails", decided by the numbers; "no test" where these data cannot decide.
    """

    source: str
    said: str
    found: str
    verdict: Verdict


@dataclass(frozen=True)
class FigureFile:
    """A figure's file in the folder of the reproduction, and the sentence below it."""

    file: str
    caption: str


@dataclass(frozen=True)
class NumberTable:
    """Numbers: a title, the names of the columns, and rows of text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass
class Chapter:
    """One section of the page: what was done, its pictures, tables and claims, and how long it took."""

    title: str
    text: str = ""
    pictures: list[FigureFile] = field(default_factory=list)
    tables: list[NumberTable] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    seconds: float = 0.0

    def plain(self) -> dict[str, Any]:
        """Return the chapter as data for JSON."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Chapter:
        """Return the chapter that `plain` describes. Raises: `KeyError`, `TypeError` for other data."""
        return cls(
            plain["title"],
            plain["text"],
            [FigureFile(**one) for one in plain["pictures"]],
            [
                NumberTable(one["title"], tuple(one["columns"]), tuple(map(tuple, one["rows"])))
                for one in plain["tables"]
            ],
            [Claim(**one) for one in plain["claims"]],
            plain["seconds"],
        )


def verdict(holds: bool, partly: bool = False) -> Verdict:
    """Return "holds", else "in part" if `partly`, else "fails"."""
    return "holds" if holds else "in part" if partly else "fails"


def tally_of(claims: Iterable[Claim]) -> dict[str, int]:
    """Return how many claims have each verdict, in the order holds, in part, fails, no test."""
    found = [claim.verdict for claim in claims]
    return {name: found.count(name) for name in ("holds", "in part", "fails", "no test")}
