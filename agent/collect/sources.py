"""Every source of the agent, one row each: which module reads it, what it is about, when it is asked, what to do where it is missing."""

from __future__ import annotations

from typing import Literal

from agent.model.values import Fact, Reason
from collectors import docker_engine, taskstats

About = Literal["machine", "workloads"]

Asked = Literal["every pass", "until plugged", "for documents", "by the daemon"]
"""When a source is asked. "until plugged": once, and again when a CPU, a node or memory was plugged in or out."""


class Source(Fact, frozen=True):
    """One source. `module` is its reader's below `collectors`, `remedies` what to do about its absence, by reason."""

    module: str
    about: About
    asked: Asked = "every pass"
    remedies: dict[Reason, str] = {}

    @property
    def name(self) -> str:
        """What the source is called in gaps, metrics and `--only`."""
        return self.module.partition(".")[0]


_PTRACE = "needs CAP_SYS_PTRACE: run as root or by the unit in deploy/; what is denied to root, too, nobody may read here"
_PTRACE_AND_FILES = "needs root, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
_RUNTIMES = "run as root: the runtimes' directories are root's alone; of users' containers, add deploy/rootless.conf to the unit"
_KUBELET_FILES = "needs root or CAP_DAC_READ_SEARCH: the kubelet's files are root's alone"
_KUBELET_ELSEWHERE = "show the agent the host's /var/lib/kubelet; nothing to do where the kubelet's --root-dir is another one"
_EMBEDDER = "needs root, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH: the directories of a process' files are its user's"
_NO_SMBIOS = "firmware without SMBIOS (microVMs, most ARM boards): nothing to do"
_SERIAL_NUMBERS = "needs root or CAP_DAC_READ_SEARCH: the tables hold serial numbers, which the agent leaves there"
_DEBUGFS = "debugfs is root's alone"
_CONTROLLERS = "boot with psi=1 for pressure; enable the controller in cgroup.subtree_control"

_CONFINED = "where root is confined, as in a container or a user namespace"
FOR_ROOT = {
    _PTRACE: f"{_CONFINED}: give it CAP_SYS_PTRACE, or run on the host; what is denied with that, too, nobody may read here",
    _PTRACE_AND_FILES: f"{_CONFINED}: give it CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, or run on the host",
    _EMBEDDER: f"{_CONFINED}: give it CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, or run on the host",
    _RUNTIMES: f"{_CONFINED}: give it CAP_DAC_READ_SEARCH; of users' containers, add deploy/rootless.conf to the unit",
    _SERIAL_NUMBERS: f"{_CONFINED}, or the kernel is locked down: give it CAP_DAC_READ_SEARCH, or run on the host",
    _KUBELET_FILES: f"{_CONFINED}: give it CAP_DAC_READ_SEARCH, or run on the host",
    _DEBUGFS: f"{_CONFINED}, or the kernel is locked down: run on the host",
    taskstats.DENIED: f"{_CONFINED}: give it CAP_NET_ADMIN, or run on the host",
    docker_engine.DENIED: f"{_CONFINED}, or a security module guards the socket: allow the agent to connect to it",
}
"""What helps root, who cannot be told to become root, by what helps others."""

TABLE = (
    Source("cgroup", "workloads", remedies={"unsupported": _CONTROLLERS}),
    Source("cpuid", "machine", "until plugged"),
    Source("dmi", "machine", "until plugged"),
    Source("docker_engine", "workloads"),
    Source("edac", "machine"),
    Source("hotplug", "machine"),
    Source("hugepages", "machine"),
    Source("kernel_config", "machine", "until plugged"),
    Source("kubelet_checkpoints", "workloads", remedies={"absent": _KUBELET_ELSEWHERE, "denied": _KUBELET_FILES}),
    Source("libvirt_domains", "workloads"),
    Source("libvirt_stats", "workloads"),
    Source("oci", "workloads", remedies={"denied": _RUNTIMES}),
    Source("proc_cmdline", "machine", "until plugged"),
    Source("proc_cpuinfo", "machine", "until plugged"),
    Source("proc_driver_nvidia", "machine"),
    Source("proc_fd", "workloads", remedies={"denied": _PTRACE_AND_FILES}),
    Source("proc_interrupts", "machine"),
    Source("proc_irq", "machine"),
    Source("proc_isolation", "workloads", "for documents", {"denied": _PTRACE}),
    Source("proc_limits", "workloads", "for documents"),
    Source("proc_pressure", "machine"),
    Source("proc_sched", "machine"),
    Source("proc_schedstat", "machine"),
    Source("proc_softirqs", "machine"),
    Source("proc_self", "machine"),
    Source("proc_stat", "machine"),
    Source("proc_swaps", "machine"),
    Source("proc_sys", "machine"),
    Source("proc_sys_sched", "machine"),
    Source("proc_sys_vm", "machine"),
    Source("proc_syscall", "workloads", "for documents", {"denied": _PTRACE_AND_FILES}),
    Source("proc_task", "workloads", remedies={"denied": _PTRACE}),
    Source("proc_vm", "machine"),
    Source("processes", "workloads"),
    Source("qemu", "workloads", remedies={"denied": _PTRACE}),
    Source("smbios", "machine", "until plugged", {"absent": _NO_SMBIOS, "denied": _SERIAL_NUMBERS}),
    Source("sys_cpu", "machine", "until plugged"),
    Source("sys_cpu_vulnerabilities", "machine"),
    Source("sys_debug_kvm", "workloads", remedies={"denied": _DEBUGFS}),
    Source("sys_debug_sched", "machine"),
    Source("sys_dax", "machine"),
    Source("sys_kvm", "machine"),
    Source("sys_memory_tiering", "machine"),
    Source("sys_mm", "machine"),
    Source("sys_nd", "machine"),
    Source("sys_node", "machine", "until plugged"),
    Source("sys_pci", "machine"),
    Source("sys_zram", "machine"),
    Source("taskstats", "workloads"),
    Source("uevents", "machine", "by the daemon"),
    Source("wasm_maps", "workloads", remedies={"denied": _PTRACE}),
    Source("wasm_stats.statements", "workloads", remedies={"denied": _EMBEDDER}),
)

SOURCES = {source.name: source for source in TABLE}

WORKLOADS = frozenset(source.name for source in TABLE if source.about == "workloads")
"""Sources that say what runs on the host; the others say what the host is."""

MACHINE = tuple(source.name for source in TABLE if source.about == "machine")


def remedy(source: str, reason: Reason, stated: str | None = None, *, for_root: bool = False) -> str | None:
    """What to do where a source has a gap with this reason: what its reader states, else the table's row; None: nothing is to be done."""
    text = stated or SOURCES[source].remedies.get(reason)
    return FOR_ROOT.get(text, text) if text and for_root else text
