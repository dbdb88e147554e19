"""WebAssembly linear memories, seen from outside: /proc/PID/maps, numa_maps and smaps (fs/proc/task_mmu.c).

Here is the sweep over processes; `runtimes` says who they are, `layouts` how a memory looks, `detection` finds it, `residency`
what of it is there. What mapping cannot tell: a freed slot that a pool keeps open, and a heap of the guest's collector, look like
memories; a memory that is malloc'ed is not to be seen. After fork() the child shows its parent's memories at the same bases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

from msgspec.structs import replace

from agent.model.values import Fact
from collectors.root import Contents, SysRoot
from collectors.text import Malformed, integer
from collectors.wasm_maps.detection import LinearMemory, detect
from collectors.wasm_maps.files import Vma, parse_maps
from collectors.wasm_maps.programs import search, shape
from collectors.wasm_maps.residency import measured
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
    memories: tuple[LinearMemory, ...]
    visible: bool = True
    table: str | None = None
    stacks: tuple[tuple[int, int], ...] = ()


class Seen(Fact, frozen=True, kw_only=True):
    """What tells that a process is as it was: since when it lives, and its pages of address space, of code and of data (statm).

    A memory that is made adds to its address space, one that grows to its data. `program` is what was searched for a runtime: it need
    not be again, though the process has changed; then there are no `pages`. One with memories is as it was while its map says what it
    said, of which `map` is a digest; what of them is there is not known, then.
    """

    started: float | None
    pages: tuple[int, ...]
    process: WasmProcess | None
    program: Contents | None = None
    map: bytes = b""


class Sweep(NamedTuple):
    """The processes with a runtime, what was seen of all, for the next sweep, and of how many the map could not be read."""

    processes: tuple[WasmProcess, ...]
    seen: dict[int, Seen]
    unread: int = 0


def read(root: SysRoot, pids: Iterable[int]) -> tuple[WasmProcess, ...]:
    """The processes among `pids` that hold a Wasm runtime, with the memories of its layouts."""
    return sweep(root, dict.fromkeys(pids)).processes


def sweep(root: SysRoot, started: Mapping[int, float | None], before: Mapping[int, Seen] | None = None) -> Sweep:
    """The same, for processes by pid with their start: the map of one without memories is read again when it has changed.

    What is gone is skipped, what is refused is counted, and what cannot be understood is noted in `root.refusals`.
    """
    before = before or {}
    programs = {known.program.identity: known.program for known in before.values() if known.program}
    processes = []
    unread = 0
    seen: dict[int, Seen] = {}
    for pid, start in started.items():
        try:
            pages = root.parse(f"proc/{pid}/statm", _pages)
            known = before.get(pid)
            if known and pages and start is not None and (known.started, known.pages) == (start, pages):
                process, quiet, program = known.process, not (known.process and known.process.memories), known.program
            else:
                process, quiet, program = None, False, None
            said = known.map if known else b""
            if not quiet:
                refused = len(root.refusals)
                large = pages is not None and pages[0] * root.page_bytes >= MIN_VIRTUAL_BYTES
                text = root.raw(f"proc/{pid}/maps", _of_runtime_or_large if large else _of_runtime)
                if not text or not text.strip():
                    unread += _unread(root, pid, pages, refused)
                    continue
                said = blake2b(text, digest_size=16).digest()
                # exec() keeps pid and start: who was known by its program alone is asked for it again.
                if known and known.process and not known.program and start is not None and (known.started, known.map) == (start, said):
                    process = known.process
                else:
                    process, program = _process(root, pid, root.parse_bytes(f"proc/{pid}/maps", text, parse_maps), programs)
                quiet = len(root.refusals) == refused
            found = process
            if process is not None and process.memories:
                found = replace(process, memories=measured(root, pid, process.memories))
        except Malformed as error:
            root.note(error.path or f"proc/{pid}", "failed", str(error))
            unread += 1
            continue
        if found is not None:
            processes.append(found)
        if program:
            programs[program.identity] = program
        if pages and (quiet or program):
            seen[pid] = Seen(
                started=start, pages=pages if quiet else (), process=process if quiet else None, program=program, map=said if quiet else b""
            )
    return Sweep(tuple(processes), seen, unread)


def _pages(statm: str) -> tuple[int, ...]:
    """Pages of address space, of code and of data: fields 1, 4 and 6."""
    words = statm.split()
    return tuple(integer(words[index]) for index in (0, 3, 5) if index < len(words))


def _unread(root: SysRoot, pid: int, pages: tuple[int, ...] | None, refused: int) -> bool:
    """Whether a map that was not to be had is a process'; one with address space that is still there is a gap, if it may hold a memory."""
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
    visible = any(one.visible for one, _ in runtimes)
    memories = tuple(detect(vmas, [one for one, _ in runtimes]))
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
