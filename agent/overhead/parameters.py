"""The model's parameters: a point, an interval and a source each. Formulas take them by name; `bounds` carries their intervals on.

Sources: "measured" on a 3.1 GHz server core inside a virtual machine, Linux 6.18, HZ=250; "assumed" where nothing better is known.
Calibration replaces them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Literal

from agent.model.values import Fact


class Param(Fact, frozen=True):
    """`mode` is the point, `lo` and `hi` the interval."""

    name: str
    unit: str
    lo: float
    mode: float
    hi: float
    source: str
    origin: Literal["default", "calibrated", "measured", "configured"] = "default"


def bounds(formula: Callable[..., float], *params: Param) -> tuple[float, float, float]:
    """Point, lowest and highest value over the corners of the intervals: hard bounds where `formula` is monotone in each parameter."""
    point = formula(*(param.mode for param in params))
    corners = [formula(*corner) for corner in product(*(sorted({param.lo, param.hi}) for param in params))]
    return point, min(point, *corners), max(point, *corners)


# Scheduling
SLICE_NORM = Param("base slice per CPU step", "seconds", 0.70e-3, 0.70e-3, 0.75e-3, "kernel/sched/fair.c, sysctl_sched_base_slice")
TICK_HZ = Param("scheduler tick", "1/second", 100, 250, 1000, "kernel configuration not readable: the common choices")
QUEUED = Param(
    "waking threads that do not preempt at once",
    "ratio",
    0,
    0.25,
    1,
    "measured: mean delay per timeslice 0.29-0.56 ms beside 1-3 threads that never sleep, against 2 ms if all queued",
)
WAKE = Param("wake-up on a real CPU", "seconds", 1e-6, 1.5e-6, 10e-6, "measured 1.0-1.5 us on the same CPU; up to 10 us on an idle one")
WAKE_GUEST = Param("wake-up on a virtual CPU", "seconds", 1e-6, 5e-6, 60e-6, "measured 17-60 us across CPUs in a virtual machine")

# Bandwidth control
BURSTINESS = Param(
    "coefficient of variation of demand", "ratio", 0.2, 0.5, 1.0, "assumed; from usage sampled by period once there is a series"
)
SLICE_RETURN = Param(
    "quota overrun, or quota left on a CPU, per CPU and period",
    "seconds",
    0.0,
    0.0,
    1e-3,
    "Documentation/scheduler/sched-bwc.rst: up to 1 ms per CPU",
)

# Translation
L1_SECONDS = Param("load latency, L1", "seconds", 1.0e-9, 1.65e-9, 2.0e-9, "measured")
L2_SECONDS = Param("load latency, L2", "seconds", 3.0e-9, 5.3e-9, 10e-9, "measured")
L3_SECONDS = Param("load latency, L3", "seconds", 20e-9, 40e-9, 75e-9, "published 20-40 ns on desktops, 60-75 ns on large mesh parts")
DRAM_SECONDS = Param(
    "load latency, memory", "seconds", 80e-9, 120e-9, 170e-9, "published 118-130 ns; measured 125-170 ns in a virtual machine"
)
STRUCTURE_HIT_SECONDS = Param("page walk, fixed part", "seconds", 1.6e-9, 2.3e-9, 6.5e-9, "recalled: 5-20 cycles, at 3.1 GHz")
LEAF_SHARE = Param("share of a cache that leaf tables may hold", "ratio", 0.25, 0.5, 1.0, "assumed")
WORKING_SET_SHARE = Param("working set of resident memory", "ratio", 0.1, 0.5, 1.0, "assumed where it is not measured")

# Memory
MIB = float(1 << 20)
QEMU_BASE = Param("QEMU without a guest", "bytes", 15 * MIB, 30 * MIB, 60 * MIB, "KubeVirt, GetMemoryOverhead: 30 MiB")
QEMU_PER_VCPU = Param("QEMU per vCPU", "bytes", 0.5 * MIB, 8 * MIB, 8 * MIB, "KubeVirt, GetMemoryOverhead: 8 MiB, meant as an allowance")
QEMU_PER_IOTHREAD = Param(
    "QEMU per iothread", "bytes", 0.5 * MIB, 8 * MIB, 8 * MIB, "KubeVirt, GetMemoryOverhead: 8 MiB, meant as an allowance"
)
QEMU_VIDEO = Param("QEMU video memory in use", "ratio", 0.0, 1.0, 1.0, "a guest that shows nothing touches none of it")
KERNEL_PER_THREAD = Param(
    "kernel memory per thread", "bytes", 18 * 1024.0, 26 * 1024.0, 40 * 1024.0, "16 KiB stack (x86-64) and about 10 KiB of task"
)
KERNEL_PER_PROCESS = Param(
    "kernel memory per process", "bytes", 24 * 1024.0, 64 * 1024.0, 256 * 1024.0, "assumed: mm, files, page table roots"
)
KERNEL_PER_CPU = Param(
    "kernel memory per CPU of a group", "bytes", 4 * 1024.0, 60 * 1024.0, 120 * 1024.0, "assumed: per-CPU counters of the group"
)
PAGE_TABLES = Param("page-table pages per sparse reservation", "pages", 2, 3, 4, "one for each level that only this reservation uses")
