"""Sample -> Host: the only place where two sources meet."""

from __future__ import annotations

from agent.model.device import CpuDevices, Devices, MemoryDevices
from agent.model.host import CgroupVersion, Host, Identity, Smbios
from agent.model.physical import Physical
from agent.model.workload import Workload
from agent.normalise.kernel import logical, virtualization
from agent.normalise.machine import physical
from agent.normalise.placement import placed
from agent.normalise.workloads import containers, machines, sandboxes
from agent.sample import Sample


def normalise(sample: Sample) -> Host:
    hardware = physical(sample)
    kernel = logical(sample)
    found = (*containers(sample), *machines(sample), *sandboxes(sample))
    workloads = placed(found, hardware, kernel)
    return Host(_identity(sample), hardware, kernel, _devices(hardware, workloads), workloads, sample.gaps)


def _identity(sample: Sample) -> Identity:
    kernel, firmware, cgroups = sample.kernel, sample.firmware, sample.cgroups
    return Identity(
        hostname=kernel.hostname if kernel else None,
        kernel=kernel.release if kernel else None,
        architecture=kernel.architecture if kernel else None,
        boot_id=kernel.boot_id if kernel else None,
        boot_time=sample.stat.boot_time if sample.stat else None,
        uptime_seconds=kernel.uptime_seconds if kernel else None,
        virtualization=virtualization(sample),
        smbios=None if firmware is None else Smbios(**{name: getattr(firmware, name) for name in firmware.__struct_fields__}),
        cgroup=None if cgroups is None else CgroupVersion(cgroups.version),
    )


def _devices(hardware: Physical, workloads: tuple[Workload, ...]) -> Devices:
    vcpus = [vcpu for workload in workloads for vcpu in workload.vcpus]
    sandboxed = [workload for workload in workloads if workload.paradigm == "sandbox"]
    guests = [workload.memory.allotted_bytes for workload in workloads if workload.paradigm == "virtualization"]
    memories = [memory for workload in sandboxed for memory in workload.memories]
    return Devices(
        CpuDevices(
            packages=len(hardware.packages) or None,
            cores=len(hardware.cores) or None,
            threads=len(hardware.cpus.online) or None,
            logical=hardware.cpus.online or None,
            virtual=len(vcpus),
            virtual_pinned=sum(1 for vcpu in vcpus if vcpu.pinned),
            runtime_threads=sum(len(workload.threads) for workload in sandboxed),
        ),
        MemoryDevices(
            physical_bytes=hardware.memory.total_bytes,
            nodes=len(hardware.nodes) or None,
            virtual_bytes=None if None in guests else sum(size for size in guests if size is not None),
            logical_bytes=sum(memory.size_bytes for memory in memories),
            logical_memories=len(memories),
        ),
    )
