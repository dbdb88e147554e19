"""The concept document's matrices, cell by cell: its term in English and in Chinese, and what this host can show for it.

A cell without evidence holds of the paradigm and is nothing that a host can show. Sections are the document's.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from exporters.views.evidence import Evidence, cost, isolation, machine, modes, names, own_kernel, shared_kernel
from exporters.views.evidence_cpu import (
    accelerators,
    allowed_cpus,
    caches,
    cpu_limits,
    cpusets,
    domains,
    guest_threads,
    guest_topology,
    interconnect,
    interrupts,
    ipis,
    kernel_surface,
    last_level_caches,
    neighbours,
    online,
    pins,
    processors,
    runnable,
    side_channels,
    smt,
    threads,
    vcpus,
)
from exporters.views.evidence_memory import (
    address_bits,
    free_memory,
    guards,
    guest_cells,
    guest_memory,
    guest_overcommit,
    guest_policy,
    ksm,
    layouts,
    limit_overcommit,
    linear,
    memory_channels,
    memory_in_use,
    memory_installed,
    memory_limits,
    nested_paging,
    nodes_used,
    numa_host,
    page_cache,
    page_tables,
    reserved,
    shared_runtime,
    tlb,
    zones,
)

Whose = Literal["host", "virtualization", "containerization", "sandbox", "kernel"]
"""What a column is about: the machine, the workloads of a paradigm, or (the kernel's CPUs) containers and sandboxes."""


Term = tuple[str, str]
"""English, Chinese."""
Cell = tuple[str, str, Evidence | None]


class RowTerms(Struct, frozen=True):
    term: Term
    cells: tuple[Cell, Cell, Cell]


class MatrixTerms(Struct, frozen=True):
    section: str
    title: Term
    columns: tuple[tuple[Whose, str, str], ...]
    rows: tuple[RowTerms, ...]


def _row(term: Term, first: Cell, second: Cell, third: Cell) -> RowTerms:
    return RowTerms(term, (first, second, third))


_PARADIGMS: tuple[tuple[Whose, str, str], ...] = (
    ("virtualization", "Virtualization", "虚拟化"),
    ("containerization", "Containerization", "容器化"),
    ("sandbox", "Sandboxing", "沙盒化"),
)
"""The columns of most of them."""

MATRICES: tuple[MatrixTerms, ...] = (
    MatrixTerms(
        "2.3.2",
        ("CPU topology", "各范式 CPU 拓扑映射矩阵"),
        _PARADIGMS,
        (
            _row(
                ("Physical CPU topology", "物理 CPU 拓扑"),
                ("direct (type 1) or indirect (type 2) access", "直接访问（Type-1）或间接访问（Type-2）", accelerators),
                ("direct access", "直接访问", allowed_cpus),
                ("direct access", "直接访问", allowed_cpus),
            ),
            _row(
                ("Logical CPU topology", "逻辑 CPU 拓扑"),
                ("a logical topology of the guest OS's own", "Guest OS 独立逻辑拓扑", guest_topology),
                ("the host OS's logical topology, shared", "Host OS 共享逻辑拓扑", domains),
                ("the runtime's logical topology", "Runtime 逻辑拓扑", threads),
            ),
            _row(
                ("CPU abstraction", "CPU 抽象"),
                ("vCPU (virtual CPU)", "vCPU (虚拟 CPU)", vcpus),
                ("cgroup CPU limits", "cgroup CPU 限制", cpu_limits),
                ("threads of the Wasm runtime", "Wasm Runtime 线程", threads),
            ),
            _row(
                ("CPU scheduling", "CPU 调度"),
                ("two levels under the hypervisor", "Hypervisor 两级调度", cost("run_queue_delay")),
                ("one level, the host OS", "Host OS 单级调度", cost("run_queue_delay")),
                ("application level, the runtime", "Runtime 应用级调度", cost("run_queue_delay")),
            ),
            _row(
                ("NUMA awareness", "NUMA 感知"),
                ("yes (NUMA topology exposed)", "支持（NUMA 拓扑暴露）", guest_cells),
                ("yes (NUMA-aware scheduling)", "支持（NUMA 感知调度）", numa_host),
                ("limited (the runtime abstracts)", "有限（Runtime 抽象）", nodes_used),
            ),
            _row(
                ("CPU affinity", "CPU 亲和性"),
                ("yes (vCPU pinning)", "支持（vCPU Pinning）", pins),
                ("yes (cpuset)", "支持（cpuset）", cpusets),
                ("limited (binding of runtime threads)", "有限（Runtime 线程绑定）", cpusets),
            ),
            _row(
                ("SMT/HT support", "SMT/HT 支持"),
                ("yes (hyperthreads exposed)", "支持（暴露超线程）", guest_threads),
                ("yes (managed by the operating system)", "支持（操作系统管理）", smt),
                ("limited (the runtime abstracts)", "有限（Runtime 抽象）", smt),
            ),
            _row(
                ("Cache awareness", "缓存感知"),
                ("limited (the guest OS is aware)", "有限（Guest OS 感知）", last_level_caches),
                ("yes (cache-aware scheduling of the host OS)", "支持（Host OS 缓存感知调度）", last_level_caches),
                ("limited (the runtime abstracts)", "有限（Runtime 抽象）", last_level_caches),
            ),
        ),
    ),
    MatrixTerms(
        "3.3.2",
        ("Memory topology", "各范式内存拓扑映射矩阵"),
        _PARADIGMS,
        (
            _row(
                ("Physical memory topology", "物理内存拓扑"),
                ("direct or indirect access", "直接访问或间接访问", nodes_used),
                ("direct access", "直接访问", nodes_used),
                ("direct access", "直接访问", nodes_used),
            ),
            _row(
                ("Logical memory topology", "逻辑内存拓扑"),
                ("a logical topology of the guest OS's own", "Guest OS 独立逻辑拓扑", guest_cells),
                ("the host OS's logical topology, shared", "Host OS 共享逻辑拓扑", zones),
                ("the runtime's logical topology", "Runtime 逻辑拓扑", linear),
            ),
            _row(
                ("Memory abstraction", "内存抽象"),
                ("guest physical memory (GPA)", "Guest 物理内存 (GPA)", guest_memory),
                ("cgroup memory limits", "cgroup 内存限制", memory_limits),
                ("Wasm linear memory", "Wasm 线性内存", linear),
            ),
            _row(
                ("Memory management", "内存管理"),
                ("two levels, hypervisor and guest OS", "Hypervisor + Guest OS 两级管理", nested_paging),
                ("one level, the host OS", "Host OS 单级管理", page_tables),
                ("application level, the runtime", "Runtime 应用级管理", layouts),
            ),
            _row(
                ("NUMA awareness", "NUMA 感知"),
                ("yes (NUMA topology exposed)", "支持（NUMA 拓扑暴露）", guest_cells),
                ("yes (NUMA-aware allocation)", "支持（NUMA 感知分配）", numa_host),
                ("limited (the runtime abstracts)", "有限（Runtime 抽象）", nodes_used),
            ),
            _row(
                ("Memory isolation", "内存隔离"),
                ("by hardware (EPT/NPT)", "硬件级隔离（EPT/NPT）", isolation),
                ("namespaces and cgroup", "命名空间隔离 + cgroup", isolation),
                ("linear memories apart", "线性内存隔离", isolation),
            ),
            _row(
                ("Memory sharing", "内存共享"),
                ("no (physical memory of its own)", "不支持（独立物理内存）", ksm),
                ("yes (shared kernel memory)", "支持（共享内核内存）", page_cache),
                ("yes (shared runtime memory)", "支持（共享 Runtime 内存）", shared_runtime),
            ),
            _row(
                ("Memory overcommit", "内存超分"),
                ("yes (overcommit, balloon driver)", "支持（内存超分/气球驱动）", guest_overcommit),
                ("yes (cgroup limits)", "支持（cgroup 限制）", limit_overcommit),
                ("yes (the runtime's memory pool)", "支持（Runtime 内存池）", reserved),
            ),
        ),
    ),
    MatrixTerms(
        "4.4.1",
        ("CPU execution modes", "CPU 执行模式对比矩阵"),
        (
            ("virtualization", "Two-level scheduling", "两级调度模式"),
            ("containerization", "Single-level scheduling", "单级调度模式"),
            ("sandbox", "Application-level scheduling", "应用级调度模式"),
        ),
        (
            _row(
                ("Levels of scheduling", "调度层级"),
                ("hypervisor and guest OS", "Hypervisor + Guest OS", modes),
                ("host OS", "Host OS", modes),
                ("runtime and host OS", "Runtime + Host OS", modes),
            ),
            _row(
                ("Scheduling delay", "调度延迟"),
                ("high (the delays of two levels add up)", "高（两级延迟叠加）", cost("steal")),
                ("low (one level's delay)", "低（单级延迟）", cost("run_queue_delay")),
                ("medium (runtime and host OS)", "中等（Runtime + Host OS）", cost("run_queue_delay")),
            ),
            _row(
                ("Context switch cost", "上下文切换开销"),
                ("high (guest OS and hypervisor)", "高（Guest OS + Hypervisor）", cost("switching")),
                ("low (the host OS only)", "低（只有 Host OS）", cost("switching")),
                ("medium (runtime and host OS)", "中等（Runtime + Host OS）", cost("switching")),
            ),
            _row(
                ("CPU utilization", "CPU 利用率"),
                ("low (cost of two schedulers)", "低（两级调度器开销）", cost("steal")),
                ("high (cost of one scheduler)", "高（单级调度器开销）", cost("throttled_periods")),
                ("medium (runtime and host OS)", "中等（Runtime + Host OS）", cost("execution")),
            ),
            _row(
                ("NUMA awareness", "NUMA 感知"),
                ("yes (the hypervisor is aware)", "支持（Hypervisor 感知）", guest_cells),
                ("yes (the host OS is aware)", "支持（Host OS 感知）", numa_host),
                ("limited (the runtime abstracts)", "有限（Runtime 抽象）", nodes_used),
            ),
            _row(
                ("Real-time behaviour", "实时性"),
                ("limited (delay of two levels)", "有限（两级调度延迟）", cost("run_queue_delay")),
                ("good (low delay of one level)", "好（单级调度延迟低）", cost("run_queue_delay")),
                ("medium (delay of the runtime)", "中等（Runtime 调度延迟）", cost("run_queue_delay")),
            ),
            _row(
                ("CPU abstraction", "CPU 抽象"),
                ("vCPU", "vCPU", vcpus),
                ("cgroup CPU limits", "cgroup CPU 限制", cpu_limits),
                ("runtime threads", "Runtime 线程", threads),
            ),
            _row(
                ("Typical use", "典型应用"),
                ("Virtualization", "虚拟化", names),
                ("Containerization", "容器化", names),
                ("Sandboxing", "沙盒化", names),
            ),
        ),
    ),
    MatrixTerms(
        "5.4.1",
        ("Memory management modes", "内存管理模式对比矩阵"),
        (
            ("virtualization", "Independent physical memory", "独立物理内存模式"),
            ("containerization", "Shared kernel memory", "共享内核内存模式"),
            ("sandbox", "Application-level memory", "应用级内存模式"),
        ),
        (
            _row(
                ("Memory abstraction", "内存抽象"),
                ("guest physical memory (GPA)", "Guest 物理内存 (GPA)", guest_memory),
                ("virtual address spaces of the host OS", "Host OS 虚拟地址空间", memory_in_use),
                ("Wasm linear memory", "Wasm 线性内存", linear),
            ),
            _row(
                ("Memory isolation", "内存隔离"),
                ("by hardware (EPT/NPT)", "硬件级隔离（EPT/NPT）", isolation),
                ("namespaces and cgroup (logical)", "命名空间 + cgroup（逻辑隔离）", isolation),
                ("at application level (linear memories apart)", "应用级隔离（线性内存隔离）", isolation),
            ),
            _row(
                ("Memory sharing", "内存共享"),
                ("no (physical memory space of its own)", "不支持（独立物理内存空间）", ksm),
                ("yes (kernel memory, libraries, page cache)", "支持（共享内核内存、共享库、页缓存）", page_cache),
                ("yes (the runtime's pool; modules apart)", "支持（Runtime 内存池，但模块间隔离）", shared_runtime),
            ),
            _row(
                ("Memory management", "内存管理"),
                ("two levels, hypervisor and guest OS", "Hypervisor + Guest OS 两级管理", nested_paging),
                ("one level, the host OS", "Host OS 单级管理", page_tables),
                ("application level, the runtime", "Runtime 应用级管理", layouts),
            ),
            _row(
                ("Memory overcommit", "内存超分"),
                ("yes (overcommit, swap, compression, balloon)", "支持（内存超分、交换、压缩、气球驱动）", guest_overcommit),
                ("yes (cgroup limits; kernel memory shared)", "支持（cgroup 限制，但共享内核内存）", limit_overcommit),
                ("yes (the runtime's pool grows)", "支持（Runtime 内存池动态分配）", reserved),
            ),
            _row(
                ("Cost of address translation", "地址转换开销"),
                ("medium (GVA to GPA to HPA, in hardware)", "中等（GVA → GPA → HPA 三级转换，但硬件加速）", cost("walk_cost")),
                ("low (virtual to physical)", "低（虚拟地址 → 物理地址 二级转换）", cost("walk_cost")),
                ("low (mapped inside the runtime, simple linear memory)", "低（Runtime 内部映射，简单线性内存）", cost("walk_cost")),
            ),
            _row(
                ("NUMA awareness", "NUMA 感知"),
                ("yes (NUMA topology exposed to the guest OS)", "支持（NUMA 拓扑暴露给 Guest OS）", guest_cells),
                ("yes (NUMA-aware allocation of the host OS)", "支持（Host OS NUMA 感知分配）", numa_host),
                ("limited (the runtime abstracts, the host OS is aware)", "有限（Runtime 抽象，Host OS NUMA 感知）", nodes_used),
            ),
            _row(
                ("Memory overhead", "内存开销"),
                ("high (memory of the guest OS)", "高（Guest OS 内存开销）", cost("memory_overhead")),
                ("low (shared kernel memory)", "低（共享内核内存）", cost("memory_overhead")),
                ("very low (no root file system, no guest OS)", "极低（零 RootFS，无 Guest OS）", cost("memory_overhead")),
            ),
            _row(
                ("Memory safety", "内存安全性"),
                ("high (isolated by hardware)", "高（硬件级隔离）", nested_paging),
                ("medium (isolated logically)", "中等（逻辑隔离）", isolation),
                ("high (types, bounds checks)", "高（类型安全、边界检查）", guards),
            ),
            _row(
                ("Typical use", "典型应用"),
                ("Virtualization", "虚拟化", names),
                ("Containerization", "容器化", names),
                ("Sandboxing", "沙盒化", names),
            ),
        ),
    ),
    MatrixTerms(
        "6.3.2",
        ("CPU channels", "各范式 CPU 通道映射矩阵"),
        _PARADIGMS,
        (
            _row(
                ("Physical CPU channels", "物理 CPU 通道"),
                ("direct (type 1) or indirect access", "直接访问（Type-1）或间接访问", interconnect),
                ("direct access", "直接访问", interconnect),
                ("direct access", "直接访问", interconnect),
            ),
            _row(
                ("Logical CPU channels", "逻辑 CPU 通道"),
                ("vCPU run queues, virtual interrupts", "vCPU 调度队列、虚拟中断", vcpus),
                ("the host OS's run queues and interrupts", "Host OS 调度队列、中断通道", interrupts),
                ("the runtime's thread pool and event loop", "Runtime 线程池、事件循环", threads),
            ),
            _row(
                ("Between CPUs", "CPU 间通信"),
                ("between vCPUs through the hypervisor", "vCPU 间通过 Hypervisor 协调", ipis),
                ("direct (IPI)", "直接 CPU 间通信（IPI）", ipis),
                ("inside the runtime", "Runtime 内部协调", None),
            ),
            _row(
                ("Interrupts", "中断处理"),
                ("virtual interrupts are injected", "虚拟中断注入", None),
                ("hardware interrupts, directly", "直接硬件中断处理", interrupts),
                ("events of the runtime", "Runtime 事件处理", None),
            ),
            _row(
                ("Scheduling channels", "调度通道"),
                ("vCPU run queues", "vCPU 调度队列", cost("run_queue_delay")),
                ("run queues of processes", "进程调度队列", runnable),
                ("the runtime's task queue", "Runtime 任务队列", cost("run_queue_delay")),
            ),
            _row(
                ("NUMA awareness", "NUMA 感知"),
                ("yes (NUMA-aware scheduling)", "支持（NUMA 感知调度）", guest_cells),
                ("yes (NUMA-aware scheduling)", "支持（NUMA 感知调度）", numa_host),
                ("limited (the runtime abstracts)", "有限（Runtime 抽象）", nodes_used),
            ),
        ),
    ),
    MatrixTerms(
        "7.3.2",
        ("Memory channels", "各范式内存通道映射矩阵"),
        _PARADIGMS,
        (
            _row(
                ("Physical memory channels", "物理内存通道"),
                ("direct or indirect access", "直接访问或间接访问", memory_channels),
                ("direct access", "直接访问", memory_channels),
                ("direct access", "直接访问", memory_channels),
            ),
            _row(
                ("Logical memory channels", "逻辑内存通道"),
                ("the guest's page tables and EPT/NPT", "Guest 页表通道 + EPT/NPT", nested_paging),
                ("the host OS's page tables", "Host OS 页表通道", page_tables),
                ("the runtime's memory pool", "Runtime 内存池通道", layouts),
            ),
            _row(
                ("Page tables", "页表通道"),
                ("GVA to GPA to HPA (three steps)", "GVA → GPA → HPA（三级转换）", cost("walk_references")),
                ("virtual to HPA (two steps)", "虚拟地址 → HPA（二级转换）", cost("walk_references")),
                ("mapped inside the runtime (simple)", "Runtime 内部映射（简单）", cost("walk_references")),
            ),
            _row(
                ("Memory allocation", "内存分配通道"),
                ("the guest OS's allocator", "Guest OS 内存分配器", None),
                ("the host OS's allocator", "Host OS 内存分配器", free_memory),
                ("the runtime's allocator", "Runtime 内存分配器", reserved),
            ),
            _row(
                ("NUMA memory policy", "NUMA 内存策略"),
                ("yes (policy of the guest OS)", "支持（Guest OS NUMA 策略）", guest_policy),
                ("yes (policy of the host OS)", "支持（Host OS NUMA 策略）", numa_host),
                ("limited (the runtime abstracts)", "有限（Runtime 抽象）", nodes_used),
            ),
            _row(
                ("TLB management", "TLB 管理"),
                ("guest's and host's TLB (two levels)", "Guest TLB + Host TLB（两级 TLB）", tlb),
                ("host's TLB (one level)", "Host TLB（单级 TLB）", tlb),
                ("caches inside the runtime", "Runtime 内部缓存", None),
            ),
        ),
    ),
    MatrixTerms(
        "8.4.1",
        ("CPU devices", "CPU 设备模型对比矩阵"),
        (
            ("host", "Physical CPU", "物理 CPU"),
            ("virtualization", "Virtual CPU (vCPU)", "虚拟 CPU (vCPU)"),
            ("kernel", "Logical CPU", "逻辑 CPU"),
        ),
        (
            _row(
                ("Level of abstraction", "抽象层级"),
                ("physical resource", "硬件物理资源", processors),
                ("virtual, by the hypervisor", "Hypervisor 虚拟抽象", vcpus),
                ("logical, by the operating system", "操作系统逻辑抽象", online),
            ),
            _row(
                ("Isolation of resources", "资源隔离"),
                ("physical", "物理隔离", None),
                ("by hardware (EPT/NPT)", "硬件级隔离（EPT/NPT）", nested_paging),
                ("logical (cgroup)", "逻辑隔离（cgroup）", cpu_limits),
            ),
            _row(
                ("How it is scheduled", "调度方式"),
                ("executes directly", "直接执行", None),
                ("two levels under the hypervisor", "Hypervisor 两级调度", cost("run_queue_delay")),
                ("one level, the host OS", "Host OS 单级调度", cost("run_queue_delay")),
            ),
            _row(
                ("Exposed CPU topology", "CPU 拓扑暴露"),
                ("the whole physical topology", "完整物理拓扑", caches),
                ("a virtual topology (configurable)", "虚拟拓扑（可配置）", guest_topology),
                ("physical (containers) or abstract (sandboxes)", "物理拓扑（容器化）或抽象（沙盒）", domains),
            ),
            _row(
                ("NUMA awareness", "NUMA 感知"),
                ("the whole NUMA topology", "完整 NUMA 拓扑", numa_host),
                ("yes (NUMA topology exposed)", "支持（NUMA 拓扑暴露）", guest_cells),
                ("yes (NUMA-aware scheduling)", "支持（NUMA 感知调度）", nodes_used),
            ),
            _row(
                ("CPU binding", "CPU 绑定"),
                ("n/a", "N/A", None),
                ("vCPU pinning", "vCPU Pinning", pins),
                ("CPU affinity (cpuset)", "CPU 亲和性（cpuset）", cpusets),
            ),
            _row(
                ("Limits of resources", "资源限制"),
                ("n/a", "N/A", None),
                ("number of vCPUs", "vCPU 数量限制", vcpus),
                ("cgroup CPU limits", "cgroup CPU 限制", cpu_limits),
            ),
            _row(
                ("Typical use", "典型应用"),
                ("physical servers", "物理服务器", machine),
                ("Virtualization", "虚拟化", names),
                ("containers, sandboxes", "容器化、沙盒化", names),
            ),
        ),
    ),
    MatrixTerms(
        "9.4.1",
        ("Memory devices", "内存设备模型对比矩阵"),
        (
            ("host", "Physical memory", "物理内存"),
            ("virtualization", "Virtual memory (guest physical memory)", "虚拟内存（Guest 物理内存）"),
            ("sandbox", "Logical memory (linear memory)", "逻辑内存（线性内存）"),
        ),
        (
            _row(
                ("Level of abstraction", "抽象层级"),
                ("physical resource", "硬件物理资源", memory_installed),
                ("virtual, by hypervisor and guest OS", "Hypervisor/Guest OS 虚拟抽象", guest_memory),
                ("at application level, by the runtime", "Runtime 应用级抽象", linear),
            ),
            _row(
                ("Isolation of resources", "资源隔离"),
                ("physical", "物理隔离", None),
                ("by hardware (EPT/NPT)", "硬件级隔离（EPT/NPT）", isolation),
                ("at application level (linear memories apart)", "应用级隔离（线性内存隔离）", isolation),
            ),
            _row(
                ("Address space", "地址空间"),
                ("physical addresses (HPA)", "物理地址（HPA）", address_bits),
                ("guest physical addresses (GPA)", "Guest 物理地址（GPA）", guest_memory),
                ("linear addresses (from 0)", "线性地址（从 0 开始）", linear),
            ),
            _row(
                ("Address translation", "地址转换"),
                ("n/a", "N/A", None),
                ("GVA to GPA to HPA (three steps)", "GVA → GPA → HPA（三级转换）", cost("walk_references")),
                ("linear address to the runtime's pool", "线性地址 → Runtime 内存池", cost("walk_references")),
            ),
            _row(
                ("Memory management", "内存管理"),
                ("memory controllers", "硬件内存控制器", memory_channels),
                ("hypervisor and guest OS, two levels", "Hypervisor + Guest OS 两级", nested_paging),
                ("application level, the runtime", "Runtime 应用级管理", layouts),
            ),
            _row(
                ("Memory sharing", "内存共享"),
                ("no", "不支持", None),
                ("no (physical memory of its own)", "不支持（独立物理内存）", ksm),
                ("yes (the runtime's pool; modules apart)", "支持（Runtime 内存池，但模块间隔离）", shared_runtime),
            ),
            _row(
                ("NUMA awareness", "NUMA 感知"),
                ("the whole NUMA topology", "完整 NUMA 拓扑", numa_host),
                ("yes (NUMA topology exposed)", "支持（NUMA 拓扑暴露）", guest_cells),
                ("limited (the runtime abstracts)", "有限（Runtime 抽象）", nodes_used),
            ),
            _row(
                ("Memory overhead", "内存开销"),
                ("n/a", "N/A", None),
                ("high (memory of the guest OS)", "高（Guest OS 内存开销）", cost("memory_overhead")),
                ("very low (no root file system)", "极低（零 RootFS）", cost("memory_overhead")),
            ),
            _row(
                ("Typical use", "典型应用"),
                ("physical servers", "物理服务器", machine),
                ("Virtualization", "虚拟化", names),
                ("sandboxes (Wasm)", "沙盒化（Wasm）", names),
            ),
        ),
    ),
    MatrixTerms(
        "10.3.1",
        ("Stacks of CPU and memory", "CPU/内存协议栈对比矩阵"),
        _PARADIGMS,
        (
            _row(
                ("Levels of CPU scheduling", "CPU 调度层级"),
                ("hypervisor and guest OS (two levels)", "Hypervisor + Guest OS（两级）", modes),
                ("host OS (one level)", "Host OS（单级）", modes),
                ("runtime and host OS (application and one level)", "Runtime + Host OS（应用级+单级）", modes),
            ),
            _row(
                ("Levels of memory management", "内存管理层级"),
                ("hypervisor and guest OS (two levels)", "Hypervisor + Guest OS（两级）", nested_paging),
                ("host OS (one level)", "Host OS（单级）", page_tables),
                ("runtime and host OS (application and one level)", "Runtime + Host OS（应用级+单级）", layouts),
            ),
            _row(
                ("Levels of address translation", "地址转换层级"),
                ("GVA to GPA to HPA (three steps, EPT/NPT)", "GVA → GPA → HPA（三级转换，EPT/NPT）", cost("walk_references")),
                ("virtual to HPA (two steps)", "虚拟地址 → HPA（二级转换）", cost("walk_references")),
                ("mapped inside the runtime (simple)", "Runtime 内部映射（简单）", cost("walk_references")),
            ),
            _row(
                ("Levels of TLB", "TLB 层级"),
                ("guest's and host's TLB (two levels)", "Guest TLB + Host TLB（两级 TLB）", tlb),
                ("host's TLB (one level)", "Host TLB（单级 TLB）", tlb),
                ("caches inside the runtime", "Runtime 内部缓存", None),
            ),
            _row(
                ("Scheduling cost", "调度开销"),
                ("high (the delays of two levels add up)", "高（两级调度延迟叠加）", cost("steal")),
                ("low (delay of one level)", "低（单级调度延迟）", cost("run_queue_delay")),
                ("medium (runtime and host OS)", "中等（Runtime + Host OS）", cost("run_queue_delay")),
            ),
            _row(
                ("Memory overhead", "内存开销"),
                ("high (memory of the guest OS)", "高（Guest OS 内存开销）", cost("memory_overhead")),
                ("low (shared kernel memory)", "低（共享内核内存）", cost("memory_overhead")),
                ("very low (no root file system)", "极低（零 RootFS）", cost("memory_overhead")),
            ),
            _row(
                ("NUMA awareness", "NUMA 感知"),
                ("yes (NUMA topology exposed to the guest OS)", "支持（NUMA 拓扑暴露给 Guest OS）", guest_cells),
                ("yes (the host OS is aware)", "支持（Host OS NUMA 感知）", numa_host),
                ("limited (the runtime abstracts)", "有限（Runtime 抽象）", nodes_used),
            ),
            _row(
                ("Isolation of resources", "资源隔离"),
                ("by hardware (EPT/NPT)", "硬件级隔离（EPT/NPT）", isolation),
                ("logical (namespaces and cgroup)", "逻辑隔离（命名空间 + cgroup）", isolation),
                ("at application level (linear memories apart)", "应用级隔离（线性内存隔离）", isolation),
            ),
        ),
    ),
    MatrixTerms(
        "11.1",
        ("What is alike", "CPU/内存架构同构性"),
        _PARADIGMS,
        (
            _row(
                ("Level of abstraction", "抽象层级"),
                ("at hardware level (vCPU)", "硬件级抽象（vCPU）", vcpus),
                ("at the level of the operating system", "操作系统级抽象", cpu_limits),
                ("at application level (runtime)", "应用级抽象（Runtime）", threads),
            ),
            _row(
                ("Abstraction of resources", "资源抽象"),
                ("vCPU, guest physical memory", "vCPU、Guest 物理内存", guest_memory),
                ("cgroup, virtual address spaces", "cgroup、虚拟地址空间", memory_in_use),
                ("runtime threads, linear memory", "Runtime 线程、线性内存", linear),
            ),
            _row(
                ("Levels of management", "管理层级"),
                ("two levels", "两级管理", modes),
                ("one level", "单级管理", modes),
                ("application and one level", "应用级+单级管理", modes),
            ),
            _row(
                ("Mechanism of isolation", "隔离机制"),
                ("hardware", "硬件级隔离", isolation),
                ("logical", "逻辑隔离", isolation),
                ("application level", "应用级隔离", isolation),
            ),
            _row(
                ("Exposed topology", "拓扑暴露"),
                ("a virtual topology (configurable)", "虚拟拓扑（可配置）", guest_topology),
                ("physical topology (shared)", "物理拓扑（共享）", processors),
                ("abstract topology (hidden)", "抽象拓扑（隐藏）", None),
            ),
        ),
    ),
    MatrixTerms(
        "11.2",
        ("What is equivalent", "CPU/内存架构等价性"),
        _PARADIGMS,
        (
            _row(
                ("CPU scheduling", "CPU 调度"),
                ("hypervisor and guest OS", "Hypervisor + Guest OS", cost("run_queue_delay")),
                ("host OS", "Host OS", cost("run_queue_delay")),
                ("runtime and host OS", "Runtime + Host OS", cost("run_queue_delay")),
            ),
            _row(
                ("Memory management", "内存管理"),
                ("hypervisor and guest OS", "Hypervisor + Guest OS", nested_paging),
                ("host OS", "Host OS", page_tables),
                ("runtime and host OS", "Runtime + Host OS", layouts),
            ),
            _row(
                ("Isolation of resources", "资源隔离"),
                ("hardware", "硬件级隔离", isolation),
                ("logical", "逻辑隔离", isolation),
                ("application level", "应用级隔离", isolation),
            ),
            _row(
                ("Limits of resources", "资源限制"),
                ("vCPUs and memory as configured", "vCPU/内存配置", vcpus),
                ("cgroup limits", "cgroup 限制", cpu_limits),
                ("limits of the runtime", "Runtime 限制", memory_limits),
            ),
            _row(
                ("NUMA awareness", "NUMA 感知"),
                ("yes (topology exposed)", "支持（拓扑暴露）", guest_cells),
                ("yes (NUMA-aware)", "支持（NUMA 感知）", numa_host),
                ("limited (abstracted)", "有限（抽象）", nodes_used),
            ),
            _row(
                ("Performance cost", "性能开销"),
                ("high (two levels)", "高（两级管理）", cost("steal")),
                ("low (one level)", "低（单级管理）", cost("throttled_periods")),
                ("medium (application and one level)", "中等（应用级+单级）", cost("execution")),
            ),
        ),
    ),
    MatrixTerms(
        "11.3",
        ("Performance", "CPU/内存架构性能对比矩阵"),
        _PARADIGMS,
        (
            _row(
                ("CPU scheduling delay", "CPU 调度延迟"),
                ("high (two levels)", "高（两级调度）", cost("run_queue_delay")),
                ("low (one level)", "低（单级调度）", cost("run_queue_delay")),
                ("medium (application and one level)", "中等（应用级+单级）", cost("run_queue_delay")),
            ),
            _row(
                ("Context switch cost", "上下文切换开销"),
                ("high (guest OS and hypervisor)", "高（Guest OS + Hypervisor）", cost("switching")),
                ("low (the host OS only)", "低（只有 Host OS）", cost("switching")),
                ("medium (runtime and host OS)", "中等（Runtime + Host OS）", cost("switching")),
            ),
            _row(
                ("Memory latency", "内存访问延迟"),
                ("medium (three steps of translation)", "中等（三级地址转换）", cost("walk_cost")),
                ("low (two steps of translation)", "低（二级地址转换）", cost("walk_cost")),
                ("low (mapped inside the runtime)", "低（Runtime 内部映射）", cost("walk_cost")),
            ),
            _row(
                ("TLB hit rate", "TLB 命中率"),
                ("medium (two levels of TLB)", "中等（两级 TLB）", tlb),
                ("high (one level of TLB)", "高（单级 TLB）", tlb),
                ("high (caches of the runtime)", "高（Runtime 缓存）", None),
            ),
            _row(
                ("Memory overhead", "内存开销"),
                ("high (the guest OS)", "高（Guest OS 开销）", cost("memory_overhead")),
                ("low (shared kernel)", "低（共享内核）", cost("memory_overhead")),
                ("very low (no root file system)", "极低（零 RootFS）", cost("memory_overhead")),
            ),
            _row(
                ("Start time", "启动时间"),
                ("slow (a guest OS boots)", "慢（Guest OS 启动）", cost("start_time")),
                ("fast (a process starts)", "快（进程启动）", cost("start_time")),
                ("very fast (a module is loaded)", "极快（模块加载）", cost("start_time")),
            ),
            _row(
                ("CPU utilization", "CPU 利用率"),
                ("low (cost of two levels)", "低（两级调度开销）", cost("steal")),
                ("high (one level)", "高（单级调度）", cost("throttled_periods")),
                ("medium (cost of the runtime)", "中等（Runtime 开销）", cost("execution")),
            ),
        ),
    ),
    MatrixTerms(
        "11.4",
        ("Security", "CPU/内存架构安全性对比矩阵"),
        _PARADIGMS,
        (
            _row(
                ("Strength of isolation", "隔离强度"),
                ("high (isolated by hardware)", "高（硬件级隔离）", isolation),
                ("medium (logical)", "中（逻辑隔离）", isolation),
                ("high (application level)", "高（应用级隔离）", isolation),
            ),
            _row(
                ("Attack surface", "攻击面"),
                ("small (the guest OS is apart)", "小（Guest OS 隔离）", own_kernel),
                ("large (shared kernel)", "大（共享内核）", kernel_surface),
                ("small (the runtime is apart)", "小（Runtime 隔离）", shared_runtime),
            ),
            _row(
                ("Memory safety", "内存安全"),
                ("high (EPT/NPT)", "高（EPT/NPT 硬件隔离）", nested_paging),
                ("medium (processes apart)", "中（进程隔离）", isolation),
                ("high (types, bounds checks)", "高（类型安全、边界检查）", guards),
            ),
            _row(
                ("CPU safety", "CPU 安全"),
                ("high (vCPUs apart)", "高（vCPU 隔离）", neighbours),
                ("medium (processes apart)", "中（进程隔离）", neighbours),
                ("medium (runtime threads apart)", "中（Runtime 线程隔离）", neighbours),
            ),
            _row(
                ("Risk of an attack on the kernel", "内核攻击风险"),
                ("low (a guest OS of its own)", "低（独立 Guest OS）", own_kernel),
                ("high (shared kernel)", "高（共享内核）", kernel_surface),
                ("low (does not depend on the kernel)", "低（无内核依赖）", shared_kernel),
            ),
            _row(
                ("Side channels", "侧信道攻击"),
                ("medium (NUMA and others)", "中（NUMA 等）", side_channels),
                ("high (shared hardware)", "高（共享硬件）", side_channels),
                ("low (the runtime abstracts)", "低（Runtime 抽象）", side_channels),
            ),
        ),
    ),
)

CLAIMS = {
    "scheduling_delay": "调度延迟：容器化 < 沙盒化 < 虚拟化",
    "context_switch": "上下文切换开销：容器化 < 沙盒化 < 虚拟化",
    "performance": "性能等价性：容器化 > 沙盒化 > 虚拟化（性能开销从低到高）",
    "translation": "内存访问延迟：容器化（二级地址转换） < 虚拟化（三级地址转换）",
    "memory_overhead": "内存开销：沙盒化 < 容器化 < 虚拟化",
    "start_time": "启动时间：沙盒化 < 容器化 < 虚拟化",
    "latency_L1": "L1 Cache：延迟 ~1ns",
    "latency_L2": "L2 Cache：延迟 ~3-10ns",
    "latency_L3": "L3 Cache：延迟 ~20-40ns",
    "latency_DRAM": "内存（DRAM）：延迟 ~50-100ns",
    "isolation": "隔离等价性：虚拟化 > 沙盒化 > 容器化（隔离强度从强到弱）",
}
"""The ordinal claims in the document's words, by id."""
