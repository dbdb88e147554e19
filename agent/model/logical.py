"""The machine as the kernel runs it: CPU time and queues, interrupts, pressure; zones, buddy blocks, policies. Counters are raw."""

from __future__ import annotations

from agent.model.physical import HugePages
from agent.model.values import CpuSet, Fact


class CpuTime(Fact, frozen=True):
    """Seconds since boot in each mode. `user` holds `guest`, `nice` holds `guest_nice`."""

    cpu: int
    user_seconds: float
    nice_seconds: float
    system_seconds: float
    idle_seconds: float
    iowait_seconds: float | None = None
    irq_seconds: float | None = None
    softirq_seconds: float | None = None
    steal_seconds: float | None = None
    guest_seconds: float | None = None
    guest_nice_seconds: float | None = None

    @property
    def busy_seconds(self) -> float:
        """Time in which the CPU could run nobody else, time stolen by a hypervisor included."""
        spent = self.user_seconds + self.nice_seconds + self.system_seconds
        return spent + (self.irq_seconds or 0.0) + (self.softirq_seconds or 0.0) + (self.steal_seconds or 0.0)


class RunQueue(Fact, frozen=True):
    """What tasks ran and waited on one CPU since boot."""

    cpu: int
    run_ns: int
    delay_ns: int
    timeslices: int


class Interrupt(Fact, frozen=True):
    """One line of /proc/interrupts; `counts` in the order of `interrupt_cpus`."""

    name: str
    description: str
    counts: tuple[int, ...]


class Ipis(Fact, frozen=True):
    """Inter-processor interrupts that one CPU took since boot; `tlb_shootdown` x86 only."""

    cpu: int
    reschedule: int | None = None
    function_call: int | None = None
    tlb_shootdown: int | None = None


class Pressure(Fact, frozen=True):
    """Microseconds since boot in which some, or all, tasks waited (PSI)."""

    some_usec: int
    full_usec: int | None = None


class Cpu(Fact, frozen=True):
    """`runnable_tasks` and `blocked_tasks` are of the moment; the rest counts since boot."""

    times: tuple[CpuTime, ...] = ()
    run_queues: tuple[RunQueue, ...] = ()
    runnable_tasks: int | None = None
    blocked_tasks: int | None = None
    load_average: tuple[float, ...] = ()
    context_switches: int | None = None
    forks: int | None = None
    tick_hz: int | None = None
    smt_active: bool | None = None
    interrupt_cpus: CpuSet | None = None
    interrupts: tuple[Interrupt, ...] = ()
    ipis: tuple[Ipis, ...] = ()
    page_table_levels: int | None = None
    tlb: str | None = None


class Zone(Fact, frozen=True):
    """A zone of a node. `free_blocks[k]` counts free blocks of 2^k pages (the buddy allocator's lists)."""

    node: int
    name: str
    free_pages: int | None = None
    min_pages: int | None = None
    low_pages: int | None = None
    high_pages: int | None = None
    present_pages: int | None = None
    managed_pages: int | None = None
    free_blocks: tuple[int, ...] = ()


class MemoryPolicy(Fact, frozen=True):
    """Choices that bear on placement and translation, in the kernel's words."""

    thp_enabled: str | None = None
    thp_defrag: str | None = None
    swappiness: int | None = None
    overcommit_memory: int | None = None
    zone_reclaim_mode: int | None = None
    numa_balancing: int | None = None
    zswap_enabled: bool | None = None
    ksm_run: int | None = None
    ksm_pages_shared: int | None = None
    ksm_pages_sharing: int | None = None


class Memory(Fact, frozen=True):
    """`meminfo_bytes` under the kernel's names; `vmstat` are counts since boot, or pages of the moment (nr_*)."""

    meminfo_bytes: dict[str, int] = {}
    zones: tuple[Zone, ...] = ()
    vmstat: dict[str, int] = {}
    hugepages: tuple[HugePages, ...] = ()
    policy: MemoryPolicy | None = None


class Pressures(Fact, frozen=True):
    cpu: Pressure | None = None
    memory: Pressure | None = None
    io: Pressure | None = None
    irq: Pressure | None = None


class Kvm(Fact, frozen=True):
    """How KVM on this host translates guest memory. `nested_paging` absent: the module does not say."""

    vendor_module: str | None = None
    nested_paging: bool | None = None
    nested: bool | None = None
    halt_poll_ns: int | None = None


class Logical(Fact, frozen=True):
    cpu: Cpu
    memory: Memory
    pressure: Pressures | None = None
    kvm: Kvm | None = None
    cgroup_controllers: dict[str, str] = {}
