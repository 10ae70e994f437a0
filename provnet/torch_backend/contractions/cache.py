"""Generated modules on disk, where compilers keep what they made of them: the next process only loads it."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from provnet.errors import OptionError

VARIABLE = "PROVNET_CACHE"


def folder() -> Path:
    """Return the folder of generated modules: $PROVNET_CACHE, or the user's cache directory."""
    named = os.environ.get(VARIABLE)
    # platformdirs comes with the extras that compile, so it is asked for only then.
    return Path(named) if named else Path(importlib.import_module("platformdirs").user_cache_path("provnet"))


def generated_module(name: str, source: str) -> ModuleType:
    """Return the module of a source text, written once under a name that its content gives, and imported once.

    Two processes may write it at the same time: each writes a file of its own and renames it into place. A folder
    that cannot be written is replaced by one that lasts as long as the process.
    Raises: `OptionError` if nothing can be written at all.
    """
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    known = f"provnet_generated.{name}_{digest}"
    if known in sys.modules:
        return sys.modules[known]
    path = _written(folder() / digest, f"{name}.py", source) or _written(_private() / digest, f"{name}.py", source)
    if path is None:
        raise OptionError(
            f"no folder for compiled kernels can be written: neither {folder()} nor a temporary one. Set {VARIABLE} to "
            "a folder that can, or use route='reference'."
        )
    spec = importlib.util.spec_from_file_location(known, path)
    assert spec is not None and spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[known] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[known]
        raise
    return module


_PRIVATE: list[tempfile.TemporaryDirectory[str]] = []


def _private() -> Path:
    if not _PRIVATE:
        _PRIVATE.append(tempfile.TemporaryDirectory(prefix="provnet-"))
    return Path(_PRIVATE[0].name)


def _written(place: Path, name: str, source: str) -> Path | None:
    """Return the file, written if it is not there with this very content; None if it cannot be."""
    path = place / name
    try:
        if path.is_file() and path.read_text(encoding="utf-8") == source:
            return path
        place.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=place, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(source)
        os.replace(temporary, path)
    except OSError:
        return None
    return path
