"""Device functions whose arguments never overlap, as `restrict` says in C.

A loop over more than a few arrays does not vectorise while the compiler has to expect that what it
writes is what it reads next. A function compiled here promises that nothing it writes is reached
through two of its arguments.
"""

from collections.abc import Callable
from typing import Any

import numba
from numba.core.compiler_machinery import register_pass

from mcore.backends.numba_cpu.caching import _SUMS
from mcore.backends.numba_cpu.linking import DeviceCompiler, _DeviceLowering


@register_pass(mutates_CFG=True, analysis_only=False)
class _ApartLowering(_DeviceLowering):
    """Lower with all pointers among the arguments marked `noalias`."""

    _name = "apart_lowering"

    def run_pass(self, state: Any) -> bool:
        state.flags.noalias = True
        return super().run_pass(state)


class _ApartCompiler(DeviceCompiler):
    """The pipeline of device functions but for its last step."""

    def define_pipelines(self) -> list[Any]:
        """The one pipeline."""
        (pipeline,) = super().define_pipelines()
        pipeline._finalized = False
        pipeline.passes = [
            (_ApartLowering if step is _DeviceLowering else step, text)
            for step, text in pipeline.passes
        ]
        pipeline.finalize()
        return [pipeline]


def apart(function: Callable[..., Any]) -> Any:
    """`caching.device` for a function whose array arguments never overlap."""
    return numba.njit(error_model="numpy", fastmath=_SUMS, pipeline_class=_ApartCompiler)(function)
