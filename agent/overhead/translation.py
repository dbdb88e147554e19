"""Address translation: page-table references of a TLB miss, and what they cost.

Sources: Bhargava et al. (ASPLOS 2008) for the two-dimensional walk; capacity of the caches for where leaf tables lie. Paging-structure
caches hold the upper levels, so that a nested walk costs about one more leaf reference and not six times as much; the architectural
number of references is its bound.
"""

from __future__ import annotations

from agent.model.values import Fact

PTE_BYTES = 8
PER_TABLE = 512


class Hierarchy(Fact, frozen=True):
    """Capacity (bytes) and latency (seconds) of the caches, innermost first, and of memory; what the walker itself has.

    `structure_entries`: how many entries the caches of page-directory and of directory-pointer entries hold.
    """

    capacities: tuple[float, ...]
    latencies: tuple[float, ...]
    memory_seconds: float
    fixed_seconds: float
    leaf_share: float
    structure_entries: tuple[float, float] = (32.0, 16.0)


def references_native(levels: int, skipped: int) -> int:
    """`skipped` levels: 0 for 4 KiB pages, 1 for 2 MiB, 2 for 1 GiB."""
    return levels - skipped


def references_nested(guest: int, host: int) -> int:
    """Every guest table and the final address are translated by a host walk of their own: g*h + g + h."""
    return guest * host + guest + host


def fetch_seconds(footprint: float, caches: Hierarchy) -> float:
    """Mean latency of one entry out of tables of `footprint` bytes, uniformly used: each level holds what fits of them."""
    reached, total = 0.0, 0.0
    for capacity, latency in zip(caches.capacities, caches.latencies, strict=True):
        share = min(1.0, caches.leaf_share * capacity / footprint)
        total += max(0.0, share - reached) * latency
        reached = max(reached, share)
    return total + (1 - reached) * caches.memory_seconds


def _structure_hits(span: float, page: float, caches: Hierarchy) -> tuple[float, float]:
    directory, pointer = caches.structure_entries
    return min(1.0, directory * PER_TABLE * page / span), min(1.0, pointer * PER_TABLE**2 * page / span)


def walk_native_seconds(span: float, page: float, caches: Hierarchy) -> float:
    """One walk over a working set of `span` bytes in pages of `page` bytes."""
    leaf = max(span / page * PTE_BYTES, PTE_BYTES)
    hit1, hit2 = _structure_hits(span, page, caches)
    upper = fetch_seconds(max(leaf / PER_TABLE, PTE_BYTES), caches)
    top = fetch_seconds(max(leaf / PER_TABLE**2, PTE_BYTES), caches)
    return caches.fixed_seconds + fetch_seconds(leaf, caches) + (1 - hit1) * (upper + (1 - hit2) * top)


def effective_references(span: float, page: float, caches: Hierarchy) -> float:
    """References that a native walk really makes, past the paging-structure caches."""
    hit1, hit2 = _structure_hits(span, page, caches)
    return 1 + (1 - hit1) * (2 - hit2)


def walk_nested_seconds(span: float, guest_page: float, host_page: float, caches: Hierarchy) -> float:
    """One two-dimensional walk: the guest's, the host's for the final address, and the host's for each table beyond the caches."""
    tables = max(span / guest_page * PTE_BYTES, 4096.0)
    host = walk_native_seconds(span, host_page, caches) - caches.fixed_seconds
    inner = walk_native_seconds(tables, host_page, caches) - caches.fixed_seconds
    return walk_native_seconds(span, guest_page, caches) + host + (effective_references(span, guest_page, caches) - 1) * inner
