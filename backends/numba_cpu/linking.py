"""Compile device functions for linking only: no machine code of their own.

Numba optimises and assembles every compiled function together with all its callees, even where it
is only ever called by other compiled functions; in a tree of small functions most of the compile
time goes into code that never runs. Here a device function stops at LLVM IR, and is optimised and
assembled once, inside each kernel. It cannot be called from Python.

Neither kernels nor device functions count references: the caller holds all arrays, none is made
inside, and the counting of each array in each tuple would be a good part of the code.
"""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import binding
from numba import _dynfunc
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder, Flags
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering

from mcore.backends.numba_cpu.lowering import KernelLower

_DOC = "A device function: kernels call it, Python cannot."
_NEEDLESS = {
    "WithLifting",
    "InlineClosureLikes",
    "RewriteDynamicRaises",
    "MakeFunctionToJitFunction",
    "InlineInlinables",
    "LiteralUnroll",
    "InlineOverloads",
    "NopythonRewrites",
}
"""Passes for closures, generators, array expressions and the like, of which kernels have none."""

# What Python would call: it raises a TypeError.
_REFUSE = ctypes.cast(ctypes.pythonapi.PyErr_BadArgument, ctypes.c_void_p).value


class _KernelLibrary(JITCodeLibrary):  # type: ignore[misc]
    """A library that is optimised in full once, when all that it calls is in it."""

    def _optimize_functions(self, ll_module: Any) -> None:
        """Only what makes functions small: no variable stays on the stack."""
        ll_module.data_layout = self._codegen._data_layout
        tuning = binding.create_pipeline_tuning_options(speed_level=1)
        builder = binding.create_pass_builder(self._codegen._tm, tuning)
        passes = binding.create_new_function_pass_manager()
        passes.add_sroa_pass()
        passes.add_simplify_cfg_pass()
        for function in ll_module.functions:
            if not function.is_declaration:
                passes.run(function, builder)

    def _optimize_final_module(self) -> None:
        """Without Numba's earlier round, which finds reference counts.

        Loops are not unrolled: products do that themselves, and all others wait for memory.
        """
        tuning = binding.create_pipeline_tuning_options(speed_level=3)
        tuning.loop_vectorization, tuning.slp_vectorization = True, False
        tuning.loop_unrolling = False
        builder = binding.create_pass_builder(self._codegen._tm, tuning)
        builder.getModulePassManager().run(self._final_module, builder)


class _LinkedLibrary(_KernelLibrary):
    """A library that is only linked into others."""

    def _optimize_final_module(self) -> None:
        """Left to the kernel."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _KernelLowering(NativeLowering):  # type: ignore[misc]
    """Lower to machine code without reference counts."""

    _name = "kernel_lowering"

    @property
    def lowering_class(self) -> type[KernelLower]:
        """Our own."""
        return KernelLower

    def run_pass(self, state: Any) -> bool:
        context = state.targetctx
        state.flags.no_cfunc_wrapper = True
        if state.library is None:
            state.library = _KernelLibrary(context.codegen(), state.func_id.func_qualname)
            state.library.enable_object_caching()
        # Not by an option: typing would then refuse functions that return a part of an array.
        state.targetctx = context.subtarget(enable_nrt=False)
        super().run_pass(state)
        state.targetctx = context
        return True


@register_pass(mutates_CFG=True, analysis_only=False)
class _DeviceLowering(_KernelLowering):
    """Lower to LLVM IR and register the function for callers."""

    _name = "device_lowering"

    def run_pass(self, state: Any) -> bool:
        flags, context = state.flags, state.targetctx
        flags.no_cpython_wrapper = flags.no_cfunc_wrapper = flags.no_compile = True
        state.library = _LinkedLibrary(context.codegen(), state.func_id.func_qualname)
        super().run_pass(state)
        lowered = state.cr
        entry = _dynfunc.make_function(
            lowered.fndesc.lookup_module(), lowered.fndesc.qualname, _DOC, _REFUSE, lowered.env, ()
        )
        state.cr = lowered._replace(cfunc=entry)
        context.insert_user_function(entry, lowered.fndesc, [state.library])
        return True


class _Flags(Flags):  # type: ignore[misc]
    """Flags that Numba compares tens of thousands of times, and that are nearly always equal."""

    __slots__ = ()
    _HASH = hash(Flags())

    def __hash__(self) -> int:
        return self._HASH

    def __eq__(self, other: object) -> bool:
        same: bool = self._values == getattr(other, "_values", None)
        return same or super().__eq__(other)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for cycles: among millions of live objects it takes a tenth of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class KernelCompiler(CompilerBase):  # type: ignore[misc]
    """Numba's pipeline but for its last step, and for steps that kernels have no use for."""

    lowering: type[NativeLowering] = _KernelLowering

    def __init__(self, *args: Any) -> None:
        super().__init__(*(_Flags(x) if isinstance(x, Flags) else x for x in args))

    def compile_extra(self, func: Any) -> Any:
        """Compile, and leave what is to be collected for afterwards."""
        with _uncollected():
            return super().compile_extra(func)

    def define_pipelines(self) -> list[Any]:
        """The one pipeline."""
        pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
        pipeline.passes = [
            (self.lowering if step is NativeLowering else step, text)
            for step, text in pipeline.passes
            if step.__name__ not in _NEEDLESS
        ]
        pipeline.finalize()
        return [pipeline]


class DeviceCompiler(KernelCompiler):
    """The same, without machine code."""

    lowering = _DeviceLowering
