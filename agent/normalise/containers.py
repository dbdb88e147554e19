"""Containers, jailed machines, and services with limits: each is joined from its control groups, its engine and /proc."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from agent.collect.sample import Sample
from agent.model.facts.proc_isolation import Confinement
from agent.model.runtimes import MODES, PLAIN_GROUP, SYSTEMD, isolation, limits_group, machine_name, owner_of_group
from agent.model.values import CpuSet, Detail, Fact, Limit
from agent.model.workload import Placement, VCpu, Workload
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
    tightest,
    tree_of,
)
from agent.normalise.machine_threads import vcpu_threads
from agent.normalise.members import members_by_owner
from agent.normalise.workloads import NO_STACK, cpus_of, started, threads_of
from collectors import cgroup, docker_engine, oci, proc_task, taskstats

_KNOWN_BY_PATH = (SYSTEMD.name, PLAIN_GROUP.name)
_USER_SLICE = re.compile(r"/user\.slice/user-(\d{1,10})\.slice/")
_HEX = re.compile(r"[0-9a-f]{64}")


class ContainerFacts(Fact, frozen=True, kw_only=True):
    """All inputs of one workload: equal facts give an equal workload, so that it can be reused from the last pass.

    `top` is its own group, `home` the one that bounds it. `live` are its processes, empty where their number (`processes`) is not known.
    `first` is the confinement of its first process, `host` that of init. `outer`, `sets` and `bounds` come from the groups around it.
    """

    owner: cgroup.Owner
    top: cgroup.Group
    home: cgroup.Group
    processes: int | None
    live: tuple[proc_task.TaskGroup, ...]
    accounts: tuple[taskstats.Account | None, ...]
    engine: str | None
    container: docker_engine.Container | None
    bundle: oci.Bundle | None
    first: Confinement | None
    host: Confinement | None
    outer: cgroup.Owner | None
    sets: tuple[CpuSet | None, CpuSet | None]
    bounds: tuple[tuple[Limit | None, str | None], ...]
    detail: Detail


@dataclass(slots=True)
class ContainerCache:
    """For each group's owner, the facts of the last pass and the workload that was built from them."""

    workloads: dict[cgroup.Owner, tuple[ContainerFacts, Workload]] = field(default_factory=dict)


def containers(sample: Sample, cache: ContainerCache | None = None, taken: Collection[cgroup.Owner] = ()) -> tuple[Workload, ...]:
    """One workload for each group of a container or a jailed machine with a process in it, or in a group below it; one for each unit
    that something bounds. Those that are `taken` are other workloads': a machine's, that has the unit to itself.

    A desktop has two hundred services: those whose only limit is the number of tasks are left out. With the cache of the last pass, a
    workload whose facts are equal is returned as the same object, because most of a thousand containers are idle.
    """
    if sample.workloads.cgroups is None:
        return ()
    tree = tree_of(sample)
    previous = cache.workloads if cache else {}
    current: dict[cgroup.Owner, tuple[ContainerFacts, Workload]] = {}
    for facts in _facts(sample, tree, taken):
        cached = previous.get(facts.owner)
        # Unchanged groups are the same objects, so most of this comparison is of identities.
        current[facts.owner] = cached if cached is not None and cached[0] == facts else (facts, _workload(tree, facts))
    if cache is not None:
        cache.workloads = current
    return tuple([workload for _, workload in current.values()])


def _facts(sample: Sample, tree: Tree, taken: Collection[cgroup.Owner]) -> Iterator[ContainerFacts]:
    engines = {container.id: (engine.name, container) for engine in sample.workloads.engines or () for container in engine.containers}
    bundles = {(bundle.uid, bundle.id): bundle for bundle in sample.workloads.bundles or ()}
    tasks = {group.pid: group for group in sample.workloads.tasks or ()}
    confinements = sample.workloads.confinements or {}
    accounts = {account.pid: account for account in sample.workloads.accounts or ()}
    table = sample.workloads.processes
    members = members_by_owner(tree, None if table is None else {process.pid for process in table}, tasks.values())
    for owner in sorted(members.keys() - set(taken)):
        pids, are_all, is_empty = members[owner]
        top = tree.groups.get(owner.path)
        if is_empty or top is None:
            continue
        inner = limits_group(owner.runtime)
        home = tree.groups.get(f"{owner.path}/{inner}", top) if inner else top
        # Who starts jobs, and who points a group out, says that they are workloads.
        if owner.runtime == SYSTEMD.name and not cgroup.is_bounded_within(tree.groups, home.path):
            continue
        count = len(pids) if are_all else None
        # Sums over some of the processes would be wrong, so there are none.
        live = tuple([tasks[pid] for pid in pids if pid in tasks]) if count is not None else ()
        engine, container = engines.get(owner.id, (None, None))
        yield ContainerFacts(
            owner=owner,
            top=top,
            home=home,
            processes=count,
            live=live,
            accounts=tuple([accounts.get(process.pid) for process in live]),
            engine=engine,
            container=container,
            bundle=bundles.get((None, owner.id)) or bundles.get((_user_of(owner.path), owner.id)),
            first=confinements.get(pids[0]) if pids else None,
            host=confinements.get(1),
            outer=None if owner.runtime == SYSTEMD.name else container_around(tree, owner.path.rpartition("/")[0]),
            sets=cpuset_of(tree, home),
            bounds=(tightest(tree, home, "cpu"), tightest(tree, home, "memory"), tightest(tree, home, "pids")),
            detail=sample.detail,
        )


def _workload(tree: Tree, facts: ContainerFacts) -> Workload:
    owner, home, live, container, outer = facts.owner, facts.home, facts.live, facts.container, facts.outer
    threads = threads_of(live)
    is_machine = owner.paradigm == "virtualization"
    runners = vcpu_threads(threads) if is_machine else {}
    # The run time and delay of a machine are those of its vCPUs.
    working = tuple(runners[number] for number in sorted(runners)) if is_machine else threads
    engine = facts.engine or owner.runtime
    bundle = facts.bundle or oci.Bundle(id=owner.id, engine=engine)
    pod = cgroup.pod_of(owner.path)
    cpus, nodes = facts.sets
    io = home.pressure.get("io")
    return Workload(
        id=owner.path if owner.runtime in _KNOWN_BY_PATH else owner.id,
        identity=f"{owner.path}:{facts.top.inode}",
        paradigm=owner.paradigm,
        runtime=engine,
        name=(container.name if container else None) or bundle.name or _called(owner),
        execution_mode=MODES[owner.paradigm].execution,
        memory_mode=MODES[owner.paradigm].memory,
        isolation=isolation(facts.bundle.runtime if facts.bundle else None, engine),
        stack=NO_STACK,
        cpu=cpu_of(tree, home, working, () if is_machine else facts.accounts),
        memory=memory_of(tree, home, live),
        placement=Placement(
            allowed_cpus=cpus,
            allowed_nodes=nodes,
            last_cpus=cpus_of(working),
            memory_by_node=resident_by_node(tree, home),
        ),
        parent=outer.id if outer else None,
        state=container.state if container else None,
        image=(container.image if container else None) or bundle.image,
        cgroup=owner.path,
        pid=live[0].pid if live else None,
        processes=facts.processes,
        started_seconds=started(threads),
        pids=pids_of(tree, home),
        huge_pages=home.huge_pages,
        io_pressure_some_usec=io.some_usec if io else None,
        io_pressure_full_usec=io.full_usec if io else None,
        group=group_of(home),
        pod=replace(pod, name=bundle.pod_name, namespace=bundle.pod_namespace) if pod else None,
        labels=bundle.labels | (container.labels if container else {}),
        confinement=confinement(facts.first, facts.host),
        controls=tuple(controls_of(home, tree.controllers)) if facts.detail == "document" else (),
        vcpus=tuple(VCpu(number=number, last_cpu=runners[number].last_cpu, thread=runners[number]) for number in sorted(runners)),
        threads=tuple(thread for thread in threads if thread not in working) if is_machine else threads,
    )


def _user_of(path: str) -> int | None:
    """In whose slice a group is: of others' containers a user's files say nothing."""
    match = _USER_SLICE.match(path)
    return int(match[1]) if match else None


def _called(owner: cgroup.Owner) -> str:
    """What nobody named is called after its group; what is known by its path, as another has its id, by that id in full."""
    if owner.id == owner.path:
        _, id_ = owner_of_group(owner.path) or (None, owner.id)
        return id_
    return owner.id[:12] if _HEX.fullmatch(owner.id) else machine_name(owner.runtime, owner.id)


def confinement(first: Confinement | None, host: Confinement | None) -> Confinement | None:
    """The confinement of the first process, with the namespaces that it shares with init."""
    if first is None or not first.namespaces:
        return first
    shared = None
    if host is not None and host.namespaces:
        shared = tuple(kind for kind, inode in first.namespaces.items() if host.namespaces.get(kind) == inode)
    return replace(first, shared_with_host=shared)
