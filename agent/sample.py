"""One pass over all sources: each answers into a typed field, or leaves a gap. Nothing here understands an answer."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from typing import TypeVar

from agent.config import Config
from agent.model.values import Fact, Gap
from collectors import (
    cgroup,
    cpuid,
    dmi,
    docker_engine,
    hugepages,
    libvirt_domains,
    proc_cpuinfo,
    proc_interrupts,
    proc_pressure,
    proc_schedstat,
    proc_stat,
    proc_sys,
    proc_task,
    proc_vm,
    processes,
    qemu,
    sys_cpu,
    sys_kvm,
    sys_mm,
    sys_node,
    wasm_maps,
)
from collectors.sysroot import SysRoot, Unavailable
from collectors.text import Malformed

T = TypeVar("T")

SOURCES = (
    "cgroup",
    "cpuid",
    "dmi",
    "docker_engine",
    "hugepages",
    "libvirt_domains",
    "proc_cpuinfo",
    "proc_interrupts",
    "proc_pressure",
    "proc_schedstat",
    "proc_stat",
    "proc_sys",
    "proc_task",
    "proc_vm",
    "processes",
    "qemu",
    "sys_cpu",
    "sys_kvm",
    "sys_mm",
    "sys_node",
    "wasm_maps",
)
"""The readers, by the name of their module."""

_PTRACE = "needs CAP_SYS_PTRACE: run as root or by the unit in deploy/"
_REMEDIES = {
    ("cgroup", "unsupported"): "boot with psi=1 for pressure; enable the controller in cgroup.subtree_control",
    ("proc_task", "denied"): _PTRACE,
    ("qemu", "denied"): _PTRACE,
    ("wasm_maps", "denied"): _PTRACE,
}


class Sample(Fact, frozen=True):
    """What every source said, None where it said nothing."""

    cpus: sys_cpu.Cpus | None = None
    nodes: sys_node.Nodes | None = None
    pools: tuple[hugepages.HugePagePool, ...] | None = None
    cpuinfo: proc_cpuinfo.Cpuinfo | None = None
    instruction: cpuid.Cpuid | None = None
    kernel: proc_sys.Kernel | None = None
    firmware: dmi.Dmi | None = None
    stat: proc_stat.Stat | None = None
    run_queues: tuple[proc_schedstat.RunQueue, ...] | None = None
    interrupts: proc_interrupts.Interrupts | None = None
    pressures: proc_pressure.Pressures | None = None
    memory: proc_vm.Memory | None = None
    policy: sys_mm.MemoryPolicy | None = None
    kvm: sys_kvm.Kvm | None = None
    cgroups: cgroup.Cgroups | None = None
    table: tuple[processes.Process, ...] | None = None
    engines: tuple[docker_engine.Engine, ...] | None = None
    hypervisors: tuple[libvirt_domains.Hypervisor, ...] | None = None
    sandboxes: tuple[wasm_maps.WasmProcess, ...] | None = None
    tasks: tuple[proc_task.TaskGroup, ...] | None = None
    guests: tuple[qemu.GuestMemory, ...] | None = None
    gaps: tuple[Gap, ...] = ()
    seconds: dict[str, float] = {}
    """How long each source took."""
    counted_at: float | None = None
    """When the workloads' counters were read (time.monotonic): a pass that has to import or wait comes to them later than others."""


class Errands:
    """Questions to other programs, each in a thread that can be left behind when the program does not answer.

    While one is still out, the same question is not asked again: a hung daemon costs one thread, not one a scrape.
    """

    def __init__(self) -> None:
        self._out: dict[str, threading.Thread] = {}

    def send(self, source: str, run: Callable[[], None]) -> threading.Thread | None:
        before = self._out.get(source)
        if before is not None and before.is_alive():
            return None
        # A daemon thread does not keep the process from ending.
        thread = self._out[source] = threading.Thread(target=run, name=source, daemon=True)
        thread.start()
        return thread


class _Pass:
    """Asks the sources of one sample and keeps their gaps."""

    def __init__(self, root: SysRoot, only: tuple[str, ...]) -> None:
        self.root = root
        self.only = only
        self.gaps: list[Gap] = []
        self.seconds: dict[str, float] = {}

    def ask(self, source: str, read: Callable[[SysRoot], T]) -> T | None:
        if self.only and source not in self.only:
            return None
        answer, gaps, seconds = _ask(self.root, source, read)
        self.gaps += gaps
        self.seconds[source] = seconds
        return answer

    def send(self, source: str, read: Callable[[SysRoot], T], errands: Errands) -> Callable[[float], T | None]:
        """Ask in the background; the result waits at most until a deadline (time.monotonic)."""
        if self.only and source not in self.only:
            return lambda _: None
        started = time.monotonic()
        answers: list[tuple[T | None, list[Gap], float]] = []
        thread = errands.send(source, lambda: answers.append(_ask(self.root, source, read)))

        def wait(deadline: float) -> T | None:
            if thread is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
            if not answers:
                waited = time.monotonic() - started
                detail = "the question before this one is still out" if thread is None else f"no answer in {waited:.1f} s"
                self.gaps.append(Gap(source, "late", detail, "look at the log of the program that is asked"))
                self.seconds[source] = waited
                return None
            answer, gaps, seconds = answers[0]
            self.gaps += gaps
            self.seconds[source] = seconds
            return answer

        return wait


def _ask(root: SysRoot, source: str, read: Callable[[SysRoot], T]) -> tuple[T | None, list[Gap], float]:
    """One reader's answer, its gaps, its seconds. A broken reader costs its own source and no other."""
    view = root.watch()
    answer, gaps = None, []
    started = time.perf_counter()
    try:
        answer = read(view)
    except Unavailable as error:
        gaps.append(Gap(source, error.reason, error.detail, error.remedy))
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
    return answer, gaps, time.perf_counter() - started


def take(root: SysRoot, config: Config, errands: Errands, patience_seconds: float = 1.0) -> Sample:
    """Ask every source once. Programs get `patience_seconds` together; files are read at once."""
    deadline = time.monotonic() + patience_seconds
    one = _Pass(root, config.only)
    engines = one.send("docker_engine", lambda r: docker_engine.read(r, config.docker), errands)
    hypervisors = one.send("libvirt_domains", lambda r: libvirt_domains.read(r, config.libvirt), errands)
    cpuinfo = one.ask("proc_cpuinfo", proc_cpuinfo.read)
    silent = cpuinfo is None or not any(processor.model_name for processor in cpuinfo.processors)
    table = one.ask("processes", processes.read)
    cgroups = one.ask("cgroup", cgroup.read)
    counted_at = time.monotonic()
    # Children of kthreadd, pid 2, have no memory map.
    users = tuple(process.pid for process in table or () if 2 not in (process.pid, process.parent_pid))
    sandboxes = one.ask("wasm_maps", lambda r: wasm_maps.read(r, users)) if users else None
    machines = {process.vm_uuid: process.pid for process in table or () if process.vm_uuid}
    pids = {pid for group in (cgroups.groups if cgroups else ()) for pid in group.processes or ()}
    pids |= {*machines.values()} | {process.pid for process in sandboxes or ()}
    tasks = one.ask("proc_task", lambda r: proc_task.read(r, pids)) if pids else None
    return Sample(
        cpuinfo=cpuinfo,
        table=table,
        cgroups=cgroups,
        sandboxes=sandboxes,
        tasks=tasks,
        # The instruction speaks of the CPU that runs it: of this host, or of the one that was recorded.
        instruction=one.ask("cpuid", cpuid.read) if silent and (root.path == "/" or not root.live) else None,
        kernel=one.ask("proc_sys", proc_sys.read),
        cpus=one.ask("sys_cpu", sys_cpu.read),
        nodes=one.ask("sys_node", sys_node.read),
        pools=one.ask("hugepages", hugepages.read),
        firmware=one.ask("dmi", dmi.read),
        stat=one.ask("proc_stat", proc_stat.read),
        run_queues=one.ask("proc_schedstat", proc_schedstat.read),
        interrupts=one.ask("proc_interrupts", proc_interrupts.read),
        pressures=one.ask("proc_pressure", proc_pressure.read),
        memory=one.ask("proc_vm", proc_vm.read),
        policy=one.ask("sys_mm", sys_mm.read),
        kvm=one.ask("sys_kvm", sys_kvm.read),
        engines=engines(deadline),
        hypervisors=(found := hypervisors(deadline)),
        guests=one.ask("qemu", lambda r: qemu.read(r, _guests(found, machines, tasks))) if found and machines else None,
        gaps=tuple(one.gaps),
        seconds=one.seconds,
        counted_at=counted_at,
    )


def _guests(
    hypervisors: tuple[libvirt_domains.Hypervisor, ...], machines: dict[str, int], tasks: tuple[proc_task.TaskGroup, ...] | None
) -> list[tuple[int, int, int]]:
    """Process, guest memory and resident bytes of each domain whose process is known."""
    resident = {group.pid: group.resident_bytes for group in tasks or ()}
    return [
        (pid, domain.max_memory_bytes, bytes_)
        for hypervisor in hypervisors
        for domain in hypervisor.domains
        if (pid := machines.get(domain.uuid)) is not None and domain.max_memory_bytes and (bytes_ := resident.get(pid))
    ]
