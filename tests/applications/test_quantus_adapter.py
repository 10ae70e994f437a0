"""The adapter for Quantus, by its calling convention; by Quantus itself where that is installed."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

import provnet
from provnet.applications.quantus_adapter import explanation_function
from provnet.errors import InputError, OptionError
from tests.nets import seeded, small_cnn


@pytest.fixture(scope="module")
def model() -> Any:
    return seeded(lambda: small_cnn(8), dtype=torch.float32)


@pytest.fixture(scope="module")
def batch() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.random((4, 1, 8, 8)).astype(np.float32), np.array([1, 0, 2, 1])


class Metric:
    """Calls as Quantus' base class does, and checks what `helpers/asserts.py` of Quantus checks."""

    def __init__(self, **explain_func_kwargs: Any) -> None:
        self.explain_func_kwargs = {"device": "cpu", **explain_func_kwargs}

    def __call__(self, model: Any, x_batch: np.ndarray, y_batch: np.ndarray, explain_func: Any) -> np.ndarray:
        assert callable(explain_func)
        a_batch = explain_func(model=model, inputs=x_batch, targets=y_batch, **self.explain_func_kwargs)
        assert type(a_batch) is np.ndarray
        assert np.shape(x_batch)[0] == np.shape(a_batch)[0]
        assert a_batch.shape == x_batch.shape
        assert np.isfinite(a_batch).all()
        assert not np.all(a_batch < 0), "Attributions should not all be less than zero."
        return a_batch


@pytest.mark.parametrize("semiring", ["real", "boolean", "counting", "viterbi", "tropical", "bottleneck"])
def test_relevance_comes_as_quantus_takes_it(model: Any, batch: tuple[np.ndarray, np.ndarray], semiring: str) -> None:
    found = Metric()(model, *batch, explain_func=explanation_function(semiring))
    wanted = provnet.trace(model, torch.from_numpy(batch[0])).evaluate(semiring, batch[1].tolist()).inputs.double()
    if semiring == "tropical":
        wanted = (-wanted).exp()
    finite = torch.isfinite(wanted).numpy()
    np.testing.assert_allclose(found[finite], wanted.numpy()[finite], rtol=1e-6)
    if not finite.all():
        assert found[~finite].max() < found[finite].min()


def test_the_metrics_own_options_win(model: Any, batch: tuple[np.ndarray, np.ndarray]) -> None:
    explain = explanation_function("real", rule="zero")
    found = Metric(rule="epsilon", semiring="viterbi")(model, *batch, explain_func=explain)
    x = torch.from_numpy(batch[0])
    wanted = provnet.trace(model, x).evaluate("viterbi", batch[1].tolist(), rule="epsilon").inputs
    np.testing.assert_array_equal(found, wanted)


def test_a_model_whose_weights_a_metric_changes_is_traced_anew(batch: tuple[np.ndarray, np.ndarray]) -> None:
    net: Any = seeded(lambda: small_cnn(8), dtype=torch.float32)
    explain = explanation_function()
    first = Metric()(net, *batch, explain_func=explain)
    with torch.no_grad():
        net[9].weight.neg_()
    assert not np.array_equal(first, Metric()(net, *batch, explain_func=explain))


def test_what_quantus_cannot_rank_is_refused(model: Any, batch: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(OptionError, match="no numbers"):
        explanation_function(provnet.semirings.KBest(2))
    for wrong in (batch[1][:2], batch[1].astype(float)):
        with pytest.raises(InputError, match="one class for each"):
            explanation_function()(model, batch[0], wrong)


def test_quantus_itself_takes_it(model: Any, batch: tuple[np.ndarray, np.ndarray]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantus = pytest.importorskip("quantus", exc_type=ImportError)
        metric = quantus.PixelFlipping(features_in_step=16, perturb_baseline="black", disable_warnings=True)
        scores = metric(model, *batch, explain_func=explanation_function("viterbi"), device="cpu")
    assert len(scores) == len(batch[0])
