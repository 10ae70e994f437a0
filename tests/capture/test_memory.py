"""Any program of views, writes and reads is recorded functionally: replayed on another input it gives the same."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from provnet.capture.record import record
from provnet.capture.replay import replay, replay_values
from provnet.capture.storage_identity import StorageGeometry, is_whole, overlap
from provnet.capture.windows import read_window, write_window

VIEWS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "row": lambda t, i: t[i % t.shape[0] :][:1],
    "front": lambda t, i: t[:, : 1 + i % t.shape[1]],
    "every second": lambda t, i: t[:, i % 2 :: 2] if t.shape[1] > 1 else t,
    "turned": lambda t, i: t.t(),
    "flat": lambda t, i: t.unsqueeze(0).flatten(0, 1) if t.is_contiguous() else t,
    "itself": lambda t, i: t.detach(),
}
WRITES: dict[str, Callable[[Tensor, Tensor, int], object]] = {
    "scale": lambda t, u, i: t.mul_(i - 1),
    "relu": lambda t, u, i: t.relu_(),
    "fill": lambda t, u, i: t.fill_(i),
    "add": lambda t, u, i: t.add_(u.sum()),
    "copy": lambda t, u, i: t.copy_(u.mean()),
    "put": lambda t, u, i: t.index_fill_(0, torch.tensor([i % t.shape[0]]), 2.0),
    "out": lambda t, u, i: torch.neg(t.clone(), out=t),
    "swap": lambda t, u, i: t.copy_(t.flip(0)),
}
NEW: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "double": lambda t, u, i: t * 2,
    "zeros": lambda t, u, i: torch.zeros(3, 4),
    "copy": lambda t, u, i: t.clone(),
    "sum": lambda t, u, i: t + u.sum(),
}

STEP = st.tuples(
    st.sampled_from([("view", v) for v in VIEWS] + 2 * [("write", w) for w in WRITES] + [("new", n) for n in NEW]),
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 3),
)


def program(steps: list[tuple[tuple[str, str], int, int, int]]) -> Callable[[Tensor], list[Tensor]]:
    """Return a function that takes these steps on a growing list of tensors, and returns them all.

    The last one is out of reach of the writes, so that one at least depends on the input.
    """

    def run(x: Tensor) -> list[Tensor]:
        tensors, last = [x, x * 1], x + 1
        for (kind, name), first, second, i in steps:
            t, u = tensors[first % len(tensors)], tensors[second % len(tensors)]
            if kind == "view":
                tensors.append(VIEWS[name](t, i))
            elif kind == "new":
                tensors.append(NEW[name](t, u, i))
            else:
                WRITES[name](t, u, i)
        return [*tensors, last]

    return run


@given(st.lists(STEP, min_size=1, max_size=12))
def test_a_program_of_views_and_writes_replays(steps: list[tuple[tuple[str, str], int, int, int]]) -> None:
    """Values are small integers and exact, but for the mean: 1e-4 of the largest."""
    run = program(steps)
    x, other = torch.arange(12.0).reshape(3, 4) - 4, torch.arange(12.0).reshape(3, 4).flip(0) * 0.5 - 1
    with torch.no_grad():
        wanted, also = run(x.clone()), run(other.clone())
    if max(float(t.abs().max()) for t in (*wanted, *also)) > 1e6:
        return
    execution = record(run, x, sources=["x"])
    for replayed, expected in ((replay(execution, x), wanted), (replay(execution, other), also)):
        for name, tensor in replayed.items():
            place = int(name.removeprefix("output[").removesuffix("]"))
            torch.testing.assert_close(tensor, expected[place], rtol=1e-4, atol=1e-4)
    active = {f"output[{i}]" for i, t in enumerate(wanted) if not torch.equal(t, also[i])}
    assert active <= set(execution.outputs)
    for value, tensor in replay_values(execution, x).items():
        torch.testing.assert_close(execution.values[value].tensor, tensor, rtol=1e-4, atol=1e-4)


SMALL = st.integers(0, 3)


@given(*(st.tuples(SMALL, st.tuples(SMALL, SMALL), st.tuples(SMALL, SMALL)) for _ in range(2)))
def test_overlap_is_what_the_sets_of_places_say(
    first: tuple[int, tuple[int, int], tuple[int, int]], second: tuple[int, tuple[int, int], tuple[int, int]]
) -> None:
    def places(offset: int, shape: tuple[int, int], stride: tuple[int, int]) -> set[int]:
        return {offset + i * stride[0] + j * stride[1] for i in range(shape[0]) for j in range(shape[1])}

    a, b = (StorageGeometry(o, shape, stride, torch.float32) for o, shape, stride in (first, second))
    assert overlap(a, b) == bool(places(*first) & places(*second))
    for where, (offset, shape, stride) in ((a, first), (b, second)):
        size = shape[0] * shape[1]
        if size:
            storage = torch.zeros(size).untyped_storage()
            assert is_whole(where, storage) == (places(offset, shape, stride) == set(range(size)))


def test_windows_are_index_maps() -> None:
    base, index = torch.arange(6.0).reshape(2, 3), torch.tensor([[5, 0]])
    assert read_window(base, index).tolist() == [[5.0, 0.0]]
    written = write_window(base, [index, torch.tensor([0])], [torch.tensor([[8.0, 9.0]]), torch.tensor([7.0])])
    assert written.tolist() == [[7.0, 1.0, 2.0], [3.0, 4.0, 8.0]]
    assert base[0, 0] == 0
