"""The recorder: sees every op below autograd, runs it as it is, and writes down those that depend on a source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from provnet.capture.complex_steps import in_pairs
from provnet.capture.decompose import DECOMPOSED, completed, complex_numbers, is_decomposed
from provnet.capture.dependence import SHAPE_ONLY, Dependence
from provnet.capture.escape import CUTS
from provnet.capture.execution import Ref
from provnet.capture.lookups import Found, Lookups, index_of, made_again
from provnet.capture.module_names import CallNames
from provnet.capture.opaque_calls import OpaqueCalls
from provnet.capture.operations import Facts, facts_of
from provnet.capture.remarks import Remarks
from provnet.capture.special_tensors import kind_of
from provnet.capture.steps import RecordedStep
from provnet.capture.storage_identity import is_plain
from provnet.capture.store import ConstantOrigin, Store
from provnet.capture.structure import replace_tensors, tensors_in, tensors_of
from provnet.errors import TraceError

aten = torch.ops.aten

_ROUNDING = frozenset(["round", "floor", "ceil", "trunc", "fix", "floor_divide"])
"""They stay near their input, and are unit edges."""
_LOOKS = frozenset(["_local_scalar_dense", "as_strided", "is_nonzero", "equal"])
"""Their results are no tensors, or only speak of memory."""
_ORDINARY = frozenset([torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.bool])
"""Dtypes of which tensors are dense and real, if they are plain."""


class Recorder(TorchDispatchMode):
    """Records the ops of one run. Ops without an active input leave no trace but in memory."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self.steps: list[RecordedStep] = []
        self.store = Store(self.emit)
        self.names = CallNames(model, self)
        self.opaque = OpaqueCalls(self.store, self.emit)
        self.lookups = Lookups()
        self.source_modules: dict[str, set[int] | None] = {}
        self.remarks = Remarks(model)
        self.dependence = Dependence()
        self.quiet = False

    # --- what happens between ops -------------------------------------------------------------------------------------

    def find(self, tensor: Tensor) -> int | None:
        """Return the id of the active value that `tensor` shows."""
        return self.active((tensor,))[0]

    def active(self, tensors: Iterable[Tensor]) -> list[int | None]:
        """Return the ids of the active values that tensors show, None for a tensor that shows none."""
        with _Paused(self):
            return [self.store.find(tensor) for tensor in tensors]

    def enter(self, path: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        """A module is about to be called (its frame stands on the stack)."""
        if not self.opaque.modes:
            return
        with _Paused(self):
            self.opaque.enter(path, module, args, kwargs, len(self.names.stack))

    def leave(self, output: Any) -> Any:
        """The innermost module has returned (its frame still stands). Return what its caller is to get."""
        if not (self.opaque.modes or self.source_modules):
            return output
        with _Paused(self):
            self.opaque.leave(output, len(self.names.stack))
            here = self.names.here
            calls = self.source_modules.get(here.path, set())
            return output if calls is not None and here.call not in calls else self._output_as_source(output)

    def _output_as_source(self, output: Any) -> Any:
        """Return a module's output copied, so that it depends on nothing: its floating tensors are sources."""
        frame = self.names.here
        keys = {id(tensor): key for key, tensor in tensors_in(output)}
        copies: dict[int, Tensor] = {}

        def copied(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return tensor
            if id(tensor) not in copies:
                copies[id(tensor)] = tensor.detach().clone() if not torch.is_grad_enabled() else tensor.clone()
                value = self.store.add(copies[id(tensor)], active=True, kind="source")
                self.lookups.found.append(Found(value, "", frame.path, frame.call, keys[id(tensor)]))
            return copies[id(tensor)]

        return replace_tensors(output, copied)

    def close(self) -> None:
        """Let go of all values. Recorder and store refer to each other, so the collector would find them late."""
        self.steps.clear()
        self.store.close()
        self.names.close()

    def emit(
        self,
        name: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        outputs: tuple[int | None, ...],
        opaque: Any = None,
    ) -> None:
        """Write down one op at the place where the run is now."""
        self.steps.append(RecordedStep(name, function, args, kwargs, outputs, self.names.here, opaque))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch would wrap each call of ours to keep its compiler out: some 10 µs an op, and there is none here."""
        return False

    # --- one op -------------------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.quiet:
            return func(*args, **kwargs)
        # Else each look at a tensor's shape would go round by way of `Escapes`, which doubles the cost of an op.
        with torch._C.DisableTorchFunction():
            return self._step(func, args, kwargs)

    def _step(self, func: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        self.store.look_again()
        facts = facts_of(func)
        if facts.composite:
            with self:
                return func.decompose(*args, **kwargs)
        if self.opaque.current is None and complex_numbers.concerns(func, args, kwargs):
            pairs = in_pairs(self, func, facts, args, kwargs)
            if pairs is not NotImplemented:
                return pairs
        if facts.view and self.store.is_stale(args[0]):
            # Nothing is read yet. Reading now would make a buffer filled step by step cost steps times its size.
            return func(*args, **kwargs)
        targets = facts.targets(args, kwargs) if facts.writes else []
        read = tensors_of(*(facts.read(args, kwargs) if facts.overwrites else (args, kwargs)))
        find = self.store.find
        active = [t for t in read if find(t) is not None]
        if self.opaque.hidden:
            self.opaque.refuse_hidden(read, self.names.here.path)
        if facts.random and func not in DECOMPOSED:
            self._remark(f"random numbers are drawn by {facts.name!r}", "their values become constants")
            self.dependence.remark(f"random numbers are drawn by {facts.name!r}", self._where)
        if self.opaque.current is not None:
            for target in targets:
                self.store.save(target)
            result = self.opaque.run(func, args, kwargs, active, targets)
            self._bear(facts, result)
            return result
        bound = self.dependence.holds(read)
        if bound and (active or facts.base in _LOOKS):
            self._remark_bound(facts)
        if not active and not targets:
            result = func(*args, **kwargs)
            self._bear(facts, result)
            if bound and facts.base not in SHAPE_ONLY:
                self.dependence.bind(result)
            if self.store.has_origins and not facts.constant:
                self._follow(facts, args, kwargs, result, read)
            return result
        if active and func in DECOMPOSED and is_decomposed(func, args, self.is_active):
            with self:
                results = DECOMPOSED[func](*args, **kwargs)
            return completed(func, results, args, kwargs)
        if facts.form == "metadata":
            return self._change_view(func, facts, args, kwargs, active)
        if targets:
            return self._write(func, facts, args, kwargs, targets, active, bound)
        if self.lookups.numbers:
            self._check_lookup(facts, args, active)
        result = func(*args, **kwargs)
        self._bear(facts, result)
        if facts.base in ("_local_scalar_dense", "is_nonzero", "equal"):
            self.dependence.remark("a traced number becomes a Python number", self._where)
        elif facts.steps or (facts.constant and facts.base not in SHAPE_ONLY):
            self.dependence.bind(result)
        if facts.base == "_local_scalar_dense" and active[0].is_floating_point():
            self._remark(
                f"a traced number becomes a Python number by {facts.name!r}, .item() say",
                "what is computed from it counts as constant",
            )
        elif facts.base in _ROUNDING:
            self._remark(
                f"a traced tensor goes through {facts.name!r}, whose derivative is zero",
                "relevance passes on as through an activation",
            )
            self.record(facts.function, facts, args, kwargs, result, active)
        elif facts.steps:
            self._freeze(facts, args, kwargs, result, self._origin(facts, active))
        elif not facts.constant and facts.base != "as_strided":
            # as_strided speaks of memory, which values have not: it is read as a window when it is used.
            self.record(func if facts.form == "mixed" else facts.function, facts, args, kwargs, result, active)
        return result

    def is_active(self, tensor: Tensor) -> bool:
        """Return whether a tensor shows a value that depends on a source."""
        return self.store.find(tensor) is not None

    def _bear(self, facts: Facts, result: Any) -> None:
        """Note that what an op gives lies in new memory, unless it shows or is what it was given."""
        if facts.form == "plain" and (not facts.view or facts.base == "lift_fresh"):
            self.store.bear(result if isinstance(result, tuple | list) else (result,))

    def record(
        self, function: Any, facts: Facts, args: Any, kwargs: Mapping[str, Any], result: Any, active: list[Tensor]
    ) -> None:
        """Write down an op with an active input, and which of its results are values that depend on a source."""
        outputs = result if isinstance(result, tuple | list) else (result,)
        if not any(t.is_floating_point() for t in active) and isinstance(outputs[0], Tensor):
            if self.lookups.applies(facts, args, outputs[0], active, self.store.is_parameter(args[0])):
                self._look_up(facts, args, kwargs, outputs[0], active)
            elif outputs[0].is_floating_point():
                return  # a mask, say, that was made of integers: a constant
        flags = [isinstance(o, Tensor) and self._carries(o, facts, active) for o in outputs]
        for output, flag in zip(outputs, flags, strict=True):
            if not flag and isinstance(output, Tensor):
                self.dependence.bind(output)
        # A view of a value in the same order, such as detach(), is that value.
        new = [isinstance(o, Tensor) and self.store.known(o) is None for o in outputs]
        origin = None if all(flags) else self._origin(facts, active)
        if not any(flag and fresh for flag, fresh in zip(flags, new, strict=True)):
            if origin is not None and facts.base not in _LOOKS:
                self._freeze(facts, args, kwargs, result, origin)
            return
        self.refuse_kinds(facts, args, kwargs, outputs)
        refs, named = self._refs(args, kwargs)
        ids = tuple(
            None
            if not fresh
            else self.store.add(o, flag, kind="computed")
            if flag or origin is None or not o.numel()
            else self.store.freeze(o, origin)
            for o, flag, fresh in zip(outputs, flags, new, strict=True)
        )
        self.emit(facts.name, function, refs, named, ids)

    def _origin(self, facts: Facts, active: list[Tensor]) -> ConstantOrigin | None:
        """Return what is told of a constant that an op makes of traced floats; None if it reads integers only."""
        if not any(t.is_floating_point() for t in active):
            return None
        return ConstantOrigin(facts.name, self.names.here, choice=not facts.steps and facts.base != "_to_copy")

    def _freeze(
        self, facts: Facts, args: Any, kwargs: Mapping[str, Any], result: Any, origin: ConstantOrigin | None
    ) -> None:
        """Write down an op whose results count as constant, though they depend on a source: they are followed on."""
        outputs = result if isinstance(result, tuple | list) else (result,)
        fresh = [isinstance(o, Tensor) and o.numel() > 0 and self.store.known(o) is None for o in outputs]
        if origin is None or not any(fresh):
            return
        refs, named = self._refs(args, kwargs)
        ids = tuple(self.store.freeze(o, origin) if new else None for o, new in zip(outputs, fresh, strict=True))
        if not facts.random:
            self.emit(facts.name, facts.function, refs, named, ids)

    def _follow(self, facts: Facts, args: Any, kwargs: Mapping[str, Any], result: Any, read: list[Tensor]) -> None:
        """Follow constants that were made of traced tensors through an op of constants."""
        origin = next(filter(None, map(self.store.origin, read)), None)
        if origin is None:
            return
        if facts.base == "_local_scalar_dense" and not origin.choice:
            self._remark(f"what {origin.op!r} made of a traced tensor becomes a Python number", "it counts as constant")
        elif facts.base not in _LOOKS:
            self._freeze(facts, args, kwargs, result, origin)

    def _check_lookup(self, facts: Facts, args: Any, active: list[Tensor]) -> None:
        """Refuse traced integers that are out of the table which they are looked up in."""
        for tensor in active:
            value = None if tensor.is_floating_point() else self.store.find(tensor)
            if value is not None and tensor is not args[0]:
                self.lookups.check(facts, args, self.steps, value, self.names.here.path)

    def _look_up(
        self, facts: Facts, args: Any, kwargs: Mapping[str, Any], result: Tensor, active: list[Tensor]
    ) -> None:
        """Make a source of what traced integers became, with the examples on their axis."""
        value = self.store.find(index_of(facts, args, active))
        assert value is not None
        frame = self.names.here
        argument = self.lookups.argument_of(self.steps, value)
        layout = self.lookups.axis_of(facts, self.store.entries, self.steps, value, result)
        if layout is None:
            source = self.store.add(result, active=True, kind="source")
        else:
            shape, order = layout
            laid = result.permute(order)
            source = self.store.entry(laid.reshape(shape))
            back = [order.index(i) for i in range(len(order))]
            middle = self.store.entry(laid, kind="computed")
            self.emit("aten.view", aten.view.default, (Ref(source), list(laid.shape)), {}, (middle,))
            outputs = (self.store.add(result, active=True, kind="computed"),)
            self.emit("aten.permute", aten.permute.default, (Ref(middle), back), {}, outputs)
        made = made_again(facts.function, *self._refs(args, kwargs), layout) if torch.is_grad_enabled() else None
        self.lookups.found.append(Found(source, argument, frame.path, frame.call, made=made))

    def _carries(self, output: Tensor, facts: Facts, active: list[Tensor], resized: bool = False) -> bool:
        """Return whether an output depends on a source, given the op's active inputs. An empty one depends on none,
        unless it is yet to be `resized`."""
        if not output.numel() and not resized:
            return False
        if output.is_floating_point() or output.is_complex() or output.is_quantized:
            return True
        return (
            (facts.routes or facts.renumbers)
            and any(not t.is_floating_point() for t in active)
            and output.dtype is not torch.bool
        )

    def _refs(self, args: Any, kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with references in place of tensors. They nest no deeper than a list."""
        ref = self.store.ref

        def replaced(part: Any) -> Any:
            if isinstance(part, Tensor):
                return ref(part)
            if isinstance(part, list | tuple) and any(isinstance(p, Tensor) for p in part):
                return [ref(p) if isinstance(p, Tensor) else p for p in part]
            return part

        return tuple(map(replaced, args)), {name: replaced(part) for name, part in kwargs.items()}

    # --- ops that write -----------------------------------------------------------------------------------------------

    def _write(
        self,
        func: OpOverload,
        facts: Facts,
        args: Any,
        kwargs: Mapping[str, Any],
        targets: list[Tensor],
        active: list[Tensor],
        bound: bool,
    ) -> Any:
        hidden = (bound or bool(active)) and facts.base not in SHAPE_ONLY
        origin = self._written_origin(facts, active, tensors_of(*facts.read(args, kwargs)))
        active = [] if facts.constant or facts.steps else active
        resized = facts.form == "out"  # an empty tensor is made to fit the result
        carried = [t for t in targets if active and facts.form != "mixed" and self._carries(t, facts, active, resized)]
        if carried:
            self.refuse_kinds(facts, args, kwargs, ())
        if carried and facts.base in ("copy_", "fill_"):
            return self._copy(func, args, kwargs)
        if carried and facts.form != "mixed" and is_decomposed(facts.function, args, self.is_active):
            with self:
                found = facts.function(*args, **{k: v for k, v in kwargs.items() if k not in facts.writes})
                return targets[0].copy_(found)
        frozen = origin is not None and not carried and facts.form != "mixed"
        call = self._functional_call(facts, args, kwargs) if active or frozen else None
        for target in targets:
            self.store.before_write(target, bool(carried))
        result = func(*args, **kwargs)
        self.store.look_again()  # what `out=` names may have another size now
        carried = [target for target in carried if target.numel()]
        if hidden and not carried:
            self.dependence.bind(targets)
        if facts.form == "mixed":
            self.store.bear(r for r in result if not any(r is t for t in targets))
            for target in targets:
                self.store.after_write(target, None)
            if active:
                self.record(facts.function, facts, args, kwargs, result, active)
            return result
        ids = tuple(self._written(t, any(t is c for c in carried)) for t in targets)
        for target, value in zip(targets, ids, strict=True):
            self.store.after_write(target, value)
        if call is not None and carried:
            self.emit(facts.name, facts.function, *call, ids)
        elif call is not None and origin is not None and frozen:
            made = tuple(self.store.freeze(t, origin) if t.numel() else None for t in targets)
            if not facts.random and not any(self.store.entries[i].active for i in made if i is not None):
                self.emit(facts.name, facts.function, *call, made)
        return result

    def _written_origin(self, facts: Facts, active: list[Tensor], read: list[Tensor]) -> ConstantOrigin | None:
        """Return the origin of a constant that an op writes, None if it depends on no source."""
        if facts.constant:
            return None
        found = self._origin(facts, active)
        return found or next(filter(None, map(self.store.origin, read)), None)

    def _functional_call(self, facts: Facts, args: Any, kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return the arguments by reference, as they are before the write. What `out=` names is no argument."""
        if facts.form == "out" and isinstance(facts.function, OpOverload):
            kwargs = {k: v for k, v in kwargs.items() if k not in facts.writes}
        return self._refs(args, kwargs)

    def _written(self, target: Tensor, active: bool) -> int | None:
        """Record what was written, without yet saying that the memory shows it."""
        return self.store.add(target, active=True, kind="computed") if active else None

    def _copy(self, func: OpOverload, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """y.copy_(x) and y.fill_(x): y is then x, in y's shape and dtype."""
        target, source = args[0], args[1]
        with self:
            if source.dtype is not target.dtype or source.device != target.device:
                source = source.to(target.device, target.dtype)
            if source.shape != target.shape:
                source = source.expand(target.shape)
        value = self.store.find(source)
        self.store.before_write(target, active=True)
        result = func(*args, **kwargs)
        self.store.after_write(target, value)
        return result

    def _change_view(
        self, func: OpOverload, facts: Facts, args: Any, kwargs: Mapping[str, Any], active: list[Tensor]
    ) -> Any:
        """t_, transpose_, squeeze_ …: the tensor object shows the same memory in another order."""
        if not active:
            return func(*args, **kwargs)
        if facts.base in ("resize_", "resize_as_"):
            size = args[1].shape if isinstance(args[1], Tensor) else args[1]
            if prod(size) * args[0].element_size() > args[0].untyped_storage().nbytes():
                raise TraceError(
                    f"resize_ makes a traced tensor of shape {tuple(args[0].shape)} larger (in "
                    f"{self.names.here.path!r}), with entries that nothing defines. Use torch.zeros and a copy instead."
                )
        refs, named = self._refs(args, kwargs)
        result = func(*args, **kwargs)
        self.store.look_again()
        # What set_, resize_ and as_strided_ show now is found by its place in memory, and read as a window.
        moved = facts.base in ("set_", "resize_", "resize_as_", "as_strided_")
        if not moved and self.store.known(args[0]) is None:
            self.emit(facts.name, facts.function, refs, named, (self.store.add(args[0], True, kind="computed"),))
        return result

    def escaped(self, tensor: Tensor, way: str) -> None:
        """Remark that an active tensor has left torch."""
        if way not in CUTS and (self.dependence.holds([tensor]) or self.find(tensor) is not None):
            self.dependence.remark(f"values leave torch by {way!r}", self._where)
        if self.find(tensor) is None:
            return
        if way in CUTS:
            what = f"gradients of a traced tensor are cut by {way!r}"
            therefore = "relevance passes on all the same, and rule='gradient' is the derivative without the cut"
        else:
            what, therefore = f"a traced tensor leaves torch by {way!r}", "what is computed from it counts as constant"
        self._remark(what, therefore)

    def _remark_bound(self, facts: Facts) -> None:
        """Remark that an op reads what was computed from a source by comparisons, indices or steps."""
        if facts.base in _LOOKS:
            kind = "a number computed from the input becomes a Python number"
        else:
            kind = f"{facts.name!r} reads a mask, an index or a step that was computed from the input"
        self.dependence.remark(kind, self._where)

    @property
    def _where(self) -> str:
        return self.names.here.path or self.names.model

    def _remark(self, what: str, therefore: str) -> None:
        self.remarks.add(what, therefore, self.names.here)

    # --- refusals -----------------------------------------------------------------------------------------------------

    def refuse_kinds(self, facts: Facts, args: Any, kwargs: Mapping[str, Any], outputs: Any) -> None:
        """Raise `TraceError` for an op on quantised weights, or on tensors that are not dense and real."""
        if facts.name.startswith("quantized"):
            raise TraceError(
                f"{facts.name!r} (in {self.names.here.path!r}) computes with quantised weights, which have no rule. "
                "Trace the model as it was before it was quantised, or keep the module whole with opaque=."
            )
        for tensor in tensors_of((*args, *outputs), kwargs):
            if tensor.dtype in _ORDINARY and is_plain(tensor):
                continue
            kind = kind_of(tensor)
            if kind is not None:
                shape = "" if kind == "nested" else f" of shape {tuple(tensor.shape)}"
                path = self.names.here.path
                raise TraceError(
                    f"{facts.name!r} (in {path!r}) has a {kind} tensor{shape}: only dense tensors can be traced. "
                    f"Convert it, or keep {'its module' if path else 'the model'} whole: "
                    f"trace(model, x, opaque={{{path!r}: 'jacobian'}})."
                )


class _Paused:
    """Lets ops of our own, such as copies, pass by, and looks at a tensor's shape not go round by `Escapes`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder, self._direct = recorder, torch._C.DisableTorchFunction()

    def __enter__(self) -> None:
        self._recorder.store.look_again()
        self._before, self._recorder.quiet = self._recorder.quiet, True
        self._direct.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._direct.__exit__(*error)
        self._recorder.quiet = self._before
