"""The rest of a group: pids, huge pages, pressure, and the hierarchy's own files.

Sources: Documentation/admin-guide/cgroup-v2.rst ("PID", "HugeTLB", "Core Interface Files"), Documentation/accounting/psi.rst,
Documentation/admin-guide/cgroup-v1/{pids,hugetlb,freezer-subsystem}.rst.
"""

from __future__ import annotations

from collections.abc import Iterable

from agent.model.facts.cgroup import GroupState, HugePages, Pids
from agent.model.values import UNLIMITED, Detail, Fact, Limit
from collectors.cgroup.held import GroupFiles, HeldDirectory
from collectors.cgroup.memory import parse_numa_stat
from collectors.text import (
    Malformed,
    MalformedLines,
    flat_keyed,
    limit,
    newline_separated,
    nonzero,
    number_lines,
    phrase,
    size_bytes,
    unsigned,
)

RESOURCES = ("cpu", "memory", "io", "irq")

# A v1 limit of huge pages that was never set: PAGE_COUNTER_MAX rounded down to the page (mm/hugetlb_cgroup.c).
_V1_UNLIMITED = 1 << 62


class Stall(Fact, frozen=True):
    """Microseconds in which some, or all, tasks of a group waited (PSI totals). irq has no `some`, cpu no `full` before 5.13."""

    some_usec: int | None = None
    full_usec: int | None = None


def pressure(files: GroupFiles, directory: HeldDirectory) -> dict[str, Stall]:
    stalls = {name: files.parse(directory, f"{name}.pressure", parse_stall) for name in RESOURCES}
    return {name: stall for name, stall in stalls.items() if stall is not None}


def pids(files: GroupFiles, directory: HeldDirectory, detail: Detail) -> Pids:
    is_document = detail == "document"
    events = files.parse(directory, "pids.events", flat_keyed) or {} if is_document else {}
    own = files.parse(directory, "pids.events.local", flat_keyed) or {} if is_document else {}
    return Pids(
        current=files.parse(directory, "pids.current", unsigned),
        peak=files.parse(directory, "pids.peak", unsigned) if is_document else None,
        max=files.parse(directory, "pids.max", limit),
        max_events=events.get("max"),
        own_max_events=own.get("max"),
    )


def huge_page_sizes(names: Iterable[str]) -> tuple[str, ...]:
    """ "2MB", "1GB": the sizes that this kernel keeps account of, by the names of a group's files."""
    words = (name.split(".") for name in names if name.startswith("hugetlb."))
    return tuple(sorted({parts[1] for parts in words if len(parts) > 2}))


def huge_pages(files: GroupFiles, directory: HeldDirectory, sizes: Iterable[str], is_v1: bool) -> tuple[HugePages, ...]:
    """A record for each size of which the group has a file: where nobody says which controllers are enabled, it may have none."""

    def bound(name: str) -> Limit | None:
        value = files.parse(directory, name, limit)
        return UNLIMITED if value is not None and value >= _V1_UNLIMITED else value

    def max_events(name: str) -> int | None:
        return (files.parse(directory, name, flat_keyed) or {}).get("max")

    current, max_, events = (".usage_in_bytes", ".limit_in_bytes", ".failcnt") if is_v1 else (".current", ".max", ".events")
    # Bytes in both versions. v1 names the group's own pages first.
    total = "hierarchical_total" if is_v1 else "total"
    records = []
    for size in sizes:
        counter = f"hugetlb.{size}{events}"
        records.append(
            HugePages(
                page_bytes=size_bytes(size),
                current_bytes=files.parse(directory, f"hugetlb.{size}{current}", unsigned),
                max_bytes=bound(f"hugetlb.{size}{max_}"),
                reserved_bytes=files.parse(directory, f"hugetlb.{size}.rsvd{current}", unsigned),
                reserved_max_bytes=bound(f"hugetlb.{size}.rsvd{max_}"),
                max_events=files.parse(directory, counter, unsigned) if is_v1 else max_events(counter),
                own_max_events=None if is_v1 else max_events(f"hugetlb.{size}.events.local"),
                by_node=(files.parse(directory, f"hugetlb.{size}.numa_stat", parse_numa_stat) or {}).get(total, {}),
            )
        )
    return tuple(record for record in records if record != HugePages(page_bytes=record.page_bytes))


def state_v2(files: GroupFiles, directory: HeldDirectory) -> GroupState:
    events = files.parse(directory, "cgroup.events", flat_keyed) or {}
    stat = files.parse(directory, "cgroup.stat", flat_keyed) or {}
    return GroupState(
        type=files.parse(directory, "cgroup.type", phrase),
        populated=nonzero(events.get("populated")),
        frozen=nonzero(events.get("frozen")),
        freeze=nonzero(files.parse(directory, "cgroup.freeze", unsigned)),
        threads=_count(files.parse(directory, "cgroup.threads", number_lines, blank=True)),
        descendants=stat.get("nr_descendants"),
        dying_descendants=stat.get("nr_dying_descendants"),
        max_depth=files.parse(directory, "cgroup.max.depth", limit),
        max_descendants=files.parse(directory, "cgroup.max.descendants", limit),
    )


def state_v1(files: GroupFiles, freezer: HeldDirectory) -> GroupState:
    """A group whose freezer.state is FREEZING is not frozen yet."""
    state = files.parse(freezer, "freezer.state", phrase)
    self_freezing = files.parse(freezer, "freezer.self_freezing", unsigned)
    return GroupState(
        frozen=None if state is None else state == "FROZEN",
        freeze=nonzero(self_freezing),
        threads=_count(files.parse(freezer, "tasks", number_lines, blank=True)),
    )


def parse_stall(text: str) -> Stall:
    """ "some avg10=0.00 ... total=5", the same for "full"; one of them may not be there."""
    totals: dict[str, int] = {}
    malformed = MalformedLines()
    for number, line in enumerate(newline_separated(text), 1):
        kind, _, rest = line.partition(" ")
        if kind not in ("some", "full"):
            continue
        try:
            totals[kind] = unsigned(rest.rpartition("total=")[2])
        except Malformed:
            malformed.add(number, line, "'some ... total=N'")
    if not totals:
        raise Malformed(f"expected 'some ... total=N', got {text[:60]!r}")
    return malformed.checked(Stall(totals.get("some"), totals.get("full")))


def _count(tids: tuple[int, ...] | None) -> int | None:
    """How many threads there are: one may be listed twice while it is read, and is one."""
    return None if tids is None else len(set(tids))
