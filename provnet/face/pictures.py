"""Results as pictures: which numbers of a result are shown, and in which form, told from the shape of the input."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from provnet.circuit.blocks import BlockCircuit
from provnet.errors import OptionError, UnsupportedOperationError
from provnet.face.relevance_at_tensors import RelevanceAtTensors
from provnet.notebook import coloured_tokens
from provnet.semirings.base import Semiring
from provnet.symbolic.naming import number_text
from provnet.torch_backend.blocks.rows import tensor_of
from provnet.writers.plot import HAS_MATPLOTLIB, Floats, Panel, figure_of, limits

MOST_PANELS = 64
"""Examples, targets and results that one figure shows."""


def plot(
    results: RelevanceAtTensors | Sequence[RelevanceAtTensors],
    at: str | None = None,
    example: int | Sequence[int] | None = None,
    shape: tuple[int, ...] | None = None,
    overlay: bool = False,
    clip: float = 100.0,
    cmap: str | None = None,
    colorbar: bool = True,
    names: Sequence[str] = (),
    alpha: float = 0.6,
) -> Any:
    """Return a matplotlib figure of one result, or of several as a grid: a row an example, a column a result.

    results   one result, or a list of them, as `evaluate([...])` gives: one for each semiring, say.
    at        a recorded tensor; None: the only source.
    example   which example, or which of them; None: all.
    shape     of one example, where it is not the tensor's own: (28, 28) for a row of 784 pixels.
    overlay   whether the input lies beneath, in grey.
    clip      percentile of the sizes at which colours end: 99 keeps one extreme entry from making all others pale.
    cmap      a colour map of matplotlib by name.   colorbar   whether each picture has its scale beside it.
    names     of the entries of a row of features.   alpha   how opaque relevance lies over the input.

    An example of the shape [height, width], or [channels, height, width] with its channels joined by ⊕, is a picture;
    [features] are bars; [tokens, width] are bars of tokens, joined by ⊕ over the width when it is no picture's shape
    and `shape=(tokens,)` says so.
    Raises: `OptionError`; `UnsupportedOperationError` for elements that are no numbers; `MissingProgramError`.
    Example: `provnet.plot(circuit.evaluate(["real", "viterbi"]), shape=(28, 28)).savefig("relevance.png")`
    """
    listed: list[Any] = list(results) if isinstance(results, list | tuple) else [results]
    rows = [_panels(result, at, example, shape, overlay, names) for result in listed]
    panels = [panel for line in zip(*rows, strict=True) for panel in line]
    if len(panels) > MOST_PANELS:
        raise OptionError(
            f"{len(panels):,} pictures are more than the {MOST_PANELS} that a figure shows: choose some with "
            "example=[0, 1]."
        )
    columns = len(listed) if len(listed) > 1 else None
    return figure_of(panels, columns, clip, cmap, colorbar, alpha)


def _panels(
    result: RelevanceAtTensors, at: str | None, example: Any, shape: Any, overlay: bool, names: Sequence[str]
) -> list[Panel]:
    """Return a panel for each example of each target."""
    semiring, question = result.semiring, result.question
    found = numbers_of(result, at)
    over = _inputs(result.circuit, at) if overlay else None
    chosen = range(found.shape[1]) if example is None else [example] if isinstance(example, int) else example
    panels = []
    for target, of_target in enumerate(found):
        explained = question.explained(target)
        for k in chosen:
            if not -len(of_target) <= k < len(of_target):
                raise OptionError(f"example={k}: there are {len(of_target)}, 0 to {len(of_target) - 1}.")
            title = f"{semiring.name}: {explained[k if len(explained) > 1 else 0]}"
            under = None if over is None else _flat(as_picture(None, over[k], shape))
            panels.append(Panel(title, semiring, as_picture(semiring, of_target[k], shape), under, names))
    return panels


def _flat(picture: Floats) -> Floats | None:
    return picture if picture.ndim == 2 else None


def numbers_of(result: RelevanceAtTensors, at: str | None = None) -> Tensor:
    """Return relevance as numbers, [targets, batch, *an example's shape]. Raises `UnsupportedOperationError`."""
    found: Any = result.inputs if at is None else result[at]
    if result.semiring.element_shape and not isinstance(found, np.ndarray):
        raise UnsupportedOperationError(
            f"elements of {result.semiring.name!r} have the shape {result.semiring.element_shape}: no picture shows "
            "them. Plot one part of them, or another semiring."
        )
    whole = torch.as_tensor(found.astype(np.float64) if isinstance(found, np.ndarray) else found).detach().cpu()
    return whole.to(torch.float64) if len(result.question.targets) > 1 else whole.to(torch.float64)[None]


def _inputs(circuit: BlockCircuit, at: str | None) -> Tensor:
    activation = circuit.sources[0] if at is None else circuit.find(at)
    return tensor_of(circuit.activations[activation]).detach().cpu().to(torch.float64)


def as_picture(semiring: Semiring | None, values: Tensor, shape: tuple[int, ...] | None = None) -> Floats:
    """Return one example as [height, width] or [features]: channels joined by ⊕, of an input by their mean.

    Raises: `OptionError` for a shape that does not fit.
    """
    if shape is not None:
        if values.dim() == 2 and len(shape) == 1 and shape[0] == values.shape[0]:
            return _joined(semiring, values, 1).numpy()
        if int(np.prod(shape)) != values.numel():
            raise OptionError(f"shape={shape} has {int(np.prod(shape)):,} entries; an example has {values.numel():,}.")
        values = values.reshape(shape)
    while values.dim() > 2:
        values = _joined(semiring, values, 0)
    return values.reshape(-1).numpy() if values.dim() == 0 else values.numpy()


def _joined(semiring: Semiring | None, values: Tensor, axis: int) -> Tensor:
    if semiring is None:
        return values.mean(axis)
    like = semiring.element_dtype(torch.float64)
    return semiring.sum(values.to(like), axis).to(torch.float64)


def tokens_of(result: RelevanceAtTensors, texts: Sequence[str], example: int = 0, at: str | None = None) -> str:
    """Return tokens on the colours of their relevance, as HTML. See `Relevance.token_html`."""
    values = as_picture(result.semiring, numbers_of(result, at)[0][example], (len(texts),))
    low, top = limits(result.semiring, values)
    scaled = np.clip((np.nan_to_num(values, posinf=top, neginf=low) - low) / ((top - low) or 1.0), 0, 1)
    shown = [number_text(value) for value in values.tolist()]
    return coloured_tokens(list(map(str, texts)), shown, [_colour(x, result.semiring.ring) for x in scaled])


def _colour(x: float, ring: bool) -> tuple[int, int, int]:
    """Return a colour from white to red, in rings from blue over white to red."""
    if ring:
        away = abs(2 * x - 1)
        pale = round(255 * (1 - 0.75 * away))
        return (255, pale, pale) if x >= 0.5 else (pale, pale, 255)
    pale = round(255 * (1 - 0.75 * x))
    return 255, pale, pale


def inline_picture(result: RelevanceAtTensors) -> str:
    """Return the first examples as an HTML image; nothing where they are no pictures or matplotlib is missing."""
    if not HAS_MATPLOTLIB or len(result.circuit.sources) != 1 or result.semiring.element_shape:
        return ""
    held = result.circuit.activations[result.circuit.sources[0]]
    few = range(min(result.circuit.batch, 4))
    if len(held.shape) not in (1, 2, 3) or (len(held.shape) == 1 and held.size > 400):
        return ""
    file = io.BytesIO()
    plot(result, example=list(few)).savefig(file, format="png", dpi=80)
    return f'<img alt="relevance" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'
