"""What a formula makes of parameters that are not known exactly: the fifth, fiftieth and ninety-fifth percentile, without drawing.

Each parameter is triangular over (lo, mode, hi): in the logarithm where it is positive, linear where it is a share or may be 0. A formula
of one parameter has its percentiles where the parameter has them. Of several, each one's own effect is taken at three points of its
distribution, with the others at their medians; the effects add, or multiply, whichever meets the corner where all of them are high. Three
points carry mean, variance and skewness (Pearson and Tukey, Biometrika 1965: extended by Keefer and Bodily, 1983), which add up, and
Cornish and Fisher's expansion makes percentiles of them. Beside 20,000 draws: within 5 % on every formula here (see the test), at a
hundredth of the cost of 2,000 draws, whose own noise is up to 6 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

from agent.model.snapshot import Param

_Z = 1.6448536269514722
_SQUARE, _CUBE = (_Z * _Z - 1) / 6, (2 * _Z**3 - 5 * _Z) / 36
"""What the expansion makes of the skewness, and of its square."""
_OUTER = 0.185
"""Weight of the 5th and of the 95th percentile; the median has the rest."""
_NEAR = 0.02

Three = tuple[float, float, float]


@lru_cache(256)
def percentiles(param: Param) -> Three:
    """Of the parameter itself: 5th, 50th, 95th."""
    if param.lo > 0 and param.unit != "ratio":
        low, mode, high = (_triangular(math.log(param.lo), math.log(param.mode), math.log(param.hi), share) for share in (0.05, 0.5, 0.95))
        return math.exp(low), math.exp(mode), math.exp(high)
    low, mode, high = (_triangular(param.lo, param.mode, param.hi, share) for share in (0.05, 0.5, 0.95))
    return low, mode, high


def _triangular(lo: float, mode: float, hi: float, share: float) -> float:
    if hi <= lo:
        return mode
    if share < (mode - lo) / (hi - lo):
        return lo + math.sqrt(share * (hi - lo) * (mode - lo))
    return hi - math.sqrt((1 - share) * (hi - lo) * (hi - mode))


def of(formula: Callable[..., float], *params: Param) -> Three:
    """5th, 50th and 95th percentile of `formula`, which is monotone in each parameter."""
    points = [percentiles(param) for param in params]
    if len(points) == 1:
        low, median, high = (formula(point) for point in points[0])
        return min(low, high), median, max(low, high)
    middle = [point[1] for point in points]
    median = formula(*middle)
    effects = [
        (formula(*middle[:index], low, *middle[index + 1 :]), formula(*middle[:index], high, *middle[index + 1 :]))
        for index, (low, _, high) in enumerate(points)
    ]
    moving = [(low, high) for low, high in effects if low != high]
    if len(moving) < 2:
        alone = moving[0] if moving else (median, median)
        return min(alone), median, max(alone)
    ends = [(low, high) if up >= down else (high, low) for (low, _, high), (down, up) in zip(points, effects, strict=True)]
    bottom, top = formula(*(low for low, _ in ends)), formula(*(high for _, high in ends))
    ways = [_way(median, moving, top, multiplied=False)]
    if median > 0 and all(low > 0 and high > 0 for low, high in moving):
        ways.append(_way(median, moving, top, multiplied=True))
    # Where both meet the corner, one parameter rules: the less skewed way is the one that the expansion holds for.
    near = [way for way in ways if way[0] <= _NEAR]
    expanded = (min(near, key=lambda way: way[1]) if near else min(ways))[2]
    # Together they reach less far than each one's percentile at once; an expansion of a skewed sum may not know that.
    clamped = tuple(min(max(value, bottom), top) for value in expanded)
    return clamped[0], clamped[1], clamped[2]


def band(formula: Callable[..., float], *params: Param) -> Three:
    """Point (at the modes), and the interval that nine of ten draws would lie in. It contains its point."""
    point = formula(*(param.mode for param in params))
    low, _, high = of(formula, *params)
    return point, min(point, low), max(point, high)


def summed(*parts: tuple[float, Param]) -> Three:
    """The band of a sum, each parameter so many times; what each adds is known without asking a formula."""
    points = [(times, *percentiles(param)) for times, param in parts]
    point = sum(times * param.mode for times, param in parts)
    bottom, median, top = (sum(part[0] * part[place] for part in points) for place in (1, 2, 3))
    effects = [(median + times * (low - middle), median + times * (high - middle)) for times, low, middle, high in points]
    low, _, high = _way(median, effects, top, multiplied=False)[2]
    return point, min(point, max(low, bottom)), max(point, min(high, top))


def _way(median: float, effects: Sequence[tuple[float, float]], top: float, multiplied: bool) -> tuple[float, float, Three]:
    """How far the effects together miss the corner `top`, how skewed their sum is, and its percentiles."""
    centre = math.log(median) if multiplied else median
    mean, variance, third, reach = centre, 0.0, 0.0, centre
    for ends in effects:
        low_end, high_end = (math.log(ends[0]), math.log(ends[1])) if multiplied else ends
        low, high = (low_end - centre, high_end - centre) if low_end <= high_end else (high_end - centre, low_end - centre)
        reach += high
        shift = _OUTER * (low + high)
        below, above = low - shift, high - shift
        mean += shift
        variance += _OUTER * (below * below + above * above) + (1 - 2 * _OUTER) * shift * shift
        third += _OUTER * (below * below * below + above * above * above) - (1 - 2 * _OUTER) * shift * shift * shift
    deviation = math.sqrt(variance)
    cubed = variance * deviation
    # A variance that is all but nothing has a cube that is nothing.
    skew = third / cubed if cubed > 0 else 0.0

    even, odd = skew * _SQUARE, _Z - skew * skew * _CUBE
    expanded = mean + deviation * (even - odd), mean - deviation * skew / 6, mean + deviation * (even + odd)
    if multiplied:
        expanded = math.exp(expanded[0]), math.exp(expanded[1]), math.exp(expanded[2])
        reach = math.exp(reach)
    return abs(reach / top - 1) if top else 0.0, abs(skew), expanded
