"""collectors/docker_engine.py against real sockets that behave badly."""

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

from collectors import docker_engine
from collectors.docker_engine import Container, Engine
from collectors.sysroot import SysRoot, Unavailable
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


def http(body: object, status: str = "200 OK") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    return head.encode() + data


VERSION = http({"ApiVersion": "1.44", "Version": "27.0", "Components": [{"Name": "Engine"}]})


def test_no_socket(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        docker_engine.read(SysRoot(tmp_path))
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
            docker_engine.read(SysRoot(tmp_path / "root"))
        assert caught.value.reason == "absent"


def test_nobody_listens() -> None:
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "run").mkdir()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{place}/run/docker.sock")
        with pytest.raises(Unavailable) as caught:
            docker_engine.read(SysRoot(place))
    assert caught.value.reason == "failed"


@pytest.mark.parametrize("answers", [[None], [VERSION, None], [VERSION, VERSION, None]], ids=["never", "later", "last"])
def test_an_engine_that_never_answers_is_late(answers: list[bytes | None]) -> None:
    with server(answers) as root:
        began = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            docker_engine.read(root, timeout_seconds=1)
        assert time.monotonic() - began < 3
    assert caught.value.reason == "late"


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
    "no api version": http({}),
    "an odd api version": http({"ApiVersion": 7}),
    "an odder api version": http({"ApiVersion": "one.two"}),
    "an ancient api version": http({"ApiVersion": "1.1"}),
    "deep json": http(b"[" * 100_000),
}


@pytest.mark.parametrize("first", [False, True], ids=["later", "first"])
@pytest.mark.parametrize("name", GARBAGE)
def test_an_engine_that_answers_garbage_failed(name: str, first: bool) -> None:
    with server([GARBAGE[name]] if first else [VERSION, VERSION, GARBAGE[name]]) as root, pytest.raises(Unavailable) as caught:
        docker_engine.read(root)
    assert caught.value.reason == "failed"


@pytest.mark.parametrize("components", [None, [], [3], "x", [{}], [{"Name": 3}]])
def test_odd_components_make_no_podman(components: object) -> None:
    version = http({"ApiVersion": "1.44", "Version": None, "Components": components})
    with server([version, version, http([])]) as root:
        assert docker_engine.read(root) == (Engine("docker", None, ()),)


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
    version = http({"ApiVersion": "1.44", "Version": "5.0", "Components": [{"Name": "Podman Engine"}]})
    with server([version, version, http(rows)]) as root:
        (engine,) = docker_engine.read(root)
    assert (engine.name, engine.version) == ("podman", "5.0")
    assert engine.containers[:2] == (Container("0a", "web", "nginx", "running"), Container("0b"))
    assert [container.id for container in engine.containers] == ["0a", "0b", "0c"]
    str(engine.containers[2].name).encode()
    assert "hunter2" not in str(engine)


def test_a_recording_asks_nobody(tmp_path: Path) -> None:
    root = recorded(tmp_path, {"replies/docker_engine.json": '[{"name": "docker", "version": "1", "containers": [{"id": "0a"}]}]'})
    assert docker_engine.read(root, ("unix:///nowhere",)) == (Engine("docker", "1", (Container("0a"),)),)
