"""agent/collect/container_names.py: the name of a container stays known as long as its group is there, whatever its engine does."""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.collect.container_names import KnownContainers, with_known_containers
from agent.config import Config
from agent.session import Session, advance
from collectors.cgroup import Cgroups, Group, Owner
from collectors.docker_engine import Container, Engine
from collectors.root import SysRoot
from tests.unit.tree import grow

pytest.importorskip("docker")

WEB, DB = "a" * 64, "b" * 64


def cgroups(*ids: str) -> Cgroups:
    return Cgroups("v2", {}, tuple(Group(path=f"/{id_}", owner=Owner("docker", id_, f"/{id_}")) for id_ in ids))


def docker(*containers: Container) -> tuple[Engine, ...]:
    return (Engine("docker", "27", containers),)


def test_a_name_is_known_as_long_as_the_group_is_there() -> None:
    known: KnownContainers = {}
    web, db = Container(id=WEB, name="web", state="running"), Container(id=DB, name="db", state="running")
    assert with_known_containers(docker(web, db), known, cgroups(WEB, DB)) == docker(web, db)
    # The engine is silent, then it answers of one of them: the state of the other is not known.
    silent = (Engine("docker", None, (Container(id=WEB, name="web"), Container(id=DB, name="db"))),)
    assert with_known_containers(None, known, cgroups(WEB, DB)) == silent
    assert with_known_containers(docker(web), known, cgroups(WEB, DB)) == (
        *docker(web),
        Engine("docker", None, (Container(id=DB, name="db"),)),
    )
    # A tree of groups that could not be read says nothing of who is there.
    assert with_known_containers(None, known, None) == silent
    assert with_known_containers(None, known, cgroups(WEB)) == (Engine("docker", None, (Container(id=WEB, name="web"),)),)
    assert known.keys() == {WEB}
    assert with_known_containers(None, known, cgroups()) is None
    assert known == {}


def test_of_containers_without_a_group_nothing_is_kept() -> None:
    """An engine may list what is not here: of another host, or a million that it invents."""
    known: KnownContainers = {}
    invented = docker(*(Container(id=str(number), name="x") for number in range(1000)))
    assert with_known_containers(invented, known, cgroups(WEB)) == invented
    assert known == {}


def test_a_renamed_container_has_its_new_name() -> None:
    known: KnownContainers = {}
    for name in ("old", "new"):
        with_known_containers(docker(Container(id=WEB, name=name)), known, cgroups(WEB))
    assert known[WEB][1].name == "new"


class FakeEngine:
    """An engine on a socket below a root: it behaves as its mode says."""

    def __init__(self, root: Path) -> None:
        (root / "run").mkdir()
        self.path, self.mode, self.ends = root / "run/docker.sock", "answers", threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(peer, self.mode), daemon=True).start()

    def _answer(self, peer: socket.socket, mode: str) -> None:
        rows = json.dumps([{"Id": WEB, "Names": ["/web"], "State": "running"}]).encode()
        body = {"huge": b" " * (40 << 20), "empty lists": b"[" + b"[]," * (10 << 20) + b"[]]", "garbage": b"<html>"}.get(mode, rows)
        head = f"HTTP/1.1 200 OK\r\nServer: Docker/27.0 (linux)\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        with peer, contextlib.suppress(OSError):
            peer.recv(1 << 16)
            match mode:
                case "silent":
                    self.ends.wait(30)
                case "slow":
                    time.sleep(0.5)
                    peer.sendall(head + body)
                case "drips":
                    peer.sendall(head)
                    for byte in body:
                        if self.ends.wait(0.1):
                            return
                        peer.sendall(bytes((byte,)))
                case "closes":
                    pass
                case _:
                    peer.sendall(head + body)

    def close(self) -> None:
        self.ends.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(2)


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with tempfile.TemporaryDirectory() as place:
        group = f"sys/fs/cgroup/system.slice/docker-{WEB}.scope"
        grow(
            Path(place),
            {"sys/fs/cgroup/cgroup.controllers": "cpu\n", f"{group}/cgroup.procs": "7\n", f"{group}/cpu.stat": "usage_usec 1\n"},
        )
        fake = FakeEngine(Path(place))
        try:
            yield fake
        finally:
            fake.close()


@pytest.mark.parametrize("mode", ["silent", "slow", "drips", "huge", "empty lists", "garbage", "closes", "gone"])
def test_a_container_keeps_its_name_whatever_its_engine_does(engine: FakeEngine, mode: str) -> None:
    root = str(engine.path.parents[1])
    session = Session(root=SysRoot(root), config=Config(root=root, only=("cgroup", "docker_engine")))

    def scrape(patience_seconds: float = 0.2) -> tuple[str, list[str], float | None]:
        host = advance(session, "metrics", patience_seconds).after
        (workload,) = host.workloads
        return workload.name, [gap.reason for gap in host.gaps if gap.source == "docker_engine"], session.run.ages.get("docker_engine")

    assert scrape(10.0) == ("web", [], 0.0)
    engine.mode = mode
    if mode == "gone":
        engine.path.unlink()
    for _ in range(4):
        name, reasons, age = scrape()
        assert name == "web"
        assert set(reasons) <= {"late", "failed", "absent"}
        assert reasons
        assert age is not None
        assert age > 0
        time.sleep(0.05)


def test_an_engine_that_is_slow_from_the_beginning_names_its_containers_late(engine: FakeEngine) -> None:
    """Half a second is more than a scrape waits here, as one and a half are in the service: what came late is used at the next one."""
    engine.mode = "slow"
    root = str(engine.path.parents[1])
    session = Session(root=SysRoot(root), config=Config(root=root, only=("cgroup", "docker_engine")))
    names = [advance(session, "metrics", 0.2).after.workloads[0].name]
    until = time.monotonic() + 10
    while names[-1] != "web" and time.monotonic() < until:
        time.sleep(0.1)
        names.append(advance(session, "metrics", 0.2).after.workloads[0].name)
    names.append(advance(session, "metrics", 0.2).after.workloads[0].name)
    assert names == [WEB[:12]] * (len(names) - 2) + ["web", "web"]
    assert len(names) > 2
