"""Hosts of one container that is in no trouble, but for what a test plants."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from agent.model.facts.cgroup import WorkloadCpu, WorkloadMemory
from agent.model.facts.proc_swaps import Swap
from agent.model.finding import Finding
from agent.model.host import Host
from agent.model.workload import Workload
from agent.overhead.troubles import troubles
from agent.overhead.window import Window
from tests.unit.overhead_hosts import MIB, container, host

SWAP = Swap(name="/swap", type="file", size_bytes=64 * MIB, used_bytes=0, priority=-2)
GROUP = "/system.slice/docker-c0ffee.scope"


def docker(passed: float, **changes: Any) -> Workload:
    """A container of Docker, idle and without limits, but for `changes`."""
    quiet = replace(container(passed), cpu=WorkloadCpu(), memory=WorkloadMemory(), threads=(), runtime="docker", name="web", cgroup=GROUP)
    return replace(quiet, **changes)


def at(passed: float, *workloads: Workload, busy: float = 1.0, **memory: Any) -> Host:
    """`busy`: seconds of the window's ten in which each of the two CPUs runs somebody."""
    made = host(passed, workloads, busy)
    kernel = replace(made.logical, memory=replace(made.logical.memory, **{"swaps": (), **memory}))
    return replace(made, logical=kernel)


def found(before: Host | None, after: Host) -> list[Finding]:
    return list(troubles(Window(after=after, before=before, seconds=10.0 if before else None)))


def of_one(before: Workload, after: Workload, **host_: Any) -> list[Finding]:
    return found(at(0.0, before, **host_), at(1.0, after, **host_))


def kinds(findings: list[Finding]) -> dict[str, str]:
    return {finding.id: finding.severity for finding in findings}
