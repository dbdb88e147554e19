"""Packages, cores and kinds of CPU, from sibling sets and /proc/cpuinfo."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from agent.collect.sample import Sample
from agent.model.physical import Core, CpuKind, Package
from agent.model.values import CpuSet
from collectors.sys_cpu import CpuTopology


def partition(cpus: Iterable[int], mates: Callable[[int], CpuSet | None]) -> list[CpuSet]:
    """Disjoint groups that cover `cpus`, by the set that `mates` gives for each CPU. Where two sets disagree, that of the lower CPU wins.

    A CPU without a set joins the group that lists it, else it is alone.
    """
    remaining = CpuSet(cpus)
    mates_by_cpu = {cpu: mates(cpu) for cpu in remaining}
    groups = []
    for cpu in sorted(mates_by_cpu, key=lambda cpu: mates_by_cpu[cpu] is None):
        if cpu in remaining:
            group = ((mates_by_cpu[cpu] or CpuSet()) | CpuSet((cpu,))) & remaining
            groups.append(group)
            remaining = remaining - group
    return sorted(groups, key=lambda group: next(iter(group)))


def id_or_none(number: int | None) -> int | None:
    """`number`, or None for -1, which the kernel prints for an id that it does not know."""
    return None if number is None or number < 0 else number


def packages(sample: Sample, topology: dict[int, CpuTopology], online: CpuSet) -> tuple[Package, ...]:
    """The packages by sibling sets, else by package ids, with vendor and model of their first CPU."""
    processors = {processor.cpu: processor for processor in sample.statics.cpuinfo.processors} if sample.statics.cpuinfo else {}

    def mates(cpu: int) -> CpuSet | None:
        entry, processor = topology.get(cpu), processors.get(cpu)
        if entry is not None and entry.package_cpus:
            return entry.package_cpus
        if entry is not None and id_or_none(entry.package_id) is not None:
            return CpuSet(mate for mate, candidate in topology.items() if candidate.package_id == entry.package_id)
        if processor is not None and processor.package_id is not None:
            return CpuSet(mate for mate, candidate in processors.items() if candidate.package_id == processor.package_id)
        return None

    stated = {cpu: cpus for cpu in online if (cpus := mates(cpu))}
    if stated:
        # Of a CPU that shows no topology, and that no other lists, nobody knows the package.
        groups = partition((CpuSet(stated) | CpuSet(mate for cpus in {*stated.values()} for mate in cpus)) & online, stated.get)
    else:
        # No source says how many sockets there are: we assume one.
        groups = [online] if online else []
    built = []
    for group in groups:
        first = next(iter(group))
        entry = next((topology[cpu] for cpu in group if cpu in topology and topology[cpu].package_id is not None), None)
        processor = processors.get(first)
        instruction = sample.statics.cpuid if processor is None or processor.model_name is None else None
        built.append(
            Package(
                cpus=group,
                os_index=id_or_none(entry.package_id) if entry else processor.package_id if processor else None,
                vendor=(processor.vendor if processor else None) or (instruction.vendor if instruction else None),
                model_name=(processor.model_name if processor else None) or (instruction.brand if instruction else None),
                family=processor.family if processor else str(instruction.family) if instruction else None,
                model=processor.model if processor else str(instruction.model) if instruction else None,
                stepping=processor.stepping if processor else str(instruction.stepping) if instruction else None,
                microcode=processor.microcode if processor else None,
                # CPUID ran on some CPU of the host, which may be in another package.
                identity_origin="inferred" if instruction else None,
            )
        )
    return tuple(built)


def has_modules(sample: Sample) -> bool:
    """Whether two cores share a module: AMD's families 15h and 16h name them as siblings, with a core_id each."""
    first = sample.statics.cpuinfo.processors[0] if sample.statics.cpuinfo and sample.statics.cpuinfo.processors else None
    return first is not None and first.vendor == "AuthenticAMD" and first.family in ("21", "22")


def cores(
    sample: Sample, topology: dict[int, CpuTopology], online: CpuSet, packages: tuple[Package, ...], package_of: dict[int, int]
) -> tuple[Core, ...]:
    """The cores by sibling sets, else by cpuinfo. `package_of`: index into `packages` by CPU."""
    modules = has_modules(sample)
    stated_mates = _stated_cores(sample) if not topology else {}

    def mates(cpu: int) -> CpuSet | None:
        entry = topology.get(cpu)
        if entry is None and cpu in stated_mates:
            return stated_mates[cpu]
        if entry is None or not entry.core_cpus or (modules and id_or_none(entry.core_id) is None):
            return None
        # A core is in one package, even where a broken table says otherwise.
        siblings = entry.core_cpus & packages[package_of[cpu]].cpus
        if modules:
            return CpuSet(sibling for sibling in siblings if sibling in topology and topology[sibling].core_id == entry.core_id)
        if entry.core_id == entry.package_id == -1 and siblings == online:
            # RISC-V without a topology: every id is -1 and every CPU is a sibling of every other.
            return CpuSet((cpu,))
        return siblings

    built = []
    for group in partition(package_of, mates):
        numbers = (topology[cpu].core_id for cpu in group if cpu in topology)
        number = next((number for number in numbers if number is not None), None)
        built.append(Core(group, package_of[next(iter(group))], id_or_none(number)))
    return tuple(built)


def _stated_cores(sample: Sample) -> dict[int, CpuSet]:
    """Cores by cpuinfo alone, for packages with as many core ids as cores: some kernels number the cores of each die from 0."""
    cores: dict[int, dict[int, list[int]]] = {}
    counts: dict[int, set[int | None]] = {}
    for processor in sample.statics.cpuinfo.processors if sample.statics.cpuinfo else ():
        if processor.package_id is not None and processor.core_id is not None:
            cores.setdefault(processor.package_id, {}).setdefault(processor.core_id, []).append(processor.cpu)
            counts.setdefault(processor.package_id, set()).add(processor.package_cores)
    trusted = [
        mates for package, package_cores in cores.items() if counts[package] == {len(package_cores)} for mates in package_cores.values()
    ]
    return {cpu: CpuSet(mates) for mates in trusted for cpu in mates}


def kinds(sample: Sample, online: CpuSet) -> tuple[CpuKind, ...]:
    """Groups of CPUs by the first of these that is known for all: part (MIDR), core type of a hybrid Intel, capacity, base frequency.

    The fastest come first. Maximum frequencies do not count: they differ between cores of one kind, with the quality of the silicon.
    """
    if sample.statics.cpus is None:
        return ()
    speeds = {speed.cpu: speed for speed in sample.statics.cpus.speeds if speed.cpu in online}
    types = {cpu: name for name, cpus in sample.statics.cpus.kinds.items() for cpu in cpus & online}
    names: tuple[dict[int, int | str | None], ...] = (
        {cpu: speed.midr for cpu, speed in speeds.items() if speed.midr is not None},
        dict(types),
        {cpu: speed.capacity for cpu, speed in speeds.items() if speed.capacity is not None},
        {cpu: speed.base_freq_hz for cpu, speed in speeds.items() if speed.base_freq_hz is not None},
    )
    criterion = next((number for number, values in enumerate(names) if len(values) == len(online)), None)
    groups: dict[int | str | None, list[int]] = {}
    for cpu in online:
        groups.setdefault(None if criterion is None else names[criterion][cpu], []).append(cpu)
    if len(groups) < 2:
        return ()
    built = []
    for members in groups.values():
        member_speeds = [speeds[cpu] for cpu in members if cpu in speeds]
        built.append(
            CpuKind(
                cpus=CpuSet(members),
                name=types.get(members[0]),
                capacity=max((speed.capacity for speed in member_speeds if speed.capacity is not None), default=None),
                max_freq_hz=max((speed.max_freq_hz for speed in member_speeds if speed.max_freq_hz is not None), default=None),
                base_freq_hz=max((speed.base_freq_hz for speed in member_speeds if speed.base_freq_hz is not None), default=None),
                midr=speeds[members[0]].midr if members[0] in speeds else None,
                # Cores of one kind may be configured with two base frequencies.
                origin="inferred" if criterion == len(names) - 1 else None,
            )
        )
    return tuple(sorted(built, key=lambda kind: (-(kind.capacity or 0), -(kind.max_freq_hz or 0), next(iter(kind.cpus)))))
