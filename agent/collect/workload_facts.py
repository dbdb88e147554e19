"""What kernel, engines and hypervisors say of what runs here: a typed field for each source, and the question that fills it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from agent.collect import targets
from agent.collect.ask import Pass
from agent.collect.background import Answers
from agent.collect.caches import Caches
from agent.collect.container_names import with_known_containers
from agent.config import Config
from agent.model.facts.kubelet_checkpoints import KubeletCheckpoints
from agent.model.facts.proc_isolation import Confinement
from agent.model.values import Fact, Gap
from collectors import (
    cgroup,
    docker_engine,
    kubelet_checkpoints,
    libvirt_connection,
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
from collectors.root import Unavailable
from collectors.wasm_stats import statements

T = TypeVar("T")

ANSWER_SECONDS = 30
"""How long an engine may take to answer, in the background."""


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
    kubelet: KubeletCheckpoints | None = None


_MOST_NAMES = 8
_NO_GROUP = "nothing to do where it has stopped; else mount the host's whole /sys/fs/cgroup, or use the host's cgroup namespace"


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
    missing = targets.without_group(bundles, groups.groups) if bundles and groups else []
    if missing:
        names = [f"{bundle.engine} {bundle.id[:12] if len(bundle.id) == 64 else bundle.id}" for bundle in missing[:_MOST_NAMES]]
        more = f" and {len(missing) - len(names)} more" if len(missing) > len(names) else ""
        detail = f"no control group of {', '.join(names)}{more}: is kept, but its group is not where it says, here"
        asking.gaps.append(Gap("oci", "absent", detail, _NO_GROUP))
    return Inventory(table, bundles, groups)


def ask_processes(asking: Pass, inventory: Inventory, caches: Caches) -> WorkloadFacts:
    """What files say of processes: their memory maps first, then the threads of those that are of interest."""
    table, groups = inventory.table or (), inventory.groups
    users = targets.user_processes(table)
    wasm = asking.ask("wasm_maps", lambda r: wasm_maps.read(r, users, caches.wasm, asking.budget(0.6))) if users else None
    runtimes = targets.runtimes(wasm.processes if wasm else ())
    tables = targets.statement_tables(runtimes)
    published = asking.ask("wasm_stats", lambda r: statements.read(r, tables)) if tables else None
    runtime_pids = {process.pid for process in runtimes}
    machine_pids = targets.monitors(table).keys()
    pids = targets.members(groups) | machine_pids | runtime_pids | targets.kernel_threads(table)
    # A container's group counts huge pages, too: of its processes metrics need not ask for them.
    in_containers = set[int]() if asking.detail == "document" else targets.container_members(groups) - machine_pids - runtime_pids
    first_threads = targets.first_threads(table)
    tasks = (
        asking.ask("proc_task", lambda r: proc_task.read(r, caches.tasks, pids, first_threads, in_containers, asking.budget(0.4)))
        if pids
        else None
    )
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
        kubelet=asking.ask("kubelet_checkpoints", kubelet_checkpoints.read) if targets.has_pods(groups) else None,
    )


class PendingAnswers(NamedTuple):
    """What was asked of other programs, and until when answers are waited for (time.monotonic)."""

    deadline: float
    engines: Callable[[], Answers[tuple[docker_engine.Engine, ...]]]
    hypervisors: Callable[[], Answers[libvirt_domains.LibvirtHosts]]
    domain_stats: tuple[libvirt_stats.DomainQueries, ...]


def begin_slow_questions(asking: Pass, config: Config, caches: Caches, patience_seconds: float) -> PendingAnswers:
    """Ask engines and hypervisors, which answer while files are read."""
    deadline = time.monotonic() + patience_seconds
    engines = caches.engines.begin(
        asking,
        "docker_engine",
        lambda root: docker_engine.urls(root, config.docker, config.docker_host),
        lambda _, url: docker_engine.ask(url, ANSWER_SECONDS, config.labels),
        deadline,
    )
    hypervisors = caches.hypervisors.begin(
        asking,
        "libvirt_domains",
        lambda root: libvirt_connection.uris(root, config.libvirt),
        lambda _, uri: libvirt_domains.ask(caches.domains, uri),
        deadline,
    )
    stats: tuple[libvirt_stats.DomainQueries, ...] = ()
    if asking.wants("libvirt_stats"):
        stats = libvirt_stats.begin(asking.root, caches.domain_stats, caches.domains.connections, config.libvirt)
    return PendingAnswers(deadline, engines, hypervisors, stats)


def _engines(asking: Pass, wait: Callable[[], Answers[tuple[docker_engine.Engine, ...]]]) -> tuple[docker_engine.Engine, ...] | None:
    """Each engine's answer, or its last one. A recording has what was gathered."""
    answers = wait()

    def gathered() -> tuple[docker_engine.Engine, ...]:
        _require(answers)
        return tuple(engine for answer in answers.answers for engine in answer.value)

    engines = asking.ask("docker_engine", lambda root: docker_engine.read(root, gathered))
    if engines is not None:
        asking.gaps += answers.gaps
        asking.ages["docker_engine"] = max((answer.seconds_ago for answer in answers.answers), default=0.0)
    _set_seconds(asking, "docker_engine", answers.seconds)
    return engines


def _hypervisors(asking: Pass, wait: Callable[[], Answers[libvirt_domains.LibvirtHosts]]) -> tuple[libvirt_domains.LibvirtHost, ...] | None:
    """Each hypervisor's answer, or its last one with its age. A recording has what was gathered."""
    answers = wait()

    def gathered() -> libvirt_domains.LibvirtHosts:
        _require(answers)
        hosts = [libvirt_domains.aged(answer.value, answer.seconds_ago) for answer in answers.answers]
        return libvirt_domains.LibvirtHosts(
            tuple(hypervisor for host in hosts for hypervisor in host.hypervisors),
            (*answers.gaps, *(gap for host in hosts for gap in host.gaps)),
        )

    hosts = asking.ask("libvirt_domains", lambda root: libvirt_domains.read(root, gathered))
    if hosts is not None:
        asking.gaps += hosts.gaps
        asking.ages["libvirt_domains"] = max((hypervisor.seconds_ago for hypervisor in hosts.hypervisors), default=0.0)
    _set_seconds(asking, "libvirt_domains", answers.seconds)
    return hosts.hypervisors if hosts else None


def _set_seconds(asking: Pass, source: str, seconds: float) -> None:
    """How long the answers took, which were only gathered here."""
    if asking.root.live and source in asking.seconds:
        asking.seconds[source] = seconds


def _require(answers: Answers[T]) -> None:
    """`Unavailable` where nobody has answered, now or lately."""
    if not answers.answers and answers.gaps:
        first = answers.gaps[0]
        raise Unavailable(first.reason, first.detail, first.remedy)


def add_slow_answers(asking: Pass, pending: PendingAnswers, workloads: WorkloadFacts, caches: Caches) -> WorkloadFacts:
    """The answers of other programs, and what can be asked only with them."""
    table, tasks = workloads.processes or (), workloads.tasks or ()
    groups = workloads.cgroups.groups if workloads.cgroups else ()
    engines = with_known_containers(_engines(asking, pending.engines), caches.containers, workloads.cgroups)
    hypervisors = _hypervisors(asking, pending.hypervisors)
    machines = targets.machine_pids(table, tasks)
    stats = None
    if hypervisors is not None:
        stopped = targets.stopped_machines(machines, tasks)
        # Of a daemon that is late, more is not waited for.
        deadline = pending.deadline if asking.ages.get("libvirt_domains") == 0.0 else time.monotonic()
        stats = asking.ask("libvirt_stats", lambda r: libvirt_stats.read(r, pending.domain_stats, deadline, stopped))
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
