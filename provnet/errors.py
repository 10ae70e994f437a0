"""One family of errors. Every message says what came, what was wanted and what to do."""

from __future__ import annotations


class ProvnetError(Exception):
    """The root of every error that provnet raises on purpose."""


# --- bad input to a trace --------------------------------------------------------------------------------------------


class InputError(ProvnetError):
    """The model's input has a wrong shape, dtype or device, is empty, or is of a kind that cannot be traced."""


class NonFiniteError(ProvnetError):
    """A NaN or an Inf where only finite numbers have a meaning."""


class TrainingModeError(ProvnetError):
    """The model is in training mode where that changes its output: dropout, batch statistics."""


class TraceError(ProvnetError):
    """The execution cannot be recorded faithfully."""


class MissingRuleError(TraceError):
    """An op on the way from a source to an output has no op rule."""


class CrossExampleError(TraceError):
    """An op mixes examples, so the batch is not a set of independent executions."""


class ReplayError(TraceError):
    """A recorded execution cannot be carried over to another input: it depended on the values of its own."""


class TraceWarning(UserWarning):
    """The execution is recorded, but part of what happened in it counts as constant."""


# --- questions to a circuit ------------------------------------------------------------------------------------------


class OptionError(ProvnetError, ValueError):
    """An option has a value that is not one of those it takes."""


class UnknownNameError(ProvnetError, KeyError):
    """A name (of a semiring, a rule, a tensor, a writer …) that is not known; the message lists those that are."""

    def __str__(self) -> str:  # KeyError shows the repr of its message, which hides line breaks and quotes
        return str(self.args[0]) if self.args else ""


class TargetError(ProvnetError, ValueError):
    """A target out of range, or of a shape that does not fit the output."""


class StaleCircuitError(ProvnetError):
    """A tensor that the circuit refers to was changed after tracing."""


class CircuitError(ProvnetError, ValueError):
    """Explicit gates are malformed: cyclic, of an unknown kind, with too few operands, without their attributes."""


class LimitError(ProvnetError):
    """The result would be larger than the stated limit; the message gives the exact size."""


class ValuationError(ProvnetError, ValueError):
    """A valuation lacks a variable, has one too many, or gives a value to an edge that the gates lack."""


class CountOverflowError(ProvnetError, OverflowError):
    """A count of paths may exceed what its dtype holds."""


class WorkerError(ProvnetError):
    """One of several processes failed or was lost; the message says how to go on."""


class OutOfMemoryError(ProvnetError, MemoryError):
    """An evaluation does not fit in memory, with the smallest tiles either."""


# --- algebra ---------------------------------------------------------------------------------------------------------


class DTypeError(ProvnetError, TypeError):
    """Tensors of two dtypes meet, or a dtype cannot hold the semiring's elements. Nothing is cast in silence."""


class DeviceError(ProvnetError):
    """Tensors on two devices meet."""


class LawError(ProvnetError, ValueError):
    """A semiring breaks a law that it must satisfy; the message gives the law and the values."""


class UnsupportedOperationError(ProvnetError):
    """A semiring, rule or annotation function lacks the operation that was asked for."""


# --- files and programs ----------------------------------------------------------------------------------------------


class FileFormatError(ProvnetError):
    """A file is truncated, tampered with, of a newer version, or of another kind."""


class OutputError(ProvnetError):
    """An output file or folder exists already or cannot be written."""


class MissingProgramError(ProvnetError):
    """A program or an optional package that the request needs is not installed."""


class PerformanceWarning(UserWarning):
    """Something works, and would work several times faster with a package that is not installed."""


class MissingProgramWarning(UserWarning):
    """A program or an optional package is not installed, so something simpler was done; the message names it."""


class ParseError(ProvnetError, ValueError):
    """A text that is no formula; the message gives the place."""
