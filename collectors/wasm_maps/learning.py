"""Reservations and guards that an embedder chose, learnt from the runs that no known layout explains."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd

from collectors.wasm_maps.layouts import Layout
from collectors.wasm_maps.runs import ARENA_BYTES, GUARD_BYTES, UNGUARDED_BYTES, WASM_PAGE_BYTES, Part


def learn(run: list[Part]) -> Iterator[Layout]:
    """Reservation and guard that an embedder may have chosen: those that explain a part of the run between two edges of mappings."""
    for arenas in (True, False):
        for bottom, top, parts in _segments(run, arenas):
            lower = [(bottom, parts)]
            if parts and parts[0].start == bottom:
                # Or it is somebody else's.
                lower.append((parts[0].end, parts[1:]))
            for start, above in lower:
                yield from _chosen(start, top, above)
                if above and above[-1].end == top:
                    yield from _chosen(start, above[-1].start, above[:-1])


def _segments(run: list[Part], arenas: bool) -> Iterator[tuple[int, int, list[Part]]]:
    """Bottom, top and open parts between the edges of mappings.

    Edges are where the kernel did not merge two closed parts, at the guard of a stack, and around an arena; with `arenas` also around
    what may be one, though it is of whole Wasm pages.
    """
    bottom, parts = run[0].start, list[Part]()
    for index, part in enumerate(run):
        above = run[index + 1] if index + 1 < len(run) else None
        if part.open:
            beyond = part.start + ARENA_BYTES
            odd = (part.end - part.start) % WASM_PAGE_BYTES
            if (arenas or odd) and not part.start % ARENA_BYTES and above and part.end <= beyond <= above.end:
                yield bottom, part.start, parts
                bottom, parts = beyond, []
            elif part.start >= bottom:
                parts.append(part)
        elif part.end - part.start < GUARD_BYTES:
            yield bottom, part.start, parts
            bottom, parts = part.end, []
        elif above and not above.open:
            yield bottom, part.end, parts
            bottom, parts = part.end, []
    yield bottom, run[-1].end, parts


def _chosen(bottom: int, top: int, parts: list[Part]) -> Iterator[Layout]:
    if not parts:
        return
    guard = parts[0].start - bottom
    starts = [part.start for part in parts]
    sizes = [part.end - part.start for part in parts]
    largest = max(sizes)
    if 0 < guard < GUARD_BYTES or any(size % WASM_PAGE_BYTES for size in sizes):
        return
    if len(parts) == 1:
        # Nothing confirms it.
        reserve = top - starts[0] - guard
        if reserve >= largest and (guard or largest < reserve <= UNGUARDED_BYTES):
            yield Layout(name="wasmtime-custom", pre=guard, reserve=reserve, guard=guard, weak=True, learnt=True)
        return
    stride = gcd(*(start - starts[0] for start in starts))
    if stride - 2 * guard >= largest and (top - bottom) % stride == 0:
        yield Layout(name="wasmtime-custom", pre=guard, reserve=stride - 2 * guard, guard=guard, learnt=True)
    slots, rest = divmod(top - bottom - guard, stride)
    if guard and stride - guard >= largest and not rest and slots > 1:
        yield Layout(name="wasmtime-pooling", pre=guard, reserve=stride - guard, guard=guard, slots=slots, learnt=True)
