"""Virtual machines, containers and sandboxes, each joined from what the kernel, the engines and libvirt know of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import reduce

from msgspec.structs import replace

from agent.model.values import CpuSet
from agent.model.workload import Guest, LinearMemory, Memory, Placement, Stack, Thread, VCpu, Workload
from agent.normalise.groups import Tree, controls_of, cpu_of, cpuset_of, memory_of, tree_of
from agent.sample import Sample
from collectors import cgroup, libvirt_domains, proc_task

WASM_PAGE_BYTES = 1 << 16

_VCPU_THREAD = re.compile(r"CPU (\d{1,4})/(KVM|TCG)")

_EMPTY_STACK = Stack((), ())


def containers(sample: Sample) -> tuple[Workload, ...]:
    """One workload for each container group with a process in it, or in a group below it."""
    tree = tree_of(sample)
    groups = tree.groups
    names = {container.id: (engine.name, container) for engine in sample.engines or () for container in engine.containers}
    tasks = {group.pid: group for group in sample.tasks or ()}
    members: dict[tuple[str, str, str], list[tuple[int, ...] | None]] = {}
    for path, group in groups.items():
        owner = cgroup.whose(path)
        if owner is not None:
            members.setdefault(owner, []).append(group.processes)
    found = []
    for (engine, id_, path), lists in sorted(members.items()):
        pids = {pid for processes in lists for pid in processes or ()}
        known_empty = not pids and None not in lists
        if known_empty or path not in groups:
            continue
        # Podman on v2 sets its limits on a "container" group inside the scope.
        home = groups.get(f"{path}/container", groups[path])
        known = names.get(id_)
        live = [tasks[pid] for pid in sorted(pids) if pid in tasks]
        outer = cgroup.whose(path.rpartition("/")[0])
        threads = _threads(live)
        found.append(
            Workload(
                id=id_,
                identity=f"{path}:{groups[path].inode}",
                paradigm="containerization",
                runtime=known[0] if known else engine,
                name=(known[1].name if known else None) or id_[:12],
                execution_mode="single-level",
                memory_mode="shared-kernel",
                isolation="namespaces and cgroup",
                stack=_EMPTY_STACK,
                cpu=cpu_of(tree, home, threads),
                memory=memory_of(tree, home, live),
                placement=Placement(*cpuset_of(tree, home), last_cpus=_threads_cpus(threads)),
                parent=outer[1] if outer else None,
                state=known[1].state if known else None,
                image=known[1].image if known else None,
                cgroup=path,
                pid=live[0].pid if live else None,
                processes=len(pids) if None not in lists else None,
                started_seconds=_started(threads),
                controls=tuple(controls_of(home, tree.controllers)),
                threads=threads,
            )
        )
    return tuple(found)


def machines(sample: Sample) -> tuple[Workload, ...]:
    """One workload for each running domain, its vCPUs joined with the threads that run them."""
    processes = {process.vm_uuid: process.pid for process in sample.table or () if process.vm_uuid}
    tasks = {group.pid: group for group in sample.tasks or ()}
    tree = tree_of(sample)
    online = sample.cpus.online if sample.cpus else None
    found = []
    for hypervisor in sample.hypervisors or ():
        for domain in hypervisor.domains:
            pid = processes.get(domain.uuid)
            process = tasks.get(pid) if pid is not None else None
            home = _vm_group(tree, process)
            threads = _threads([process] if process else [])
            vcpus = tuple(_vcpus(domain, threads, online))
            running = tuple(vcpu.thread for vcpu in vcpus if vcpu.thread)
            # One vCPU's thread not known: what the others did is not what the machine did.
            whole = running if len(running) == len(vcpus) else ()
            owner = cgroup.whose(home.path) if home else None
            found.append(
                Workload(
                    id=domain.uuid,
                    identity=f"{domain.uuid}:{domain.id}",
                    paradigm="virtualization",
                    runtime=domain.definition.type or hypervisor.uri.partition(":")[0],
                    name=domain.name,
                    execution_mode="two-level",
                    memory_mode="independent-physical",
                    isolation="hardware virtualization" if domain.definition.type == "kvm" else "emulation",
                    stack=_EMPTY_STACK,
                    # A machine's run time and delay are its vCPUs': what its emulator threads wait is not the guest's.
                    cpu=cpu_of(tree, home, whole),
                    memory=_guest_memory(sample, domain, tree, home, process),
                    placement=Placement(_union([vcpu.affinity for vcpu in vcpus]), last_cpus=_threads_cpus(whole)),
                    parent=owner[1] if owner else None,
                    state=domain.state,
                    cgroup=home.path if home else None,
                    pid=pid,
                    processes=1 if pid is not None else None,
                    started_seconds=_started(threads),
                    guest=_guest(domain),
                    controls=tuple(controls_of(home, tree.controllers)) if home else (),
                    vcpus=vcpus,
                    # A thread without a name may be a vCPU's.
                    threads=tuple(thread for thread in threads if thread not in running and thread.name is not None),
                )
            )
    return tuple(found)


def sandboxed(sample: Sample) -> tuple[Workload, ...]:
    """One workload for each process that holds linear memories."""
    tasks = {group.pid: group for group in sample.tasks or ()}
    names = {process.pid: process.name for process in sample.table or ()}
    tree = tree_of(sample)
    found = []
    for process in sample.sandboxes or ():
        live = tasks.get(process.pid)
        if live is None or not process.memories:
            continue
        threads = _threads([live])
        home = tree.groups.get(_path(tree, live) or "")
        owner = cgroup.whose(home.path) if home else None
        started = next((thread.start_ticks for thread in threads if thread.tid == process.pid), None)
        if started is None:
            # Without its start a process cannot be told from the next one of its number.
            continue
        memories = tuple(
            LinearMemory(
                f"{memory.base:#x}",
                memory.size_bytes,
                memory.size_bytes // WASM_PAGE_BYTES,
                memory.reserved_bytes,
                memory.layout,
                memory.confidence,
                memory.resident_bytes,
                memory.resident_by_node or {},
            )
            for memory in process.memories
        )
        by_node: dict[int, int] = {}
        for memory in memories:
            for node, size in memory.resident_by_node.items():
                by_node[node] = by_node.get(node, 0) + size
        resident = [memory.resident_bytes for memory in memories]
        found.append(
            Workload(
                id=f"{process.runtime}/{process.pid}/{started}",
                identity=f"{process.pid}:{started}",
                paradigm="sandbox",
                runtime=process.runtime,
                name=names.get(process.pid, str(process.pid)),
                execution_mode="application-level",
                memory_mode="linear",
                isolation="bounds-checked linear memory",
                stack=_EMPTY_STACK,
                cpu=cpu_of(tree, home, threads, own_group=False),
                memory=replace(
                    memory_of(tree, home, [live], own_group=False),
                    allotted_bytes=sum(memory.size_bytes for memory in memories),
                    backing_bytes=None if None in resident else sum(size for size in resident if size is not None),
                ),
                placement=Placement(
                    _union([thread.allowed_cpus for thread in threads]), last_cpus=_threads_cpus(threads), memory_by_node=by_node
                ),
                parent=owner[1] if owner else None,
                cgroup=home.path if home else None,
                pid=process.pid,
                processes=1,
                started_seconds=_started(threads),
                threads=threads,
                memories=memories,
            )
        )
    return tuple(found)


def _threads(processes: Sequence[proc_task.TaskGroup]) -> tuple[Thread, ...]:
    return tuple(
        Thread(
            task.tid,
            task.name,
            task.start_ticks,
            task.state,
            task.last_cpu,
            task.allowed_cpus,
            task.run_ns,
            task.delay_ns,
            task.timeslices,
            task.voluntary_switches,
            task.involuntary_switches,
        )
        for process in processes
        for task in process.tasks
    )


def _vcpus(domain: libvirt_domains.Domain, threads: tuple[Thread, ...], online: CpuSet | None) -> Iterable[VCpu]:
    """QEMU names the thread of a vCPU "CPU n/KVM" or "CPU n/TCG" (-name debug-threads=on, which libvirt sets)."""
    runners = {int(match[1]): thread for thread in threads if (match := _VCPU_THREAD.fullmatch(thread.name or ""))}
    for vcpu in domain.vcpus:
        pinned = None if vcpu.affinity is None or online is None else not online <= vcpu.affinity
        yield VCpu(vcpu.number, vcpu.state, vcpu.time_ns, vcpu.last_cpu, vcpu.affinity, pinned, runners.get(vcpu.number))


def _guest(domain: libvirt_domains.Domain) -> Guest:
    known = domain.definition
    return Guest(
        known.machine,
        known.type,
        known.cpu_mode,
        known.sockets,
        known.dies,
        known.cores,
        known.threads,
        known.numa_cells,
        known.numatune_mode,
        known.numatune_nodes,
        domain.max_vcpus,
        domain.emulator_affinity,
        known.hugepages,
        known.iothreads,
        known.video_bytes,
    )


def _path(tree: Tree, process: proc_task.TaskGroup) -> str | None:
    """The group of a process in the hierarchy that has the CPU controller."""
    return process.cgroups.get("cpu" if tree.controllers.get("cpu") == "v1" else "")


def _vm_group(tree: Tree, process: proc_task.TaskGroup | None) -> cgroup.Group | None:
    """The machine's group: libvirt puts QEMU into an "emulator" child, on systemd hosts inside a "libvirt" one."""
    path = _path(tree, process) if process else None
    if path is None:
        return None
    for child in ("/emulator", "/libvirt"):
        path = path.removesuffix(child)
    return tree.groups.get(path)


def _guest_memory(
    sample: Sample,
    domain: libvirt_domains.Domain,
    tree: Tree,
    home: cgroup.Group | None,
    process: proc_task.TaskGroup | None,
) -> Memory:
    backing = next((guest for guest in sample.guests or () if process and guest.pid == process.pid), None)
    return replace(
        memory_of(tree, home, [process] if process else []),
        allotted_bytes=domain.memory_bytes,
        allotted_max_bytes=domain.max_memory_bytes,
        backing_bytes=backing.resident_bytes if backing else None,
        backing_huge_bytes=backing.huge_bytes if backing else None,
    )


def _threads_cpus(threads: Sequence[Thread | VCpu]) -> CpuSet | None:
    """Where they last ran; None when one of them does not say."""
    last = [thread.last_cpu for thread in threads]
    return CpuSet(cpu for cpu in last if cpu is not None) if last and None not in last else None


def _union(sets: Sequence[CpuSet | None]) -> CpuSet | None:
    """None when one of them is not known: the rest may be less than all."""
    known = [cpus for cpus in sets if cpus is not None]
    return reduce(CpuSet.__or__, known) if known and len(known) == len(sets) else None


def _started(threads: tuple[Thread, ...]) -> float | None:
    starts = [thread.start_ticks for thread in threads]
    known = [ticks for ticks in starts if ticks is not None]
    return min(known) / proc_task.USER_HZ if known and len(known) == len(starts) else None
