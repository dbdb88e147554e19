"""Which machines there are: the processes of monitors and the domains of libvirt, joined by the UUID that both state."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from msgspec.structs import replace

from agent.collect import targets
from agent.collect.sample import Sample
from agent.collect.workload_facts import WorkloadFacts
from agent.normalise.machine_threads import is_emulated, vcpu_threads
from agent.normalise.workloads import threads_of
from collectors import libvirt_domains, libvirt_stats, proc_fd, proc_task, processes


class DescribedDomain(NamedTuple):
    """What libvirt says of a machine, and what its monitor counted for it."""

    hypervisor: libvirt_domains.LibvirtHost
    definition: libvirt_domains.Domain
    stats: libvirt_stats.DomainStats | None


class JoinedMachine(NamedTuple):
    """One machine: its process by the kernel and its domain by libvirt, either of which may be missing.

    `numbers` are those of its vCPUs, where there is no domain to say it.
    """

    process: processes.Process | None
    tasks: proc_task.TaskGroup | None
    domain: DescribedDomain | None
    numbers: tuple[int, ...] = ()


def joined_machines(sample: Sample, table: dict[int, processes.Process], tasks: dict[int, proc_task.TaskGroup]) -> Iterator[JoinedMachine]:
    """Each machine once, though two URIs may lead to one daemon. Processes are joined with domains by UUID.

    A domain of an old answer has ended where its process is gone. Where a process here has the UUID of a domain elsewhere, it is what runs.
    """
    facts = sample.workloads
    pids = targets.machine_pids(table.values(), tasks.values())
    stats = {(domain.uuid, domain.id): domain for domain in facts.domain_stats or ()}
    joined: dict[str, int | None] = {}
    elsewhere: list[DescribedDomain] = []
    for hypervisor in sorted(facts.hypervisors or (), key=lambda hypervisor: hypervisor.seconds_ago):
        for definition in hypervisor.domains:
            pid = pids.get(definition.uuid)
            domain = DescribedDomain(hypervisor, definition, stats.get((definition.uuid, definition.id)))
            if not hypervisor.here:
                elsewhere.append(domain)
            elif definition.uuid not in joined and (pid is not None or not hypervisor.seconds_ago or facts.processes is None):
                joined[definition.uuid] = pid
                yield JoinedMachine(table.get(pid or 0), tasks.get(pid or 0), domain)
    alone = _without_domains(facts, table, tasks, pids, set(joined.values()))
    joined |= {machine.process.vm_uuid: None for machine in alone if machine.process and machine.process.vm_uuid}
    yield from alone
    for domain in elsewhere:
        if domain.definition.uuid not in joined:
            joined[domain.definition.uuid] = None
            yield JoinedMachine(None, None, domain)


def _without_domains(
    facts: WorkloadFacts,
    table: dict[int, processes.Process],
    tasks: dict[int, proc_task.TaskGroup],
    pids: dict[str, int],
    joined: Collection[int | None],
) -> list[JoinedMachine]:
    """Processes that run a machine of which libvirt says nothing. A UUID that another process has as well is not theirs."""
    shown = {monitor.pid: monitor for monitor in facts.monitors or ()}
    machines: list[JoinedMachine] = []
    for pid, uuid in targets.monitors(table.values()).items():
        group = tasks.get(pid)
        if pid in joined or group is None or start_ticks(group) is None:
            # Without a start time, a process and a later one with the same PID look alike.
            continue
        states_uuid = uuid is not None and pids.get(uuid) == pid
        numbers = _vcpu_numbers(group, states_uuid, shown.get(pid))
        if numbers is not None:
            machines.append(JoinedMachine(table[pid] if states_uuid else replace(table[pid], vm_uuid=None), group, None, numbers))
    return machines


def _vcpu_numbers(group: proc_task.TaskGroup, states_uuid: bool, shown: proc_fd.KvmProcess | None) -> tuple[int, ...] | None:
    """The vCPUs of a process: by its descriptors of KVM, else by the names of its threads. None: neither shows that it runs a machine.

    Threads that emulate vCPUs show it only of a process that states whose UUID it runs: other programs of QEMU's have such threads, too.
    """
    if shown is not None and shown.vcpus is not None:
        return shown.vcpus
    threads = vcpu_threads(threads_of([group]))
    numbers = sorted(number for number, thread in threads.items() if states_uuid or (shown is not None and not is_emulated(thread)))
    return tuple(numbers) or None


def start_ticks(group: proc_task.TaskGroup) -> int | None:
    """When the process started, which tells it from the next one of its pid; None where that is not known."""
    return next((thread.start_ticks for thread in group.tasks if thread.tid == group.pid), None)
