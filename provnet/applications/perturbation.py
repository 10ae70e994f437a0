"""Perturbation: what a prediction loses when inputs are changed in the order of their relevance.

Source: [Gro24] section 3.3 for occlusion and attacks; Samek et al. 2017, Evaluating the visualization of what a deep
neural network has learned, for pixel flipping; Petsiuk et al. 2018, RISE, for deletion and insertion; DeYoung et al.
2020, ERASER, for sufficiency and comprehensiveness.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from provnet.errors import NonFiniteError, OptionError

Change = Callable[[Tensor], Tensor]
"""What changed inputs become, from the examples: a tensor that broadcasts to them."""


def to_zero(x: Tensor) -> Tensor:
    """Return 0: a changed input is taken away."""
    return torch.zeros_like(x)


def to_mean(x: Tensor) -> Tensor:
    """Return the mean over the examples: a changed input is one of nobody in particular."""
    return x.mean(0, keepdim=True).expand_as(x)


def inverted(x: Tensor) -> Tensor:
    """Return max − x, with the largest entry of each example. Source: [Gro24] section 3.3."""
    return x.flatten(1).amax(1).reshape(-1, *(1,) * (x.dim() - 1)) - x


def resampled(x: Tensor, seed: int = 0) -> Tensor:
    """Return the examples in another order, so that a changed input is another example's."""
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)]


@dataclass(frozen=True, eq=False)
class PerturbationCurve:
    """The probability of the explained class after each of `steps`, the numbers of changed inputs: [batch, steps].

    `ties` is the mean share of inputs whose relevance some other input of the example has too: their order is the
    seed's.
    """

    steps: tuple[int, ...]
    probabilities: Tensor
    ties: float

    @property
    def mean(self) -> Tensor:
        """The mean over examples, [steps]."""
        return self.probabilities.mean(0)

    @property
    def area(self) -> float:
        """The mean area under the curve, steps as shares of the inputs: low for a good deletion, high for insertion."""
        places = torch.tensor(self.steps, dtype=torch.float64) / self.steps[-1]
        return float(torch.trapezoid(self.mean, places))


def order_of(relevance: Tensor, seed: int = 0, costs: bool = False) -> tuple[Tensor, float]:
    """Return (order [batch, inputs], most relevant first, ties shuffled by the seed; the mean share of inputs in ties).

    relevance   [batch, …]; Booleans, counts and floats.   costs   whether low is relevant, as in tropical.
    Raises: `NonFiniteError` for a NaN.
    """
    rows = relevance.flatten(1).double()
    if bool(torch.isnan(rows).any()):
        raise NonFiniteError("the relevance holds NaN, which has no place in an order. Evaluate it in float64.")
    rows = -rows if costs else rows
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.stack([torch.randperm(rows.shape[1], generator=generator) for _ in rows]).to(rows.device)
    order = shuffled.gather(1, rows.gather(1, shuffled).sort(dim=1, descending=True, stable=True).indices)
    ranked = rows.gather(1, order)
    same = ranked[:, 1:] == ranked[:, :-1]
    tied = torch.zeros_like(ranked, dtype=torch.bool)
    tied[:, 1:] |= same
    tied[:, :-1] |= same
    return order, float(tied.double().mean())


def perturbation_curve(
    model: Any,
    x: Tensor,
    relevance: Tensor,
    mode: Literal["deletion", "insertion"] = "deletion",
    target: Tensor | Sequence[int] | None = None,
    change: Change = to_zero,
    steps: int | Sequence[int] = 20,
    least_first: bool = False,
    costs: bool = False,
    seed: int = 0,
) -> PerturbationCurve:
    """Return how the probability of a class moves as inputs are changed in the order of their relevance.

    mode         "deletion": begin with x, change the most relevant first (pixel flipping). "insertion": begin with all
                 inputs changed, and put the most relevant back first.
    relevance    of the shape of x, or without its channels: then all channels of a place go together.
    target       the classes [batch]; None: those that are predicted for x.
    change       `to_zero`, `to_mean`, `inverted`, `resampled`, or a function of the examples.
    steps        how many equal steps, or the numbers of changed inputs, ascending, of which the first should be 0.
    least_first  the other way round.   costs   low is relevant (tropical).   seed   for ties.
    Raises: `OptionError`, `NonFiniteError`.
    Example: `perturbation_curve(model, x, circuit.evaluate("viterbi").inputs).area`
    """
    if mode not in ("deletion", "insertion"):
        raise OptionError(f"mode={mode!r}; expected 'deletion' or 'insertion'.")
    places = _places(x, relevance)
    order, ties = order_of(relevance, seed, costs != least_first)
    counts = _steps(steps, order.shape[1])
    changed = change(x).expand_as(x)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1], device=x.device).expand_as(order))
    start, end = (x, changed) if mode == "deletion" else (changed, x)
    with torch.no_grad():
        classes = model(x).argmax(1) if target is None else torch.as_tensor(target, device=x.device)
        found = [model(torch.where((rank < count).reshape(places), end, start)).double().softmax(1) for count in counts]
    picked = [p.gather(1, classes[:, None])[:, 0] for p in found]
    return PerturbationCurve(counts, torch.stack(picked, 1), ties)


def _places(x: Tensor, relevance: Tensor) -> tuple[int, ...]:
    """Return the shape of a mask over the places of relevance that broadcasts to x."""
    if relevance.shape == x.shape:
        return tuple(x.shape)
    if x.dim() > 2 and tuple(relevance.shape) == (x.shape[0], *x.shape[2:]):
        return (x.shape[0], 1, *x.shape[2:])
    raise OptionError(
        f"relevance of shape {list(relevance.shape)} came for examples of shape {list(x.shape)}; expected that shape, "
        "or it without the channels' axis."
    )


def _steps(steps: int | Sequence[int], size: int) -> tuple[int, ...]:
    if isinstance(steps, int):
        if steps < 1:
            raise OptionError(f"steps={steps}; expected at least one.")
        return tuple(dict.fromkeys(round(size * k / steps) for k in range(steps + 1)))
    found = tuple(int(step) for step in steps)
    if len(found) < 2 or sorted(set(found)) != list(found) or not 0 <= found[0] < found[-1] <= size:
        raise OptionError(f"steps={list(found)}; expected two or more ascending numbers from 0 to {size}.")
    return found


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """By how much a probability falls when the most relevant inputs are taken away (`comprehensiveness`, high is good),
    and when nothing but them is left (`sufficiency`, low is good). [batch] each."""

    comprehensiveness: Tensor
    sufficiency: Tensor


def faithfulness(model: Any, x: Tensor, relevance: Tensor, share: float = 0.2, **options: Any) -> Faithfulness:
    """Return comprehensiveness and sufficiency for the share of inputs that are most relevant.

    options   of `perturbation_curve`: target=, change=, costs=, seed=.   Raises: `OptionError`.
    Source: DeYoung et al. 2020, ERASER, section 4.1.
    """
    size = relevance[0].numel()
    count = round(share * size)
    if not 0 < count < size:
        raise OptionError(f"share={share} of {size} inputs is none or all of them. Take a share between.")
    without = perturbation_curve(model, x, relevance, "deletion", steps=[0, count], **options).probabilities
    alone = perturbation_curve(model, x, relevance, "insertion", steps=[0, count], **options).probabilities
    return Faithfulness(without[:, 0] - without[:, 1], without[:, 0] - alone[:, 1])


def attack(
    model: Any,
    x: Tensor,
    relevance: Tensor | None,
    count: int,
    change: Change = inverted,
    temperature: float = 1.0,
    draws: int = 1,
    seed: int = 0,
    target: Tensor | Sequence[int] | None = None,
) -> Tensor:
    """Return the probability of a class after `count` inputs, drawn without replacement, are changed: [draws, batch].

    Inputs are drawn as by `attacked`; `relevance=None` draws uniformly, which is the baseline that a difference curve
    is taken from. `target`: the classes [batch]; None: those that are predicted for x.
    Raises: `OptionError`, `NonFiniteError`.
    """
    found = []
    with torch.no_grad():
        classes = model(x).argmax(1) if target is None else torch.as_tensor(target, device=x.device)
        for changed in attacked(x, relevance, count, change, temperature, draws, seed):
            p = model(changed).double().softmax(1)
            found.append(p.gather(1, classes[:, None])[:, 0])
    return torch.stack(found)


def attacked(
    x: Tensor,
    relevance: Tensor | None,
    count: int,
    change: Change = inverted,
    temperature: float = 1.0,
    draws: int = 1,
    seed: int = 0,
) -> Iterator[Tensor]:
    """Yield the examples with `count` inputs changed, once for each of `draws`: [batch, …].

    Inputs are drawn with the weights softmax(−R / temperature) of [Gro24] section 3.3, so that the least relevant are
    the likeliest. The draws of one seed are nested: a larger `count` changes what a smaller one does, and more.
    relevance   of the shape of x; scale it yourself, for the softmax does not: see `temperature`. None: uniform.
    Raises: `OptionError`, `NonFiniteError`.
    """
    size = x[0].numel()
    if not 0 <= count <= size:
        raise OptionError(f"count={count}; expected 0 to {size} inputs.")
    other = change(x).expand_as(x)
    for ranks in attack_ranks(x, relevance, temperature, draws, seed):
        yield torch.where(ranks < count, other, x)


def attack_ranks(
    x: Tensor, relevance: Tensor | None, temperature: float = 1.0, draws: int = 1, seed: int = 0
) -> Iterator[Tensor]:
    """Yield when each input is drawn, 0 for the first, once for each of `draws`: [batch, …], of the shape of x.

    `ranks < count` are the inputs that `attacked` changes; one draw serves for every count of a curve.
    x, relevance, temperature, draws, seed   as of `attacked`.
    Raises: `OptionError`, `NonFiniteError`.
    """
    if draws < 1 or not temperature > 0:
        raise OptionError(
            f"draws={draws}, temperature={temperature}; expected draws from 1 on, and a temperature above 0."
        )
    scores = torch.zeros(x.flatten(1).shape, dtype=torch.float64) if relevance is None else _scores(x, relevance)
    generator = torch.Generator().manual_seed(seed)
    places = torch.arange(scores.shape[1]).expand_as(scores)
    for _ in range(draws):
        # In descending order −R + Gumbel noise is a draw without replacement by softmax(−R): Gumbel-top-k.
        noise = -torch.rand(scores.shape, dtype=torch.float64, generator=generator).clamp(min=1e-300).log()
        order = (-scores / temperature - noise.log()).argsort(1, descending=True)
        yield torch.empty_like(order).scatter_(1, order, places).to(x.device).reshape(x.shape)


def _scores(x: Tensor, relevance: Tensor) -> Tensor:
    if relevance.shape != x.shape:
        raise OptionError(f"relevance of shape {list(relevance.shape)} came for {list(x.shape)}; expected that shape.")
    scores = relevance.flatten(1).double().cpu()
    if not bool(torch.isfinite(scores).all()):
        raise NonFiniteError(
            "relevance with Inf or NaN has no softmax. Bound it first, or rank it: perturbation_curve."
        )
    return scores


def occluded(x: Tensor, size: int, stride: int | None = None, change: Change = inverted) -> tuple[Tensor, Tensor]:
    """Return (examples [zones, batch, …] each with one square zone changed, zones' corners [zones, 2]).

    x   [batch, channels, height, width].   size, stride   in pixels; the stride is the size by default.
    Raises: `OptionError`.   Source: [Gro24] section 3.3, occlusion by x → max − x.
    """
    stride = stride or size
    if x.dim() != 4 or not 0 < size <= min(x.shape[2:]) or stride < 1:
        raise OptionError(f"zones of {size} pixels in examples of shape {list(x.shape)}; expected [batch, c, h, w].")
    changed = change(x).expand_as(x)
    corners = [
        (top, left)
        for top in range(0, x.shape[2] - size + 1, stride)
        for left in range(0, x.shape[3] - size + 1, stride)
    ]
    found = x.repeat(len(corners), 1, 1, 1, 1)
    for one, (top, left) in zip(found, corners, strict=True):
        zone = (slice(None), slice(None), slice(top, top + size), slice(left, left + size))
        one[zone] = changed[zone]
    return found, torch.tensor(corners)
