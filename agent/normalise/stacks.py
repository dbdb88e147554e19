"""The protocol stack of each paradigm, from hardware to application, with the facts of this workload on it.

The layers and their elements are those of the concept document's section 10 (CPU scheduling and memory management stacks).
A fact is what was read; an element without one applies but is not known here.
"""

from __future__ import annotations

from agent.model.facts.proc_task import Thread
from agent.model.logical import Logical
from agent.model.physical import Physical
from agent.model.sandbox import Growth
from agent.model.values import CpuSet, Limit
from agent.model.workload import Element, Layer, Stack, Workload


def stack(workload: Workload, hardware: Physical, kernel: Logical) -> Stack:
    match workload.paradigm:
        case "virtualization":
            return Stack(_vm_cpu(workload, hardware, kernel), _vm_memory(workload, hardware, kernel))
        case "containerization":
            return Stack(_container_cpu(workload, hardware, kernel), _container_memory(workload, hardware, kernel))
        case "sandbox":
            return Stack(_sandbox_cpu(workload, hardware, kernel), _sandbox_memory(workload, hardware, kernel))
        case "process":
            # A unit of the host's own: the kernel bounds it as it does a container.
            cpu, memory = _container_cpu(workload, hardware, kernel), _container_memory(workload, hardware, kernel)
            return Stack(*((*layers[:-1], Layer("application", layers[-1].elements)) for layers in (cpu, memory)))


def _vm_cpu(workload: Workload, hardware: Physical, kernel: Logical) -> tuple[Layer, ...]:
    vcpus, guest = workload.vcpus, workload.guest
    pins = ", ".join(f"vCPU {vcpu.number} on {vcpu.affinity}" for vcpu in vcpus if vcpu.pinned)
    topology = None
    if guest and guest.sockets and guest.cores and guest.threads:
        topology = f"{guest.sockets} sockets, {guest.cores} cores, {guest.threads} threads each"
    return (
        _cpu_hardware(workload, hardware, kernel),
        Layer(
            "hypervisor",
            (
                Element("vCPU scheduler", f"{len(vcpus)} vCPU threads under the host scheduler" if vcpus else None),
                Element("vCPU pinning", pins or ("all vCPUs float" if any(vcpu.pinned is False for vcpu in vcpus) else None)),
                Element("vCPU time", _ns(workload.cpu.run_ns)),
                Element("vCPU run-queue delay", _ns(workload.cpu.delay_ns)),
                Element("virtual interrupt injection"),
                _quota(workload),
            ),
        ),
        Layer("guest OS", (Element("guest CPU topology", topology), Element("guest scheduler"), Element("guest interrupt handling"))),
        Layer("guest application", (Element("guest processes and threads"),)),
    )


def _vm_memory(workload: Workload, hardware: Physical, kernel: Logical) -> tuple[Layer, ...]:
    memory, guest = workload.memory, workload.guest
    paging = kernel.kvm.nested_paging if kernel.kvm else None
    accelerated = guest is not None and guest.accelerator == "kvm"
    translation = {True: "nested paging (EPT or NPT)", False: "shadow paging", None: None}[paging] if accelerated else "software MMU (TCG)"
    ballooned = None
    if memory.allotted_bytes is not None and memory.allotted_max_bytes is not None:
        ballooned = _bytes(memory.allotted_max_bytes - memory.allotted_bytes)
    cells = f"{guest.numa_cells} cells" if guest and guest.numa_cells else None
    return (
        _memory_hardware(workload, hardware),
        Layer(
            "hypervisor",
            (
                Element("guest physical to host physical", translation),
                Element("guest physical memory", _bytes(memory.allotted_max_bytes)),
                Element("resident on the host", _bytes(memory.backing_bytes)),
                Element("balloon", ballooned),
                Element("NUMA topology shown to the guest", cells),
                _memory_limit(workload),
            ),
        ),
        Layer("guest OS", (Element("guest page tables"), Element("guest allocator"), Element("guest NUMA policy"))),
        Layer("guest application", (Element("guest virtual address space"),)),
    )


def _container_cpu(workload: Workload, hardware: Physical, kernel: Logical) -> tuple[Layer, ...]:
    cpu = workload.cpu
    share = f"cpu.shares {cpu.shares}" if cpu.shares is not None else f"cpu.weight {cpu.weight}" if cpu.weight is not None else None
    return (
        _cpu_hardware(workload, hardware, kernel),
        Layer(
            "host OS",
            (
                *_host_scheduler(kernel),
                Element("cgroup share", share),
                _quota(workload),
                Element("cpuset", _cpus(workload.placement.allowed_cpus)),
            ),
        ),
        Layer("container", _threads(workload)),
    )


def _container_memory(workload: Workload, hardware: Physical, kernel: Logical) -> tuple[Layer, ...]:
    memory = workload.memory
    return (
        _memory_hardware(workload, hardware),
        Layer(
            "host OS",
            (
                *_host_memory(kernel),
                _memory_limit(workload),
                Element("cgroup memory in use", _bytes(memory.current_bytes)),
                Element("cgroup OOM kills", _count(memory.events.get("oom_kill"))),
            ),
        ),
        Layer("container", (Element("virtual address spaces of its processes"), Element("page tables", _bytes(memory.page_table_bytes)))),
    )


def _sandbox_cpu(workload: Workload, hardware: Physical, kernel: Logical) -> tuple[Layer, ...]:
    return (
        _cpu_hardware(workload, hardware, kernel),
        Layer("host OS", (*_host_scheduler(kernel), _quota(workload))),
        Layer("runtime", (Element("runtime", workload.runtime), *_threads(workload), _roles(workload), Element("task scheduling"))),
        Layer("Wasm application", (Element("modules and functions"), Element("CPU topology", "hidden by the runtime"))),
    )


def _sandbox_memory(workload: Workload, hardware: Physical, kernel: Logical) -> tuple[Layer, ...]:
    memory = workload.memory
    guessed = any(linear.confidence == "low" for linear in workload.memories)
    return (
        _memory_hardware(workload, hardware),
        Layer("host OS", (*_host_memory(kernel), _memory_limit(workload))),
        Layer(
            "runtime",
            (
                Element("address space reserved", _bytes(memory.reserved_bytes)),
                Element("of it guards, never opened", _bytes(memory.guard_bytes)),
                Element("accessible to the guests", _bytes(memory.allotted_bytes)),
                Element("resident", _bytes(memory.backing_bytes)),
                Element("runtime process", _bytes(memory.resident_bytes)),
                _growth(workload),
            ),
        ),
        Layer(
            "Wasm application",
            (
                Element("linear memories", str(len(workload.memories)), "inferred" if guessed else None),
                Element("linear memory size", _bytes(memory.allotted_bytes)),
                Element("names that its embedder gives", _named(workload)),
                Element("physical memory topology", "hidden by the runtime"),
            ),
        ),
    )


def _cpu_hardware(workload: Workload, hardware: Physical, kernel: Logical) -> Layer:
    cores = workload.placement.cores
    return Layer(
        "hardware",
        (
            Element(
                "CPU cores", None if cores is None else f"{cores} of {len(hardware.cores)} cores, CPUs {workload.placement.allowed_cpus}"
            ),
            Element("interrupt controller", f"{len(kernel.cpu.interrupts)} interrupt lines" if kernel.cpu.interrupts else None),
            Element("packages and their interconnect", _count(len(hardware.packages) or None)),
        ),
    )


def _memory_hardware(workload: Workload, hardware: Physical) -> Layer:
    nodes = workload.placement.nodes_spanned
    return Layer(
        "hardware",
        (
            Element("memory", _bytes(hardware.memory.total_bytes)),
            Element("memory near its CPUs", None if nodes is None else f"node {nodes} (the host has {len(hardware.nodes)})"),
        ),
    )


def _host_scheduler(kernel: Logical) -> tuple[Element, ...]:
    tick, scheduler = kernel.cpu.tick_hz, kernel.cpu.scheduler
    return (
        Element(
            "fair scheduler",
            {"cfs": "CFS", "eevdf": "EEVDF"}.get(scheduler.fair_class or "") if scheduler else None,
            scheduler.fair_class_origin if scheduler else None,
        ),
        Element("scheduler tick", f"{tick} Hz" if tick else None, kernel.cpu.tick_hz_origin),
        Element("runnable tasks on the host", _count(kernel.cpu.runnable_tasks)),
    )


def _host_memory(kernel: Logical) -> tuple[Element, ...]:
    levels, thp, policy = kernel.cpu.page_table_levels, kernel.memory.thp, kernel.memory.policy
    return (
        Element("page table levels", _count(levels)),
        Element("transparent huge pages", thp.enabled if thp else None),
        Element("NUMA balancing", _count(policy.numa_balancing) if policy else None),
    )


def _threads(workload: Workload) -> tuple[Element, ...]:
    return (
        Element("threads", str(len(workload.threads))),
        Element("CPU time of its threads", _ns(workload.cpu.run_ns)),
        Element("run-queue delay of its threads", _ns(workload.cpu.delay_ns)),
        Element("CPUs it last ran on", _cpus(workload.placement.last_cpus)),
    )


def _roles(workload: Workload) -> Element:
    """Threads and CPU time by what they do, those that nothing tells of last."""
    told: dict[str, list[Thread]] = {}
    for thread in sorted(workload.threads, key=lambda one: (one.role is None, one.role or "")):
        told.setdefault(thread.role or "not told", []).append(thread)
    if told.keys() <= {"not told"}:
        return Element("what its threads do")
    parts = []
    for role, threads in told.items():
        times = [thread.run_ns for thread in threads if thread.run_ns is not None]
        waiting = sum(thread.state == "S" for thread in threads)
        parts.append(f"{len(threads)} {role}{f' ({_ns(sum(times))}, {waiting} waiting)' if len(times) == len(threads) else ''}")
    guessed = any(thread.role_origin == "inferred" for thread in workload.threads)
    return Element("what its threads do", ", ".join(parts), "inferred" if guessed else None)


def _growth(workload: Workload) -> Element:
    """The limit that binds; where that is not known, those that have an end."""
    known = workload.growth or Growth(())
    ends = [bound for bound in known.bounds if bound.room_bytes is not None and not bound.room_bytes.unlimited and bound.name in _BOUNDS]
    shown = [bound for bound in ends if bound.name == known.binding] or ends
    parts = [f"{_BOUNDS[bound.name]}: {_bytes(bound.room_bytes)} more" for bound in shown]
    guessed = any(bound.origin == "inferred" for bound in shown)
    return Element("what bounds their growth", ", ".join(parts) or None, "inferred" if guessed and parts else None)


_BOUNDS = {
    "declared_maxima": "their declared maxima",
    "pool_slots": "the slots of the pool",
    "cgroup_memory": "the memory limit",
    "process_data": "RLIMIT_DATA",
}


def _named(workload: Workload) -> str | None:
    names = sorted({one.instance for memory in workload.memories for one in memory.stated})
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more if names else None


_NAMES_SHOWN = 4


def _quota(workload: Workload) -> Element:
    limit, by = workload.cpu.limit_cpus, workload.cpu.limited_by
    setter = "its own group" if by == workload.cgroup else by
    bound = None if limit is None else "unlimited" if limit.unlimited else f"{limit:g} CPUs, set by {setter}"
    own = [
        f"vCPU {vcpu.number} {vcpu.quota_usec / vcpu.period_usec:g}"
        for vcpu in workload.vcpus
        if vcpu.quota_usec is not None and not vcpu.quota_usec.unlimited and vcpu.period_usec
    ]
    # What holds a vCPU back in a group of its own is no limit of the machine's.
    return Element("CPU limit", "; ".join([*filter(None, [bound]), *([f"of its own: {', '.join(own)}"] if own else [])]) or None)


def _memory_limit(workload: Workload) -> Element:
    limit = workload.memory.limit_bytes
    return Element("memory limit", None if limit is None else _bytes(limit))


def _bytes(size: float | None) -> str | None:
    if size is None:
        return None
    if isinstance(size, Limit) and size.unlimited:
        return "unlimited"
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << shift:
            return f"{size / (1 << shift):.4g} {unit}"
    return f"{int(size)} bytes"


def _ns(nanoseconds: int | None) -> str | None:
    return None if nanoseconds is None else f"{nanoseconds / 1e9:.3f} s"


def _count(value: int | None) -> str | None:
    return None if value is None else str(value)


def _cpus(cpus: CpuSet | None) -> str | None:
    return None if cpus is None else str(cpus)
