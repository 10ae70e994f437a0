"""`provnet demo`: a small network explains handwritten digits in seven semirings, and a report says what each answers."""

from __future__ import annotations

from provnet.applications.demo.run import run_demo

__all__ = ["run_demo"]
