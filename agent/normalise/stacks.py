"""The protocol stack of each paradigm, from hardware to application, with the facts of this workload on it.

The layers and their elements are those of the concept document's section 10 (CPU scheduling and memory management stacks).
A value was read from this host; an element without one applies to the paradigm, but its value is not known.
"""

from __future__ import annotations

from agent.model.facts.proc_task import Thread
from agent.model.logical import Logical
from agent.model.physical import Physical
from agent.model.runtimes import HARDWARE, PARAVIRTUAL
from agent.model.sandbox import Growth
from agent.model.values import CpuSet, Limit, Origin
from agent.model.workload import Element, ElementUnit, Layer, Stack, Workload


def stack(workload: Workload, hardware: Physical, kernel: Logical) -> Stack:
    match workload.paradigm:
        case "virtualization":
            return Stack(_vm_cpu(workload, hardware, kernel), _vm_memory(workload, hardware, kernel))
        case "containerization":
            return Stack(_container_cpu(workload, hardware, kernel), _container_memory(workload, hardware, kernel))
        case "sandbox":
            return Stack(_sandbox_cpu(workload, hardware, kernel), _sandbox_memory(workload, hardware, kernel))
        case "process":
            # A systemd unit: the kernel limits it in the same way as a container.
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
                _element("vCPU scheduler", f"{len(vcpus)} vCPU threads under the host scheduler" if vcpus else None),
                _element("vCPU pinning", pins or ("all vCPUs float" if any(vcpu.pinned is False for vcpu in vcpus) else None)),
                _seconds("vCPU time", workload.cpu.run_ns),
                _seconds("vCPU run-queue delay", workload.cpu.delay_ns),
                _element("virtual interrupt injection"),
                _quota(workload),
            ),
        ),
        Layer("guest OS", (_element("guest CPU topology", topology), _element("guest scheduler"), _element("guest interrupt handling"))),
        Layer("guest application", (_element("guest processes and threads"),)),
    )


def _vm_memory(workload: Workload, hardware: Physical, kernel: Logical) -> tuple[Layer, ...]:
    memory, guest = workload.memory, workload.guest
    accelerated = guest is not None and guest.accelerator == "kvm"
    translation = _paging(kernel) if accelerated else "software MMU (TCG)"
    ballooned = None
    if memory.allotted_bytes is not None and memory.allotted_max_bytes is not None:
        ballooned = memory.allotted_max_bytes - memory.allotted_bytes
    cells = f"{guest.numa_cells} cells" if guest and guest.numa_cells else None
    return (
        _memory_hardware(workload, hardware),
        Layer(
            "hypervisor",
            (
                _element("guest physical to host physical", translation),
                _bytes("guest physical memory", memory.allotted_max_bytes),
                _bytes("resident on the host", memory.backing_bytes),
                _bytes("balloon", ballooned),
                _element("NUMA topology shown to the guest", cells),
                _memory_limit(workload),
            ),
        ),
        Layer("guest OS", (_element("guest page tables"), _element("guest allocator"), _element("guest NUMA policy"))),
        Layer("guest application", (_element("guest virtual address space"),)),
    )


def isolated(workload: Workload, kernel: Logical) -> str:
    """By what a workload is isolated on this host: of a machine under its KVM, as this KVM does it."""
    guest = workload.guest
    if workload.isolation != HARDWARE or kernel.kvm is None or guest is None or guest.accelerator != "kvm" or guest.elsewhere:
        return workload.isolation
    by = PARAVIRTUAL if kernel.kvm.vendor_module == "kvm_pvm" else HARDWARE
    return ", ".join(filter(None, (by, _paging(kernel))))


def _paging(kernel: Logical) -> str | None:
    """How KVM translates what a guest takes for physical addresses; None where it does not say."""
    if kernel.kvm is None or kernel.kvm.nested_paging is None:
        return None
    if not kernel.kvm.nested_paging:
        return "shadow page tables"
    tables = {"kvm_intel": " (EPT)", "kvm_amd": " (NPT)"}.get(kernel.kvm.vendor_module or "", "")
    return f"nested paging{tables}"


def _container_cpu(workload: Workload, hardware: Physical, kernel: Logical) -> tuple[Layer, ...]:
    cpu = workload.cpu
    share = f"cpu.shares {cpu.shares}" if cpu.shares is not None else f"cpu.weight {cpu.weight}" if cpu.weight is not None else None
    return (
        _cpu_hardware(workload, hardware, kernel),
        Layer(
            "host OS",
            (
                *_host_scheduler(kernel),
                _element("cgroup share", share),
                _quota(workload),
                _cpus("cpuset", workload.placement.allowed_cpus),
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
                _bytes("cgroup memory in use", memory.current_bytes),
                _element("cgroup OOM kills", memory.events.get("oom_kill")),
            ),
        ),
        Layer("container", (_element("virtual address spaces of its processes"), _bytes("page tables", memory.page_table_bytes))),
    )


def _sandbox_cpu(workload: Workload, hardware: Physical, kernel: Logical) -> tuple[Layer, ...]:
    return (
        _cpu_hardware(workload, hardware, kernel),
        Layer("host OS", (*_host_scheduler(kernel), _quota(workload))),
        Layer("runtime", (_element("runtime", workload.runtime), *_threads(workload), _roles(workload), _element("task scheduling"))),
        Layer("Wasm application", (_element("modules and functions"), _element("CPU topology", "hidden by the runtime"))),
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
                _bytes("address space reserved", memory.reserved_bytes),
                _bytes("of it guards, never opened", memory.guard_bytes),
                _bytes("accessible to the guests", memory.allotted_bytes),
                _bytes("resident", memory.backing_bytes),
                _bytes("runtime process", memory.resident_bytes),
                _growth(workload),
            ),
        ),
        Layer(
            "Wasm application",
            (
                _element("linear memories", len(workload.memories), "inferred" if guessed else None),
                _bytes("linear memory size", memory.allotted_bytes),
                _element("names that its embedder gives", _named(workload)),
                _element("physical memory topology", "hidden by the runtime"),
            ),
        ),
    )


def _cpu_hardware(workload: Workload, hardware: Physical, kernel: Logical) -> Layer:
    cores = workload.placement.cores
    return Layer(
        "hardware",
        (
            _element(
                "CPU cores", None if cores is None else f"{cores} of {len(hardware.cores)} cores, CPUs {workload.placement.allowed_cpus}"
            ),
            _element("interrupt controller", f"{len(kernel.cpu.interrupts)} interrupt lines" if kernel.cpu.interrupts else None),
            _element("packages and their interconnect", len(hardware.packages) or None),
        ),
    )


def _memory_hardware(workload: Workload, hardware: Physical) -> Layer:
    nodes = workload.placement.nodes_spanned
    return Layer(
        "hardware",
        (
            _bytes("memory", hardware.memory.total_bytes),
            _element("memory near its CPUs", None if nodes is None else f"node {nodes} (the host has {len(hardware.nodes)})"),
        ),
    )


def _host_scheduler(kernel: Logical) -> tuple[Element, ...]:
    tick, scheduler = kernel.cpu.tick_hz, kernel.cpu.scheduler
    return (
        _element(
            "fair scheduler",
            {"cfs": "CFS", "eevdf": "EEVDF"}.get(scheduler.fair_class or "") if scheduler else None,
            scheduler.fair_class_origin if scheduler else None,
        ),
        _element("scheduler tick", tick or None, kernel.cpu.tick_hz_origin, "Hz"),
        _element("runnable tasks on the host", kernel.cpu.runnable_tasks),
    )


def _host_memory(kernel: Logical) -> tuple[Element, ...]:
    levels, thp, policy = kernel.cpu.page_table_levels, kernel.memory.thp, kernel.memory.policy
    return (
        _element("page table levels", levels),
        _element("transparent huge pages", thp.enabled if thp else None),
        _element("NUMA balancing", policy.numa_balancing if policy else None),
    )


def _threads(workload: Workload) -> tuple[Element, ...]:
    return (
        _element("threads", len(workload.threads)),
        _seconds("CPU time of its threads", workload.cpu.run_ns),
        _seconds("run-queue delay of its threads", workload.cpu.delay_ns),
        _cpus("CPUs it last ran on", workload.placement.last_cpus),
    )


def _roles(workload: Workload) -> Element:
    """Threads by role, each role with its CPU time and the number that wait; unknown roles come last."""
    by_role: dict[str, list[Thread]] = {}
    for thread in sorted(workload.threads, key=lambda thread: (thread.role is None, thread.role or "")):
        by_role.setdefault(thread.role or "not told", []).append(thread)
    if by_role.keys() <= {"not told"}:
        return _element("what its threads do")
    parts = tuple(_role(role, threads) for role, threads in by_role.items())
    guessed = any(thread.role_origin == "inferred" for thread in workload.threads)
    return Element(name="what its threads do", origin="inferred" if guessed else None, parts=parts)


def _role(role: str, threads: list[Thread]) -> Element:
    times = [thread.run_ns for thread in threads if thread.run_ns is not None]
    if len(times) < len(threads):
        return Element(name=role, value=len(threads), unit="threads")
    waiting = _element("waiting", sum(thread.state == "S" for thread in threads), unit="threads")
    return Element(name=role, value=len(threads), unit="threads", parts=(_seconds("CPU time", sum(times)), waiting))


def _growth(workload: Workload) -> Element:
    """The room that the tightest limit leaves; where it is not known, the room of each finite limit."""
    growth = workload.growth or Growth(())
    ends = [bound for bound in growth.bounds if bound.room_bytes is not None and not bound.room_bytes.unlimited and bound.name in _BOUNDS]
    shown = [bound for bound in ends if bound.name == growth.binding] or ends
    guessed = any(bound.origin == "inferred" for bound in shown)
    parts = tuple(_bytes(_BOUNDS[bound.name], bound.room_bytes) for bound in shown)
    return Element(name="what bounds their growth", origin="inferred" if guessed else None, parts=parts)


_BOUNDS = {
    "declared_maxima": "their declared maxima",
    "pool_slots": "the slots of the pool",
    "cgroup_memory": "the memory limit",
    "process_data": "RLIMIT_DATA",
}


def _named(workload: Workload) -> str | None:
    names = sorted({statement.instance for memory in workload.memories for statement in memory.stated})
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more if names else None


_NAMES_SHOWN = 4


def _quota(workload: Workload) -> Element:
    limit, set_by = workload.cpu.limit_cpus, workload.cpu.limited_by
    setter = "its own group" if set_by == workload.cgroup else set_by
    bound = None if limit is None else "unlimited" if limit.unlimited else f"{limit:g} CPUs, set by {setter}"
    own = [
        f"vCPU {vcpu.number} {vcpu.quota_usec / vcpu.period_usec:g}"
        for vcpu in workload.vcpus
        if vcpu.quota_usec is not None and not vcpu.quota_usec.unlimited and vcpu.period_usec
    ]
    # A quota on the group of one vCPU does not limit the machine.
    return _element("CPU limit", "; ".join([*filter(None, [bound]), *([f"of its own: {', '.join(own)}"] if own else [])]) or None)


def _memory_limit(workload: Workload) -> Element:
    limit = workload.memory.limit_bytes
    return _bytes("memory limit", limit)


def _element(name: str, value: int | float | str | None = None, origin: Origin | None = None, unit: ElementUnit | None = None) -> Element:
    return Element(name=name, value=value, unit=None if value is None else unit, origin=origin)


def _bytes(name: str, size: float | None) -> Element:
    if size is None:
        return _element(name)
    return _element(name, "max" if isinstance(size, Limit) and size.unlimited else int(size), unit="bytes")


def _seconds(name: str, nanoseconds: int | None) -> Element:
    return _element(name, None if nanoseconds is None else nanoseconds / 1e9, unit="seconds")


def _cpus(name: str, cpus: CpuSet | None) -> Element:
    return _element(name, None if cpus is None else str(cpus))
