"""The host for a person at a terminal: the machine's tree, its memory, the maps between hardware and kernel, and who sits where.

Colours and box lines on a terminal; the same in plain UTF-8, or ASCII, anywhere else. What is not known is not printed.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console, ConsoleRenderable, Group
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from agent.model.facts.hugepages import HugePagePool
from agent.model.facts.proc_vm import Zone
from agent.model.host import Host
from agent.model.logical import KernelCpu
from agent.model.physical import Node, Physical
from agent.model.values import CpuSet, Gap
from exporters.views import maps, picture, topology_workloads
from exporters.views.tree import Machine, machine
from exporters.views.words import FIRM, GUESS, count, cpus, digits, frequency, guessed, ordered, size, words

T = TypeVar("T")

# Longer tables are cut, and say so, but for --all: it is a screen or two.
ROWS = 12
# Up to so many runs of CPUs the map is by CPU; above, it stays by core.
RUNS = 12
# A smaller share of a node's pages under the allocator is said: of a very small machine the kernel itself takes a quarter.
MANAGED = 0.6
# Up to so many nodes their distances are a table.
MATRIX = 8
# Sources of which this view shows nothing: their gaps are in the document.
NOT_SHOWN = {"sys_cpu_vulnerabilities"}


def render(host: Host, *, width: int | None, terminal: bool, encoding: str, uncut: bool, workloads: bool) -> bytes:
    """The host as text. `width` None: the terminal's. `uncut`: with all rows. `workloads`: with them, or the word that there is none."""
    return printed(lambda _width: _parts(host, uncut, workloads), width=width, terminal=terminal, encoding=encoding)


def printed(parts: Callable[[int], Iterable[ConsoleRenderable]], *, width: int | None, terminal: bool, encoding: str) -> bytes:
    """What `parts` gives for a number of columns, as bytes for a terminal or a file of that encoding."""
    plain = not terminal or Console().no_color
    sink = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace", newline="\n")
    console = Console(file=sink, width=width, force_terminal=terminal, color_system=None if plain else "auto", highlight=False)
    with console.capture() as capture:
        for part in parts(console.width):
            # A command that is cut off is another command.
            console.print(part, crop=not (isinstance(part, Text) and part.no_wrap))
    lines = (line.rstrip() for line in capture.get().replace(FIRM, " ").splitlines())
    return "".join(f"{line}\n" for line in lines).encode(encoding, "backslashreplace")


def _parts(host: Host, uncut: bool, workloads: bool) -> Iterator[ConsoleRenderable]:
    physical = host.physical
    yield from _machine(host)
    tree = machine(physical)
    if physical.cpus.online:
        drawn = picture.draw(tree, physical, words(("machine", "bold"), _total(physical)), uncut)
        yield from _titled("Hardware", drawn, *_left_out(tree), *_contradictions(physical))
    if physical.nodes:
        yield from _titled("Memory", *_memory(host, uncut))
    if rows := maps.physical_to_logical(physical):
        yield from _titled("Hardware to kernel", _forward(rows, uncut))
        back = maps.logical_to_physical(rows, len(physical.cpus.online) if uncut else RUNS)
        yield from _titled("Kernel to hardware", _back(back, host.logical.cpu, uncut), *_scheduler(host.logical.cpu))
    if workloads and host.workloads:
        yield from _titled("Workloads", _table(topology_workloads.HEADS, topology_workloads.rows(host.workloads), uncut))
    elif workloads and not {gap.source for gap in host.gaps} & {"cgroup", "processes"}:
        yield from _titled("Workloads", words("none seen"))
    if workloads and host.findings:
        yield from _titled("Findings", *topology_workloads.findings(host, uncut))
    gaps = tuple(gap for gap in host.gaps if gap.source not in NOT_SHOWN)
    if gaps:
        yield from _titled("Not known", *_gaps(gaps))
    yield words()
    yield words((f"{GUESS} inferred, stated by nobody", "dim"))


def _titled(title: str, *parts: ConsoleRenderable) -> Iterator[ConsoleRenderable]:
    yield words()
    yield words((title, "bold underline"))
    yield from parts


def _machine(host: Host) -> Iterator[Text]:
    """Identity, parts and CPUs of the machine."""
    identity, physical, smbios = host.identity, host.physical, host.identity.smbios
    guest = identity.virtualization
    yield words(
        (identity.hostname or "this host", "bold"),
        " ".join(filter(None, (smbios.sys_vendor, smbios.product_name))) if smbios else None,
        f"Linux {identity.kernel}" if identity.kernel else None,
        identity.architecture,
        f"cgroup {identity.cgroup.version}" if identity.cgroup else None,
    )
    if guest:
        shown = f"guest of {guest.hypervisor or 'a hypervisor'}" if guest.kind == "guest" else "no guest"
        yield words(shown, f"by {guest.evidence}" if guest.evidence else None)
    yield words(
        (physical.architecture or "").upper() if physical.architecture != "uniprocessor" else physical.architecture,
        count(len(physical.packages), "package") if physical.packages else None,
        count(len(physical.dies), "die") if physical.dies else None,
        count(len(physical.clusters), "cluster") if physical.clusters else None,
        count(len(physical.cores), "core") if physical.cores else None,
        count(len(physical.cpus.online), "thread") if physical.cpus.online else None,
        count(len(physical.nodes), "memory node") if physical.nodes else None,
        _total(physical),
    )
    states = physical.cpus
    yield words(
        (f"{cpus(states.online)} online", "bold") if states.online else "which CPUs are online is not known",
        (f"{ordered(states.offline)} offline", "red") if states.offline else None,
        (f"{ordered(states.isolated)} isolated", "yellow") if states.isolated else None,
        (f"{ordered(states.nohz_full)} nohz_full", "yellow") if states.nohz_full else None,
        f"of {ordered(states.possible)} possible" if states.possible and states.possible != states.online else None,
    )
    own = physical.restrictions.allowed_cpus if physical.restrictions else None
    if own is not None and not states.online <= own:
        yield words("this agent may run on", cpus(own & states.online), "of them, which cuts nothing here")
    for kind in physical.cpu_kinds:
        yield words(
            ("kind", "cyan"),
            kind.name,
            cpus(kind.cpus),
            f"capacity {kind.capacity}" if kind.capacity is not None else None,
            f"base {frequency(kind.base_freq_hz)}" if kind.base_freq_hz else None,
            f"up to {frequency(kind.max_freq_hz)}" if kind.max_freq_hz else None,
            f"MIDR {kind.midr:#x}" if kind.midr is not None else None,
        )


def _total(physical: Physical) -> str | None:
    return f"{size(physical.memory.total_bytes)} of memory" if physical.memory.total_bytes is not None else None


def _left_out(tree: Machine) -> Iterator[Text]:
    """Objects that no tree can hold, as their sets of CPUs cross others."""
    for place in tree.left_out:
        yield words(("not drawn:", "red"), f"{place.name} of {cpus(place.cpus)}", "it crosses another object's CPUs")


def _contradictions(physical: Physical) -> Iterator[Text]:
    for contradiction in physical.contradictions[:ROWS]:
        yield words(("contradiction:", "red"), contradiction.subject, cpus(contradiction.cpus), contradiction.detail)


def _memory(host: Host, uncut: bool) -> Iterator[ConsoleRenderable]:
    """The concept document's tree of memory for this host: UMA, one memory behind one bus, or NUMA, nodes and what connects them."""
    physical = host.physical
    zones: dict[int, list[Zone]] = {}
    for zone in host.logical.memory.zones:
        if zone.present_pages:
            zones.setdefault(zone.node, []).append(zone)
    if physical.memory.architecture == "numa":
        drawn = Tree(words(("NUMA", "bold"), "each node's CPUs are near to its memory, and far from the others'"), guide_style="dim")
    elif physical.memory.architecture == "uma":
        drawn = Tree(words(("UMA", "bold"), "one memory, as far from every CPU"), guide_style="dim")
        for package in _some(physical.packages, uncut):
            drawn.add(words("package" if package.os_index is None else f"package {package.os_index}", cpus(package.cpus)))
        drawn.add(words("memory bus and controller"))
    else:
        drawn = Tree(words(("memory", "bold")), guide_style="dim")
    several = len(physical.nodes) > 1
    for node in _some(physical.nodes, uncut):
        near = cpus(node.cpus) if several and node.cpus is not None else None
        drawn.add(words((f"node {node.os_index}", "green"), near, *_bank(node, zones.get(node.os_index, []))))
    if several:
        if not uncut and len(physical.nodes) > ROWS:
            drawn.add(words((f"and {len(physical.nodes) - ROWS} more nodes (--all)", "dim")))
        alike = "which tells nothing: firmware gives all pairs the same" if physical.memory.distances_alike else None
        between = physical.channels.interconnect if physical.channels else None
        technology = f"{between.technology}{GUESS}" if between and between.technology else None
        drawn.add(words("interconnect", technology, *_links(physical.nodes, uncut), alike))
    yield drawn
    remote = {far for node in physical.nodes for other, far in node.distances.items() if other != node.os_index}
    if (uncut or len(physical.nodes) <= MATRIX) and len(remote) > 1:
        yield words()
        yield _distances(physical.nodes)
    pools = [pool for node in physical.nodes for pool in node.hugepages] or list(host.logical.memory.hugepages)
    if (levels := host.logical.cpu.page_table_levels) is not None:
        yield words("page tables", f"{levels} levels", host.logical.cpu.tlb)
    filled = [(dimm.type, dimm.size_bytes, dimm.configured_mts) for dimm in physical.memory.dimms if dimm.size_bytes]
    for (kind, size_bytes, speed), number in Counter(filled).items():
        yield words("memory devices", f"{number} x {size(size_bytes)}", kind, f"{speed} MT/s" if speed is not None else None)
    for dax in physical.dax:
        where = f"memory of node {dax.target_node}" if dax.driver == "kmem" and dax.target_node is not None else dax.driver
        yield words("dax", dax.name, size(dax.size_bytes), where, dax.backing)
    for region in physical.pmem:
        yield words("persistent memory", region.name, size(region.size_bytes), f"node {region.node}" if region.node is not None else None)
    if pools:
        yield words("huge pages", *_pools(pools))


def _some(several: tuple[T, ...], uncut: bool) -> tuple[T, ...]:
    return several if uncut else several[:ROWS]


def _bank(node: Node, zones: list[Zone]) -> Iterator[str | None]:
    yield "no memory" if node.memory_bytes == 0 else f"local memory {size(node.memory_bytes)}" if node.memory_bytes is not None else None
    yield f"{size(node.free_bytes)} free" if node.memory_bytes and node.free_bytes is not None else None
    yield guessed(node.kind.upper(), node.kind_origin) if node.kind and node.kind != "unknown" else None
    yield f"zones {', '.join(zone.name for zone in zones)}" if zones else None
    # The files of a node count what the allocator manages. With deferred initialisation that grows after boot.
    present, managed = sum(zone.present_pages or 0 for zone in zones), [zone.managed_pages for zone in zones]
    if None not in managed and (in_allocator := sum(pages or 0 for pages in managed)) < MANAGED * present:
        yield f"the kernel's allocator has {in_allocator / present:.0%} of its pages".replace("%", " %")
    yield from (f"{pool} huge pages" for pool in _pools([pool for pool in node.hugepages if pool.total_pages]))


def _pools(pools: list[HugePagePool]) -> Iterator[str]:
    for page_bytes in sorted({pool.page_bytes for pool in pools}):
        totals, free = zip(*((pool.total_pages, pool.free_pages) for pool in pools if pool.page_bytes == page_bytes), strict=True)
        if None not in totals:
            left = f" ({sum(free)} free)" if sum(totals) and None not in free else ""
            yield f"{sum(totals) or 'no'} x {size(page_bytes)}{left}".replace("no x", "no")


def _links(nodes: tuple[Node, ...], uncut: bool) -> Iterator[str]:
    """Pairs of nodes by their distance: SLIT numbers, 10 is local."""
    pairs_by_distance: dict[int, list[str]] = {}
    distances = {(node.os_index, other): far for node in nodes for other, far in node.distances.items() if other != node.os_index}
    for (node, other), distance in distances.items():
        if distances.get((other, node)) != distance:
            pairs_by_distance.setdefault(distance, []).append(f"from {node} to {other}")
        elif node < other:
            pairs_by_distance.setdefault(distance, []).append(f"{node} and {other}")
    if len(pairs_by_distance) == 1 and len(distances) == len(nodes) * (len(nodes) - 1):
        yield f"distance {next(iter(pairs_by_distance))} between any two (10 is local)"
    elif pairs_by_distance:
        yield "distances (10 is local)"
        for distance, pairs in _some(tuple(sorted(pairs_by_distance.items())), uncut):
            shown = pairs if uncut else pairs[:4]
            yield f"{distance}: {', '.join(shown)}{f' and {len(pairs) - len(shown)} more' if len(pairs) > len(shown) else ''}"


def _table(columns: Iterable[str], rows: Sequence[tuple[str | None, ...]], uncut: bool) -> ConsoleRenderable:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, justify="right" if column.isdecimal() else "left")
    more = 0 if uncut else max(0, len(rows) - ROWS)
    for row in rows[: len(rows) - more]:
        table.add_row(*(words(cell) for cell in row))
    return Group(table, words((f"and {more} more (--all)", "dim"))) if more else table


def _distances(nodes: tuple[Node, ...]) -> ConsoleRenderable:
    rows = []
    for node in nodes:
        far = (node.distances.get(other.os_index) for other in nodes)
        rows.append((str(node.os_index), *(None if distance is None else str(distance) for distance in far)))
    return _table(("distance from node", *(str(node.os_index) for node in nodes)), rows, False)


def _forward(rows: list[maps.MapRow], uncut: bool) -> ConsoleRenderable:
    cells = [(row.package, str(row.nodes), _cores(row), str(row.thread), ordered(row.cpus)) for row in rows]
    return _table(("package", "node", "cores", "thread", "is CPU, in the order of the cores"), cells, uncut)


def _back(rows: list[maps.MapRow], cpu: KernelCpu, uncut: bool) -> ConsoleRenderable:
    domains = {entry.cpu: entry.domains for entry in cpu.map}
    cells = [
        (ordered(row.cpus), str(row.thread), _cores(row), row.package, str(row.nodes), _domains(row.cpus, cpu, domains)) for row in rows
    ]
    columns = ("CPU", "is thread", "of core", "in package", "near node", "balanced in scheduling domains")
    return _table(columns if cpu.domains else columns[:-1], [row if cpu.domains else row[:-1] for row in cells], uncut)


def _domains(row: list[int], cpu: KernelCpu, domains: dict[int, tuple[CpuSet, ...]]) -> str | None:
    """The chain of domains of some CPUs, the smallest first: a domain's CPUs, or their number where the domains differ."""
    names_of = {domain.cpus: guessed(domain.name, domain.name_origin or domain.origin) or "domain" for domain in cpu.domains}
    chains = [domains.get(number, ()) for number in row]
    if len({len(chain) for chain in chains}) > 1:
        return "differently"
    levels = []
    for level in zip(*chains, strict=True):
        names = {names_of.get(cpus, "domain") for cpus in level}
        if len(set(level)) == 1:
            levels.append(f"{names.pop()} {ordered(level[0])}")
        else:
            levels.append(f"{'/'.join(sorted(names))} of {'/'.join(sorted({str(len(cpus)) for cpus in level}))}")
    return " < ".join(levels)


def _scheduler(cpu: KernelCpu) -> Iterator[Text]:
    if scheduler := cpu.scheduler:
        slice_ms = None if scheduler.base_slice_ns is None else f"base slice {digits(scheduler.base_slice_ns / 1e6)} ms"
        yield words(
            f"scheduler {guessed(scheduler.fair_class.upper(), scheduler.fair_class_origin)}" if scheduler.fair_class else None,
            guessed(slice_ms, scheduler.base_slice_origin),
            guessed(f"HZ {cpu.tick_hz}", cpu.tick_hz_origin) if cpu.tick_hz is not None else None,
            guessed(f"preemption {scheduler.preemption}", scheduler.preemption_origin) if scheduler.preemption else None,
        )
    for partition in cpu.partitions:
        shown = cpus(partition.cpus) if partition.cpus is not None else None
        yield words(f"{partition.kind} partition", partition.group, shown, (partition.invalid, "red") if partition.invalid else None)


def _cores(row: maps.MapRow) -> str:
    return f"{'' if row.numbered else '#'}{ordered(row.cores)}"


def _gaps(gaps: tuple[Gap, ...]) -> Iterator[ConsoleRenderable]:
    reasons: dict[str, list[str]] = {}
    for gap in gaps:
        reasons.setdefault(gap.reason, []).append(gap.source)
    for reason, sources in sorted(reasons.items()):
        yield words((f"{reason}:", "yellow"), *dict.fromkeys(sources))
