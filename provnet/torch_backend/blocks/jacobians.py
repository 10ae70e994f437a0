"""Derivatives of ops that mix the entries of a row (norms, softmaxes), by running them again under autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.circuit.blocks import Activation
from provnet.circuit.weights import Jacobian
from provnet.errors import LimitError
from provnet.torch_backend.blocks.rows import shaped, tensor_of
from provnet.torch_backend.blocks.slopes import run_call
from provnet.torch_backend.blocks.weight_factors import Structured

LIMIT = 1 << 28
"""Entries of a Jacobian that are listed, all examples together: 1 GB of float32."""


class JacobianRows(Structured):
    """∂y_k / ∂x_j within rows, [batch, rows * n * n] as (row, k, j), made only for look-ups.

    Memory: of `transposed`, that of one backward pass through the op.
    """

    def __init__(
        self, weight: Jacobian, source: Activation, output: Activation, batch: int, dtype: torch.dtype
    ) -> None:
        super().__init__(None, tensor_of(source))
        self._weight, self._source, self._output = weight, source, output
        self._batch, self._dtype = batch, dtype

    def _run(self) -> tuple[Tensor, Tensor]:
        """Return the op's input and output, connected by a graph."""
        leaf = tensor_of(self._source).to(self._dtype).detach().clone().requires_grad_()
        return leaf, run_call(self._weight.call, leaf)

    def transposed(self, share: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            leaf, result = self._run()
            cotangent = shaped(share.detach().clone(), self._output, self._batch)
            (found,) = torch.autograd.grad(result, leaf, cotangent.reshape(result.shape))
        return self._rows(found.detach())

    def make(self) -> Tensor:
        count, behind = self._weight.rows, self._weight.behind
        n_out, n_in = self._output.size // count, self._source.size // count
        if self._batch * count * n_out * n_in > LIMIT:
            raise LimitError(
                f"the derivative of {self._output.name!r} has {self._batch} x {count} x {n_out} x {n_in} "
                f"entries, above {LIMIT:,}. Trace fewer examples, or ask in the "
                "real semiring, which needs none of them."
            )
        with torch.inference_mode(False), torch.enable_grad():
            leaf, result = self._run()
            columns = []
            for k in range(n_out):
                one = torch.zeros(
                    (self._batch, count // behind, n_out, behind), dtype=result.dtype, device=result.device
                )
                one[:, :, k] = 1
                cotangent = shaped(one.reshape(self._batch, -1), self._output, self._batch)
                (found,) = torch.autograd.grad(result, leaf, cotangent.reshape(result.shape), retain_graph=True)
                part = self._rows(found).reshape(self._batch, count // behind, n_in, behind)
                columns.append(part.transpose(2, 3).reshape(self._batch, count, n_in))
        return torch.stack(columns, 2).detach().reshape(self._batch, -1)

    def _rows(self, found: Tensor) -> Tensor:
        """Return a tensor that lies as the op's input does as [batch, inputs]."""
        held = self._source
        before, after = found.shape[: held.axis], found.shape[held.axis + 1 :]
        split = found.reshape(*before, self._batch, held.inner, *after)
        return split.movedim(held.axis, 0).reshape(self._batch, held.size)
