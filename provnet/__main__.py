"""`python -m provnet`: the same as the command `provnet`."""

from __future__ import annotations

from provnet.command import main

if __name__ == "__main__":
    main()
