"""One pass over the sources: each answers into a typed field, or leaves a gap. Nothing here interprets an answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from agent.collect import background, statics, targets
from agent.collect.ask import Pass
from agent.collect.caches import Caches
from agent.collect.sample import HostFacts, Sample, WorkloadFacts
from agent.config import Config
from agent.model.values import Detail
from collectors import (
    cgroup,
    docker_engine,
    edac,
    hugepages,
    libvirt_domains,
    libvirt_stats,
    oci,
    proc_driver_nvidia,
    proc_fd,
    proc_interrupts,
    proc_irq,
    proc_isolation,
    proc_limits,
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
    proc_syscall,
    proc_task,
    proc_vm,
    processes,
    qemu,
    sys_dax,
    sys_debug_kvm,
    sys_debug_sched,
    sys_kvm,
    sys_memory_tiering,
    sys_mm,
    sys_nd,
    sys_node,
    sys_pci,
    sys_zram,
    taskstats,
    wasm_maps,
)
from collectors.root import SysRoot
from collectors.wasm_stats import statements


def take(root: SysRoot, config: Config, caches: Caches, patience_seconds: float = 1.0, detail: Detail = "document") -> Sample:
    """Ask every source once, for a document or for metrics.

    Files are read at once. Other programs get `patience_seconds` together; one that has not answered by then leaves a gap, "late".
    """
    asking = Pass(root, config.only, detail)
    slow = _begin_slow_questions(asking, config, caches, patience_seconds)
    static, nodes = statics.current(asking, caches, patience_seconds)
    inventory = _inventory(asking, config, caches)
    # Its uptime is what the times of statements and of threads are compared with: it is read before them.
    kernel = asking.ask("proc_sys", proc_sys.read)
    workloads = _workload_facts(asking, inventory, caches)
    host = _with_kernel_facts(asking, _host_facts(asking, kernel, nodes))
    workloads = _late_answers(asking, slow, workloads, caches)
    # A static source that is read again in part may leave the gap again that it left when all of it was read.
    known = {(gap.source, gap.reason) for gap in static.gaps}
    return Sample(
        host=host,
        workloads=workloads,
        statics=static,
        gaps=(*static.gaps, *(gap for gap in asking.gaps if (gap.source, gap.reason) not in known)),
        seconds=static.seconds | asking.seconds,
        read_at=asking.read_at,
        detail=detail,
    )


class _SlowQuestions(NamedTuple):
    """What was asked of other programs, and until when answers are waited for (time.monotonic)."""

    deadline: float
    engines: Callable[[float], tuple[docker_engine.Engine, ...] | None]
    hypervisors: Callable[[float], libvirt_domains.Hypervisors | None]
    domain_stats: tuple[libvirt_stats.DomainQueries, ...]


def _begin_slow_questions(asking: Pass, config: Config, caches: Caches, patience_seconds: float) -> _SlowQuestions:
    """Ask engines and hypervisors, which answer while files are read."""
    deadline = time.monotonic() + patience_seconds
    engines = background.begin(
        asking, "docker_engine", lambda r: docker_engine.read(r, config.docker, labels=config.labels), caches.background
    )
    hypervisors = background.begin(
        asking,
        "libvirt_domains",
        lambda r: libvirt_domains.read(r, caches.domains, config.libvirt, patience_seconds),
        caches.background,
    )
    stats: tuple[libvirt_stats.DomainQueries, ...] = ()
    if asking.wants("libvirt_stats"):
        stats = libvirt_stats.begin(asking.root, caches.domain_stats, caches.domains.connections, config.libvirt)
    return _SlowQuestions(deadline, engines, hypervisors, stats)


class _Inventory(NamedTuple):
    """Who is there: the process table, the containers that OCI runtimes keep, and the control groups."""

    table: tuple[processes.Process, ...] | None
    bundles: tuple[oci.Bundle, ...] | None
    cgroups: cgroup.Cgroups | None

    @property
    def groups(self) -> tuple[cgroup.Group, ...]:
        return self.cgroups.groups if self.cgroups else ()


def _inventory(asking: Pass, config: Config, caches: Caches) -> _Inventory:
    table = asking.ask("processes", lambda r: processes.read(r, caches.processes, asking.detail))
    bundles = asking.ask("oci", lambda r: oci.read(r, caches.bundles, config.labels))
    owners = targets.owners_by_group(bundles or ())
    return _Inventory(table, bundles, asking.ask("cgroup", lambda r: cgroup.read(r, caches.cgroups, asking.detail, owners)))


def _workload_facts(asking: Pass, inventory: _Inventory, caches: Caches) -> WorkloadFacts:
    """What files say of processes: their memory maps first, then the threads of those that are of interest."""
    table, groups = inventory.table or (), inventory.groups
    users = targets.user_processes(table)
    wasm = asking.ask("wasm_maps", lambda r: wasm_maps.read(r, users, caches.wasm)) if users else None
    runtimes = targets.runtimes(wasm.processes if wasm else ())
    tables = targets.statement_tables(runtimes)
    published = asking.ask("wasm_stats", lambda r: statements.read(r, tables)) if tables else None
    runtime_pids = {process.pid for process in runtimes}
    machine_pids = {*targets.machine_pids(table).values()} | targets.monitors(table).keys()
    pids = targets.members(groups) | machine_pids | runtime_pids | targets.kernel_threads(table)
    # A container's group counts huge pages, too: of its processes metrics need not ask for them.
    in_containers = set[int]() if asking.detail == "document" else targets.container_members(groups) - machine_pids - runtime_pids
    first_threads = targets.first_threads(table)
    tasks = asking.ask("proc_task", lambda r: proc_task.read(r, caches.tasks, pids, first_threads, in_containers)) if pids else None
    # Asked after the threads, so that of what these have had nothing is missing in what their process has had.
    accounts = asking.ask("taskstats", lambda r: taskstats.read(r, pids)) if pids else None
    threads = targets.stack_threads(runtimes, tasks or ())
    return WorkloadFacts(
        processes=inventory.table,
        cgroups=inventory.cgroups,
        bundles=inventory.bundles,
        sandboxes=wasm.processes if wasm else None,
        unread_maps=wasm.unread if wasm else 0,
        statements=published,
        tasks=tasks,
        accounts=accounts,
        limits=asking.ask("proc_limits", lambda r: proc_limits.read(r, sorted(runtime_pids))) if runtime_pids else None,
        stack_pointers=asking.ask("proc_syscall", lambda r: proc_syscall.read(r, threads)) if threads else None,
    )


def _host_facts(asking: Pass, kernel: proc_sys.Kernel | None, nodes: sys_node.Nodes | None) -> HostFacts:
    """What the machine holds."""
    return HostFacts(
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


def _with_kernel_facts(asking: Pass, host: HostFacts) -> HostFacts:
    """The same with what the kernel counts and how it is set."""
    stat = asking.ask("proc_stat", proc_stat.read)
    schedstat = asking.ask("proc_schedstat", proc_schedstat.read)
    softirqs = asking.ask("proc_softirqs", proc_softirqs.read)
    interrupts = asking.ask("proc_interrupts", proc_interrupts.read)
    irqs = targets.interrupt_numbers(interrupts.lines if interrupts else ())
    cpus = targets.domain_representatives(schedstat.chains if schedstat else ())
    return replace(
        host,
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
    )


def _late_answers(asking: Pass, slow: _SlowQuestions, workloads: WorkloadFacts, caches: Caches) -> WorkloadFacts:
    """The answers of other programs, and what can be asked only with them."""
    table, tasks = workloads.processes or (), workloads.tasks or ()
    groups = workloads.cgroups.groups if workloads.cgroups else ()
    engines = slow.engines(slow.deadline)
    domains = slow.hypervisors(slow.deadline)
    asking.gaps += domains.gaps if domains else ()
    hypervisors = domains.hypervisors if domains else None
    machines = targets.machine_pids(table)
    stats = None
    if hypervisors is not None:
        stopped = targets.stopped_machines(machines, tasks)
        stats = asking.ask("libvirt_stats", lambda r: libvirt_stats.read(r, slow.domain_stats, slow.deadline, stopped))
    asking.gaps += stats.gaps if stats else ()
    failed = any(gap.source == "libvirt_domains" and gap.reason != "absent" for gap in asking.gaps)
    candidates = targets.unmanaged_monitors(targets.monitors(table), hypervisors or (), failed)
    monitors = asking.ask("proc_fd", lambda r: proc_fd.read(r, candidates)) if candidates else None
    pids = [machine.pid for machine in monitors or ()]
    guests = targets.guests(hypervisors, machines, tasks) if hypervisors and machines else None
    leaders = targets.leaders(groups) if asking.wants("proc_isolation") else set()
    return replace(
        workloads,
        engines=engines,
        hypervisors=hypervisors,
        domain_stats=stats.domains if stats else None,
        monitors=monitors,
        monitor_counters=asking.ask("sys_debug_kvm", lambda r: sys_debug_kvm.read(r, pids)) if pids else None,
        guests=asking.ask("qemu", lambda r: qemu.read(r, caches.walks, guests, asking.detail)) if guests is not None else None,
        confinements=asking.ask("proc_isolation", lambda r: proc_isolation.read(r, leaders)) if leaders else None,
    )
