"""Execution in a WebAssembly runtime: generated code, bounds checks, interruption, crossings.

Sources: Jangda et al. (USENIX ATC 2019) and Szewczyk et al. (IISWC 2022) for code; Wasmtime's guide "Fast execution" for bounds checks
and its pull request 12990 for epochs; measured with wasmtime 50 where no source is named beside the parameter.
"""

from __future__ import annotations

from functools import lru_cache

from agent.model.components import EXECUTION
from agent.model.snapshot import Param, Prediction
from agent.model.workload import Workload
from agent.overhead import parameters
from agent.overhead.bands import band
from agent.overhead.prediction import prediction
from agent.overhead.window import Window

_GUARD_RESERVATION_BYTES = 4 << 30


def execution_factor(code: float, bounds: float, interruption: float) -> float:
    """Time of the same work in a sandbox over native, crossings aside; each argument is relative extra time."""
    return (1 + code) * (1 + bounds) * (1 + interruption)


def guard_pages_check_bounds(reserved_bytes: int, pointer_bits: int = 32) -> bool:
    """Whether the memory's layout lets faults do the checks: a 32-bit memory that may never move, all of its addresses reserved."""
    return pointer_bits == 32 and reserved_bytes >= _GUARD_RESERVATION_BYTES


@lru_cache(16)
def _extra(*factors: Param) -> tuple[float, float, float]:
    """Over native time. The band is of the factor, since that multiplies and the extra time does not; it is the same for all alike."""
    point, low, high = band(execution_factor, *factors)
    return point - 1, low - 1, high - 1


def execution(workload: Workload, window: Window) -> Prediction | None:
    """Extra time of code in wasmtime over native code; of other compilers nothing is known here."""
    memories = workload.memories
    if workload.paradigm != "sandbox" or not memories or any(not memory.layout.startswith("wasmtime") for memory in memories):
        return None
    guarded = sum(1 for memory in memories if guard_pages_check_bounds(memory.reserved_bytes))
    checks = window.given[parameters.GUARDED_BOUNDS if guarded == len(memories) else parameters.CHECKED_BOUNDS]
    code, interruption = window.given[parameters.CODE], window.given[parameters.INTERRUPTION]
    interval = _extra(code, checks, interruption)
    inputs = {"memories": float(len(memories)), "guarded_memories": float(guarded)}
    formula = "(1 + code)*(1 + bounds)*(1 + interruption) - 1; whether epochs or fuel interrupt it is not seen from outside"
    return prediction(workload, EXECUTION, interval, formula=formula, inputs=inputs, flags=["prior_only", "no_counterpart"])
