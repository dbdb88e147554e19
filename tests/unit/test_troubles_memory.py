"""agent/overhead/troubles_memory.py: memory that runs out, and the near misses that stay silent."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from agent.model.facts.cgroup import WorkloadMemory
from agent.model.facts.proc_pressure import Pressure, Pressures
from agent.model.facts.proc_swaps import Swap
from agent.model.guest import Guest
from agent.model.host import Host
from agent.model.values import UNLIMITED, Limit
from agent.model.workload import Workload
from tests.unit.overhead_hosts import MIB, UPTIME
from tests.unit.trouble_hosts import GROUP, SWAP, at, docker, found, kinds, of_one


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"oom_kill": 0}, {"oom_kill": 1}, {"oom_kills": "critical"}),
        ({"max": 4, "oom_kill": 7}, {"max": 90, "oom_kill": 17}, {"oom_kills": "critical"}),
        # Long ago, or not counted by this kernel, or set back with its group.
        ({"oom_kill": 7}, {"oom_kill": 7}, {}),
        ({}, {"oom_kill": 7}, {}),
        ({"oom_kill": 7}, {}, {}),
        ({"oom_kill": 7}, {"oom_kill": 2}, {}),
        # It was refused memory, and nothing was killed.
        ({"max": 1, "oom": 0, "oom_kill": 0}, {"max": 900, "oom": 3, "oom_kill": 0}, {}),
    ],
)
def test_oom_kills_now(before: dict[str, int], after: dict[str, int], expected: dict[str, str]) -> None:
    old, new = (docker(at_, memory=WorkloadMemory(events=events)) for at_, events in ((0.0, before), (1.0, after)))
    assert kinds(of_one(old, new)) == expected


def test_oom_kills_in_a_container_that_was_started_within_the_window() -> None:
    killed = docker(1.0, memory=WorkloadMemory(events={"oom_kill": 1}))
    assert kinds(found(at(0.0), at(1.0, replace(killed, started_seconds=UPTIME + 3)))) == {"oom_kills": "critical"}
    # That it was not seen before does not make it new.
    assert found(at(0.0), at(1.0, replace(killed, started_seconds=3.0))) == []
    assert found(at(0.0), at(1.0, replace(killed, started_seconds=None))) == []
    assert found(None, at(1.0, killed)) == []


def test_the_innermost_group_is_the_one_that_is_killed_in() -> None:
    def both(passed: float, kills: int) -> tuple[Workload, Workload]:
        inner = docker(passed, memory=WorkloadMemory(events={"oom_kill": kills}))
        outer = docker(passed, id="slice", identity="slice", cgroup="/system.slice", memory=WorkloadMemory(events={"oom_kill": 3 + kills}))
        return inner, outer

    assert [finding.workload for finding in found(at(0.0, *both(0.0, 0)), at(1.0, *both(1.0, 2)))] == ["c0ffee"]


def test_oom_kills_of_what_is_no_workload() -> None:
    def told(kills: int | None, in_group: int) -> list[str | None]:
        vmstat = {} if kills is None else {"oom_kill": 10 + kills}
        old, new = (docker(float(at_), memory=WorkloadMemory(events={"oom_kill": at_ * in_group})) for at_ in (0, 1))
        pair = found(at(0.0, old, vmstat={"oom_kill": 10}), at(1.0, new, vmstat=vmstat))
        return [finding.workload for finding in pair if finding.id == "oom_kills"]

    assert told(2, 0) == [None]
    assert told(2, 1) == ["c0ffee", None]
    assert told(2, 2) == ["c0ffee"]
    assert told(0, 0) == []
    assert told(None, 0) == []


def test_what_to_do_about_oom_kills() -> None:
    def remedy(**memory: Any) -> str | None:
        old, new = (docker(float(at_), memory=WorkloadMemory(events={"oom_kill": at_}, **memory)) for at_ in (0, 1))
        (finding,) = of_one(old, new)
        return finding.remedy

    own = {"limit_bytes": Limit(64 * MIB), "max_bytes": Limit(64 * MIB), "limited_by": GROUP}
    assert remedy(**own) == "docker update --memory 96m --memory-swap -1 web"
    assert remedy(**own, swap_max_bytes=Limit(64 * MIB)) == "docker update --memory 96m --memory-swap 160m web"
    above = {"limit_bytes": Limit(64 * MIB), "max_bytes": UNLIMITED, "limited_by": "/tight.slice"}
    assert remedy(**above) == "systemctl set-property tight.slice MemoryMax=96M"
    assert remedy() == "ps -eo rss,pid,comm --sort=-rss | head"
    assert remedy(limit_bytes=UNLIMITED) == "ps -eo rss,pid,comm --sort=-rss | head"


# Limits that are full of what cannot be reclaimed.


def filled(limit: float = 100.0, *, used: float | None = 99.0, kernel: float = 0.0, swap: Limit | None = None, **stat: float) -> Workload:
    """All in MiB; `stat` under the kernel's names."""
    sizes = {name: int(size * MIB) for name, size in stat.items()}
    memory = WorkloadMemory(
        max_bytes=Limit(limit * MIB),
        current_bytes=None if used is None else int(used * MIB),
        anon_bytes=sizes.get("anon", 0),
        kernel_bytes=int(kernel * MIB),
        swap_max_bytes=swap,
        stat={"shmem": 0, "slab_reclaimable": 0, **sizes},
    )
    return docker(1.0, memory=memory)


@pytest.mark.parametrize(
    ("workload", "swaps", "severity"),
    [
        # A tmpfs, a heap, locked pages of files, and what the kernel keeps.
        (filled(shmem=92), (), "warning"),
        (filled(shmem=95), (), "critical"),
        (filled(anon=92), (), "warning"),
        (filled(anon=50, shmem=46), (), "critical"),
        (filled(anon=10, unevictable=93), (), "warning"),
        (filled(anon=50, kernel=42), (), "warning"),
        (filled(total_shmem=92, shmem=1), (), "warning"),
        # The swap that there is would take 64 MiB of it; its own limit lets it take none.
        (filled(shmem=92, swap=Limit(0)), (SWAP,), "warning"),
        (filled(shmem=92, unevictable=92), (SWAP,), "warning"),
        (filled(shmem=92), (SWAP,), None),
        (filled(shmem=92, swap=UNLIMITED), (SWAP,), None),
        # Page cache goes when memory is needed, and so do the kernel's own caches.
        (filled(anon=20, file=79), (), None),
        (filled(anon=50, kernel=45, slab_reclaimable=40), (), None),
        (filled(shmem=89), (), None),
        (filled(100, used=60.0, shmem=60), (), None),
        # What is not known makes no finding.
        (filled(shmem=92), None, None),
        (filled(used=None, shmem=92), (), None),
        (replace(filled(shmem=92), memory=replace(filled(shmem=92).memory, stat={})), (), None),
        (replace(filled(shmem=92), memory=replace(filled(shmem=92).memory, anon_bytes=None)), (), None),
        (replace(filled(shmem=92), memory=replace(filled(shmem=92).memory, max_bytes=UNLIMITED)), (), None),
    ],
)
def test_near_the_limit(workload: Workload, swaps: tuple[Swap, ...] | None, severity: str | None) -> None:
    # One reading says it.
    assert kinds(found(None, at(1.0, workload, swaps=swaps))) == ({} if severity is None else {"memory_near_limit": severity})


def test_a_tmpfs_near_the_limit_is_named_with_a_command() -> None:
    (finding,) = found(None, at(1.0, filled(anon=2, shmem=90)))
    assert finding.text == "92% of its memory limit is full of what cannot be reclaimed"
    assert finding.evidence.startswith("92 of 100 MiB: 2 MiB anonymous, 90 MiB shared (tmpfs)")
    assert finding.remedy == "docker update --memory 138m --memory-swap -1 web"


# Waiting for memory.


def pressed(
    passed: float, some: float | None, full: float | None = 0.0, refaults: float | None = 0.0, swapped: float | None = None
) -> Workload:
    """Shares of the time, and pages a second, by the end of ten seconds."""

    def by_now(rate: float | None, unit: float) -> int | None:
        return None if rate is None else int(1000 + passed * 10 * rate * unit)

    stat = {} if swapped is None else {"workingset_refault_anon": int(passed * 10 * swapped)}
    return docker(
        passed,
        memory=WorkloadMemory(
            pressure_some_usec=by_now(some, 1e6),
            pressure_full_usec=by_now(full, 1e6),
            refaults=by_now(refaults, 1),
            stat=stat,
            max_bytes=Limit(64 * MIB),
            limit_bytes=Limit(64 * MIB),
        ),
    )


@pytest.mark.parametrize(
    ("some", "full", "refaults", "expected"),
    [
        (0.11, 0.01, 0.0, {"memory_pressure": "warning"}),
        (0.9, 0.49, 10.0, {"memory_pressure": "warning"}),
        (0.9, 0.6, None, {"memory_pressure": "critical"}),
        (0.5, None, 0.0, {"memory_pressure": "warning"}),
        (0.09, 0.09, 0.0, {}),
        (None, 0.9, 0.0, {}),
        (0.03, 0.01, 300.0, {"thrashing": "warning"}),
        (0.9, 0.6, 9000.0, {"thrashing": "critical"}),
        (0.3, 0.1, 251.0, {"thrashing": "warning"}),
        # Who reads a large file once more reads from disk, and waits for no memory.
        (0.01, 0.01, 9000.0, {}),
        (None, None, 9000.0, {}),
        (0.05, 0.05, 249.0, {}),
    ],
)
def test_waiting_for_memory(some: float | None, full: float | None, refaults: float | None, expected: dict[str, str]) -> None:
    assert kinds(of_one(pressed(0.0, some, full, refaults), pressed(1.0, some, full, refaults))) == expected
    # One reading has no rate.
    assert found(None, at(1.0, pressed(1.0, some, full, refaults))) == []


def test_pages_that_come_back_from_swap_are_told_apart() -> None:
    (finding,) = of_one(pressed(0.0, 0.3, 0.1, 400.0, 300.0), pressed(1.0, 0.3, 0.1, 400.0, 300.0))
    assert finding.evidence == "400 pages a second came back (1.6 MiB of 4 KiB pages), 300 from swap; it waited for memory 30% of the time"
    assert finding.remedy == "docker update --memory 96m --memory-swap -1 web"


@pytest.mark.parametrize(
    ("some", "full", "expected"),
    [(1.1e6, 0.0, {"memory_pressure": "warning"}), (9e6, 6e6, {"memory_pressure": "critical"}), (9e5, 9e5, {}), (None, None, {})],
)
def test_a_host_that_waits_for_memory(some: float | None, full: float | None, expected: dict[str, str]) -> None:
    def pressing(passed: float) -> Host:
        stall = None if some is None or full is None else Pressure(int(some * passed), int(full * passed))
        made = at(passed)
        return replace(made, logical=replace(made.logical, pressure=Pressures(memory=stall)))

    assert kinds(found(pressing(0.0), pressing(1.0))) == expected


def test_machines_elsewhere_are_left_alone() -> None:
    assert found(None, at(1.0, replace(filled(shmem=99), guest=Guest(elsewhere=True)))) == []
