"""collectors/libvirt_stats.py: counters as the library hands them over."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agent.model.facts.libvirt_stats import Balloon
from agent.model.values import MAX_NUMBER
from collectors import libvirt_stats
from collectors.libvirt_connection import Connections
from collectors.libvirt_stats import MAX_THREADS, DomainQueries, DomainStats, Statistics, collect, parse_stats
from tests.unit.tree import malformed, recorded


def test_counters_by_vcpu_and_machine() -> None:
    told = {
        "vcpu.current": 12,
        "vcpu.maximum": 12,
        "vcpu.0.state": 1,
        "vcpu.0.exits.sum": 7,
        "vcpu.11.halt_poll_fail_ns.sum": 9,
        "vcpu.11.blocking.cur": "no",
        "vcpu.99999.exits.sum": 1,
        "vcpu.x.exits.sum": 1,
        "vm.pages_2m.cur": 3,
        "vm.remote_tlb_flush.sum": -1,
        "vm.max_mmu_rmap_size.max": 4,
        "balloon.rss": 1024,
        "balloon.current": True,
        "block.0.name": "vda",
    }
    assert parse_stats("u", 3, told) == DomainStats(
        uuid="u", id=3, vcpus={0: {"exits": 7}, 11: {"halt_poll_fail_ns": 9}}, vm={"pages_2m": 3}, balloon={"rss": 1024}
    )


T = TypeVar("T")


class Libvirt(Connections):
    """As much of the library and of a connection as queries go through: domains by UUID, and those that hang."""

    VIR_DOMAIN_STATS_VCPU = VIR_DOMAIN_STATS_BALLOON = VIR_CONNECT_LIST_DOMAINS_ACTIVE = 1

    class libvirtError(Exception):  # noqa: N801
        """Named as the library names it."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.hanging: dict[str, threading.Event] = {}
        self.asked: list[str] = []

    def use(self, uri: str, ask: Callable[[Any, Any], T]) -> T:
        return ask(self, self)

    def listAllDomains(self, _: int) -> list[Domain]:  # noqa: N802
        return [Domain(name) for name in self.names]

    def lookupByUUIDString(self, uuid: str) -> Domain:  # noqa: N802
        return Domain(uuid.removesuffix("-uuid"))

    def domainListGetStats(self, domains: list[Domain], *_: int) -> list[tuple[Domain, dict[str, int]]]:  # noqa: N802
        (domain,) = domains
        self.asked.append(domain.name())
        if domain.name() in self.hanging:
            assert self.hanging[domain.name()].wait(20)
        return [(domain, {"balloon.current": 7})]


class Domain:
    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        return self._name

    def UUIDString(self) -> str:  # noqa: N802
        return f"{self._name}-uuid"

    def ID(self) -> int:  # noqa: N802
        return 3


@pytest.fixture
def rhythm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pass asks all again, and gives up soon."""
    monkeypatch.setattr(libvirt_stats, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(libvirt_stats, "HANGING_SECONDS", 0.05)


def asked(library: Libvirt) -> DomainQueries:
    return DomainQueries("qemu:///system", library)


def one_pass(queries: DomainQueries, *stopped: str) -> tuple[set[str], list[str]]:
    """Those that told something, and the gaps."""
    queries.begin()
    answer = collect((queries,), time.monotonic() + 5, {f"{name}-uuid" for name in stopped})
    return {stats.uuid.removesuffix("-uuid") for stats in answer.domains}, [gap.detail for gap in answer.gaps]


def settled(queries: DomainQueries, passes: int = 50) -> tuple[set[str], list[str]]:
    for _ in range(passes):
        told = one_pass(queries)
        if not told[1]:
            break
    return told


@pytest.mark.usefixtures("rhythm")
def test_one_that_hangs_costs_the_others_nothing() -> None:
    library = Libvirt(*"abcdefghij")
    library.hanging["c"] = threading.Event()
    queries = asked(library)
    for _ in range(5):
        began = time.monotonic()
        told, gaps = one_pass(queries)
        assert told == set("abdefghij")
        assert [gap.partition(":")[0] for gap in gaps] == ["c"]
        assert time.monotonic() - began < 2
    # Its question was out all the time: it was asked once.
    assert library.asked.count("c") == 1
    assert library.asked.count("a") > 1
    library.hanging.pop("c").set()
    assert settled(queries) == (set("abcdefghij"), [])


@pytest.mark.usefixtures("rhythm")
def test_more_hang_than_may_be_asked() -> None:
    library = Libvirt(*(f"n{number:02}" for number in range(20)))
    library.hanging = {name: threading.Event() for name in library.names[: MAX_THREADS + 2]}
    queries = asked(library)
    for _ in range(3):
        told, gaps = one_pass(queries)
        assert queries.threads <= MAX_THREADS
        assert told <= {*library.names[MAX_THREADS + 2 :]}
        assert gaps
    assert len(library.asked) == len({*library.asked} & library.hanging.keys()) + sum(name not in library.hanging for name in library.asked)
    for event in library.hanging.values():
        event.set()
    assert settled(queries) == ({*library.names}, [])


@pytest.mark.usefixtures("rhythm")
def test_a_stopped_process_is_late_at_once() -> None:
    queries = asked(Libvirt("a", "b"))
    assert settled(queries) == ({"a", "b"}, [])
    assert one_pass(queries, "a") == ({"b"}, ["a: its process is stopped"])


def test_answers_are_kept_and_say_their_age() -> None:
    library = Libvirt("a")
    queries = asked(library)
    assert settled(queries) == ({"a"}, [])
    time.sleep(0.02)
    queries.begin()
    (stats,) = collect((queries,), time.monotonic() + 5, set()).domains
    assert (stats.id, stats.balloon, library.asked) == (3, {"current": 7}, ["a"])
    assert stats.seconds_ago >= 0.02
    # Of one that is gone nothing is kept.
    library.names = ()
    end = time.monotonic() + 5
    while queries.answers and time.monotonic() < end:
        one_pass(queries)
    assert one_pass(queries) == (set(), [])


@pytest.mark.parametrize("count", [-1, -(1 << 63), 1 << 63])
@pytest.mark.parametrize("kind", ["vcpus", "vm", "balloon"])
def test_a_replayed_counter_is_a_count(tmp_path: Path, kind: str, count: int) -> None:
    """Another one costs the answer of its domain: below nothing no counter is."""
    counts = {"exits": count}
    domains = [{"uuid": "u", "id": 1, kind: {"0": counts} if kind == "vcpus" else counts}, {"uuid": "v", "id": 2}]
    root = recorded(tmp_path, {"replies/libvirt_stats.json": json.dumps({"domains": domains})})
    found = root.reply("libvirt_stats", Statistics, Statistics)
    assert [domain.uuid for domain in found.domains] == ["v"]
    assert malformed(root) == ["replies/libvirt_stats.json"]


@pytest.mark.parametrize(
    ("words", "balloon"),
    [
        ({}, None),
        ({"current": 1024, "maximum": 2048, "rss": 3}, Balloon(current_bytes=1 << 20, maximum_bytes=2 << 20, rss_bytes=3 << 10)),
        ({"swap_in": 1, "major_fault": 7, "last-update": 9}, Balloon(swapped_in_bytes=1024, major_faults=7, updated_at_seconds=9)),
        ({"hugetlb_pgalloc": 2, "disk_caches": 4, "of_a_newer_libvirt": 1}, Balloon(huge_page_allocations=2, disk_caches_bytes=4096)),
        ({"current": MAX_NUMBER, "usable": 0}, Balloon(usable_bytes=0)),
    ],
)
def test_a_balloon_has_units(words: dict[str, int], balloon: Balloon | None) -> None:
    assert libvirt_stats.balloon_of(words) == balloon
