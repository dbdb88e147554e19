"""The first look at a host: the machine, what is wrong, a row a workload, who shares which CPUs, which gaps can be mended."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from agent.model.finding import Severity
from agent.model.runtimes import Paradigm
from agent.model.values import CpuSet, Fact, Limit, Reason

Resource = Literal["cpu", "memory", "io"]

SortKey = Literal["cpu", "wait", "throttled", "memory", "lost", "name", "kind"]
"""What rows may be in the order of: numbers from the largest down, words from a to z."""


class Stalled(Fact, frozen=True, kw_only=True):
    """The share of the window in which some task, or all of them, waited for a resource (PSI)."""

    resource: Resource
    some_ratio: float | None = None
    full_ratio: float | None = None


class NodeStatus(Fact, frozen=True, kw_only=True):
    """A memory node: its CPUs and how many of them were busy, its memory and how much of that is free."""

    os_index: int
    cpus: CpuSet | None = None
    busy_cpus: float | None = None
    memory_bytes: int | None = None
    free_bytes: int | None = None


class MachineStatus(Fact, frozen=True, kw_only=True):
    """The host in a few numbers. `busy_cpus` of the `online` ones ran something, on average over the window.

    `used_bytes` is MemTotal less MemAvailable, of /proc/meminfo; `swap_used_bytes` is SwapTotal less SwapFree.
    """

    hostname: str | None = None
    kernel: str | None = None
    guest_of: str | None = None
    """The hypervisor that this host is itself a guest of."""
    packages: int | None = None
    cores: int | None = None
    online: CpuSet
    busy_cpus: float | None = None
    memory_bytes: int | None = None
    used_bytes: int | None = None
    swap_bytes: int | None = None
    swap_used_bytes: int | None = None
    pressure: tuple[Stalled, ...] = ()
    nodes: tuple[NodeStatus, ...] = ()


class FindingStatus(Fact, frozen=True, kw_only=True):
    """A finding, and the command that mends it or says more. `name` is its workload's; None: it is of this host.

    `since` is absent unless a daemon has watched.
    """

    id: str
    severity: Severity
    workload: str | None = None
    name: str | None = None
    text: str
    evidence: str
    remedy: str | None = None
    command: str
    since: datetime | None = None


class PredictedWait(Fact, frozen=True, kw_only=True):
    """The run-queue delay that the model expects, in seconds a second. `inside`: what was measured lies from `lo` to `hi`."""

    value: float
    lo: float
    hi: float
    inside: bool | None = None
    measured: float | None = None
    interval: Literal["prior", "learned"] = "prior"


class WorkloadStatus(Fact, frozen=True, kw_only=True):
    """One workload. Rates are averages over the window, or over its life where `since_start`.

    `cpus_used` and `cpu_limit` are in CPUs; `wait` are seconds a second in which its threads waited for a CPU, summed over them;
    `throttled_ratio` is the share of its quota's periods in which it was throttled.
    `memory_bytes` is what its control group is charged, of a machine what is resident of its guest's memory (where that is not known: of
    its process), of a sandbox of its linear memories; `allotted_bytes` is what a machine or a sandbox was given. `lost_ratio`: of the time
    that it wants to run, the share that its layers are predicted to take. `reference` is the shortest word that other verbs take for it.
    `severity` is that of its worst finding.
    """

    id: str
    name: str
    reference: str
    paradigm: Paradigm
    runtime: str
    parent: str | None = None
    parent_name: str | None = None
    state: str | None = None
    severity: Severity | None = None
    since_start: bool = False
    cpus_used: float | None = None
    cpu_limit: Limit | None = None
    wait: float | None = None
    throttled_ratio: float | None = None
    memory_bytes: int | None = None
    memory_limit_bytes: Limit | None = None
    allotted_bytes: int | None = None
    last_cpus: CpuSet | None = None
    allowed_cpus: CpuSet | None = None
    memory_by_node: dict[int, int] = {}
    predicted_wait: PredictedWait | None = None
    lost_ratio: float | None = None


class SharedCpus(Fact, frozen=True, kw_only=True):
    """CPUs that the same workloads may use: how many, and the names of those that used most CPU time, wherever.

    `cores` that have one of the CPUs; `busy_cpus` of them ran something.
    """

    cpus: CpuSet
    cores: int | None = None
    busy_cpus: float | None = None
    workloads: int
    busiest: tuple[str, ...] = ()


class MendableGap(Fact, frozen=True, kw_only=True):
    """What one remedy would make readable."""

    remedy: str
    reasons: tuple[Reason, ...]
    sources: tuple[str, ...]


class Status(Fact, frozen=True, kw_only=True):
    """The first look. `seconds`: the window's length, absent where there was one reading only.

    `counts` are all workloads by paradigm, whatever `rows` were chosen: None where nobody could tell; `not_shown` of those chosen are
    left out. `other_gaps` cannot be mended, or need not be.
    """

    taken_at: datetime
    seconds: float | None = None
    machine: MachineStatus
    findings: tuple[FindingStatus, ...] = ()
    counts: dict[Paradigm, int] | None = None
    rows: tuple[WorkloadStatus, ...] = ()
    not_shown: int = 0
    shared: tuple[SharedCpus, ...] = ()
    unplaced: int = 0
    """Workloads whose CPUs nobody could tell: they are in no line of `shared`."""
    gaps: tuple[MendableGap, ...] = ()
    other_gaps: int = 0
