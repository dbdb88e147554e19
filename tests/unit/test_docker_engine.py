"""collectors/docker_engine.py against real sockets that behave badly."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli import arguments, build_parser
from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from collectors import docker_engine
from collectors.docker_engine import Container, Engine
from collectors.root import SysRoot, Unavailable
from tests.unit.tree import recorded

pytest.importorskip("docker")


@contextlib.contextmanager
def server(answers: list[bytes | None]) -> Iterator[SysRoot]:
    """A root whose engine gives one answer to each request, the last one again and again; None: it never answers."""
    with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as listener:
        (Path(place) / "run").mkdir()
        listener.bind(f"{place}/run/docker.sock")
        listener.listen()
        held: list[socket.socket] = []

        def serve() -> None:
            given = 0
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                held.append(peer)
                with contextlib.suppress(OSError):
                    peer.recv(1 << 16)
                    answer = answers[min(given, len(answers) - 1)]
                    given += 1
                    if answer is not None:
                        peer.sendall(answer)
                        peer.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield SysRoot(place)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(2)
            for peer in held:
                peer.close()


def ask(root: SysRoot, labels: tuple[str, ...] = ()) -> tuple[Engine, ...]:
    """The one engine below a root, which gets a second."""
    (url,) = docker_engine.urls(root)
    return docker_engine.ask(url, 1, labels)


def http(body: object, status: str = "200 OK", server: str = "Docker/27.0 (linux)") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nServer: {server}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + data


def test_no_socket(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        docker_engine.urls(SysRoot(tmp_path))
    assert caught.value.reason == "absent"


@pytest.mark.parametrize("what", ["file", "directory", "link outside"])
def test_what_is_no_socket_is_not_asked(tmp_path: Path, what: str) -> None:
    (tmp_path / "root/run").mkdir(parents=True)
    place = tmp_path / "root/run/docker.sock"
    with socket.socket(socket.AF_UNIX) as listener, tempfile.TemporaryDirectory() as elsewhere:
        listener.bind(f"{elsewhere}/sock")
        listener.listen()
        match what:
            case "file":
                place.write_text("")
            case "directory":
                place.mkdir()
            case _:
                place.symlink_to(f"{elsewhere}/sock")
        with pytest.raises(Unavailable) as caught:
            docker_engine.urls(SysRoot(tmp_path / "root"))
        assert caught.value.reason == "absent"


def test_nobody_listens() -> None:
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "run").mkdir()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{place}/run/docker.sock")
        with pytest.raises(Unavailable) as caught:
            ask(SysRoot(place))
    assert caught.value.reason == "failed"


@pytest.mark.parametrize("url", ["unix:///run/no such/docker.sock", "unix:///nowhere", "http+unix://%2Fnowhere%2Fpodman.sock"])
def test_a_socket_that_is_not_there_is_absent(url: str) -> None:
    with pytest.raises(Unavailable) as caught:
        docker_engine.ask(url, 1)
    assert (caught.value.reason, caught.value.detail) == ("absent", f"{url}: no such socket")
    assert "start the engine" in (caught.value.remedy or "")


def test_an_engine_that_does_not_run_is_to_be_started() -> None:
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{port.getsockname()[1]}"
        with pytest.raises(Unavailable) as caught:
            docker_engine.ask(url, 1)
    assert (caught.value.reason, caught.value.remedy) == ("failed", "start the engine: nobody listens there")


def test_an_engine_of_another_host_is_not_asked() -> None:
    with pytest.raises(Unavailable) as caught:
        docker_engine.ask("ssh://root@build.example", 1)
    assert caught.value.reason == "unsupported"


def test_docker_host_and_all_sockets_are_asked_once_each() -> None:
    with server([http([])]) as root:
        (Path(root.path) / "run/podman").mkdir()
        with socket.socket(socket.AF_UNIX) as podman:
            podman.bind(f"{root.path}/run/podman/podman.sock")
            found = tuple(f"unix://{root.path}/{name}" for name in docker_engine.SOCKETS)
            assert docker_engine.urls(root) == found
            assert docker_engine.urls(root, (), "unix:///run/user/1000/docker.sock") == ("unix:///run/user/1000/docker.sock", *found)
            assert docker_engine.urls(root, (), found[1]) == (found[1], found[0])
            assert docker_engine.urls(root, ("unix:///chosen", "unix:///chosen"), "unix:///stated") == ("unix:///chosen",)
    both = ("unix:///var/run/docker.sock", "unix:///run/docker.sock")
    assert docker_engine.urls(SysRoot(), both) == ("unix:///run/docker.sock",)


@pytest.mark.parametrize(("root", "asked"), [("/", "unix:///elsewhere/docker.sock"), ("/host", None)])
def test_the_environment_names_an_engine_of_this_host_alone(root: str, asked: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///elsewhere/docker.sock")
    assert arguments.config(build_parser().parse_args(["snapshot", "--root", root])).docker_host == asked
    monkeypatch.setenv("DOCKER_HOST", "")
    assert arguments.config(build_parser().parse_args(["snapshot", "--root", root])).docker_host is None


def test_an_engine_that_never_answers_is_late() -> None:
    with server([None]) as root:
        began = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            ask(root)
        assert time.monotonic() - began < 3
    assert caught.value.reason == "late"


def test_an_engine_that_drips_is_late() -> None:
    """A byte now and then is an answer to the library; the pass does not wait for the last one."""
    with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as listener:
        (Path(place) / "run").mkdir()
        listener.bind(f"{place}/run/docker.sock")
        listener.listen()
        ends = threading.Event()

        def drip() -> None:
            with contextlib.suppress(OSError):
                peer, _ = listener.accept()
                with peer:
                    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n[")
                    while not ends.wait(0.1):
                        peer.sendall(b" ")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        try:
            began = time.monotonic()
            sample = take(SysRoot(place), Config(root=place, only=("docker_engine",)), Caches(), patience_seconds=1.0)
            assert time.monotonic() - began < 2
        finally:
            ends.set()
            thread.join(2)
    assert sample.workloads.engines is None
    assert [gap.reason for gap in sample.gaps if gap.source == "docker_engine"] == ["late"]


GARBAGE = {
    "bytes": b"\xff\x00\xfe" * 100,
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    "no json": http(b"<html>"),
    "bad utf-8": http(b'"\xff\xff'),
    "a string": http("x"),
    "a number": http(3),
    "null": http(None),
    "an error": http({"message": "no"}, "500 Internal Server Error"),
    "a record": http({"Id": "0a"}),
    "an ancient engine": http({"message": "client is too new"}, "400 Bad Request"),
    "deep json": http(b"[" * 100_000),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_an_engine_that_answers_garbage_failed(name: str) -> None:
    with server([GARBAGE[name]]) as root, pytest.raises(Unavailable) as caught:
        ask(root)
    assert caught.value.reason == "failed"


@pytest.mark.parametrize(
    ("head", "name", "version"),
    [
        ("Docker/20.10.24+dfsg1 (linux)", "docker", "20.10.24+dfsg1"),
        ("Libpod/4.3.1 (linux)", "podman", "4.3.1"),
        ("", "docker", None),
        ("/", "docker", None),
        ("Libpod", "podman", None),
        ("nginx", "docker", None),
    ],
)
def test_the_head_says_which_engine_it_is(head: str, name: str, version: str | None) -> None:
    with server([http([], server=head)]) as root:
        assert ask(root) == (Engine(name, version, ()),)


def test_what_is_kept_of_a_container() -> None:
    rows = [
        {"Id": "0a", "Names": ["/web", "/other/alias"], "Image": "nginx", "State": "running", "Labels": {"token": "hunter2"}},
        {"Id": "0b", "Names": [], "Image": None},
        {"Id": "0c", "Names": ['/\ud800"\n'], "State": 3},
        {"Id": ""},
        {"Names": ["/lost"]},
        "odd",
        None,
    ]
    with server([http(rows, server="Libpod/5.0 (linux)")]) as root:
        (engine,) = ask(root)
    assert (engine.name, engine.version) == ("podman", "5.0")
    assert engine.containers[:2] == (Container(id="0a", name="web", image="nginx", state="running"), Container(id="0b"))
    assert [container.id for container in engine.containers] == ["0a", "0b", "0c"]
    str(engine.containers[2].name).encode()
    assert {str(container.labels) for container in engine.containers} == {"{}"}
    assert "hunter2" not in str(engine)


def test_a_label_that_was_asked_for() -> None:
    rows = [
        {"Id": "0a", "Labels": {"team": "red\ud800", "token": "hunter2", "n": 3}},
        {"Id": "0b", "Labels": None},
        {"Id": "0c", "Labels": ["team"]},
    ]
    with server([http(rows)]) as root:
        (engine,) = ask(root, ("team", "n", "none"))
    assert [container.labels for container in engine.containers] == [{"team": "red\\ud800", "n": "3"}, {}, {}]


@pytest.mark.parametrize("body", [b" " * (50 << 20), b"[" + b'{"Id": "0a"},' * (4 << 20) + b"{}]"], ids=["blanks", "rows"])
def test_an_answer_of_fifty_megabytes_is_not_taken(body: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with server([http(body)]) as root, pytest.raises(Unavailable, match="more than 32 MiB") as caught:
        ask(root)
    assert caught.value.reason == "failed"
    # What was taken until then, and the answer itself, which is of this process.
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < docker_engine.MAX_BYTES + 2 * len(body)


HUGE = {
    "lists": b"[" + b"[]," * (10 << 20) + b"[]]",
    "empty records": b"[" + b"{}," * (10 << 20) + b"{}]",
    "ids": b"[" + b'{"Id":"a"},' * 2_900_000 + b'{"Id":"a"}]',
    "labels": b'[{"Id":"a","Labels":{' + b'"a":"b",' * (3 << 20) + b'"a":"b"}}]',
    "names": b'[{"Id":"a","Names":[' + b'"a",' * (6 << 20) + b'"a"]}]',
}


@pytest.mark.parametrize("name", HUGE)
def test_thirty_megabytes_of_small_values_take_no_more_memory_than_the_answer(name: str) -> None:
    """In a process of its own, whose memory nothing else has raised."""
    program = """
import resource, sys
from collectors.docker_engine import _container, parse_rows
body = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    rows = [_container(row, ("a",)) for row in parse_rows(body)]
except ValueError:
    rows = []
assert len(rows) <= 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program], input=HUGE[name], capture_output=True, check=True, timeout=60)
    assert int(done.stdout) << 10 < 1.2 * len(HUGE[name])


def test_a_recording_asks_nobody(tmp_path: Path) -> None:
    root = recorded(tmp_path, {"replies/docker_engine.json": '[{"name": "docker", "version": "1", "containers": [{"id": "0a"}]}]'})
    assert docker_engine.read(root, lambda: ask(SysRoot("/nowhere"))) == (Engine("docker", "1", (Container(id="0a"),)),)
