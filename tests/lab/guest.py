"""One QEMU, from its start to its end, whatever the end is.

A guest leaves what it has to say as a tar archive on its last disk. The disks have no names: however a run ends, they end with it.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from tests.lab.kernel import CACHE
from tests.lab.process import terminable, undisturbed
from tests.need import which

BESIDE = 2  # guests at a time: as many as the smallest machine has CPUs

_TAIL_LINES = 40


class GuestFailed(Exception):
    """A guest that did not come to its end: why, and the tail of its console."""


@dataclass(kw_only=True)
class Guest:
    """QEMU with `arguments`, its console in `into`/console.log. What it leaves comes to `into`; `failed` says why nothing did."""

    name: str
    into: Path
    arguments: Sequence[str]
    limit_seconds: float
    out_bytes: int
    proof: str  # the file that what it leaves is not whole without
    disks: Sequence[str] = ()  # before its own, each as QEMU's -drive has it
    given: Sequence[IO[bytes]] = ()  # open files that `disks` name
    serial: str = ""  # QEMU's word for the console, where it is not the file
    seconds: float = 0.0
    code: int | None = None  # QEMU's own; none when it was ended
    failed: GuestFailed | None = None
    _began: float = 0.0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _out: IO[bytes] | None = field(default=None, repr=False)

    @property
    def console(self) -> Path:
        return self.into / "console.log"

    def start(self) -> None:
        self.into.mkdir(parents=True, exist_ok=True)
        self._out = tempfile.TemporaryFile(dir=CACHE)  # noqa: SIM115 (end() closes it)
        self._out.truncate(self.out_bytes)  # sparse
        files = [*self.given, self._out]
        self._began = time.monotonic()
        with undisturbed(), (self.into / "qemu.log").open("wb") as log:
            # On a terminal it is the foreground's; else a Ctrl-C is for us, and QEMU's end is ours to bring about.
            self._process = subprocess.Popen(
                self._command(self._out),
                stdin=None if self.serial else subprocess.DEVNULL,
                stdout=None if self.serial else log,
                stderr=log,
                start_new_session=not self.serial,
                pass_fds=[file.fileno() for file in files],
            )

    def over(self) -> bool:
        return self._process is None or self._process.poll() is not None or time.monotonic() - self._began > self.limit_seconds

    def end(self) -> None:
        """Ends it if it has not ended, and takes what it left."""
        if self._process is None or self._out is None:
            return
        self.code = self._process.poll()
        if self.code is None:
            with undisturbed():
                self._process.kill()
                self._process.wait(30)
        self.seconds = time.monotonic() - self._began
        wrong = self._taken(self._out)
        self.failed = GuestFailed(f"guest {self.name} {wrong}\n{self._said()}") if wrong else None
        self._process = self._out = None

    def _command(self, out: IO[bytes]) -> list[str]:
        disks = [f"if=none,id=disk{number},format=raw,cache=unsafe,{disk}" for number, disk in enumerate((*self.disks, inherited(out)), 1)]
        return [
            # Should this process be killed outright, so is the guest.
            *(which("setpriv") or "setpriv", "--pdeathsig", "KILL"),
            *(which("qemu-system-x86_64") or "", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
            *("-serial", self.serial or f"file:{self.console}", "-device", "nvme,id=disks,serial=lab"),
            *(word for disk in disks for word in ("-drive", disk)),
            *(word for number in range(1, len(disks) + 1) for word in ("-device", f"nvme-ns,drive=disk{number},bus=disks,nsid={number}")),
            *self.arguments,
        ]

    def _taken(self, out: IO[bytes]) -> str:
        """What is wrong, if anything is. A guest that got nowhere leaves an empty archive, one whose disk is full half of one."""
        with out:
            if self.code is None:
                return f"not at its end in {self.limit_seconds:.0f} s"
            out.seek(0)
            unpack = ["tar", "-x", "--no-same-owner", "-C", str(self.into)]
            done = subprocess.run(unpack, stdin=out, capture_output=True, timeout=120, check=False)
            proof = self.into / self.proof
            whole = self.code == done.returncode == 0 and proof.exists() and proof.stat().st_size > 0
            return "" if whole else f"ended early (QEMU's code {self.code}, tar's {done.returncode})"

    def _said(self) -> str:
        own = (self.into / "qemu.log").read_text(errors="replace")[-1000:]
        lines = self.console.read_text(errors="replace").replace("\r", "").splitlines() if self.console.exists() else []
        # A panic's trace may be longer than the tail, and its cause stands above it.
        panic = next((number for number, line in enumerate(lines) if "Kernel panic" in line), len(lines))
        return own + "".join(f"  | {line}\n" for line in lines[min(panic, max(0, len(lines) - _TAIL_LINES)) :])


def inherited(file: IO[bytes]) -> str:
    """An open file that QEMU inherits, as its -drive has it."""
    return f"file=/proc/self/fd/{file.fileno()}"


def emulators(into: Path) -> list[psutil.Process]:
    """The QEMU of a guest, and not setpriv before it has become QEMU: only then is its end tied to its parent's."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if "qemu" in process.name() and any(str(into) in word for word in command):
                found.append(process)
    return found


def run(
    guests: Iterable[Guest], beside: Callable[[], int] = lambda: BESIDE, ended: Callable[[Guest], object] = lambda guest: guest
) -> None:
    """Each to its end, or to the end of its time; a few at a time, as many as `beside` says. One that fails costs no other.

    A guest is taken from `guests` when there is room for it.
    """
    waiting, running = iter(guests), list[Guest]()
    more = True
    with terminable():
        try:
            while more or running:
                while more and len(running) < beside():
                    guest = next(waiting, None)
                    if guest is None:
                        more = False
                        break
                    running.append(guest)
                    guest.start()
                time.sleep(0.02)
                for guest in [guest for guest in running if guest.over()]:
                    guest.end()
                    running.remove(guest)
                    ended(guest)
        finally:
            for guest in running:
                guest.end()
