"""The papers reproduced: each figure that the data allow, and each claim beside what was measured."""

from provnet.applications.reproduction.reproducing import reproduce

__all__ = ["reproduce"]
