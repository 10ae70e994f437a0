"""Products of two traced tensors, softmaxes and norms: conventions, ranks, routes, and autograd."""

from __future__ import annotations
