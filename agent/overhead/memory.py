"""Memory that a layer costs beyond what its workload uses, in bytes.

Source: KubeVirt's GetMemoryOverhead for QEMU; the kernel's own structures for a container.
"""

from __future__ import annotations

from agent.model.snapshot import Prediction
from agent.model.workload import Workload
from agent.overhead import parameters
from agent.overhead.parameters import bounds
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


def sandbox_bytes(reserved_slots: int, committed: float, requested: float, tables: float = 3) -> float:
    """Committed beyond requested, and `tables` page-table pages (at least three by default) a reservation that is touched."""
    return max(0.0, committed - requested) + reserved_slots * tables * PAGE_BYTES


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


def _machine_memory(workload: Workload) -> Prediction | None:
    guest, held = workload.guest, workload.memory
    if guest is None or not workload.vcpus or guest.iothreads is None or guest.video_bytes is None:
        return None
    iothreads, vcpus, video = guest.iothreads, len(workload.vcpus), float(guest.video_bytes)

    def formula(base: float, vcpu: float, iothread: float, shown: float) -> float:
        return qemu_bytes(base, vcpu, vcpus, iothread, iothreads, video * shown)

    interval = bounds(formula, parameters.QEMU_BASE, parameters.QEMU_PER_VCPU, parameters.QEMU_PER_IOTHREAD, parameters.QEMU_VIDEO)
    measured = None if held.resident_bytes is None or held.backing_bytes is None else held.resident_bytes - held.backing_bytes
    inputs = {"vcpus": float(vcpus), "iothreads": float(iothreads), "video_bytes": video}
    text = "base + per vCPU + per iothread + video memory, of the QEMU process beyond guest memory"
    source = "resident size of QEMU less that of the guest's memory (status, smaps)"
    return prediction(workload, "memory_overhead", interval, "bytes", "intrinsic", text, inputs, [], measured, source)


def _container_memory(workload: Workload, window: Window) -> Prediction | None:
    tables, processes = workload.memory.page_table_bytes, workload.processes
    threads, cpus = len(workload.threads), len(window.after.physical.cpus.online)
    if tables is None or not processes or not threads or not cpus:
        return None

    def formula(per_thread: float, per_process: float, per_cpu: float) -> float:
        return container_kernel_bytes(per_thread, threads, per_process, processes, per_cpu, cpus, tables)

    interval = bounds(formula, parameters.KERNEL_PER_THREAD, parameters.KERNEL_PER_PROCESS, parameters.KERNEL_PER_CPU)
    inputs = {"threads": float(threads), "processes": float(processes), "cpus": float(cpus), "page_table_bytes": float(tables)}
    text = "kernel memory by thread, by process, by CPU, and page tables; the engine's own processes are outside the group"
    source = "memory.stat kernel (v1: memory.kmem.usage_in_bytes)"
    measured = workload.memory.kernel_bytes
    return prediction(workload, "memory_overhead", interval, "bytes", "intrinsic", text, inputs, [], measured, source)


def _sandbox_memory(workload: Workload) -> Prediction | None:
    """No more of a linear memory is resident than its size: what it costs are the page tables of sparse reservations."""
    requested, committed = workload.memory.allotted_bytes, workload.memory.backing_bytes
    if requested is None or committed is None:
        return None
    touched = sum(1 for linear in workload.memories if linear.resident_bytes)
    interval = bounds(lambda tables: sandbox_bytes(touched, committed, requested, tables), parameters.PAGE_TABLES)
    inputs = {"memories": float(len(workload.memories)), "touched_memories": float(touched)}
    text = "page-table pages that only a sparse reservation needs; code and instances are not seen from outside"
    return prediction(workload, "memory_overhead", interval, "bytes", "intrinsic", text, inputs, ["no_counterpart"])
