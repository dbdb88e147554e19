"""Timed chunks: the tenth percentile of many short ones is the time without disturbance by others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic, perf_counter

from agent.model.calibration import Figure
from agent.model.values import Fact

CHUNKS = 40
CHUNK_SECONDS = 0.5e-3
_SHORTEST_SECONDS = CHUNK_SECONDS / 4
_MOST_ROUNDS = 1 << 24
_FEWEST = 12
"""With fewer chunks, the tenth percentile would be the minimum."""


class NoTime(Exception):
    """The time was over before there were enough chunks."""


class Spread(Fact, frozen=True):
    """Seconds: the tenth percentile and the median."""

    point: float
    median: float
    chunks: int

    def less(self, cost: Spread) -> Spread:
        """This spread without `cost`. Never negative: a negative difference is noise."""
        point = max(0.0, self.point - cost.point)
        return Spread(point, max(point, self.median - cost.median), min(self.chunks, cost.chunks))

    def times(self, factor: float) -> Spread:
        return Spread(self.point * factor, self.median * factor, self.chunks)

    def figure(self, name: str, unit: str = "seconds") -> Figure:
        return Figure(name=name, unit=unit, value=self.point, lo=self.point, hi=self.median, chunks=self.chunks)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie, without interpolation."""
    return sorted(values)[int(share * (len(values) - 1))]


def spread(values: Sequence[float]) -> Spread:
    """Tenth percentile and median of `values`, in seconds. Raises NoTime if there are fewer than 12."""
    if len(values) < _FEWEST:
        raise NoTime
    return Spread(quantile(values, 0.1), quantile(values, 0.5), len(values))


def sampled(run: Callable[[], object], until: float, chunks: int = CHUNKS) -> Spread:
    """Seconds of one call of `run`. Raises NoTime if too few calls fit before `until` (time.monotonic)."""
    seconds: list[float] = []
    while len(seconds) < chunks and monotonic() < until:
        began = perf_counter()
        run()
        seconds.append(perf_counter() - began)
    return spread(seconds)


def slope(run: Callable[[int], object], until: float, chunks: int = CHUNKS) -> Spread:
    """Seconds of one of the n rounds of `run(n)`. Long and short chunks alternate, so that the cost of a call cancels out."""
    long = _rounds(run)
    while True:
        short = max(1, long // 4)
        slow: list[float] = []
        fast: list[float] = []
        while len(slow) < chunks and monotonic() < until:
            began = perf_counter()
            run(long)
            middle = perf_counter()
            run(short)
            fast.append(perf_counter() - middle)
            slow.append(middle - began)
        long_chunks = spread(slow)
        if long_chunks.point >= _SHORTEST_SECONDS or long >= _MOST_ROUNDS:
            less = long_chunks.less(spread(fast))
            if less.point > 0:
                return less.times(1 / (long - short))
            # Others disturbed the short chunks more than the long ones: we repeat until there is no time left.
            continue
        # The number of rounds was too low, because all tries were disturbed: most of such a chunk is the call itself.
        long = min(_MOST_ROUNDS, max(2 * long, int(long * CHUNK_SECONDS / max(long_chunks.point, 1e-9))))


def _rounds(run: Callable[[int], object]) -> int:
    """How many rounds make a chunk, by the fastest of three tries, because one may have been interrupted."""
    rounds = 4
    while True:
        tries = []
        for _ in range(3):
            began = perf_counter()
            run(rounds)
            tries.append(perf_counter() - began)
        if min(tries) >= _SHORTEST_SECONDS or rounds >= _MOST_ROUNDS:
            return max(4, int(rounds * CHUNK_SECONDS / max(min(tries), 1e-9)))
        rounds *= 4
