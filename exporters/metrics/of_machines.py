"""Families of virtual machines: vCPUs, the threads beside them, and what KVM counts of them."""

from __future__ import annotations

from collections.abc import Iterator

from agent.model.device import Devices
from agent.model.workload import VCpu, Workload
from exporters.metrics.family import Family


def machine_families(workloads: tuple[Workload, ...], devices: Devices) -> Iterator[Family]:
    vcpus = [((("workload", w.id), ("vcpu", vcpu.number)), vcpu) for w in workloads for vcpu in w.vcpus]
    infos = [((*labels, ("affinity", v.affinity), ("pinned", {True: "yes", False: "no", None: None}[v.pinned])), 1) for labels, v in vcpus]
    yield Family("strata_vcpu_info", "info", "The vCPUs, and the host CPUs that each may use.", infos)
    yield Family("strata_vcpu_last_cpu", "gauge", "Host CPU that a vCPU ran on last.", [(labels, v.last_cpu) for labels, v in vcpus])
    times = [(labels, None if v.time_ns is None else v.time_ns / 1e9) for labels, v in vcpus]
    yield Family("strata_vcpu_seconds_total", "counter", "CPU time of a vCPU, as libvirt counts it.", times)
    delays = [(labels, v.thread.delay_ns / 1e9 if v.thread and v.thread.delay_ns is not None else None) for labels, v in vcpus]
    yield Family("strata_vcpu_run_delay_seconds_total", "counter", "Time a vCPU's thread waited for a host CPU: its steal.", delays)
    shares = [(labels, v.thread.run_ns / 1e9 if v.thread and v.thread.run_ns is not None else None) for labels, v in vcpus]
    yield Family("strata_vcpu_run_seconds_total", "counter", "Time a vCPU's thread was on a host CPU.", shares)
    quotas = [(labels, v.quota_usec / v.period_usec if v.quota_usec is not None and v.period_usec else None) for labels, v in vcpus]
    yield Family("strata_vcpu_limit_cpus", "gauge", "Quota of a vCPU's own control group, in CPUs.", quotas)
    ratios = [((("scope", one.scope), ("cpus", one.cpus)), one.ratio) for one in devices.cpu.overcommit]
    yield Family("strata_vcpu_overcommit_ratio", "gauge", "vCPUs a CPU, each counted in equal parts where it may run.", ratios)
    given = [((("scope", one.scope), ("node", one.node)), one.ratio) for one in devices.memory.overcommit]
    yield Family("strata_machine_memory_overcommit_ratio", "gauge", "Memory given to machines, of the host's or a node's.", given)
    yield from _counters(vcpus)
    yield from _monitors(workloads)


def _counters(vcpus: list[tuple[tuple[tuple[str, str], tuple[str, int]], VCpu]]) -> Iterator[Family]:
    """KVM's own, by vCPU."""
    exits = [
        ((*labels, ("reason", name.removesuffix("_exits"))), count)
        for labels, v in vcpus
        for name, count in v.kvm.items()
        if name.endswith("_exits")
    ]
    yield Family("strata_vcpu_exits_total", "counter", "Exits from the guest to the hypervisor; some have no reason of their own.", exits)
    whole = [(labels, v.kvm.get("exits")) for labels, v in vcpus]
    yield Family("strata_vcpu_all_exits_total", "counter", "Exits from the guest to the hypervisor, whatever for.", whole)
    polled = [
        ((*labels, ("result", result)), v.kvm[name] / 1e9 if name in v.kvm else None)
        for labels, v in vcpus
        for result, name in (("success", "halt_poll_success_ns"), ("fail", "halt_poll_fail_ns"))
    ]
    yield Family("strata_vcpu_halt_poll_seconds_total", "counter", "Time KVM polled for a halted vCPU: CPU time for latency.", polled)
    yields = [
        ((*labels, ("result", result)), v.kvm.get(f"directed_yield_{result}"))
        for labels, v in vcpus
        for result in ("attempted", "successful")
    ]
    yield Family("strata_vcpu_directed_yields_total", "counter", "Times KVM gave a spinning vCPU's CPU to another one.", yields)
    halted = [(labels, v.kvm["halt_wait_ns"] / 1e9 if "halt_wait_ns" in v.kvm else None) for labels, v in vcpus]
    yield Family("strata_vcpu_halt_wait_seconds_total", "counter", "Time a vCPU slept, halted.", halted)


_PAGES = {"pages_4k": 4 << 10, "pages_2m": 2 << 20, "pages_1g": 1 << 30}


def _monitors(workloads: tuple[Workload, ...]) -> Iterator[Family]:
    threads = [
        ((("workload", w.id), ("tid", thread.tid), ("role", thread.role), ("name", thread.name), ("cpus", thread.allowed_cpus)), 1)
        for w in workloads
        if w.paradigm == "virtualization"
        for thread in w.threads
        if thread.role in ("iothread", "vhost", "kvm") or thread.tid == w.pid
    ]
    yield Family("strata_machine_thread_info", "info", "Threads beside the vCPUs, and the CPUs that each may use.", threads)
    overhead = [
        ((("workload", w.id), ("role", role)), _run_seconds(w, role))
        for w in workloads
        if w.paradigm == "virtualization"
        for role in _ROLES
    ]
    yield Family("strata_machine_run_seconds_total", "counter", "CPU time of a machine's threads beside its vCPUs.", overhead)
    pages = [
        ((("workload", w.id), ("page_bytes", size)), w.guest.kvm.get(name)) for w in workloads if w.guest for name, size in _PAGES.items()
    ]
    yield Family("strata_machine_mapped_pages", "gauge", "Pages that KVM has mapped for a guest, by their size.", pages)
    ages = [((("workload", w.id),), w.guest.told_seconds_ago if w.guest else None) for w in workloads]
    yield Family("strata_machine_counters_age_seconds", "gauge", "How long ago a machine's monitor told KVM's counters.", ages)
    walked = [((("workload", w.id),), w.memory.backing_seconds_ago) for w in workloads]
    yield Family("strata_machine_memory_age_seconds", "gauge", "How long ago the memory behind a guest was walked.", walked)
    swapped = [((("workload", w.id),), w.memory.backing_swapped_bytes) for w in workloads]
    yield Family("strata_workload_memory_backing_swapped_bytes", "gauge", "Guest memory that the host has swapped out.", swapped)


_ROLES = ("iothread", "emulator", "vhost", "kvm")


def _run_seconds(workload: Workload, role: str) -> float | None:
    runs = [thread.run_ns for thread in workload.threads if thread.role == role]
    known = [run for run in runs if run is not None]
    return sum(known) / 1e9 if known and len(known) == len(runs) else None
