"""`provnet demo`: handwritten digits explained in seven semirings, and a report that says what each answers."""

from __future__ import annotations

from provnet.applications.demo.run import run_demo

__all__ = ["run_demo"]
