"""What the kubelet gave to the containers of pods, beside what they have: exclusive CPUs, and nodes of memory.

Whoever is in no pod may run on exclusive CPUs (Kubernetes' documentation of CPU management policies). Of these, only those count that can
run nowhere else, and containers, machines and sandboxes that are running there now. A rule that lacks a figure yields no finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from agent.model.facts.kubelet_checkpoints import CpuManager, KubeletCheckpoints, MemoryManager
from agent.model.facts.proc_task import Thread
from agent.model.finding import Finding
from agent.model.physical import Physical
from agent.model.remedies import bind_cpus, bind_nodes
from agent.model.runtimes import SYSTEMD
from agent.model.values import CpuSet, all_or_none, safe
from agent.model.workload import Workload
from collectors import cgroup

OUTSIDE_RATIO = 0.1
"""The least share of a container's memory on other nodes than it was given that is reported."""
OUTSIDE_BYTES = 4 << 20
"""The least size of that: of a small container it is what its runtime touched before it started."""
_SHOWN = 4
_BOUND_AT_ONCE = 32
_NONE_FREE = "give it CPUs of its own: none is left that the kubelet gave to nobody"


class _Holder(NamedTuple):
    """A container that runs, and the CPUs that it was given: alone, or with the others of its pod."""

    workload: Workload
    cpus: CpuSet
    is_alone: bool


def kubelet_findings(
    checkpoints: KubeletCheckpoints | None, workloads: Sequence[Workload], hardware: Physical, version: str | None
) -> tuple[Finding, ...]:
    """Where what the kubelet gave is not what containers have. `version`: of control groups, for remedies."""
    if checkpoints is None:
        return ()
    in_pods = [(workload, name) for workload in workloads if (name := _container_name(workload))]
    manager, online = checkpoints.cpu, hardware.cpus.online
    findings: list[Finding] = []
    if manager is not None and online:
        holders = _holders(manager, in_pods, online)
        free = (manager.shared_cpus or online) & online - CpuSet.union(grant.cpus for grant in manager.grants)
        findings += [finding for holder in holders for finding in _missing(holder, online, version)]
        findings += _shared(holders, workloads, online, free, version)
    if checkpoints.memory is not None:
        findings += _memory(checkpoints.memory, in_pods, version)
    return tuple(findings)


def _container_name(workload: Workload) -> str | None:
    """What a container is called in its pod; None of what is in no pod, of one without a name, and of the pod's own (pause)."""
    if workload.pod is None or workload.paradigm != "containerization":
        return None
    # cri-dockerd's: k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT.
    name = workload.name.split("_")[1] if workload.name.startswith("k8s_") else workload.name
    return None if name == "POD" or workload.id.startswith(name) else name


def _holders(manager: CpuManager, in_pods: Sequence[tuple[Workload, str]], online: CpuSet) -> list[_Holder]:
    """The containers with CPUs of their own; those of a pod with CPUs that have none share the pod's."""
    granted = {(grant.pod_uid, grant.container): grant.cpus & online for grant in manager.grants}
    holders = []
    for workload, name in in_pods:
        pod = _pod_of(workload)
        # Kubernetes before 1.18 lists containers by their ids.
        own = granted.get((pod, name)) or granted.get((None, workload.id))
        cpus = own or granted.get((pod, None))
        if cpus:
            holders.append(_Holder(workload, cpus, own is not None))
    return holders


def _missing(holder: _Holder, online: CpuSet, version: str | None) -> Iterator[Finding]:
    """Threads that may run elsewhere, and CPUs that no thread may use. To use some of them is the choice of each thread."""
    workload, granted = holder.workload, holder.cpus
    group = workload.placement.allowed_cpus
    away = [thread for thread in workload.threads if thread.allowed_cpus and not thread.allowed_cpus & online <= granted]
    sets = all_or_none(thread.allowed_cpus for thread in workload.threads)
    usable = group if sets is None else CpuSet.union(sets)
    unused = granted - usable if usable and holder.is_alone else CpuSet()
    if not away and not unused:
        return
    parts = [f"{_count(away)} of it may run on others"] if away else []
    parts += [f"none of its threads may run on {unused}"] if unused else []
    evidence = [f"cpu_manager_state: {granted}", *([f"its group: {group}"] if group is not None else [])]
    evidence += _each([f"{_thread(thread)} on {thread.allowed_cpus}" for thread in away or workload.threads if thread.allowed_cpus])
    yield Finding.of(
        kind="exclusive_cpus_missing",
        workload=workload.id,
        text=f"the kubelet gave it CPUs {granted}, and {' and '.join(parts)}",
        evidence="; ".join(evidence),
        remedy=_bind(workload, away or workload.threads, granted) if group == granted else bind_cpus(workload, granted, version),
    )


def _bind(workload: Workload, threads: Sequence[Thread], cpus: CpuSet) -> str:
    """The command that binds threads where the group is as it should be."""
    if len(threads) == 1:
        return f"taskset -pc {cpus} {threads[0].tid}"
    if workload.processes == 1 and workload.pid is not None:
        return f"taskset -apc {cpus} {workload.pid}"
    return f"for tid in {' '.join(str(thread.tid) for thread in threads[:_BOUND_AT_ONCE])}; do taskset -pc {cpus} $tid; done"


def _shared(
    holders: Sequence[_Holder], workloads: Sequence[Workload], online: CpuSet, free: CpuSet, version: str | None
) -> Iterator[Finding]:
    """Workloads of other pods, and of none, on CPUs that a container was given. `free` are those that nobody was given."""
    exclusive = CpuSet.union(holder.cpus for holder in holders)
    own = {holder.workload.id: holder.cpus for holder in holders}
    intruders = [
        (workload, cpus - own.get(workload.id, CpuSet())) for workload in workloads if (cpus := _used(workload, exclusive, online))
    ]
    intruders = [(workload, cpus) for workload, cpus in intruders if cpus]
    for holder in holders:
        pod = _pod_of(holder.workload)
        others = [(workload, cpus & holder.cpus) for workload, cpus in intruders if cpus & holder.cpus and _pod_of(workload) != pod]
        if not others:
            continue
        first = others[0][0]
        yield Finding.of(
            kind="exclusive_cpus_shared",
            workload=holder.workload.id,
            text=f"{', '.join(_each(safe(workload.name) for workload, _ in others))} may run on CPUs that the kubelet gave it alone",
            evidence="; ".join(
                [f"cpu_manager_state: {holder.cpus}", *_each(f"{safe(workload.name)} on {cpus}" for workload, cpus in others)]
            ),
            remedy=bind_cpus(first, cpus, version) if (cpus := own.get(first.id) or free) else _NONE_FREE,
        )


def _used(workload: Workload, exclusive: CpuSet, online: CpuSet) -> CpuSet:
    """The exclusive CPUs that a workload's threads may use, its own among them; of those in no pod only what they do use."""
    if workload.guest is not None and workload.guest.elsewhere:
        return CpuSet()
    threads = (*workload.threads, *(vcpu.thread for vcpu in workload.vcpus if vcpu.thread))
    allowed = [thread.allowed_cpus & online for thread in threads if thread.allowed_cpus]
    if _container_name(workload) is not None:
        return CpuSet.union(allowed) & exclusive
    # What is within another workload is that one's; who a container without a name is, and the pod's own, nobody knows.
    if _pod_of(workload) is not None or workload.parent is not None or workload.cgroup is None:
        return CpuSet()
    used = CpuSet.union(cpus for cpus in allowed if cpus <= exclusive)
    if workload.runtime != SYSTEMD.name:
        used |= CpuSet(thread.last_cpu for thread in threads if thread.state == "R" and thread.last_cpu is not None) & exclusive
    return used


def _pod_of(workload: Workload) -> str | None:
    pod = workload.pod or (cgroup.pod_of(workload.cgroup) if workload.cgroup else None)
    return pod.uid if pod else None


def _memory(manager: MemoryManager, in_pods: Sequence[tuple[Workload, str]], version: str | None) -> Iterator[Finding]:
    """Memory on other nodes than the kubelet gave."""
    granted = {(grant.pod_uid, grant.container): grant.nodes for grant in manager.grants}
    for workload, name in in_pods:
        pod = _pod_of(workload) or ""
        nodes = granted.get((pod, name)) or granted.get((pod, None))
        by_node = workload.placement.memory_by_node
        total = sum(by_node.values())
        if not nodes or not total:
            continue
        outside = sum(size for node, size in by_node.items() if node not in nodes)
        if outside < OUTSIDE_BYTES or outside / total < OUTSIDE_RATIO:
            continue
        where = ", ".join(f"node {node}: {size >> 20} MiB" for node, size in sorted(by_node.items()))
        allowed = workload.placement.allowed_nodes
        yield Finding.of(
            kind="numa_affinity_missed",
            workload=workload.id,
            text=f"{outside / total:.0%} of its memory lies on other nodes than the {nodes} that the kubelet gave it",
            evidence=f"memory_manager_state: {nodes}; {where}" + (f"; nodes allowed {allowed}" if allowed else ""),
            remedy=_move(workload, CpuSet(by_node) - nodes, nodes, version),
        )


def _move(workload: Workload, outside: CpuSet, nodes: CpuSet, version: str | None) -> str:
    migrate = f"migratepages {workload.pid} {outside} {nodes}" if workload.pid else "start it again"
    allowed = workload.placement.allowed_nodes
    return migrate if allowed and allowed <= nodes else f"{bind_nodes(workload, nodes, version)}; {migrate}"


def _count(threads: Sequence[Thread]) -> str:
    return "1 thread" if len(threads) == 1 else f"{len(threads)} threads"


def _thread(thread: Thread) -> str:
    return f"thread {thread.tid} ({safe(thread.name)})" if thread.name else f"thread {thread.tid}"


def _each(texts: Iterable[str]) -> list[str]:
    listed = list(texts)
    return listed[:_SHOWN] + ([f"{len(listed) - _SHOWN} more"] if len(listed) > _SHOWN else [])
