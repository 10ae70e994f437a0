"""Programs in LLVM's intermediate language, compiled by llvmlite: a part of numba, and so there where numba is."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any

LLVM = 16
"""The first version in which pointers have no type."""


@cache
def available() -> bool:
    """Return whether there is a compiler that reads such programs."""
    if importlib.util.find_spec("llvmlite") is None:
        return False
    return importlib.import_module("llvmlite.binding").llvm_version_info[0] >= LLVM


@cache
def vector_bytes() -> int:
    """Return how wide this machine's vectors are: 64, 32 or 16 bytes. For where there is a compiler."""
    features = importlib.import_module("llvmlite.binding").get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16


@cache
def fuses() -> bool:
    """Return whether this machine multiplies and adds with one rounding. For where there is a compiler."""
    return bool(importlib.import_module("llvmlite.binding").get_host_cpu_features().get("fma"))


class Compiled:
    """A program in machine code. Its functions hold no lock of the interpreter while they run."""

    def __init__(self, program: str) -> None:
        llvm = importlib.import_module("llvmlite.binding")
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        module = llvm.parse_assembly(program)
        module.verify()
        machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
        )
        self.engine: Any = llvm.create_mcjit_compiler(module, machine)
        self.engine.finalize_object()

    def function(self, name: str, *kinds: Any) -> Callable[..., None]:
        """Return a function of the program that takes arguments of such ctypes; it keeps the code alive."""
        found = ctypes.CFUNCTYPE(None, *kinds)(self.engine.get_function_address(name))
        found.code = self  # type: ignore[attr-defined]
        return found
