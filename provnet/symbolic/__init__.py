"""From gates to what a theorist reads: formulas, provenance polynomials, symbolic carriers, sympy. No torch here."""
