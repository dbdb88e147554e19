"""What runs here: virtual machines, containers, sandboxes; how each is executed, bounded and placed."""

from __future__ import annotations

from typing import Literal

from agent.model.facts.cgroup import GroupState, HugePages, Pids, Pod, WorkloadCpu, WorkloadMemory
from agent.model.facts.proc_isolation import Confinement
from agent.model.facts.proc_task import Thread
from agent.model.guest import Guest
from agent.model.runtimes import ExecutionMode, MemoryMode, Paradigm
from agent.model.sandbox import Growth, LinearMemory, Published
from agent.model.values import CpuSet, Fact, Limit, Origin

ElementUnit = Literal["bytes", "seconds", "Hz", "threads"]


class Element(Fact, frozen=True, kw_only=True):
    """One part of a layer. `value` is a number in `unit` ("max" is unlimited), a count, or words; absent: it applies, and is not
    known.

    `parts` are what it consists of, or what is said of it beside its value.
    """

    name: str
    value: int | float | str | None = None
    unit: ElementUnit | None = None
    origin: Origin | None = None
    parts: tuple[Element, ...] = ()


LayerName = Literal[
    "hardware", "hypervisor", "host OS", "guest OS", "guest application", "container", "runtime", "Wasm application", "application"
]


class Layer(Fact, frozen=True):
    name: LayerName
    elements: tuple[Element, ...]


class Stack(Fact, frozen=True):
    """The layers from the hardware up to the application, for CPU time and for memory."""

    cpu: tuple[Layer, ...]
    memory: tuple[Layer, ...]


class VCpu(Fact, frozen=True, kw_only=True):
    """A vCPU: `affinity` as libvirt has it, `thread` the host thread that runs it. Pinned: it may not run on every host CPU.

    `quota_usec` to `throttled_usec` are its own control group's. `kvm` are its counters under KVM's names.
    """

    number: int
    state: str | None = None
    time_ns: int | None = None
    last_cpu: int | None = None
    affinity: CpuSet | None = None
    pinned: bool | None = None
    thread: Thread | None = None
    quota_usec: Limit | None = None
    period_usec: int | None = None
    shares: int | None = None
    weight: int | None = None
    throttled_usec: int | None = None
    kvm: dict[str, int] = {}


class Control(Fact, frozen=True, kw_only=True):
    """One control under the names of both cgroup versions; `file` is the one that was read. "max" is unlimited."""

    name: str
    v1: str | None
    v2: str | None
    file: str
    value: int | str | bool
    unit: str


class Placement(Fact, frozen=True, kw_only=True):
    """Where it may run, where it last ran, and what of the machine that touches.

    `packages`, `cores` and `llcs` are positions in the physical model (`llcs`: in the caches of the highest level); all of them
    follow from `allowed_cpus`. `remote_memory_ratio` is the share of `memory_by_node` on nodes that have none of its CPUs.
    `shared_cpus` are CPUs on whose core one of `sharing_workloads` others is allowed, too.
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
    remote_memory_ratio: float | None = None


class Workload(Fact, frozen=True, kw_only=True):
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
    cpu: WorkloadCpu
    memory: WorkloadMemory
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
    pids: Pids | None = None
    huge_pages: tuple[HugePages, ...] = ()
    io_pressure_some_usec: int | None = None
    io_pressure_full_usec: int | None = None
    group: GroupState | None = None
    pod: Pod | None = None
    labels: dict[str, str] = {}
    """Those that were asked for."""
    confinement: Confinement | None = None
    controls: tuple[Control, ...] = ()
    vcpus: tuple[VCpu, ...] = ()
    threads: tuple[Thread, ...] = ()
    memories: tuple[LinearMemory, ...] = ()
    growth: Growth | None = None
    published: Published | None = None
