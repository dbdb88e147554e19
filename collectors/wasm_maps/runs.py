"""Runs of private mappings without holes: what a reservation, or several of them, shows in a memory map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from collectors.proc_pid.maps import Vma
from collectors.wasm_maps.layouts import GIB, KIB, MIB

# glibc starts an arena at a multiple of HEAP_MAX_SIZE and closes what it has not used (malloc/arena.c).
ARENA_BYTES = 64 * MIB
# A closed part below this guards a stack, or a mapping of who knows whom.
GUARD_BYTES = 64 * KIB
STACK_GUARD_BYTES = 4 * KIB
WASM_PAGE_BYTES = 64 * KIB
# A mapping opened in front, with nothing below it: beyond this size it is taken for somebody else's.
UNGUARDED_BYTES = 8 * GIB

# What std::thread gives each of its threads; glibc gives what RLIMIT_STACK says, 8 MiB as a rule.
RUST_STACK_BYTES = 2 * MIB
MAX_STACKS = 1 << 12


class Part(NamedTuple):
    """A stretch of a run: one closed VMA, or all adjacent open ones."""

    start: int
    end: int
    open: bool
    image_bytes: int = 0


def runs_of(vmas: Iterable[Vma]) -> Iterator[list[Part]]:
    """Private memory without holes, open or closed, of which more is closed than guards a stack."""
    run: list[Part] = []
    large = False
    top = -1
    for start, end, perms, path in vmas:
        closed = perms == "---p" and not path.startswith("/")
        if start != top or end <= start or not (closed or perms == "rw-p"):
            if large:
                yield run
            run, large = [], False
            if end <= start or not (closed or perms == "rw-p"):
                top = -1
                continue
        top = end
        image = end - start if path.startswith("/") else 0
        if closed:
            large = large or end - start >= GUARD_BYTES
            run.append(Part(start, end, False))
        # A module's data may be mapped from a file into the open part. What the kernel did not merge where arenas start is one.
        elif run and run[-1].open and (image or run[-1].image_bytes or start % ARENA_BYTES):
            last = run[-1]
            run[-1] = Part(last.start, end, True, last.image_bytes + image)
        else:
            run.append(Part(start, end, True, image))
    if large:
        yield run


def rust_stacks(vmas: Iterable[Vma]) -> tuple[tuple[int, int], ...]:
    """Open mappings as large as Rust makes a stack, each with its guard below."""
    stacks = []
    guard_end = -1
    for start, end, perms, path in vmas:
        if perms == "rw-p" and start == guard_end and end - start == RUST_STACK_BYTES and not path:
            stacks.append((start, end))
        guard_end = end if perms == "---p" else -1
    return tuple(stacks[:MAX_STACKS])
