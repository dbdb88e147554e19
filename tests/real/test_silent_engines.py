"""The daemon beside an engine that is silent, slow, dripping or enormous: containers keep their names, and the daemon stays small."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.real.test_serve import fetch, serving
from tests.unit.tree import grow

pytestmark = pytest.mark.real

ID = "c" * 64
GROUP = f"sys/fs/cgroup/system.slice/docker-{ID}.scope"
AGE = 'strata_source_age_seconds{source="docker_engine"} '
MOST_BYTES = 100_000_000
_PIECE = 1 << 20


class Engine:
    """An engine on a socket: what it sends, and how, is its mode's to say. `asked`: how often it was, in this mode."""

    def __init__(self, path: Path) -> None:
        self.path, self.mode, self.asked, self.over = path, "answers", 0, threading.Event()
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen()
        threading.Thread(target=self._accept, args=(self.listening,), daemon=True).start()

    def become(self, mode: str) -> None:
        """Whoever is asked now answers like this; who was asked before ends."""
        self.over.set()
        self.mode, self.asked, self.over = mode, 0, threading.Event()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listening.accept()
                self.asked += 1
                threading.Thread(target=self._answer, args=(peer, self.mode, self.over), daemon=True).start()

    def _answer(self, peer: socket.socket, mode: str, over: threading.Event) -> None:
        rows = json.dumps([{"Id": ID, "Names": ["/web"], "Image": "nginx", "State": "running"}]).encode()
        length, pieces = len(rows), iter((rows,))
        match mode:
            case "is silent":
                over.wait(60)
            case "is slow":
                over.wait(1.5)
            case "drips":
                pieces = (bytes((byte,)) for byte in rows if not over.wait(0.2))
            case "sends a gigabyte":
                length, pieces = 1 << 30, (b"[" + b" " * (_PIECE - 1) for _ in range(1 << 10))
            case "sends 32 MiB of lists":
                length, pieces = 32 << 20, iter(((b"[" + b"[]," * ((32 << 20) // 3 - 2) + b"[]]").ljust(32 << 20),))
        with peer, contextlib.suppress(OSError):
            peer.recv(1 << 16)
            peer.sendall(f"HTTP/1.1 200 OK\r\nServer: Docker/27.0 (linux)\r\nContent-Length: {length}\r\n\r\n".encode())
            for piece in pieces:
                peer.sendall(piece)


MODES = ("is silent", "is slow", "drips", "sends a gigabyte", "sends 32 MiB of lists", "closed its socket")


def test_a_name_stays_and_the_daemon_stays_small(tmp_path: Path) -> None:
    grow(tmp_path, {"sys/fs/cgroup/cgroup.controllers": "cpu\n", f"{GROUP}/cgroup.procs": "7\n", f"{GROUP}/cpu.stat": "usage_usec 1\n"})
    (tmp_path / "run").mkdir()
    engine = Engine(tmp_path / "run/docker.sock")
    shown = f'strata_workload_info{{workload="{ID}",paradigm="containerization",runtime="docker",name="web",image="nginx"'
    try:
        with serving("--root", str(tmp_path)) as (process, url):

            def scrape() -> str:
                time.sleep(1.05)
                began = time.monotonic()
                status, _, body = fetch(f"{url}/metrics")
                assert status == 200
                assert time.monotonic() - began < 3
                return body.decode()

            def recover() -> None:
                """Until the engine has answered in a scrape."""
                end = time.monotonic() + 60
                while shown not in (text := scrape()) or not any(line in (f"{AGE}0", f"{AGE}0.0") for line in text.splitlines()):
                    assert time.monotonic() < end

            for mode in MODES:
                engine.become("answers")
                recover()
                engine.become(mode)
                if mode == "closed its socket":
                    engine.path.unlink()
                ages = []
                for _ in range(4):
                    text = scrape()
                    assert shown in text, mode
                    assert 'strata_source_up{source="docker_engine"} 0' in text, mode
                    ages += [float(line.split()[1]) for line in text.splitlines() if line.startswith(AGE)]
                assert len(ages) == 4
                assert min(ages) > 0, mode
                assert bool(engine.asked) == (mode != "closed its socket")
                status = Path(f"/proc/{process.pid}/status").read_text()
                peak = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))
                print(f"\nan engine that {mode}: asked {engine.asked} times, the daemon took at most {peak / 1e6:.0f} MB")
                assert peak < MOST_BYTES, mode
    finally:
        engine.over.set()
        with contextlib.suppress(OSError):
            engine.listening.shutdown(socket.SHUT_RDWR)
        engine.listening.close()
