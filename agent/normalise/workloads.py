"""Virtual machines, containers and sandboxes, each joined from what the kernel, the engines and libvirt know of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import NamedTuple

from msgspec.structs import replace

from agent.model.values import CpuSet, Limit
from agent.model.workload import Control, Cpu, Guest, LinearMemory, Memory, Placement, Stack, Thread, VCpu, Workload
from agent.sample import Sample
from collectors import cgroup, libvirt_domains, proc_task

WASM_PAGE_BYTES = 1 << 16

_VCPU_THREAD = re.compile(r"CPU (\d{1,4})/(KVM|TCG)")

_EMPTY_STACK = Stack((), ())


class _Tree(NamedTuple):
    """The groups by path, and which version each controller is in."""

    groups: dict[str, cgroup.Group]
    controllers: dict[str, str]


def _tree(sample: Sample) -> _Tree:
    if sample.cgroups is None:
        return _Tree({}, {})
    return _Tree({group.path: group for group in sample.cgroups.groups}, sample.cgroups.controllers)


def containers(sample: Sample) -> tuple[Workload, ...]:
    """One workload for each container group with a process in it, or in a group below it."""
    tree = _tree(sample)
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
                cpu=_cpu(tree, home, threads),
                memory=_memory(tree, home, live),
                placement=Placement(*_cpuset(tree, home), last_cpus=_threads_cpus(threads)),
                parent=outer[1] if outer else None,
                state=known[1].state if known else None,
                image=known[1].image if known else None,
                cgroup=path,
                pid=live[0].pid if live else None,
                processes=len(pids) if None not in lists else None,
                started_seconds=_started(threads),
                controls=tuple(_controls(home, tree.controllers)),
                threads=threads,
            )
        )
    return tuple(found)


def machines(sample: Sample) -> tuple[Workload, ...]:
    """One workload for each running domain, its vCPUs joined with the threads that run them."""
    processes = {process.vm_uuid: process.pid for process in sample.table or () if process.vm_uuid}
    tasks = {group.pid: group for group in sample.tasks or ()}
    tree = _tree(sample)
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
                    cpu=_cpu(tree, home, whole),
                    memory=_guest_memory(sample, domain, tree, home, process),
                    placement=Placement(_union([vcpu.affinity for vcpu in vcpus]), last_cpus=_threads_cpus(whole)),
                    parent=owner[1] if owner else None,
                    state=domain.state,
                    cgroup=home.path if home else None,
                    pid=pid,
                    processes=1 if pid is not None else None,
                    started_seconds=_started(threads),
                    guest=_guest(domain),
                    controls=tuple(_controls(home, tree.controllers)) if home else (),
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
    tree = _tree(sample)
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
                cpu=_cpu(tree, home, threads, own_group=False),
                memory=replace(
                    _memory(tree, home, [live], own_group=False),
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


def _path(tree: _Tree, process: proc_task.TaskGroup) -> str | None:
    """The group of a process in the hierarchy that has the CPU controller."""
    return process.cgroups.get("cpu" if tree.controllers.get("cpu") == "v1" else "")


def _vm_group(tree: _Tree, process: proc_task.TaskGroup | None) -> cgroup.Group | None:
    """The machine's group: libvirt puts QEMU into an "emulator" child, on systemd hosts inside a "libvirt" one."""
    path = _path(tree, process) if process else None
    if path is None:
        return None
    for child in ("/emulator", "/libvirt"):
        path = path.removesuffix(child)
    return tree.groups.get(path)


def _tightest(tree: _Tree, home: cgroup.Group | None, controller: str) -> tuple[Limit | None, str | None]:
    """The smallest limit of a group and its ancestors, and whose it is: nobody's where none is set.

    None when one of them should state a limit and does not: the tightest of the rest may not be the tightest.
    """
    found, path = [], home.path if home else ""
    while path:
        group = tree.groups.get(path)
        limit = _limit(group, controller) if group else None
        if limit is not None:
            found.append((limit, path))
        elif path != "/" and _must_state(tree, group, controller):
            return None, None
        path = "" if path == "/" else path.rpartition("/")[0] or "/"
    if not found:
        return None, None
    limit, by = min(found, key=lambda entry: entry[0])
    return limit, None if limit.unlimited else by


def _limit(group: cgroup.Group, controller: str) -> Limit | None:
    """CPUs (quota by period) or bytes."""
    if controller == "memory":
        return group.memory.max_bytes if group.memory else None
    if group.cpu is None or group.cpu.quota_usec is None or not group.cpu.period_usec:
        return None
    return Limit(group.cpu.quota_usec / group.cpu.period_usec)


def _must_state(tree: _Tree, group: cgroup.Group | None, controller: str) -> bool:
    """On v2 a group states limits of the controllers that are enabled in it, on v1 every group does."""
    if tree.controllers.get(controller) == "v1":
        return True
    return group is None or group.controllers is None or controller in group.controllers


def _cpu(tree: _Tree, home: cgroup.Group | None, threads: tuple[Thread, ...], own_group: bool = True) -> Cpu:
    """`own_group`: the group is the workload's alone, so that its usage is the workload's, too."""
    runs = [thread.run_ns for thread in threads]
    delays = [thread.delay_ns for thread in threads]
    slices = [thread.timeslices for thread in threads]
    limit, by = _tightest(tree, home, "cpu")
    cpu = home.cpu if home and home.cpu and own_group else cgroup.Cpu()
    stall = home.pressure.get("cpu") if home and own_group else None
    return Cpu(
        cpu.quota_usec,
        cpu.period_usec,
        cpu.burst_usec,
        cpu.weight,
        cpu.shares,
        limit,
        by,
        cpu.usage_usec,
        cpu.user_usec,
        cpu.system_usec,
        cpu.periods,
        cpu.throttled_periods,
        cpu.throttled_usec,
        run_ns=_sum(runs),
        delay_ns=_sum(delays),
        timeslices=_sum(slices),
        pressure_some_usec=stall.some_usec if stall else None,
        pressure_full_usec=stall.full_usec if stall else None,
    )


def _memory(tree: _Tree, home: cgroup.Group | None, processes: Sequence[proc_task.TaskGroup], own_group: bool = True) -> Memory:
    limit, by = _tightest(tree, home, "memory")
    memory = home.memory if home and home.memory and own_group else cgroup.Memory()
    stall = home.pressure.get("memory") if home and own_group else None
    return Memory(
        memory.min_bytes,
        memory.low_bytes,
        memory.high_bytes,
        memory.max_bytes,
        memory.soft_limit_bytes,
        memory.swap_max_bytes,
        limit,
        by,
        memory.current_bytes,
        memory.peak_bytes,
        memory.swap_bytes,
        memory.kernel_bytes,
        # Pages that processes share are in the resident size of each: one process only is a sum.
        resident_bytes=processes[0].resident_bytes if len(processes) == 1 else None,
        page_table_bytes=_sum([process.page_table_bytes for process in processes]),
        anon_huge_bytes=_sum([process.anon_huge_bytes for process in processes]),
        pressure_some_usec=stall.some_usec if stall else None,
        pressure_full_usec=stall.full_usec if stall else None,
        oom_group=memory.oom_group,
        oom_kill_disable=memory.oom_kill_disable,
        under_oom=memory.under_oom,
        events=memory.events,
        stat=memory.stat,
    )


def _guest_memory(
    sample: Sample,
    domain: libvirt_domains.Domain,
    tree: _Tree,
    home: cgroup.Group | None,
    process: proc_task.TaskGroup | None,
) -> Memory:
    backing = next((guest for guest in sample.guests or () if process and guest.pid == process.pid), None)
    return replace(
        _memory(tree, home, [process] if process else []),
        allotted_bytes=domain.memory_bytes,
        allotted_max_bytes=domain.max_memory_bytes,
        backing_bytes=backing.resident_bytes if backing else None,
        backing_huge_bytes=backing.huge_bytes if backing else None,
    )


def _cpuset(tree: _Tree, home: cgroup.Group) -> tuple[CpuSet | None, CpuSet | None]:
    """CPUs and nodes that a group may use: its own cpuset's, or on v2 that of the nearest ancestor which has one."""
    group: cgroup.Group | None = home
    while group is not None:
        if group.cpuset is not None:
            # Kernels before 3.17 have no effective sets on v1: what is configured is in force.
            return group.cpuset.cpus_effective or group.cpuset.cpus, group.cpuset.mems_effective or group.cpuset.mems
        if group.path == "/" or _must_state(tree, group, "cpuset"):
            break
        group = tree.groups.get(group.path.rpartition("/")[0] or "/")
    return None, None


def _threads_cpus(threads: Sequence[Thread | VCpu]) -> CpuSet | None:
    """Where they last ran; None when one of them does not say."""
    last = [thread.last_cpu for thread in threads]
    return CpuSet(cpu for cpu in last if cpu is not None) if last and None not in last else None


def _union(sets: Sequence[CpuSet | None]) -> CpuSet | None:
    """None when one of them is not known: the rest may be less than all."""
    known = [cpus for cpus in sets if cpus is not None]
    return reduce(CpuSet.__or__, known) if known and len(known) == len(sets) else None


def _controls(home: cgroup.Group, controllers: dict[str, str]) -> Iterable[Control]:
    """The controls of both versions beside each other. A pair that differs in meaning shows the one that was read only."""
    cpu, memory, cpuset = home.cpu or cgroup.Cpu(), home.memory or cgroup.Memory(), home.cpuset or cgroup.Cpuset()
    rows: tuple[tuple[str, str, str | None, str | None, Limit | int | CpuSet | bool | None, str], ...] = (
        ("cpu", "quota", "cpu.cfs_quota_us", "cpu.max", cpu.quota_usec, "usec"),
        ("cpu", "period", "cpu.cfs_period_us", "cpu.max", cpu.period_usec, "usec"),
        ("cpu", "burst", "cpu.cfs_burst_us", "cpu.max.burst", cpu.burst_usec, "usec"),
        ("cpu", "share", "cpu.shares", "cpu.weight", cpu.shares if cpu.shares is not None else cpu.weight, "weight"),
        ("cpuset", "CPUs", "cpuset.cpus", "cpuset.cpus", cpuset.cpus, "cpus"),
        ("cpuset", "nodes", "cpuset.mems", "cpuset.mems", cpuset.mems, "nodes"),
        ("memory", "hard limit", "memory.limit_in_bytes", "memory.max", memory.max_bytes, "bytes"),
        ("memory", "soft limit", "memory.soft_limit_in_bytes", None, memory.soft_limit_bytes, "bytes"),
        ("memory", "protection", None, "memory.low", memory.low_bytes, "bytes"),
        ("memory", "throttle limit", None, "memory.high", memory.high_bytes, "bytes"),
        ("memory", "OOM killer off", "memory.oom_control", None, memory.oom_kill_disable, "flag"),
        ("memory", "OOM kills the whole group", None, "memory.oom.group", memory.oom_group, "flag"),
        ("memory", "usage", "memory.usage_in_bytes", "memory.current", memory.current_bytes, "bytes"),
    )
    for controller, name, v1, v2, value, unit in rows:
        file = v1 if controllers.get(controller) == "v1" else v2
        if value is not None and file is not None:
            yield Control(name, v1, v2, file, _plain(value), unit)


def _plain(value: Limit | int | CpuSet | bool) -> int | str | bool:
    if isinstance(value, Limit):
        return "max" if value.unlimited else int(value)
    return str(value) if isinstance(value, CpuSet) else value


def _started(threads: tuple[Thread, ...]) -> float | None:
    starts = [thread.start_ticks for thread in threads]
    known = [ticks for ticks in starts if ticks is not None]
    return min(known) / proc_task.USER_HZ if known and len(known) == len(starts) else None


def _sum(values: Sequence[int | None]) -> int | None:
    """None when a part of it is not known: a smaller sum would be a wrong one."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None
