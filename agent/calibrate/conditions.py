"""Disturbance of a run by others: differences of counters between its beginning and its end."""

from __future__ import annotations

import os
import threading

from agent.model.calibration import Conditions
from agent.model.values import Fact, sum_if_known
from collectors import proc_pressure, proc_stat
from collectors.root import SysRoot


class Counters(Fact, frozen=True):
    """Counters of disturbance: CPU pressure, this thread's run delay, and steal summed over `cpus` CPUs."""

    pressure_usec: int | None = None
    delay_ns: int | None = None
    steal_seconds: float | None = None
    cpus: int | None = None


def counters(root: SysRoot) -> Counters:
    """Reads /proc/pressure/cpu, this thread's schedstat and /proc/stat; None for each that is missing."""
    pressure = root.parse("proc/pressure/cpu", proc_pressure.parse)
    stat = root.parse("proc/stat", proc_stat.parse)
    fields = (root.text(f"proc/{os.getpid()}/task/{threading.get_native_id()}/schedstat") or "").split()
    steal_by_cpu = [cpu.steal_seconds for cpu in stat.cpus] if stat else []
    return Counters(
        None if pressure is None else pressure.some_usec,
        int(fields[1]) if len(fields) == 3 else None,
        sum_if_known(steal_by_cpu),
        len(steal_by_cpu) or None,
    )


def between(before: Counters, after: Counters, seconds: float) -> Conditions:
    """The conditions as shares of `seconds`; steal is a share of `seconds` on all CPUs."""

    def share(first: float | None, last: float | None, unit: float) -> float | None:
        return None if first is None or last is None or last < first or seconds <= 0 else min(1.0, (last - first) * unit / seconds)

    cpus = after.cpus
    return Conditions(
        share(before.pressure_usec, after.pressure_usec, 1e-6),
        None if cpus is None else share(before.steal_seconds, after.steal_seconds, 1 / cpus),
        share(before.delay_ns, after.delay_ns, 1e-9),
    )
