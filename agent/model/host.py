"""One host at one moment."""

from __future__ import annotations

from typing import Literal

from agent.model.device import Devices
from agent.model.facts.dmi import Dmi
from agent.model.finding import Finding
from agent.model.logical import Logical
from agent.model.physical import Physical
from agent.model.values import Fact, Gap
from agent.model.workload import Workload


class Virtualization(Fact, frozen=True):
    """Whether this host is itself a guest: "none" is a conclusion from evidence, absence of this record is not."""

    kind: Literal["none", "guest"]
    hypervisor: str | None = None
    evidence: str | None = None


class CgroupVersion(Fact, frozen=True):
    version: Literal["v1", "v2", "hybrid"]


class Identity(Fact, frozen=True, kw_only=True):
    hostname: str | None = None
    kernel: str | None = None
    architecture: str | None = None
    boot_id: str | None = None
    boot_time: int | None = None
    """Unix seconds."""
    uptime_seconds: float | None = None
    virtualization: Virtualization | None = None
    smbios: Dmi | None = None
    cgroup: CgroupVersion | None = None


class Host(Fact, frozen=True, kw_only=True):
    """All that one pass makes of a host: the machine, the kernel, the workloads, and what could not be known."""

    identity: Identity
    physical: Physical
    logical: Logical
    devices: Devices
    workloads: tuple[Workload, ...] = ()
    gaps: tuple[Gap, ...] = ()
    findings: tuple[Finding, ...] = ()
