"""What runs here: virtual machines, containers, sandboxes; how each is executed, bounded and placed."""

from __future__ import annotations

from typing import Literal

from agent.model.values import CpuSet, Fact, Limit

Paradigm = Literal["virtualization", "containerization", "sandbox", "process"]
ExecutionMode = Literal["two-level", "single-level", "application-level"]
MemoryMode = Literal["independent-physical", "shared-kernel", "linear"]


class Element(Fact, frozen=True):
    """One part of a layer, and what is known of it here."""

    name: str
    fact: str | None = None


class Layer(Fact, frozen=True):
    name: str
    elements: tuple[Element, ...]


class Stack(Fact, frozen=True):
    """The layers from the hardware up to the application, for CPU time and for memory."""

    cpu: tuple[Layer, ...]
    memory: tuple[Layer, ...]


class Thread(Fact, frozen=True):
    """A host thread. Counters since it began; `start_ticks` (1/100 s since boot) with the tid is its identity."""

    tid: int
    name: str | None = None
    start_ticks: int | None = None
    state: str | None = None
    last_cpu: int | None = None
    allowed_cpus: CpuSet | None = None
    run_ns: int | None = None
    delay_ns: int | None = None
    timeslices: int | None = None
    voluntary_switches: int | None = None
    involuntary_switches: int | None = None


class VCpu(Fact, frozen=True):
    """A vCPU: `affinity` as libvirt has it, `thread` the host thread that runs it. Pinned: it may not run on every host CPU."""

    number: int
    state: str | None = None
    time_ns: int | None = None
    last_cpu: int | None = None
    affinity: CpuSet | None = None
    pinned: bool | None = None
    thread: Thread | None = None


class LinearMemory(Fact, frozen=True):
    """A WebAssembly memory seen in the process's map. `reserved_bytes` is address space, not memory."""

    base: str
    size_bytes: int
    size_pages: int
    reserved_bytes: int
    layout: str
    confidence: Literal["high", "low"]
    resident_bytes: int | None = None
    resident_by_node: dict[int, int] = {}


class Control(Fact, frozen=True):
    """One control under the names of both cgroup versions; `file` is the one that was read. "max" is unlimited."""

    name: str
    v1: str | None
    v2: str | None
    file: str
    value: int | str | bool
    unit: str


class Cpu(Fact, frozen=True):
    """Limits and usage. `limit_cpus` is the tightest quota / period of the group and its ancestors, set by `limited_by`.

    `run_ns`, `delay_ns`, `timeslices` are sums over the threads that live now.
    """

    quota_usec: Limit | None = None
    period_usec: int | None = None
    burst_usec: int | None = None
    weight: int | None = None
    shares: int | None = None
    limit_cpus: Limit | None = None
    limited_by: str | None = None
    usage_usec: int | None = None
    user_usec: int | None = None
    system_usec: int | None = None
    periods: int | None = None
    throttled_periods: int | None = None
    throttled_usec: int | None = None
    run_ns: int | None = None
    delay_ns: int | None = None
    timeslices: int | None = None
    pressure_some_usec: int | None = None
    pressure_full_usec: int | None = None


class Memory(Fact, frozen=True):
    """Limits and usage in bytes. `limit_bytes` is the tightest of the group and its ancestors, set by `limited_by`.

    `allotted_bytes` is what the workload was given to see (guest memory, linear memories); `backing_*` what of it is resident on
    the host.
    """

    min_bytes: int | None = None
    low_bytes: int | None = None
    high_bytes: Limit | None = None
    max_bytes: Limit | None = None
    soft_limit_bytes: Limit | None = None
    swap_max_bytes: Limit | None = None
    limit_bytes: Limit | None = None
    limited_by: str | None = None
    current_bytes: int | None = None
    peak_bytes: int | None = None
    swap_bytes: int | None = None
    kernel_bytes: int | None = None
    resident_bytes: int | None = None
    page_table_bytes: int | None = None
    anon_huge_bytes: int | None = None
    allotted_bytes: int | None = None
    allotted_max_bytes: int | None = None
    backing_bytes: int | None = None
    backing_huge_bytes: int | None = None
    pressure_some_usec: int | None = None
    pressure_full_usec: int | None = None
    oom_group: bool | None = None
    oom_kill_disable: bool | None = None
    under_oom: bool | None = None
    events: dict[str, int] = {}
    stat: dict[str, int] = {}


class Placement(Fact, frozen=True):
    """Where it may run, where it last ran, and what of the machine that touches.

    `packages`, `cores` and `llcs` are positions in the physical model (`llcs`: in the caches of the highest level); all of them
    follow from `allowed_cpus`. `shared_cpus` are CPUs on whose core one of `sharing_workloads` others is allowed, too.
    """

    allowed_cpus: CpuSet | None = None
    allowed_nodes: CpuSet | None = None
    last_cpus: CpuSet | None = None
    nodes_spanned: CpuSet | None = None
    packages: tuple[int, ...] = ()
    llcs: tuple[int, ...] = ()
    cores: int | None = None
    shared_cpus: CpuSet | None = None
    sharing_workloads: int | None = None
    memory_by_node: dict[int, int] = {}


class Guest(Fact, frozen=True):
    """What a virtual machine was told it is."""

    machine: str | None = None
    accelerator: str | None = None
    cpu_mode: str | None = None
    sockets: int | None = None
    dies: int | None = None
    cores: int | None = None
    threads: int | None = None
    numa_cells: int | None = None
    numatune_mode: str | None = None
    numatune_nodes: CpuSet | None = None
    max_vcpus: int | None = None
    emulator_affinity: CpuSet | None = None
    hugepages: bool | None = None
    iothreads: int | None = None
    video_bytes: int | None = None


class Workload(Fact, frozen=True):
    """One workload. `id` is the container id, the domain's uuid or "runtime/pid/start"; `identity` changes when it is born anew."""

    id: str
    identity: str
    paradigm: Paradigm
    runtime: str
    name: str
    execution_mode: ExecutionMode
    memory_mode: MemoryMode
    isolation: str
    stack: Stack
    cpu: Cpu
    memory: Memory
    placement: Placement
    parent: str | None = None
    state: str | None = None
    image: str | None = None
    cgroup: str | None = None
    pid: int | None = None
    processes: int | None = None
    started_seconds: float | None = None
    """Seconds since boot."""
    guest: Guest | None = None
    controls: tuple[Control, ...] = ()
    vcpus: tuple[VCpu, ...] = ()
    threads: tuple[Thread, ...] = ()
    memories: tuple[LinearMemory, ...] = ()
