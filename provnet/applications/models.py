"""A model by its name, `package.module:callable`, for the command line."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from provnet.errors import InputError, ProvnetError


def load_model(name: str) -> Callable[..., Any]:
    """Return the model called `package.module:callable`; the current directory can be imported from.

    The callable is a module (`torch.nn.Module`) or a function without parameters that returns one. A module comes back
    in the mode that it is in: put it into evaluation mode where that matters, as `trace` will say.
    Raises: `InputError` if the name is malformed, cannot be imported, or leads to no model.
    """
    where, colon, attribute = name.partition(":")
    if not (where and colon and attribute):
        raise InputError(
            f"{name!r} names no model. Write package.module:callable, such as mynets.digits:net, where the callable is "
            "a torch module or a function that returns one; or give a file that `provnet trace --save` wrote."
        )
    found = _attribute(_import(where), where, attribute)
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise InputError(
            f"{name} is a {type(found).__name__}; wanted is a torch module or a function that returns one."
        )
    try:
        model = found()
    except ProvnetError:
        raise
    except Exception as error:
        raise InputError(f"{name}() failed: {type(error).__name__}: {error}. It must run without arguments.") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"{name}() returned a {type(model).__name__}; wanted is a torch module.")
    return model


def _import(where: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(where)
    except Exception as error:  # a user's module may fail in any way
        raise InputError(
            f"importing {where} failed: {type(error).__name__}: {error}. Modules are looked for in {here} and among "
            "the installed packages."
        ) from error


def _attribute(module: Any, where: str, attribute: str) -> Any:
    found = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [name for name in vars(module) if not name.startswith("_")]
            raise InputError(f"{where} has no {attribute!r}. It has {', '.join(public[:20]) or 'nothing public'}.")
        found = getattr(found, part)
    return found
