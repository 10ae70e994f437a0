"""Which θ to take: what an edge's coefficient must reach to count, layer by layer or for all layers at once.

[GSM25] section 4.2 leaves the choice open. Here are the rules of thumb of its authors, bounds that cannot lose
everything, quantiles, and the exact curve of how much is relevant at every θ, from one evaluation in Bottleneck.

    circuit.evaluate("boolean", annotation=thresholds.quantile(circuit, 0.9))
    print(thresholds.curve(circuit, target=3).knee())
    print(thresholds.curve(circuit, of="share").at(0.8))

Which to take: thresholds on coefficients for layers of one sign, such as behind ReLU in a convolutional network; on
shares of the strongest input for transformers, where coefficients of either sign grow far above one by cancellation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log, prod
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from provnet.circuit.blocks import Block
from provnet.circuit.conventions import Conventions
from provnet.errors import MissingProgramError, OptionError
from provnet.face import Circuit
from provnet.on_use import installed, on_use
from provnet.rules import lrp
from provnet.rules.lrp.base import Rule
from provnet.semirings.annotations.threshold import Threshold
from provnet.torch_backend.walk.ranges import coefficients

if TYPE_CHECKING:
    from matplotlib import figure as figures
else:
    figures = on_use("matplotlib.figure")

VGG16_BOOLEAN = (*(0.05,) * 6, *(0.06,) * 3, 0.1, 0.09, 0.025, 0.3, 0.043, 0.0145, 0.0145)
"""θ of VGG-16's 16 linear maps for Boolean, found by hand by the authors. Source: [Gro24] and its code."""
VGG16_COUNTING = (0.01, 0.01, 0.015, *(0.02,) * 3, *(0.03,) * 3, 0.06, 0.05, 0.01, 0.3, 0.043, 0.0145, 0.0145)
"""The same for counting."""

SAMPLE = 1 << 22
"""Coefficients of a layer that a quantile is taken of: of more, every n-th."""


def linear_maps(circuit: Circuit) -> list[tuple[int, Block]]:
    """Return (index, block) of the linear maps in the order of execution: what depth counts."""
    return [(index, block) for index, block in enumerate(circuit.session.data.blocks) if block.role == "linear"]


def by_depth(circuit: Circuit, thetas: Sequence[float], default: float = 1e-9) -> Threshold:
    """Return `Threshold` with thetas[k] at the k-th linear map, `default` at poolings and sums.

    Raises: `OptionError` unless there is one θ for each linear map.
    Example: `circuit.evaluate("boolean", rule=rules.VGG16(), annotation=by_depth(circuit, VGG16_BOOLEAN))`
    """
    blocks = linear_maps(circuit)
    if len(thetas) != len(blocks):
        raise OptionError(f"{len(thetas)} thresholds came for {len(blocks)} linear maps; give one for each.")
    return Threshold({block.path: float(t) for (_, block), t in zip(blocks, thetas, strict=True)}, default=default)


def conservative(circuit: Circuit) -> Threshold:
    """Return θ = 1 / n a block, n the slots of its neurons with the bias: no neuron with relevance loses all of it.

    If the coefficients of a neuron sum to one, the largest is at least 1 / n, so some edge passes, to an input or to
    the bias. It holds for rules that conserve (zero, z+, w², z^B, flat), up to rounding, and not where a stabiliser
    takes a share. Padding only makes n smaller. Source: the pigeonhole principle; [GSM25] 4.2 asks for such a θ.
    """
    blocks = [block for block in circuit.session.data.blocks if block.has_coefficients and block.kind != "selection"]
    # A hair below, for shares that are 1 / n themselves may be rounded down.
    return Threshold({b.path: (1 - 1e-5) / (b.wiring.fan + (b.bias is not None)) for b in blocks})


def kernel_size(circuit: Circuit, theta: float = 0.005, offset: float = 0.0045, slope: float = 0.0002) -> Threshold:
    """Return θ_k = theta · (K_{k+1}² + 2 ln S_k) + offset + slope · k for the k-th linear map, the authors' formula.

    K_{k+1} is the kernel size of the next linear map (of the last its own), S_k the width of the k-th one's input; a
    dense layer on a flattened image counts as a convolution over all of it. The numbers were fitted to VGG-16 at 224
    pixels, where the formula comes near to `VGG16_BOOLEAN`. Source: the code that goes with [Gro24],
    `threshold-formula`.
    """
    blocks = linear_maps(circuit)
    sizes = [_geometry(circuit, block) for _, block in blocks]
    following = [kernel for kernel, _ in (*sizes[1:], sizes[-1])]
    thetas = [
        theta * (k * k + 2 * log(w)) + offset + slope * n
        for n, (k, (_, w)) in enumerate(zip(following, sizes, strict=True))
    ]
    return by_depth(circuit, thetas)


def _geometry(circuit: Circuit, block: Block) -> tuple[int, int]:
    """Return (kernel size, width of the input) of a linear map."""
    if block.wiring.channel_axis == 0:
        return block.wiring.kernel[-1], block.wiring.source_shape[-1]  # type: ignore[attr-defined]
    makers = {b.output: b for b in circuit.session.data.blocks}
    activation, held = block.inputs[0], circuit.session.data.activations
    while len(held[activation].shape) < 3 and activation in makers and not makers[activation].has_coefficients:
        activation = makers[activation].inputs[0]
    shape = held[activation].shape
    width = shape[-1] if len(shape) >= 3 and prod(shape) == block.wiring.fan else 1
    return width, width


def quantile(
    circuit: Circuit,
    q: float | Mapping[str, float],
    rule: str | Rule = "zero",
    pooling: str = "winner",
    bias: bool = True,
) -> Threshold:
    """Return θ a linear map such that the share q of its coefficients lies below: 0.9 keeps the tenth that is largest.

    q may differ by path. Coefficients are those of all examples, biases apart. Of a layer with more than `SAMPLE` of
    them every n-th is taken. Other blocks keep 1e-9. Raises: `OptionError` unless 0 <= q < 1.
    """
    chosen = lrp.get(rule)
    workspace = circuit.session.workspace(
        circuit.session.floating(None), chosen, Conventions(bias=bias, pooling=pooling)
    )
    found = {}
    for index, block in linear_maps(circuit):
        share = q.get(block.path) if isinstance(q, Mapping) else q
        if share is None:
            continue
        if not 0 <= share < 1:
            raise OptionError(f"the quantile {share} of {block.path!r} is not in [0, 1).")
        every = max(1, block.wiring.edges * circuit.batch // SAMPLE)
        parts = coefficients(workspace, index, chosen)
        values = torch.cat([part[::every] for part in parts])
        if len(values):
            found[block.path] = float(values.kthvalue(min(int(share * len(values)) + 1, len(values))).values)
    return Threshold(found)


# --- every threshold at once ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Curve:
    """The share of neurons that are relevant at θ, for every θ: a step down at each of `thetas`, which ascend.

    fractions[i] is the share at θ = thetas[i], exactly; between two steps it is the upper one's. Above the last: 0.
    """

    thetas: Tensor
    fractions: Tensor

    def at(self, theta: float) -> float:
        """Return the share of neurons that are relevant at θ."""
        above = int((self.thetas < theta).sum())
        return float(self.fractions[above]) if above < len(self.fractions) else 0.0

    def theta(self, density: float) -> float:
        """Return the largest θ at which the share is at least `density`. Raises `OptionError` if there is none."""
        reached = (self.fractions >= density).nonzero()
        if not 0 < density <= 1 or not len(reached):
            top = float(self.fractions[0]) if len(self.fractions) else 0.0
            raise OptionError(f"no θ makes the share {density} of neurons relevant; at θ near 0 it is {top:.4g}.")
        return float(self.thetas[int(reached[-1])])

    def knee(self) -> float:
        """Return the θ at the curve's knee: farthest from the chord between its ends, θ on a logarithmic scale.

        Only positive θ count. Source: Satopää et al. 2011, Finding a Kneedle in a Haystack. Raises: `OptionError`.
        """
        positive = (self.thetas > 0) & torch.isfinite(self.thetas)
        x, y = self.thetas[positive].double().log(), self.fractions[positive].double()
        if len(x) < 3:
            raise OptionError(f"the curve has {len(x)} positive thresholds; a knee needs three.")
        along, down = (x - x[0]) / (x[-1] - x[0]), (y - y[-1]) / (y[0] - y[-1])
        return float(self.thetas[positive][int((along + down - 1).abs().argmax())])

    def __iter__(self) -> Iterator[tuple[float, float]]:
        return iter(zip(self.thetas.tolist(), self.fractions.tolist(), strict=True))

    def plot(self) -> Any:
        """Return a matplotlib figure of the curve, its knee marked. Raises `MissingProgramError` without it."""
        if not installed("matplotlib"):
            raise MissingProgramError("a plot needs matplotlib, which is not installed: pip install 'provnet[demo]'.")
        figure = figures.Figure(figsize=(6, 4))
        axes = figure.subplots()
        positive = self.thetas > 0
        axes.step(self.thetas[positive].tolist(), self.fractions[positive].tolist(), where="pre")
        if int(positive.sum()) > 2:
            axes.axvline(self.knee(), linestyle="--", label=f"knee: θ = {self.knee():.3g}")
            axes.legend()
        axes.set(xscale="log", xlabel="threshold θ", ylabel="share of relevant neurons")
        return figure


Of = Literal["coefficient", "share"]

WIDEST: dict[str, str] = {"coefficient": "bottleneck", "share": "fuzzy"}
"""The semiring whose one pass answers every threshold of its kind."""


def curve(
    circuit: Circuit, target: Any = "predicted", at: str | None = None, of: Of = "coefficient", **options: Any
) -> Curve:
    """Return the exact curve of how many neurons are relevant at every θ, of the source or of the tensor `at`.

    One evaluation in (max, min) answers every threshold, because x -> [x >= θ] is a homomorphism to Boolean: a neuron
    is relevant at θ iff its value is at least θ. One θ for all layers. `options` go to `Circuit.evaluate` (rule, …).

    of   "coefficient": θ is compared with d, by Bottleneck. "share": with |p| / max |p|, by Fuzzy, for θ above 0;
         `annotation=Threshold(θ, of="share")` gives the same neurons.
    Raises: `OptionError` for another `of`, and for several sources without `at`.
    """
    if of not in WIDEST:
        raise OptionError(f"of={of!r} is unknown; a curve is of the 'coefficient' or of the 'share'.")
    result = circuit.evaluate(WIDEST[of], target, **options)
    values = (result.inputs if at is None else result[at]).reshape(-1)
    reached = values > (0 if of == "share" else -torch.inf)
    thetas, counts = torch.unique(values[reached], return_counts=True)
    return Curve(thetas, counts.flip(0).cumsum(0).flip(0).double() / values.numel())


def target_density(
    circuit: Circuit, density: float, target: Any = "predicted", of: Of = "coefficient", **options: Any
) -> Threshold:
    """Return the largest θ, for all layers, at which at least the share `density` of the source is relevant."""
    return Threshold(curve(circuit, target, of=of, **options).theta(density), of=of)
