"""Circuits as pages to walk: plain data for what is seen, a page of one file, a page served on this machine."""

from __future__ import annotations

from provnet.applications.inspection.explorer import Explorer
from provnet.applications.inspection.html import write_html
from provnet.applications.inspection.model import Inspection
from provnet.applications.inspection.server import Studio, studio
from provnet.applications.inspection.whole_cones import inspect

__all__ = ["Explorer", "Inspection", "Studio", "inspect", "studio", "write_html"]
