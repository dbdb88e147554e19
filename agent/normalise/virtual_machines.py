"""Virtual machines. A machine is its process, as the kernel shows it, with libvirt's words where there are any.

So who it is, its threads, its groups and its memory do not depend on whether libvirt answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from agent.collect.sample import Sample
from agent.model.facts.cgroup import WorkloadCpu, WorkloadMemory
from agent.model.facts.proc_isolation import Confinement
from agent.model.facts.proc_task import Thread
from agent.model.guest import Guest
from agent.model.runtimes import EMULATION, HARDWARE, LIBVIRT, MODES, RUNTIMES, Paradigm, monitor
from agent.model.values import CpuSet, Fact
from agent.model.workload import Placement, VCpu, Workload
from agent.normalise.containers import confinement
from agent.normalise.groups import (
    Tree,
    container_around,
    controls_of,
    cpu_of,
    cpuset_of,
    group_of,
    memory_of,
    pids_of,
    resident_by_node,
    tree_of,
)
from agent.normalise.machine_groups import home_of, owned_groups
from agent.normalise.machine_join import DescribedDomain, JoinedMachine, joined_machines, start_ticks
from agent.normalise.machine_threads import is_emulated, kernel_threads, vcpu_threads, with_roles
from agent.normalise.workloads import NO_STACK, cpus_of, started, threads_of, union_of
from collectors import cgroup, libvirt_domains, libvirt_stats, qemu

_ACCELERATORS = {HARDWARE: "kvm", EMULATION: "qemu"}
"""What libvirt calls a domain that is run like this."""


class Machines(NamedTuple):
    """The machines, and the owners of the groups that hold nothing else: those are no workloads beside them."""

    workloads: tuple[Workload, ...]
    owners: frozenset[cgroup.Owner]


class Sources(Fact, frozen=True, kw_only=True):
    """What several machines are looked up in; by pid where nothing else is said."""

    tree: Tree
    online: CpuSet | None
    owned: dict[int, cgroup.Owner]
    kernel_threads: dict[int, tuple[Thread, ...]]
    backing: dict[int, qemu.GuestMemory]
    counters: dict[int, dict[str, int]]
    confinements: dict[int, Confinement]


def machines(sample: Sample) -> Machines:
    """One workload for each running domain of libvirt, and for each process that runs a machine, with a domain or without."""
    facts, tree = sample.workloads, tree_of(sample)
    table = {process.pid: process for process in facts.processes or ()}
    tasks = {group.pid: group for group in facts.tasks or ()}
    found = tuple(joined_machines(sample, table, tasks))
    owned = owned_groups(tree, table, {machine.process.pid: machine.tasks for machine in found if machine.process and machine.tasks})
    sources = Sources(
        tree=tree,
        online=sample.statics.cpus.online if sample.statics.cpus else None,
        owned=owned,
        kernel_threads=kernel_threads(table.values(), tasks),
        backing={guest.pid: guest for guest in facts.guests or ()},
        counters={machine.pid: machine.counters for machine in facts.monitor_counters or ()},
        confinements=facts.confinements or {},
    )
    workloads = tuple(_workload(sources, machine) for machine in found)
    return Machines(workloads, frozenset(owned.values()) | _named_after(tree, workloads))


def _named_after(tree: Tree, workloads: Sequence[Workload]) -> set[cgroup.Owner]:
    """Who owns libvirt's groups of these machines; of all machines where the group of one is not known, which may be any of them."""
    paths = {workload.cgroup for workload in workloads if not (workload.guest and workload.guest.elsewhere)}
    owners = {group.owner for group in tree.groups.values() if group.owner is not None and group.owner.runtime == LIBVIRT.name}
    return {owner for owner in owners if None in paths or owner.path in paths}


def _workload(sources: Sources, machine: JoinedMachine) -> Workload:
    tree, process, domain = sources.tree, machine.process, machine.domain
    pid = process.pid if process else None
    owner = sources.owned.get(pid or 0)
    home = home_of(tree, machine.tasks, owner)
    is_alone = owner is not None or (home is not None and home.owner is not None and home.owner.runtime == LIBVIRT.name)
    own = with_roles(threads_of([machine.tasks] if machine.tasks else []))
    vcpus = _vcpus(sources, machine, home, vcpu_threads(own))
    running = tuple(vcpu.thread for vcpu in vcpus if vcpu.thread)
    # Where the thread of one vCPU is not known, sums over the others would be too small.
    all_vcpu_threads = running if len(running) == len(vcpus) else ()
    container = container_around(tree, home.path) if home else None
    paradigm, runtime, isolation = _kind(machine, home, own)
    began = start_ticks(machine.tasks) if machine.tasks else None
    workload = Workload(
        id=_id(machine, owner, began),
        identity=f"{pid}:{began}" if began is not None else f"{domain.definition.uuid}:{domain.definition.id}" if domain else "",
        paradigm=paradigm,
        runtime=runtime,
        name=_name(machine, owner),
        execution_mode=MODES[paradigm].execution,
        memory_mode=MODES[paradigm].memory,
        isolation=isolation,
        stack=NO_STACK,
        # A machine's run time and delay are those of its vCPUs, without its emulator threads.
        cpu=cpu_of(tree, home, all_vcpu_threads, [], own_group=is_alone),
        memory=_memory(sources, machine, home, is_alone),
        placement=_placement(sources, machine, vcpus, all_vcpu_threads or own),
        parent=container.id if container else None,
        state=domain.definition.state if domain else None,
        cgroup=home.path if home else None,
        pid=pid,
        processes=1 if pid is not None else None,
        started_seconds=started(own),
        guest=_guest(domain) if domain else Guest(accelerator=_ACCELERATORS[isolation], kvm=sources.counters.get(pid or 0, {})),
        controls=tuple(controls_of(home, tree.controllers)) if home and is_alone else (),
        vcpus=vcpus,
        threads=_beside((*own, *sources.kernel_threads.get(pid or 0, ())), running),
    )
    return _with_unit(sources, workload, home) if owner is not None and home is not None else workload


def _with_unit(sources: Sources, workload: Workload, home: cgroup.Group) -> Workload:
    """With what else the unit or the jail says that holds nothing but this machine."""
    cpus, _ = cpuset_of(sources.tree, home)
    io, placement = home.pressure.get("io"), workload.placement
    return replace(
        workload,
        placement=replace(
            placement,
            allowed_cpus=cpus if placement.allowed_cpus is None else placement.allowed_cpus,
            memory_by_node=placement.memory_by_node or resident_by_node(sources.tree, home),
        ),
        pids=pids_of(sources.tree, home),
        huge_pages=home.huge_pages,
        io_pressure_some_usec=io.some_usec if io else None,
        io_pressure_full_usec=io.full_usec if io else None,
        group=group_of(home),
        confinement=confinement(sources.confinements.get(workload.pid or 0), sources.confinements.get(1)),
    )


def _id(machine: JoinedMachine, owner: cgroup.Owner | None, began: int | None) -> str:
    """The UUID by libvirt or by the process itself, which are the same; else what its own group is called, else the process."""
    uuid = machine.domain.definition.uuid if machine.domain else machine.process.vm_uuid if machine.process else None
    if not uuid and owner is not None and owner.paradigm == "virtualization":
        return owner.id
    return uuid or f"kvm/{machine.process.pid if machine.process else 0}/{began}"


def _name(machine: JoinedMachine, owner: cgroup.Owner | None) -> str:
    stated = machine.domain.definition.name if machine.domain else machine.process.vm_name if machine.process else None
    return stated or (owner.id if owner else machine.process.name if machine.process else "")


def _kind(machine: JoinedMachine, home: cgroup.Group | None, threads: Sequence[Thread]) -> tuple[Paradigm, str, str]:
    """Paradigm, runtime and isolation. What libvirt started is called as libvirt calls it, whether it answers or not."""
    if machine.domain is not None:
        kind = machine.domain.definition.definition.type
        domain_type = RUNTIMES.get(kind or "")
        paradigm = domain_type.paradigm if domain_type and domain_type.domain_isolation else "virtualization"
        runtime = kind or machine.domain.hypervisor.uri.partition(":")[0]
        return paradigm, runtime, (domain_type and domain_type.domain_isolation) or EMULATION
    emulated = any(is_emulated(thread) for thread in threads)
    name = machine.process.name if machine.process else ""
    hypervisor = monitor(name)
    runtime = hypervisor.name if hypervisor else name
    if not emulated and home is not None and home.owner is not None and home.owner.runtime == LIBVIRT.name:
        runtime = "kvm"
    return "virtualization", runtime, EMULATION if emulated else HARDWARE


def _beside(threads: Sequence[Thread], running: Sequence[Thread]) -> tuple[Thread, ...]:
    """The threads that run no vCPU. Threads without a name are left out, because they may run one."""
    taken = {thread.tid for thread in running}
    return tuple(thread for thread in threads if thread.tid not in taken and thread.name is not None)


def _vcpus(sources: Sources, machine: JoinedMachine, home: cgroup.Group | None, threads: dict[int, Thread]) -> tuple[VCpu, ...]:
    domain = machine.domain
    described = {vcpu.number: vcpu for vcpu in domain.definition.vcpus} if domain else {}
    elsewhere = domain is not None and not domain.hypervisor.here
    usable = None if elsewhere else sources.online
    counted = domain.stats.vcpus if domain and domain.stats else {}
    return tuple(
        replace(
            _vcpu(number, described.get(number), threads.get(number), usable, _vcpu_group(sources.tree, home, number)),
            last_cpu=_last_cpu(described.get(number) if elsewhere else threads.get(number)),
            kvm=counted.get(number, {}),
        )
        for number in ([*described] if domain else machine.numbers)
    )


def _last_cpu(runner: libvirt_domains.VirtualCpu | Thread | None) -> int | None:
    """On this host libvirt reads the same file at another time: its word in the place of a missing thread would be another value."""
    return None if runner is None else runner.last_cpu


def _vcpu(
    number: int,
    described: libvirt_domains.VirtualCpu | None,
    thread: Thread | None,
    online: CpuSet | None,
    cpu: WorkloadCpu,
) -> VCpu:
    affinity = described.affinity if described else thread.allowed_cpus if thread else None
    return VCpu(
        number=number,
        state=described.state if described else None,
        time_ns=described.time_ns if described else None,
        affinity=affinity,
        pinned=None if affinity is None or online is None else not online <= affinity,
        thread=thread,
        quota_usec=cpu.quota_usec,
        period_usec=cpu.period_usec,
        shares=cpu.shares,
        weight=cpu.weight,
        throttled_usec=cpu.throttled_usec,
    )


def _vcpu_group(tree: Tree, home: cgroup.Group | None, number: int) -> WorkloadCpu:
    """What the group of its own says, which libvirt makes for each vCPU."""
    paths = [f"{home.path}/{part}vcpu{number}" for part in ("libvirt/", "")] if home else []
    group = next((tree.groups[path] for path in paths if path in tree.groups), None)
    return group.cpu if group and group.cpu else WorkloadCpu()


def _placement(sources: Sources, machine: JoinedMachine, vcpus: Sequence[VCpu], running: Sequence[Thread]) -> Placement:
    if machine.domain is not None and not machine.domain.hypervisor.here:
        return Placement()
    backing = sources.backing.get(machine.process.pid) if machine.process else None
    # Where no vCPU's thread is recognised, any thread may be one: the union of all includes the CPUs of every vCPU.
    allowed = union_of([vcpu.affinity for vcpu in vcpus])
    return Placement(
        allowed_cpus=union_of([thread.allowed_cpus for thread in running]) if allowed is None and machine.domain is None else allowed,
        allowed_nodes=machine.tasks.allowed_nodes if machine.tasks else None,
        last_cpus=cpus_of([vcpu.thread for vcpu in vcpus if vcpu.thread]) if all(vcpu.thread for vcpu in vcpus) else None,
        memory_by_node=(backing.by_node or {}) if backing else {},
    )


def _memory(sources: Sources, machine: JoinedMachine, home: cgroup.Group | None, is_alone: bool) -> WorkloadMemory:
    backing = sources.backing.get(machine.process.pid) if machine.process else None
    domain = machine.domain.definition if machine.domain else None
    return replace(
        memory_of(sources.tree, home, [machine.tasks] if machine.tasks else [], own_group=is_alone),
        allotted_bytes=domain.memory_bytes if domain else None,
        allotted_max_bytes=domain.max_memory_bytes if domain else None,
        backing_bytes=backing.resident_bytes + backing.hugetlb_bytes if backing else None,
        backing_huge_bytes=backing.huge_bytes if backing else None,
        backing_hugetlb_bytes=backing.hugetlb_bytes if backing else None,
        backing_swapped_bytes=backing.swapped_bytes if backing else None,
        backing_merged_bytes=backing.ksm_bytes if backing else None,
        backing_seconds_ago=backing.seconds_ago if backing else None,
        process_by_node=(backing.process_by_node or {}) if backing else {},
    )


def _guest(domain: DescribedDomain) -> Guest:
    definition, stats = domain.definition.definition, domain.stats
    return Guest(
        machine=definition.machine,
        accelerator=definition.type,
        cpu_mode=definition.cpu_mode,
        cpu_model=definition.cpu_model,
        nested=definition.nested,
        max_vcpus=definition.max_vcpus,
        sockets=definition.sockets,
        dies=definition.dies,
        clusters=definition.clusters,
        cores=definition.cores,
        threads=definition.threads,
        numa_cells=len(definition.cells) or None,
        cells=definition.cells,
        numatune_mode=definition.numatune_mode,
        numatune_nodes=definition.numatune_nodes,
        numatune_placement=definition.numatune_placement,
        cell_memories=definition.cell_memories,
        tuning=definition.tuning,
        emulator_affinity=domain.definition.emulator_affinity,
        hugepages=bool(definition.backing.hugepages),
        backing=definition.backing,
        memory_slots_bytes=definition.memory_slots_bytes,
        iothreads=len(definition.iothreads),
        iothread_numbers=definition.iothreads,
        enlightenments=definition.enlightenments,
        video_bytes=definition.video_bytes,
        hypervisor=domain.hypervisor.uri,
        elsewhere=not domain.hypervisor.here,
        kvm=stats.vm if stats else {},
        balloon=libvirt_stats.balloon_of(stats.balloon) if stats else None,
        stats_seconds_ago=stats.seconds_ago if stats else None,
        definition_seconds_ago=domain.hypervisor.seconds_ago or None,
    )
