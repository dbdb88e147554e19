"""WebAssembly linear memories, seen from outside: /proc/PID/maps, numa_maps and smaps (fs/proc/task_mmu.c).

Here is the reader of processes; `runtimes` and `programs` say which runtime a process has, `layouts` how its memories look, `detection`
finds them (`explanation` reads one run of mappings), `residency` what of them is there. What mapping cannot tell: a freed slot that a
pool keeps open, and a heap of the guest's collector, look like memories; a memory that is malloc'ed is not to be seen. After fork() the
child shows its parent's memories at the same bases.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal, NamedTuple

from msgspec.structs import replace

from agent.model.values import Fact
from collectors.proc_pid.maps import Vma, parse_maps
from collectors.root import Budget, Contents, OverBudget, SysRoot
from collectors.text import unsigned
from collectors.wasm_maps.detection import detect
from collectors.wasm_maps.memories import MappedMemory
from collectors.wasm_maps.programs import search, shape
from collectors.wasm_maps.residency import with_residency
from collectors.wasm_maps.runs import rust_stacks
from collectors.wasm_maps.runtimes import TABLE, identify, may_hold_runtime

# What cannot be read in a process that holds less than one default reservation is nothing to speak of.
MIN_VIRTUAL_BYTES = 4 << 30

# A map of so many bytes has some three thousand mappings. Larger ones, and programs of which more is to be searched, wait for the others.
LARGE_MAP_BYTES = 1 << 18
_FIRST_PROGRAM_BYTES = 16 << 20
_ANY_BYTES = 1 << 40


# What says how much of a memory is there, and not which memories there are.
_MEASURES = ("numa_maps", "smaps", "smaps_rollup", "status")


class WasmProcess(Fact, frozen=True, kw_only=True):
    """A process that holds a Wasm runtime; `evidence` is the mapped file that says so, as the kernel writes it (any bytes).

    Without `visible` its memories lie where they cannot be told from others, and `memories` says nothing. `table` is where the embedder
    publishes what it says of them, as map_files names it; `stacks` are those of Rust's threads, each from its lowest address to its top.
    """

    pid: int
    runtime: str
    evidence: str
    memories: tuple[MappedMemory, ...]
    visible: bool = True
    table: str | None = None
    stacks: tuple[tuple[int, int], ...] = ()


class CachedProcess(Fact, frozen=True, kw_only=True):
    """What the last pass found in a process, and what tells that the process is still as it was.

    `pages` are those of address space, of code and of data (statm): a memory that is made adds to the first, one that grows to the last.
    Empty: they say nothing, as something was refused. `map_digest` is of the map of a process with memories, which are where they were
    as long as the map is the same. `program` is what was searched for a runtime, which need not be again though the process has changed.

    `size` is what was to be read when it was looked at last, its map and what is left of its program (bytes), and `seconds` the CPU time
    that this took, or had taken when none was left. `answer` is the last answer, with what is resident, of `answered_at` (time.monotonic).
    """

    started: float | None
    pages: tuple[int, ...]
    process: WasmProcess | None
    program: Contents | None = None
    map_digest: bytes = b""
    size: int = 0
    seconds: float = 0.0
    answer: WasmProcess | None = None
    answered_at: float | None = None


@dataclass(slots=True)
class WasmCache:
    """Every process that the last pass looked at and could read, by pid."""

    processes: dict[int, CachedProcess] = field(default_factory=dict)


Pages = tuple[int, ...] | None
"""Of address space, of code and of data; None where they could not be read."""


class WasmProcesses(NamedTuple):
    """The processes with a runtime, how many processes' maps could not be read, and whether no process with memories can be missing."""

    processes: tuple[WasmProcess, ...]
    unread: int = 0
    all_found: bool = True


def read(root: SysRoot, started: Mapping[int, float | None], cache: WasmCache, budget: Budget | None = None) -> WasmProcesses:
    """The processes that hold a Wasm runtime, with the memories of its layouts, among those of these pids and start times.

    The map of one without memories is read again when the process has changed; None for a start is always a change. What is gone is
    skipped, and what is refused, or cannot be understood, is counted. Of processes that the budget does not allow to look at, the largest,
    the last answers are returned, and their age is noted.
    """
    budget = budget or Budget()
    programs = {cached.program.identity: cached.program for cached in cache.processes.values() if cached.program}
    means = _Means(root, programs, budget)
    looks: dict[int, _Look] = {}
    waiting: dict[int, CachedProcess | None] = {}
    with budget:
        is_spent = False
        for pid, start in started.items():
            cached = cache.processes.get(pid)
            if is_spent or (cached is not None and cached.size > LARGE_MAP_BYTES):
                waiting[pid] = cached
                continue
            pages = root.parse(f"proc/{pid}/statm", _pages)
            if cached is not None and pages and _is_unchanged(cached, start, pages):
                looks[pid] = _Look(cached.process, cached)
                continue
            look = _try(means, pid, start, cached, pages)
            if look.outcome == "late":
                waiting[pid] = look.cached
            else:
                looks[pid] = look
            if look.cached is not None and look.cached.size > LARGE_MAP_BYTES:
                # Once it is, small ones wait, too: each may have become a large one.
                is_spent = budget.is_spent
        for pid in sorted(waiting, key=lambda pid: _rank(waiting[pid])):
            looks[pid] = _look_at_large(means, pid, started[pid], waiting[pid])
    # In the order of the processes, whichever waited.
    ordered = [looks[pid] for pid in started] if waiting else list(looks.values())
    cache.processes = {pid: look.cached for pid in started if (look := looks[pid]).cached is not None}
    left_out = {refusal.path for refusal in root.refusals} | {error.path or "" for error in root.malformed}
    left_out -= {f"proc/{pid}/maps" for pid in started if looks[pid].outcome == "small"}
    all_found = all(path.rpartition("/")[2] in _MEASURES for path in left_out)
    unread = sum(look.outcome in ("unread", "small") for look in ordered)
    return WasmProcesses(tuple([look.process for look in ordered if look.process]), unread, all_found)


def _rank(cached: CachedProcess | None) -> tuple[int, float]:
    """The smaller ones first; of those that are about as large, what was looked at longest ago."""
    return (cached.size.bit_length(), cached.answered_at or 0.0) if cached else (0, 0.0)


def _try(means: _Means, pid: int, start: float | None, cached: CachedProcess | None, pages: Pages, waits: bool = True) -> _Look:
    """A process as it is now; "late" where the budget does not allow it, or where it is large and `waits` for others."""
    left = means.budget.left
    try:
        look = _look(means, pid, start, cached, pages, waits)
    except _Waits as late:
        last = cached if cached is not None and start is not None and cached.started == start else None
        last = last or CachedProcess(started=start, pages=(), process=None)
        program = late.program or last.program
        # A search goes on where it ended; all else begins anew, and takes longer than this.
        seconds = 0.0 if late.program else 2 * (left - means.budget.left)
        look = _Look(cached=replace(last, program=program, size=late.size, seconds=seconds), outcome="late")
    else:
        if look.cached is not None and look.cached.size > LARGE_MAP_BYTES:
            look = look._replace(cached=replace(look.cached, seconds=left - means.budget.left))
    if look.cached is not None and look.cached.program:
        means.programs[look.cached.program.identity] = look.cached.program
    return look


def _look_at_large(means: _Means, pid: int, start: float | None, cached: CachedProcess | None) -> _Look:
    """A process that had to wait, as it is now, or with the last answer where the budget does not allow more."""
    pages = means.root.parse(f"proc/{pid}/statm", _pages)
    if means.budget.left > (cached.seconds if cached else 0.0):
        look = _try(means, pid, start, cached, pages, waits=False)
        if look.outcome != "late":
            return look
        cached = look.cached
    elif cached is not None and cached.pages and cached.pages == pages and not cached.process:
        return _Look(cached=cached)
    elif cached is not None:
        # It may have become smaller: it is tried again, though seldom.
        cached = replace(cached, seconds=cached.seconds * 0.99)
    if cached is None or cached.answered_at is None or cached.started != start:
        means.root.note(f"proc/{pid}/maps", "late", "too large to be read in the CPU time that a pass has for it")
        return _Look(cached=cached, outcome="unread")
    age = time.monotonic() - cached.answered_at
    means.root.note(f"proc/{pid}/maps", "late", f"no CPU time was left to read it: what is shown is {age:.0f} s old")
    return _Look(cached.answer, cached)


class _Means(NamedTuple):
    """What all looks of one pass have in common: the door, the programs that were searched by their identities, and the budget."""

    root: SysRoot
    programs: dict[tuple[int, ...], Contents]
    budget: Budget


class _Look(NamedTuple):
    """A process as it is now, if it has a runtime; what the next pass may take from the cache; what came of its map.

    "small": it was refused, and the process has too little address space for a memory; it may have a runtime.
    """

    process: WasmProcess | None = None
    cached: CachedProcess | None = None
    outcome: Literal["read", "unread", "small", "late"] = "read"


class _Waits(Exception):
    """A process of which so many bytes are to be read, which is too much for now. `program`: as far as it was searched."""

    def __init__(self, size: int, program: Contents | None = None) -> None:
        super().__init__(size)
        self.size = size
        self.program = program


def _is_unchanged(cached: CachedProcess, start: float | None, pages: Pages) -> bool:
    """Whether it is a process without memories that has as many pages of each kind as it had."""
    return start is not None and (cached.started, cached.pages) == (start, pages) and not (cached.process and cached.process.memories)


def _look(means: _Means, pid: int, start: float | None, cached: CachedProcess | None, pages: Pages, waits: bool) -> _Look:
    """Raises _Waits."""
    root = means.root
    same_process = cached is not None and start is not None and cached.started == start
    refused, malformed = len(root.refusals), len(root.malformed)
    large = pages is not None and pages[0] * root.page_bytes >= MIN_VIRTUAL_BYTES
    size = 0

    def keep(data: bytes) -> bytes:
        nonlocal size
        size = len(data)
        return _of_runtime_or_large(data) if large else _of_runtime(data)

    maps = root.raw(f"proc/{pid}/maps", keep)
    if not maps or not maps.strip():
        if len(root.refusals) > refused:
            is_small = bool(pages) and not large and root.refusals[-1].reason == "denied"
            return _Look(outcome="small" if is_small else "unread")
        return _Look(outcome="unread" if _is_silent(root, pid, pages) else "read")
    if waits and len(maps) > LARGE_MAP_BYTES:
        raise _Waits(len(maps))
    digest = blake2b(maps, digest_size=16).digest()
    process: WasmProcess | None
    # exec() keeps pid and start: a process that is known by its program alone is searched again.
    if cached is not None and same_process and cached.process and not cached.program and cached.map_digest == digest:
        process, program = cached.process, None
    else:
        vmas = root.parse_bytes(f"proc/{pid}/maps", maps, parse_maps)
        if vmas is None:
            return _Look(outcome="unread")
        process, program = _process_in_time(means, pid, vmas, size, _FIRST_PROGRAM_BYTES if waits else _ANY_BYTES)
    complete = (len(root.refusals), len(root.malformed)) == (refused, malformed)
    measured_process = process
    if process is not None and process.memories:
        if size > LARGE_MAP_BYTES and means.budget.is_spent:
            raise _Waits(size, program)
        measured_process = replace(process, memories=with_residency(root, pid, process.memories))
    if not pages or not (complete or program):
        return _Look(measured_process)
    kept = CachedProcess(started=start, pages=(), process=None, program=program, answer=measured_process, answered_at=time.monotonic())
    return _Look(measured_process, replace(kept, pages=pages, process=process, map_digest=digest, size=size) if complete else kept)


def _process_in_time(means: _Means, pid: int, vmas: list[Vma], size: int, max_bytes: int) -> tuple[WasmProcess | None, Contents | None]:
    """`_process`, of whose program at most so many bytes are searched. Raises _Waits; `size` is that of the map in bytes."""
    try:
        process, program = _process(means, pid, vmas, max_bytes)
    except OverBudget:
        raise _Waits(size) from None
    if program is not None and program.unread_from is not None:
        raise _Waits(size + program.identity[2] - program.unread_from, program)
    return process, program


def _pages(statm: str) -> tuple[int, ...]:
    """Pages of address space, of code and of data: fields 1, 4 and 6."""
    words = statm.split()
    return tuple(unsigned(words[index]) for index in (0, 3, 5) if index < len(words))


def _is_silent(root: SysRoot, pid: int, pages: Pages) -> bool:
    """Whether a map in which nothing stands is that of a process: one that has an address space, and is still there."""
    # A zombie and a thread of the kernel have no address space.
    if not pages or not pages[0] or not any(root.parse(f"proc/{pid}/statm", _pages) or ()):
        return False
    root.note(f"proc/{pid}/maps", "absent", "nothing to read, though the process is there")
    return True


def _process(means: _Means, pid: int, vmas: list[Vma], max_bytes: int) -> tuple[WasmProcess | None, Contents | None]:
    """What a process holds, not measured; and what its program does, if that had to be searched."""
    program = None
    if not (runtimes := identify(vmas)):
        searched = search(means.root, pid, vmas, means.programs, means.budget, max_bytes)
        if searched is None:
            return None, None
        program = searched.contents
        # Now with the names of its files.
        vmas = (means.root.parse(f"proc/{pid}/maps", parse_maps) if searched.runtime else None) or []
        evidence = next((vma.path for vma in vmas if "x" in vma.perms and vma.path.startswith("/")), None)
        if searched.runtime is None or evidence is None:
            return None, program
        runtimes = [(searched.runtime, evidence)]
    runtime, evidence = runtimes[0]
    visible = any(candidate.visible for candidate, _ in runtimes)
    memories = tuple(detect(vmas, [candidate for candidate, _ in runtimes], means.budget))
    if not memories:
        return WasmProcess(pid=pid, runtime=runtime.name, evidence=evidence, memories=(), visible=visible), program
    table = next((f"{vma.start:x}-{vma.end:x}" for vma in vmas if vma.path.removesuffix(" (deleted)") == TABLE), None)
    return WasmProcess(
        pid=pid, runtime=runtime.name, evidence=evidence, memories=memories, visible=visible, table=table, stacks=rust_stacks(vmas)
    ), program


def _of_runtime(maps: bytes) -> bytes:
    """A process without a runtime needs no more than its first line: it is read fast, and a recording keeps no names of its files."""
    return maps if may_hold_runtime(maps) else maps[: maps.find(b"\n") + 1]


def _of_runtime_or_large(maps: bytes) -> bytes:
    """One that is large may hold a runtime that its files do not show."""
    return maps if may_hold_runtime(maps) else shape(maps)
