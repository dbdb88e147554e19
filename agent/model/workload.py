"""What runs here: virtual machines, containers, sandboxes; how each is executed, bounded and placed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from agent.model.facts.proc_isolation import Confinement
from agent.model.facts.proc_task import Thread
from agent.model.guest import Guest
from agent.model.runtimes import ExecutionMode, MemoryMode, Paradigm
from agent.model.sandbox import Growth, LinearMemory, Published
from agent.model.values import CpuSet, Fact, Limit, Origin


class Element(Fact, frozen=True):
    """One part of a layer, and what is known of it here."""

    name: str
    fact: str | None = None
    origin: Origin | None = None


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


class WorkloadCpu(Fact, frozen=True, kw_only=True):
    """Limits and usage. `limit_cpus` is the tightest quota / period of the group and its ancestors, set by `limited_by`.

    `run_ns`, `delay_ns`, `timeslices` are sums over the threads that live now, `process_*` over the processes that do, with those
    of their threads that have ended. `throttled_usec` is whoever's quota stopped it, `own_throttled_usec` its own. `idle`:
    everything else goes first.
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
    own_throttled_usec: int | None = None
    bursts: int | None = None
    burst_used_usec: int | None = None
    nice: int | None = None
    idle: bool | None = None
    uclamp_min_percent: float | None = None
    uclamp_max_percent: float | None = None
    rt_runtime_usec: int | None = None
    rt_period_usec: int | None = None
    run_ns: int | None = None
    delay_ns: int | None = None
    timeslices: int | None = None
    process_run_ns: int | None = None
    process_delay_ns: int | None = None
    process_timeslices: int | None = None
    pressure_some_usec: int | None = None
    pressure_full_usec: int | None = None
    irq_pressure_full_usec: int | None = None


class WorkloadMemory(Fact, frozen=True, kw_only=True):
    """Limits and usage in bytes. `limit_bytes` is the tightest of the group and its ancestors, set by `limited_by`.

    `allotted_bytes` is what the workload was given to see (guest memory, linear memories); `backing_*` what of it is resident on
    the host, as a walk `backing_seconds_ago` found it. `anon_bytes` to `reclaimed_pages` are those of `stat` that both versions of
    cgroups have. `by_node`: kind -> node -> bytes, of the group with its descendants; `process_by_node` is what that walk found of
    all of a machine's process, its monitor's own memory with the guest's.
    `reserved_bytes` is the address space of linear memories, `guard_bytes` what of it is never opened: neither is memory.
    """

    min_bytes: int | None = None
    low_bytes: int | None = None
    high_bytes: Limit | None = None
    max_bytes: Limit | None = None
    soft_limit_bytes: Limit | None = None
    swap_high_bytes: Limit | None = None
    swap_max_bytes: Limit | None = None
    zswap_max_bytes: Limit | None = None
    zswap_writeback: bool | None = None
    swappiness: int | None = None
    limit_bytes: Limit | None = None
    limited_by: str | None = None
    current_bytes: int | None = None
    peak_bytes: int | None = None
    swap_bytes: int | None = None
    swap_peak_bytes: int | None = None
    zswap_bytes: int | None = None
    kernel_bytes: int | None = None
    anon_bytes: int | None = None
    file_bytes: int | None = None
    page_faults: int | None = None
    major_faults: int | None = None
    refaults: int | None = None
    scanned_pages: int | None = None
    reclaimed_pages: int | None = None
    resident_bytes: int | None = None
    page_table_bytes: int | None = None
    anon_huge_bytes: int | None = None
    allotted_bytes: int | None = None
    allotted_max_bytes: int | None = None
    backing_bytes: int | None = None
    backing_huge_bytes: int | None = None
    backing_hugetlb_bytes: int | None = None
    backing_swapped_bytes: int | None = None
    backing_merged_bytes: int | None = None
    backing_seconds_ago: float | None = None
    reserved_bytes: int | None = None
    guard_bytes: int | None = None
    pressure_some_usec: int | None = None
    pressure_full_usec: int | None = None
    oom_group: bool | None = None
    oom_kill_disable: bool | None = None
    under_oom: bool | None = None
    events: dict[str, int] = {}
    own_events: dict[str, int] = {}
    swap_events: dict[str, int] = {}
    stat: dict[str, int] = {}
    by_node: dict[str, dict[int, int]] = {}
    process_by_node: dict[int, int] = {}


class Pids(Fact, frozen=True, kw_only=True):
    """Tasks, threads counted; `limit` is the tightest of the group and its ancestors. `max_events`: forks that it refused,
    `own_max_events`: those that its own limit did.
    """

    current: int | None = None
    peak: int | None = None
    max: Limit | None = None
    limit: Limit | None = None
    limited_by: str | None = None
    max_events: int | None = None
    own_max_events: int | None = None


class HugePages(Fact, frozen=True, kw_only=True):
    """Explicit huge pages of one size, in bytes. `reserved_*` counts mappings that are not touched yet. `by_node` are in no other
    figure of a workload's memory by node.
    """

    page_bytes: int
    current_bytes: int | None = None
    max_bytes: Limit | None = None
    reserved_bytes: int | None = None
    reserved_max_bytes: Limit | None = None
    max_events: int | None = None
    own_max_events: int | None = None
    by_node: dict[int, int] = {}


class Group(Fact, frozen=True, kw_only=True):
    """What the control group says of itself. `partition` and `exclusive_cpus` are its cpuset's.

    `dying_descendants` were removed and are still held by memory that is charged to them. `freeze` was asked of it, `frozen` it is.
    `threads` are those in it, and not in a group below.
    """

    type: str | None = None
    populated: bool | None = None
    frozen: bool | None = None
    freeze: bool | None = None
    threads: int | None = None
    descendants: int | None = None
    dying_descendants: int | None = None
    max_depth: Limit | None = None
    max_descendants: Limit | None = None
    partition: str | None = None
    exclusive_cpus: CpuSet | None = None
    migrates_memory: bool | None = None


class Pod(Fact, frozen=True):
    """The Kubernetes pod of a container, and the class of service that the kubelet put it in."""

    uid: str
    qos: str
    name: str | None = None
    namespace: str | None = None


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
    group: Group | None = None
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


def matching(workloads: Iterable[Workload], word: str) -> tuple[Workload, ...]:
    """Those that somebody may mean by an id or its beginning, a name, or the number of a process or thread of it.

    A whole id means one; of workloads in one another the innermost is meant.
    """
    every = tuple(workloads)
    if exact := tuple(one for one in every if one.id == word):
        return exact
    number = int(word) if word.isascii() and word.isdecimal() and len(word) < 10 else None
    found = [one for one in every if word and (one.name == word or one.id.startswith(word) or number in _numbers(one))]
    around = {one.parent for one in found}
    return tuple(one for one in found if one.id not in around)


def _numbers(one: Workload) -> set[int | None]:
    threads = (*one.threads, *(vcpu.thread for vcpu in one.vcpus if vcpu.thread))
    return ({one.pid} | {thread.tid for thread in threads}) - {None}
