"""Whether provnet can trace a model: which of its ops have a rule, found without stopping at the first that has none.

print(coverage(model, x))
"""

from __future__ import annotations

from typing import Any

from provnet.capture.record import record
from provnet.rules.op_coverage import Coverage, coverage_of


def coverage(model: Any, *args: Any, **options: Any) -> Coverage:
    """Return the table of the ops that depend on a source: what each becomes, or why it has no rule.

    model, args   as of `provnet.trace`; options: those of its keywords that say what is recorded (`sources`, `opaque`,
                  `batch_dim`, `model_kwargs`).
    Raises: `InputError`, `TraceError` where the model itself cannot be recorded.
    Example: `table = coverage(model, x); table.covered == table.nodes`
    """
    return coverage_of(record(model, *args, **options))
