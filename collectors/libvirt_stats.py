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
from typing import Any

from agent.model.values import Fact, Gap
from collectors.libvirt_connection import Connections, named, uris
from collectors.root import SysRoot, Unavailable
from collectors.text import printable

AGAIN_SECONDS = 5.0
KEPT_SECONDS = 15.0
HANGING_SECONDS = 0.4
"""A monitor that has not answered for so long is late."""
WAIT_SECONDS = 0.6
"""How long a pass waits for domains that have not answered yet at all."""
ASKERS, MAX_ASKERS = 4, 8
"""Threads, with a connection each, for one URI: so many guests may hang before the others are not asked either."""
_NAMED = 5


class DomainStats(Fact, frozen=True, kw_only=True):
    """Counters under KVM's names: cumulative ones ("exits"), and in `pages_*` and the balloon what was there then."""

    uuid: str
    id: int
    vcpus: dict[int, dict[str, int]] = {}
    vm: dict[str, int] = {}
    balloon: dict[str, int] = {}
    seconds_ago: float = 0.0


class Answer(Fact, frozen=True):
    domains: tuple[DomainStats, ...] = ()
    gaps: tuple[Gap, ...] = ()


class Questions:
    """Those that are out, and the last answers, from pass to pass."""

    def __init__(self) -> None:
        self.by_uri: dict[str, Asked] = {}

    def of(self, uri: str, connections: Connections) -> Asked:
        return self.by_uri.setdefault(uri, Asked(uri, connections))


class Asked:
    """The domains of one URI. All of it is behind `changed`."""

    def __init__(self, uri: str, connections: Connections) -> None:
        self.uri = uri
        self.connections = connections
        self.changed = threading.Condition()
        self.listing = False
        self.askers = 0
        self.names: dict[str, str] = {}
        self.ahead: list[str] = []
        self.out: dict[str, float] = {}
        self.answers: dict[str, tuple[float, DomainStats]] = {}
        self.error: Unavailable | None = None

    def begin(self) -> None:
        """One thread lists the domains and asks those that are due."""
        with self.changed:
            if not self.listing and self.askers < MAX_ASKERS:
                self.listing = True
                self._send(lists=True)

    def _send(self, lists: bool = False) -> None:
        self.askers += 1
        threading.Thread(target=self._run, args=(lists,), name=f"libvirt_stats {named(self.uri)}", daemon=True).start()

    def _run(self, lists: bool) -> None:
        error = None
        try:
            self.connections.use(self.uri, lambda libvirt, connection: self._ask(libvirt, connection, lists))
        except Unavailable as problem:
            error = problem
        with self.changed:
            self.askers -= 1
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
                for _, told in connection.domainListGetStats([handle], groups, 0):
                    answer = parse_stats(uuid, handle.ID(), told)
            except libvirt.libvirtError as error:
                # It ended, or its monitor did: the next list shows which.
                if not connection.isAlive():
                    raise error
            finally:
                with self.changed:
                    self.out.pop(uuid, None)
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
                if uuid not in self.out and (uuid not in self.answers or now - self.answers[uuid][0] >= AGAIN_SECONDS)
            ]
            self.ahead = sorted(due, reverse=True)
            for _ in range(min(len(due), ASKERS) - self.askers):
                self._send()
            self.changed.notify_all()

    def _next(self) -> str | None:
        with self.changed:
            if not self.ahead:
                return None
            uuid = self.ahead.pop()
            self.out[uuid] = time.monotonic()
            return uuid

    def wait(self, deadline: float, stopped: Set[str]) -> None:
        """For those that have not answered yet, unless they hang."""
        with self.changed:
            while (now := time.monotonic()) < deadline and self.askers:
                hanging = sum(1 for since in self.out.values() if now - since >= HANGING_SECONDS)
                if self.ahead and hanging >= self.askers and self.askers < MAX_ASKERS:
                    self._send()
                missing = [uuid for uuid in self.names if uuid not in self.answers and uuid not in stopped]
                if not self.listing and all(uuid in self.out and now - self.out[uuid] >= HANGING_SECONDS for uuid in missing):
                    return
                self.changed.wait(min(deadline - now, 0.05))

    def told(self, stopped: Set[str]) -> tuple[list[DomainStats], list[Gap]]:
        with self.changed:
            now = time.monotonic()
            late: dict[str, str] = {}
            found = []
            for uuid, name in sorted(self.names.items()):
                then, answer = self.answers.get(uuid, (-KEPT_SECONDS, None))
                since = now - self.out[uuid] if uuid in self.out else 0.0
                if uuid in stopped:
                    late[uuid] = f"{name}: its process is stopped"
                elif since >= HANGING_SECONDS:
                    late[uuid] = f"{name}: no answer in {since:.1f} s"
                elif answer is None or now - then >= KEPT_SECONDS:
                    late[uuid] = f"{name}: not asked yet"
                else:
                    found.append(
                        DomainStats(
                            uuid=uuid,
                            id=answer.id,
                            vcpus=answer.vcpus,
                            vm=answer.vm,
                            balloon=answer.balloon,
                            seconds_ago=round(now - then, 3),
                        )
                    )
            error, listing = self.error, self.listing
        remedy = "see what its QEMU process waits for: stopped, out of memory, or its storage"
        gaps = [Gap("libvirt_stats", "late", detail, remedy) for detail in list(late.values())[:_NAMED]]
        if len(late) > _NAMED:
            gaps.append(Gap("libvirt_stats", "late", f"{len(late) - _NAMED} domains more", remedy))
        if error is not None:
            return [], [Gap("libvirt_stats", error.reason, error.detail, error.remedy)]
        if listing:
            gaps.append(Gap("libvirt_stats", "late", f"{named(self.uri)}: no list of domains yet"))
        return found, gaps


def begin(root: SysRoot, chosen: tuple[str, ...], questions: Questions, connections: Connections) -> tuple[Asked, ...]:
    """Sends the questions of one pass."""
    if not root.live:
        return ()
    try:
        # The test driver invents, LXC has nothing to say of KVM.
        asked = tuple(questions.of(uri, connections) for uri in uris(root, chosen) if not uri.startswith(("test", "lxc")))
    except Unavailable:
        return ()
    for one in asked:
        one.begin()
    return asked


def read(root: SysRoot, asked: tuple[Asked, ...], deadline: float, stopped: Set[str]) -> Answer:
    return root.reply("libvirt_stats", Answer, lambda: collect(asked, deadline, stopped))


def collect(asked: tuple[Asked, ...], deadline: float, stopped: Set[str]) -> Answer:
    """`stopped`: the UUIDs of those whose process is known not to run."""
    deadline = min(deadline, time.monotonic() + WAIT_SECONDS)
    found: list[DomainStats] = []
    gaps: list[Gap] = []
    for one in asked:
        one.wait(deadline, stopped)
        stats, late = one.told(stopped)
        found += stats
        gaps += late
    return Answer(tuple(found), tuple(gaps))


def parse_stats(uuid: str, id_: int, told: dict[str, Any]) -> DomainStats:
    """ "vcpu.0.exits.sum", "vm.pages_4k.cur", "balloon.rss": whole numbers; what else is there is left out."""
    vcpus: dict[int, dict[str, int]] = {}
    vm: dict[str, int] = {}
    balloon: dict[str, int] = {}
    for key, value in told.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
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
