"""provnet: one execution of a PyTorch model as a provenance circuit, evaluated in any semiring.

>>> import provnet
>>> circuit = provnet.trace(model, x)            # doctest: +SKIP
>>> circuit.evaluate("viterbi", target=3).inputs # doctest: +SKIP

The public names are made on their first use, so that `provnet --help` does not wait for torch.
"""

# No `from __future__ import annotations` here: it would be found in place of `provnet.annotations`.
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provnet.public import *  # noqa: F403
    from provnet.public import __all__ as __all__

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name.startswith("__") and name != "__all__":
        raise AttributeError(f"module 'provnet' has no attribute {name!r}")
    public = import_module("provnet.public")
    if not hasattr(public, name):
        raise AttributeError(f"module 'provnet' has no attribute {name!r}")
    globals()[name] = getattr(public, name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *import_module("provnet.public").__all__})
