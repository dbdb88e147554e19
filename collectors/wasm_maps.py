"""WebAssembly linear memories, seen from outside: /proc/PID/maps, numa_maps and smaps (fs/proc/task_mmu.c).

wasmtime reserves more address space than a memory may ever use and opens a prefix of it. The kernel merges the closed parts of
neighbours into one `---p` line, so a line's own edges say little; the distances between the open parts say it all.
What mapping cannot tell: a freed slot that a pool keeps warm, and a heap of the guest's collector, look like memories; a memory
that is malloc'ed is not to be seen. After fork() the child shows its parent's memories at the same bases.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from msgspec.structs import replace

from agent.model.values import Fact
from collectors.sysroot import SysRoot
from collectors.text import Malformed, integer, newline_separated

MIB, GIB = 1 << 20, 1 << 30

MIN_VIRTUAL_BYTES = 4 * GIB
# 47 bits of address space hold no more of the smallest reservation; beyond it somebody plays with PROT_NONE.
MAX_MEMORIES = 1 << 15

IMAGE = "/memfd:wasm-memory-image"
# glibc starts an arena at a multiple of HEAP_MAX_SIZE and closes what it has not used (malloc/arena.c).
ARENA_BYTES = 64 * MIB
# The guard below a glibc thread stack; before version 27 the reservation under it has the same flags, and the kernel merges them.
STACK_GUARD_BYTES = 4096

Confidence = Literal["high", "low"]


class LinearMemory(Fact, frozen=True):
    """One memory. `base` is the address of its byte 0; `reserved_bytes` counts the address space with its guards.

    `size_bytes` is a multiple of the host's page, of the guest's 64 KiB unless it declares a smaller page. Resident values are
    None where the kernel did not say; they are read after the size and may exceed it when the guest grows meanwhile.
    """

    base: int
    size_bytes: int
    reserved_bytes: int
    layout: str
    confidence: Confidence
    resident_bytes: int | None = None
    resident_by_node: dict[int, int] | None = None


class WasmProcess(Fact, frozen=True):
    """A process that runs a Wasm runtime; `evidence` is the mapped file that says so, as the kernel writes it (any bytes)."""

    pid: int
    runtime: str
    evidence: str
    memories: tuple[LinearMemory, ...]


class Vma(NamedTuple):
    start: int
    end: int
    perms: str
    path: str


class Layout(NamedTuple):
    """`slots` times (`reserve`, `guard`) behind one `pre`, all in bytes; a memory starts each slot."""

    name: str
    pre: int
    reserve: int
    guard: int
    slots: int = 1

    @property
    def slot(self) -> int:
        return self.reserve + self.guard

    @property
    def total(self) -> int:
        return self.pre + self.slots * self.slot


# A slab goes first: its first slot alone looks like the default layout.
LAYOUTS = (
    Layout("wasmtime-pooling", 32 * MIB, 4 * GIB, 32 * MIB, slots=1000),
    Layout("wasmtime-28", 32 * MIB, 4 * GIB, 32 * MIB),
    Layout("wasmtime-27", 2 * GIB, 4 * GIB, 2 * GIB),
)
SINGLE = tuple(layout for layout in LAYOUTS if layout.slots == 1)
SMALLEST = min(layout.total for layout in LAYOUTS)
SMALLEST_PRE = min(layout.pre for layout in LAYOUTS)


class Part(NamedTuple):
    """A stretch of a run: one closed VMA, or all adjacent open ones."""

    start: int
    end: int
    open: bool


def read(root: SysRoot, pids: Iterable[int]) -> tuple[WasmProcess, ...]:
    """The processes among `pids` that run wasmtime, with the memories of its default layouts.

    Only a process with 4 GiB of address space or more is looked at (proc/PID/statm, readable by anyone): less cannot hold one
    default reservation.
    What is gone or refused is skipped, what cannot be understood is noted in `root.refusals`.
    """
    processes = []
    for pid in pids:
        try:
            process = _process(root, pid)
        except Malformed as error:
            root.note(error.path or f"proc/{pid}", "failed", str(error))
            continue
        if process is not None:
            processes.append(process)
    return tuple(processes)


def parse_maps(text: str) -> list[Vma]:
    """proc/PID/maps, in its order. A path keeps its spaces, " (deleted)" and the kernel's \\012 for a newline."""
    vmas = []
    for number, line in enumerate(newline_separated(text), 1):
        fields = line.split(None, 5)
        try:
            low, _, high = fields[0].partition("-")
            start, end, perms = int(low, 16), int(high, 16), fields[1]
        except (IndexError, ValueError):
            raise Malformed(f"expected 'start-end perms ...', got {line[:60]!r}", number) from None
        if not 0 <= start < end <= 1 << 64:
            raise Malformed(f"not a range of addresses: {line[:60]!r}", number)
        vmas.append(Vma(start, end, perms, fields[5] if len(fields) > 5 else ""))
    return vmas


def parse_numa_maps(text: str) -> dict[int, dict[int, int]]:
    """proc/PID/numa_maps: resident bytes by node of each VMA, under its start. Names in it hold no blank and no "="."""
    stats: dict[int, dict[int, int]] = {}
    for number, line in enumerate(newline_separated(text), 1):
        address, *words = line.split(" ")
        pages: dict[int, int] = {}
        page_kib = 0
        try:
            start = int(address, 16)
            for word in words:
                key, equals, value = word.partition("=")
                if equals and key[:1] == "N" and key[1:].isdecimal():
                    pages[integer(key[1:])] = integer(value)
                elif key == "kernelpagesize_kB":
                    page_kib = integer(value)
        except (ValueError, Malformed):
            raise Malformed(f"expected 'address policy N0=pages ...', got {line[:60]!r}", number) from None
        if pages and not page_kib:
            raise Malformed(f"pages without their size: {line[:60]!r}", number)
        stats[start] = {node: count * page_kib << 10 for node, count in pages.items()}
    return stats


def parse_smaps(text: str) -> dict[int, int]:
    """proc/PID/smaps: the Rss of each VMA in bytes, under its start."""
    stats: dict[int, int] = {}
    start: int | None = None
    for number, line in enumerate(newline_separated(text), 1):
        try:
            if line.startswith("Rss:"):
                if start is not None:
                    stats[start] = integer(line[4:].removesuffix(" kB")) << 10
            elif line[:1] in set("0123456789abcdef"):
                start = int(line.partition("-")[0], 16)
        except (ValueError, Malformed):
            raise Malformed(f"expected a VMA or 'Rss: number kB', got {line[:60]!r}", number) from None
    return stats


def identify(vmas: Iterable[Vma]) -> str | None:
    """The mapped file that shows wasmtime: its library or program mapped for execution, else the image it makes of a module's data."""
    image = None
    for vma in vmas:
        if "wasm" not in vma.path:
            continue
        name = vma.path.rpartition("/")[2].removesuffix(" (deleted)")
        library = name == "_libwasmtime.so" or (name.startswith("libwasmtime") and (name.endswith(".so") or ".so." in name))
        if "x" in vma.perms and (library or name == "wasmtime"):
            return vma.path
        if vma.path.removesuffix(" (deleted)") == IMAGE:
            image = vma.path
    return image


def detect(vmas: Iterable[Vma]) -> list[LinearMemory]:
    """The memories of the known layouts, by base. Low confidence: it fits, but so would something else.

    A memory of no pages opens nothing: it is counted where closed space is a whole number of reservations. In a slab it cannot
    be told from a free slot and is left out. `reserved_bytes` of a slot in a slab is the slot.
    """
    found: list[LinearMemory] = []
    for run in _runs(vmas):
        found += _explain(run, MAX_MEMORIES - len(found))
    return found


def _process(root: SysRoot, pid: int) -> WasmProcess | None:
    pages = root.parse(f"proc/{pid}/statm", lambda text: integer(text.partition(" ")[0]))
    if pages is not None and pages * root.page_bytes < MIN_VIRTUAL_BYTES:
        return None
    known = len(root.refusals)
    vmas = root.parse(f"proc/{pid}/maps", _maps_of_wasmtime)
    if vmas is None and pages is not None and len(root.refusals) == known:
        root.note(f"proc/{pid}/maps", "absent", "gone while it was read")
    evidence = identify(vmas) if vmas else None
    if vmas is None or evidence is None:
        return None
    return WasmProcess(pid, "wasmtime", evidence, _with_residency(root, pid, detect(vmas)))


def _maps_of_wasmtime(text: str) -> list[Vma]:
    return parse_maps(text) if "wasmtime" in text or IMAGE in text else []


def _with_residency(root: SysRoot, pid: int, memories: list[LinearMemory]) -> tuple[LinearMemory, ...]:
    if not memories:
        return ()
    nodes = root.parse(f"proc/{pid}/numa_maps", parse_numa_maps)
    # Without CONFIG_NUMA there is no numa_maps.
    totals = root.parse(f"proc/{pid}/smaps", parse_smaps) if nodes is None else {start: sum(of.values()) for start, of in nodes.items()}
    starts = sorted(totals or ())
    measured = []
    for memory in memories:
        if totals is None or (memory.size_bytes and memory.base not in totals):
            measured.append(memory)  # unmapped since
            continue
        first, last = (bisect_left(starts, address) for address in (memory.base, memory.base + memory.size_bytes))
        by_node: Counter[int] = Counter()
        for start in starts[first:last]:
            by_node.update(nodes[start] if nodes is not None else {})
        resident = sum(totals[start] for start in starts[first:last])
        measured.append(replace(memory, resident_bytes=resident, resident_by_node=None if nodes is None else dict(by_node)))
    return tuple(measured)


def _runs(vmas: Iterable[Vma]) -> Iterator[list[Part]]:
    """Private memory without holes, open or closed, where at least one reservation has room."""
    run: list[Part] = []
    for start, end, perms, path in vmas:
        closed = perms == "---p" and not path.startswith("/")
        if run and (run[-1].end != start or not (closed or perms == "rw-p")):
            if run[-1].end - run[0].start >= SMALLEST:
                yield run
            run = []
        if closed:
            run.append(Part(start, end, False))
        elif perms != "rw-p":
            continue
        # A module's data may be mapped from a file into the open part.
        elif run and run[-1].open:
            run[-1] = Part(run[-1].start, end, True)
        else:
            run.append(Part(start, end, True))
    if run and run[-1].end - run[0].start >= SMALLEST:
        yield run


def _explain(run: list[Part], room: int) -> list[LinearMemory]:
    found: list[LinearMemory] = []
    edge = run[0].start  # what is below is explained
    arena = 0
    for index, (start, end, is_open) in enumerate(run):
        if end <= edge or len(found) >= room:
            continue
        if is_open:
            edge = end
            arena = start + ARENA_BYTES if start % ARENA_BYTES == 0 and end - start <= ARENA_BYTES else 0
            continue
        if end - edge < SMALLEST_PRE:
            continue
        bottoms = [bottom for bottom in (arena, max(start, edge), edge) if edge <= bottom < end]
        above = index + 1 if index + 1 < len(run) and run[index + 1].open else None
        step = _exact(run, above, bottoms) if above else None
        step = step or _empty(end, bottoms, above)
        if step is None and above:
            step = _loose(run, above, edge)
        if step is not None:
            memories, edge = step
            found += memories
    return found[:room]


def _exact(run: list[Part], index: int, bottoms: list[int]) -> tuple[list[LinearMemory], int] | None:
    """The memories from the nearest bottom up to and with the open part at `index`, and where their reservations end."""
    base = run[index].start
    for layout in LAYOUTS:
        for bottom in bottoms:
            skipped, rest = divmod(base - bottom - layout.pre, layout.total)
            if 0 <= skipped <= MAX_MEMORIES and rest % layout.slot == 0:
                first = bottom + skipped * layout.total
                members = _members(run, index, first, layout, "high")
                if members:
                    return [*_closed(layout, bottom, skipped), *members], first + layout.total
    return None


def _empty(top: int, bottoms: list[int], above: int | None) -> tuple[list[LinearMemory], int] | None:
    """Memories of no pages that fill a closed part to its top."""
    for layout in SINGLE:
        for bottom in bottoms:
            for end in (top, top - STACK_GUARD_BYTES) if above else (top,):
                count, rest = divmod(end - bottom, layout.total)
                if 0 < count <= MAX_MEMORIES and not rest:
                    return _closed(layout, bottom, count), top
    return None


def _loose(run: list[Part], index: int, edge: int) -> tuple[list[LinearMemory], int] | None:
    """An open part with room enough on both sides, whose closed space is merged with something unknown."""
    base = run[index].start
    for layout in SINGLE:
        if base - edge >= layout.pre:
            members = _members(run, index, base - layout.pre, layout, "low")
            if members:
                return members, base + layout.slot
    return None


def _members(run: list[Part], index: int, first: int, layout: Layout, confidence: Confidence) -> list[LinearMemory]:
    """The open parts of one reservation that starts at `first`; none when one of them is out of place."""
    end = first + layout.total
    if end > run[-1].end:
        return []
    members = []
    while index < len(run) and run[index].start < end:
        base, stop, is_open = run[index]
        if is_open:
            if (base - first - layout.pre) % layout.slot or stop - base > layout.reserve:
                return []
            members.append(_memory(layout, base, stop - base, confidence))
        index += 1
    return members


def _closed(layout: Layout, bottom: int, count: int) -> list[LinearMemory]:
    # Anybody may reserve a power of two.
    confidence: Confidence = "high" if layout.total & (layout.total - 1) else "low"
    count = count if layout.slots == 1 else 0
    return [_memory(layout, bottom + number * layout.total + layout.pre, 0, confidence) for number in range(count)]


def _memory(layout: Layout, base: int, size: int, confidence: Confidence) -> LinearMemory:
    return LinearMemory(base, size, layout.total if layout.slots == 1 else layout.slot, layout.name, confidence)
