"""The model's parameters: a point, an interval and a source each. Formulas take them by name; `bounds` carries their intervals on.

Sources: "measured" on a 3.1 GHz server core inside a virtual machine, Linux 6.18, HZ=250; "assumed" where nothing better is known.
What the host has measured of itself takes their place: `Parameters`, which whoever predicts hands down.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from itertools import product

from agent.model.snapshot import Param as Param
from agent.model.values import Fact


class Parameters(Fact, frozen=True, dict=True):
    """Asked with a default, it answers with what is known better, or with the default itself."""

    better: tuple[Param, ...] = ()

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.better)

    def __getitem__(self, default: Param) -> Param:
        return self._by_name.get(default.name, default)

    @cached_property
    def _by_name(self) -> dict[str, Param]:
        return {param.name: param for param in self.better}


DEFAULTS = Parameters()


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
GUEST_KERNEL = Param(
    "kernel of a guest", "bytes", 20 * MIB, 40 * MIB, 120 * MIB, "assumed: text, slab and per-CPU memory; page structs aside"
)
INSTANCE_BYTES = Param(
    "what a runtime keeps of an instance",
    "bytes",
    2 * 1024.0,
    4 * 1024.0,
    20 * 1024.0,
    "measured 4 KiB of 16, 12 of them page tables, with wasmtime; up to 20 with tables and globals of its own",
)
PAGE_TABLES = Param("page-table pages per sparse reservation", "pages", 2, 3, 4, "one for each level that only this reservation uses")

# Two levels
CYCLE_SECONDS = 1 / 3.1e9
EXIT_KERNEL = Param(
    "VM exit handled in the kernel",
    "seconds",
    760 * CYCLE_SECONDS,
    1300 * CYCLE_SECONDS,
    2500 * CYCLE_SECONDS,
    "recalled: VT-x round trip 784 cycles (Sandy Bridge) to 1009 (Nehalem) and a handler, at 3.1 GHz",
)
EXIT_USER = Param(
    "VM exit handled by the emulator",
    "seconds",
    2500 * CYCLE_SECONDS,
    4500 * CYCLE_SECONDS,
    12000 * CYCLE_SECONDS,
    "published on LKML: 2528 cycles from KVM_RUN's entry to its exit; up to 8.5 us measured nested",
)
POLL_SECONDS = Param(
    "polling for a halted vCPU", "seconds", 10e-6, 45e-6, 200e-6, "Documentation/virt/kvm/halt-polling.rst: from 10 us up to halt_poll_ns"
)
EXITS_BUSY = Param("exits of a busy vCPU without device I/O", "1/second", 100, 600, 3000, "assumed: timer ticks and interrupts")
LOCKED = Param("time inside spin locks", "ratio", 0.0, 0.005, 0.05, "assumed")
LOCK_SECTION = Param("critical section of a spin lock", "seconds", 0.5e-6, 2e-6, 5e-6, "assumed")

# Switches
SWITCH_PROCESS = Param(
    "switch between processes", "seconds", 0.9e-6, 1.2e-6, 3.8e-6, "measured 0.95 us; published 1.3-3.5 us with a pipe, 3.8 us in 2007"
)
SWITCH_THREAD = Param("switch within a process", "seconds", 0.6e-6, 0.9e-6, 2.0e-6, "published 1.07 us on an 11th generation i7")
SWITCH_VCPU = Param("switch between vCPU threads", "seconds", 1.5e-6, 2.5e-6, 6e-6, "assumed: a switch, an exit, and the guest's state")
INSTANCE_SWITCH = Param(
    "switch between instances within a thread",
    "seconds",
    0.03e-6,
    0.1e-6,
    0.2e-6,
    "published 30 ns for a call; measured 80-130 ns for a host call",
)
EVICTED_IN_ORDER = Param("replacement in caches by age", "ratio", 0.0, 0.5, 1.0, "between random replacement and the oldest first")

# NUMA
MEMORY_STALL = Param("time that waits for memory", "ratio", 0.05, 0.3, 0.8, "assumed; a hardware counter would say")
DISTANCE_LATENCY = Param(
    "latency by distance over latency", "ratio", 0.7, 1.0, 1.15, "published ratios 1.76 and 2.05 beside a distance of 21"
)

# Sandboxes
CODE = Param(
    "generated code over optimised native code",
    "extra time",
    0.01,
    0.15,
    1.5,
    "measured 0.15 over 8 kernels against clang -O2; 0.45 and 0.55 in browsers in the mean, single programs up to 1.08 and 1.5 "
    "(Jangda et al., USENIX ATC 2019)",
)
CHECKED_BOUNDS = Param("explicit bounds checks", "ratio", 0.10, 0.30, 0.80, "Wasmtime's guide, Fast execution: 1.2x to 1.8x")
GUARDED_BOUNDS = Param("bounds by guard pages", "ratio", 0.0, 0.0, 0.02, "no instruction is spent; measured as noise")
EPOCHS = Param("interruption by epochs", "ratio", 0.03, 0.15, 1.0, "Wasmtime pull request 12990: 14.4 %; up to 0.96 in an empty loop")
FUEL = Param("interruption by fuel", "ratio", 0.05, 0.23, 1.0, "measured 0.23 over 8 kernels; up to 0.96 in an empty loop")
INTERRUPTION = Param("interruption that may or may not be on", "ratio", 0.0, 0.0, 0.23, "off by default; fuel costs 0.23")

# Start
INSTANTIATE = Param(
    "instantiate a compiled module", "seconds", 3e-6, 6e-6, 50e-6, "Wasmtime commit c8396857: 6.4-10.6 us; 10-18 us through Python"
)
SPAWN = Param("posix_spawn of a process", "seconds", 0.3e-3, 0.6e-3, 1.5e-3, "measured 0.55-0.66 ms; LightVM (SOSP 2017): 1 ms")
RUNTIME = Param("container by a low-level runtime", "seconds", 8e-3, 20e-3, 50e-3, "crun's README: crun 16.9 ms, runc 33.4 ms")
ENGINE = Param("container through its engine", "seconds", 0.1, 0.3, 1.0, "recalled: two orders above a process")
CREATE_VM = Param("create a VM, a vCPU and its memory", "seconds", 0.3e-3, 1e-3, 3e-3, "measured 2.1 ms nested")
EMULATOR = Param("start of a small emulator", "seconds", 6e-3, 12e-3, 60e-3, "Firecracker's SPECIFICATION.md: 6-60 ms of wall time")
BOOT_SMALL = Param("kernel of a small VM up to init", "seconds", 60e-3, 100e-3, 140e-3, "Firecracker's SPECIFICATION.md: 125 ms in all")
BOOT_DIRECT = Param("QEMU, a kernel without firmware", "seconds", 0.3, 0.7, 2.0, "assumed")
BOOT_FULL = Param("QEMU, firmware and a distribution", "seconds", 3.0, 10.0, 60.0, "assumed")
SMALL_EMULATOR_BYTES = Param(
    "emulator of a small VM", "bytes", 2 * MIB, 3 * MIB, 5 * MIB, "Firecracker (NSDI 2020): 3 MB; its SPECIFICATION.md: at most 5 MiB"
)

# Cores and caches that are shared
SIBLING_GAIN = Param("gain of two threads on a core over one", "ratio", 0.0, 0.25, 0.5, "recalled")
MISS_EXPONENT = Param("misses by cache size", "ratio", 0.3, 0.5, 0.7, "Hartstein et al. (CF 2006): exponents of 0.3 to 0.7")

# Walks that a class of programs makes, as a share of its native cycles
WALKING_COMPUTE = Param("page walks of computing programs", "ratio", 0.002, 0.01, 0.04, "assumed")
WALKING_SERVER = Param("page walks of servers", "ratio", 0.02, 0.05, 0.1, "published: up to 0.10 for servers with large memories")
WALKING_IRREGULAR = Param("page walks of irregular programs", "ratio", 0.05, 0.1, 0.25, "published: up to a half in the worst case")
