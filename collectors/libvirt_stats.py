"""What libvirt has to ask a guest's QEMU for: KVM's counters by vCPU and machine, the balloon. It may take long, or for ever.

So each domain has a question of its own, in a thread that can be left behind: one that hangs costs its own domain a gap and the rest
nothing, and is not asked again until it has answered. A monitor is asked every few seconds and no oftener: it takes the time of the
guest's own emulator, so answers say how old they are.
Sources: virConnectGetAllDomainStats (groups vcpu, vm, balloon); the counters are those of KVM_GET_STATS_FD, Documentation/virt/kvm/api.rst.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from agent.model.facts.libvirt_stats import Balloon
from agent.model.values import MAX_NUMBER, Count, Fact, Gap, number_or_none
from collectors.libvirt_connection import Connections, named, uris
from collectors.root import SysRoot, Unavailable
from collectors.text import printable

AGAIN_SECONDS = 5.0
KEPT_SECONDS = 15.0
HANGING_SECONDS = 0.4
"""A monitor that has not answered for so long is late."""
WAIT_SECONDS = 0.6
"""How long a pass waits for domains that have not answered yet at all."""
THREADS, MAX_THREADS = 4, 8
"""Threads, with a connection each, for one URI: so many guests may hang before the others are not asked either."""
_NAMED = 5


class DomainStats(Fact, frozen=True, kw_only=True):
    """Counters under KVM's names: cumulative ones ("exits"), and in `pages_*` what was there then; the balloon under libvirt's, in KiB."""

    uuid: str
    id: int
    vcpus: dict[int, dict[str, Count]] = {}
    vm: dict[str, Count] = {}
    balloon: dict[str, Count] = {}
    seconds_ago: float = 0.0


class Statistics(Fact, frozen=True):
    """The domains that answered, now or lately, and why others did not."""

    domains: tuple[DomainStats, ...] = ()
    gaps: tuple[Gap, ...] = ()


class DomainQueries:
    """The questions to the domains of one URI: those that wait, those that are out, and the last answers. All of it is behind `changed`.

    `names` are the running domains by UUID, `waiting` those that no thread has asked yet, `asked_at` when the others were
    (time.monotonic), `answers` what each said last, and when.
    """

    def __init__(self, uri: str, connections: Connections) -> None:
        self.uri = uri
        self.connections = connections
        self.changed = threading.Condition()
        self.listing = False
        self.threads = 0
        self.names: dict[str, str] = {}
        self.waiting: list[str] = []
        self.asked_at: dict[str, float] = {}
        self.answers: dict[str, tuple[float, DomainStats]] = {}
        self.error: Unavailable | None = None

    def begin(self) -> None:
        """One thread lists the domains and asks those that are due."""
        with self.changed:
            if not self.listing and self.threads < MAX_THREADS:
                self.listing = True
                self._start(lists=True)

    def _start(self, lists: bool = False) -> None:
        self.threads += 1
        threading.Thread(target=self._run, args=(lists,), name=f"libvirt_stats {named(self.uri)}", daemon=True).start()

    def _run(self, lists: bool) -> None:
        error = None
        try:
            self.connections.use(self.uri, lambda libvirt, connection: self._ask(libvirt, connection, lists))
        except Unavailable as problem:
            error = problem
        with self.changed:
            self.threads -= 1
            if lists:
                self.listing, self.error = False, error
            self.changed.notify_all()

    def _ask(self, libvirt: Any, connection: Any, lists: bool) -> None:
        if lists:
            self._list(libvirt, connection)
        groups = libvirt.VIR_DOMAIN_STATS_VCPU | libvirt.VIR_DOMAIN_STATS_BALLOON | getattr(libvirt, "VIR_DOMAIN_STATS_VM", 0)
        while (uuid := self._next()) is not None:
            answer = None
            try:
                handle = connection.lookupByUUIDString(uuid)
                for _, values in connection.domainListGetStats([handle], groups, 0):
                    answer = parse_stats(uuid, handle.ID(), values)
            except libvirt.libvirtError as error:
                # It ended, or its monitor did: the next list shows which.
                if not connection.isAlive():
                    raise error
            finally:
                with self.changed:
                    self.asked_at.pop(uuid, None)
                    if answer is not None:
                        self.answers[uuid] = (time.monotonic(), answer)
                    self.changed.notify_all()

    def _list(self, libvirt: Any, connection: Any) -> None:
        handles = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        with self.changed:
            self.listing = False
            self.names = {handle.UUIDString(): printable(handle.name()) for handle in handles}
            self.answers = {uuid: answer for uuid, answer in self.answers.items() if uuid in self.names}
            now = time.monotonic()
            due = [
                uuid
                for uuid in self.names
                if uuid not in self.asked_at and (uuid not in self.answers or now - self.answers[uuid][0] >= AGAIN_SECONDS)
            ]
            self.waiting = sorted(due, reverse=True)
            for _ in range(min(len(due), THREADS) - self.threads):
                self._start()
            self.changed.notify_all()

    def _next(self) -> str | None:
        with self.changed:
            if not self.waiting:
                return None
            uuid = self.waiting.pop()
            self.asked_at[uuid] = time.monotonic()
            return uuid

    def wait(self, deadline: float, stopped: Set[str]) -> None:
        """Until all but those that hang have answered once, at most until the deadline (time.monotonic)."""
        with self.changed:
            while (now := time.monotonic()) < deadline and self.threads:
                hanging = {uuid for uuid, since in self.asked_at.items() if now - since >= HANGING_SECONDS}
                if self.waiting and len(hanging) >= self.threads and self.threads < MAX_THREADS:
                    self._start()
                missing = {uuid for uuid in self.names if uuid not in self.answers and uuid not in stopped}
                if not self.listing and missing <= hanging:
                    return
                self.changed.wait(min(deadline - now, 0.05))

    def statistics(self, stopped: Set[str]) -> Statistics:
        """What each domain said last, with its age; a gap for each that has not answered for long."""
        with self.changed:
            now = time.monotonic()
            late: list[str] = []
            domains = []
            for uuid, name in sorted(self.names.items()):
                answered_at, answer = self.answers.get(uuid, (-KEPT_SECONDS, None))
                waited = now - self.asked_at[uuid] if uuid in self.asked_at else 0.0
                if uuid in stopped:
                    late.append(f"{name}: its process is stopped")
                elif waited >= HANGING_SECONDS:
                    late.append(f"{name}: no answer in {waited:.1f} s")
                elif answer is None or now - answered_at >= KEPT_SECONDS:
                    late.append(f"{name}: not asked yet")
                else:
                    domains.append(replace(answer, seconds_ago=round(now - answered_at, 3)))
            error, listing = self.error, self.listing
        if error is not None:
            return Statistics(gaps=(Gap("libvirt_stats", error.reason, error.detail, error.remedy),))
        remedy = "see what its QEMU process waits for: stopped, out of memory, or its storage"
        gaps = [Gap("libvirt_stats", "late", detail, remedy) for detail in late[:_NAMED]]
        if len(late) > _NAMED:
            gaps.append(Gap("libvirt_stats", "late", f"{len(late) - _NAMED} domains more", remedy))
        if listing:
            gaps.append(Gap("libvirt_stats", "late", f"{named(self.uri)}: no list of domains yet"))
        return Statistics(tuple(domains), tuple(gaps))


@dataclass(slots=True)
class StatsCache:
    """The questions and answers of each URI."""

    queries: dict[str, DomainQueries] = field(default_factory=dict)


def begin(root: SysRoot, cache: StatsCache, connections: Connections, chosen: tuple[str, ...]) -> tuple[DomainQueries, ...]:
    """Send the questions of one pass; of the URIs that were chosen, else of the first socket below the root."""
    if not root.live:
        return ()
    try:
        # The test driver invents, LXC has nothing to say of KVM.
        queried_uris = [uri for uri in uris(root, chosen) if not uri.startswith(("test", "lxc"))]
    except Unavailable:
        return ()
    queries = tuple(cache.queries.setdefault(uri, DomainQueries(uri, connections)) for uri in queried_uris)
    for query in queries:
        query.begin()
    return queries


def read(root: SysRoot, queries: tuple[DomainQueries, ...], deadline: float, stopped: Set[str]) -> Statistics:
    """The answers to what was asked at the beginning of a pass. `stopped`: UUIDs of domains whose process is known not to run."""
    return root.reply("libvirt_stats", Statistics, lambda: collect(queries, deadline, stopped))


def collect(queries: tuple[DomainQueries, ...], deadline: float, stopped: Set[str]) -> Statistics:
    """The answers of a live host, waited for until the deadline (time.monotonic) and not longer than 0.6 s."""
    deadline = min(deadline, time.monotonic() + WAIT_SECONDS)
    domains: list[DomainStats] = []
    gaps: list[Gap] = []
    for query in queries:
        query.wait(deadline, stopped)
        answer = query.statistics(stopped)
        domains += answer.domains
        gaps += answer.gaps
    return Statistics(tuple(domains), tuple(gaps))


def balloon_of(words: dict[str, int]) -> Balloon | None:
    """libvirt's words of a balloon with their units; None where it said none."""

    def kib(word: str) -> int | None:
        return number_or_none(words[word] << 10) if word in words else None

    if not words:
        return None
    return Balloon(
        current_bytes=kib("current"),
        maximum_bytes=kib("maximum"),
        rss_bytes=kib("rss"),
        available_bytes=kib("available"),
        unused_bytes=kib("unused"),
        usable_bytes=kib("usable"),
        disk_caches_bytes=kib("disk_caches"),
        swapped_in_bytes=kib("swap_in"),
        swapped_out_bytes=kib("swap_out"),
        major_faults=words.get("major_fault"),
        minor_faults=words.get("minor_fault"),
        huge_page_allocations=words.get("hugetlb_pgalloc"),
        huge_page_failures=words.get("hugetlb_pgfail"),
        updated_at_seconds=words.get("last-update"),
    )


def parse_stats(uuid: str, id_: int, values: dict[str, Any]) -> DomainStats:
    """ "vcpu.0.exits.sum", "vm.pages_4k.cur", "balloon.rss": whole numbers; what else is there is left out."""
    vcpus: dict[int, dict[str, int]] = {}
    vm: dict[str, int] = {}
    balloon: dict[str, int] = {}
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_NUMBER:
            continue
        group, _, rest = key.partition(".")
        if group == "balloon":
            balloon[rest] = value
        elif group == "vm" and rest.endswith((".sum", ".cur")):
            vm[rest[:-4]] = value
        elif group == "vcpu":
            number, _, name = rest.partition(".")
            if number.isascii() and number.isdecimal() and len(number) < 5 and name.endswith((".sum", ".cur")):
                vcpus.setdefault(int(number), {})[name[:-4]] = value
    return DomainStats(uuid=uuid, id=id_, vcpus=vcpus, vm=vm, balloon=balloon)
