"""A run of these tests that is interrupted leaves this host as it found it, whichever way it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.lab import host, surroundings, tiny_image
from tests.need import TOP, need

pytestmark = [pytest.mark.real, pytest.mark.beside]

HELD = ("dockerd", "containerd", "podman", "conmon", "libvirtd", "qemu-system-x86_64", "sleep")

# Whoever starts these tests in the background of a script has had them ignore SIGINT.
RUN = """
import signal, sys, pytest
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.fixture
def inner(alone: None, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in the middle of its work: daemons, what they run, a guest, and a process that nobody waits for."""
    need("dockerd", "podman", "ctr", "libvirtd", "qemu-system-x86_64", root=True)
    tiny_image.image()
    command = [sys.executable, "-c", RUN, "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path}/inner", "tests/real/held.py"]
    with (tmp_path / "said").open("w") as said:
        run = subprocess.Popen(command, cwd=TOP, stdout=said, stderr=said, text=True, start_new_session=True)
    try:
        yield run
    finally:
        run.kill()
        run.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_leaves_nothing(inner: subprocess.Popen[str], number: signal.Signals, tmp_path: Path) -> None:
    said = tmp_path / "said"
    with host.turn():
        before, mounts = surroundings.look(), Path("/proc/mounts").read_text()
    inner_began = time.monotonic()
    while not (tmp_path / "inner").exists() or not list((tmp_path / "inner").rglob("console.log")):
        assert inner.poll() is None, said.read_text()
        assert time.monotonic() - inner_began < 120
        time.sleep(0.1)
    running = psutil.Process(inner.pid).children(recursive=True)
    assert set(HELD) <= {process.name() for process in running}
    inner.send_signal(number)
    assert inner.wait(60) == (-number if number == signal.SIGKILL else pytest.ExitCode.INTERRUPTED), said.read_text()
    if number == signal.SIGKILL:
        # Nobody was left to wait for its keepers: the next run does, when it takes its turn.
        psutil.wait_procs(running, timeout=30)
    else:
        assert "still running" in said.read_text()
    with host.turn():
        assert surroundings.changes(before, surroundings.look()) == []
        assert Path("/proc/mounts").read_text() == mounts
    assert not host.alive(running)
