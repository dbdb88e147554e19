"""Cases of published measurements: what the model says of the same settings with its default parameters.

A case has the inputs that its source states and nothing else. `out_of_sample`: no parameter of the model was taken from that source;
the others show that the model agrees with its own sources. Misses stay in cases_table.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.model.snapshot import Param
from agent.overhead import numa, translation, two_level
from agent.overhead.bands import band

GIB = 1 << 30
HUGE = translation.HUGE_PAGE_BYTES
PAGE = translation.PAGE_BYTES

# The two-socket machine of the reference walk: 48 KiB, 2 MiB, 64 MiB.
CACHES = translation.Hierarchy(
    capacities=(48.0 * 1024, 2.0 * (1 << 20), 64.0 * (1 << 20)),
    latencies=(1.65e-9, 5.3e-9, 70e-9),
    memory_seconds=140e-9,
    fixed_seconds=2.3e-9,
    leaf_share=0.5,
)

Interval = tuple[float, float, float]
"""Point, lowest, highest."""


@dataclass(frozen=True, kw_only=True)
class Case:
    source: str
    setting: str
    published: tuple[float, float]
    """A figure twice, or a range; infinite where the source says "at least" or "at most" only."""
    predicted: Interval
    unit: str
    out_of_sample: bool = False
    modelled: bool = True
    remark: str = ""

    @property
    def ratio(self) -> float:
        """Predicted over published; over the nearer end of a range."""
        low, high = self.published
        nearest = min(max(self.predicted[0], low), high)
        return self.predicted[0] / nearest

    @property
    def inside(self) -> bool:
        """Whether the model's interval meets the published figure."""
        return self.predicted[1] <= self.published[1] and self.published[0] <= self.predicted[2]

    @property
    def near(self) -> bool:
        return 0.67 <= self.ratio <= 1.5

    @property
    def passed(self) -> bool:
        return self.modelled and (self.near or self.inside)


def walk_ratio(guest: float, host: float, span: float = GIB) -> float:
    """A nested walk over a native one of the same guest pages."""
    return translation.walk_nested_seconds(span, guest, host, CACHES) / translation.walk_native_seconds(span, guest, CACHES)


def slower(walking: Param, ratio: float) -> Interval:
    """Time in a guest over native time, by the share of native cycles that walks take."""
    return band(lambda share: 1 + translation.nested_overhead(share, ratio), walking)


def splintered(share: float) -> float:
    """What large host pages gain under a guest's small ones."""
    small, large = (1 + translation.nested_overhead(share, walk_ratio(PAGE, page)) for page in (PAGE, HUGE))
    return small / large


def dependent_access(span: float) -> float:
    """One dependent access to memory, both dimensions in large pages, over native; 2,048 entries in the second TLB."""
    missed = translation.miss_ratio(2048, HUGE, span)
    native, nested = (translation.walk_native_seconds(span, HUGE, CACHES), translation.walk_nested_seconds(span, HUGE, HUGE, CACHES))
    return (CACHES.memory_seconds + missed * nested) / (CACHES.memory_seconds + missed * native)


def computing_guest(rate: float, cost: float, share: float) -> float:
    """Speed of a guest that computes: exits and walks are all it pays."""
    walks = translation.nested_overhead(share, walk_ratio(PAGE, PAGE))
    return 1 / ((1 + two_level.exit_overhead(((rate, cost),), 1.0)) * (1 + walks))


def remote(local_ns: float, distance: float, scale: float) -> float:
    return local_ns * (numa.latency_from_distance(1.0, distance) * scale)


def mixed(local_ns: float, distance: float, scale: float) -> float:
    away = remote(local_ns, distance, scale)
    return numa.effective_latency([1, 0], numa.interleaved([0, 1], 2), ((local_ns, away), (away, local_ns)))


def lock_holder(locked: float, section: float) -> float:
    return two_level.lock_holder_bound(4, 2, locked, section, 3e-3)


def exactly(value: float) -> Interval:
    return value, value, value


def of(formula: Callable[..., float], *params: Param) -> Interval:
    return band(formula, *params)
