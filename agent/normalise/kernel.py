"""The logical model: the kernel's view of the machine, and whether it runs as a guest."""

from __future__ import annotations

import re

from agent.collect.sample import Sample
from agent.model.host import Virtualization
from agent.model.logical import CpuIpis, KernelCpu, Logical
from agent.model.physical import Physical
from agent.model.runtimes import HYPERVISORS
from agent.normalise.domains import scheduling_domains
from agent.normalise.interrupts import irq_routes
from agent.normalise.kernel_memory import memory
from agent.normalise.scheduling import balanced, cpu_map, isolation, load_balance, partitions, scheduler, tick_hz
from collectors import proc_cpuinfo, proc_interrupts

# The kernel's own descriptions, on x86, ARM and RISC-V alike (arch/*/kernel/{irq,smp}.c).
_IPIS = {"Rescheduling interrupts": "reschedule", "Function call interrupts": "function_call", "TLB shootdowns": "tlb_shootdown"}

# x86-64: long mode always has 2 MiB pages (page directory); 1 GiB pages (one level up) need a CPU flag.
_HUGE_PAGES = {"lm": 2 << 20, "pdpe1gb": 1 << 30}

_CLOCKS = {clock: hypervisor.name for hypervisor in HYPERVISORS for clock in hypervisor.clocksources}
_VENDORS = {hypervisor.smbios_vendor: hypervisor.name for hypervisor in HYPERVISORS if hypervisor.smbios_vendor}


def logical(sample: Sample, hardware: Physical) -> Logical:
    """The kernel's CPUs, memory, pressure, KVM and cgroup controllers."""
    return Logical(
        cpu=_cpu(sample, hardware),
        memory=memory(sample),
        pressure=sample.host.pressures,
        kvm=sample.host.kvm,
        cgroup_controllers=sample.workloads.cgroups.controllers if sample.workloads.cgroups else {},
    )


def _cpu(sample: Sample, hardware: Physical) -> KernelCpu:
    stat, kernel, lines, cpuinfo = sample.host.stat, sample.host.kernel, sample.host.interrupts, sample.statics.cpuinfo
    tick, tick_origin = tick_hz(sample)
    online = hardware.cpus.online
    domains = scheduling_domains(sample, online, hardware.nodes, balanced(sample, online))
    return KernelCpu(
        times=stat.cpus if stat else (),
        run_queues=sample.host.schedstat.queues if sample.host.schedstat else (),
        runnable_tasks=stat.procs_running if stat else None,
        blocked_tasks=stat.procs_blocked if stat else None,
        load_average=kernel.load_average if kernel else (),
        context_switches=stat.context_switches if stat else None,
        forks=stat.forks if stat else None,
        tick_hz=tick,
        tick_hz_origin=tick_origin,
        smt_active=sample.statics.cpus.smt_active if sample.statics.cpus else None,
        interrupt_cpus=lines.cpus if lines else None,
        interrupts=lines.lines if lines else (),
        irq_routes=irq_routes(sample),
        ipis=_ipis(lines) if lines else (),
        page_table_levels=_levels(sample),
        tlb=cpuinfo.tlb if cpuinfo else None,
        huge_page_bytes=tuple(size for flag, size in _HUGE_PAGES.items() if flag in cpuinfo.flags) if cpuinfo else (),
        physical_address_bits=_address_bits(cpuinfo, "physical"),
        virtual_address_bits=_address_bits(cpuinfo, "virtual"),
        softirq_cpus=sample.host.softirqs.cpus if sample.host.softirqs else None,
        softirqs=sample.host.softirqs.lines if sample.host.softirqs else (),
        scheduler=scheduler(sample),
        domains=domains,
        partitions=partitions(sample),
        load_balance=load_balance(sample),
        isolation=isolation(sample),
        map=cpu_map(hardware, domains),
        security=sample.host.cpu_security,
    )


def _ipis(interrupts: proc_interrupts.Interrupts) -> tuple[CpuIpis, ...]:
    lines = {_IPIS[line.description]: line.counts for line in interrupts.lines if line.description in _IPIS}
    if not lines:
        return ()
    return tuple(CpuIpis(cpu, **{name: counts[position] for name, counts in lines.items()}) for position, cpu in enumerate(interrupts.cpus))


def _address_bits(cpuinfo: proc_cpuinfo.Cpuinfo | None, kind: str) -> int | None:
    """The number before `kind` in "46 bits physical, 48 bits virtual", on x86."""
    match = re.search(rf"\b([0-9]{{1,3}}) bits {kind}", cpuinfo.address_sizes or "") if cpuinfo else None
    return int(match[1]) if match else None


def _levels(sample: Sample) -> int | None:
    """Levels of page tables on x86-64: five with la57, which the kernel clears where it is unused, else four. None elsewhere."""
    architecture = sample.host.kernel.architecture if sample.host.kernel else None
    if architecture != "x86_64" or sample.statics.cpuinfo is None or not sample.statics.cpuinfo.flags:
        return None
    return 5 if "la57" in sample.statics.cpuinfo.flags else 4


def virtualization(sample: Sample) -> Virtualization | None:
    """Whether this host is a guest. Evidence in order of strength: a paravirtual clock, the CPU's hypervisor bit, the firmware's vendor."""
    kernel, firmware = sample.host.kernel, sample.statics.dmi
    flags = sample.statics.cpuinfo.flags if sample.statics.cpuinfo else ()
    for clock in kernel.clocksources if kernel else ():
        if clock in _CLOCKS:
            return Virtualization("guest", _CLOCKS[clock], f"available clock source {clock}")
    vendor = firmware.sys_vendor if firmware else None
    if "hypervisor" in flags:
        return Virtualization("guest", _VENDORS.get(vendor or ""), "CPU flag hypervisor")
    if vendor in _VENDORS:
        return Virtualization("guest", _VENDORS[vendor], f"SMBIOS sys_vendor {vendor}")
    if flags and kernel is not None and kernel.architecture == "x86_64":
        return Virtualization("none", None, "no CPU flag hypervisor")
    return None
