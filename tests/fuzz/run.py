"""`python -m tests.fuzz.run [--seed N] [--hours H] [--programs N] [--checks NAME,…] [--out DIR]`: try random programs.

Prints the seed it starts from. Each failure is shrunk and printed as runnable Python; --out keeps them as files.
The exit status is 1 if there was a failure.
"""

from __future__ import annotations

import argparse
import secrets
import time
from collections import Counter
from itertools import count
from pathlib import Path

import torch

from tests.fuzz import ops  # noqa: F401  # fills the table of ops
from tests.fuzz.checks import CHECKS
from tests.fuzz.draw import draw_program
from tests.fuzz.shrink import Failure, failures, shrunk

SAME = 3
"""Failures of one check and one kind of error that are shrunk; more are counted only."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="the first program's seed; default: a random one")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--programs", type=int, default=None, help="stop after so many programs")
    parser.add_argument("--out", type=Path, default=None, help="a folder for the shrunk programs")
    parser.add_argument("--checks", default=",".join(CHECKS), help="some of the checks, separated by commas")
    given = parser.parse_args()
    checks = {name: CHECKS[name] for name in given.checks.split(",")}
    torch.set_num_threads(1)
    first = secrets.randbelow(1 << 40) if given.seed is None else given.seed
    print(f"first seed {first}: the same programs again with --seed {first}", flush=True)
    end, seen, asked, used = time.monotonic() + 3600 * given.hours, Counter[str](), Counter[str](), Counter[str]()
    tried = 0
    for tried in count():
        if time.monotonic() > end or tried == given.programs:
            break
        program = draw_program(first + tried)
        used.update({step.op for step in program.steps})
        found, had_say = failures(program, checks)
        asked.update(had_say)
        for failure in found:
            _tell(failure, seen, given.out)
    print(f"{tried} programs, {sum(seen.values())} failures")
    print("checks:", ", ".join(f"{name} {n}" for name, n in sorted(asked.items())))
    print("ops:", ", ".join(f"{name} {n}" for name, n in sorted(used.items())))
    print("failures:", ", ".join(f"{name} {n}" for name, n in sorted(seen.items())) or "none")
    return 1 if seen else 0


def _tell(failure: Failure, seen: Counter[str], out: Path | None) -> None:
    name = f"{failure.check} {failure.kind}"
    seen[name] += 1
    if seen[name] > SAME:
        return
    text = shrunk(failure).report()
    print(f"{'-' * 100}\n{text}", flush=True)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{failure.check}-{failure.program.seed}.py").write_text(text, "utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
