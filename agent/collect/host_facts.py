"""What the machine and its kernel say in every pass: a typed field for each source, and the question that fills it."""

from __future__ import annotations

from msgspec.structs import replace

from agent.collect import targets
from agent.collect.ask import Pass
from agent.model.facts.edac import MemoryController
from agent.model.facts.proc_pressure import Pressures
from agent.model.facts.proc_swaps import Swap
from agent.model.facts.proc_sys_vm import MemoryPolicy
from agent.model.facts.sys_cpu_vulnerabilities import CpuSecurity
from agent.model.facts.sys_dax import DaxDevice
from agent.model.facts.sys_kvm import Kvm
from agent.model.facts.sys_nd import PmemRegion
from agent.model.facts.sys_zram import Zram
from agent.model.values import CpuSet, Fact
from collectors import (
    edac,
    hugepages,
    proc_driver_nvidia,
    proc_interrupts,
    proc_irq,
    proc_pressure,
    proc_sched,
    proc_schedstat,
    proc_self,
    proc_softirqs,
    proc_stat,
    proc_swaps,
    proc_sys,
    proc_sys_sched,
    proc_sys_vm,
    proc_vm,
    sys_cpu_vulnerabilities,
    sys_dax,
    sys_debug_sched,
    sys_kvm,
    sys_memory_tiering,
    sys_mm,
    sys_nd,
    sys_node,
    sys_pci,
    sys_zram,
)


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
    cpu_security: CpuSecurity | None = None


def ask_host(asking: Pass, kernel: proc_sys.Kernel | None, nodes: sys_node.Nodes | None) -> HostFacts:
    """Ask all of them but the kernel's identity and the nodes, which were read before."""
    machine = HostFacts(
        nodes=nodes,
        kernel=kernel,
        huge_page_pools=asking.ask("hugepages", hugepages.read),
        memory_tiers=asking.ask("sys_memory_tiering", sys_memory_tiering.read),
        dax_devices=asking.ask("sys_dax", sys_dax.read),
        persistent_regions=asking.ask("sys_nd", sys_nd.read),
        gpu_nodes=asking.ask("proc_driver_nvidia", proc_driver_nvidia.read),
        agent_allowed=asking.ask("proc_self", proc_self.read),
        memory_controllers=asking.ask("edac", edac.read),
        pci_devices=asking.ask("sys_pci", sys_pci.read),
    )
    return _with_kernel(asking, machine)


def _with_kernel(asking: Pass, machine: HostFacts) -> HostFacts:
    """The same with what the kernel counts and how it is set."""
    stat = asking.ask("proc_stat", proc_stat.read)
    schedstat = asking.ask("proc_schedstat", proc_schedstat.read)
    softirqs = asking.ask("proc_softirqs", proc_softirqs.read)
    interrupts = asking.ask("proc_interrupts", proc_interrupts.read)
    irqs = targets.interrupt_numbers(interrupts.lines if interrupts else ())
    cpus = targets.domain_representatives(schedstat.chains if schedstat else ())
    return replace(
        machine,
        stat=stat,
        schedstat=schedstat,
        softirqs=softirqs,
        interrupts=interrupts,
        irq_affinities=asking.ask("proc_irq", lambda r: proc_irq.read(r, irqs)) if interrupts else None,
        pressures=asking.ask("proc_pressure", proc_pressure.read),
        memory=asking.ask("proc_vm", proc_vm.read),
        memory_policy=asking.ask("sys_mm", sys_mm.read),
        vm_sysctls=asking.ask("proc_sys_vm", proc_sys_vm.read),
        swaps=asking.ask("proc_swaps", proc_swaps.read),
        zram=asking.ask("sys_zram", sys_zram.read),
        sched_sysctls=asking.ask("proc_sys_sched", proc_sys_sched.read),
        sched_debug=asking.ask("sys_debug_sched", lambda r: sys_debug_sched.read(r, cpus)),
        task_slice=asking.ask("proc_sched", proc_sched.read),
        kvm=asking.ask("sys_kvm", sys_kvm.read),
        cpu_security=asking.ask("sys_cpu_vulnerabilities", sys_cpu_vulnerabilities.read),
    )
