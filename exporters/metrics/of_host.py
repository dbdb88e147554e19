"""Metrics of the host as a whole: what it is, what was found on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.model.host import Identity
from agent.model.snapshot import Snapshot
from exporters.metrics.family import Family, Row, Sample, declared, from_rows, gauge, info


def host_families(snapshot: Snapshot) -> Iterator[Family]:
    yield from from_rows(_HOST, snapshot.host)
    yield from from_rows(_FINDINGS, snapshot)


def _identity(host: Identity) -> Iterable[Sample]:
    virtual = host.virtualization
    labels = (
        host.hostname,
        host.kernel,
        host.architecture,
        virtual.kind if virtual else None,
        virtual.hypervisor if virtual else None,
        host.cgroup.version if host.cgroup else None,
    )
    return [(labels, 1)]


_HOST: tuple[Row[Identity], ...] = (
    info(
        "strata_host_info",
        "The host, its kernel, and whether it is a virtual machine itself",
        "/proc/sys/kernel, the hypervisor bit of CPUID, /sys/class/dmi/id, /sys/fs/cgroup",
        _identity,
        labels=("hostname", "kernel", "architecture", "virtualization", "hypervisor", "cgroup"),
    ),
    gauge(
        "strata_host_boot_time_seconds", "When the host booted", "Unix seconds", "btime of /proc/stat", lambda host: [((), host.boot_time)]
    ),
)

_FINDINGS: tuple[Row[Snapshot], ...] = (
    info(
        "strata_finding_info",
        "What is worth a look in the placement and the figures of a workload, or of the host",
        "`findings` of `agent snapshot`",
        lambda snapshot: [((finding.id, finding.severity, finding.workload), 1) for finding in snapshot.findings],
        labels=("finding", "severity", "workload"),
    ),
)

HOST_METRICS = declared(_HOST, _FINDINGS)
