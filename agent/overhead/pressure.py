"""Pressure of a group on its CPUs: for how much of the time some thread of it waited, beside the kernel's own figure.

Source: Documentation/accounting/psi.rst. Pressure counts the time in which at least one thread waits, the run delay each thread's.
"""

from __future__ import annotations

from agent.model.components import CPU_PRESSURE
from agent.model.snapshot import ByContention, Prediction
from agent.model.workload import Workload
from agent.overhead import parameters
from agent.overhead.activity import Activity
from agent.overhead.prediction import UNSCORED, prediction

_FORMULA = "part * (1 - (1 - d/n)^n) of the delay as predicted, over n threads; between part * d/n and d"


def some_share(delay: float, threads: float) -> float:
    """Of a second, when `threads` wait `delay` seconds in it, each whenever it happens to."""
    return 1 - (1 - min(1.0, delay / threads)) ** threads if threads > 0 else 0.0


def cpu_pressure(workload: Workload, activity: Activity, waits: Prediction | None) -> Prediction | None:
    """From the waiting as predicted: all threads at the same time at best, one after the other at worst.

    Of one thread pressure is a part of its delay (measured: 0.55 to 0.9): the kernel averages it over CPUs by their non-idle time.
    """
    active = activity.active_threads
    if waits is None or active is None or activity.pressure_seconds is None or workload.paradigm == "virtualization":
        # A machine's group holds its emulator, whose threads wait, too.
        return None
    threads = float(max(1, active))
    part = parameters.PRESSED

    def pressed(waits: Prediction | ByContention) -> tuple[float, float, float]:
        return part.mode * some_share(waits.value, threads), min(1.0, part.lo * waits.lo / threads), min(1.0, waits.hi)

    other = None if waits.by_contention is None else ByContention(*pressed(waits.by_contention), _FORMULA)
    inputs = {"run_queue_delay": waits.value, "active_threads": threads, "part": part.mode}
    flags = [flag for flag in waits.validity if flag not in ("ok", UNSCORED)]
    measured = activity.pressure_seconds / activity.group_seconds
    return prediction(
        workload, CPU_PRESSURE, pressed(waits), formula=_FORMULA, inputs=inputs, flags=flags, measured=measured, by_contention=other
    )
