"""Intervals that are earned: how far predictions were from what was measured in the windows before says how far the next one may be.

Split conformal prediction with adaptive tails. Sources: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005), for
quantiles of past residuals; Gibbs and Candes, "Adaptive Conformal Inference Under Distribution Shift" (NeurIPS 2021), for tails that widen
with each miss; Gneiting and Raftery, "Strictly Proper Scoring Rules" (JASA 2007), for the interval score: the width, and 2/alpha times what
is missed. Nothing of a window takes part in its own interval.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, insort
from collections.abc import Sequence

from msgspec import Struct, field

AIM = 0.9
"""The share of windows that an interval is to hold."""
FEWEST = 6
"""Residuals before there is an interval: the range of so many holds the next one in five of seven cases."""
KEPT = 40

_TAIL = (1 - AIM) / 2
_MISSED = 2 / (1 - AIM)
_STEP = 0.03
_WIDEST_TAIL = 0.2
_SCORED = 0.95
_LEVEL = 0.7
"""What a window leaves of the score of a scale, and of the level, to the next one."""
_SCALES = 3
_ALL = range(_SCALES)

Interval = tuple[float, float]


def _arrays() -> tuple[array[float], ...]:
    """A list of so many floats takes four times the memory."""
    return tuple(array("d") for _ in _ALL)


class Track(Struct, kw_only=True):
    """What one figure was off by, window after window: changed in place by `learn`.

    `level` is the smoothed measurement. Residuals are kept on three scales, in order of time and of size: as they are, by the point, and
    by the root of it, because some figures are off by an amount and others by a share. `tails`: of both ends the share that may be missed.
    `inside` of `scored` windows were in the interval, `score` is the sum of their interval scores; each window counts less with the time.
    """

    level: float = 0.0
    windows: int = 0
    residuals: tuple[array[float], ...] = field(default_factory=_arrays)
    ordered: tuple[array[float], ...] = field(default_factory=_arrays)
    costs: list[float] = field(default_factory=lambda: [0.0] * _SCALES)
    tails: tuple[float, float] = (_TAIL, _TAIL)
    scored: float = 0.0
    inside: float = 0.0
    score: float = 0.0


def interval_score(interval: Interval, measured: float) -> float:
    """Width and misses in one number, in the unit of the figure: the smaller, the more an interval decides and the less it is wrong."""
    low, high = interval
    if measured < low:
        return high - low + _MISSED * (low - measured)
    return high - low + _MISSED * (measured - high) if measured > high else high - low


def learned_interval(track: Track, point: float, least: float, most: float) -> Interval | None:
    """Between 0 and `most`; None before there are residuals enough. `least`: a difference of less is none."""
    if track.windows < FEWEST:
        return None
    scale = track.costs.index(min(track.costs))
    return _intervals(track, point, _sizes(track.level, point, least), most, (scale,))[0]


def learn(track: Track, point: float, measured: float, *, least: float, most: float, weight: float) -> None:
    """One more window; `weight`: what it leaves of the windows before it in the sums over them."""
    sizes, windows = _sizes(track.level, point, least), track.windows
    if windows >= FEWEST:
        costs = track.costs
        chosen = costs.index(min(costs))
        intervals = _intervals(track, point, sizes, most, _ALL)
        scores = [interval_score(interval, measured) for interval in intervals]
        low, high = intervals[chosen]
        missed_low, missed_high = measured < low - least, measured > high + least
        track.scored = weight * track.scored + 1
        track.inside = weight * track.inside + (not (missed_low or missed_high))
        track.score = weight * track.score + scores[chosen] + least
        track.costs = [_SCORED * cost + score for cost, score in zip(costs, scores, strict=True)]
        below, above = track.tails
        track.tails = (_tail(below, missed_low), _tail(above, missed_high))
    off, is_full = measured - point, windows >= KEPT
    for residuals, ordered, size in zip(track.residuals, track.ordered, sizes, strict=True):
        if is_full:
            del ordered[bisect_left(ordered, residuals.pop(0))]
        residuals.append(residual := off / size)
        insort(ordered, residual)
    track.level = measured if not windows else _LEVEL * track.level + (1 - _LEVEL) * measured
    track.windows = windows + 1


def _tail(tail: float, is_missed: bool) -> float:
    moved = tail + _STEP * (_TAIL - is_missed)
    return 0.0 if moved < 0 else moved if moved < _WIDEST_TAIL else _WIDEST_TAIL


def _sizes(level: float, point: float, least: float) -> tuple[float, float, float]:
    """How large an error of one is on each scale."""
    share, root = point + 0.1 * level, math.sqrt(point * level) + 0.25 * level
    return 1.0, share if share > least else least, root if root > least else least


def _intervals(track: Track, point: float, sizes: Sequence[float], most: float, scales: Sequence[int]) -> list[Interval]:
    count = len(track.ordered[0])
    tail_below, tail_above = track.tails
    below, above = int(tail_below * (count + 1)), int(tail_above * (count + 1))
    intervals = []
    for scale in scales:
        ordered, size = track.ordered[scale], sizes[scale]
        if below and above:
            low, high = point + size * ordered[below - 1], point + size * ordered[count - above]
        else:
            # Of few residuals, or where misses are frequent, the range is not enough: the next one may lie as far beyond it as they lie
            # apart.
            first, last = ordered[0], ordered[-1]
            beyond = (last - first) / count
            low = point + size * (ordered[below - 1] if below else first - beyond)
            high = point + size * (ordered[count - above] if above else last + beyond)
        intervals.append((0.0 if low < 0 else low if low < most else most, 0.0 if high < 0 else high if high < most else most))
    return intervals
