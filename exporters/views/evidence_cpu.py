"""What this host shows for a cell on CPUs: topology, limits in force, pins, scheduling, caches, interrupts."""

from __future__ import annotations

from collections import Counter

from exporters.views.evidence import Scope, shared_kernel, tally, total
from exporters.views.words import count, cpus, guessed


def accelerators(scope: Scope) -> str | None:
    return tally(f"by {workload.guest.accelerator}" for workload in scope.workloads if workload.guest and workload.guest.accelerator)


def allowed_cpus(scope: Scope) -> str | None:
    return tally(cpus(workload.placement.allowed_cpus) for workload in scope.workloads if workload.placement.allowed_cpus)


def guest_topology(scope: Scope) -> str | None:
    guests = [workload.guest for workload in scope.workloads if workload.guest]
    return tally(
        f"{guest.sockets} x {guest.cores} x {guest.threads}" for guest in guests if guest.sockets and guest.cores and guest.threads
    )


def guest_threads(scope: Scope) -> str | None:
    guests = [workload.guest for workload in scope.workloads if workload.guest]
    return tally(f"{count(guest.threads, 'thread')} a core" for guest in guests if guest.threads)


def vcpus(scope: Scope) -> str | None:
    machines = [workload for workload in scope.workloads if workload.vcpus]
    number = sum(len(workload.vcpus) for workload in machines)
    return f"{count(number, 'vCPU')} of {count(len(machines), 'machine')}" if machines else None


def pins(scope: Scope) -> str | None:
    pinned = [vcpu.pinned for workload in scope.workloads for vcpu in workload.vcpus if vcpu.pinned is not None]
    return f"{sum(pinned)} of {count(len(pinned), 'vCPU')} pinned" if pinned else None


def cpusets(scope: Scope) -> str | None:
    sets = [workload.placement.allowed_cpus for workload in scope.workloads if workload.placement.allowed_cpus is not None]
    host = scope.snapshot.physical.cpus.online
    return f"{sum(not host <= allowed for allowed in sets)} of {len(sets)} kept to a part of the host's CPUs" if sets and host else None


def cpu_limits(scope: Scope) -> str | None:
    limits = [workload.cpu.limit_cpus for workload in scope.workloads if workload.cpu.limit_cpus is not None]
    shown = tally(f"{limit:g} CPUs" for limit in limits if not limit.unlimited)
    return f"{sum(not limit.unlimited for limit in limits)} of {len(limits)} limited{f': {shown}' if shown else ''}" if limits else None


def threads(scope: Scope) -> str | None:
    number = sum(len(workload.threads) for workload in scope.workloads)
    return count(number, "thread") if number else None


def domains(scope: Scope) -> str | None:
    labels = {guessed(domain.name, domain.name_origin or domain.origin) for domain in scope.snapshot.logical.cpu.domains}
    listed = sorted(label for label in labels if label)
    return f"scheduling domains {', '.join(listed)}" if listed else None


def runnable(scope: Scope) -> str | None:
    tasks = scope.snapshot.logical.cpu.runnable_tasks
    return None if tasks is None else f"{count(tasks, 'task')} runnable on the host"


def smt(scope: Scope) -> str | None:
    active = scope.snapshot.logical.cpu.smt_active
    return None if active is None else "SMT on" if active else "SMT off"


def caches(scope: Scope) -> str | None:
    levels = Counter((cache.level, cache.type[:1].lower() if cache.level == 1 else "") for cache in scope.snapshot.physical.caches)
    return ", ".join(f"{number} L{level}{kind}" for (level, kind), number in sorted(levels.items())) or None


def last_level_caches(scope: Scope) -> str | None:
    used = [set(workload.placement.llcs) for workload in scope.workloads if workload.placement.llcs]
    return f"{count(len(set().union(*used)), 'last-level cache')} in reach" if used else None


def processors(scope: Scope) -> str | None:
    devices = scope.snapshot.devices.cpu
    numbers = ((devices.packages, "package"), (devices.cores, "core"), (devices.threads, "thread"))
    return ", ".join(count(number, name) for number, name in numbers if number is not None) or None


def online(scope: Scope) -> str | None:
    host = scope.snapshot.physical.cpus.online
    return f"{cpus(host)} online" if host else None


def interrupts(scope: Scope) -> str | None:
    """Those that go by a number; the rest of /proc/interrupts are the CPUs' own (timer, IPIs) and errors, which are no lines."""
    lines = scope.snapshot.logical.cpu.interrupts
    return count(sum(line.is_irq for line in lines), "interrupt line") if lines else None


def ipis(scope: Scope) -> str | None:
    by_cpu = scope.snapshot.logical.cpu.ipis
    kinds = (
        (total(taken.reschedule for taken in by_cpu), "reschedule"),
        (total(taken.function_call for taken in by_cpu), "call"),
        (total(taken.tlb_shootdown for taken in by_cpu), "TLB shootdown"),
    )
    shown = ", ".join(count(number, name) for number, name in kinds if number is not None)
    return f"on the host since boot: {shown}" if shown else None


def interconnect(scope: Scope) -> str | None:
    channels, packages = scope.snapshot.physical.channels, len(scope.snapshot.physical.packages)
    between = channels.interconnect if channels else None
    if between and between.technology:
        return guessed(between.technology, between.origin if between.origin == "inferred" else None)
    return "one package: nothing between sockets" if packages == 1 else count(packages, "package") if packages else None


def neighbours(scope: Scope) -> str | None:
    others = [workload.placement.sharing_workloads for workload in scope.workloads if workload.placement.sharing_workloads is not None]
    return f"{sum(number > 0 for number in others)} of {len(others)} may share cores with other workloads" if others else None


def open_vulnerabilities(scope: Scope) -> str | None:
    """How many of the vulnerabilities that the kernel lists are open, by its own words, and which."""
    security = scope.snapshot.logical.cpu.security
    if security is None or not security.vulnerabilities:
        return None
    named = sorted(vulnerability.name for vulnerability in security.vulnerabilities if vulnerability.state == "vulnerable")
    listed = f": {', '.join(named)}" if named else ""
    return f"{len(named)} of {len(security.vulnerabilities)} hardware vulnerabilities open{listed}"


def side_channels(scope: Scope) -> str | None:
    """Who may share cores, what the hardware leaks between them by the kernel's words, and whether hardware threads share a core."""
    security = scope.snapshot.logical.cpu.security
    control = f"SMT control {security.smt_control}" if security and security.smt_control else None
    return "; ".join(filter(None, (neighbours(scope), open_vulnerabilities(scope), control))) or None


def kernel_surface(scope: Scope) -> str | None:
    """The kernel that all of them enter, and the hardware vulnerabilities that it leaves open."""
    return "; ".join(filter(None, (shared_kernel(scope), open_vulnerabilities(scope)))) if scope.workloads else None
