"""Tiny guests: Debian's kernel on a machine of any shape, which says what it is in other programs' words and in its own, then ends.

QEMU emulates (TCG), so neither KVM nor root is needed. What a guest says comes back as a tar on a disk of its own.

`python -m tests.lab.tiny boot NAME DIR` gives one tree and its truth; `record` writes tests/trees anew.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent import __version__
from agent.config import Config
from agent.sample import Errands, take
from collectors.recorder import Recorder
from tests.lab.host import _terminable as terminable
from tests.lab.host import _undisturbed as undisturbed
from tests.lab.shapes import CPU, SHAPES, Shape
from tests.lab.tiny_image import Image, image
from tests.need import TOP, which

TREES = TOP / "tests" / "trees"
LIMIT_SECONDS = 90.0  # five to twenty are usual
DISK_BYTES = 64 << 20  # sparse
BESIDE = 2  # guests at a time: as many as the smallest machine has CPUs

_DONE = "tiny: done"
_PANIC = "panic=-1"  # reboots at once, which -no-reboot makes the end
_APPEND = f"console=ttyS0 loglevel=4 nokaslr mitigations=off audit=0 apparmor=0 nowatchdog {_PANIC}"


class GuestFailed(Exception):
    """A guest that did not come to its end: why, and the tail of its console."""


@dataclass(frozen=True)
class Truth:
    """What one guest said of itself: `tree` is its /proc and /sys, the texts are other programs' words."""

    shape: Shape
    directory: Path
    seconds: float

    @property
    def tree(self) -> Path:
        return self.directory / "tree"

    def text(self, name: str) -> str:
        return (self.directory / "truth" / name).read_text()


def boot(shape: Shape, directory: Path, limit_seconds: float = LIMIT_SECONDS) -> Truth:
    """Runs one guest to its end."""
    said = boot_all((shape,), directory.parent, limit_seconds, {shape.name: directory})[shape.name]
    if isinstance(said, GuestFailed):
        raise said
    return said


def boot_all(
    shapes: Sequence[Shape], parent: Path, limit_seconds: float = LIMIT_SECONDS, places: Mapping[str, Path] | None = None
) -> dict[str, Truth | GuestFailed]:
    """Runs guests, a few at a time. Each answers into parent/NAME; one that fails costs no other."""
    made = image()
    waiting = [_Guest(shape, (places or {}).get(shape.name, parent / shape.name), limit_seconds) for shape in shapes]
    running: list[_Guest] = []
    said: dict[str, Truth | GuestFailed] = {}
    with terminable():
        try:
            while waiting or running:
                while waiting and len(running) < BESIDE:
                    running.append(guest := waiting.pop(0))
                    guest.start(made)
                time.sleep(0.02)
                for guest in [guest for guest in running if guest.over()]:
                    said[guest.shape.name] = guest.result()
                    running.remove(guest)
        finally:
            for guest in running:
                guest.end()
    return said


@dataclass
class _Guest:
    shape: Shape
    directory: Path
    limit_seconds: float
    began: float = 0.0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def _console(self) -> Path:
        return self.directory / "console.log"

    @property
    def _disk(self) -> Path:
        return self.directory / "out.img"

    def start(self, made: Image) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._disk.open("wb") as disk:
            disk.truncate(DISK_BYTES)
        command = [
            # Should this process be killed outright, so is the guest.
            *(which("setpriv") or "setpriv", "--pdeathsig", "KILL"),
            *(which("qemu-system-x86_64") or "", "-machine", self.shape.machine, "-cpu", CPU, "-accel", "tcg,thread=multi,tb-size=256"),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-rtc", "base=2024-01-01T00:00:00,clock=vm"),
            *("-kernel", str(made.kernel), "-initrd", str(made.initramfs), "-append", f"{_APPEND} {self.shape.append}".strip()),
            *("-serial", f"file:{self._console}"),
            *("-drive", f"file={self._disk},if=none,id=out,format=raw,cache=unsafe", "-device", "nvme,drive=out,serial=out,max_ioqpairs=1"),
            *self.shape.arguments,
        ]
        self.began = time.monotonic()
        with undisturbed(), (self.directory / "qemu.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def over(self) -> bool:
        return self.process is None or self.process.poll() is not None or time.monotonic() - self.began > self.limit_seconds

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            with undisturbed():
                self.process.kill()
                self.process.wait(30)
        self._disk.unlink(missing_ok=True)

    def result(self) -> Truth | GuestFailed:
        seconds = time.monotonic() - self.began
        code = self.process.poll() if self.process is not None else None
        try:
            if code is None:
                return self._failed(f"not at its end in {self.limit_seconds:.0f} s")
            if code or _DONE not in self._said():
                return self._failed(f"ended early (QEMU's code {code})")
            unpack = ["tar", "-xf", str(self._disk), "--no-same-owner", "-C", str(self.directory)]
            done = subprocess.run(unpack, capture_output=True, text=True, timeout=60, check=False)
            return Truth(self.shape, self.directory, seconds) if done.returncode == 0 else self._failed(f"unreadable: {done.stderr[:300]}")
        finally:
            self.end()

    def _said(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return self._console.read_text(errors="replace")
        return ""

    def _failed(self, why: str) -> GuestFailed:
        own = (self.directory / "qemu.log").read_text(errors="replace")
        return GuestFailed(f"guest {self.shape.name} {why}\n{own[-1000:]}{self._said()[-3000:]}")


def record(truth: Truth, into: Path) -> None:
    """A recording of a guest's tree: what one pass reads, with the guest's own clock."""
    into.mkdir()
    with contextlib.chdir(truth.directory):  # what is refused goes by its path, which shall be the same anywhere
        recorder = Recorder("tree", into.absolute(), float(truth.text("date")), __version__)
        take(recorder, Config(root="tree"), Errands())
    recorder.close()


def pack(directory: Path, archive: Path) -> None:
    """A tar.xz that depends on names and contents only."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
        member.mode = 0o755 if member.isdir() else 0o644
        return member

    archive.parent.mkdir(exist_ok=True)
    with tarfile.open(archive, "w:xz", format=tarfile.USTAR_FORMAT, preset=9) as tar:
        for path in sorted(directory.rglob("*")):
            tar.add(path, str(path.relative_to(directory)), recursive=False, filter=plain)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.tiny", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("boot", help="run one guest and keep what it says")
    one.add_argument("name", choices=[shape.name for shape in SHAPES])
    one.add_argument("directory", type=Path)
    verbs.add_parser("record", help="write tests/trees anew; then pytest --update-golden tests/hosts")
    parsed = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if parsed.verb == "boot":
        truth = boot(next(shape for shape in SHAPES if shape.name == parsed.name), parsed.directory)
        print(f"{truth.shape.name}: {truth.seconds:.1f} s, {truth.directory}")
        return 0
    with tempfile.TemporaryDirectory(prefix="lab-tiny-") as name:
        for shape, said in boot_all(SHAPES, Path(name)).items():
            if isinstance(said, GuestFailed):
                raise said
            into = Path(name, f"{shape}-recording")
            record(said, into)
            pack(into, TREES / f"{shape}.tar.xz")
            print(f"{shape}: {said.seconds:.1f} s, {(TREES / f'{shape}.tar.xz').stat().st_size >> 10} KiB", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
