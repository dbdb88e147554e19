"""collectors/libvirt_domains.py and libvirt_connection.py: whom to ask; the library's own test driver is a hypervisor, too."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from errno import ESRCH
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from collectors import libvirt_connection, libvirt_domains
from collectors.domain_xml import Definition
from collectors.libvirt_connection import Connections
from collectors.libvirt_domains import DomainCache, LibvirtHosts
from collectors.root import SysRoot, Unavailable
from tests.need import need
from tests.unit.tree import malformed, recorded

T = TypeVar("T")


def test_no_socket(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        libvirt_connection.uris(SysRoot(tmp_path), ())
    assert caught.value.reason == "absent"


@pytest.mark.parametrize("last_cpu", ["-1", "65536", "1e3", '"0"'])
def test_a_replayed_cpu_is_a_cpu(tmp_path: Path, last_cpu: str) -> None:
    """Another one costs the machine's record, and no other machine's."""
    vcpus = '[{"number": 0, "last_cpu": 3}, {"number": 1, "last_cpu": %s}]'
    domain = '{"uuid": "%s", "name": "n", "id": 1, "state": "running", "definition": {}, "vcpus": %s}'
    domains = ", ".join(domain % (uuid, vcpus % cpu) for uuid, cpu in (("u", last_cpu), ("v", 4)))
    reply = f'{{"hypervisors": [{{"uri": "qemu:///system", "libvirt_version": "1", "domains": [{domains}]}}]}}'
    root = recorded(tmp_path, {"replies/libvirt_domains.json": reply})
    (hypervisor,) = libvirt_domains.read(root, LibvirtHosts).hypervisors
    assert [(one.uuid, len(one.vcpus)) for one in hypervisor.domains] == [("v", 2)]
    assert malformed(root) == ["replies/libvirt_domains.json"]


@pytest.mark.parametrize("shares", [-1, -(1 << 63), 1 << 63, 1 << 64])
def test_a_replayed_weight_is_a_weight(tmp_path: Path, shares: int) -> None:
    domain = '{"uuid": "%s", "name": "n", "id": 1, "state": "running", "definition": {"tuning": {"shares": %d}}}'
    domains = ", ".join(domain % each for each in (("u", shares), ("v", 5)))
    reply = f'{{"hypervisors": [{{"uri": "qemu:///system", "libvirt_version": "1", "domains": [{domains}]}}]}}'
    root = recorded(tmp_path, {"replies/libvirt_domains.json": reply})
    (hypervisor,) = libvirt_domains.read(root, LibvirtHosts).hypervisors
    assert [(one.uuid, one.definition.tuning.shares) for one in hypervisor.domains] == [("v", 5)]
    assert malformed(root) == ["replies/libvirt_domains.json"]


def test_a_driver_without_machines() -> None:
    """Its domain and its CPUs are invented: no workload of this host."""
    need(modules=["libvirt"])
    (hypervisor,) = libvirt_domains.ask(DomainCache(), "test:///default").hypervisors
    (domain,) = hypervisor.domains
    assert (hypervisor.uri, hypervisor.here, domain.name, domain.definition.type) == ("test:///default", False, "test", "test")
    assert [(vcpu.number, bool(vcpu.affinity)) for vcpu in domain.vcpus] == [(0, True), (1, True)]


@pytest.mark.parametrize(
    ("uri", "here"),
    [
        ("qemu:///system", True),
        ("qemu+unix:///session?socket=/run/x", True),
        ("lxc:///", True),
        ("qemu+ssh://other/system", False),
        ("esx://other/", False),
        ("test:///default", False),
        ("nonsense", False),
    ],
)
def test_whose_domains_run_here(uri: str, here: bool) -> None:
    assert libvirt_domains.is_here(uri) is here


def test_each_connection_fails_alone(tmp_path: Path) -> None:
    """Beside one that answers: one that nobody listens on, one that accepts and never answers, one that is no URI."""
    need(modules=["libvirt"])
    silent = tmp_path / "silent"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(silent))
        listening.listen()
        uris = ("test:///default", f"qemu:///system?socket={tmp_path}/none", f"qemu:///session?socket={silent}", "nonsense://x")
        began = time.monotonic()
        config = Config(root=str(tmp_path), libvirt=uris, only=("libvirt_domains",))
        answer = take(SysRoot(tmp_path), config, Caches(), patience_seconds=0.5)
        assert time.monotonic() - began < 3
        assert [hypervisor.uri for hypervisor in answer.workloads.hypervisors or ()] == ["test:///default"]
        assert [gap.reason for gap in answer.gaps] == ["failed", "late", "failed"]
        assert "qemu:///session" in answer.gaps[1].detail


def test_a_connection_is_kept_and_lent_to_one_at_a_time() -> None:
    need(modules=["libvirt"])
    connections, seen, inside = Connections(), [], threading.Event()

    def ask(_: object, connection: object) -> None:
        seen.append(connection)

    def ask_within(_: object, connection: object) -> None:
        seen.append(connection)
        connections.use("test:///default", ask)
        inside.set()

    connections.use("test:///default", ask)
    connections.use("test:///default", ask_within)
    assert inside.is_set()
    assert seen[0] is seen[1]
    assert seen[2] is not seen[1]


def test_a_kept_connection_that_broke_is_opened_anew() -> None:
    need(modules=["libvirt"])
    import libvirt

    connections, tries = Connections(), []

    def ask(_: object, connection: object) -> int:
        tries.append(connection)
        if len(tries) == 2:
            raise libvirt.libvirtError("End of file while reading data")
        return len(tries)

    assert connections.use("test:///default", ask) == 1
    assert connections.use("test:///default", ask) == 3
    assert tries[0] is tries[1] is not tries[2]


@pytest.mark.parametrize(
    ("uri", "over"),
    [
        ("qemu:///system", False),
        ("qemu+unix:///session?socket=/run/x", False),
        ("test:///default", False),
        ("qemu+ssh://other/system", True),
        ("qemu+tcp://[::1]:16509/system", True),
        ("esx://other/", True),
    ],
)
def test_who_is_asked_whether_it_is_there(uri: str, over: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a network only; one thread runs the library's loop, and a driver without the question is used without it."""
    asked: list[tuple[object, ...]] = []
    running = threading.Event()

    class Library:
        libvirtError = OSError  # noqa: N815

        def openReadOnly(self, _: str) -> Library:  # noqa: N802
            return self

        def setKeepAlive(self, *numbers: int) -> None:  # noqa: N802
            asked.append(numbers)
            if uri.startswith("esx"):
                raise OSError("no support")

        def virEventRegisterDefaultImpl(self) -> None:  # noqa: N802
            asked.append(("loop",))

        def virEventRunDefaultImpl(self) -> None:  # noqa: N802
            assert running.wait(20)
            raise OSError("the end of the loop")

    monkeypatch.setattr(libvirt_connection, "_library", Library)
    monkeypatch.setattr(libvirt_connection, "_LOOP", f"the loop for {uri}")
    connections = Connections()
    connections.use(uri, lambda *_: connections.use(uri, lambda *_: None))
    running.set()
    assert asked == ([("loop",), (5, 2), (5, 2)] if over else [])


class Libvirt(Connections):
    """As much of the library, its connection and its domains as the reader goes through. A domain fails at one of its questions."""

    VIR_CONNECT_LIST_DOMAINS_ACTIVE = 1
    VIR_ERR_NO_SUPPORT, VIR_ERR_INTERNAL_ERROR, VIR_ERR_NO_DOMAIN, VIR_ERR_OPERATION_INVALID = 3, 1, 42, 55
    VIR_ERR_CONFIG_UNSUPPORTED, VIR_ERR_OPERATION_UNSUPPORTED, VIR_ERR_SYSTEM_ERROR = 67, 84, 38

    class libvirtError(Exception):  # noqa: N801
        """Named as the library names it."""

        def get_error_code(self) -> int:
            return int(self.args[0])

        def get_int1(self) -> int:
            """The error number of what the system refused."""
            return ESRCH

    def __init__(self, *domains: Domain, alive: bool = True) -> None:
        self.domains, self.alive = domains, alive

    def use(self, uri: str, ask: Callable[[Any, Any], T]) -> T:
        return ask(self, self)

    def getLibVersion(self) -> int:  # noqa: N802
        return 9_000_001

    def isAlive(self) -> int:  # noqa: N802
        return int(self.alive)

    def listAllDomains(self, _: int) -> tuple[Domain, ...]:  # noqa: N802
        return self.domains


class Domain:
    def __init__(self, name: str, fails_at: str = "", code: int = 0, xml: str = "<domain type='kvm'/>") -> None:
        self._name, self._fails_at, self._code, self._xml = name, fails_at, code, xml

    def _answer(self, question: str, answer: T) -> T:
        if question == self._fails_at:
            raise Libvirt.libvirtError(self._code)
        return answer

    def name(self) -> str:
        return self._name

    def UUIDString(self) -> str:  # noqa: N802
        return f"{self._name}-uuid"

    def ID(self) -> int:  # noqa: N802
        return 3

    def info(self) -> tuple[int, int, int, int, int]:
        return self._answer("info", (1, 2, 1, 1, 9))

    def XMLDesc(self, _: int) -> str:  # noqa: N802
        return self._answer("XMLDesc", self._xml)

    def vcpus(self) -> tuple[list[tuple[int, int, int, int]], list[tuple[bool, ...]]]:
        pins: list[tuple[bool, ...]] = [(True, True)]
        return self._answer("vcpus", ([(0, 1, 7, 1)], pins))

    def vcpuPinInfo(self, _: int) -> list[tuple[bool, ...]]:  # noqa: N802
        return self._answer("vcpuPinInfo", [(False, True)])

    def emulatorPinInfo(self, _: int) -> tuple[bool, ...]:  # noqa: N802
        return self._answer("emulatorPinInfo", (True, True))


QUESTIONS = ("info", "XMLDesc", "vcpus", "vcpuPinInfo", "emulatorPinInfo")


def answer(*domains: Domain, alive: bool = True) -> tuple[list[str], list[str]]:
    """The names of those that answered, and the gaps."""
    found = libvirt_domains.ask(DomainCache(Libvirt(*domains, alive=alive)), "qemu:///system")
    return [domain.name for domain in found.hypervisors[0].domains], [gap.detail for gap in found.gaps]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("code", [Libvirt.VIR_ERR_NO_DOMAIN, Libvirt.VIR_ERR_OPERATION_INVALID, Libvirt.VIR_ERR_SYSTEM_ERROR])
def test_one_that_ends_while_it_is_read_is_not_there(question: str, code: int) -> None:
    """Saved, migrated away, undefined: between one question and the next it is gone, and that is no gap."""
    assert answer(Domain("a"), Domain("b", question, code), Domain("c")) == (["a", "c"], [])


@pytest.mark.parametrize("question", QUESTIONS)
def test_one_that_is_broken_costs_the_others_nothing(question: str) -> None:
    assert answer(Domain("a"), Domain("b", question, Libvirt.VIR_ERR_INTERNAL_ERROR), Domain("c")) == (["a", "c"], ["b: 1"])


def test_a_definition_that_nobody_understands() -> None:
    names, (gap,) = answer(Domain("a", xml="<domain>"), Domain("b"))
    assert names == ["b"]
    assert gap.startswith("a: text: domain XML: ")


def test_many_that_are_broken_are_counted() -> None:
    names, gaps = answer(*(Domain(f"n{number}", "info", 1) for number in range(9)), Domain("z"))
    assert (names, len(gaps), gaps[-1]) == (["z"], 6, "4 domains more")


def test_without_the_daemon_no_domain_is_asked_on() -> None:
    with pytest.raises(Libvirt.libvirtError):
        answer(Domain("a", "info", Libvirt.VIR_ERR_INTERNAL_ERROR), Domain("b"), alive=False)


def test_what_a_driver_does_not_know_is_absent() -> None:
    pinned, unknown = Domain("a"), Domain("b", "vcpuPinInfo", Libvirt.VIR_ERR_NO_SUPPORT)
    (hypervisor,) = libvirt_domains.ask(DomainCache(Libvirt(pinned, unknown)), "lxc:///").hypervisors
    assert [[str(vcpu.affinity) for vcpu in domain.vcpus] for domain in hypervisor.domains] == [["1"], ["None"]]


class Gappy(Domain):
    """vCPU 0 and two beyond a gap, of five; its binding asks for three pins: those of 0, 1 and 2."""

    numbers = (0, 2, 3)

    def vcpus(self) -> tuple[list[tuple[int, int, int, int]], list[tuple[bool, ...]]]:
        return [(number, 1, 7, 1) for number in self.numbers], [(True, True)] * 3

    def vcpuPinInfo(self, _: int) -> list[tuple[bool, ...]]:  # noqa: N802
        return [(True, False), (True, True), (True, False)]


def test_a_vcpu_beyond_a_gap_has_its_pin() -> None:
    domain = Gappy("a", xml="<domain><cputune><vcpupin vcpu='2' cpuset='0'/><vcpupin vcpu='3' cpuset='1'/></cputune></domain>")
    for domain.numbers, affinities in (((0, 2, 3), ["0", "0", "1"]), ((0, 3, 4), ["0", "1", "0-1"])):
        (hypervisor,) = libvirt_domains.ask(DomainCache(Libvirt(domain)), "qemu:///system").hypervisors
        assert [str(vcpu.affinity) for vcpu in hypervisor.domains[0].vcpus] == affinities


def test_a_definition_is_parsed_again_when_its_text_has_changed() -> None:
    """A megabyte of metadata costs its time once; another text of the same length is another definition."""
    text = f"<domain type='kvm'><description>{'<b>x</b>' * 120_000}</description></domain>"
    domain = Domain("a", xml=text)
    cache = DomainCache(Libvirt(domain, Domain("b", xml="<domain")))

    def look() -> tuple[Definition, float]:
        began = time.process_time()
        (hypervisor,) = libvirt_domains.ask(cache, "qemu:///system").hypervisors
        return hypervisor.domains[0].definition, time.process_time() - began

    first, parsed_seconds = look()
    again, cached_seconds = look()
    assert again is first
    assert cached_seconds < parsed_seconds / 3
    assert parsed_seconds < 3
    domain._xml = text.replace("kvm", "xen")
    assert (first.type, look()[0].type) == ("kvm", "xen")
    cache.connections.domains = ()  # type: ignore[attr-defined]
    libvirt_domains.ask(cache, "qemu:///system")
    assert cache.definitions == {"qemu:///system": {}}


def test_hostile_names() -> None:
    names = ['"} 1\n# TYPE fake counter\nfake{a="', "鲸\udcff", "$(reboot)", "a\x00b"]
    found, gaps = answer(*map(Domain, names))
    assert sorted(found) == sorted([*names[:1], "鲸\\xff", *names[2:]])
    assert gaps == []
