"""Fixtures that many rooms' tests share: the public data, the device, and a check that torch is left as found."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from provnet.circuit.spec import check_circuit
from provnet.circuit.unit_functions import without_own_functions
from provnet.rules.lrp import base as lrp
from provnet.rules.ops import base as ops
from provnet.semirings import base as semirings
from provnet.semirings.annotations import base as annotations
from provnet.symbolic.carriers import base as carriers
from provnet.writers import base as writers
from tests.nets import data_folder

# What kernels the tests compile stays with the checkout, and the user's own cache as it was.
os.environ.setdefault("PROVNET_CACHE", str(Path(__file__).resolve().parents[1] / ".kernels"))

# Tests are small, and two threads of each of several test runs only wait for one another.
torch.set_num_threads(1)

# The first example of a test may load torch kernels, which takes longer than Hypothesis's 200 ms.
# The suite draws the same examples in every run, so that what passed passes again; `make search` draws others.
settings.register_profile("provnet", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=50)
settings.load_profile("provnet")

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
    ),
]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    """Every device of this machine in turn."""
    return torch.device(request.param)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of public test data; the test skips where it is missing."""
    folder = data_folder()
    if folder is None:
        pytest.skip("no test data: set PROVNET_DATA to its folder, or put it into ../shared/data")
    return folder


@pytest.fixture(scope="session")
def golden(data: Path) -> dict[str, np.ndarray]:
    """Everything in golden_tiny.npz: exact expected relevances of a 3-4-3-2 network."""
    with np.load(data / "golden_tiny.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(autouse=True)
def every_traced_circuit_obeys_the_grammar() -> Iterator[None]:
    """What a trace builds anywhere in the suite is what `load` accepts."""
    module = importlib.import_module("provnet.face.trace")
    build = module.build_with_layouts

    def checked(*args: Any, **options: Any) -> Any:
        circuit, layouts = build(*args, **options)
        check_circuit(without_own_functions(circuit))
        return circuit, layouts

    # A patch of its own: the test's own one must be undone before torch's global state is looked at.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "build_with_layouts", checked)
        yield


REGISTRIES = (ops.REGISTRY, lrp.REGISTRY, semirings.REGISTRY, annotations.REGISTRY, carriers.REGISTRY, writers.REGISTRY)


@pytest.fixture(autouse=True)
def nothing_stays_registered() -> Iterator[None]:
    """What one test registers, another does not find."""
    with ExitStack() as scopes:
        for registry in REGISTRIES:
            scopes.enter_context(registry.scope())
        yield


@pytest.fixture(autouse=True)
def torch_is_left_as_found() -> Iterator[None]:
    """No test, and so nothing in provnet, may leave torch's global state changed."""
    before = global_state()
    yield
    assert global_state() == before, "torch's global state was changed"


def global_state() -> dict[str, object]:
    """Return what provnet promises to leave alone."""
    return {
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "mha fastpath": torch.backends.mha.get_fastpath_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "mkldnn": torch.backends.mkldnn.enabled,
        "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
        "module hooks": len(torch.nn.modules.module._global_forward_hooks)
        + len(torch.nn.modules.module._global_forward_pre_hooks),
    }
