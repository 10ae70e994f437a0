"""What must hold of relevance on every architecture whose ops have rules: autograd, conservation, homomorphisms, files.

An architecture that is refused by name, for want of a rule, is skipped here; `docs/coverage.md` lists those.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import provnet
import tests.zoo  # noqa: F401
from provnet.errors import CrossExampleError, InputError, MissingRuleError, ReplayError, TraceError
from tests.zoo.entries import ZOO, Run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::provnet.errors.TraceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
each = pytest.mark.parametrize("name", ZOO)
REFUSALS = (MissingRuleError, CrossExampleError, InputError, TraceError)


@lru_cache(maxsize=1)
def case(name: str) -> tuple[Run, provnet.Circuit]:
    """Return an architecture in double precision and its circuit. Skips those that are refused."""
    run = ZOO[name].build(torch.float64)
    try:
        return run, provnet.trace(run.model, *run.args, model_kwargs=run.kwargs)
    except REFUSALS as refused:
        pytest.skip(f"refused: {str(refused)[:100]}")


def weighting(circuit: provnet.Circuit) -> Tensor:
    """Return numbers of both signs, one for each entry of the first output."""
    shape = circuit.outputs[0].shape
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def asked(circuit: provnet.Circuit, **options: Any) -> dict[str, Any]:
    """Return the arguments of an evaluation of the first output."""
    return {"target": weighting(circuit), "output": 0, "dtype": torch.float64, **options}


def sources(circuit: provnet.Circuit, answer: provnet.Relevance) -> dict[str, Any]:
    return {name: answer[name] for name in circuit.sources}


@contextmanager
def leaves(run: Run, circuit: provnet.Circuit) -> Iterator[dict[str, Tensor]]:
    """Make what the circuit starts from leaves of autograd's graph: float inputs, and the results of look-ups."""
    found: dict[str, Tensor] = {}
    handles = {
        circuit.session.data.activations[s].names[0]: circuit.session.data.activations[s].handle
        for s in circuit.session.data.sources
    }

    def leaf(tensor: Tensor) -> Tensor:
        for name, handle in handles.items():
            if name not in found and handle.shape == tensor.shape and torch.equal(handle, tensor):
                found[name] = tensor.detach().clone().requires_grad_()
                return found[name]
        return tensor

    def forward(module: nn.Module, args: Any, output: Any) -> Any:
        return leaf(output)

    looks = [m for m in run.model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)]
    hooks = [module.register_forward_hook(forward) for module in looks]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.guarantee("rule='gradient' is autograd on every architecture of the zoo")
@each
def test_the_gradient_is_autograds(name: str) -> None:
    """In double precision: no op's derivative is missing, and none is there twice."""
    run, circuit = case(name)
    if not isinstance(run.model, nn.Module):
        pytest.skip("a function has no modules to hook")
    single = any(activation.handle.dtype == torch.float32 for activation in circuit.session.data.activations.values())
    # These convert to float32 inside; a written-out norm is one step, in the dtype around it.
    single |= any(type(module).__name__.endswith(("RMSNorm", "T5LayerNorm")) for module in run.model.modules())
    answer = circuit.evaluate("real", rule="gradient", **asked(circuit))
    with leaves(run, circuit) as found:

        def given(value: Any) -> Any:
            if not isinstance(value, Tensor) or not value.is_floating_point():
                return value
            return _named(found, circuit, value)

        args, kwargs = [given(a) for a in run.args], {key: given(a) for key, a in run.kwargs.items()}
        outputs = _tensors(run.model(*args, **kwargs))
    first = circuit.outputs[0]
    output = next(
        o for o in outputs if o.shape == first.shape and torch.allclose(o.double(), first.double(), atol=1e-5)
    )
    if set(found) != set(circuit.sources):
        pytest.skip(f"the sources {circuit.sources} are no inputs and no modules' look-ups")
    names = sorted(found)
    total = (output.double() * weighting(circuit)).sum()
    slopes = torch.autograd.grad(total, [found[key] for key in names], allow_unused=True)
    for key, slope in zip(names, slopes, strict=True):
        wanted = torch.zeros_like(found[key]) if slope is None else slope
        size = float(wanted.abs().max()) or 1.0
        torch.testing.assert_close(answer[key], wanted, rtol=0, atol=size * (1e-4 if single else 1e-8))


def _named(found: dict[str, Tensor], circuit: provnet.Circuit, value: Tensor) -> Tensor:
    """Return a float input as a leaf, if it is a source."""
    for activation in circuit.session.data.sources:
        held = circuit.session.data.activations[activation]
        if held.names[0] not in found and held.handle.shape == value.shape and torch.equal(held.handle, value):
            found[held.names[0]] = value.detach().clone().requires_grad_()
            return found[held.names[0]]
    return value


def _tensors(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    if hasattr(tree, "values") and not isinstance(tree, type):
        tree = list(tree.values())
    if hasattr(tree, "__dataclass_fields__"):
        tree = list(vars(tree).values())
    return [found for part in tree for found in _tensors(part)] if isinstance(tree, list | tuple) else []


@pytest.mark.guarantee("Σ inputs + Σ sinks is the start on every architecture of the zoo")
@pytest.mark.parametrize(
    "options",
    [{}, {"rule": "attnlrp"}, {"products": "value", "softmax": "constant", "norm": "identity"}],
    ids=["defaults", "AttnLRP", "value"],
)
@each
def test_relevance_is_accounted_for(name: str, options: dict[str, Any]) -> None:
    _, circuit = case(name)
    answer = circuit.evaluate("real", **asked(circuit, **options))
    report = answer.conservation()
    size = max(float(answer[key].abs().sum()) for key in circuit.sources) + 1.0
    assert report.residual() < 1e-8 * size
    taken = sum(answer.sinks.values()) + sum(answer[key].flatten(1).sum(1) for key in circuit.sources)
    torch.testing.assert_close(taken, report.start, rtol=0, atol=1e-8 * size)


@pytest.mark.guarantee("Boolean is where counting is not zero, and −log Viterbi is tropical, on every architecture")
@each
def test_homomorphisms(name: str) -> None:
    """x -> [x > 0] of the naturals to the Booleans, -log of the best product to the least sum."""
    _, circuit = case(name)
    place = (0,) * max(circuit.outputs[0].dim() - 1, 1)
    given = {"target": place if len(place) > 1 else 0, "output": 0, "dtype": torch.float64}
    boolean = sources(circuit, circuit.evaluate("boolean", **given))
    counts = sources(circuit, circuit.evaluate("counting", exact=True, **given))
    best, cheapest = (sources(circuit, circuit.evaluate(s, **given)) for s in ("viterbi", "tropical"))
    for key in circuit.sources:
        assert boolean[key].tolist() == (counts[key] > 0).tolist()
        # A product may underflow where a sum does not.
        kept = best[key] > 1e-290
        torch.testing.assert_close(-best[key][kept].log(), cheapest[key][kept], rtol=1e-9, atol=1e-9)
        assert bool((cheapest[key][~kept] > 600).all())


@pytest.mark.guarantee("a circuit of every architecture of the zoo is saved and loaded to the bit")
@each
def test_files(name: str, tmp_path: Path) -> None:
    _, circuit = case(name)
    provnet.save(circuit, tmp_path / "circuit")
    again = provnet.load(tmp_path / "circuit")
    assert isinstance(again, provnet.Circuit)
    for options in ({}, {"rule": "attnlrp"}):
        one, other = (c.evaluate("real", **asked(circuit, **options)) for c in (circuit, again))
        assert all(torch.equal(one[key], other[key]) for key in circuit.sources)


@pytest.mark.guarantee("examples traced in a batch have the relevance that they have one by one")
@each
def test_one_by_one(name: str) -> None:
    run, circuit = case(name)
    given = [*run.args, *run.kwargs.values()]
    if not all(isinstance(value, Tensor) and value.shape[:1] == (circuit.batch,) for value in given):
        pytest.skip("not every argument is a tensor of examples")
    together = circuit.evaluate("real", **asked(circuit))
    for example in range(circuit.batch):
        part = slice(example, example + 1)
        try:
            alone = provnet.trace(
                run.model, *(a[part] for a in run.args), model_kwargs={key: a[part] for key, a in run.kwargs.items()}
            )
        except provnet.errors.InputError as error:
            pytest.skip(f"the model takes no other number of examples: {error}")
        if alone.outputs[0].shape[1:] != circuit.outputs[0].shape[1:] or not torch.allclose(
            alone.outputs[0][0], circuit.outputs[0][example], atol=1e-6
        ):
            pytest.skip("alone, the model computes something else")
        found = alone.evaluate("real", weighting(circuit)[part], output=0, dtype=torch.float64)
        for key in circuit.sources:
            size = float(together[key].abs().max()) + 1e-6
            torch.testing.assert_close(found[key][0], together[key][example], rtol=0, atol=1e-6 * size)


REASONS = ("comes up inside", "computed from the input", "becomes a Python number", "random numbers are drawn")


@pytest.mark.guarantee("a circuit of every architecture of the zoo is put on other inputs to the bit, or says why not")
@each
def test_other_inputs(name: str) -> None:
    """The other inputs are the same examples in another order; masks and other arguments stay."""
    run, circuit = case(name)
    handles = [circuit.session.data.activations[source].handle for source in circuit.session.data.sources]

    def turned(value: Any) -> Any:
        source = isinstance(value, Tensor) and any(value.shape == h.shape and torch.equal(value, h) for h in handles)
        return value.flip(0) if source and value.shape[:1] == (circuit.batch,) else value

    kwargs = {key: turned(value) for key, value in run.kwargs.items()}
    fresh = provnet.trace(run.model, *map(turned, run.args), model_kwargs=kwargs)
    data = fresh.session.data
    given = {source: data.activations[i].handle for source, i in zip(fresh.sources, data.sources, strict=True)}
    moved = said = None
    try:
        moved = circuit.on(**given)
    except ReplayError as refused:
        said = str(refused)
    if moved is None:
        assert said is not None and any(reason in said for reason in REASONS)
        assert name not in ("resnet", "vit_sdpa", "convnext", "unet", "densenet")
        return
    one, other = (c.evaluate("real", **asked(fresh)) for c in (moved, fresh))
    assert all(torch.equal(one[key], other[key]) for key in fresh.sources)
