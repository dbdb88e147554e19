"""What kernel, engines and hypervisors say of what runs here: a typed field for each source, and the question that fills it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from agent.collect import background, targets
from agent.collect.ask import Pass
from agent.collect.caches import Caches
from agent.config import Config
from agent.model.facts.proc_isolation import Confinement
from agent.model.values import Fact
from collectors import (
    cgroup,
    docker_engine,
    libvirt_domains,
    libvirt_stats,
    oci,
    proc_fd,
    proc_isolation,
    proc_limits,
    proc_syscall,
    proc_task,
    processes,
    qemu,
    sys_debug_kvm,
    taskstats,
    wasm_maps,
)
from collectors.wasm_stats import statements


class WorkloadFacts(Fact, frozen=True, kw_only=True):
    """What kernel, engines and hypervisors say of what runs on the host. None: the source said nothing."""

    processes: tuple[processes.Process, ...] | None = None
    cgroups: cgroup.Cgroups | None = None
    bundles: tuple[oci.Bundle, ...] | None = None
    engines: tuple[docker_engine.Engine, ...] | None = None
    hypervisors: tuple[libvirt_domains.LibvirtHost, ...] | None = None
    domain_stats: tuple[libvirt_stats.DomainStats, ...] | None = None
    monitors: tuple[proc_fd.KvmProcess, ...] | None = None
    """Processes with a machine of KVM of which libvirt says nothing, but for those whose threads show it."""
    monitor_counters: tuple[sys_debug_kvm.KvmCounters, ...] | None = None
    guests: tuple[qemu.GuestMemory, ...] | None = None
    sandboxes: tuple[wasm_maps.WasmProcess, ...] | None = None
    all_sandboxes: bool = True
    """Whether no process with linear memories can be missing."""
    unread_maps: int = 0
    """Processes whose memory map was refused or is missing: what they hold is not known."""
    statements: tuple[statements.StatementTable, ...] | None = None
    """What embedders of Wasm state of their instances, read after the memory maps."""
    tasks: tuple[proc_task.TaskGroup, ...] | None = None
    accounts: tuple[taskstats.Account, ...] | None = None
    limits: dict[int, proc_limits.Limits] | None = None
    stack_pointers: dict[int, int] | None = None
    confinements: dict[int, Confinement] | None = None


class Inventory(NamedTuple):
    """Who is there: the process table, the containers that OCI runtimes keep, and the control groups."""

    table: tuple[processes.Process, ...] | None
    bundles: tuple[oci.Bundle, ...] | None
    cgroups: cgroup.Cgroups | None

    @property
    def groups(self) -> tuple[cgroup.Group, ...]:
        return self.cgroups.groups if self.cgroups else ()


def ask_inventory(asking: Pass, config: Config, caches: Caches) -> Inventory:
    table = asking.ask("processes", lambda r: processes.read(r, caches.processes, asking.detail))
    bundles = asking.ask("oci", lambda r: oci.read(r, caches.bundles, config.labels))
    owners = targets.owners_by_group(bundles or ())
    groups = asking.ask("cgroup", lambda r: cgroup.read(r, caches.cgroups, asking.detail, owners, config.workload_groups))
    return Inventory(table, bundles, groups)


def ask_processes(asking: Pass, inventory: Inventory, caches: Caches) -> WorkloadFacts:
    """What files say of processes: their memory maps first, then the threads of those that are of interest."""
    table, groups = inventory.table or (), inventory.groups
    users = targets.user_processes(table)
    wasm = asking.ask("wasm_maps", lambda r: wasm_maps.read(r, users, caches.wasm, asking.budget)) if users else None
    runtimes = targets.runtimes(wasm.processes if wasm else ())
    tables = targets.statement_tables(runtimes)
    published = asking.ask("wasm_stats", lambda r: statements.read(r, tables)) if tables else None
    runtime_pids = {process.pid for process in runtimes}
    machine_pids = targets.monitors(table).keys()
    pids = targets.members(groups) | machine_pids | runtime_pids | targets.kernel_threads(table)
    # A container's group counts huge pages, too: of its processes metrics need not ask for them.
    in_containers = set[int]() if asking.detail == "document" else targets.container_members(groups) - machine_pids - runtime_pids
    first_threads = targets.first_threads(table)
    tasks = asking.ask("proc_task", lambda r: proc_task.read(r, caches.tasks, pids, first_threads, in_containers)) if pids else None
    # Read after the threads, so that the process total is never less than the sum of its threads.
    accounts = asking.ask("taskstats", lambda r: taskstats.read(r, pids)) if pids else None
    threads = targets.stack_threads(runtimes, tasks or ())
    return WorkloadFacts(
        processes=inventory.table,
        cgroups=inventory.cgroups,
        bundles=inventory.bundles,
        sandboxes=wasm.processes if wasm else None,
        unread_maps=wasm.unread if wasm else 0,
        all_sandboxes=wasm.all_found if wasm else not users or not asking.wants("wasm_maps"),
        statements=published,
        tasks=tasks,
        accounts=accounts,
        limits=asking.ask("proc_limits", lambda r: proc_limits.read(r, sorted(runtime_pids))) if runtime_pids else None,
        stack_pointers=asking.ask("proc_syscall", lambda r: proc_syscall.read(r, threads)) if threads else None,
    )


class PendingAnswers(NamedTuple):
    """What was asked of other programs, and until when answers are waited for (time.monotonic)."""

    deadline: float
    engines: Callable[[float], tuple[docker_engine.Engine, ...] | None]
    hypervisors: Callable[[float], libvirt_domains.LibvirtHosts | None]
    domain_stats: tuple[libvirt_stats.DomainQueries, ...]


def begin_slow_questions(asking: Pass, config: Config, caches: Caches, patience_seconds: float) -> PendingAnswers:
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
    return PendingAnswers(deadline, engines, hypervisors, stats)


def add_slow_answers(asking: Pass, pending: PendingAnswers, workloads: WorkloadFacts, caches: Caches) -> WorkloadFacts:
    """The answers of other programs, and what can be asked only with them."""
    table, tasks = workloads.processes or (), workloads.tasks or ()
    groups = workloads.cgroups.groups if workloads.cgroups else ()
    engines = pending.engines(pending.deadline)
    domains = pending.hypervisors(pending.deadline)
    asking.gaps += domains.gaps if domains else ()
    hypervisors = domains.hypervisors if domains else None
    machines = targets.machine_pids(table, tasks)
    stats = None
    if hypervisors is not None:
        stopped = targets.stopped_machines(machines, tasks)
        stats = asking.ask("libvirt_stats", lambda r: libvirt_stats.read(r, pending.domain_stats, pending.deadline, stopped))
    asking.gaps += stats.gaps if stats else ()
    unmanaged = targets.unmanaged_monitors(targets.monitors(table), hypervisors or (), machines)
    named = targets.shown_by_threads(unmanaged, machines, tasks)
    candidates = [pid for pid in unmanaged if pid not in named]
    monitors = asking.ask("proc_fd", lambda r: proc_fd.read(r, candidates)) if candidates else None
    pids = sorted({machine.pid for machine in monitors or ()} | named)
    guests = targets.guests(hypervisors or (), machines, tasks, caches.walks.walks) if machines else None
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
