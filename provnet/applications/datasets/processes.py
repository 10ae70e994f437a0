"""Several processes, as `torchrun` starts them: who does what, and how what they found is joined."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from provnet.applications.datasets.tally import Tally
from provnet.applications.datasets.tensor_file import from_bytes, to_bytes
from provnet.errors import WorkerError


@dataclass(frozen=True)
class Ranks:
    """This process is number `rank` of `count`."""

    rank: int
    count: int

    def gather(self, tally: Tally) -> Tally:
        """Return the tally of all processes, joined in the order of their ranks: the same everywhere.

        What goes between processes are safetensors, no pickles. Raises `WorkerError` if a process is gone.
        """
        if self.count == 1:
            return tally
        data = torch.frombuffer(bytearray(to_bytes(tally.plain(), tally.tensors_by_name())), dtype=torch.uint8)
        known = {semiring.name: semiring for semiring in tally.semirings.values()}
        tallies = [
            Tally.from_plain(*from_bytes(part.cpu().numpy().tobytes(), f"rank {rank}"), known, f"rank {rank}")
            for rank, part in enumerate(self._exchanged(data.to(_device())))
        ]
        found = tallies[0]
        for other in tallies[1:]:
            found = found + other
        return found

    def agree(self, error: BaseException | None) -> None:
        """Wait for all processes, and raise `WorkerError` in those without an error if any has one."""
        if self.count == 1:
            return
        failed = [bool(flag) for flag in self._exchanged(torch.tensor([error is not None], device=_device()).byte())]
        if error is None and any(failed):
            ranks = ", ".join(str(rank) for rank, flag in enumerate(failed) if flag)
            raise WorkerError(
                f"the sweep failed in rank {ranks}, whose own message says why. Mend that and run again: with "
                "checkpoint= nothing that was done is lost."
            )

    def _exchanged(self, data: Tensor) -> list[Tensor]:
        """Return every process's bytes."""
        try:
            sizes = [torch.zeros(1, dtype=torch.int64, device=data.device) for _ in range(self.count)]
            dist.all_gather(sizes, torch.tensor([len(data)], dtype=torch.int64, device=data.device))
            most = int(max(int(size) for size in sizes))
            parts = [torch.zeros(most, dtype=torch.uint8, device=data.device) for _ in range(self.count)]
            padded = torch.zeros(most, dtype=torch.uint8, device=data.device)
            padded[: len(data)] = data
            dist.all_gather(parts, padded)
        except RuntimeError as error:
            raise WorkerError(
                f"a worker was lost while results were joined ({str(error).splitlines()[0]}). Run again with as many "
                "processes: with checkpoint= each goes on where it stopped."
            ) from error
        return [part[: int(size)] for part, size in zip(parts, sizes, strict=True)]


def _device() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


@contextmanager
def started() -> Iterator[Ranks]:
    """Yield this process's rank: of the group that is there, of one that is made as `torchrun` says, or alone."""
    if dist.is_available() and dist.is_initialized():
        yield Ranks(dist.get_rank(), dist.get_world_size())
        return
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks(0, 1)
        return
    backend = "nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        dist.init_process_group(backend)
    except (RuntimeError, ValueError) as error:
        raise WorkerError(
            f"the {os.environ['WORLD_SIZE']} processes that WORLD_SIZE speaks of could not meet: {error}. Start them "
            "with torchrun."
        ) from error
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
