"""Whom to ask about: pure functions from what a pass has read so far to the processes, machines and CPUs that the next readers take."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from agent.model.facts.proc_interrupts import Interrupt
from agent.model.runtimes import LIBVIRT, VIRTUAL_MACHINE, is_monitor, isolation, vcpu_number
from agent.model.values import CpuSet
from collectors import (
    cgroup,
    libvirt_domains,
    oci,
    proc_schedstat,
    proc_task,
    processes,
    qemu,
    wasm_maps,
)
from collectors.text import ProcessStat

_KTHREADD = 2
"""The pid of the parent of all kernel threads."""


def user_processes(table: Iterable[processes.Process]) -> dict[int, float]:
    """Start times by pid, without kernel threads: those have no memory map."""
    return {process.pid: process.started_at for process in table if _KTHREADD not in (process.pid, process.parent_pid)}


def first_threads(table: Iterable[processes.Process]) -> dict[int, ProcessStat]:
    """What the process table said of each process's first thread."""
    return {process.pid: process.stat for process in table if process.stat}


def machine_pids(table: Iterable[processes.Process], tasks: Iterable[proc_task.TaskGroup] = ()) -> dict[str, int]:
    """The pid of each process that runs a machine, by the UUID that it states.

    Anybody may state anybody's: of several processes it is the one in libvirt's groups, else the oldest.
    """
    claims: dict[str, list[processes.Process]] = {}
    for process in table:
        if process.vm_uuid:
            claims.setdefault(process.vm_uuid, []).append(process)
    if all(len(claimants) == 1 for claimants in claims.values()):
        return {uuid: process.pid for uuid, (process,) in claims.items()}
    in_libvirt = {group.pid for group in tasks if any(_is_libvirts(path) for path in group.cgroups.values())}
    return {
        uuid: min(claimants, key=lambda process: (process.pid not in in_libvirt, process.started_at, process.pid)).pid
        for uuid, claimants in claims.items()
    }


def _is_libvirts(path: str) -> bool:
    owner = cgroup.whose(path)
    return owner is not None and owner.runtime == LIBVIRT.name


def monitors(table: Iterable[processes.Process]) -> dict[int, str | None]:
    """The UUIDs of processes that may run a machine, by pid; None where the command line names none."""
    return {process.pid: process.vm_uuid or None for process in table if is_monitor(process.name)}


def kernel_threads(table: Iterable[processes.Process]) -> set[int]:
    """Kernel threads that work for one process."""
    return {process.pid for process in table if processes.served(process)}


def members(groups: Iterable[cgroup.Group]) -> set[int]:
    """Every process of the groups that somebody owns."""
    return {pid for group in groups if group.owner for pid in group.processes or ()}


def container_members(groups: Iterable[cgroup.Group]) -> set[int]:
    """Every process of a container."""
    return {pid for group in groups if group.owner and group.owner.paradigm == "containerization" for pid in group.processes or ()}


def has_pods(groups: Iterable[cgroup.Group]) -> bool:
    """Whether there are pods: the kubelet's groups are below one of this name, whatever is around it."""
    return any("kubepods" in group.path for group in groups)


def leaders(groups: Iterable[cgroup.Group]) -> set[int]:
    """The oldest process of each group by its pid: the one that was confined first."""
    return {min(group.processes) for group in groups if group.owner and group.processes}


def owners_by_group(bundles: Iterable[oci.Bundle]) -> dict[str, tuple[str, str]]:
    """Engine and container id by the path of the control group, as the OCI runtimes keep them; root's word goes before a user's."""
    return {bundle.cgroup: (bundle.engine, bundle.id) for bundle in sorted(bundles, key=_is_root_s) if bundle.cgroup}


def _is_root_s(bundle: oci.Bundle) -> bool:
    return bundle.uid is None


def without_group(bundles: Iterable[oci.Bundle], groups: Iterable[cgroup.Group]) -> list[oci.Bundle]:
    """Containers that are kept and have no control group here. In a virtual machine of its own none has one."""
    paths, ids = set(), set()
    for group in groups:
        paths.add(group.path)
        if group.owner is not None:
            ids.add(group.owner.id)
    return [
        bundle
        for bundle in bundles
        if bundle.id not in ids and bundle.cgroup not in paths and isolation(bundle.runtime, bundle.engine) != VIRTUAL_MACHINE
    ]


def runtimes(sandboxes: Iterable[wasm_maps.WasmProcess]) -> list[wasm_maps.WasmProcess]:
    """The processes that hold linear memories."""
    return [process for process in sandboxes if process.memories]


def statement_tables(hosts: Iterable[wasm_maps.WasmProcess]) -> dict[int, str]:
    """Where each of these processes has mapped the table of its embedder, by pid."""
    return {process.pid: process.table for process in hosts if process.table}


def stack_threads(hosts: Iterable[wasm_maps.WasmProcess], tasks: Iterable[proc_task.TaskGroup]) -> dict[int, list[int]]:
    """The threads, by pid, of those of these processes whose stacks are known."""
    with_stacks = {process.pid for process in hosts if process.stacks}
    return {group.pid: [task.tid for task in group.tasks] for group in tasks if group.pid in with_stacks}


def stopped_machines(machines: Mapping[str, int], tasks: Iterable[proc_task.TaskGroup]) -> set[str]:
    """UUIDs of machines whose process does not run, whoever waits for its answer: a signal or a debugger holds it."""
    stopped = {group.pid for group in tasks for task in group.tasks if task.tid == group.pid and task.state in ("T", "t")}
    return {uuid for uuid, pid in machines.items() if pid in stopped}


def unmanaged_monitors(
    candidates: Mapping[int, str | None], hypervisors: Iterable[libvirt_domains.LibvirtHost], machines: Mapping[str, int]
) -> list[int]:
    """Processes among the candidates that may run a machine, and of which libvirt says nothing: it does not know them, or is silent."""
    managed = {machines.get(domain.uuid) for hypervisor in hypervisors if hypervisor.here for domain in hypervisor.domains}
    return [pid for pid in candidates if pid not in managed]


def shown_by_threads(candidates: Iterable[int], machines: Mapping[str, int], tasks: Iterable[proc_task.TaskGroup]) -> set[int]:
    """Processes among the candidates that state whose machine they run, and whose threads are named after its vCPUs."""
    stating = set(machines.values()) & set(candidates)
    return {group.pid for group in tasks if group.pid in stating and any(vcpu_number(task.name) is not None for task in group.tasks)}


def guests(
    hypervisors: Iterable[libvirt_domains.LibvirtHost],
    machines: Mapping[str, int],
    tasks: Collection[proc_task.TaskGroup],
    walked: Iterable[qemu.MachineKey] = (),
) -> list[qemu.GuestProcess]:
    """The processes of machines whose memory has a known size, and what of each is resident.

    The size is libvirt's word. Without it, it is the one with which the same process was `walked` last.
    """
    resident = {group.pid: group.resident_bytes for group in tasks}
    started = {group.pid: task.start_ticks for group in tasks for task in group.tasks if task.tid == group.pid}
    sizes = {pid: cells for pid, start_ticks, cells in walked if started.get(pid) == start_ticks} | {
        pid: _memory_sizes(domain) or (domain.max_memory_bytes,)
        for hypervisor in hypervisors
        for domain in hypervisor.domains
        if hypervisor.here and (pid := machines.get(domain.uuid)) is not None and domain.max_memory_bytes
    }
    running = set(machines.values())
    return [
        qemu.GuestProcess(pid, started.get(pid), cells, resident_bytes)
        for pid, cells in sizes.items()
        if pid in running and (resident_bytes := resident.get(pid))
    ]


def _memory_sizes(domain: libvirt_domains.Domain) -> tuple[int, ...]:
    """One size a cell: QEMU maps the memory of each by itself."""
    return tuple(cell.memory_bytes for cell in domain.definition.cells if cell.memory_bytes)


def interrupt_numbers(lines: Sequence[Interrupt]) -> list[int]:
    """The numbered interrupts among the lines of /proc/interrupts; others are the CPUs' own."""
    return [int(line.name) for line in lines if line.is_irq]


def domain_representatives(chains: Iterable[proc_schedstat.Chain]) -> CpuSet:
    """One CPU of each set of CPUs that have all scheduling domains in common."""
    return CpuSet(next(iter(chain.cpus)) for chain in chains if chain.domains)
