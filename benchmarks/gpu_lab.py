"""Where GPU benchmarks run: the device, its clock, and where results go."""

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from mcore.backend import Backend, get_backend

RESULTS = Path(__file__).parent / "results"
ROUNDS = 5


class Lab:
    """A device, and the rows measured on it.

    Attributes:
        backend: the CuPy backend.
        emulated: whether the CPU stands for the GPU: sizes are then tiny, and times mean nothing.
        rows: by part, then by name.
        deadline: of `time.monotonic`.
    """

    def __init__(self, deadline: float) -> None:
        self.backend: Backend = get_backend("cupy")
        self.xp: Any = self.backend.xp
        self.emulated = os.environ.get("MCORE_EMULATED_GPU", "0") not in ("", "0")
        self.rows: dict[str, dict[str, Any]] = {}
        self.deadline = deadline

    @property
    def name(self) -> str:
        """Of the device."""
        return str(self.backend.device.name)  # type: ignore[attr-defined]

    @property
    def facts(self) -> list[str]:
        """What else a number depends on."""
        if self.emulated:
            return ["times are of the emulation and say nothing of a GPU"]
        runtime, device = self.xp.cuda.runtime, self.xp.cuda.Device()
        found = runtime.getDeviceProperties(device.id)
        return [
            f"{found['multiProcessorCount']} multiprocessors",
            f"{found['totalGlobalMem'] / 2**30:.0f} GiB",
            f"CUDA {runtime.runtimeGetVersion()}, driver {runtime.driverGetVersion()}",
            f"CuPy {self.xp.__version__}",
        ]

    def left(self) -> float:
        """Seconds until nothing new should begin."""
        return self.deadline - time.monotonic()

    def seconds(self, call: Callable[[], object]) -> float:
        """Of one call, by the device's clock; it has been called before."""
        if self.emulated:
            began = time.perf_counter()
            call()
            return time.perf_counter() - began
        begin, end = (self.xp.cuda.Event() for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        return 1e-3 * float(self.xp.cuda.get_elapsed_time(begin, end))

    def best(self, calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
        """Seconds of each call: the best of several rounds, in which they take turns."""
        for call in calls.values():
            call()
        rounds = 1 if self.emulated else ROUNDS
        times = [{name: self.seconds(call) for name, call in calls.items()} for _ in range(rounds)]
        return {name: min(each[name] for each in times) for name in calls}

    def store(self, part: str, name: str, row: Mapping[str, Any]) -> None:
        """Keep a row, in a file as well unless the device is emulated."""
        self.rows.setdefault(part, {})[name] = dict(row)
        if self.emulated:
            return
        found = {"device": self.name, "facts": self.facts, "date": date.today().isoformat()}
        text = json.dumps({**found, "parts": self.rows}, indent=1) + "\n"
        self.path.with_suffix(".json").write_text(text)

    @property
    def path(self) -> Path:
        """Of the results of this device."""
        return RESULTS / f"gpu-{re.sub(r'[^A-Za-z0-9]+', '-', self.name).strip('-')}"
