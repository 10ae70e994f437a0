"""The composites of the literature, by the names that zennit made usual. Each is a function that returns a `Composite`.

Every one treats sums and average poolings by `Norm` and passes through batch norms that are kept and added constants,
if the model has any. Convolutions and dense layers are known by their op, whichever module or function ran them.
`stabilizer` is the ε of every rule but Epsilon. Add your own entries with `|`, which override: `EpsilonPlus() | {...}`.
"""

from __future__ import annotations

from typing import Any

from provnet.rules.lrp.alpha_beta import AlphaBeta, ZPlus
from provnet.rules.lrp.base import Rule, register
from provnet.rules.lrp.composite import Composite, Entry
from provnet.rules.lrp.epsilon import Epsilon
from provnet.rules.lrp.gamma import Gamma
from provnet.rules.lrp.norm import Norm, Pass
from provnet.rules.lrp.selectors import Depth, Kind, Selector
from provnet.rules.lrp.w_square import Flat, WSquare
from provnet.rules.lrp.z_box import ZBox

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET_LOW = tuple((0 - mean) / std for mean, std in zip(_MEAN, _STD, strict=True))
IMAGENET_HIGH = tuple((1 - mean) / std for mean, std in zip(_MEAN, _STD, strict=True))
"""Black and white after the usual normalisation of ImageNet's images, a number a channel."""


def _stock(title: str, stabilizer: float, *rules: tuple[Selector, Rule], default: Rule) -> Composite:
    between = [(Kind("sum"), Norm(stabilizer)), (Kind("pooling"), Norm(stabilizer)), (Kind("scale"), Pass())]
    entries = [Entry(blocks, rule, optional=True) for blocks, rule in (*between, *rules)]
    return Composite(entries, default, title)


@register("epsilon-plus", "epsilon_plus")
def EpsilonPlus(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """z+ in convolutions, ε in dense layers. Source: [Mon19]; zennit's EpsilonPlus.

    epsilon, stabilizer   of the denominators: the dense layers', and the others'.
    """
    rules = ((Kind("convolution"), ZPlus(stabilizer)), (Kind("dense"), Epsilon(epsilon)))
    return _stock("EpsilonPlus", stabilizer, *rules, default=Epsilon(epsilon))


@register("epsilon-alpha2-beta1", "epsilon_alpha2_beta1")
def EpsilonAlpha2Beta1(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """Alpha-beta with α = 2, β = 1 in convolutions, ε in dense layers. Source: zennit's EpsilonAlpha2Beta1.

    epsilon, stabilizer   of the denominators: the dense layers', and the others'.
    """
    rules = ((Kind("convolution"), AlphaBeta(2, 1, stabilizer)), (Kind("dense"), Epsilon(epsilon)))
    return _stock("EpsilonAlpha2Beta1", stabilizer, *rules, default=Epsilon(epsilon))


@register("epsilon-gamma-box", "epsilon_gamma_box")
def EpsilonGammaBox(
    low: Any = 0.0, high: Any = 1.0, epsilon: float = 1e-6, gamma: float = 0.25, stabilizer: float = 1e-6
) -> Composite:
    """z^B in the first convolution, γ (signed) in the others, ε in dense layers. Source: zennit's EpsilonGammaBox.

    low, high   the box of the input as it comes to the first convolution, a number or one a channel.
    epsilon   of the dense layers.   gamma   of the convolutions.   stabilizer   of the other denominators.
    """
    return _stock(
        "EpsilonGammaBox",
        stabilizer,
        (Kind("convolution"), Gamma(gamma, signed=True, stabilizer=stabilizer)),
        (Kind("dense"), Epsilon(epsilon)),
        (Depth(0, "convolution"), ZBox(low, high, stabilizer)),
        default=Epsilon(epsilon),
    )


@register("epsilon-plus-flat", "epsilon_plus_flat")
def EpsilonPlusFlat(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """As EpsilonPlus, the first linear map flat. Source: zennit's EpsilonPlusFlat.

    epsilon, stabilizer   of the denominators: the dense layers', and the others'.
    """
    return _flat("EpsilonPlusFlat", EpsilonPlus(epsilon, stabilizer), stabilizer)


@register("epsilon-alpha2-beta1-flat", "epsilon_alpha2_beta1_flat")
def EpsilonAlpha2Beta1Flat(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """As EpsilonAlpha2Beta1, the first linear map flat. Source: zennit's EpsilonAlpha2Beta1Flat.

    epsilon, stabilizer   of the denominators: the dense layers', and the others'.
    """
    return _flat("EpsilonAlpha2Beta1Flat", EpsilonAlpha2Beta1(epsilon, stabilizer), stabilizer)


def _flat(title: str, base: Composite, stabilizer: float) -> Composite:
    return Composite((*base.entries, Entry(Depth(0), Flat(stabilizer), optional=True)), base.default, title)


@register("excitation-backprop", "excitation_backprop")
def ExcitationBackprop(stabilizer: float = 1e-6) -> Composite:
    """z+ in every linear map. Source: Zhang et al. 2016, Top-down Neural Attention; zennit's ExcitationBackprop.

    stabilizer   of the denominators.
    """
    return _stock("ExcitationBackprop", stabilizer, default=ZPlus(stabilizer))


@register("deep-taylor", "deep_taylor")
def DeepTaylor(low: Any = None, high: Any = None, stabilizer: float = 0.0) -> Composite:
    """z+ everywhere but in the first linear map: z^B there if bounds are given, else w². Source: Montavon et al. 2017.

    Made for ReLU networks with biases <= 0; with other biases the conservation report shows what they take.
    low, high   the box of the first layer.   stabilizer   of the denominators.
    """
    first: Rule = WSquare(stabilizer) if low is None or high is None else ZBox(low, high, stabilizer)
    return _stock("DeepTaylor", stabilizer, (Depth(0), first), default=ZPlus(stabilizer))


@register("attnlrp", "attn-lrp")
def AttnLRP(epsilon: float = 1e-9) -> Composite:
    """AttnLRP for transformers: products by halves, softmax by its Taylor decomposition, norms with σ constant, ε.

    The ε-rule is for linear maps and for contractions of two traced tensors; its default is small enough to give what
    gradient-based implementations give, which have none. Start at the logit (`start="logit"`) to compare with them. The
    softmax's decomposition has a rest, so relevance is conserved with the sink "softmax's rest" only.
    epsilon   of the linear maps' denominators.
    Source: [AttnLRP] eq. 8, 13, 15, Propositions 3.1 to 3.4.

    Example: `circuit.evaluate("real", rule=rules.AttnLRP(), start="logit")`
    """
    chosen = (("product", "products", "half"), ("softmax", "softmax", "attnlrp"), ("norm", "norm", "detached"))
    entries = [
        Entry(Kind(kind), conventions=((convention, value),), optional=True) for kind, convention, value in chosen
    ]
    return Composite(entries, default=Epsilon(epsilon), title="AttnLRP")


@register("vgg16")
def VGG16(
    low: Any = IMAGENET_LOW, high: Any = IMAGENET_HIGH, gamma: float = 0.25, rms: float = 0.25, pooling: str = "seed"
) -> Composite:
    """The papers' composite for VGG-16's 16 linear maps, ε = 1e-9 without a sign in all but the first.

    z^B at the pixels, γ in the next six convolutions, ε + rms · RMS(z) in the other six, LRP-0 in the three dense
    layers. Source: [Mon19] sec. 10.3 and its tutorial; [Gro24] evaluates the semirings with it. Thresholds a layer are
    in `provnet.applications.thresholds`. `pooling`: what the authors' code does at max poolings.
    low, high   the box of the first layer.   gamma   of the convolutions.
    """
    entries: list[tuple[Any, Any]] = [(Depth(0), ZBox(low, high))]
    entries += [(Depth(k), Gamma(gamma, stabilizer=1e-9)) for k in range(1, 7)]
    entries += [(Depth(k), Epsilon(1e-9, literal=True, rms=rms)) for k in range(7, 13)]
    entries += [(Depth(k), Epsilon(1e-9, literal=True)) for k in range(13, 16)]
    return Composite([*entries, (Kind("pooling"), {"pooling": pooling})], title="VGG16")
