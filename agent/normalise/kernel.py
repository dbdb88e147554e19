"""The logical model: what the kernel makes of the machine, and whether it runs on one at all."""

from __future__ import annotations

from agent.model.host import Virtualization
from agent.model.logical import (
    Cpu,
    CpuTime,
    Interrupt,
    Ipis,
    Kvm,
    Logical,
    Memory,
    MemoryPolicy,
    Pressure,
    Pressures,
    RunQueue,
    Zone,
)
from agent.model.physical import HugePages
from agent.sample import Sample
from collectors import proc_interrupts, proc_pressure

_VMSTAT = ("compact_", "nr_", "numa_", "oom_", "pgfault", "pgmajfault", "pgmigrate_", "pgscan", "pgsteal", "pswp", "thp_", "workingset_")

# The kernel's own descriptions, on x86, ARM and RISC-V alike (arch/*/kernel/{irq,smp}.c).
_IPIS = {"Rescheduling interrupts": "reschedule", "Function call interrupts": "function_call", "TLB shootdowns": "tlb_shootdown"}

_CLOCKS = {"kvm-clock": "kvm", "hyperv_clocksource_tsc_page": "hyperv", "hyperv_clocksource_msr": "hyperv", "xen": "xen"}
_VENDORS = {
    "QEMU": "qemu",  # it runs machines under KVM, and without
    "VMware, Inc.": "vmware",
    "innotek GmbH": "virtualbox",
    "Xen": "xen",
    "Parallels International GmbH.": "parallels",
}


def logical(sample: Sample) -> Logical:
    kvm, pressures = sample.kvm, sample.pressures
    return Logical(
        cpu=_cpu(sample),
        memory=_memory(sample),
        pressure=None
        if pressures is None
        else Pressures(_pressure(pressures.cpu), _pressure(pressures.memory), _pressure(pressures.io), _pressure(pressures.irq)),
        kvm=None if kvm is None else Kvm(kvm.vendor_module, kvm.nested_paging, kvm.nested, kvm.halt_poll_ns),
        cgroup_controllers=sample.cgroups.controllers if sample.cgroups else {},
    )


def _cpu(sample: Sample) -> Cpu:
    stat, kernel, lines = sample.stat, sample.kernel, sample.interrupts
    return Cpu(
        times=tuple(CpuTime(*(getattr(time, name) for name in CpuTime.__struct_fields__)) for time in stat.cpus) if stat else (),
        run_queues=tuple(RunQueue(queue.cpu, queue.run_ns, queue.delay_ns, queue.timeslices) for queue in sample.run_queues or ()),
        runnable_tasks=stat.procs_running if stat else None,
        blocked_tasks=stat.procs_blocked if stat else None,
        load_average=kernel.load_average if kernel else (),
        context_switches=stat.context_switches if stat else None,
        forks=stat.forks if stat else None,
        tick_hz=kernel.hz if kernel else None,
        smt_active=sample.cpus.smt_active if sample.cpus else None,
        interrupt_cpus=lines.cpus if lines else None,
        interrupts=tuple(Interrupt(line.name, line.description, line.counts) for line in lines.lines) if lines else (),
        ipis=_ipis(lines) if lines else (),
        page_table_levels=_levels(sample),
        tlb=sample.cpuinfo.tlb if sample.cpuinfo else None,
    )


def _ipis(interrupts: proc_interrupts.Interrupts) -> tuple[Ipis, ...]:
    lines = {_IPIS[line.description]: line.counts for line in interrupts.lines if line.description in _IPIS}
    if not lines:
        return ()
    return tuple(Ipis(cpu, **{name: counts[position] for name, counts in lines.items()}) for position, cpu in enumerate(interrupts.cpus))


def _levels(sample: Sample) -> int | None:
    """Levels of page tables: five on x86-64 with la57, a flag that the kernel clears where it does not use it; else four."""
    architecture = sample.kernel.architecture if sample.kernel else None
    if architecture != "x86_64" or sample.cpuinfo is None or not sample.cpuinfo.flags:
        return None
    return 5 if "la57" in sample.cpuinfo.flags else 4


def _memory(sample: Sample) -> Memory:
    memory, policy = sample.memory, sample.policy
    blocks = {(buddy.node, buddy.zone): buddy.blocks for buddy in memory.buddies} if memory else {}
    return Memory(
        meminfo_bytes=memory.meminfo_bytes if memory else {},
        zones=tuple(
            Zone(
                zone.node,
                zone.name,
                zone.free_pages,
                zone.min_pages,
                zone.low_pages,
                zone.high_pages,
                zone.present_pages,
                zone.managed_pages,
                blocks.get((zone.node, zone.name), ()),
            )
            for zone in memory.zones
        )
        if memory
        else (),
        vmstat={name: value for name, value in memory.vmstat.items() if name.startswith(_VMSTAT)} if memory else {},
        hugepages=tuple(HugePages(pool.page_bytes, pool.total, pool.free) for pool in sample.pools or () if pool.node is None),
        policy=None if policy is None else MemoryPolicy(**{name: getattr(policy, name) for name in policy.__struct_fields__}),
    )


def _pressure(pressure: proc_pressure.Pressure | None) -> Pressure | None:
    return None if pressure is None else Pressure(pressure.some_usec, pressure.full_usec)


def virtualization(sample: Sample) -> Virtualization | None:
    """Is this host a guest? Evidence in order of strength: a paravirtual clock, the CPU's hypervisor bit, the firmware's maker."""
    kernel, firmware = sample.kernel, sample.firmware
    flags = sample.cpuinfo.flags if sample.cpuinfo else ()
    for clock in kernel.clocksources if kernel else ():
        if clock in _CLOCKS:
            return Virtualization("guest", _CLOCKS[clock], f"clock source {clock}")
    vendor = firmware.sys_vendor if firmware else None
    if "hypervisor" in flags:
        return Virtualization("guest", _VENDORS.get(vendor or ""), "CPU flag hypervisor")
    if vendor in _VENDORS:
        return Virtualization("guest", _VENDORS[vendor], f"SMBIOS sys_vendor {vendor}")
    if flags and kernel is not None and kernel.architecture == "x86_64":
        return Virtualization("none", None, "no CPU flag hypervisor")
    return None
