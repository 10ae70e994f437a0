"""`python -m provnet`: the same as the command `provnet`."""

from __future__ import annotations

from provnet.cli import app

if __name__ == "__main__":
    app()
