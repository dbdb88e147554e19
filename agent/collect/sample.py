"""One pass over all sources: each answers into a typed field, or leaves a gap. Nothing here understands an answer."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Mapping
from itertools import count
from typing import TypeVar

from msgspec.structs import replace

from agent.config import Config
from agent.model.values import CpuSet, Fact, Gap, ReadTimes
from collectors import (
    cgroup,
    cpuid,
    dmi,
    docker_engine,
    edac,
    hotplug,
    hugepages,
    kernel_config,
    libvirt_domains,
    libvirt_stats,
    oci,
    proc_cmdline,
    proc_cpuinfo,
    proc_driver_nvidia,
    proc_fd,
    proc_interrupts,
    proc_irq,
    proc_isolation,
    proc_limits,
    proc_pressure,
    proc_sched,
    proc_schedstat,
    proc_self,
    proc_softirqs,
    proc_stat,
    proc_swaps,
    proc_sys,
    proc_sys_sched,
    proc_sys_vm,
    proc_syscall,
    proc_task,
    proc_vm,
    processes,
    qemu,
    smbios,
    sys_cpu,
    sys_dax,
    sys_debug_kvm,
    sys_debug_sched,
    sys_kvm,
    sys_memory_tiering,
    sys_mm,
    sys_nd,
    sys_node,
    sys_pci,
    sys_zram,
    taskstats,
    uevents,
    wasm_maps,
)
from collectors.libvirt_connection import Connections
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed
from collectors.wasm_stats import statements

T = TypeVar("T")

SOURCES = (
    "cgroup",
    "cpuid",
    "dmi",
    "docker_engine",
    "edac",
    "hotplug",
    "hugepages",
    "kernel_config",
    "libvirt_domains",
    "libvirt_stats",
    "oci",
    "proc_cmdline",
    "proc_cpuinfo",
    "proc_driver_nvidia",
    "proc_fd",
    "proc_interrupts",
    "proc_irq",
    "proc_isolation",
    "proc_limits",
    "proc_pressure",
    "proc_sched",
    "proc_schedstat",
    "proc_softirqs",
    "proc_self",
    "proc_stat",
    "proc_swaps",
    "proc_sys",
    "proc_sys_sched",
    "proc_sys_vm",
    "proc_syscall",
    "proc_task",
    "proc_vm",
    "processes",
    "qemu",
    "smbios",
    "sys_cpu",
    "sys_debug_kvm",
    "sys_debug_sched",
    "sys_dax",
    "sys_kvm",
    "sys_memory_tiering",
    "sys_mm",
    "sys_nd",
    "sys_node",
    "sys_pci",
    "sys_zram",
    "taskstats",
    "uevents",
    "wasm_maps",
    "wasm_stats",
)
"""The readers, by the name of their module."""

WORKLOADS = frozenset(
    (
        "cgroup",
        "docker_engine",
        "libvirt_domains",
        "libvirt_stats",
        "oci",
        "proc_fd",
        "proc_limits",
        "proc_syscall",
        "proc_task",
        "processes",
        "qemu",
        "sys_debug_kvm",
        "taskstats",
        "wasm_maps",
        "wasm_stats",
    )
)
"""Those that say what runs on the host; the rest say what it is."""

MACHINE = tuple(source for source in SOURCES if source not in WORKLOADS)

_PTRACE = "needs CAP_SYS_PTRACE: run as root or by the unit in deploy/"
_REMEDIES = {
    ("cgroup", "unsupported"): "boot with psi=1 for pressure; enable the controller in cgroup.subtree_control",
    ("oci", "denied"): "run as root: the runtimes' directories are root's alone",
    ("proc_isolation", "denied"): _PTRACE,
    ("proc_fd", "denied"): "needs root, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH",
    ("proc_syscall", "denied"): "needs root, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH",
    ("proc_task", "denied"): _PTRACE,
    ("qemu", "denied"): _PTRACE,
    ("smbios", "absent"): "firmware without SMBIOS (microVMs, most ARM boards): nothing to do",
    ("smbios", "denied"): "needs root or CAP_DAC_READ_SEARCH: the tables hold serial numbers, which the agent leaves there",
    ("sys_debug_kvm", "denied"): "debugfs is root's alone",
    ("wasm_maps", "denied"): _PTRACE,
    ("wasm_stats", "denied"): "needs root, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH: the directories of a process' files are its user's",
}


# What comes and goes is waited for so long, and where one reading takes as long, for so many of them.
_SETTLED_SECONDS = 0.5
_SETTLED_READINGS = 4
_AGAIN_SECONDS = 0.02
_GIVEN_UP_SECONDS = 60.0
_LEFT_BEHIND = 4
_PLUGGED = {"cpu", "memory", "node"}


class Statics(Fact, frozen=True, kw_only=True):
    """What stays the same until something is plugged in or out. Without `plugged` it is told once and not kept.

    `bundles` stand each as long as its directory does.
    """

    cpus: sys_cpu.Cpus | None = None
    nodes: sys_node.Nodes | None = None
    cpuinfo: proc_cpuinfo.Cpuinfo | None = None
    instruction: cpuid.Cpuid | None = None
    firmware: dmi.Dmi | None = None
    config: kernel_config.KernelConfig | None = None
    command_line: proc_cmdline.CommandLine | None = None
    smbios: smbios.Smbios | None = None
    gaps: tuple[Gap, ...] = ()
    seconds: dict[str, float] = {}
    plugged: hotplug.Plugged | None = None
    bundles: tuple[oci.Bundle, ...] = ()


class Sample(Fact, frozen=True, kw_only=True):
    """What every source said, None where it said nothing."""

    cpus: sys_cpu.Cpus | None = None
    nodes: sys_node.Nodes | None = None
    pools: tuple[hugepages.HugePagePool, ...] | None = None
    tiers: dict[int, CpuSet] | None = None
    dax: tuple[sys_dax.DaxDevice, ...] | None = None
    persistent: tuple[sys_nd.Region, ...] | None = None
    gpu_nodes: dict[int, str] | None = None
    own: proc_self.Allowed | None = None
    cpuinfo: proc_cpuinfo.Cpuinfo | None = None
    instruction: cpuid.Cpuid | None = None
    kernel: proc_sys.Kernel | None = None
    firmware: dmi.Dmi | None = None
    smbios: smbios.Smbios | None = None
    edac: tuple[edac.Controller, ...] | None = None
    pci: tuple[sys_pci.PciDevice, ...] | None = None
    stat: proc_stat.Stat | None = None
    schedstat: proc_schedstat.Schedstat | None = None
    interrupts: proc_interrupts.Interrupts | None = None
    affinities: tuple[proc_irq.Affinity, ...] | None = None
    pressures: proc_pressure.Pressures | None = None
    memory: proc_vm.Memory | None = None
    policy: sys_mm.MemoryPolicy | None = None
    vm: proc_sys_vm.VmSysctls | None = None
    swaps: tuple[proc_swaps.Swap, ...] | None = None
    zram: tuple[sys_zram.Zram, ...] | None = None
    softirqs: proc_softirqs.Softirqs | None = None
    config: kernel_config.KernelConfig | None = None
    command_line: proc_cmdline.CommandLine | None = None
    sched: proc_sys_sched.Sched | None = None
    sched_debug: sys_debug_sched.SchedDebug | None = None
    task_slice: proc_sched.TaskSlice | None = None
    kvm: sys_kvm.Kvm | None = None
    cgroups: cgroup.Cgroups | None = None
    table: tuple[processes.Process, ...] | None = None
    engines: tuple[docker_engine.Engine, ...] | None = None
    bundles: tuple[oci.Bundle, ...] | None = None
    hypervisors: tuple[libvirt_domains.Hypervisor, ...] | None = None
    machine_stats: tuple[libvirt_stats.DomainStats, ...] | None = None
    monitors: tuple[proc_fd.Machine, ...] | None = None
    monitor_counters: tuple[sys_debug_kvm.Machine, ...] | None = None
    sandboxes: tuple[wasm_maps.WasmProcess, ...] | None = None
    seen: dict[int, wasm_maps.Seen] = {}
    unread_maps: int = 0
    """Processes whose memory map was refused or is missing: what they hold is not known."""
    tasks: tuple[proc_task.TaskGroup, ...] | None = None
    accounts: tuple[taskstats.Account, ...] | None = None
    published: tuple[statements.Published, ...] | None = None
    """What embedders of Wasm state of their instances, read after the memory maps."""
    limits: dict[int, proc_limits.Limits] | None = None
    stack_pointers: dict[int, int] | None = None
    isolation: tuple[proc_isolation.Isolation, ...] | None = None
    guests: tuple[qemu.GuestMemory, ...] | None = None
    gaps: tuple[Gap, ...] = ()
    seconds: dict[str, float] = {}
    """How long each source took."""
    whole: bool = True
    """Whether all was read that a document shows, or what metrics do."""
    read_at: ReadTimes = {}
    """When counters were read: by the path of their group, by the pid of their process, and by file."""
    statics: Statics = Statics()
    """For the next pass."""


class BackgroundQueries:
    """Questions to other programs, each in a thread that can be left behind when the program does not answer; what of them is kept.

    While one is still out, the same question is not asked again: a hung daemon costs one thread, not one a scrape. What has been out
    for long may never come back, though the daemon has (a peer that went away without a word): then it is asked anew, a few times.
    """

    def __init__(self) -> None:
        self._out: dict[str, tuple[threading.Thread, float]] = {}
        self._left: list[threading.Thread] = []
        self.connections = Connections()
        self.walks = qemu.Walks()
        self.questions = libvirt_stats.Questions(self.connections)

    def send(self, source: str, run: Callable[[], None]) -> threading.Thread | None:
        before, since = self._out.get(source, (None, 0.0))
        if before is not None and before.is_alive():
            self._left = [thread for thread in self._left if thread.is_alive()]
            if time.monotonic() - since < _GIVEN_UP_SECONDS or len(self._left) >= _LEFT_BEHIND:
                return None
            self._left.append(before)
        # A daemon thread does not keep the process from ending.
        thread = threading.Thread(target=run, name=source, daemon=True)
        self._out[source] = (thread, time.monotonic())
        thread.start()
        return thread


class _Pass:
    """Asks the sources of one sample and keeps their gaps."""

    def __init__(self, root: SysRoot, only: tuple[str, ...]) -> None:
        self.root = root
        self.only = only
        self.gaps: list[Gap] = []
        self.seconds: dict[str, float] = {}
        self.read_at: ReadTimes = {}

    def wants(self, source: str) -> bool:
        return not self.only or source in self.only

    def ask(self, source: str, read: Callable[[SysRoot], T]) -> T | None:
        if not self.wants(source):
            return None
        answer, gaps, seconds, dates = _ask(self.root, source, read)
        self.read_at |= dates
        self.gaps += gaps
        self.seconds[source] = seconds
        return answer

    def send(self, source: str, read: Callable[[SysRoot], T], queries: BackgroundQueries) -> Callable[[float], T | None]:
        """Ask in the background; the result waits at most until a deadline (time.monotonic)."""
        if not self.wants(source):
            return lambda _: None
        started = time.monotonic()
        answers: list[tuple[T | None, list[Gap], float, ReadTimes]] = []
        thread = queries.send(source, lambda: answers.append(_ask(self.root, source, read)))

        def wait(deadline: float) -> T | None:
            if thread is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
            if not answers:
                waited = time.monotonic() - started
                detail = "the question before this one is still out" if thread is None else f"no answer in {waited:.1f} s"
                self.gaps.append(Gap(source, "late", detail, "look at the log of the program that is asked"))
                self.seconds[source] = waited
                return None
            answer, gaps, seconds, _ = answers[0]
            self.gaps += gaps
            self.seconds[source] = seconds
            return answer

        return wait


def _ask(root: SysRoot, source: str, read: Callable[[SysRoot], T]) -> tuple[T | None, list[Gap], float, ReadTimes]:
    """One reader's answer, its gaps, its seconds, its dates. A broken reader costs its own source and no other."""
    view = root.watch()
    answer, gaps = None, []
    started = time.perf_counter()
    try:
        answer = read(view)
    except Unavailable as error:
        gaps.append(Gap(source, error.reason, error.detail, error.remedy or _REMEDIES.get((source, error.reason))))
    except Malformed as error:
        gaps.append(Gap(source, "failed", str(error), "report it with a recording (agent record DIR)"))
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        detail = f"{type(error).__name__}: {error} ({frame.filename.rpartition('/')[2]}:{frame.lineno})"
        gaps.append(Gap(source, "failed", detail, "report it with a recording (agent record DIR)"))
    reasons = {refusal.reason for refusal in view.refusals}
    for reason in sorted(reasons):
        refused = [refusal for refusal in view.refusals if refusal.reason == reason]
        first = refused[0]
        more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        gaps.append(Gap(source, reason, f"{first.path}: {first.detail}{more}", _REMEDIES.get((source, reason))))
    return answer, gaps, time.perf_counter() - started, view.read_times


def take(
    root: SysRoot,
    config: Config,
    queries: BackgroundQueries,
    patience_seconds: float = 1.0,
    known: Statics | None = None,
    watch: uevents.Watch | None = None,
    whole: bool = True,
    seen: Mapping[int, wasm_maps.Seen] | None = None,
) -> Sample:
    """Ask every source once, for a document or for metrics. Programs get `patience_seconds` together; files are read at once.

    What is `known` stands as long as nothing was plugged: by what `watch` heard, and by the lists of CPUs and nodes. Of the
    processes that were `seen` before, those that have not changed are not looked at again for a Wasm runtime.
    """
    began = time.monotonic()
    deadline = began + patience_seconds
    one = _Pass(root, config.only)
    engines = one.send("docker_engine", lambda r: docker_engine.read(r, config.docker, labels=config.labels), queries)
    hypervisors = one.send(
        "libvirt_domains", lambda r: libvirt_domains.read(r, config.libvirt, queries.connections, patience_seconds), queries
    )
    asked = libvirt_stats.begin(root, config.libvirt, queries.questions) if one.wants("libvirt_stats") else ()
    heard = one.ask("uevents", watch.read) if watch else None
    stale = heard is not None and (heard.lost or any(event.subsystem in _PLUGGED for event in heard.seen))
    if known and known.plugged and not stale and known.plugged == one.ask("hotplug", hotplug.read):
        statics, again = known, known.nodes
        nodes = one.ask("sys_node", lambda r: sys_node.count(r, again)) if again else None
    else:
        statics = _statics(root, config.only, began + min(_SETTLED_SECONDS, patience_seconds))
        nodes = statics.nodes
    said = {(gap.source, gap.reason) for gap in statics.gaps}
    table = one.ask("processes", lambda r: processes.read(r, whole))
    bundles = one.ask("oci", lambda r: oci.read(r, known.bundles if known else (), config.labels))
    told = {bundle.cgroup: (bundle.engine, bundle.id) for bundle in bundles or () if bundle.cgroup}
    cgroups = one.ask("cgroup", lambda r: cgroup.read(r, whole, told))
    # Before what is dated by it.
    kernel = one.ask("proc_sys", proc_sys.read)
    # Children of kthreadd, pid 2, have no memory map.
    users = {process.pid: process.started_at for process in table or () if 2 not in (process.pid, process.parent_pid)}
    sweep = one.ask("wasm_maps", lambda r: wasm_maps.sweep(r, users, seen)) if users else None
    sandboxes = sweep.processes if sweep else None
    hosts = [process for process in sandboxes or () if process.memories]
    mapped = {process.pid: process.table for process in hosts if process.table}
    published = one.ask("wasm_stats", lambda r: statements.read(r, mapped)) if mapped else None
    machines = {process.vm_uuid: process.pid for process in table or () if process.vm_uuid}
    pids = {pid for group in (cgroups.groups if cgroups else ()) for pid in group.processes or ()}
    leaders = {min(group.processes) for group in (cgroups.groups if cgroups else ()) if group.processes and whole}
    pids |= {*machines.values()} | {process.pid for process in hosts}
    pids |= {process.pid for process in table or () if processes.served(process)}
    candidates = {process.pid: process.vm_uuid for process in table or () if proc_fd.is_monitor(process.name)}
    pids |= candidates.keys()
    # A container's group counts its huge pages, too.
    known_of = {pid for group in (cgroups.groups if cgroups else ()) if _contains(group) for pid in group.processes or ()}
    accounted = set() if whole else known_of - {process.pid for process in hosts} - {*machines.values()} - candidates.keys()
    told_of = {process.pid: process.stat for process in table or () if process.stat}
    tasks = one.ask("proc_task", lambda r: proc_task.read(r, pids, told_of, accounted)) if pids else None
    # Asked after the threads: of them, too, nothing is missing in what their process has had.
    accounts = one.ask("taskstats", lambda r: taskstats.read(r, pids)) if pids else None
    stacked = {process.pid for process in hosts if process.stacks and whole}
    threads = {group.pid: [task.tid for task in group.tasks] for group in tasks or () if group.pid in stacked}
    return Sample(
        cpuinfo=statics.cpuinfo,
        instruction=statics.instruction,
        cpus=statics.cpus,
        nodes=nodes,
        firmware=statics.firmware,
        config=statics.config,
        command_line=statics.command_line,
        statics=replace(statics, bundles=bundles or ()),
        table=table,
        cgroups=cgroups,
        bundles=bundles,
        sandboxes=sandboxes,
        seen=sweep.seen if sweep else {},
        unread_maps=sweep.unread if sweep else 0,
        tasks=tasks,
        accounts=accounts,
        published=published,
        limits=one.ask("proc_limits", lambda r: proc_limits.read(r, [process.pid for process in hosts])) if hosts and whole else None,
        stack_pointers=one.ask("proc_syscall", lambda r: proc_syscall.read(r, threads)) if threads else None,
        kernel=kernel,
        pools=one.ask("hugepages", hugepages.read),
        tiers=one.ask("sys_memory_tiering", sys_memory_tiering.read),
        dax=one.ask("sys_dax", sys_dax.read),
        persistent=one.ask("sys_nd", sys_nd.read),
        gpu_nodes=one.ask("proc_driver_nvidia", proc_driver_nvidia.read),
        own=one.ask("proc_self", proc_self.read),
        smbios=statics.smbios,
        edac=one.ask("edac", edac.read),
        pci=one.ask("sys_pci", sys_pci.read),
        stat=one.ask("proc_stat", proc_stat.read),
        schedstat=(schedstat := one.ask("proc_schedstat", proc_schedstat.read)),
        softirqs=one.ask("proc_softirqs", proc_softirqs.read),
        interrupts=(lines := one.ask("proc_interrupts", proc_interrupts.read)),
        affinities=one.ask("proc_irq", lambda r: proc_irq.read(r, [int(line.name) for line in lines.lines if line.is_irq]))
        if lines
        else None,
        pressures=one.ask("proc_pressure", proc_pressure.read),
        memory=one.ask("proc_vm", proc_vm.read),
        policy=one.ask("sys_mm", sys_mm.read),
        vm=one.ask("proc_sys_vm", proc_sys_vm.read),
        swaps=one.ask("proc_swaps", proc_swaps.read),
        zram=one.ask("sys_zram", sys_zram.read),
        sched=one.ask("proc_sys_sched", proc_sys_sched.read),
        sched_debug=one.ask("sys_debug_sched", lambda r: sys_debug_sched.read(r, _heads(schedstat))),
        task_slice=one.ask("proc_sched", proc_sched.read),
        kvm=one.ask("sys_kvm", sys_kvm.read),
        engines=engines(deadline),
        hypervisors=(found := _hypervisors(one, hypervisors(deadline))),
        machine_stats=_stats(one, one.ask("libvirt_stats", lambda r: libvirt_stats.read(r, asked, deadline, _stopped(machines, tasks))))
        if found is not None
        else None,
        monitors=(unmanaged_monitors := _monitors(one, candidates, found)),
        monitor_counters=one.ask("sys_debug_kvm", lambda r: sys_debug_kvm.read(r, [machine.pid for machine in unmanaged_monitors or ()]))
        if unmanaged_monitors
        else None,
        guests=one.ask("qemu", lambda r: qemu.read(r, _guests(found, machines, tasks), None if whole else queries.walks))
        if found and machines
        else None,
        isolation=one.ask("proc_isolation", lambda r: proc_isolation.read(r, leaders)) if leaders else None,
        # A source that is read in part again may say the same again.
        gaps=(*statics.gaps, *(gap for gap in one.gaps if (gap.source, gap.reason) not in said)),
        seconds=statics.seconds | one.seconds,
        whole=whole,
        read_at=one.read_at,
    )


def _heads(schedstat: proc_schedstat.Schedstat | None) -> CpuSet:
    """One CPU of those that have all scheduling domains in common."""
    return CpuSet(next(iter(chain.cpus)) for chain in (schedstat.chains if schedstat else ()) if chain.domains)


def _statics(root: SysRoot, only: tuple[str, ...], deadline: float) -> Statics:
    """Read while no CPU comes or goes; where that does not end, sets that contradict one another are not told at all."""
    for readings in count(1):
        one = _Pass(root, only)
        before = one.ask("hotplug", hotplug.look)
        cpuinfo = one.ask("proc_cpuinfo", proc_cpuinfo.read)
        silent = cpuinfo is None or not any(processor.model_name for processor in cpuinfo.processors)
        found = Statics(
            cpuinfo=cpuinfo,
            # The instruction speaks of the CPU that runs it: of this host, or of the one that was recorded.
            instruction=one.ask("cpuid", cpuid.read) if silent and (root.path == "/" or not root.live) else None,
            cpus=one.ask("sys_cpu", sys_cpu.read),
            nodes=one.ask("sys_node", sys_node.read),
            firmware=one.ask("dmi", dmi.read),
            config=one.ask("kernel_config", kernel_config.read),
            command_line=one.ask("proc_cmdline", proc_cmdline.read),
            smbios=one.ask("smbios", smbios.read),
            gaps=tuple(one.gaps),
            seconds=one.seconds,
        )
        after = _Pass(root, only).ask("hotplug", hotplug.look) if before else None
        if before is None:
            return found
        if before == after and not before.moving:
            # What broke or was late is asked again, and so is all where no list says which CPUs there are.
            whole = before.plugged.online is not None and not {gap.reason for gap in found.gaps} & {"failed", "late"}
            return replace(found, plugged=before.plugged) if whole else found
        if time.monotonic() >= deadline and readings >= _SETTLED_READINGS:
            break
        time.sleep(_AGAIN_SECONDS)
    late = [Gap(source, "late", "CPUs or nodes came or went while they were read") for source in ("sys_cpu", "sys_node")]
    gaps = (*(gap for gap in found.gaps if gap.source not in ("sys_cpu", "sys_node")), *late)
    return replace(found, cpus=None, nodes=None, gaps=gaps)


def _hypervisors(one: _Pass, answer: libvirt_domains.Answer | None) -> tuple[libvirt_domains.Hypervisor, ...] | None:
    if answer is None:
        return None
    one.gaps += answer.gaps
    return answer.hypervisors


def _stats(one: _Pass, answer: libvirt_stats.Answer | None) -> tuple[libvirt_stats.DomainStats, ...] | None:
    if answer is None:
        return None
    one.gaps += answer.gaps
    return answer.domains


def _contains(group: cgroup.Group) -> bool:
    return group.owner is not None and group.owner.kind == "container"


def _stopped(machines: dict[str, int], tasks: tuple[proc_task.TaskGroup, ...] | None) -> set[str]:
    """Machines whose process does not run, whoever waits for its answer: a signal or a debugger holds it."""
    held = {group.pid for group in tasks or () for task in group.tasks if task.tid == group.pid and task.state in ("T", "t")}
    return {uuid for uuid, pid in machines.items() if pid in held}


def _monitors(
    one: _Pass, candidates: dict[int, str | None], found: tuple[libvirt_domains.Hypervisor, ...] | None
) -> tuple[proc_fd.Machine, ...] | None:
    """Machines that libvirt does not know. Where it did not answer, those with a UUID may be its."""
    silent = {gap.reason for gap in one.gaps if gap.source == "libvirt_domains"} - {"absent"}
    known = {domain.uuid for hypervisor in found or () for domain in hypervisor.domains}
    pids = [pid for pid, uuid in candidates.items() if uuid is None or not (silent or uuid in known)]
    return one.ask("proc_fd", lambda r: proc_fd.read(r, pids)) if pids else None


def _guests(
    hypervisors: tuple[libvirt_domains.Hypervisor, ...], machines: dict[str, int], tasks: tuple[proc_task.TaskGroup, ...] | None
) -> list[qemu.Machine]:
    """Process, guest memory and resident bytes of each domain whose process is known."""
    resident = {group.pid: group.resident_bytes for group in tasks or ()}
    began = {group.pid: task.start_ticks for group in tasks or () for task in group.tasks if task.tid == group.pid}
    return [
        qemu.Machine(pid, began.get(pid), _memory_sizes(domain) or (domain.max_memory_bytes,), bytes_)
        for hypervisor in hypervisors
        for domain in hypervisor.domains
        if (pid := machines.get(domain.uuid)) is not None and domain.max_memory_bytes and (bytes_ := resident.get(pid))
    ]


def _memory_sizes(domain: libvirt_domains.Domain) -> tuple[int, ...]:
    """QEMU maps the memory of each cell by itself."""
    return tuple(cell.memory_bytes for cell in domain.definition.cells if cell.memory_bytes)
