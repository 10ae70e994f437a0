"""Input that cannot be explained is refused by name, and whatever happens, model and torch are left as they were."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from provnet.capture.record import record
from provnet.errors import (
    CrossExampleError,
    DeviceError,
    InputError,
    NonFiniteError,
    TraceError,
    TrainingModeError,
    UnknownNameError,
)
from tests.capture.models import CASES, Case, Lambda

X = torch.arange(6.0).reshape(2, 3) / 3


class Watched(nn.Module):
    """A model with everything that a trace could disturb: hooks, buffers that it writes, a state of its own."""

    def __init__(self, then: Callable[[Tensor], Any] = lambda y: y) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("count", torch.zeros(2))
        self.memory = torch.zeros(3)
        self.then = then
        self.linear.register_forward_pre_hook(lambda _, args: (args[0] * 1,))
        self.linear.register_forward_hook(lambda *call: call[2] + 0)

    def forward(self, x: Tensor) -> Any:
        assert isinstance(self.count, Tensor)
        self.count += 1
        self.memory[1:] = 7
        return self.then(self.linear(x) + self.count.sum() + torch.rand(()) * 0)


def state_of(model: nn.Module) -> dict[str, Any]:
    """Return all that a trace must leave alone."""
    return {
        "tensors": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "objects": {name: id(t) for name, t in (*model.named_parameters(), *model.named_buffers())},
        "attributes": {
            f"{path}.{key}": value.clone()
            for path, module in model.named_modules()
            for key, value in vars(module).items()
            if isinstance(value, Tensor)
        },
        "training": [module.training for module in model.modules()],
        "gradients": [parameter.requires_grad for parameter in model.parameters()],
        "hooks": [
            {key: list(value) for key, value in vars(module).items() if "_hooks" in key} for module in model.modules()
        ],
        "keys": [sorted(vars(module)) for module in model.modules()],
        "random": torch.get_rng_state(),
        "torch": (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.get_default_dtype(),
            torch.backends.mha.get_fastpath_enabled(),
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.mem_efficient_sdp_enabled(),
            torch.backends.cuda.math_sdp_enabled(),
            torch.backends.mkldnn.enabled,
            torch.backends.cudnn.enabled,
            torch._C._len_torch_dispatch_stack(),
            torch._C._len_torch_function_stack(),
        ),
    }


def same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    return first == second


def fail(y: Tensor) -> Tensor:
    raise ValueError("the model's own fault")


@pytest.mark.guarantee("model, parameters, hooks and torch's global state are left as found, also after an exception")
@pytest.mark.filterwarnings("ignore::provnet.errors.TraceWarning")
@pytest.mark.parametrize(
    ("then", "error"),
    [
        (lambda y: y, None),
        (fail, InputError),
        (lambda y: y @ torch.ones(5, 1), InputError),
        (lambda y: torch.fft.fft(y), TraceError),
        (lambda y: torch.ones(2), TraceError),
        (lambda y: y / 0, NonFiniteError),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_model_and_torch_are_left_as_they_were(then: Any, error: Any, training: bool) -> None:
    """Also after an error, also if the model writes to its own buffers, also in training mode."""
    model = Watched(then).train(training)
    before = copy.deepcopy(state_of(model))
    if error is None:
        record(model, X)
    else:
        with pytest.raises(error):
            record(model, X)
    after = state_of(model)
    for key, value in before.items():
        assert same(value, after[key]), key


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ordinary_models_are_left_as_they_were(case: Case) -> None:
    model, x, _ = case.build()
    model = model if isinstance(model, nn.Module) else nn.Identity()
    before, given = state_of(model), x.clone()
    record(case.build()[0], x)
    record(model, x)
    assert same(before, state_of(model))
    assert torch.equal(x, given)


def linear(change: Callable[[nn.Linear], Any] = lambda m: None) -> nn.Linear:
    model = nn.Linear(3, 2)
    with torch.no_grad():
        change(model)
    return model


def buffered(values: list[float]) -> nn.Module:
    model = Lambda(lambda m, x: x + m.mask.clamp(min=-9))
    model.register_buffer("mask", torch.tensor(values))
    return model


REFUSED: list[tuple[str, Any, Any, type[Exception], str]] = [
    ("nan_input", linear(), X / 0, NonFiniteError, "source 'input' holds .* NaN or Inf"),
    ("nan_parameter", linear(lambda m: m.weight[0].fill_(torch.nan)), X, NonFiniteError, "parameter 'weight' holds 3"),
    ("inf_parameter", linear(lambda m: m.bias.fill_(torch.inf)), X, NonFiniteError, "parameter 'bias' holds 2"),
    ("nan_buffer", buffered([0.0, torch.nan, 0.0]), X, NonFiniteError, "buffer 'mask' holds 1"),
    ("inf_buffer", buffered([0.0, -torch.inf, 1.0]), X, NonFiniteError, "buffer 'mask' holds 1"),
    ("overflow", lambda x: (x + 1) * 1e38 * 1e38, X, NonFiniteError, "'output' holds 6 NaN or Inf"),
    ("empty_batch", linear(), torch.zeros(0, 3), InputError, r"is empty, of shape \(0, 3\)"),
    ("no_axis", linear(), torch.tensor(3.0), InputError, "without an axis 0 for examples"),
    ("batches", lambda a, b: a + b[:2], (X, torch.ones(3, 3)), InputError, "differ in their number of examples"),
    ("shape", nn.Sequential(linear(), linear()), X, InputError, r"failed in '1' \(Linear\) on input \[\(2, 3\)"),
    ("dtype", linear(), X.double(), InputError, "float64"),
    ("integers", linear(), X.int(), InputError, r"If these are no numbers of tokens.*torch\.int32.*x\.float"),
    ("device", linear(), X.to("meta"), DeviceError, "is on meta, but the model is on cpu"),
    ("meta", nn.Linear(3, 2, device="meta"), X, InputError, "parameter 'weight' has no values yet"),
    ("lazy", nn.LazyLinear(2), X, InputError, "parameter 'weight' has no values yet"),
    ("dropout", nn.Sequential(linear(), nn.Dropout()), X, TrainingModeError, r"'1' would drop out.*model\.eval\(\)"),
    ("batch_norm", nn.Sequential(nn.BatchNorm1d(3)), X, TrainingModeError, r"model\.eval\(\)"),
    ("rnn_dropout", nn.LSTM(3, 2, 2, dropout=0.5), X[None], TrainingModeError, "''"),
    ("no_statistics", nn.BatchNorm1d(3, track_running_stats=False).eval(), X, CrossExampleError, "running statistics"),
    ("sparse_input", linear(), X.to_sparse(), InputError, "is a sparse tensor"),
    (
        "sparse",
        lambda x: torch.sparse.mm(torch.eye(2).to_sparse(), x),
        X,
        TraceError,
        "has a sparse tensor.*only dense",
    ),
    ("complex_input", lambda x: x.abs(), X + 0j, InputError, "no argument is a floating tensor"),
    ("complex_output", torch.fft.rfft, X, TraceError, r"\('output'\) is complex.*torch.view_as_real"),
    ("nested", lambda x: torch.nested.as_nested_tensor([x[0], x[1]]).sum(), X, TraceError, "has a nested tensor"),
    (
        "quantised",
        lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8).dequantize(),
        X,
        TraceError,
        "has a quantised tensor",
    ),
    ("no_tensor", lambda x: 1, ("x",), TraceError, "no argument is a tensor"),
    ("no_output", lambda x: 1, X, TraceError, "returned no tensor"),
    ("independent", lambda x: torch.ones(2), X, TraceError, "does not depend on any source"),
    ("comparison", lambda x: (x > 0).float(), X, TraceError, "does not depend on any source"),
    ("no_model", 3, X, InputError, "nn.Module or a function, but int came"),
    ("undefined", lambda x: (x * 1).resize_(5, 5), X, TraceError, "resize_ makes a traced tensor"),
    ("reinterpreted", lambda x: _reinterpret(x), X, TraceError, "another dtype"),
]


def _reinterpret(x: Tensor) -> Tensor:
    y = x * 1
    y.view(torch.int32)[0] = 0
    return y


@pytest.mark.guarantee(
    "NaN or Inf in model, input or output; wrong shape, dtype or device; an empty batch; dropout or batch "
    "statistics in training mode; quantised, sparse, nested and complex tensors: each is refused with "
    "cause and way out, and the model is unchanged"
)
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("model", "given", "error", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_bad_input_is_refused(model: Any, given: Any, error: type[Exception], message: str) -> None:
    random = torch.get_rng_state()
    with pytest.raises(error, match=message):
        record(model, *(given if isinstance(given, tuple) else (given,)))
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled()
    assert torch._C._len_torch_dispatch_stack() == 0


def test_a_mask_may_hold_minus_infinity() -> None:
    """As a buffer of zeros and -inf, or as an argument that is no source: attention masks do."""
    record(buffered([0.0, -torch.inf, 0.0]), X)
    mask = torch.tensor([0.0, -torch.inf, 0.0])
    record(lambda x, mask: (x + mask).softmax(1), X, mask, sources=["x"])
    with pytest.raises(NonFiniteError, match="argument 'mask' holds NaN"):
        record(lambda x, mask: x + mask, X, mask * 0, sources=["x"])


def test_training_mode_without_dropout_or_statistics_is_fine() -> None:
    record(nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.0), nn.LayerNorm(2)).train(), X)


@pytest.mark.guarantee("an error of the model's own is reported with the module it came from")
def test_the_models_own_error_is_kept_as_the_cause() -> None:
    model = nn.Sequential(nn.Linear(3, 2), Lambda(lambda _, y: fail(y)))
    with pytest.raises(InputError, match=r"failed in '1' \(Lambda\).*ValueError: the model's own fault") as caught:
        record(model, X)
    assert isinstance(caught.value.__cause__, ValueError)


def test_sources_must_be_arguments() -> None:
    with pytest.raises(UnknownNameError, match="Known: x"):
        record(lambda x: x, X, sources=["y"])
    with pytest.raises(TraceError, match="sources= is empty"):
        record(lambda x: x, X, sources=[])


# --- examples ---------------------------------------------------------------------------------------------------------


@pytest.mark.guarantee("check_batch=True finds the op that mixes examples by replay")
@pytest.mark.parametrize("batch", [2, 3, 5])
@pytest.mark.parametrize(
    ("model", "label"),
    [
        (lambda x: x - x.mean(0, keepdim=True), "sub_1"),
        (lambda x: x @ x.t(), "mm_1"),
        (lambda x: x.relu() + x.flip(0), "flip_1"),
        (lambda x: F.batch_norm(x, None, None, training=True), "native_batch_norm_1"),
        (lambda x: torch.cat([x[-1:], x[:-1]]), "cat_1"),
        (lambda x: x + x[-1:], "add_1"),
        (lambda x: x + x[:1], "add_1"),
    ],
)
def test_check_batch_finds_the_op_that_mixes_examples(model: Any, label: str, batch: int) -> None:
    x = torch.randn(batch, 4)
    record(model, x)
    with pytest.raises(CrossExampleError, match=f"First seen at '{label}'"):
        record(model, x, check_batch=True)


def test_check_batch_lets_independent_examples_pass() -> None:
    for case in CASES:
        model, x, _ = case.build()
        record(model, x, check_batch=True)


def test_check_batch_starts_at_what_tokens_look_up() -> None:
    tokens = torch.tensor([[1, 2], [3, 4]])
    record(nn.Embedding(5, 3), tokens, check_batch=True)
    mixing = Lambda(lambda m, tokens: m.table(tokens) + m.table(tokens).mean(0), table=nn.Embedding(5, 3))
    with pytest.raises(CrossExampleError, match="First seen at 'mean_1'"):
        record(mixing, tokens, check_batch=True)
