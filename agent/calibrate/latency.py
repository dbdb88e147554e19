"""The CPU's clock, the latency ladder with its plateaus, and the cost of page walks.

Sources of the method: dependent multiplies take 3 cycles on every x86-64 server core since 2008 and on current Arm ones; a random cycle of
lines gives load-to-use latency. Measured beside a C program on Zen 5: L1 4.0 cycles and L2 14 in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from statistics import median
from typing import Literal

from agent.calibrate.bench import Bench, Findings, Skip, huge_bytes
from agent.calibrate.chunks import CHUNKS, NoTime, Spread, slope
from agent.calibrate.kernels import HUGE_PAGE_BYTES, LINE_BYTES, LOADS, MULTIPLIES, PAGE_BYTES, Chase
from agent.model.calibration import Figure, Plateau, Rung

MULTIPLY_CYCLES = 3
MIB = 1 << 20
SIZES = tuple(1 << power for power in range(13, 30))
"""8 KiB to 512 MiB."""
_WARM_BYTES = 64 * MIB
"""Chains up to this size are followed once before they are timed, so that caches are warm."""
_FLAT_PER_OCTAVE = 0.15
_KNEE = 1.5
_BEYOND = 4
"""A chain of so many times a cache's size misses it: pseudo-random replacement keeps a few percent."""
_FAR = 4
"""In a chain of so many times the last cache's size, at least three of four loads miss it."""


def clock(bench: Bench, chase: Chase) -> Findings:
    """The CPU's clock in Hz, by dependent multiplications."""
    cycle = slope(chase.multiply, bench.until).times(1 / (MULTIPLIES * MULTIPLY_CYCLES))
    return Findings(
        (Figure(name="clock", unit="1/second", value=1 / cycle.point, lo=1 / cycle.median, hi=1 / cycle.point, chunks=cycle.chunks),)
    )


def ladder(bench: Bench, chase: Chase) -> Findings:
    """Latency of a load by size of the data, with huge pages where the kernel grants them: page walks are a figure of their own."""
    rungs = []
    for size in SIZES:
        if size > chase.room_bytes:
            break
        try:
            seconds, huge = _follow(bench, chase, size // LINE_BYTES, LINE_BYTES, 1, huge=True)
        except NoTime:
            break
        rungs.append(Rung(size_bytes=size, seconds=seconds.point, lo=seconds.point, hi=seconds.median, huge_pages=huge))
    if not rungs:
        raise NoTime
    levels = plateaus(rungs, _capacities(bench))
    named = tuple(
        Figure(name=f"latency_{level.name.lower()}", unit="seconds", value=level.seconds, lo=level.lo, hi=level.hi, chunks=CHUNKS)
        for level in levels
        if level.name != "effective"
    )
    return Findings(named, tuple(rungs), levels)


def walks(bench: Bench, chase: Chase) -> Findings:
    """The extra cost of a page walk: to small pages over huge pages, and to huge pages over no walk.

    All chains have the same number of lines, so that caches hold the same share: one line of each page, or eight of each page with an
    eighth of the walks. (One and eight lines of each of the *same* pages would be held by different caches, on machines whose last cache
    is larger than the lines of the span.)
    """
    figures: list[Figure] = []
    for span in (chase.room_bytes // 4, chase.room_bytes):
        count = span // PAGE_BYTES
        try:
            small, _ = _follow(bench, chase, count, PAGE_BYTES, 1, huge=False)
            large, huge = _follow(bench, chase, count, PAGE_BYTES, 1, huge=True)
            if not huge:
                raise Skip("the kernel grants no huge pages: transparent_hugepage is never, or there are none left")
            few, _ = _follow(bench, chase, count // 8, PAGE_BYTES, 8, huge=True)
        except NoTime:
            break
        name = f"{span // MIB}m"
        # Without a positive difference there is no figure: the walks are hidden, or too many others use the caches.
        beyond, own = small.less(large), large.less(few).times(8 / 7)
        figures += [beyond.figure(f"walk_4k_beyond_2m_{name}")] if beyond.point > 0 else []
        figures += [own.figure(f"walk_2m_{name}")] if own.point > 0 else []
    if not figures:
        raise NoTime
    return Findings(tuple(figures))


def _follow(bench: Bench, chase: Chase, count: int, unit: int, lines: int, huge: bool) -> tuple[Spread, bool | None]:
    """Seconds of one load, and whether huge pages were granted, None where that is not known."""
    size = count * unit
    chase.fresh(chase.room_bytes, huge)
    before = huge_bytes(bench.root) or 0
    chase.lay(count, bench.until, unit, lines)
    granted = None
    if size >= HUGE_PAGE_BYTES:
        after = huge_bytes(bench.root)
        granted = None if after is None else after - before >= 0.9 * size
    if size <= _WARM_BYTES:
        chase.warm(count * lines, bench.until)
    return slope(chase.follow, bench.until).times(1 / LOADS), granted


def _capacities(bench: Bench) -> dict[int, int]:
    """Bytes of the data caches of the measured CPU, by level."""
    return {
        cache.level: cache.size_bytes
        for cache in bench.physical.caches
        if bench.cpu in cache.cpus and cache.type != "Instruction" and cache.size_bytes
    }


def plateaus(rungs: Sequence[Rung], capacities: dict[int, int]) -> tuple[Plateau, ...]:
    """At least two neighbouring rungs whose latency grows by less than 15 % per octave, each named after the cache that answers.

    L1 and L2 belong to a core: sizes that fit into one and miss the smaller one show its latency. The fastest rung counts, because the
    core's other thread may occupy a part. The last cache is shared, and a guest may get a small part of it: a plateau is named L3 only if
    its knee, the last size within one and a half times its latency, is near the size that the kernel states. Memory is every size so
    far beyond the last cache that three of four loads must miss it. The fastest rung counts there, too: larger spans have more page
    walks, and longer runs have more disturbance. In a guest, memory latency may begin at smaller sizes.
    """
    last_cache = max(capacities.values(), default=None)
    far = [rung for rung in rungs if last_cache is not None and rung.size_bytes >= _FAR * last_cache]
    runs: list[list[Rung]] = []
    for rung in rungs[: len(rungs) - len(far)]:
        last = runs[-1][-1] if runs else None
        flat = last is not None and rung.seconds <= last.seconds * (1 + _FLAT_PER_OCTAVE * log2(rung.size_bytes / last.size_bytes))
        if flat:
            runs[-1].append(rung)
        else:
            runs.append([rung])
    own = _own(rungs, capacities)
    named: list[Plateau] = []
    for run in runs:
        names = [name for name, rung in own.items() if rung in run]
        if names:
            named += [_plateau(run, name, own[name].seconds) for name in names]
        elif len(run) > 1:
            level = median(rung.seconds for rung in run)
            # Disturbance only makes loads slower: of two candidates for the last cache, the first is right.
            last_one = _is_last(run, level, rungs, capacities) and "L3" not in {plateau.name for plateau in named}
            named.append(_plateau(run, "L3" if last_one else "effective", level))
    if far:
        named.append(_plateau(far, "DRAM", min(rung.seconds for rung in far)))
    return tuple(named)


def _own(rungs: Sequence[Rung], capacities: dict[int, int]) -> dict[Literal["L1", "L2"], Rung]:
    """The fastest rung of L1 and of L2, where one was measured without disturbance."""

    def fastest(least: int, most: int) -> Rung | None:
        return min((rung for rung in rungs if least <= rung.size_bytes <= most), key=lambda rung: rung.seconds, default=None)

    inner, outer = capacities.get(1), capacities.get(2)
    first = fastest(0, inner // 2) if inner else None
    if inner is None or first is None:
        return {}
    second = fastest(_BEYOND * inner, outer // 2) if outer else None
    # The core's other thread may occupy all of L2; a size just beyond L1 always hits L2 partly.
    near = next((rung for rung in rungs if rung.size_bytes >= 2 * inner), None)
    if second is None or near is None or not _KNEE * first.seconds < second.seconds <= _KNEE * near.seconds:
        return {"L1": first}
    return {"L1": first, "L2": second}


def _is_last(run: Sequence[Rung], level: float, rungs: Sequence[Rung], capacities: dict[int, int]) -> bool:
    knee = max(rung.size_bytes for rung in rungs if rung.seconds <= _KNEE * level)
    size, inner = capacities.get(3), capacities.get(2, 0)
    if size is None or knee == rungs[-1].size_bytes:
        return False
    return size / 2 <= knee <= size * 2 and inner < run[-1].size_bytes and run[0].size_bytes <= (_BEYOND * inner or size)


def _plateau(run: Sequence[Rung], name: Literal["L1", "L2", "L3", "DRAM", "effective"], point: float) -> Plateau:
    return Plateau(
        name=name,
        from_bytes=run[0].size_bytes,
        to_bytes=run[-1].size_bytes,
        seconds=point,
        lo=min(rung.lo for rung in run),
        hi=max(rung.hi for rung in run),
    )
