"""Explicit gates: plans, kernels, evaluation, best paths, marginals, identity tests."""
