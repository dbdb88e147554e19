"""What cannot be true of any host is left out, with a gap: times beyond its age, parts above their whole, two things of one name.

Bounds that need two sources, or two lines of one, are here; what one number can be is said where its text is parsed. Control groups may
be charged above their limits for a moment, and run queues and tasks wait for longer than the host is old in sum: both are no such bounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from msgspec.structs import replace

from agent.collect.host_facts import HostFacts
from agent.collect.sample import Sample
from agent.model.facts.proc_stat import MODES
from agent.model.facts.proc_vm import Zone
from agent.model.values import Fact, Gap
from collectors import cgroup
from collectors.sys_node import SysfsNode

R = TypeVar("R", bound=Fact)

_REMEDY = "the kernel or what shows its files (a hypervisor, lxcfs) is wrong here; report it with a recording (agent record DIR)"
# Of memory that is in use in some way, and of swap.
_PARTS = {
    "MemTotal": ("MemFree", "MemAvailable", "Buffers", "Cached", "AnonPages", "Slab", "Shmem", "Zswap"),
    "SwapTotal": ("SwapFree", "SwapCached"),
}
_OF_A_GROUP = ("usage_usec", "user_usec", "system_usec", "throttled_usec", "own_throttled_usec", "burst_used_usec")
_OF_A_THREAD = ("run_ns", "delay_ns")
# Facts of a host whose files have one line for a name: the fact, its lines, their name, and where it is from.
_LINES: tuple[tuple[str, str, Callable[[Any], object], str, str], ...] = (
    ("stat", "cpus", attrgetter("cpu"), "proc_stat", "proc/stat"),
    ("schedstat", "queues", attrgetter("cpu"), "proc_schedstat", "proc/schedstat"),
    ("interrupts", "lines", attrgetter("name"), "proc_interrupts", "proc/interrupts"),
    ("softirqs", "lines", attrgetter("name"), "proc_softirqs", "proc/softirqs"),
    ("memory", "zones", attrgetter("zone.node", "zone.name"), "proc_vm", "proc/zoneinfo"),
)


class _Age(NamedTuple):
    """How long the host has been up, and the most that all of its CPUs together can have counted meanwhile, in seconds.

    Modes are sampled at ticks and clocks are read at different moments: 1 % and ten seconds more are within the bounds.
    """

    seconds: float
    most: float
    most_of_all: float


class _LeftOut:
    """What was left out, by source: the first of each stands in a gap for all."""

    def __init__(self) -> None:
        self.by_source: dict[str, list[str]] = {}

    def add(self, source: str, text: str) -> None:
        self.by_source.setdefault(source, []).append(text)

    def above(self, source: str, where: str, record: R, bounds: Mapping[str, tuple[float | None, str]]) -> R:
        """The record without those fields that are above their bound, which comes with the words for it."""
        wrong = []
        for name, (most, words) in bounds.items():
            value = getattr(record, name)
            if value is not None and most is not None and value > most:
                self.add(source, f"{where}: {name} of {value} is more than {words}")
                wrong.append(name)
        return replace(record, **dict.fromkeys(wrong)) if wrong else record

    def gaps(self) -> tuple[Gap, ...]:
        return tuple(
            Gap(source, "failed", f"{texts[0]}{f' and {len(texts) - 1} more' if len(texts) > 1 else ''}", _REMEDY)
            for source, texts in self.by_source.items()
        )


def plausible(sample: Sample) -> tuple[Sample, tuple[Gap, ...]]:
    """The sample without what cannot be true, and a gap for each source of that. A sound sample is returned as it is."""
    left_out = _LeftOut()
    age = _age(sample)
    host = _memory(_named_once(sample.host, left_out), left_out)
    if age is not None:
        host = _times(host, age, left_out)
        sample = _workloads(sample, age, left_out)
    return (sample if host is sample.host else replace(sample, host=host)), left_out.gaps()


def _age(sample: Sample) -> _Age | None:
    uptime = sample.host.kernel.uptime_seconds if sample.host.kernel else None
    if uptime is None or uptime <= 0:
        return None
    shown = sample.statics.cpus
    sets = (shown.numbers, shown.possible, shown.present, shown.online) if shown else ()
    cpus = max([1, len(sample.host.stat.cpus) if sample.host.stat else 1, *(len(cpus) for cpus in sets if cpus is not None)])
    most = uptime * 1.01 + 10
    return _Age(uptime, most, most * cpus)


def _changed(records: Iterable[R], changed: Iterable[R]) -> tuple[R, ...] | None:
    """The changed records; None where each is the same as before."""
    pairs = list(zip(records, changed, strict=True))
    return tuple(new for _, new in pairs) if any(old is not new for old, new in pairs) else None


def _once(records: tuple[R, ...], key: Callable[[R], object], source: str, where: str, left_out: _LeftOut) -> tuple[R, ...]:
    """The records, without those that share their key: nobody knows which of them it is."""
    counts = Counter(map(key, records))
    if len(counts) == len(records):
        return records
    for name, count in counts.items():
        if count > 1:
            left_out.add(source, f"{where}: {count} lines of {name}")
    return tuple(record for record in records if counts[key(record)] == 1)


def _named_once(host: HostFacts, left_out: _LeftOut) -> HostFacts:
    """CPUs, interrupts, zones and swap areas: the file of each has one line for a name."""
    for field, lines, key, source, path in _LINES:
        facts = getattr(host, field)
        records = getattr(facts, lines, ())
        once = _once(records, key, source, path, left_out)
        if once is not records:
            host = replace(host, **{field: replace(facts, **{lines: once})})
    if host.swaps is not None:
        swaps = _once(host.swaps, attrgetter("name"), "proc_swaps", "proc/swaps", left_out)
        host = host if swaps is host.swaps else replace(host, swaps=swaps)
    return host


def _times(host: HostFacts, age: _Age, left_out: _LeftOut) -> HostFacts:
    since = f"the {age.seconds:g} s since boot (/proc/uptime)"
    seconds, usec, ns = ((age.most * unit, since) for unit in (1.0, 1e6, 1e9))
    if host.stat is not None and any(spent is not None and spent > age.most for time in host.stat.cpus for spent in time.modes):
        bounds = dict.fromkeys(MODES, seconds)
        times = tuple(left_out.above("proc_stat", f"proc/stat: cpu{time.cpu}", time, bounds) for time in host.stat.cpus)
        host = replace(host, stat=replace(host.stat, cpus=times))
    if host.schedstat is not None and any(queue.run_ns > ns[0] for queue in host.schedstat.queues):
        queues = [queue for queue in host.schedstat.queues if queue.run_ns <= ns[0]]
        for queue in host.schedstat.queues:
            if queue.run_ns > ns[0]:
                left_out.add("proc_schedstat", f"proc/schedstat: cpu{queue.cpu}: run time of {queue.run_ns} ns is more than {since}")
        host = replace(host, schedstat=replace(host.schedstat, queues=tuple(queues)))
    if host.pressures is not None:
        pressures = {
            name: left_out.above("proc_pressure", f"proc/pressure/{name}", stall, {"some_usec": usec, "full_usec": usec})
            for name in ("cpu", "memory", "io", "irq")
            if (stall := getattr(host.pressures, name)) is not None
        }
        if any(getattr(host.pressures, name) is not stall for name, stall in pressures.items()):
            host = replace(host, pressures=replace(host.pressures, **pressures))
    return host


def _memory(host: HostFacts, left_out: _LeftOut) -> HostFacts:
    """Memory, swap, huge pages and zones by the host and by node: what is free of something is no more than it."""
    if host.memory is not None:
        sizes = dict(_sound(host.memory.meminfo_bytes, left_out))
        if len(sizes) < len(host.memory.meminfo_bytes):
            host = replace(host, memory=replace(host.memory, meminfo_bytes=sizes))
    if host.memory is not None:
        spans = [replace(span, zone=zone) if (zone := _zone(span.zone, left_out)) is not span.zone else span for span in host.memory.zones]
        if (zones := _changed(host.memory.zones, spans)) is not None:
            host = replace(host, memory=replace(host.memory, zones=zones))
    if host.nodes is not None:
        nodes = _changed(host.nodes.nodes, [_node(node, left_out) for node in host.nodes.nodes])
        host = host if nodes is None else replace(host, nodes=replace(host.nodes, nodes=nodes))
    if host.swaps is not None and any(swap.used_bytes > swap.size_bytes for swap in host.swaps):
        for swap in host.swaps:
            if swap.used_bytes > swap.size_bytes:
                left_out.add("proc_swaps", f"proc/swaps: {swap.name}: {swap.used_bytes} bytes used of {swap.size_bytes}")
        host = replace(host, swaps=tuple(swap for swap in host.swaps if swap.used_bytes <= swap.size_bytes))
    return host


def _node(node: SysfsNode, left_out: _LeftOut) -> SysfsNode:
    bound = node.memory_bytes, f"MemTotal, {node.memory_bytes}"
    return left_out.above("sys_node", f"node{node.os_index}/meminfo", node, {"free_bytes": bound})


def _zone(zone: Zone, left_out: _LeftOut) -> Zone:
    bound = zone.present_pages, f"the {zone.present_pages} that are present"
    where = f"proc/zoneinfo: node {zone.node}, zone {zone.name}"
    return left_out.above("proc_vm", where, zone, {"free_pages": bound, "managed_pages": bound})


def _sound(sizes: Mapping[str, int], left_out: _LeftOut) -> Iterator[tuple[str, int]]:
    """No host has no memory, and no part of its memory or swap is more than that."""
    whole = {part: total for total, parts in _PARTS.items() for part in parts}
    for name, size in sizes.items():
        total = whole.get(name)
        if name == "MemTotal" and size == 0:
            left_out.add("proc_vm", "proc/meminfo: MemTotal of 0: this host has memory")
        elif total is not None and size > sizes.get(total, size) and not (total == "MemTotal" and sizes[total] == 0):
            left_out.add("proc_vm", f"proc/meminfo: {name} of {size} bytes is more than {total}, {sizes[total]}")
        else:
            yield name, size


def _workloads(sample: Sample, age: _Age, left_out: _LeftOut) -> Sample:
    """Control groups and threads. No counter of theirs is older than the host."""
    facts = sample.workloads
    all_usec, ns = age.most_of_all * 1e6, age.most * 1e9
    if facts.cgroups is not None and any(_impossible(group, age) for group in facts.cgroups.groups):
        groups = tuple(_group(group, age, left_out) if _impossible(group, age) else group for group in facts.cgroups.groups)
        facts = replace(facts, cgroups=replace(facts.cgroups, groups=groups))
    if any((thread.run_ns or 0) > ns or (thread.delay_ns or 0) > ns for task in facts.tasks or () for thread in task.tasks):
        bounds = dict.fromkeys(_OF_A_THREAD, (ns, f"the {age.seconds:g} s since boot (/proc/uptime)"))
        tasks = tuple(
            replace(
                task,
                tasks=tuple(
                    left_out.above("proc_task", f"proc/{task.pid}/task/{thread.tid}/schedstat", thread, bounds) for thread in task.tasks
                ),
            )
            for task in facts.tasks or ()
        )
        facts = replace(facts, tasks=tasks)
    if any((account.run_ns or 0) > all_usec * 1e3 for account in facts.accounts or ()):
        bound = {"run_ns": (all_usec * 1e3, f"the {age.seconds:g} s since boot on all CPUs")}
        accounts = tuple(left_out.above("taskstats", f"process {one.pid}", one, bound) for one in facts.accounts or ())
        facts = replace(facts, accounts=accounts)
    return sample if facts is sample.workloads else replace(sample, workloads=facts)


def _impossible(group: cgroup.Group, age: _Age) -> bool:
    """Asked of a thousand groups in each pass: without a call for each field."""
    cpu, most, usec = group.cpu, age.most_of_all * 1e6, age.most * 1e6
    if cpu is not None and (
        (cpu.usage_usec or 0) > most
        or (cpu.user_usec or 0) > most
        or (cpu.system_usec or 0) > most
        or (cpu.throttled_usec or 0) > most
        or (cpu.own_throttled_usec or 0) > most
        or (cpu.burst_used_usec or 0) > most
    ):
        return True
    return any((stall.some_usec or 0) > usec or (stall.full_usec or 0) > usec for stall in group.pressure.values())


def _group(group: cgroup.Group, age: _Age, left_out: _LeftOut) -> cgroup.Group:
    since = f"the {age.seconds:g} s since boot (/proc/uptime)"
    bounds = dict.fromkeys(_OF_A_GROUP, (age.most_of_all * 1e6, f"{since} on all CPUs"))
    cpu = group.cpu and left_out.above("cgroup", f"cpu.stat of {group.path}", group.cpu, bounds)
    stalls = dict.fromkeys(("some_usec", "full_usec"), (age.most * 1e6, since))
    pressure = {name: left_out.above("cgroup", f"{name}.pressure of {group.path}", stall, stalls) for name, stall in group.pressure.items()}
    return replace(group, cpu=cpu, pressure=pressure)
