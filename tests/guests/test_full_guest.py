"""Full guests that go wrong, or are interrupted, end and say why; a person's guest."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal as signals
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.lab import full, full_image, guest, host
from tests.lab.ahead import Ahead
from tests.lab.full import TWO_NODES
from tests.lab.guest import GuestFailed, emulators
from tests.lab.shapes import Shape
from tests.need import TOP, need
from tests.real.test_serve import free_port

pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def image() -> None:
    """Built before any guest's clock runs."""
    need(*full_image.PROGRAMS, root=True)
    full_image.image()


def test_a_full_guest_that_panics_ends_with_its_console(image: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest, "_TAIL_LINES", 5)  # a trace is longer, and whether it is longer than the usual tail is chance
    shape = Shape(name="panic", arguments=TWO_NODES.arguments, append="init=/bin/true")
    with pytest.raises(GuestFailed, match=r"(?s)panic ended early.*Attempted to kill init"):
        full.run("", {}, tmp_path, shape=shape, limit_seconds=60)


def test_a_full_guest_that_fills_its_disk_ends_with_its_console(image: None, tmp_path: Path) -> None:
    job = "fallocate -l $(($(stat -f -c '%f * %S' /) - 4096)) /fill; busybox yes >/out/more"
    with pytest.raises(GuestFailed, match=r"(?s)two-nodes ended early.*No space left on device"):
        full.run(job, {}, tmp_path, limit_seconds=240)


def test_a_full_guest_that_leaves_too_much_ends_with_its_console(image: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full, "OUT_BYTES", 16 << 20)
    with pytest.raises(GuestFailed, match=r"(?s)two-nodes ended early.*Wrote only"):
        full.run(f"fallocate -l {full.OUT_BYTES} /out/large", {}, tmp_path, limit_seconds=240)


def test_a_full_guest_that_hangs_ends_in_time(image: None, tmp_path: Path) -> None:
    began = time.monotonic()
    shape = Shape(name="hang", arguments=TWO_NODES.arguments, append="init=/bin/cat")
    with pytest.raises(GuestFailed, match="hang not at its end in 8 s"):
        full.run("", {}, tmp_path, shape=shape, limit_seconds=8)
    assert time.monotonic() - began < 20


# Whoever starts these tests in the background of a script has had them ignore SIGINT.
BOOT = """
import signal
import sys
from pathlib import Path
from tests.lab import full
signal.signal(signal.SIGINT, signal.default_int_handler)
full.run("", {}, Path(sys.argv[1]))
"""


@pytest.fixture
def booting(image: None, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", BOOT, str(tmp_path)], cwd=TOP) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("signal", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_an_interrupted_guest_is_gone(booting: subprocess.Popen[bytes], tmp_path: Path, signal: str) -> None:
    guests: list[psutil.Process] = []
    end = time.monotonic() + 60
    while not guests and time.monotonic() < end:
        time.sleep(0.1)
        guests = emulators(tmp_path)
    assert guests
    os.kill(booting.pid, getattr(signals, signal))
    assert booting.wait(30) != 0
    _, left = psutil.wait_procs(guests, timeout=20)
    assert host.alive(left) == []


def test_guests_that_run_ahead_end_with_the_run(image: None, tmp_path: Path) -> None:
    guests = Ahead(tmp_path, ["tests.guests.test_hotplug"])
    try:
        end = time.monotonic() + 60
        while not (running := emulators(tmp_path)) and time.monotonic() < end:
            time.sleep(0.1)
        assert running, (tmp_path / "log").read_text()
    finally:
        guests.end()
    assert host.alive(running) == []
    with pytest.raises(RuntimeError, match="the guests ended with 130"):
        guests.result("tests.guests.test_hotplug")


def test_a_person_s_guest(image: None, tmp_path: Path) -> None:
    """`make lab SHAPE=two-nodes` on a terminal: the agent answers on the forwarded port, a shell takes commands, poweroff ends it."""
    port = free_port()
    ours, theirs = pty.openpty()
    heard = b""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.lab", "two-nodes", "--port", str(port)], cwd=TOP, stdin=theirs, stdout=theirs
    ) as lab:
        os.close(theirs)

        def listen(for_: bytes, seconds: float) -> None:
            nonlocal heard
            end = time.monotonic() + seconds
            while for_ not in heard:
                ready, _, _ = select.select([ours], [], [], max(0, end - time.monotonic()))
                assert ready, heard.decode(errors="replace")
                heard += os.read(ours, 1 << 16)

        try:
            listen(b"root@lab", 300)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
                found = list(text_string_to_metric_families(answer.read().decode()))
            (nodes,) = (family.samples for family in found if family.name == "strata_node_info")
            assert [one.labels["cpus"] for one in nodes] == ["0-1", "2-3"]
            os.write(ours, b"numactl -H; agent --version; poweroff\n")
            listen(b"stratascope ", 60)
            with contextlib.suppress(OSError):  # EIO: nobody has the other end any more
                listen(b"nothing that is ever said", 60)
            assert lab.wait(10) == 0, heard.decode(errors="replace")
        finally:
            lab.terminate()
            os.close(ours)
    assert b"node 1 cpus: 2 3" in heard
