"""The ways out that tracing names."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import provnet
from provnet.capture.decompose.recurrent import mkldnn_layer
from provnet.errors import (
    CrossExampleError,
    DeviceError,
    InputError,
    LimitError,
    MissingRuleError,
    OptionError,
    StaleCircuitError,
    TraceError,
    TrainingModeError,
    UnsupportedOperationError,
)
from provnet.rules.ops import matrix_functions, running
from provnet.rules.ops.base import REGISTRY
from tests.advice.refusals import X, answer, code, dense, positive, refused
from tests.advice.sites import follows
from tests.capture.models import Lambda


@follows("Write one with provnet.register_op(")
@pytest.mark.guarantee("every way out that a message names in code is followed by a test, and leads to a result")
@pytest.mark.parametrize("kind", ["function", "module", "inner", "method"])
def test_an_op_without_a_rule_is_kept_whole_as_the_message_says(kind: str):
    inner = Lambda(lambda m, x: torch.special.i0e(x))
    model: Any = {
        "function": torch.special.i0e,
        "module": inner,
        "inner": nn.Sequential(positive(nn.Linear(3, 3)), inner),
        "method": nn.Sequential(inner).forward,
    }[kind]
    message = refused(lambda: provnet.trace(model, X), MissingRuleError)
    opaque = code(message, r"opaque=(\{.*?\})")
    answer(provnet.trace(model, X, opaque=opaque))


def test_a_function_may_be_one_of_several_that_are_kept_whole():
    net = positive(nn.Linear(3, 3))
    for opaque in ({"": "uniform"}, [""], ""):
        circuit = provnet.trace(lambda x: net(x) * x, X, opaque=opaque)
        assert [block.op for block in circuit.session.data.blocks] == ["provnet.opaque"]
    circuit = provnet.trace(lambda x: net(x) + 1, X, opaque=["net"])
    assert circuit.session.data.blocks[0].op == "provnet.opaque"


def test_a_rule_of_ones_own_is_written_as_the_message_says():
    library = torch.library.Library("advice", "DEF")
    library.define("triple(Tensor x) -> Tensor")
    library.impl("triple", lambda x: x * 3, "CompositeExplicitAutograd")

    def model(x: Tensor) -> Tensor:
        return torch.ops.advice.triple(x)

    name = code(refused(lambda: provnet.trace(model, X), MissingRuleError), r"register_op\(('.*?')\)")
    provnet.register_op(name, form="identity")
    answer(provnet.trace(model, X))


def test_token_ids_are_explained_where_they_are_looked_up():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2))
    positive(model)
    answer(provnet.trace(model, torch.tensor([[1, 2, 8]])))


@follows("convert them: x.float().")
def test_whole_quantities_are_converted():
    x = torch.tensor([[1, 2, 3]])
    model = dense(3, 2).float()
    assert "x.float()" in refused(lambda: provnet.trace(model, x), InputError)
    answer(provnet.trace(model, x.float()))


@follows("Add one: x.unsqueeze(0), or say where", "Add one: x.unsqueeze(0).")
@pytest.mark.guarantee("one example without a batch axis is recognised, and the message says how to add it")
@pytest.mark.parametrize(
    ("model", "x"),
    [
        (dense(3, 2), X[0]),
        (positive(nn.Conv2d(3, 2, 3)), torch.ones(3, 5, 5, dtype=torch.float64)),
        (positive(nn.Conv1d(3, 2, 3)), torch.ones(3, 5, dtype=torch.float64)),
        (positive(nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(2, 1, 1))), torch.ones(2, 4, 4, dtype=torch.float64)),
        (lambda x: x.sum(-1) * 2, X[0]),
        (lambda x: x.softmax(0).sum() if x.dim() == 0 else x * 2, X[0, 0]),
    ],
)
def test_a_forgotten_batch_axis_is_added(model: Any, x: Tensor):
    message = refused(lambda: provnet.trace(model, x), (InputError, CrossExampleError))
    assert "x.unsqueeze(0)" in message
    assert "mixes examples" not in message
    answer(provnet.trace(model, x.unsqueeze(0)))


@follows("(one example needs a batch axis: x.unsqueeze(0))")
def test_a_shape_error_names_the_batch_axis_too():
    model = positive(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(18, 2)))
    x = torch.ones(1, 5, 5, dtype=torch.float64)
    assert "x.unsqueeze(0)" in refused(lambda: provnet.trace(model, x), InputError)
    answer(provnet.trace(model, x.unsqueeze(0)))


@follows("with a batch axis of its own (x.unsqueeze(0))")
def test_examples_that_mix_are_traced_one_by_one_or_along_their_axis():
    def model(x: Tensor) -> Tensor:
        return x - x.mean(0, keepdim=True) * 0.5

    wide = torch.ones(2, 3, 4, dtype=torch.float64)
    assert "batch_dim" in refused(lambda: provnet.trace(model, wide), CrossExampleError)
    answer(provnet.trace(model, wide, batch_dim=1))
    answer(provnet.trace(model, wide[0].unsqueeze(0)))


@follows("or say which axis carries examples: batch_dim=.")
def test_examples_that_a_replay_finds_mixed_lie_on_another_axis():
    def model(x: Tensor) -> Tensor:
        return x + x.flip(0)

    x = torch.ones(2, 3, 2, dtype=torch.float64)
    assert "batch_dim" in refused(lambda: provnet.trace(model, x, check_batch=True), CrossExampleError)
    answer(provnet.trace(model, x, check_batch=True, batch_dim=1))


@follows("Use track_running_stats=True", "(training mode, or track_running_stats=False)")
def test_batch_norm_keeps_running_statistics():
    refused(lambda: provnet.trace(nn.BatchNorm1d(3, track_running_stats=False).double().eval(), X))
    norm = nn.functional.batch_norm
    assert "track_running_stats" in refused(lambda: provnet.trace(lambda x: norm(x, None, None, training=True), X))
    answer(provnet.trace(nn.BatchNorm1d(3, track_running_stats=True).double().eval(), X))


@follows("Call model.eval() first.", "call model.eval() before tracing")
def test_a_model_in_training_mode_is_put_into_evaluation():
    model = nn.Sequential(positive(nn.Linear(3, 2)), nn.Dropout()).train()
    assert "model.eval()" in refused(lambda: provnet.trace(model, X), TrainingModeError)
    functional = Lambda(lambda m, x: torch.native_dropout(x, 0.5, m.training)[0])
    assert "model.eval()" in refused(lambda: provnet.trace(functional, X), TrainingModeError)
    answer(provnet.trace(model.eval(), X))
    answer(provnet.trace(functional.eval(), X))


@follows("or name only some as sources: sources=[…].")
def test_sources_of_different_batches_are_named():
    def model(x: Tensor, table: Tensor) -> Tensor:
        return x @ table

    refused(lambda: provnet.trace(model, X, torch.ones(3, 2).double()), InputError)
    answer(provnet.trace(model, X, torch.ones(3, 2).double(), sources=["x"]))


@follows("Move one: x.to(device).")
def test_an_input_on_another_device_is_moved():
    model = dense(3, 2)
    refused(lambda: provnet.trace(model, X.to("meta")), DeviceError)
    answer(provnet.trace(model, X.to(next(model.parameters()).device)))


@follows("which is unknown: keep its module whole with opaque=.", "whole: trace(model, x, opaque={")
def test_what_cannot_be_recorded_is_kept_whole():
    fused = refused(lambda: mkldnn_layer(X, X, X, X, X, X, X, False, [], 99), TraceError)
    assert "opaque=" in fused
    nested = Lambda(lambda m, x: torch.nested.as_nested_tensor([x[0], x[1]]).to_padded_tensor(0.0))
    for one in (nn.Sequential(positive(nn.Linear(3, 3)), nested), nested):
        message = refused(lambda one=one: provnet.trace(one, X), TraceError)
        answer(provnet.trace(one, X, opaque=code(message, r"opaque=(\{.*?\})")))
    gru = nn.GRU(3, 2, batch_first=True).double().eval()
    answer(provnet.trace(nn.Sequential(gru), X[:, None], opaque={"0": "jacobian"}))


@follows("Trace the model as it was before it was quantised")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_a_quantised_model_is_traced_as_it_was():
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("no engine for quantised layers")
    whole = dense(3, 2).float()
    quantised = torch.ao.quantization.quantize_dynamic(whole, {nn.Linear}, dtype=torch.qint8)
    assert "opaque=" in refused(lambda: provnet.trace(quantised, X.float()), TraceError)
    answer(provnet.trace(whole, X.float()))
    answer(provnet.trace(quantised, X.float(), opaque={"0": "uniform"}))


@follows("is complex, and relevance starts at real numbers", "that gets and returns real ones, or hand over the parts")
def test_complex_results_are_given_by_their_parts():
    """Of the model, and of a module that is kept whole."""
    assert "z.abs()" in refused(lambda: provnet.trace(torch.fft.rfft, X), TraceError)
    answer(provnet.trace(lambda x: torch.fft.rfft(x).abs(), X))
    answer(provnet.trace(lambda x: torch.view_as_real(torch.fft.rfft(x)).flatten(1), X))
    inner = nn.Sequential(Lambda(lambda m, x: torch.fft.rfft(x)), Lambda(lambda m, z: z.abs()))
    for path in ("0.0", "0.1"):
        message = refused(lambda path=path: provnet.trace(nn.Sequential(inner), X, opaque=[path]), TraceError)
        assert "around it" in message
    answer(provnet.trace(nn.Sequential(inner), X, opaque=["0"]))
    parts = nn.Sequential(
        Lambda(lambda m, x: torch.view_as_real(torch.fft.rfft(x))), Lambda(lambda m, z: z.norm(dim=-1))
    )
    answer(provnet.trace(parts, X, opaque=["0", "1"]))


@follows("Write to a tensor that was converted: x.to(dtype).", "Convert it: x.to(dtype).")
def test_memory_is_read_as_one_dtype():
    def written(x: Tensor) -> Tensor:
        y = x * 1
        y.view(torch.int64)[0] = 0
        return y

    def read(x: Tensor) -> Tensor:
        y = x * 1
        z = y.view(torch.int64)
        y.mul_(2)
        return y + z.clone().double()

    def converted(x: Tensor) -> Tensor:
        y = x * 1
        z = y.to(torch.float32)
        z[:, 0] = 0
        return y + z.to(torch.float64)

    for model in (written, read):
        assert "x.to(dtype)" in refused(lambda model=model: provnet.trace(model, X), TraceError)
    answer(provnet.trace(converted, X))


@follows(
    "Write to a copy, or trace without differentiable=True.",
    "or trace without differentiable=True.",
    "Trace without differentiable=True, or without these.",
    "keeps a state. Trace without differentiable=True.",
    "which has no derivative of its own. Trace without differentiable=True",
)
@pytest.mark.filterwarnings("ignore::provnet.errors.TraceWarning")
@pytest.mark.parametrize(
    "model",
    [
        lambda x: (x * 1).detach() + x,
        lambda x: (x * 1).data + x,
        nn.Sequential(Lambda(lambda m, x: x * x.sigmoid())),
        nn.Sequential(Lambda(lambda m, x: counted(m, x))),
    ],
)
def test_what_has_no_graph_is_traced_without_one(model: Any):
    options: dict[str, Any] = {"opaque": {"0": "jacobian"}} if isinstance(model, nn.Module) else {}
    x = X.clone().requires_grad_()
    message = refused(lambda: provnet.trace(model, x, differentiable=True, **options))
    assert "without differentiable=True" in message or "without\ndifferentiable" in message
    if "keeps a state" not in message:
        answer(provnet.trace(model, X, **options))


CALLS = itertools.count(1)


def counted(_: Any, x: Tensor) -> Tensor:
    """Return other numbers at each call, by a state outside the module, which nothing can put back."""
    return x * next(CALLS)


@follows("Leave it out with differentiable=True.")
def test_a_copy_has_no_graph():
    model, x = dense(3, 2), X.clone().requires_grad_()
    refused(lambda: provnet.trace(model, x, copy=True, differentiable=True), OptionError)
    answer(provnet.trace(model, x, differentiable=True))


@follows(
    "so the activations of a lean circuit cannot be made again. Trace again, or trace with copy=True.",
    "activations and weights no longer belong together. Trace again, or trace with copy=True.",
)
@pytest.mark.parametrize("lean", [False, True])
def test_a_changed_model_is_traced_again_or_copied(lean: bool):
    model: Any = dense(3, 4, 2)
    stale, copied = provnet.trace(model, X, lean=lean), provnet.trace(model, X, copy=True, lean=lean)
    with torch.no_grad():
        model[0].weight.add_(1)
    assert "copy=True" in refused(lambda: answer(stale), StaleCircuitError)
    answer(copied)
    answer(provnet.trace(model, X, lean=lean))


@pytest.mark.parametrize(
    ("function", "x"),
    [
        (torch.linalg.eigvalsh, torch.eye(3, dtype=torch.float64)[None]),
        (torch.linalg.inv, torch.eye(3, dtype=torch.float64).expand(9, 3, 3).clone()),
        (lambda x: x.cumprod(1), torch.full((9, 9), 0.5, dtype=torch.float64)),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_what_has_no_derivative_of_a_size_is_kept_whole(
    function: Any, x: Tensor, inside: bool, monkeypatch: pytest.MonkeyPatch
):
    for module in (matrix_functions, running):
        monkeypatch.setattr(module, "LIMIT", 512)
    model: Any = nn.Sequential(Lambda(lambda m, x: function(x))) if inside else function
    message = refused(lambda: provnet.trace(model, x), (LimitError, TraceError))
    answer(provnet.trace(model, x, opaque=code(message, r"opaque=(\{.*?\})")))
    if "smaller batch" in message:
        answer(provnet.trace(model, x[:1]))
    else:
        answer(provnet.trace(model, x + torch.diag(torch.arange(3.0))))


@follows("take mode='bilinear'")
def test_a_grid_that_is_computed_is_not_cubic():
    def sampled(mode: str) -> Any:
        return lambda x: F.grid_sample(x[:, None], (x * 0.1).unsqueeze(-1).expand(-1, -1, -1, 2), mode, "border")

    x = X.expand(2, 2, 3).clone()
    assert "mode='bilinear'" in refused(lambda: provnet.trace(sampled("bicubic"), x), MissingRuleError)
    answer(provnet.trace(sampled("bilinear"), x))


@follows(
    "no result has a gradient. Use opaque='uniform' for it.",
    "Use opaque='uniform' for it, or trace into the module.",
    "Use opaque='uniform' for it, a smaller batch, or trace into the module.",
    "keep a state? Use opaque='uniform' for it.",
)
@pytest.mark.filterwarnings("ignore::provnet.errors.TraceWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("inner", "size"),
    [
        (lambda m, x: x.detach() * 2, 3),
        (lambda m, x: (x - x).sqrt() + x, 3),
        (lambda m, x: counted(m, x), 3),
        (lambda m, x: x * 2, 6000),
    ],
    ids=["no gradient", "not finite", "state", "large"],
)
def test_what_has_no_jacobian_is_uniform(inner: Any, size: int):
    """The message says opaque='uniform': the mode to give for the module that it names."""
    model, x = nn.Sequential(Lambda(inner)), torch.ones(2, size, dtype=torch.float64)
    message = refused(lambda: provnet.trace(model, x, opaque={"0": "jacobian"}))
    mode = code(message, r"opaque=('\w+')")
    answer(provnet.trace(model, x, opaque={"0": mode}))


@follows(
    "none of its arguments. Pass it as an argument",
    "Make it write to a copy, or do not declare it opaque.",
    "computed but did not return. Return it",
)
def test_an_opaque_module_gets_its_input_and_gives_its_result():
    memory: dict[str, Tensor] = {}

    def keeping(_: Any, x: Tensor) -> Tensor:
        memory["kept"] = x * 2
        return x + 1

    def around(m: Any, x: Tensor) -> Tensor:
        memory["outer"] = x * 2
        return m.inner(x)

    models: list[tuple[str, nn.Module, nn.Module]] = [
        (
            "Pass it as an argument",
            Lambda(around, inner=Lambda(lambda _, x: x + memory["outer"])),
            Lambda(lambda m, x: m.inner(x, x * 2), inner=Lambda(lambda _, x, y: x + y)),
        ),
        (
            "Make it write to a copy",
            Lambda(lambda m, x: m.inner(x * 2), inner=Lambda(lambda _, x: x.mul_(2))),
            Lambda(lambda m, x: m.inner(x * 2), inner=Lambda(lambda _, x: x.clone().mul_(2))),
        ),
        (
            "Return it",
            Lambda(lambda m, x: m.inner(x) + memory["kept"], inner=Lambda(keeping)),
            Lambda(lambda m, x: sum(m.inner(x)), inner=Lambda(lambda _, x: (x + 1, x * 2))),
        ),
    ]
    for advice, wrong, right in models:
        assert advice in refused(lambda wrong=wrong: provnet.trace(wrong, X, opaque=["inner"]), TraceError)
        answer(provnet.trace(wrong, X))
        answer(provnet.trace(right, X, opaque=["inner"]))


# --- sources ----------------------------------------------------------------------------------------------------------


def embedding() -> nn.Module:
    return positive(nn.Sequential(nn.Embedding(4, 3)))


IDS = torch.tensor([[0, 1], [2, 3]])


@follows("which axis of the sources holds the examples: batch_dim=.")
def test_the_examples_axis_is_named():
    function = Lambda(lambda m, x: x.sum(-1))
    refused(lambda: provnet.trace(function, X[0], batch_dim=1), InputError)
    answer(provnet.trace(function, X, batch_dim=0))


@follows("with them as numbers, name them: sources={}.")
def test_integers_that_are_numbers_are_named():
    model = Lambda(lambda m, n: n.double() @ torch.ones(2, 1, dtype=torch.float64))
    message = refused(lambda: provnet.trace(model, IDS + 1), TraceError)
    answer(provnet.trace(model, IDS + 1, sources=code(message, r"sources=(\[.*\])\.")))


@follows("or say where the examples are: batch_dim=.")
def test_examples_that_are_looked_up_elsewhere_are_said():
    net = embedding()
    model = Lambda(lambda m, ids: m.net(ids.t().reshape(-1)[:3]).sum(), net=net)
    refused(lambda: provnet.trace(model, IDS), (CrossExampleError, InputError, TraceError))
    found = provnet.trace(Lambda(lambda m, ids: m.net(ids).sum(0), net=net), IDS, batch_dim=1)
    answer(found)


@follows("Convert the input (x.float()), or name the sources: sources=['…'].")
def test_booleans_are_converted_or_named():
    model = Lambda(lambda m, x: x.double() @ torch.ones(3, 1, dtype=torch.float64))
    refused(lambda: provnet.trace(model, X > 1), InputError)
    answer(provnet.trace(model, (X > 1).float()))


@follows("output is a source: sources=['path.to.module'].")
def test_a_modules_output_is_a_source_by_its_path():
    model = dense(3, 4, 2)
    message = refused(lambda: provnet.trace(model, X, sources=["nowhere"]))
    assert "sources=['path.to.module']" in message
    answer(provnet.trace(model, X, sources=["0"]))


@follows("trace(batch_norm='kept') keeps the two apart")
def test_a_parameter_that_is_fused_is_asked_for_with_its_norm_apart():
    net = positive(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))).eval()
    message = refused(lambda: provnet.trace(net, X, sources=["0.weight"]), UnsupportedOperationError)
    kept = code(message, r"batch_norm=('.*?')")
    circuit = provnet.trace(net, X, sources=["0.weight"], batch_norm=kept)
    assert circuit.evaluate("real", 0)["0.weight"].shape == (len(X), 3, 3)


@follows("copies of weights are no parameters of the model")
def test_parameters_are_sources_without_copies():
    net = positive(nn.Linear(3, 2))
    refused(lambda: provnet.trace(net, X, sources=["weight"], copy=True), OptionError)
    assert provnet.trace(net, X, sources=["weight"]).evaluate("real", 0)["weight"].shape == (len(X), 2, 3)


@follows("Where one of the two is the only source, trace(sources=[...]), the other is constant")
def test_of_images_and_texts_one_is_the_source():
    def model(image: Tensor, text: Tensor) -> Tensor:
        return image @ text.t()

    refused(lambda: provnet.trace(model, X, X + 1), CrossExampleError)
    answer(provnet.trace(model, X, X + 1, sources=["image"]))


@pytest.mark.guarantee("an op on complex numbers without a rule is refused by name, and register_op takes that name")
@pytest.mark.parametrize("inside", [False, True])
def test_an_op_on_complex_numbers_has_the_same_ways_out(inside: bool):
    spectrum = Lambda(lambda m, x: torch.fft.fft(x).tanh().real)
    model = nn.Sequential(positive(nn.Linear(3, 3)), spectrum) if inside else spectrum
    message = refused(lambda: provnet.trace(model, X), MissingRuleError)
    assert "of complex numbers, seen as pairs" in message
    answer(provnet.trace(model, X, opaque=code(message, r"opaque=(\{.*?\})")))
    name = code(message, r"register_op\(('.*?')\)")
    with REGISTRY.scope():
        provnet.register_op(name, form="jacobian")
        circuit = provnet.trace(model, X)
    leaf = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)
    torch.testing.assert_close(circuit.evaluate("real", 1, "gradient").inputs, slope)
