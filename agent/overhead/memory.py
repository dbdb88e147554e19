"""Memory that a layer costs beyond what its workload uses, in bytes.

Source: KubeVirt's GetMemoryOverhead for QEMU; the kernel's own structures for a container.
"""

from __future__ import annotations

from functools import lru_cache

from agent.model.components import MEMORY_OVERHEAD
from agent.model.snapshot import Prediction
from agent.model.workload import Workload
from agent.overhead import parameters
from agent.overhead.bands import Three, band
from agent.overhead.prediction import prediction
from agent.overhead.window import Window

PAGE_BYTES = 4096


def qemu_bytes(base: float, per_vcpu: float, vcpus: int, per_iothread: float, iothreads: int, video: float) -> float:
    """The virtual machine monitor around the guest's memory."""
    return base + per_vcpu * vcpus + per_iothread * iothreads + video


def container_kernel_bytes(
    per_thread: float, threads: int, per_process: float, processes: int, per_cpu: float, cpus: int, page_tables: float
) -> float:
    """Kernel memory charged to a container's group."""
    return per_thread * threads + per_process * processes + per_cpu * cpus + page_tables


def sandbox_bytes(reserved_slots: int, committed: float, requested: float, tables: float = 3, instance: float = 0.0) -> float:
    """Committed beyond requested; for each reservation that is touched `tables` page-table pages, at least three by default, and `instance`
    bytes of what the runtime keeps of it."""
    return max(0.0, committed - requested) + reserved_slots * (tables * PAGE_BYTES + instance)


def memory_overhead(workload: Workload, window: Window) -> Prediction | None:
    """Bytes beyond what the application itself uses."""
    match workload.paradigm:
        case "virtualization":
            return _machine_memory(workload)
        case "containerization":
            return _container_memory(workload, window)
        case "sandbox":
            return _sandbox_memory(workload)
    return None


# Many workloads are alike, and what is added to a sum shifts all of its percentiles.
@lru_cache(256)
def _qemu(vcpus: int, iothreads: int, video: float) -> Three:
    def formula(base: float, vcpu: float, iothread: float, shown: float) -> float:
        return qemu_bytes(base, vcpu, vcpus, iothread, iothreads, video * shown)

    return band(formula, parameters.QEMU_BASE, parameters.QEMU_PER_VCPU, parameters.QEMU_PER_IOTHREAD, parameters.QEMU_VIDEO)


@lru_cache(256)
def _container(threads: int, processes: int, cpus: int) -> Three:
    def formula(per_thread: float, per_process: float, per_cpu: float) -> float:
        return container_kernel_bytes(per_thread, threads, per_process, processes, per_cpu, cpus, 0.0)

    return band(formula, parameters.KERNEL_PER_THREAD, parameters.KERNEL_PER_PROCESS, parameters.KERNEL_PER_CPU)


@lru_cache(256)
def _sandbox(touched: int) -> Three:
    def formula(tables: float, instance: float) -> float:
        return sandbox_bytes(touched, 0.0, 0.0, tables, instance)

    return band(formula, parameters.PAGE_TABLES, parameters.INSTANCE_BYTES)


def _with(more: float, interval: Three) -> Three:
    point, low, high = interval
    return point + more, low + more, high + more


def _machine_memory(workload: Workload) -> Prediction | None:
    guest, held = workload.guest, workload.memory
    if guest is None or not workload.vcpus or guest.iothreads is None or guest.video_bytes is None:
        return None
    iothreads, vcpus, video = guest.iothreads, len(workload.vcpus), float(guest.video_bytes)

    interval = _qemu(vcpus, iothreads, video)
    # A process's resident size leaves explicit huge pages out.
    small = None if held.backing_bytes is None else held.backing_bytes - (held.backing_hugetlb_bytes or 0)
    measured = None if held.resident_bytes is None or small is None else held.resident_bytes - small
    inputs = {"vcpus": float(vcpus), "iothreads": float(iothreads), "video_bytes": video}
    formula = "base + per vCPU + per iothread + video memory, of the QEMU process beyond guest memory"
    return prediction(workload, MEMORY_OVERHEAD, interval, formula=formula, inputs=inputs, flags=[], measured=measured)


def _container_memory(workload: Workload, window: Window) -> Prediction | None:
    tables, processes = workload.memory.page_table_bytes, workload.processes
    threads, cpus = len(workload.threads), len(window.after.physical.cpus.online)
    if tables is None or not processes or not threads or not cpus:
        return None

    interval = _with(tables, _container(threads, processes, cpus))
    inputs = {"threads": float(threads), "processes": float(processes), "cpus": float(cpus), "page_table_bytes": float(tables)}
    formula = "kernel memory by thread, by process, by CPU, and page tables; the engine's own processes are outside the group"
    measured = workload.memory.kernel_bytes
    return prediction(workload, MEMORY_OVERHEAD, interval, formula=formula, inputs=inputs, flags=[], measured=measured)


def _sandbox_memory(workload: Workload) -> Prediction | None:
    """No more of a linear memory is resident than its size: what it costs are the page tables of sparse reservations."""
    requested, committed = workload.memory.allotted_bytes, workload.memory.backing_bytes
    if requested is None or committed is None:
        return None
    touched = sum(1 for linear in workload.memories if linear.resident_bytes)
    interval = _with(max(0.0, committed - requested), _sandbox(touched))
    inputs = {"memories": float(len(workload.memories)), "touched_memories": float(touched)}
    formula = (
        "page-table pages that only a sparse reservation needs, and what the runtime keeps of an instance; code is not seen from outside"
    )
    return prediction(workload, MEMORY_OVERHEAD, interval, formula=formula, inputs=inputs, flags=["no_counterpart"])
