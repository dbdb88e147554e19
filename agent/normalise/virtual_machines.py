"""Virtual machines, each joined from libvirt, its monitor's process and threads, control groups and KVM's descriptors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from agent.collect.sample import Sample
from agent.model.facts.cgroup import WorkloadCpu, WorkloadMemory
from agent.model.facts.proc_task import Thread
from agent.model.guest import Guest
from agent.model.runtimes import EMULATION, HARDWARE, MODES, RUNTIMES, Paradigm, monitor
from agent.model.values import CpuSet
from agent.model.workload import Placement, VCpu, Workload
from agent.normalise.groups import Tree, container_around, controls_of, cpu_of, memory_of, tree_of
from agent.normalise.machine_threads import kernel_threads, vcpu_threads, with_roles
from agent.normalise.workloads import NO_STACK, cpus_of, path_of, started, threads_of, union_of
from collectors import cgroup, libvirt_domains, libvirt_stats, proc_task


def machines(sample: Sample) -> tuple[Workload, ...]:
    """One workload for each running domain of libvirt, and for each machine of KVM that libvirt does not know."""
    domains = tuple(_domains(sample))
    pids = {workload.pid for workload in domains}
    return (*domains, *(machine for machine in _unnamed(sample) if machine.pid not in pids))


def _domains(sample: Sample) -> Iterator[Workload]:
    monitors = {process.vm_uuid: process.pid for process in sample.workloads.processes or () if process.vm_uuid}
    tasks = {group.pid: group for group in sample.workloads.tasks or ()}
    kernel_threads_by_pid = kernel_threads(sample.workloads.processes or (), tasks)
    stats = {(domain.uuid, domain.id): domain for domain in sample.workloads.domain_stats or ()}
    tree = tree_of(sample)
    online = sample.statics.cpus.online if sample.statics.cpus else None
    for hypervisor in sample.workloads.hypervisors or ():
        for domain in hypervisor.domains:
            pid = monitors.get(domain.uuid) if hypervisor.here else None
            process = tasks.get(pid) if pid is not None else None
            domain_stats = stats.get((domain.uuid, domain.id))
            home = _vm_group(tree, process)
            own = with_roles(threads_of([process] if process else []))
            threads = (*own, *kernel_threads_by_pid.get(pid or 0, ()))
            thread_by_vcpu = vcpu_threads(own)
            usable = online if hypervisor.here else None
            vcpus = tuple(_vcpu(vcpu, thread_by_vcpu.get(vcpu.number), usable, tree, home, domain_stats) for vcpu in domain.vcpus)
            running = tuple(vcpu.thread for vcpu in vcpus if vcpu.thread)
            # Where the thread of one vCPU is not known, sums over the others would be too small.
            all_vcpu_threads = running if len(running) == len(vcpus) else ()
            owner = container_around(tree, home.path) if home else None
            kind = domain.definition.type
            domain_type = RUNTIMES.get(kind or "")
            paradigm: Paradigm = domain_type.paradigm if domain_type and domain_type.domain_isolation else "virtualization"
            yield Workload(
                id=domain.uuid,
                identity=f"{domain.uuid}:{domain.id}",
                paradigm=paradigm,
                runtime=kind or hypervisor.uri.partition(":")[0],
                name=domain.name,
                execution_mode=MODES[paradigm].execution,
                memory_mode=MODES[paradigm].memory,
                isolation=(domain_type and domain_type.domain_isolation) or EMULATION,
                stack=NO_STACK,
                # A machine's run time and delay are those of its vCPUs, without its emulator threads.
                cpu=cpu_of(tree, home, all_vcpu_threads, []),
                memory=_guest_memory(sample, domain, tree, home, process),
                placement=_placement(sample, hypervisor.here, vcpus, all_vcpu_threads, process),
                parent=owner.id if owner else None,
                state=domain.state,
                cgroup=home.path if home else None,
                pid=pid,
                processes=1 if pid is not None else None,
                started_seconds=started(own),
                guest=_guest(domain, hypervisor, domain_stats),
                controls=tuple(controls_of(home, tree.controllers)) if home else (),
                vcpus=vcpus,
                threads=_beside(threads, running),
            )


def _unnamed(sample: Sample) -> Iterator[Workload]:
    """Machines that only the kernel shows: vCPUs are recognised by the names of their threads."""
    table = {process.pid: process for process in sample.workloads.processes or ()}
    tasks = {group.pid: group for group in sample.workloads.tasks or ()}
    kernel_threads_by_pid = kernel_threads(sample.workloads.processes or (), tasks)
    tree = tree_of(sample)
    online = sample.statics.cpus.online if sample.statics.cpus else None
    counted = {machine.pid: machine.counters for machine in sample.workloads.monitor_counters or ()}
    for machine in sample.workloads.monitors or ():
        group, process = tasks.get(machine.pid), table.get(machine.pid)
        if group is None or process is None:
            continue
        own = with_roles(threads_of([group]))
        began = next((thread.start_ticks for thread in own if thread.tid == machine.pid), None)
        if began is None:
            # Without a start time, a process and a later one with the same PID look alike.
            continue
        thread_by_vcpu = vcpu_threads([thread for thread in own if not (thread.name or "").endswith("/TCG")])
        numbers = machine.vcpus if machine.vcpus is not None else tuple(sorted(thread_by_vcpu))
        if machine.vcpus is None and not numbers:
            # Neither its descriptors nor its threads show that it runs a machine.
            continue
        vcpus = tuple(_bare_vcpu(number, thread_by_vcpu.get(number), online) for number in numbers)
        running = tuple(vcpu.thread for vcpu in vcpus if vcpu.thread)
        all_vcpu_threads = running if len(running) == len(vcpus) else ()
        home = tree.groups.get(path_of(tree, group) or "")
        owner = container_around(tree, home.path) if home else None
        hypervisor = monitor(process.name)
        yield Workload(
            id=f"kvm/{machine.pid}/{began}",
            identity=f"{machine.pid}:{began}",
            paradigm="virtualization",
            runtime=hypervisor.name if hypervisor else process.name,
            name=process.vm_name or process.name,
            execution_mode=MODES["virtualization"].execution,
            memory_mode=MODES["virtualization"].memory,
            isolation=HARDWARE,
            stack=NO_STACK,
            cpu=cpu_of(tree, home, all_vcpu_threads, [], own_group=False),
            memory=memory_of(tree, home, [group], own_group=False),
            # Where no vCPU thread is recognised, any thread may be one: the union of all includes the CPUs of every vCPU.
            placement=Placement(
                allowed_cpus=union_of([thread.allowed_cpus for thread in all_vcpu_threads or own]),
                allowed_nodes=group.allowed_nodes,
                last_cpus=cpus_of(all_vcpu_threads),
            ),
            parent=owner.id if owner else None,
            cgroup=home.path if home else None,
            pid=machine.pid,
            processes=1,
            started_seconds=started(own),
            guest=Guest(accelerator="kvm", kvm=counted.get(machine.pid, {})),
            vcpus=vcpus,
            threads=_beside((*own, *kernel_threads_by_pid.get(machine.pid, ())), running),
        )


def _beside(threads: Sequence[Thread], running: Sequence[Thread]) -> tuple[Thread, ...]:
    """The threads that run no vCPU. Threads without a name are left out, because they may run one."""
    taken = {thread.tid for thread in running}
    return tuple(thread for thread in threads if thread.tid not in taken and thread.name is not None)


def _vcpu(
    vcpu: libvirt_domains.VirtualCpu,
    thread: Thread | None,
    online: CpuSet | None,
    tree: Tree,
    home: cgroup.Group | None,
    domain_stats: libvirt_stats.DomainStats | None,
) -> VCpu:
    group = next(
        (vcpu_group for path in ("libvirt/", "") if home and (vcpu_group := tree.groups.get(f"{home.path}/{path}vcpu{vcpu.number}"))), None
    )
    cpu = group.cpu if group and group.cpu else WorkloadCpu()
    return VCpu(
        number=vcpu.number,
        state=vcpu.state,
        time_ns=vcpu.time_ns,
        last_cpu=vcpu.last_cpu,
        affinity=vcpu.affinity,
        pinned=_pinned(vcpu.affinity, online),
        thread=thread,
        quota_usec=cpu.quota_usec,
        period_usec=cpu.period_usec,
        shares=cpu.shares,
        weight=cpu.weight,
        throttled_usec=cpu.throttled_usec,
        kvm=domain_stats.vcpus.get(vcpu.number, {}) if domain_stats else {},
    )


def _bare_vcpu(number: int, thread: Thread | None, online: CpuSet | None) -> VCpu:
    allowed = thread.allowed_cpus if thread else None
    return VCpu(number=number, last_cpu=thread.last_cpu if thread else None, pinned=_pinned(allowed, online), thread=thread)


def _pinned(affinity: CpuSet | None, online: CpuSet | None) -> bool | None:
    return None if affinity is None or online is None else not online <= affinity


def _placement(
    sample: Sample, on_this_host: bool, vcpus: Sequence[VCpu], running: Sequence[Thread], process: proc_task.TaskGroup | None
) -> Placement:
    if not on_this_host:
        return Placement()
    backing = next((guest for guest in sample.workloads.guests or () if process and guest.pid == process.pid), None)
    return Placement(
        allowed_cpus=union_of([vcpu.affinity for vcpu in vcpus]),
        allowed_nodes=process.allowed_nodes if process else None,
        last_cpus=cpus_of(running),
        memory_by_node=(backing.by_node or {}) if backing else {},
    )


def _guest(
    domain: libvirt_domains.Domain, hypervisor: libvirt_domains.LibvirtHost, domain_stats: libvirt_stats.DomainStats | None
) -> Guest:
    definition = domain.definition
    return Guest(
        machine=definition.machine,
        accelerator=definition.type,
        cpu_mode=definition.cpu_mode,
        cpu_model=definition.cpu_model,
        nested=definition.nested,
        max_vcpus=definition.max_vcpus,
        sockets=definition.sockets,
        dies=definition.dies,
        clusters=definition.clusters,
        cores=definition.cores,
        threads=definition.threads,
        numa_cells=len(definition.cells) or None,
        cells=definition.cells,
        numatune_mode=definition.numatune_mode,
        numatune_nodes=definition.numatune_nodes,
        numatune_placement=definition.numatune_placement,
        cell_memories=definition.cell_memories,
        tuning=definition.tuning,
        emulator_affinity=domain.emulator_affinity,
        hugepages=bool(definition.backing.hugepages),
        backing=definition.backing,
        memory_slots_bytes=definition.memory_slots_bytes,
        iothreads=len(definition.iothreads),
        iothread_numbers=definition.iothreads,
        enlightenments=definition.enlightenments,
        video_bytes=definition.video_bytes,
        hypervisor=hypervisor.uri,
        elsewhere=not hypervisor.here,
        kvm=domain_stats.vm if domain_stats else {},
        balloon=domain_stats.balloon if domain_stats else {},
        stats_seconds_ago=domain_stats.seconds_ago if domain_stats else None,
    )


def _vm_group(tree: Tree, process: proc_task.TaskGroup | None) -> cgroup.Group | None:
    """The machine's group, above the children that libvirt makes: "emulator", on systemd hosts in "libvirt"."""
    path = path_of(tree, process) if process else None
    if path is None:
        return None
    for child in ("/emulator", "/libvirt"):
        path = path.removesuffix(child)
    return tree.groups.get(path)


def _guest_memory(
    sample: Sample,
    domain: libvirt_domains.Domain,
    tree: Tree,
    home: cgroup.Group | None,
    process: proc_task.TaskGroup | None,
) -> WorkloadMemory:
    backing = next((guest for guest in sample.workloads.guests or () if process and guest.pid == process.pid), None)
    return replace(
        memory_of(tree, home, [process] if process else []),
        allotted_bytes=domain.memory_bytes,
        allotted_max_bytes=domain.max_memory_bytes,
        backing_bytes=backing.resident_bytes + backing.hugetlb_bytes if backing else None,
        backing_huge_bytes=backing.huge_bytes if backing else None,
        backing_hugetlb_bytes=backing.hugetlb_bytes if backing else None,
        backing_swapped_bytes=backing.swapped_bytes if backing else None,
        backing_merged_bytes=backing.ksm_bytes if backing else None,
        backing_seconds_ago=backing.seconds_ago if backing else None,
        process_by_node=(backing.process_by_node or {}) if backing else {},
    )
