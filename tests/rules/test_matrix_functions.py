"""Inverses, linear systems, determinants and factors of matrices: shares by hand, autograd, what every op keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import provnet
from provnet.errors import CrossExampleError
from tests.nonlinear_cases import seeded
from tests.rules.one_function import keeps_its_promises

EYE = 2 * torch.eye(2, dtype=torch.float64)
A = seeded(50, 2, 2) + EYE


def spd(x: Tensor) -> Tensor:
    return x @ x.mT + EYE


CASES: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "inverse": ((2, 2, 2), lambda x: torch.linalg.inv(x + EYE)),
    "inverses in a stack": ((2, 2, 2, 2), lambda x: torch.linalg.inv(x + EYE)),
    "determinant": ((2, 2, 2), lambda x: torch.linalg.det(x)[:, None]),
    "determinants in a stack": ((2, 2, 2, 2), torch.linalg.det),
    "logarithm of a determinant": ((2, 2, 2), lambda x: torch.linalg.slogdet(x + EYE)[1][:, None]),
    "solution": ((2, 2, 2), lambda x: torch.linalg.solve(spd(x), x)),
    "solution of one system": ((2, 2, 3), lambda x: torch.linalg.solve(A, x)),
    "solution for a vector": ((2, 2, 2), lambda x: torch.linalg.solve(spd(x), x[..., 0])),
    "from the right": ((2, 2, 2), lambda x: torch.linalg.solve(A, x, left=False)),
    "triangular": ((2, 2, 2), lambda x: torch.linalg.solve_triangular(A.tril(), x, upper=False)),
    "triangular with ones": (
        (2, 2, 2),
        lambda x: torch.linalg.solve_triangular(x, x, upper=True, unitriangular=True),
    ),
    "by Cholesky": ((2, 2, 2), lambda x: torch.cholesky_solve(x, torch.linalg.cholesky(spd(x)))),
    "inverse by Cholesky": ((2, 2, 2), lambda x: torch.cholesky_inverse(torch.linalg.cholesky(spd(x)))),
    "eigenvalues": ((2, 2, 2), lambda x: torch.linalg.eigvalsh(x)),
    "eigenvectors": ((2, 2, 2), lambda x: torch.linalg.eigh(x + x.mT)[1].abs()),
    "singular values": ((2, 2, 3), torch.linalg.svdvals),
    "orthogonal factor": ((2, 3, 2), lambda x: torch.linalg.qr(x)[0]),
    "pseudo-inverse": ((2, 3, 2), torch.linalg.pinv),
    "exponential": ((2, 2, 2), torch.linalg.matrix_exp),
    "least squares": ((2, 2, 2), lambda x: torch.linalg.lstsq(A.expand(2, -1, -1)[: len(x)].clone(), x).solution),
}


@pytest.mark.guarantee("inverses, linear systems, determinants, factors of matrices: the gradient is autograd's")
@pytest.mark.parametrize("name", CASES)
def test_promises(name: str) -> None:
    shape, function = CASES[name]
    keeps_its_promises(function, seeded(51, *shape))


def test_an_inverse_is_shared_as_a_reciprocal_is() -> None:
    """Of a matrix of one entry the inverse is 1/a; nothing is lost in any."""
    x = seeded(52, 3, 1, 1)
    inverse, reciprocal = (
        provnet.trace(lambda x: torch.linalg.inv(x).flatten(1), x),
        provnet.trace(lambda x: (1 / x).flatten(1), x),
    )
    for rule in ("zero", "gradient"):
        found, wanted = (one.evaluate("real", 0, rule).inputs for one in (inverse, reciprocal))
        torch.testing.assert_close(found, wanted)
    a = seeded(53, 2, 3, 3)
    relevance = provnet.trace(lambda x: torch.linalg.inv(x).flatten(1), a).evaluate("real", 5)
    z = torch.linalg.inv(a)
    wanted = torch.einsum("bi,bij,bj->bij", z[:, 1], a, z[:, :, 2]) / z[:, 1, 2, None, None]
    torch.testing.assert_close(relevance.inputs, wanted)
    assert relevance.conservation().holds(1e-9)


def test_a_solution_is_linear_in_the_right_side() -> None:
    x = seeded(54, 2, 2, 3)
    circuit = provnet.trace(lambda x: torch.linalg.solve(A, x).flatten(1), x)
    inner = provnet.trace(lambda x: (torch.linalg.inv(A) @ x).flatten(1), x)
    torch.testing.assert_close(circuit.evaluate("real", 4).inputs, inner.evaluate("real", 4).inputs)


def test_a_matrix_of_all_examples_is_refused() -> None:
    with pytest.raises(CrossExampleError, match="its matrix holds all examples"):
        provnet.trace(lambda x: torch.linalg.inv(x + EYE), seeded(55, 2, 2))


def test_they_are_saved(tmp_path: Path) -> None:
    for name in ("inverse", "determinant", "exponential"):
        circuit = provnet.trace(lambda x, name=name: CASES[name][1](x).flatten(1), seeded(56, 2, 2, 2))
        provnet.save(circuit, tmp_path / name)
        again = provnet.load(tmp_path / name)
        assert isinstance(again, provnet.Circuit)
        for rule in ("zero", "gradient"):
            assert torch.equal(again.evaluate("real", 0, rule).inputs, circuit.evaluate("real", 0, rule).inputs)
