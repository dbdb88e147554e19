"""What is worth a look on this host, with its evidence: facts that somebody who tunes a host looks for.

KINDS says of each kind what it means; the list in docs/findings.md is made of it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from agent.model.values import Fact

Severity = Literal["critical", "warning", "info"]
"""critical: work is lost now. warning: something costs, and can be mended. info: worth knowing."""

SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
"""The worst first."""

Kind = Literal[
    "vcpus_float",
    "vcpus_pinned",
    "vcpus_pinned_exclusively",
    "vcpus_on_one_core",
    "vcpus_across_nodes",
    "memory_remote",
    "pins_on_isolated_cpus",
    "pins_on_offline_cpus",
    "topology_contradicts_pins",
    "emulator_on_vcpu_cpus",
    "affinity_drift",
    "exclusive_cpus_missing",
    "exclusive_cpus_shared",
    "numa_affinity_missed",
    "statement_mismatch",
    "node_memory_here",
    "topology_here",
    "steal_here",
    "oom_kills",
    "memory_near_limit",
    "memory_pressure",
    "thrashing",
    "throttled",
    "throttled_bursts",
    "pids_near_limit",
    "starved",
    "weight_without_effect",
    "cpuset_offline",
    "cpuset_across_nodes",
    "memory_nodes_against_cpus",
    "limit_above_host",
    "huge_pages_missing",
    "isolated_cpus_used",
    "cpus_overcommitted",
    "interrupts_on_isolated_cpus",
    "steal_now",
    "model_miss",
    "model_beaten",
    "busy_calibration",
]


class Meaning(Fact, frozen=True):
    """What a kind of finding says, and how bad it is unless the case is worse or better."""

    severity: Severity
    text: str


KINDS: dict[Kind, Meaning] = {
    "vcpus_float": Meaning("info", "vCPUs may run on every CPU; a warning where vCPUs outnumber CPUs, or CPUs lie on several nodes"),
    "vcpus_pinned": Meaning("info", "vCPUs are pinned to CPUs that others may use"),
    "vcpus_pinned_exclusively": Meaning("info", "vCPUs have CPUs of their own"),
    "vcpus_on_one_core": Meaning("warning", "vCPUs share one core, though the guest takes each for a core"),
    "vcpus_across_nodes": Meaning("warning", "pinned vCPUs lie on several nodes, and the guest is shown one"),
    "memory_remote": Meaning("warning", "a tenth or more of a workload's memory lies on nodes that have none of its CPUs"),
    "pins_on_isolated_cpus": Meaning(
        "info", "vCPUs are pinned to isolated CPUs; a warning where one may use several: nobody balances there"
    ),
    "pins_on_offline_cpus": Meaning("warning", "vCPUs are pinned to CPUs that are not online"),
    "topology_contradicts_pins": Meaning("warning", "threads of one core of the guest are pinned to several cores of the host"),
    "emulator_on_vcpu_cpus": Meaning("info", "the emulator's threads may run where vCPUs are pinned"),
    "affinity_drift": Meaning("warning", "the kernel does not run threads of a machine where libvirt says"),
    "exclusive_cpus_missing": Meaning("warning", "threads of a container of a pod do not have the exclusive CPUs that the kubelet gave it"),
    "exclusive_cpus_shared": Meaning("warning", "workloads outside the pod use CPUs that the kubelet gave a container alone"),
    "numa_affinity_missed": Meaning("warning", "a tenth or more of a container's memory lies on other nodes than the kubelet gave it"),
    "statement_mismatch": Meaning("warning", "linear memories are not as their embedder states"),
    "node_memory_here": Meaning("info", "memory nodes show less memory than this host has"),
    "topology_here": Meaning("info", "this host is a guest, and its topology is what its hypervisor shows it"),
    "steal_here": Meaning("info", "this host's own hypervisor lets its CPUs wait"),
    "oom_kills": Meaning("critical", "the OOM killer ends processes now"),
    "memory_near_limit": Meaning("warning", "nine tenths of a memory limit are full of what cannot be reclaimed; critical from 95 % on"),
    "memory_pressure": Meaning("warning", "tasks wait for memory a tenth of the time; critical where all of them wait half of it"),
    "thrashing": Meaning("warning", "reclaimed pages are read again, and tasks wait for them; critical where all wait half of the time"),
    "throttled": Meaning("warning", "a quota stops a group in a quarter of the periods or more, while CPUs that it may use stand idle"),
    "throttled_bursts": Meaning("warning", "a quota stops the bursts of a group that leaves room in it on average, while CPUs stand idle"),
    "pids_near_limit": Meaning("warning", "nine tenths of the tasks that a group may have are there; critical where forks are refused"),
    "starved": Meaning("warning", "a workload waits three tenths of the time that it wants to run, while others keep its CPUs busy"),
    "weight_without_effect": Meaning("warning", "a raised CPU weight competes with nobody: who takes the CPUs is in another group"),
    "cpuset_offline": Meaning("warning", "a cpuset names CPUs that are not online"),
    "cpuset_across_nodes": Meaning("warning", "the CPUs of a cpuset lie on several nodes, though they would fit on one"),
    "memory_nodes_against_cpus": Meaning("warning", "a cpuset gives memory of nodes that have none of its CPUs"),
    "limit_above_host": Meaning("info", "a limit is above what this host has, and limits nothing"),
    "huge_pages_missing": Meaning("warning", "a machine is defined with huge pages, and its memory is not in them"),
    "isolated_cpus_used": Meaning("warning", "a workload runs on isolated CPUs to which another one is bound"),
    "cpus_overcommitted": Meaning("warning", "a core, or the host, has more vCPUs than CPUs, and all of these are busy"),
    "interrupts_on_isolated_cpus": Meaning("warning", "isolated CPUs take interrupts of devices, 100 a second or more"),
    "steal_now": Meaning("warning", "this host's own hypervisor takes a twentieth or more of the CPU time that it wants"),
    "model_miss": Meaning("info", "measurements were outside their predicted intervals in three windows of a daemon in a row"),
    "model_beaten": Meaning("info", "'as in the last window' decides more than a component predicts, over a day of windows"),
    "busy_calibration": Meaning("info", "the calibration was made while others ran"),
}


class Finding(Fact, frozen=True, kw_only=True):
    """One thing that follows from the figures in `evidence`. `workload` None: it is of this host. `remedy` None: nothing is amiss.

    `since` is when a daemon first saw it; None where none has watched.
    """

    id: Kind
    severity: Severity
    workload: str | None
    text: str
    evidence: str
    remedy: str | None = None
    since: datetime | None = None

    @classmethod
    def of(
        cls, *, kind: Kind, workload: str | None, text: str, evidence: str, remedy: str | None = None, severity: Severity | None = None
    ) -> Finding:
        """With the severity of its kind, unless the case has one of its own."""
        return cls(id=kind, severity=severity or KINDS[kind].severity, workload=workload, text=text, evidence=evidence, remedy=remedy)
