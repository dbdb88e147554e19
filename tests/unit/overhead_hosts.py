"""Hosts out of the model's types: a core of two CPUs between two memory nodes, and on it a container, a machine and a sandbox."""

from __future__ import annotations

from msgspec.structs import replace

from agent.model.device import CpuDevices, Devices, MemoryDevices
from agent.model.facts.cgroup import WorkloadCpu, WorkloadMemory
from agent.model.facts.proc_stat import CpuTime
from agent.model.facts.proc_task import Thread
from agent.model.facts.sys_kvm import Kvm
from agent.model.guest import Guest
from agent.model.host import CgroupVersion, Host, Identity, Virtualization
from agent.model.logical import KernelCpu, KernelMemory, Logical
from agent.model.physical import Cache, Core, Cpus, Node, Physical
from agent.model.physical import MainMemory as PhysicalMemory
from agent.model.runtimes import Paradigm
from agent.model.sandbox import LinearMemory
from agent.model.values import CpuSet, Limit
from agent.model.workload import Placement, Stack, VCpu, Workload

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
BOTH = CpuSet((0, 1))
UPTIME = 1000.0

# What a thread has done by the end of a window of ten seconds, and by its beginning.
RUN_NS, DELAY_NS, SLICES = 5_000_000_000, 1_000_000_000, 4000


def thread(tid: int, passed: float = 0.0, state: str = "R", start_ticks: int = 500) -> Thread:
    done = 1 + passed
    return Thread(
        tid=tid,
        name="worker",
        start_ticks=start_ticks,
        state=state,
        last_cpu=0,
        allowed_cpus=BOTH,
        run_ns=int(RUN_NS * done),
        delay_ns=int(DELAY_NS * done),
        timeslices=int(SLICES * done),
        voluntary_switches=int(SLICES * done) // 2,
        involuntary_switches=int(SLICES * done) // 2,
    )


def cpu(passed: float = 0.0, usage: float = 3.0, quota: float = 50_000) -> WorkloadCpu:
    """`usage`: CPU seconds in the window of ten seconds."""
    return WorkloadCpu(
        weight=100,
        limit_cpus=Limit(quota / 100_000),
        pressure_some_usec=int(1e5 * (1 + passed)),
        quota_usec=Limit(quota),
        period_usec=100_000,
        burst_usec=0,
        usage_usec=int(1e6 * (1 + usage * passed)),
        periods=int(100 * (1 + passed)),
        throttled_periods=int(10 * (1 + passed)),
        throttled_usec=int(1e5 * (1 + passed)),
    )


def container(passed: float = 0.0) -> Workload:
    memory = WorkloadMemory(
        current_bytes=200 * MIB,
        kernel_bytes=2 * MIB,
        page_table_bytes=MIB // 2,
        stat={"anon": 100 * MIB, "file_mapped": 28 * MIB, "anon_thp": 64 * MIB},
    )
    return _workload("c0ffee", "containerization", cpu(passed), memory, (thread(11, passed), thread(12, passed, "S")), processes=1)


def counted(passed: float = 0.0) -> dict[str, int]:
    """What KVM counts of a vCPU, in ten seconds as much as before."""
    done = 1 + passed
    return {
        "exits": int(5000 * done),
        "io_exits": int(100 * done),
        "mmio_exits": int(200 * done),
        "halt_attempted_poll": int(1000 * done),
        "halt_successful_poll": int(400 * done),
        "halt_poll_success_ns": int(8e6 * done),
        "halt_poll_fail_ns": int(32e6 * done),
    }


def machine(passed: float = 0.0) -> Workload:
    memory = WorkloadMemory(resident_bytes=GIB + 60 * MIB, backing_bytes=GIB, backing_huge_bytes=GIB // 2)
    vcpus = tuple(VCpu(number=number, thread=thread(21 + number, passed), kvm=counted(passed)) for number in range(2))
    guest = Guest(accelerator="kvm", iothreads=1, video_bytes=16 * MIB, stats_seconds_ago=1.0)
    made = _workload("vm", "virtualization", WorkloadCpu(), memory, (thread(20, passed, "S"),), vcpus=vcpus, guest=guest)
    return replace(made, pid=20)


def sandbox(passed: float = 0.0) -> Workload:
    memory = WorkloadMemory(allotted_bytes=16 * MIB, backing_bytes=8 * MIB, resident_bytes=40 * MIB, anon_huge_bytes=4 * MIB)
    linear = LinearMemory(
        base="0x7f0000000000",
        size_bytes=16 * MIB,
        size_pages=256,
        reserved_bytes=4 * GIB,
        layout="wasmtime",
        confidence="high",
        resident_bytes=8 * MIB,
    )
    return _workload("wasm", "sandbox", WorkloadCpu(), memory, (thread(31, passed),), memories=(linear,))


def _workload(
    name: str,
    paradigm: Paradigm,
    used: WorkloadCpu,
    memory: WorkloadMemory,
    threads: tuple[Thread, ...],
    processes: int | None = None,
    vcpus: tuple[VCpu, ...] = (),
    guest: Guest | None = None,
    memories: tuple[LinearMemory, ...] = (),
) -> Workload:
    return Workload(
        id=name,
        identity=f"{name}:1",
        paradigm=paradigm,
        runtime="any",
        name=name,
        execution_mode="single-level",
        memory_mode="shared-kernel",
        isolation="any",
        stack=Stack((), ()),
        cpu=used,
        memory=memory,
        placement=Placement(allowed_cpus=BOTH, last_cpus=CpuSet((0,)), memory_by_node={0: 3 * MIB, 1: MIB}),
        started_seconds=5.0,
        processes=processes,
        guest=guest,
        vcpus=vcpus,
        threads=threads,
        memories=memories,
    )


def times(number: int, busy: float, passed: float = 0.0) -> CpuTime:
    return CpuTime(
        cpu=number,
        user_seconds=busy,
        nice_seconds=0.0,
        system_seconds=0.0,
        idle_seconds=UPTIME + 10 * passed - busy - 1,
        iowait_seconds=1.0,
    )


def host(passed: float = 0.0, workloads: tuple[Workload, ...] | None = None, busy: float = 6.0) -> Host:
    """`busy`: seconds of ten in which each CPU runs somebody."""
    logical = Logical(
        cpu=KernelCpu(
            times=tuple(times(number, 100 + busy * passed, passed) for number in BOTH), runnable_tasks=4, tick_hz=250, page_table_levels=4
        ),
        memory=KernelMemory(),
        kvm=Kvm("kvm_intel", nested_paging=True, halt_poll_ns=200_000),
    )
    caches = tuple(
        Cache(level=level, type=kind, cpus=cpus, size_bytes=size)
        for level, kind, cpus, size in (
            (1, "Data", CpuSet((0,)), 48 * KIB),
            (1, "Instruction", CpuSet((0,)), 32 * KIB),
            (2, "Unified", CpuSet((0,)), 2 * MIB),
            (3, "Unified", BOTH, 64 * MIB),
        )
    )
    return Host(
        identity=Identity(uptime_seconds=UPTIME + 10 * passed, virtualization=Virtualization("none"), cgroup=CgroupVersion("v2")),
        physical=Physical(
            cpus=Cpus(online=BOTH),
            memory=PhysicalMemory(),
            cores=(Core(BOTH, 0),),
            caches=caches,
            nodes=(Node(os_index=0, cpus=BOTH, distances={0: 10, 1: 21}), Node(os_index=1, cpus=CpuSet(), distances={0: 21, 1: 10})),
        ),
        logical=logical,
        devices=Devices(CpuDevices(), MemoryDevices()),
        workloads=workloads if workloads is not None else (container(passed), machine(passed), sandbox(passed)),
    )
