"""WebAssembly linear memories, seen from outside: /proc/PID/maps, numa_maps and smaps (fs/proc/task_mmu.c).

Here is the reader of processes; `runtimes` and `programs` say which runtime a process has, `layouts` how its memories look, `detection`
finds them (`explanation` reads one run of mappings), `residency` what of them is there. What mapping cannot tell: a freed slot that a
pool keeps open, and a heap of the guest's collector, look like memories; a memory that is malloc'ed is not to be seen. After fork() the
child shows its parent's memories at the same bases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from msgspec.structs import replace

from agent.model.values import Fact
from collectors.proc_pid.maps import Vma, parse_maps
from collectors.root import Contents, SysRoot
from collectors.text import integer
from collectors.wasm_maps.detection import detect
from collectors.wasm_maps.memories import MappedMemory
from collectors.wasm_maps.programs import search, shape
from collectors.wasm_maps.residency import with_residency
from collectors.wasm_maps.runs import rust_stacks
from collectors.wasm_maps.runtimes import TABLE, identify, may_hold_runtime

# What cannot be read in a process that holds less than one default reservation is nothing to speak of.
MIN_VIRTUAL_BYTES = 4 << 30


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
    """

    started: float | None
    pages: tuple[int, ...]
    process: WasmProcess | None
    program: Contents | None = None
    map_digest: bytes = b""


@dataclass(slots=True)
class WasmCache:
    """Every process that the last pass looked at and could read, by pid."""

    processes: dict[int, CachedProcess] = field(default_factory=dict)


class WasmProcesses(NamedTuple):
    """The processes with a runtime, and how many processes' maps could not be read."""

    processes: tuple[WasmProcess, ...]
    unread: int = 0


def read(root: SysRoot, started: Mapping[int, float | None], cache: WasmCache) -> WasmProcesses:
    """The processes that hold a Wasm runtime, with the memories of its layouts, among those of these pids and start times.

    The map of one without memories is read again when the process has changed; None for a start is always a change. What is gone is
    skipped, and what is refused, or cannot be understood, is counted.
    """
    programs = {cached.program.identity: cached.program for cached in cache.processes.values() if cached.program}
    processes: list[WasmProcess] = []
    unread = 0
    current: dict[int, CachedProcess] = {}
    for pid, start in started.items():
        look = _look(root, pid, start, cache.processes.get(pid), programs)
        unread += look.unread
        if look.process is not None:
            processes.append(look.process)
        if look.cached is not None:
            current[pid] = look.cached
            if look.cached.program:
                programs[look.cached.program.identity] = look.cached.program
    cache.processes = current
    return WasmProcesses(tuple(processes), unread)


class _Look(NamedTuple):
    """A process as it is now, if it has a runtime; what the next pass may take from the cache; whether its map could not be read."""

    process: WasmProcess | None = None
    cached: CachedProcess | None = None
    unread: bool = False


def _look(root: SysRoot, pid: int, start: float | None, cached: CachedProcess | None, programs: dict[tuple[int, ...], Contents]) -> _Look:
    pages = root.parse(f"proc/{pid}/statm", _pages)
    same_process = cached is not None and start is not None and cached.started == start
    if cached is not None and same_process and pages and cached.pages == pages and not (cached.process and cached.process.memories):
        return _Look(cached.process, cached)
    refused, malformed = len(root.refusals), len(root.malformed)
    large = pages is not None and pages[0] * root.page_bytes >= MIN_VIRTUAL_BYTES
    maps = root.raw(f"proc/{pid}/maps", _of_runtime_or_large if large else _of_runtime)
    if not maps or not maps.strip():
        return _Look(unread=_is_unread(root, pid, pages, refused))
    digest = blake2b(maps, digest_size=16).digest()
    process: WasmProcess | None
    # exec() keeps pid and start: a process that is known by its program alone is searched again.
    if cached is not None and same_process and cached.process and not cached.program and cached.map_digest == digest:
        process, program = cached.process, None
    else:
        vmas = root.parse_bytes(f"proc/{pid}/maps", maps, parse_maps)
        if vmas is None:
            return _Look(unread=True)
        process, program = _process(root, pid, vmas, programs)
    complete = (len(root.refusals), len(root.malformed)) == (refused, malformed)
    measured_process = process
    if process is not None and process.memories:
        measured_process = replace(process, memories=with_residency(root, pid, process.memories))
    if not pages or not (complete or program):
        return _Look(measured_process)
    if not complete:
        return _Look(measured_process, CachedProcess(started=start, pages=(), process=None, program=program))
    kept = CachedProcess(started=start, pages=pages, process=process, program=program, map_digest=digest)
    return _Look(measured_process, kept)


def _pages(statm: str) -> tuple[int, ...]:
    """Pages of address space, of code and of data: fields 1, 4 and 6."""
    words = statm.split()
    return tuple(integer(words[index]) for index in (0, 3, 5) if index < len(words))


def _is_unread(root: SysRoot, pid: int, pages: tuple[int, ...] | None, refused: int) -> bool:
    """Whether a map that could not be read is that of a process: one that has an address space, and is still there.

    It is a gap where the process may hold a memory.
    """
    path = f"proc/{pid}/maps"
    if len(root.refusals) > refused:
        if pages and pages[0] * root.page_bytes < MIN_VIRTUAL_BYTES:
            root.drop_refusal(path)
        return True
    # A zombie and a thread of the kernel have no address space.
    if not pages or not pages[0] or not any(root.parse(f"proc/{pid}/statm", _pages) or ()):
        return False
    root.note(path, "absent", "nothing to read, though the process is there")
    return True


def _process(
    root: SysRoot, pid: int, vmas: list[Vma], programs: dict[tuple[int, ...], Contents]
) -> tuple[WasmProcess | None, Contents | None]:
    """What a process holds, not measured; and what its program does, if that had to be searched."""
    program = None
    if not (runtimes := identify(vmas)):
        searched = search(root, pid, vmas, programs)
        if searched is None:
            return None, None
        program = searched.contents
        # Now with the names of its files.
        vmas = (root.parse(f"proc/{pid}/maps", parse_maps) if searched.runtime else None) or []
        evidence = next((vma.path for vma in vmas if "x" in vma.perms and vma.path.startswith("/")), None)
        if searched.runtime is None or evidence is None:
            return None, program
        runtimes = [(searched.runtime, evidence)]
    runtime, evidence = runtimes[0]
    visible = any(candidate.visible for candidate, _ in runtimes)
    memories = tuple(detect(vmas, [candidate for candidate, _ in runtimes]))
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
