"""CPUs for many at a moment: weighted max-min shares, where each may use a set of CPUs, and sets overlap.

One raises the same level for a unit of weight until a set of CPUs is full, keeps what is in it as it is, and goes on with the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from agent.model.values import Fact

_FEW_SETS = 6


class Pinned(Fact, frozen=True):
    """Threads of a contestant that may use the same CPUs (a bit mask), by their places in its `duties`."""

    mask: int
    threads: tuple[int, ...]


Set = tuple[float, tuple[int, ...]]
"""CPUs, and the parts, by number, that may use no others."""


def sets_of(parts: Sequence[Pinned]) -> list[Set]:
    """What may be too full: unions of CPU sets that overlap, and the parts that may run nowhere else. Sets apart bind by themselves.

    Of many sets not every union: each set, and all that hang together.
    """
    masks = list(dict.fromkeys(pinned.mask for pinned in parts))
    unions = dict.fromkeys(masks)
    # One CPU alone overlaps with nothing that it is not a part of.
    several = [mask for mask in masks if mask.bit_count() > 1]
    if len(several) <= _FEW_SETS:
        for mask in several:
            unions |= dict.fromkeys([union | mask for union in unions if union & mask])
    else:
        unions |= dict.fromkeys(_connected(several))
    by_members: dict[tuple[int, ...], int] = {}
    for union in unions:
        members = tuple(number for number, pinned in enumerate(parts) if pinned.mask & ~union == 0)
        cpus = union.bit_count()
        if sum([min(len(parts[member].threads), parts[member].mask.bit_count()) for member in members]) > cpus:
            by_members[members] = min(cpus, by_members.get(members, cpus))
    return [(float(cpus), members) for members, cpus in by_members.items()]


def _connected(masks: Sequence[int]) -> list[int]:
    found: list[int] = []
    for mask in masks:
        apart = [other for other in found if not other & mask]
        for other in found:
            if other & mask:
                mask |= other
        found = [*apart, mask]
    return found


def fill(wanted: list[float], weights: Sequence[float], sets: Sequence[Set]) -> list[float]:
    """CPUs for each: as their weights are, none more than it wants, and nothing left that somebody wants who may use it."""
    full = [(cpus, members) for cpus, members in sets if sum([wanted[member] for member in members]) > cpus]
    if not full:
        return wanted
    granted: list[float | None] = [None] * len(wanted)
    while True:
        tight, level = None, math.inf
        for cpus, members in full:
            reached = _level(cpus, members, wanted, weights, granted)
            if reached < level:
                tight, level = members, reached
        if tight is None:
            return [want if part is None else part for want, part in zip(wanted, granted, strict=True)]
        for member in tight:
            if granted[member] is None:
                granted[member] = min(wanted[member], level * weights[member])


def _level(
    cpus: float, members: Sequence[int], wanted: Sequence[float], weights: Sequence[float], granted: Sequence[float | None]
) -> float:
    """CPUs for a weight of 1 at which this set is full; infinite where it never is, or has nobody left."""
    left, asked, total = cpus, 0.0, 0.0
    rest = []
    for member in members:
        part = granted[member]
        if part is not None:
            left -= part
        elif (want := wanted[member]) > 0:
            weight = weights[member]
            asked += want
            total += weight
            rest.append((want / weight, want, weight))
    if asked <= left or not rest:
        return math.inf
    rest.sort()
    for ratio, want, weight in rest:
        if left <= ratio * total:
            return max(0.0, left) / total
        left -= want
        total -= weight
    return math.inf
