"""Structural hashes: equal for circuits that are built alike, whatever the numbering and the order of operands."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from provnet.circuit.gates import PLUS, TIMES, VARIABLE, GateStore
from provnet.circuit.variables import names_of

Words = NDArray[np.uint64]

LANES = 2
"""64-bit words a hash: 128 bits, so that two of 10^9 gates meet by chance with probability below 10^-20."""


def name_words(names: tuple[str, ...] | list[str], lanes: int = LANES) -> Words:
    """Return a hash of each name, [names, lanes], the same on every machine (blake2b)."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8 * lanes).digest() for name in names)
    return np.frombuffer(digests, "<u8").astype(np.uint64).reshape(len(names), lanes)


_SALT = name_words(["constant", "variable", "plus", "times"]).T
"""[lanes, kinds of gate]"""


def structural_hashes(store: GateStore) -> tuple[str, ...]:
    """Return a hash of each root's circuit, 32 hexadecimal digits.

    Equal circuits have equal hashes: same gates over variables of the same names, up to numbering, shared or repeated
    sub-circuits, and the order of operands (⊕ and ⊗ commute). No law but that is used: x ⊕ x and x, or a factored form,
    differ; `semantic_hash` and `equivalent` see through these. A gate's hash is a mix of its kind and the sum of its
    operands' mixed hashes (Merkle 1987, made order-free); not meant against an adversary.
    Time: one pass over the wires, and a microsecond a name.
    """
    used = np.unique(store.variable[store.variable >= 0])
    names = names_of(store.variables)
    words = np.zeros((len(store), LANES), np.uint64)
    leaf = np.flatnonzero(store.kind == VARIABLE)
    known = np.zeros((len(store.variables), LANES), np.uint64)
    known[used] = name_words([names[i] for i in used.tolist()])
    with np.errstate(over="ignore"):
        for lane, salt in enumerate(_SALT):
            column = words[:, lane]
            constant = store.kind < VARIABLE
            column[constant] = mix(store.kind[constant].astype(np.uint64) + salt[0])
            column[leaf] = mix(known[store.variable[leaf], lane] ^ salt[1])
            for gates in store.by_level[1:]:
                for kind, own in ((PLUS, salt[2]), (TIMES, salt[3])):
                    some = gates[store.kind[gates] == kind]
                    if len(some):
                        _, operands = store.wires_of(some)
                        starts = np.cumsum(store.fan[some]) - store.fan[some]
                        column[some] = mix(np.add.reduceat(mix(column[operands] ^ own), starts) + own)
    return tuple("".join(f"{int(word):016x}" for word in words[gate]) for gate in store.root_gates)


def mix(x: Words) -> Words:
    """Return a permutation of 64-bit words that looks random (the finaliser of splitmix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
