"""Each fact of a container by the file of the kernel that states it, and the line or word in it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

Files = dict[str, str]
Fact = Callable[[Files], float | None]


def word(file: str, position: int = 0) -> Fact:
    def fact(files: Files) -> float | None:
        words = files.get(file, "").split()
        return None if not words else math.inf if words[position] == "max" else float(words[position])

    return fact


def keyed(file: str, key: str) -> Fact:
    def fact(files: Files) -> float | None:
        found = dict(line.split(" ", 1) for line in files.get(file, "").splitlines())
        return float(found[key]) if key in found else None

    return fact


def stall(file: str, kind: str) -> Fact:
    def fact(files: Files) -> float | None:
        found = re.search(rf"^{kind} .*total=(\d+)$", files.get(file, ""), re.MULTILINE)
        return float(found[1]) if found else None

    return fact


# Where each number of the document stands.
CPU: dict[str, Fact] = {
    "quota_usec": word("cpu.max"),
    "period_usec": word("cpu.max", 1),
    "burst_usec": word("cpu.max.burst"),
    "weight": word("cpu.weight"),
    "nice": word("cpu.weight.nice"),
    "idle": word("cpu.idle"),
    "usage_usec": keyed("cpu.stat", "usage_usec"),
    "user_usec": keyed("cpu.stat", "user_usec"),
    "system_usec": keyed("cpu.stat", "system_usec"),
    "periods": keyed("cpu.stat", "nr_periods"),
    "throttled_periods": keyed("cpu.stat", "nr_throttled"),
    "throttled_usec": keyed("cpu.stat", "throttled_usec"),
    "bursts": keyed("cpu.stat", "nr_bursts"),
    "burst_used_usec": keyed("cpu.stat", "burst_usec"),
    "pressure_some_usec": stall("cpu.pressure", "some"),
    "pressure_full_usec": stall("cpu.pressure", "full"),
}
MEMORY: dict[str, Fact] = {
    "min_bytes": word("memory.min"),
    "low_bytes": word("memory.low"),
    "high_bytes": word("memory.high"),
    "max_bytes": word("memory.max"),
    "swap_high_bytes": word("memory.swap.high"),
    "swap_max_bytes": word("memory.swap.max"),
    "oom_group": word("memory.oom.group"),
    "current_bytes": word("memory.current"),
    "peak_bytes": word("memory.peak"),
    "swap_bytes": word("memory.swap.current"),
    "kernel_bytes": keyed("memory.stat", "kernel"),
    "anon_bytes": keyed("memory.stat", "anon"),
    "file_bytes": keyed("memory.stat", "file"),
    "page_faults": keyed("memory.stat", "pgfault"),
    "major_faults": keyed("memory.stat", "pgmajfault"),
    "scanned_pages": keyed("memory.stat", "pgscan"),
    "reclaimed_pages": keyed("memory.stat", "pgsteal"),
    "pressure_some_usec": stall("memory.pressure", "some"),
    "pressure_full_usec": stall("memory.pressure", "full"),
}
PIDS: dict[str, Fact] = {
    "current": word("pids.current"),
    "peak": word("pids.peak"),
    "max": word("pids.max"),
    "max_events": keyed("pids.events", "max"),
}
GROUP: dict[str, Fact] = {
    "freeze": word("cgroup.freeze"),
    "threads": lambda files: len(files["cgroup.threads"].split()),
    "populated": keyed("cgroup.events", "populated"),
    "frozen": keyed("cgroup.events", "frozen"),
    "descendants": keyed("cgroup.stat", "nr_descendants"),
    "dying_descendants": keyed("cgroup.stat", "nr_dying_descendants"),
    "max_depth": word("cgroup.max.depth"),
    "max_descendants": word("cgroup.max.descendants"),
}
HUGE: dict[str, Callable[[str], Fact]] = {
    "current_bytes": lambda size: word(f"hugetlb.{size}.current"),
    "max_bytes": lambda size: word(f"hugetlb.{size}.max"),
    "reserved_bytes": lambda size: word(f"hugetlb.{size}.rsvd.current"),
    "reserved_max_bytes": lambda size: word(f"hugetlb.{size}.rsvd.max"),
    "max_events": lambda size: keyed(f"hugetlb.{size}.events", "max"),
    "own_max_events": lambda size: keyed(f"hugetlb.{size}.events.local", "max"),
}
TABLES = {"cpu": CPU, "memory": MEMORY, "pids": PIDS, "group": GROUP}
