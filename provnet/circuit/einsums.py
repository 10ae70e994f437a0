"""The wiring of a contraction z = Σ a·w along named axes, as `torch.einsum` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from string import ascii_letters
from typing import Any, ClassVar

from provnet.circuit.wiring import Index, Wiring


@dataclass(frozen=True)
class Einsum(Wiring):
    """z[out] = sum over the labels that `out` lacks of a[input] * w[weight], as in torch.einsum: every product of two
    tensors, elementwise, broadcast or contracted.

    Labels are letters; `sizes` gives each one's size, and `input`, `weight` and `output` list the labels along which
    a tensor of one example lies, row-major. A slot is a place along the labels of `input` and `weight` that `output`
    lacks, in the order of `summed`.

        Example: `einsum_wiring("htd", "hsd", "hts", {"h": 12, "t": 197, "s": 197, "d": 64})`, a head's scores
    """

    input: str = ""
    weight: str = ""
    output_labels: str = ""
    sizes: tuple[tuple[str, int], ...] = ()

    unit: ClassVar[bool] = True

    @property
    def feeds_all(self) -> bool:
        return True

    @cached_property
    def size(self) -> dict[str, int]:
        """The size of every label."""
        return dict(self.sizes)

    @property
    def summed(self) -> str:
        """The labels of a slot."""
        inner = dict.fromkeys(self.input + self.weight)
        return "".join(label for label in inner if label not in self.output_labels)

    def _digit(self, number: Index, labels: str, label: str) -> Index:
        at = labels.index(label)
        return number // prod(self.size[x] for x in labels[at + 1 :]) % self.size[label]

    def _flat(self, labels: str, output: Index, slot: Index) -> Index:
        found = 0 * output + 0 * slot
        for at, label in enumerate(labels):
            inside = label in self.output_labels
            number, over = (output, self.output_labels) if inside else (slot, self.summed)
            step = prod(self.size[x] for x in labels[at + 1 :])
            found = found + self._digit(number, over, label) * step
        return found

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        return self._flat(self.input, output, slot), True, self._flat(self.weight, output, slot)


def einsum_wiring(input: str, weight: str, output: str, sizes: Mapping[str, int], repeated: bool = False) -> Einsum:
    """Return the wiring in which a tensor that lies along `input` meets weights that lie along `weight`.

    Raises: `ValueError` for a label of the output that neither has, unless results are `repeated` along such labels.
    """
    labels = dict.fromkeys(input + weight + output)
    if not repeated and set(output) - set(input + weight):
        raise ValueError(f"the output's labels {output!r} are not all among {input!r} and {weight!r}")
    slots = [label for label in labels if label not in output]
    wide = {label: sizes[label] for label in labels}
    every = all(label in input for label, size in wide.items() if size > 1)
    return Einsum(
        inputs=prod(wide[label] for label in input),
        outputs=prod(wide[label] for label in output),
        fan=prod(wide[label] for label in slots),
        # Where the input has every label, each (output, slot) reads a neuron of its own.
        taps=prod(wide[label] for label in slots) if every else None,
        input=input,
        weight=weight,
        output_labels=output,
        sizes=tuple(wide.items()),
    )


ROWS = ("oj", "okj", "ok")
ROWS_BESIDE = ("ojb", "obkj", "okb")
"""Labels of input, weights and output where each row of entries j feeds its own entries k: row after row, or rows side
by side, as along an axis that is not the last."""


def within_rows(rows: int, size: int, behind: int = 1) -> Einsum:
    """Return the wiring of an op that mixes the `size` entries of a row, of rows * behind rows."""
    sizes = {"o": rows, "j": size, "k": size, "b": behind}
    return einsum_wiring(*(ROWS if behind == 1 else ROWS_BESIDE), sizes)


def spread(part: tuple[int, ...], shape: tuple[int, ...]) -> Einsum:
    """Return the wiring in which a tensor of the shape `part` is broadcast to `shape`, one weight for all edges."""
    labels = ascii_letters[: len(shape)]
    aligned = zip(labels[len(labels) - len(part) :], part, strict=True)
    kept = "".join(label for label, size in aligned if size > 1)
    return einsum_wiring(kept, "", labels, dict(zip(labels, shape, strict=True)), repeated=True)


def permuted(shape: tuple[int, ...], order: tuple[int, ...]) -> Einsum:
    """Return the wiring of a tensor of the shape `shape` whose axes are brought into `order`, as torch.permute does."""
    labels = ascii_letters[: len(shape)]
    sizes = dict(zip(labels, shape, strict=True))
    return einsum_wiring(labels, "", "".join(labels[axis] for axis in order), sizes)
