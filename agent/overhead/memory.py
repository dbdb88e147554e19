"""Memory that a layer costs beyond what its workload uses, in bytes.

Source: KubeVirt's GetMemoryOverhead for QEMU; the kernel's own structures for a container.
"""

from __future__ import annotations

PAGE_BYTES = 4096
PTE_BYTES = 8


def qemu_bytes(base: float, per_vcpu: float, vcpus: int, per_iothread: float, iothreads: int, video: float) -> float:
    """The virtual machine monitor around the guest's memory."""
    return base + per_vcpu * vcpus + per_iothread * iothreads + video


def host_page_tables_bytes(resident: float) -> float:
    """Leaf tables that map `resident` bytes in 4 KiB pages."""
    return resident / PAGE_BYTES * PTE_BYTES


def container_kernel_bytes(
    per_thread: float, threads: int, per_process: float, processes: int, per_cpu: float, cpus: int, page_tables: float
) -> float:
    """Kernel memory charged to a container's group."""
    return per_thread * threads + per_process * processes + per_cpu * cpus + page_tables


def sandbox_bytes(reserved_slots: int, committed: float, requested: float, tables: float = 3) -> float:
    """Committed beyond requested, and `tables` page-table pages (at least three by default) a reservation that is touched."""
    return max(0.0, committed - requested) + reserved_slots * tables * PAGE_BYTES
