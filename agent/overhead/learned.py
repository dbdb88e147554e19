"""Intervals that are earned: how far predictions were from what was measured in the windows before says how far the next one may be.

Split conformal prediction with adaptive tails. Sources: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005), for
quantiles of past residuals; Gibbs and Candes, "Adaptive Conformal Inference Under Distribution Shift" (NeurIPS 2021), for tails that widen
with each miss; Gneiting and Raftery, "Strictly Proper Scoring Rules" (JASA 2007), for the interval score: the width, and 2/alpha times what
is missed. Nothing of a window takes part in its own interval.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort

from msgspec import Struct, field

AIM = 0.9
"""The share of windows that an interval is to hold."""
FEWEST = 6
"""Residuals before there is an interval: the range of so many holds the next one in five of seven cases."""
KEPT = 40

_TAIL = (1 - AIM) / 2
_STEP = 0.03
_WIDEST_TAIL = 0.2
_SCORED = 0.95
_LEVEL = 0.7
"""What a window leaves of the score of a scale, and of the level, to the next one."""
_SCALES = 3

Interval = tuple[float, float]


class Track(Struct, kw_only=True):
    """What one figure was off by, window after window: changed in place by `learn`.

    `level` is the smoothed measurement. Residuals are kept on three scales, in order of time and of size: as they are, by the point, and
    by the root of it, because some figures are off by an amount and others by a share. `tails`: of both ends the share that may be missed.
    `inside` of `scored` windows were in the interval, `score` is the sum of their interval scores; each window counts less with the time.
    """

    level: float = 0.0
    windows: int = 0
    residuals: list[list[float]] = field(default_factory=lambda: [[] for _ in range(_SCALES)])
    ordered: list[list[float]] = field(default_factory=lambda: [[] for _ in range(_SCALES)])
    costs: list[float] = field(default_factory=lambda: [0.0] * _SCALES)
    tails: list[float] = field(default_factory=lambda: [_TAIL, _TAIL])
    scored: float = 0.0
    inside: float = 0.0
    score: float = 0.0


def interval_score(interval: Interval, measured: float) -> float:
    """Width and misses in one number, in the unit of the figure: the smaller, the more an interval decides and the less it is wrong."""
    low, high = interval
    return high - low + 2 / (1 - AIM) * max(0.0, low - measured, measured - high)


def learned_interval(track: Track, point: float, least: float, most: float) -> Interval | None:
    """Between 0 and `most`; None before there are residuals enough. `least`: a difference of less is none."""
    if track.windows < FEWEST:
        return None
    scale = min(range(_SCALES), key=track.costs.__getitem__)
    return _interval(track, scale, point, _scales(track.level, point, least)[scale], most)


def learn(track: Track, point: float, measured: float, *, least: float, most: float, weight: float) -> None:
    """One more window; `weight`: what it leaves of the windows before it in the sums over them."""
    scales = _scales(track.level, point, least)
    if track.windows >= FEWEST:
        chosen = min(range(_SCALES), key=track.costs.__getitem__)
        intervals = [_interval(track, scale, point, size, most) for scale, size in enumerate(scales)]
        low, high = intervals[chosen]
        score = interval_score(intervals[chosen], measured)
        track.scored = weight * track.scored + 1
        track.inside = weight * track.inside + (low - least <= measured <= high + least)
        track.score = weight * track.score + score + least
        for scale, interval in enumerate(intervals):
            track.costs[scale] = _SCORED * track.costs[scale] + interval_score(interval, measured)
        for end, missed in enumerate((measured < low - least, measured > high + least)):
            track.tails[end] = min(_WIDEST_TAIL, max(0.0, track.tails[end] + _STEP * (_TAIL - missed)))
    for residuals, ordered, size in zip(track.residuals, track.ordered, scales, strict=True):
        off = (measured - point) / size
        if len(residuals) == KEPT:
            del ordered[bisect_left(ordered, residuals.pop(0))]
        residuals.append(off)
        insort(ordered, off)
    track.level = measured if not track.windows else _LEVEL * track.level + (1 - _LEVEL) * measured
    track.windows += 1


def _scales(level: float, point: float, least: float) -> tuple[float, float, float]:
    return 1.0, max(least, point + 0.1 * level), max(least, math.sqrt(point * level) + 0.25 * level)


def _interval(track: Track, scale: int, point: float, size: float, most: float) -> Interval:
    ordered = track.ordered[scale]
    count = len(ordered)
    below, above = (int(tail * (count + 1)) for tail in track.tails)
    # Of few residuals, or where misses are frequent, the range is not enough: the next one may lie as far beyond it as they lie apart.
    beyond = (ordered[-1] - ordered[0]) / count
    low = ordered[below - 1] if below else ordered[0] - beyond
    high = ordered[count - above] if above else ordered[-1] + beyond
    low, high = min(most, max(0.0, point + low * size)), min(most, max(0.0, point + high * size))
    return low, high
