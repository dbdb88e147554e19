"""Sample -> Host: the only place where two sources meet."""

from __future__ import annotations

from msgspec.structs import replace

from agent.collect.sample import Sample
from agent.model.device import CpuDevices, Devices, MemoryDevices, RuntimeProcesses
from agent.model.host import CgroupVersion, Host, Identity
from agent.model.physical import Physical
from agent.model.values import number_or_none
from agent.model.workload import Workload
from agent.normalise.containers import ContainerCache, containers
from agent.normalise.contradictions import MOST
from agent.normalise.findings import findings
from agent.normalise.kernel import logical, virtualization
from agent.normalise.kubelet import kubelet_findings
from agent.normalise.machine import physical
from agent.normalise.overcommit import memory_overcommits, overcommits
from agent.normalise.placement import placed, stacked
from agent.normalise.plausible import plausible
from agent.normalise.views import in_packages, of_tasks
from agent.normalise.virtual_machines import machines
from agent.normalise.workloads import sandboxed
from collectors import cgroup


def normalise(sample: Sample, cache: ContainerCache | None = None) -> Host:
    """Joins the facts of one pass into a host. `cache` holds the workloads of the last pass: it saves time and never changes the result."""
    sample, impossible = plausible(sample)
    hardware = physical(sample)
    kernel = logical(sample, hardware)
    virtual = machines(sample)
    joined = (*containers(sample, cache, virtual.owners), *virtual.workloads, *sandboxed(sample))
    workloads = placed(joined, hardware, kernel, _all_workloads(sample, joined), _all_caches(sample))
    if beyond := tuple(of_tasks(workloads, hardware.cpus.online)):
        hardware = replace(hardware, contradictions=(*hardware.contradictions, *beyond)[:MOST])
    if sample.detail == "document":
        workloads = stacked(workloads, hardware, kernel)
    identity = _identity(sample)
    all_findings = (
        *findings(workloads, hardware, kernel, identity),
        *kubelet_findings(sample.workloads.kubelet, workloads, hardware, identity.cgroup.version if identity.cgroup else None),
    )
    return Host(
        identity=identity,
        physical=hardware,
        logical=kernel,
        devices=_devices(sample, hardware, workloads),
        workloads=workloads,
        gaps=(*sample.gaps, *impossible),
        findings=all_findings,
    )


def _all_workloads(sample: Sample, workloads: tuple[Workload, ...]) -> bool:
    """Whether no source can have left out a workload, and every process with linear memories has a known start time."""
    # An absent OCI runtime means none of its workloads; an absent cgroup tree or process table means unknown. Machines are processes,
    # whether libvirt answers or not.
    failed = {gap.source for gap in sample.gaps if gap.reason != "absent" or gap.source != "oci"}
    if "oci" in failed and not _all_named(sample.workloads.cgroups):
        return False
    cgroups = sample.workloads.cgroups
    if ("cgroup" in failed and not (cgroups and cgroups.all_groups)) or not sample.workloads.all_sandboxes:
        return False
    runtimes = [process for process in sample.workloads.sandboxes or () if process.memories]
    sandboxes = [workload for workload in workloads if workload.paradigm == "sandbox"]
    return not failed & {"proc_fd", "processes"} and len(runtimes) == len(sandboxes)


def _all_caches(sample: Sample) -> bool:
    """Whether every CPU said which caches it has."""
    cpus = sample.statics.cpus
    return cpus.all_caches if cpus else not any(gap.source == "sys_cpu" for gap in sample.gaps)


def _all_named(cgroups: cgroup.Cgroups | None) -> bool:
    """Whether every group is either owned by a known runtime or one of systemd's own.

    Otherwise one may be a container that we cannot name.
    """
    groups = cgroups.groups if cgroups else ()
    return all(group.owner or group.path == "/" or group.path.endswith(cgroup.INNER_UNITS) for group in groups)


def _identity(sample: Sample) -> Identity:
    kernel, cgroups = sample.host.kernel, sample.workloads.cgroups
    return Identity(
        hostname=kernel.hostname if kernel else None,
        kernel=kernel.release if kernel else None,
        architecture=kernel.architecture if kernel else None,
        boot_id=kernel.boot_id if kernel else None,
        boot_time=sample.host.stat.boot_time if sample.host.stat else None,
        uptime_seconds=kernel.uptime_seconds if kernel else None,
        virtualization=virtualization(sample),
        smbios=sample.statics.dmi,
        cgroup=None if cgroups is None else CgroupVersion(cgroups.version),
    )


def _devices(sample: Sample, hardware: Physical, workloads: tuple[Workload, ...]) -> Devices:
    """Counts of devices; None where not all of them are known: the source of a count has a gap, or a CPU has no place."""
    failed = {gap.source for gap in sample.gaps}
    workloads = tuple(workload for workload in workloads if not (workload.guest and workload.guest.elsewhere))
    vcpus = [vcpu for workload in workloads for vcpu in workload.vcpus]
    guests = [workload.memory.allotted_bytes for workload in workloads if workload.paradigm == "virtualization"]
    memories = [memory for process in sample.workloads.sandboxes or () for memory in process.memories]
    threads = {group.pid: len(group.tasks) for group in sample.workloads.tasks or ()}
    runtimes = [process.pid for process in sample.workloads.sandboxes or () if process.memories]
    # Machines are processes. Where libvirt says nothing and there is none, there may be some that nothing shows.
    machines_shown = sample.workloads.hypervisors is not None or any(workload.paradigm == "virtualization" for workload in workloads)
    machines_known = machines_shown and not failed & {"processes", "proc_fd"}
    sandboxes_known = sample.workloads.sandboxes is not None and sample.workloads.all_sandboxes
    all_placed = hardware.cpus.online <= in_packages(hardware.packages)
    return Devices(
        CpuDevices(
            packages=len(hardware.packages) or None if all_placed else None,
            cores=len(hardware.cores) or None if all_placed else None,
            threads=len(hardware.cpus.online) or None,
            logical=hardware.cpus.online or None,
            virtual=len(vcpus) if machines_known else None,
            virtual_pinned=sum(1 for vcpu in vcpus if vcpu.pinned) if machines_known else None,
            overcommit=overcommits(workloads, hardware, _all_caches(sample)) if machines_known else (),
            runtime_threads=sum(threads[pid] for pid in runtimes) if sandboxes_known and threads.keys() >= set(runtimes) else None,
        ),
        MemoryDevices(
            physical_bytes=hardware.memory.total_bytes,
            nodes=len(hardware.nodes) or None,
            virtual_bytes=number_or_none(sum(size or 0 for size in guests)) if machines_known and None not in guests else None,
            logical_bytes=number_or_none(sum(memory.size_bytes for memory in memories)) if sandboxes_known else None,
            logical_memories=len(memories) if sandboxes_known else None,
            runtimes=_runtimes(sample) if sandboxes_known else (),
            overcommit=memory_overcommits(workloads, hardware) if machines_known else (),
        ),
    )


def _runtimes(sample: Sample) -> tuple[RuntimeProcesses, ...]:
    """Processes by runtime. The number that use memories is None where these lie on the heap and are not visible."""
    counts = []
    for name, visible in sorted({(process.runtime, process.visible) for process in sample.workloads.sandboxes or ()}):
        processes = [process for process in sample.workloads.sandboxes or () if (process.runtime, process.visible) == (name, visible)]
        held = None if sample.workloads.unread_maps else len(processes)
        counts.append(RuntimeProcesses(name, held, sum(1 for process in processes if process.memories) if visible else None, visible))
    return tuple(counts)
