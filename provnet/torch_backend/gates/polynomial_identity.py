"""Values of circuits at random points modulo primes: what tells two polynomials apart, and how surely."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor, log2
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.circuit.combine import join_variables, paired_roots
from provnet.circuit.counts import count_terms
from provnet.circuit.fingerprint import mix, name_words
from provnet.circuit.gates import GateStore, Neuron
from provnet.circuit.variables import names_of
from provnet.errors import NonFiniteError, OptionError
from provnet.semirings.arctic import Arctic
from provnet.semirings.counting import Counting, enough_primes, is_prime
from provnet.semirings.modular_integer import ModularInteger
from provnet.torch_backend.gates.evaluate_gates import evaluate_gates

LOW, HIGH = 2**30, 2**31
PRIMES = 48_000_000
"""A lower bound of the number of primes between 2^30 and 2^31 (there are 50,697,537)."""
HASH_BITS = 120

_FREE: WeakKeyDictionary[GateStore, GateStore] = WeakKeyDictionary()


@dataclass(frozen=True)
class Equivalence:
    """The outcome of an identity test. `bool(result)` is `equal`.

    equal      False is certain: `differing` roots have other values at one point. True may be wrong:
    error      a bound on the probability that circuits that differ pass for equal (0 if they were told apart)
    assumption what a semiring must state for the answer to hold there: both circuits stand for others only under it
    """

    equal: bool
    error: float
    trials: int
    differing: tuple[Neuron, ...] = ()
    assumption: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return self.equal

    def __str__(self) -> str:
        if self.equal:
            return f"equal in every commutative semiring, but for an error of probability at most {self.error:.2g}"
        return f"different: {len(self.differing)} roots, such as {self.differing[0]}"


def identity_test(a: GateStore, b: GateStore, trials: int = 2, seed: int | None = None) -> Equivalence:
    """Test whether two circuits have the same polynomials in ℕ[X], root by root, variables matched by name.

    A trial draws a prime p in [2^30, 2^31) and a point of (ℤ_p)^X, both uniformly, and compares the values modulo p.
    Claim: circuits that differ agree in a trial with probability at most deg/p + ⌊log₂C/30⌋/4.8·10⁷, deg being the
    larger degree and C the larger value at x = 1 of the two. Proof: let D ≠ 0 be the difference at a root where they
    differ; its coefficients are at most C in size. At most log₂C/30 primes above 2^30 divide a given coefficient other
    than 0, so at most that many of the 5.07·10⁷ primes make D vanish modulo p; at any other, D has at most deg ·
    p^(n−1) zeros (Schwartz 1980, Zippel 1979). Trials are independent: the bounds multiply. Equal polynomials agree in
    every commutative semiring ([GKT07] Prop. 4.2); circuits that differ in ℕ[X] may still agree in 𝔹[X], Why, PosBool
    or Tropical.

    Args: `seed` makes the test repeatable, the bound then holds over the choice of the seed.
    Raises: `CircuitError` if the roots do not pair up; `OptionError` if trials < 1.
    """
    if trials < 1:
        raise OptionError(f"trials={trials}: an identity test takes one trial or more.")
    partner = torch.from_numpy(paired_roots(a, b))
    variables, mine, other = join_variables(a.variables, b.variables)
    assumption = a.assumption | b.assumption
    random = np.random.default_rng(seed)
    for _ in range(trials):
        p = random_prime(random)
        points = torch.from_numpy(random.integers(0, p, len(variables)))
        left = _values(a, p, points, mine)
        right = _values(b, p, points, other)[partner]
        wrong = torch.nonzero(left != right).squeeze(1).tolist()
        if wrong:
            return Equivalence(False, 0.0, trials, tuple(a.roots[i] for i in wrong), assumption)
    return Equivalence(True, error_bound(a, b) ** trials, trials, (), assumption)


def error_bound(a: GateStore, b: GateStore) -> float:
    """Return the bound of one trial: deg/2^30 + ⌊log₂C/30⌋/4.8·10⁷, at most 1."""
    degree = max(largest_degree(a), largest_degree(b))
    divisors = max(floor(log2_count(a) / 30), floor(log2_count(b) / 30))
    return min(degree / LOW + divisors / PRIMES, 1.0)


def largest_degree(store: GateStore) -> int:
    """Return the largest degree of a root's polynomial: the length of the longest path."""
    ones = torch.ones(len(store.variables), dtype=torch.float64)
    found = evaluate_gates(_free(store), Arctic(), ones)
    return int(found.clamp(min=0).max()) if len(found) else 0


def log2_count(store: GateStore) -> float:
    """Return an upper bound of log₂ of the largest coefficient of any root: of its value at x = 1, 0 if that is 0."""
    ones = torch.ones(len(store.variables), dtype=torch.float64)
    try:
        largest = float(evaluate_gates(_free(store), Counting("float64"), ones).max()) if store.roots else 0.0
    except NonFiniteError:
        return float(max(count_terms(store)).bit_length())
    return log2(largest) + 1e-6 if largest else 0.0  # the slack covers the rounding of 2^30 additions


def random_prime(random: np.random.Generator) -> int:
    """Return a prime drawn uniformly from those in [2^30, 2^31)."""
    while True:
        n = int(random.integers(LOW, HIGH)) | 1
        if is_prime(n):
            return n


def _values(store: GateStore, p: int, points: Tensor, numbers: NDArray[np.int64]) -> Tensor:
    whole = len(numbers) == len(points) and bool((numbers == np.arange(len(numbers))).all())
    return evaluate_gates(_free(store), ModularInteger(p), points if whole else points[torch.from_numpy(numbers)])


def _free(store: GateStore) -> GateStore:
    """Return the store as it is written, without what it was simplified by: polynomials modulo p obey no such law."""
    if not store.assumption - {"commutative"}:
        return store
    return _FREE.setdefault(store, replace(store, assumption=frozenset()))


def semantic_hashes(store: GateStore, key: int = 0) -> tuple[str, ...]:
    """Return a hash of each root's polynomial, 32 hexadecimal digits: its values modulo four primes.

    Equal polynomials have equal hashes, however they are written: factored, expanded, shared. The point is a hash of
    the variables' names and of `key`, so hashes can be kept and compared later. Different polynomials meet with
    probability at most (deg/2^31)^4 over points as good as random, where the primes do not divide their difference;
    `identity_test` gives a bound for fresh points and primes. Source: Schwartz 1980; Rabin's fingerprints.
    """
    words = mix(name_words(list(names_of(store.variables)), 1)[:, 0] ^ np.uint64(key * 0x9E3779B97F4A7C15 % 2**64))
    found = []
    for number, p in enumerate(enough_primes(HASH_BITS)):
        points = (mix(words + np.uint64(number)) % np.uint64(p)).astype(np.int64)
        found.append(evaluate_gates(_free(store), ModularInteger(p), torch.from_numpy(points)).tolist())
    return tuple("".join(f"{value:08x}" for value in row) for row in zip(*found, strict=True))
