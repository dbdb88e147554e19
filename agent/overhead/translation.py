"""Address translation: page-table references of a TLB miss, and what they cost.

Sources: Bhargava et al. (ASPLOS 2008) for the two-dimensional walk; capacity of the caches for where leaf tables lie. Paging-structure
caches hold the upper levels, so that a nested walk costs about one more leaf reference and not six times as much; the architectural
number of references is its bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property, lru_cache

from agent.model.components import WALK_COST, WALK_REFERENCES
from agent.model.snapshot import Prediction
from agent.model.values import CpuSet, Fact
from agent.model.workload import Workload
from agent.overhead import parameters
from agent.overhead.parameter_set import Parameters
from agent.overhead.prediction import prediction
from agent.overhead.window import Window

PAGE_BYTES = 4096
HUGE_PAGE_BYTES = 2 << 20

MOST_LEVELS = 5
"""What any kernel builds; a source that says more is broken."""

PTE_BYTES = 8
_LEVELS = ("l1_bytes", "l2_bytes", "l3_bytes")
PER_TABLE = 512


class Hierarchy(Fact, frozen=True, dict=True, kw_only=True):
    """Capacity (bytes) and latency (seconds) of the caches, innermost first, and of memory; what the walker itself has.

    `structure_entries`: how many entries the caches of page-directory and of directory-pointer entries hold.
    """

    capacities: tuple[float, ...]
    latencies: tuple[float, ...]
    memory_seconds: float
    fixed_seconds: float
    leaf_share: float
    structure_entries: tuple[float, float] = (32.0, 16.0)

    @cached_property
    def levels(self) -> tuple[tuple[float, float], ...]:
        """Bytes of leaf tables that each cache holds, and its latency."""
        return tuple((self.leaf_share * capacity, latency) for capacity, latency in zip(self.capacities, self.latencies, strict=True))


def references_native(levels: int, skipped: int) -> int:
    """`skipped` levels: 0 for 4 KiB pages, 1 for 2 MiB, 2 for 1 GiB."""
    return levels - skipped


def references_nested(guest: int, host: int) -> int:
    """Every guest table and the final address are translated by a host walk of their own: g*h + g + h."""
    return guest * host + guest + host


def fetch_seconds(footprint: float, caches: Hierarchy) -> float:
    """Mean latency of one entry out of tables of `footprint` bytes, uniformly used: each level holds what fits of them."""
    reached = total = 0.0
    for held, latency in caches.levels:
        share = held / footprint
        if share >= 1:
            return total + (1 - reached) * latency
        if share > reached:
            total += (share - reached) * latency
            reached = share
    return total + (1 - reached) * caches.memory_seconds


def _structure_hits(span: float, page: float, caches: Hierarchy) -> tuple[float, float]:
    directory, pointer = caches.structure_entries
    return min(1.0, directory * PER_TABLE * page / span), min(1.0, pointer * PER_TABLE**2 * page / span)


def walk_native_seconds(span: float, page: float, caches: Hierarchy) -> float:
    """One walk over a working set of `span` bytes in pages of `page` bytes."""
    leaf = max(span / page * PTE_BYTES, PTE_BYTES)
    hit1, hit2 = _structure_hits(span, page, caches)
    if hit1 >= 1:
        return caches.fixed_seconds + fetch_seconds(leaf, caches)
    upper = fetch_seconds(max(leaf / PER_TABLE, PTE_BYTES), caches)
    if hit2 < 1:
        upper += (1 - hit2) * fetch_seconds(max(leaf / PER_TABLE**2, PTE_BYTES), caches)
    return caches.fixed_seconds + fetch_seconds(leaf, caches) + (1 - hit1) * upper


def effective_references(span: float, page: float, caches: Hierarchy) -> float:
    """References that a native walk really makes, past the paging-structure caches."""
    hit1, hit2 = _structure_hits(span, page, caches)
    return 1 + (1 - hit1) * (2 - hit2)


def walk_nested_seconds(span: float, guest_page: float, host_page: float, caches: Hierarchy) -> float:
    """One two-dimensional walk: the guest's, the host's for the final address, and the host's for each table beyond the caches."""
    native = walk_native_seconds(span, guest_page, caches)
    host = (native if host_page == guest_page else walk_native_seconds(span, host_page, caches)) - caches.fixed_seconds
    seconds = native + host
    beyond = effective_references(span, guest_page, caches) - 1
    if beyond <= 0:
        return seconds
    tables = max(span / guest_page * PTE_BYTES, 4096.0)
    return seconds + beyond * (walk_native_seconds(tables, host_page, caches) - caches.fixed_seconds)


def miss_ratio(entries: int, page: float, span: float) -> float:
    """Misses of a TLB by accesses that are uniform over `span` bytes; `page` is the smaller of both dimensions' in a guest."""
    return max(0.0, 1 - entries * page / span)


def nested_overhead(walking: float, ratio: float) -> float:
    """Extra time of a guest whose native walks take `walking` of its native time, where a nested one costs `ratio` times as much."""
    return walking * (ratio - 1)


def walks(workload: Workload, window: Window) -> Iterable[Prediction | None]:
    """References of a page walk, and what one costs with the caches of this host."""
    levels, kvm = window.after.logical.cpu.page_table_levels, window.after.logical.kvm
    machine = workload.paradigm == "virtualization"
    if machine and (workload.guest is None or workload.guest.accelerator != "kvm" or kvm is None):
        # An emulator translates in software: there is no walk of the guest's.
        return
    nested = machine and kvm is not None and kvm.nested_paging is True
    if machine and kvm is not None and kvm.nested_paging is None and kvm.vendor_module in (None, "kvm_intel", "kvm_amd"):
        # These can do both. Others (a software MMU) cannot.
        return
    mapped = _mapped(workload)
    if levels is None or not 2 <= levels <= MOST_LEVELS or mapped is None:
        return
    used, huge = mapped
    flags = ["no_counterpart"]
    pages = levels - huge
    inputs = {"levels": float(levels), "huge_page_share": huge}
    smallest = references_native(levels, 1)
    if nested:
        # What pages the guest uses is not seen from here: 4 KiB is its default.
        interval = (
            levels * pages + levels + pages,
            float(references_nested(smallest, smallest)),
            float(references_nested(levels, levels)),
        )
        formula = "g*h + g + h, g levels in the guest and h on the host; a huge page saves one"
    elif machine:
        flags.append("shadow")
        interval = (float(levels), float(smallest), float(levels))
        formula = "g: shadow page tables are walked as native ones"
    else:
        interval = (pages, float(smallest), float(levels))
        formula = "n levels; a huge page saves one"
    yield prediction(workload, WALK_REFERENCES, interval, formula=formula, inputs=inputs, flags=flags)
    yield _walk_cost(workload, window, nested, used, huge, flags)


def _walk_cost(workload: Workload, window: Window, nested: bool, used: float, huge: float, flags: list[str]) -> Prediction | None:
    capacities = _capacities(window, workload.placement.allowed_cpus)
    if not capacities:
        return None

    best, usual, worst = _hierarchies(window.given, capacities)
    working = window.given[parameters.WORKING_SET_SHARE]

    def cost(part: float, guest: int, page: int, its: Hierarchy) -> float:
        return _walk(max(float(PAGE_BYTES), used * part), guest, page, nested, its)

    # Which pages a guest uses is not seen from here: the smallest at worst, huge ones at best.
    low = cost(working.lo, HUGE_PAGE_BYTES, HUGE_PAGE_BYTES, best)
    high = cost(working.hi, PAGE_BYTES, PAGE_BYTES, worst)
    large = cost(working.mode, PAGE_BYTES, HUGE_PAGE_BYTES, usual) if huge else 0.0
    small = cost(working.mode, PAGE_BYTES, PAGE_BYTES, usual) if huge < 1 else 0.0
    point = huge * large + (1 - huge) * small
    # Where an inner level was measured to be slower than an outer one may be, the corners are not the ends.
    interval = (point, min(point, low), max(point, high))
    inputs = {
        "used_bytes": used,
        "huge_page_share": huge,
        "working_set_share": working.mode,
        **dict(zip(_LEVELS, capacities, strict=False)),
    }
    formula = "fixed + leaf entry + upper entries past the paging-structure caches, each at the latency of the cache that holds it"
    return prediction(workload, WALK_COST, interval, formula=formula, inputs=inputs, flags=flags)


@lru_cache(64)
def _hierarchies(given: Parameters, capacities: tuple[float, ...]) -> tuple[Hierarchy, Hierarchy, Hierarchy]:
    """At its best, at the modes, at its worst. The same for all workloads on CPUs alike."""
    latencies = (given[parameters.L1_SECONDS], given[parameters.L2_SECONDS], given[parameters.L3_SECONDS])[: len(capacities)]
    memory, fixed, leaf = given[parameters.DRAM_SECONDS], given[parameters.STRUCTURE_HIT_SECONDS], given[parameters.LEAF_SHARE]
    best, usual, worst = (
        Hierarchy(
            capacities=capacities,
            latencies=tuple(getattr(latency, pick) for latency in latencies),
            memory_seconds=getattr(memory, pick),
            fixed_seconds=getattr(fixed, pick),
            leaf_share=getattr(leaf, helps),
            structure_entries=entries,
        )
        for pick, helps, entries in (("lo", "hi", (64.0, 32.0)), ("mode", "mode", (32.0, 16.0)), ("hi", "lo", (16.0, 4.0)))
    )
    return best, usual, worst


def _walk(span: float, guest_page: int, page: int, nested: bool, caches: Hierarchy) -> float:
    if nested:
        return walk_nested_seconds(span, guest_page, page, caches)
    return walk_native_seconds(span, page, caches)


def _mapped(workload: Workload) -> tuple[float, float] | None:
    """Mapped bytes of the workload, and how much of them lies in huge pages (0..1). One source for each kind, or none."""
    held = workload.memory
    used: int | None
    match workload.paradigm:
        case "virtualization":
            used, mapped, huge = held.backing_bytes, held.backing_bytes, held.backing_huge_bytes
        case "containerization":
            # v2, then v1, whose counts below the group are "total_".
            stat = held.stat
            anon, file_mapped, huge = stat.get("anon"), stat.get("file_mapped"), stat.get("anon_thp")
            if anon is None:
                anon, file_mapped, huge = stat.get("total_rss"), stat.get("total_mapped_file"), stat.get("total_rss_huge")
            used = mapped = None if anon is None or file_mapped is None else anon + file_mapped
        case "sandbox":
            used, mapped, huge = held.backing_bytes, held.resident_bytes, held.anon_huge_bytes
        case _:
            used, mapped, huge = held.resident_bytes, held.resident_bytes, held.anon_huge_bytes
    if not used or not mapped or huge is None or used < 0 or mapped < 0:
        return None
    return float(used), min(1.0, max(0.0, huge / mapped))


def _capacities(window: Window, cpus: CpuSet | None) -> tuple[float, ...]:
    """Bytes of the data caches of one allowed CPU, innermost first; none where a level's size is not known."""
    cpu = cpus.first if cpus is not None else None
    return () if cpu is None else window.machine.cache_bytes.get(cpu, ())[:3]
