"""What one pass over the sources brings: facts of the host, of its workloads, and what stays until something is plugged in."""

from __future__ import annotations

from agent.model.facts.dmi import Dmi
from agent.model.facts.edac import MemoryController
from agent.model.facts.proc_isolation import Confinement
from agent.model.facts.proc_pressure import Pressures
from agent.model.facts.proc_swaps import Swap
from agent.model.facts.proc_sys_vm import MemoryPolicy
from agent.model.facts.sys_dax import DaxDevice
from agent.model.facts.sys_kvm import Kvm
from agent.model.facts.sys_nd import PmemRegion
from agent.model.facts.sys_zram import Zram
from agent.model.values import CpuSet, Detail, Fact, Gap, ReadTimes
from collectors import (
    cgroup,
    cpuid,
    docker_engine,
    hotplug,
    hugepages,
    kernel_config,
    libvirt_domains,
    libvirt_stats,
    oci,
    proc_cmdline,
    proc_cpuinfo,
    proc_fd,
    proc_interrupts,
    proc_irq,
    proc_limits,
    proc_sched,
    proc_schedstat,
    proc_self,
    proc_softirqs,
    proc_stat,
    proc_sys,
    proc_sys_sched,
    proc_task,
    proc_vm,
    processes,
    qemu,
    smbios,
    sys_cpu,
    sys_debug_kvm,
    sys_debug_sched,
    sys_mm,
    sys_node,
    sys_pci,
    taskstats,
    wasm_maps,
)
from collectors.wasm_stats import statements


class Statics(Fact, frozen=True, kw_only=True):
    """What stays the same until something is plugged in or out.

    `plugged` is what was plugged in meanwhile; without it these facts hold for one pass and are not kept.
    """

    cpus: sys_cpu.SysfsCpus | None = None
    nodes: sys_node.Nodes | None = None
    cpuinfo: proc_cpuinfo.Cpuinfo | None = None
    cpuid: cpuid.Cpuid | None = None
    dmi: Dmi | None = None
    kernel_config: kernel_config.KernelConfig | None = None
    command_line: proc_cmdline.CommandLine | None = None
    smbios: smbios.Smbios | None = None
    plugged: hotplug.Plugged | None = None
    gaps: tuple[Gap, ...] = ()
    seconds: dict[str, float] = {}


class HostFacts(Fact, frozen=True, kw_only=True):
    """What the machine and its kernel say in every pass. None: the source said nothing."""

    nodes: sys_node.Nodes | None = None
    """Those of the statics, with what is free and what is counted now."""
    huge_page_pools: hugepages.HugePagePools | None = None
    memory_tiers: dict[int, CpuSet] | None = None
    dax_devices: tuple[DaxDevice, ...] | None = None
    persistent_regions: tuple[PmemRegion, ...] | None = None
    gpu_nodes: dict[int, str] | None = None
    agent_allowed: proc_self.Allowed | None = None
    kernel: proc_sys.Kernel | None = None
    memory_controllers: tuple[MemoryController, ...] | None = None
    pci_devices: tuple[sys_pci.PciFunction, ...] | None = None
    stat: proc_stat.Stat | None = None
    schedstat: proc_schedstat.Schedstat | None = None
    softirqs: proc_softirqs.Softirqs | None = None
    interrupts: proc_interrupts.Interrupts | None = None
    irq_affinities: tuple[proc_irq.Affinity, ...] | None = None
    pressures: Pressures | None = None
    memory: proc_vm.ProcMemory | None = None
    memory_policy: sys_mm.MemoryManagement | None = None
    vm_sysctls: MemoryPolicy | None = None
    swaps: tuple[Swap, ...] | None = None
    zram: tuple[Zram, ...] | None = None
    sched_sysctls: proc_sys_sched.Sched | None = None
    sched_debug: sys_debug_sched.SchedDebug | None = None
    task_slice: proc_sched.TaskSlice | None = None
    kvm: Kvm | None = None


class WorkloadFacts(Fact, frozen=True, kw_only=True):
    """What kernel, engines and hypervisors say of what runs on the host. None: the source said nothing."""

    processes: tuple[processes.Process, ...] | None = None
    cgroups: cgroup.Cgroups | None = None
    bundles: tuple[oci.Bundle, ...] | None = None
    engines: tuple[docker_engine.Engine, ...] | None = None
    hypervisors: tuple[libvirt_domains.Hypervisor, ...] | None = None
    domain_stats: tuple[libvirt_stats.DomainStats, ...] | None = None
    monitors: tuple[proc_fd.KvmProcess, ...] | None = None
    """Processes with a machine of KVM that libvirt does not know."""
    monitor_counters: tuple[sys_debug_kvm.KvmCounters, ...] | None = None
    guests: tuple[qemu.GuestMemory, ...] | None = None
    sandboxes: tuple[wasm_maps.WasmProcess, ...] | None = None
    unread_maps: int = 0
    """Processes whose memory map was refused or is missing: what they hold is not known."""
    statements: tuple[statements.StatementTable, ...] | None = None
    """What embedders of Wasm state of their instances, read after the memory maps."""
    tasks: tuple[proc_task.TaskGroup, ...] | None = None
    accounts: tuple[taskstats.Account, ...] | None = None
    limits: dict[int, proc_limits.Limits] | None = None
    stack_pointers: dict[int, int] | None = None
    confinements: dict[int, Confinement] | None = None


class Sample(Fact, frozen=True, kw_only=True):
    """All that one pass brought, and what is missing of it.

    `seconds` is how long each source took. `read_at` is when counters were read: by the path of their group, by the pid of their process,
    and by file.
    """

    host: HostFacts = HostFacts()
    workloads: WorkloadFacts = WorkloadFacts()
    statics: Statics = Statics()
    gaps: tuple[Gap, ...] = ()
    seconds: dict[str, float] = {}
    read_at: ReadTimes = {}
    detail: Detail = "document"
