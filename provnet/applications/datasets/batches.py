"""Data as batches with labels, in a fixed order, from any place on: what a sweep walks through.

Data is a tensor of examples, a pair (examples, labels) of tensors, a `Dataset` of examples or of (example, label), or a
`DataLoader` of such.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, SequentialSampler, Subset, TensorDataset

from provnet.errors import InputError, OptionError, ProvnetError

Batch = tuple[Tensor, Tensor | None]


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches first:last of some data. `count` is the number of all batches, None if nobody knows it."""

    loader: DataLoader[Any]
    count: int | None
    first: int = 0
    last: int | None = None

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        """Yield (number, batch). Raises: `InputError` if the data raises, or gives what is no batch."""
        numbers = range(self.first, 1 << 62 if self.last is None else self.last)
        batches = _raising(self._from_first())
        yield from zip(numbers, batches, strict=False)

    def _from_first(self) -> Iterator[Any]:
        """Begin at the first batch wanted without loading those before, where the order is known."""
        size, loader = self.loader.batch_size, self.loader
        if self.first and size and isinstance(loader.sampler, SequentialSampler):
            rest = Subset(loader.dataset, range(self.first * size, len(loader.dataset)))  # type: ignore[arg-type]
            return iter(
                DataLoader(
                    rest,
                    batch_size=size,
                    num_workers=loader.num_workers,
                    collate_fn=loader.collate_fn,
                    drop_last=loader.drop_last,
                )
            )
        return islice(iter(loader), self.first, None)

    def part(self, rank: int, ranks: int) -> Batches:
        """Return one of `ranks` nearly equal stretches of the batches. Raises `OptionError` if nobody counts them."""
        if self.count is None:
            raise OptionError(
                "data of unknown length (an IterableDataset) cannot be shared among workers: they would all see the "
                "same. Pass a Dataset with a length, or sweep in one process."
            )
        ends = [self.count * k // ranks for k in (rank, rank + 1)]
        return Batches(self.loader, self.count, *ends)

    def after(self, done: int) -> Batches:
        """Return what is left when `done` of these batches are done."""
        return Batches(self.loader, self.count, self.first + done, self.last)


def batches_of(data: Any, batch_size: int, keeps_order: bool) -> Batches:
    """Return data as batches of `batch_size` examples; a `DataLoader` has its own.

    keeps_order   whether the same batches must come again in the same order, for a checkpoint or for workers.
    Raises: `OptionError`, `InputError` for data of another kind, or that is empty.
    """
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise OptionError(f"batch_size={batch_size!r}; expected a whole number from 1 on.")
    loader = data if isinstance(data, DataLoader) else _loader(_dataset(data), batch_size)
    iterable = isinstance(loader.dataset, IterableDataset)
    if keeps_order and not iterable and not isinstance(loader.sampler, SequentialSampler):
        raise OptionError(
            "a checkpoint, or several workers, need the same batches in the same order, and this DataLoader draws "
            f"them with {type(loader.sampler).__name__}. Build it with shuffle=False."
        )
    count = None if iterable else len(loader)
    if count == 0:
        raise InputError("the data holds no example. Pass one or more.")
    return Batches(loader, count)


class _InMemory(TensorDataset):
    """Tensors of all examples, of which a batch is taken at once: stacking its examples costs more than a small model's
    forward pass."""

    def __getitems__(self, numbers: list[int]) -> list[Tensor]:
        """Return a batch, by the numbers of its examples: contiguous, as stacked examples are."""
        if numbers == list(range(numbers[0], numbers[0] + len(numbers))):
            return [tensor[numbers[0] : numbers[-1] + 1].contiguous() for tensor in self.tensors]
        return [tensor[numbers] for tensor in self.tensors]


def _loader(dataset: Any, batch_size: int) -> DataLoader[Any]:
    """Return a loader of batches in the data's order."""
    return DataLoader(dataset, batch_size, collate_fn=_as_it_is if isinstance(dataset, _InMemory) else None)


def _as_it_is(batch: Any) -> Any:
    return batch


def _dataset(data: Any) -> Any:
    if isinstance(data, Tensor):
        return _InMemory(data)
    if isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
        if len(data[0]) != len(data[1]):
            raise InputError(
                f"{len(data[0])} examples came with {len(data[1])} labels. Give one label for each example."
            )
        return _InMemory(*data)
    if isinstance(data, Dataset) or (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        return data
    raise InputError(
        f"the data is a {type(data).__name__}; expected a tensor, a pair (examples, labels) of tensors, a Dataset or a "
        "DataLoader."
    )


def _raising(found: Iterator[Any]) -> Iterator[Batch]:
    done = 0
    while True:
        try:
            batch = next(found)
        except StopIteration:
            return
        except ProvnetError:
            raise
        except Exception as error:
            raise InputError(
                f"the data raised {type(error).__name__} after {done} batches of this run: {error}. Mend or leave out "
                "that example; with checkpoint= the batches before it are kept."
            ) from error
        yield _checked(batch, done)
        done += 1


def _checked(batch: Any, number: int) -> Batch:
    parts = batch if isinstance(batch, tuple | list) else (batch,)
    if not 1 <= len(parts) <= 2 or not all(isinstance(part, Tensor) for part in parts):
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise InputError(f"batch {number} is ({kinds}); expected a tensor of examples, or examples and labels.")
    if len(parts) == 1:
        return parts[0], None
    examples, labels = parts
    if labels.dim() != 1 or len(labels) != len(examples) or labels.is_floating_point() or labels.dtype == torch.bool:
        raise InputError(
            f"batch {number} has labels of shape {list(labels.shape)} and dtype {labels.dtype} for {len(examples)} "
            "examples; expected one whole number for each."
        )
    return examples, labels.to(torch.int64)
