"""The model's parameters: a point, an interval and a source each. Formulas take them by name.

Sources: "measured" on a 3.1 GHz server core inside a virtual machine, Linux 6.18, HZ=250; "assumed" where nothing better is known.
What the host has measured of itself takes their place: `parameter_set.Parameters`, which whoever predicts hands down.
"""

from __future__ import annotations

from agent.model.snapshot import Param

# Scheduling
SLICE_NORM = Param(
    name="base slice per CPU step",
    unit="seconds",
    lo=0.70e-3,
    mode=0.70e-3,
    hi=0.75e-3,
    source="kernel/sched/fair.c, sysctl_sched_base_slice",
)
TICK_HZ = Param(
    name="scheduler tick", unit="1/second", lo=100, mode=250, hi=1000, source="kernel configuration not readable: the common choices"
)
QUEUED = Param(
    name="waking threads that do not preempt at once",
    unit="ratio",
    lo=0,
    mode=0.25,
    hi=1,
    source="measured: mean delay per timeslice 0.29-0.56 ms beside 1-3 threads that never sleep, against 2 ms if all queued",
)
FAIR = Param(name="CPU time got, over the weighted max-min share", unit="ratio", lo=0.7, mode=1.0, hi=1.3, source="assumed")
PRESSED = Param(name="pressure, over the time in which a thread waits", unit="ratio", lo=0.5, mode=0.8, hi=1.0, source="measured 0.55-0.9")
CONTENTION = Param(
    name="waiting of threads that sleep at times, over the formula", unit="ratio", lo=0.25, mode=1.0, hi=4.0, source="assumed"
)
WAKE = Param(
    name="wake-up on a real CPU",
    unit="seconds",
    lo=1e-6,
    mode=1.5e-6,
    hi=10e-6,
    source="measured 1.0-1.5 us on the same CPU; up to 10 us on an idle one",
)
WAKE_GUEST = Param(
    name="wake-up on a virtual CPU",
    unit="seconds",
    lo=1e-6,
    mode=5e-6,
    hi=60e-6,
    source="measured 17-60 us across CPUs in a virtual machine",
)

# Bandwidth control
BURSTINESS = Param(
    name="coefficient of variation of demand",
    unit="ratio",
    lo=0.2,
    mode=0.5,
    hi=1.0,
    source="assumed; from usage sampled by period once there is a series",
)
SLEEP = Param(name="sleep after a switch, over a thread's habit", unit="ratio", lo=0.77, mode=1.0, hi=1.3, source="assumed")
SLICE_RETURN = Param(
    name="quota overrun, or quota left on a CPU, per CPU and period",
    unit="seconds",
    lo=0.0,
    mode=0.0,
    hi=1e-3,
    source="Documentation/scheduler/sched-bwc.rst: up to 1 ms per CPU",
)

# Translation
L1_SECONDS = Param(name="load latency, L1", unit="seconds", lo=1.0e-9, mode=1.65e-9, hi=2.0e-9, source="measured")
L2_SECONDS = Param(name="load latency, L2", unit="seconds", lo=3.0e-9, mode=5.3e-9, hi=10e-9, source="measured")
L3_SECONDS = Param(
    name="load latency, L3",
    unit="seconds",
    lo=20e-9,
    mode=40e-9,
    hi=75e-9,
    source="published 20-40 ns on desktops, 60-75 ns on large mesh parts",
)
DRAM_SECONDS = Param(
    name="load latency, memory",
    unit="seconds",
    lo=80e-9,
    mode=120e-9,
    hi=170e-9,
    source="published 118-130 ns; measured 125-170 ns in a virtual machine",
)
STRUCTURE_HIT_SECONDS = Param(
    name="page walk, fixed part", unit="seconds", lo=1.6e-9, mode=2.3e-9, hi=6.5e-9, source="recalled: 5-20 cycles, at 3.1 GHz"
)
LEAF_SHARE = Param(name="share of a cache that leaf tables may hold", unit="ratio", lo=0.25, mode=0.5, hi=1.0, source="assumed")
WORKING_SET_SHARE = Param(
    name="working set of resident memory", unit="ratio", lo=0.1, mode=0.5, hi=1.0, source="assumed where it is not measured"
)

# Memory
MIB = float(1 << 20)
QEMU_BASE = Param(
    name="QEMU without a guest", unit="bytes", lo=15 * MIB, mode=30 * MIB, hi=60 * MIB, source="KubeVirt, GetMemoryOverhead: 30 MiB"
)
QEMU_PER_VCPU = Param(
    name="QEMU per vCPU",
    unit="bytes",
    lo=0.5 * MIB,
    mode=8 * MIB,
    hi=8 * MIB,
    source="KubeVirt, GetMemoryOverhead: 8 MiB, meant as an allowance",
)
QEMU_PER_IOTHREAD = Param(
    name="QEMU per iothread",
    unit="bytes",
    lo=0.5 * MIB,
    mode=8 * MIB,
    hi=8 * MIB,
    source="KubeVirt, GetMemoryOverhead: 8 MiB, meant as an allowance",
)
QEMU_VIDEO = Param(
    name="QEMU video memory in use", unit="ratio", lo=0.0, mode=1.0, hi=1.0, source="a guest that shows nothing touches none of it"
)
KERNEL_PER_THREAD = Param(
    name="kernel memory per thread",
    unit="bytes",
    lo=18 * 1024.0,
    mode=26 * 1024.0,
    hi=40 * 1024.0,
    source="16 KiB stack (x86-64) and about 10 KiB of task",
)
KERNEL_PER_PROCESS = Param(
    name="kernel memory per process",
    unit="bytes",
    lo=24 * 1024.0,
    mode=64 * 1024.0,
    hi=256 * 1024.0,
    source="assumed: mm, files, page table roots",
)
KERNEL_PER_CPU = Param(
    name="kernel memory per CPU of a group",
    unit="bytes",
    lo=4 * 1024.0,
    mode=60 * 1024.0,
    hi=120 * 1024.0,
    source="assumed: per-CPU counters of the group",
)
GUEST_KERNEL = Param(
    name="kernel of a guest",
    unit="bytes",
    lo=20 * MIB,
    mode=40 * MIB,
    hi=120 * MIB,
    source="assumed: text, slab and per-CPU memory; page structs aside",
)
INSTANCE_BYTES = Param(
    name="what a runtime keeps of an instance",
    unit="bytes",
    lo=2 * 1024.0,
    mode=4 * 1024.0,
    hi=20 * 1024.0,
    source="measured 4 KiB of 16, 12 of them page tables, with wasmtime; up to 20 with tables and globals of its own",
)
PAGE_TABLES = Param(
    name="page-table pages per sparse reservation",
    unit="pages",
    lo=2,
    mode=3,
    hi=4,
    source="one for each level that only this reservation uses",
)

# Two levels
CYCLE_SECONDS = 1 / 3.1e9
EXIT_KERNEL = Param(
    name="VM exit handled in the kernel",
    unit="seconds",
    lo=760 * CYCLE_SECONDS,
    mode=1300 * CYCLE_SECONDS,
    hi=2500 * CYCLE_SECONDS,
    source="recalled: VT-x round trip 784 cycles (Sandy Bridge) to 1009 (Nehalem) and a handler, at 3.1 GHz",
)
EXIT_USER = Param(
    name="VM exit handled by the emulator",
    unit="seconds",
    lo=2500 * CYCLE_SECONDS,
    mode=4500 * CYCLE_SECONDS,
    hi=12000 * CYCLE_SECONDS,
    source="published on LKML: 2528 cycles from KVM_RUN's entry to its exit; up to 8.5 us measured nested",
)
POLL_SECONDS = Param(
    name="polling for a halted vCPU",
    unit="seconds",
    lo=10e-6,
    mode=45e-6,
    hi=200e-6,
    source="Documentation/virt/kvm/halt-polling.rst: from 10 us up to halt_poll_ns",
)
EXITS_BUSY = Param(
    name="exits of a busy vCPU without device I/O", unit="1/second", lo=100, mode=600, hi=3000, source="assumed: timer ticks and interrupts"
)
LOCKED = Param(name="time inside spin locks", unit="ratio", lo=0.0, mode=0.005, hi=0.05, source="assumed")
LOCK_SECTION = Param(name="critical section of a spin lock", unit="seconds", lo=0.5e-6, mode=2e-6, hi=5e-6, source="assumed")

# Switches
SWITCH_PROCESS = Param(
    name="switch between processes",
    unit="seconds",
    lo=0.9e-6,
    mode=1.2e-6,
    hi=5.6e-6,
    source="measured 0.95 us; published 1.3-3.5 us with a pipe, 3.8 us in 2007, which is the 95th percentile here",
)
SWITCH_THREAD = Param(
    name="switch within a process", unit="seconds", lo=0.6e-6, mode=0.9e-6, hi=2.0e-6, source="published 1.07 us on an 11th generation i7"
)
SWITCH_VCPU = Param(
    name="switch between vCPU threads",
    unit="seconds",
    lo=1.5e-6,
    mode=2.5e-6,
    hi=6e-6,
    source="assumed: a switch, an exit, and the guest's state",
)
INSTANCE_SWITCH = Param(
    name="switch between instances within a thread",
    unit="seconds",
    lo=0.03e-6,
    mode=0.1e-6,
    hi=0.2e-6,
    source="published 30 ns for a call; measured 80-130 ns for a host call",
)
EVICTED_IN_ORDER = Param(
    name="replacement in caches by age", unit="ratio", lo=0.0, mode=0.5, hi=1.0, source="between random replacement and the oldest first"
)

# NUMA
MEMORY_STALL = Param(
    name="time that waits for memory", unit="ratio", lo=0.05, mode=0.3, hi=0.8, source="assumed; a hardware counter would say"
)
DISTANCE_LATENCY = Param(
    name="latency by distance over latency",
    unit="ratio",
    lo=0.7,
    mode=1.0,
    hi=1.15,
    source="published ratios 1.76 and 2.05 beside a distance of 21",
)

# Sandboxes
CODE = Param(
    name="generated code over optimised native code",
    unit="extra time",
    lo=0.01,
    mode=0.15,
    hi=1.5,
    source="measured 0.15 over 8 kernels against clang -O2; 0.45 and 0.55 in browsers in the mean, single programs up to 1.08 and 1.5 "
    "(Jangda et al., USENIX ATC 2019)",
)
CHECKED_BOUNDS = Param(
    name="explicit bounds checks", unit="ratio", lo=0.10, mode=0.30, hi=0.80, source="Wasmtime's guide, Fast execution: 1.2x to 1.8x"
)
GUARDED_BOUNDS = Param(
    name="bounds by guard pages", unit="ratio", lo=0.0, mode=0.0, hi=0.02, source="no instruction is spent; measured as noise"
)
EPOCHS = Param(
    name="interruption by epochs",
    unit="ratio",
    lo=0.03,
    mode=0.15,
    hi=1.0,
    source="Wasmtime pull request 12990: 14.4 %; up to 0.96 in an empty loop",
)
FUEL = Param(
    name="interruption by fuel",
    unit="ratio",
    lo=0.05,
    mode=0.23,
    hi=1.0,
    source="measured 0.23 over 8 kernels; up to 0.96 in an empty loop",
)
INTERRUPTION = Param(
    name="interruption that may or may not be on", unit="ratio", lo=0.0, mode=0.0, hi=0.23, source="off by default; fuel costs 0.23"
)

# Start
INSTANTIATE = Param(
    name="instantiate a compiled module",
    unit="seconds",
    lo=3e-6,
    mode=6e-6,
    hi=50e-6,
    source="Wasmtime commit c8396857: 6.4-10.6 us; 10-18 us through Python",
)
SPAWN = Param(
    name="posix_spawn of a process",
    unit="seconds",
    lo=0.3e-3,
    mode=0.6e-3,
    hi=1.5e-3,
    source="measured 0.55-0.66 ms; LightVM (SOSP 2017): 1 ms",
)
RUNTIME = Param(
    name="container by a low-level runtime",
    unit="seconds",
    lo=8e-3,
    mode=20e-3,
    hi=50e-3,
    source="crun's README: crun 16.9 ms, runc 33.4 ms",
)
ENGINE = Param(name="container through its engine", unit="seconds", lo=0.1, mode=0.3, hi=1.0, source="recalled: two orders above a process")
CREATE_VM = Param(name="create a VM, a vCPU and its memory", unit="seconds", lo=0.3e-3, mode=1e-3, hi=3e-3, source="measured 2.1 ms nested")
EMULATOR = Param(
    name="start of a small emulator",
    unit="seconds",
    lo=6e-3,
    mode=12e-3,
    hi=60e-3,
    source="Firecracker's SPECIFICATION.md: 6-60 ms of wall time",
)
BOOT_SMALL = Param(
    name="kernel of a small VM up to init",
    unit="seconds",
    lo=60e-3,
    mode=100e-3,
    hi=140e-3,
    source="Firecracker's SPECIFICATION.md: 125 ms in all",
)
BOOT_DIRECT = Param(name="QEMU, a kernel without firmware", unit="seconds", lo=0.3, mode=0.7, hi=2.0, source="assumed")
BOOT_FULL = Param(name="QEMU, firmware and a distribution", unit="seconds", lo=3.0, mode=10.0, hi=60.0, source="assumed")
SMALL_EMULATOR_BYTES = Param(
    name="emulator of a small VM",
    unit="bytes",
    lo=2 * MIB,
    mode=3 * MIB,
    hi=5 * MIB,
    source="Firecracker (NSDI 2020): 3 MB; its SPECIFICATION.md: at most 5 MiB",
)

# Cores and caches that are shared
SIBLING_GAIN = Param(name="gain of two threads on a core over one", unit="ratio", lo=0.0, mode=0.25, hi=0.5, source="recalled")
MISS_EXPONENT = Param(
    name="misses by cache size", unit="ratio", lo=0.3, mode=0.5, hi=0.7, source="Hartstein et al. (CF 2006): exponents of 0.3 to 0.7"
)

# Walks that a class of programs makes, as a share of its native cycles
WALKING_COMPUTE = Param(name="page walks of computing programs", unit="ratio", lo=0.002, mode=0.01, hi=0.04, source="assumed")
WALKING_IRREGULAR = Param(
    name="page walks of irregular programs", unit="ratio", lo=0.05, mode=0.1, hi=0.25, source="published: up to a half in the worst case"
)
