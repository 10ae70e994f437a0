"""Every route of floats, block by block, against the definition, where scales lie from 1e-42 to 1e30 (1e±300 in
float64), also side by side in one tensor.

What is compared is what one block passes back for the same arriving relevance, which is the definition's own: the error
of a block is not multiplied by the condition of those after it. The tolerances are the guarantees of the routes:

    viterbi       8 ulp of each entry: three roundings in another order
    tropical      8 ulp of max(1, cost): a share's rounding is an error of that size in its logarithm
    real          64 ulp of the example's largest sum of sizes: up to 32 terms, two roundings each, in another order
    min-plus, …   8 ulp of max(1, cost): the two libraries' logarithms; the rest of the compiled semirings: to the bit

and two of the least denormal numbers, for results that are denormal themselves. They are measured from the exact
answer, in numbers that do not underflow (`tests/exact_blocks.py`). Where the definition in floats is further off
itself, for its own p or p / z is denormal, a route may be as far off as that, and no further: nothing else is granted
for denormal numbers on the way.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import provnet
from provnet.errors import NonFiniteError
from provnet.rules import AlphaBeta, Epsilon, Gamma, WSquare, Zero, ZPlus
from provnet.rules.lrp.base import Rule
from provnet.semirings import annotations
from provnet.semirings.annotations import Threshold
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.base import Semiring
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.contractions.numba_engine import NUMBA
from provnet.torch_backend.routes import candidates
from provnet.torch_backend.routes.base import BlockQuestion, Pulled
from provnet.torch_backend.routes.real_route import Transpose
from provnet.torch_backend.walk.evaluate import WalkQuestion, evaluate
from tests.exact_blocks import WIDE, exact_pull, excess
from tests.torch_backend.test_faults import NETS, SCALES, answer, traced
from tests.torch_backend.test_routes import ENGINES, by

RULES = (Zero(), Epsilon(1e-6), Gamma(0.25), Gamma(0.25, signed=True), AlphaBeta(2, 1), ZPlus(), WSquare())
ULP = {"viterbi": 8, "tropical": 8, "real": 64, "non-negative": 64, "min-plus": 8, "arctic": 8}
COSTS = ("tropical", "min-plus", "arctic")
COMPILED = ("fuzzy", "lukasiewicz", "max-times", "bottleneck", "non-negative", "min-plus", "arctic")
THETAS = (1e-42, 1e-30, 1e-9, 0.5, 1.0, 1e10, 1e30, 0.0, -1e-42, -0.5, -1e30, 1e-320, 1e300)
numba = pytest.mark.skipif(not NUMBA, reason="numba is not installed")


@st.composite
def extremes(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """A net and an input of few scales, by tensor or entry by entry, with zeros and of one or both signs."""
    make, shape = NETS[draw(st.sampled_from(sorted(NETS)))]
    dtype = draw(st.sampled_from(sorted(SCALES, key=str)))
    scales = draw(st.lists(st.sampled_from(SCALES[dtype][1:]), min_size=1, max_size=4))
    positive, generator = draw(st.booleans()), torch.Generator().manual_seed(draw(st.integers(0, 10**6)))

    def filled(size: torch.Size | tuple[int, ...]) -> Tensor:
        values = torch.randn(size, generator=generator, dtype=torch.float64)
        choice = torch.randint(len(scales), size if draw(st.integers(0, 3)) == 0 else (1,), generator=generator)
        kept = torch.rand(size, generator=generator) < draw(st.sampled_from([1.0, 1.0, 0.5]))
        scale = torch.tensor(scales, dtype=torch.float64)[choice]
        return ((values.abs() if positive else values) * scale * kept).to(dtype)

    with torch.random.fork_rng():
        model = make().to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(filled(parameter.shape))
    return model, filled((2, *shape))


Case = tuple[nn.Module, Tensor]
Both = tuple[Prepared, BlockQuestion, Tensor, Pulled, Pulled]
"""A block, its question, the relevance that came; what the reference route and the first that answers pass back."""


def pulls(circuit: provnet.Circuit, semiring: Semiring, theta: Annotation, rule: Rule) -> Iterator[Both]:
    """Yield every block with what both routes make of the definition's relevance; nothing if that leaves the floats."""
    data, workspace = circuit.session.data, circuit.session.workspace(circuit.session.floating(None))
    output = data.outputs[0]
    start = torch.zeros((), dtype=semiring.element_dtype(workspace.dtype))
    start = semiring.full((circuit.batch, data.activations[output].size), semiring.zero, start)
    start[:, 0] = semiring.one  # pyright: ignore[reportArgumentType]
    everything = frozenset(range(len(data.activations)))
    try:
        job = WalkQuestion(semiring, theta, rule, output, start)
        (found,) = evaluate(workspace, [job], everything, "reference")
    except NonFiniteError:
        return
    for index, block in enumerate(data.blocks):
        if block.has_coefficients and block.output in found.relevance:
            prepared = workspace.prepared(index, rule)
            assert isinstance(prepared, Prepared), "these nets have no sums"
            question = BlockQuestion(semiring, workspace.theta(index, theta))
            came = found.relevance[block.output]
            slow = first(prepared, question, came, "reference")
            yield prepared, question, came, slow, first(prepared, question, came, "auto")


def first(prepared: Prepared, question: BlockQuestion, came: Tensor, wanted: str) -> Pulled:
    """Return what the first route that answers gives."""
    for route, _ in candidates(prepared, question, wanted):
        found = route.pull(prepared, question, [came])
        if found is not None:
            return found[0]
    raise AssertionError("the reference answers always")


def parts(semiring: Semiring, fast: Pulled, slow: Pulled) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield (what, the route's, the definition's); None stands for zeros. A ring's lost relevance is found later."""
    for what in ("inputs", "bias", *(() if semiring.ring else ("lost",))):
        found, wanted = getattr(fast, what), getattr(slow, what)
        like = wanted if found is None else found
        if like is not None:
            zeros = torch.full_like(like, semiring.zero)  # pyright: ignore[reportArgumentType]
            yield what, zeros if found is None else found, zeros if wanted is None else wanted


def agree(semiring: Semiring, prepared: Prepared, came: Tensor, fast: Pulled, slow: Pulled) -> None:
    """Check the tolerances that are argued above."""
    held = semiring.name in ("viterbi", "tropical", "real") and WIDE and not prepared.selects
    exact = exact_pull(prepared, semiring.name, came) if held else None
    for what, found, wanted in parts(semiring, fast, slow):
        if exact is not None and what != "lost" and exact.defined:
            assert excess(semiring.name, what, found, wanted, exact) <= 1, (what, found, wanted)
            continue
        finite = torch.isfinite(wanted)
        assert torch.equal(found[~finite], wanted[~finite]), what
        size, limits = wanted.abs(), torch.finfo(wanted.dtype)
        if semiring.name in COSTS:
            size = size.clamp(min=1)
        elif semiring.name == "real":
            largest = slow.inputs.abs().amax(1)
            size = largest[:, None] if what == "inputs" else torch.maximum(largest, size)
        ulps = ULP.get(semiring.name, 0)
        allowed = ulps * limits.eps * size + (2 * limits.tiny * limits.eps if ulps else 0)
        gap = torch.where(finite, found - wanted, 0.0).abs()
        assert bool(((gap <= allowed) | ~finite).all()), (what, found, wanted)


@pytest.mark.parametrize("semiring", ["viterbi", "tropical", "real"])
@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=120)
@given(case=extremes(), rule=st.sampled_from(RULES))
@pytest.mark.guarantee("scales from 1e-42 to 1e30 (1e±300 in float64): at most 8 ulp further off than the definition")
def test_routes_of_floats_at_extreme_scales(engine: str, semiring: str, case: Case, rule: Rule):
    circuit, algebra = traced(*case), provnet.semirings.get(semiring)
    if circuit is None:
        return
    with by(engine):
        for prepared, _, came, slow, fast in pulls(circuit, algebra, annotations.get(algebra.annotation), rule):
            agree(algebra, prepared, came, fast, slow)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_bias_whose_square_is_infinite_has_no_shares(engine: str):
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)).eval()
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), (1e-20, 1e30, 1e-42, 1e-42), strict=True):
            parameter.fill_(value)
    circuit, algebra = traced(model, torch.tensor([[-4e-43], [-2e-42]])), provnet.semirings.get("viterbi")
    assert circuit is not None
    with by(engine):
        found = list(pulls(circuit, algebra, annotations.get(algebra.annotation), WSquare()))
        for prepared, _, came, slow, fast in found:
            agree(algebra, prepared, came, fast, slow)
    assert not all(exact_pull(prepared, "viterbi", came).defined for prepared, _, came, _, _ in found)


@numba
@pytest.mark.parametrize("semiring", COMPILED)
@settings(max_examples=25)
@given(case=extremes(), rule=st.sampled_from(RULES))
def test_compiled_edges_at_extreme_scales(semiring: str, case: Case, rule: Rule):
    circuit, algebra = traced(*case), provnet.semirings.get(semiring)
    if circuit is None:
        return
    with by("numba"):
        for prepared, _, came, slow, fast in pulls(circuit, algebra, annotations.get(algebra.annotation), rule):
            agree(algebra, prepared, came, fast, slow)


@pytest.mark.parametrize("semiring", ["boolean", "counting"])
@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=40)
@given(case=extremes(), rule=st.sampled_from(RULES), data=st.data())
@pytest.mark.guarantee("thresholds from 1e-42 to 1e30, and on attained values: exact on every route at every scale")
def test_thresholds_at_extreme_scales(engine: str, semiring: str, case: Case, rule: Rule, data: st.DataObject):
    circuit, algebra = traced(*case), provnet.semirings.get(semiring)
    if circuit is None:
        return
    strict, absolute = data.draw(st.booleans()), data.draw(st.booleans())
    theta = Threshold(data.draw(st.sampled_from(THETAS)), strict=strict, absolute=absolute)
    with by(engine):
        for prepared, question, came, slow, fast in pulls(circuit, algebra, theta, rule):
            same(algebra, fast, slow)
            values = coefficients(prepared)
            if values:
                near = Threshold(data.draw(st.sampled_from(values)), strict=strict, absolute=absolute)
                asked = BlockQuestion(algebra, near, question.tile)
                same(algebra, *(first(prepared, asked, came, way) for way in ("auto", "reference")))


def same(semiring: Semiring, fast: Pulled, slow: Pulled) -> None:
    for what, found, wanted in parts(semiring, fast, slow):
        assert torch.equal(found, wanted), what


def coefficients(prepared: Prepared) -> list[float]:
    """Return some coefficients that occur in a block, each with its neighbours."""
    if prepared.selects:
        return []
    d = prepared.at(torch.arange(prepared.block.wiring.outputs), slice(0, prepared.batch)).d.unique()[:20]
    steps = torch.full_like(d, torch.inf)
    return torch.cat([d, torch.nextafter(d, steps), torch.nextafter(d, -steps)]).tolist()


# --- what was wrong once ----------------------------------------------------------------------------------------------


def filled(weights: list[float], biases: list[float | None], dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Return a net of single neurons and ReLUs, by its weights and biases."""
    steps: list[nn.Module] = []
    for weight, bias in zip(weights, biases, strict=True):
        linear = nn.Linear(1, 1, bias is not None, dtype=dtype)
        with torch.no_grad():
            for parameter, value in zip(linear.parameters(), (weight, bias), strict=False):
                parameter.fill_(0.0 if value is None else value)
        steps += [linear, nn.ReLU()]
    return nn.Sequential(*steps[:-1])


ONCE_WRONG = {
    "p is denormal, m too": (filled([1e-30, 1e-30], [1e-30, 1e-30]), 1.0),
    "p is denormal beside a normal m": (filled([1e-30], [1e-19]), 1e-10),
    "p is 0 before the share lifts it": (filled([1e-30], [1e-20]), 1e-20),
    "w · share is 0 before the activation lifts it": (filled([1e10, 1e-30], [None, 1e19]), 1e10),
    "R / z is 0, p / z is one": (filled([1e-30, 1e10, 1e30], [1e-9, None, None]), 1e-9),
    "R is denormal": (filled([1e-10, 1e-10], [1e20, 1e10]), 1e-20),
    "all goes to a large bias": (filled([1e-19, 1.0], [1e19, None]), 1.0),
}


@pytest.mark.parametrize("semiring", ["viterbi", "tropical", "real"])
@pytest.mark.parametrize("name", ONCE_WRONG)
def test_what_was_wrong_once(name: str, semiring: str):
    net, x = ONCE_WRONG[name]
    circuit, algebra = provnet.trace(net, torch.full((1, 1), x)), provnet.semirings.get(semiring)
    for prepared, _, came, slow, fast in pulls(circuit, algebra, annotations.get(algebra.annotation), Zero()):
        agree(algebra, prepared, came, fast, slow)


@pytest.mark.parametrize(("dtype", "weight", "norm", "x"), [
    (torch.float64, 1e300, 1e160, 1e-160),
    (torch.float32, 1e30, 1e20, 1e-30),
    (torch.float32, 1e-30, 1e-15, 1e19),
    (torch.float32, 1e-25, 1e-20, 1e25),
])  # fmt: skip
@pytest.mark.guarantee("weights that a batch norm was fused into: the same where their product leaves the floats")
def test_fused_weights_that_leave_the_floats(dtype: torch.dtype, weight: float, norm: float, x: float):
    """The definition has fl(base · scale), which is inf, denormal or 0; the transposed map does with the factors."""
    with torch.random.fork_rng():
        net = nn.Sequential(nn.Conv1d(1, 2, 1, bias=False), nn.BatchNorm1d(2)).to(dtype).eval()
    with torch.no_grad():
        net[0].weight.fill_(weight)  # pyright: ignore[reportCallIssue]
        net[1].weight.fill_(norm)  # pyright: ignore[reportCallIssue]
    circuit, real = provnet.trace(net, torch.full((1, 1, 3), x, dtype=dtype)), provnet.semirings.get("real")
    for prepared, _, came, slow, fast in pulls(circuit, real, annotations.get("identity"), Zero()):
        agree(real, prepared, came, fast, slow)


@pytest.mark.parametrize("semiring", ["viterbi", "tropical", "real"])
def test_squares_that_overflow_are_refused_on_both_routes(semiring: str):
    circuit = provnet.trace(filled([1e30, 1.0], [None, None]), torch.full((1, 1), 1e-30))
    fast, slow = (answer(circuit, semiring, rule=WSquare(), route=route) for route in ("auto", "reference"))
    assert (fast is None) == (slow is None)
    assert fast is None or torch.equal(fast, slow)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("semiring", ["viterbi", "tropical", "real"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.guarantee("a few weights of 1e-40, dead channels too, leave no block to the reference route")
def test_tiny_weights_leave_the_fast_routes_to_the_rest(engine: str, semiring: str):
    """Trained nets have weights of 1e-40, and channels that decayed altogether."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.Flatten(), nn.Linear(512, 4)).eval()
        x = torch.rand(2, 3, 12, 12)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.view(-1)[::17] = 1e-40
        net[2].weight[:, 3] *= 1e-38  # pyright: ignore[reportIndexIssue]
        net[2].weight[:, 5] = 0  # pyright: ignore[reportIndexIssue]
    circuit = provnet.trace(net, x)
    with by(engine):
        found = circuit.evaluate(semiring, target=0)
    assert {step.route for step in found.plan} & {"reference", "edges"} == set()
    slow = circuit.evaluate(semiring, target=0, route="reference")
    torch.testing.assert_close(found.inputs, slow.inputs, rtol=1e-5, atol=1e-6 * float(slow.inputs.abs().max()))


LAYERS = {
    "w · share is denormal, the activation lifts it": ([[[1.0, 1e-22]]], [1e20, 1e20]),
    "a share is denormal": ([[[1e33, 0.0], [0.0, 1e33]], [[1.0, 1e-7]]], [1.0, 1.0]),
    "the output with the best path has a denormal share": ([[[1.0, 1e-10], [0.0, 1e31]], [[1.0, 1e-38]]], [1.0, 1.0]),
    "w · share is infinite, the activation brings it back": ([[[1e11, 5e10]]], [1e-40, 1e-40]),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("semiring", ["viterbi", "tropical", "real"])
@pytest.mark.parametrize("name", LAYERS)
def test_products_that_leave_the_normal_numbers_on_the_way(name: str, semiring: str, engine: str):
    weights, x = LAYERS[name]
    steps = [nn.Linear(len(w[0]), len(w), bias=False) for w in weights]
    with torch.no_grad():
        for step, w in zip(steps, weights, strict=True):
            step.weight.copy_(torch.tensor(w))
    circuit, algebra = provnet.trace(nn.Sequential(*steps), torch.tensor([x])), provnet.semirings.get(semiring)
    with by(engine):
        for prepared, _, came, slow, fast in pulls(circuit, algebra, annotations.get(algebra.annotation), Zero()):
            agree(algebra, prepared, came, fast, slow)


@pytest.mark.parametrize("start", [1e-40, 1.0, 1e15])
@pytest.mark.parametrize(("weights", "x"), [(1e-30, 1.0), (1.0, 1e-30), (1e-19, 1e-19), (1e15, 1e-20), (1e-20, 1e15)])
@pytest.mark.guarantee("sums of products stay on the transposed map at extreme scales of weights, inputs and relevance")
def test_sums_keep_their_route(weights: float, x: float, start: float):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer, inputs = nn.Linear(6, 5, bias=False), torch.randn(2, 6) * x
    with torch.no_grad():
        layer.weight.mul_(weights)
    circuit, real = provnet.trace(layer, inputs), provnet.semirings.get("real")
    prepared = circuit.session.workspace(torch.float32).prepared(0, Zero())
    assert isinstance(prepared, Prepared), "one layer is one operand"
    question, came = BlockQuestion(real, annotations.get("identity")), torch.full((2, 5), start)
    (fast,) = Transpose().pull(prepared, question, [came]) or [None]
    assert fast is not None
    agree(real, prepared, came, fast, first(prepared, question, came, "reference"))
