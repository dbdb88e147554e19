"""Tiny guests: Debian's kernel on a machine of any shape, which says what it is in other programs' words and in its own, then ends.

QEMU emulates (TCG), so neither KVM nor root is needed. What a guest says comes back as a tar on a disk of its own.

`python -m tests.lab.tiny NAME DIR` gives one tree and its truth; tests/lab/recordings.py makes recordings of them.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent import __version__
from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from collectors.root import LATER
from collectors.root.recorder import Recorder
from tests.lab.guest import Guest, GuestFailed, run
from tests.lab.shapes import CPU, SHAPES, Shape
from tests.lab.tiny_image import Image, image

LIMIT_SECONDS = 240.0  # five to twenty are usual; several times that on a slow machine beside others
DISK_BYTES = 64 << 20  # sparse

# One thread for all CPUs: with one for each, about one in fifteen guests of 16 CPUs hung where Linux patches the jump labels of its clock.
# Before QEMU 8.1 one CPU could keep an instruction that it had translated while another was patching it ("accel/tcg: Always lock pages
# before translation", deba78709ae8). It is faster, too, where as many guests run at a time as the host has CPUs.
_ACCELERATOR = "tcg,thread=single,tb-size=256"

# panic=-1 reboots at once, which -no-reboot makes the end.
_APPEND = "console=ttyS0 loglevel=4 nokaslr mitigations=off audit=0 apparmor=0 nowatchdog panic=-1"


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
    guests = {shape: _guest(shape, made, (places or {}).get(shape.name, parent / shape.name), limit_seconds) for shape in shapes}
    run(tuple(guests.values()))
    return {shape.name: guest.failed or Truth(shape, guest.into, guest.seconds) for shape, guest in guests.items()}


def _guest(shape: Shape, made: Image, into: Path, limit_seconds: float) -> Guest:
    into.mkdir(parents=True, exist_ok=True)
    arguments = (
        *("-machine", shape.machine, "-cpu", CPU, "-accel", _ACCELERATOR, "-rtc", "base=2024-01-01T00:00:00,clock=vm"),
        *("-kernel", str(made.kernel), "-initrd", str(made.initramfs), "-append", f"{_APPEND} {shape.append}".strip()),
        *shape.firmware(into),
        *shape.arguments,
    )
    return Guest(name=shape.name, into=into, arguments=arguments, limit_seconds=limit_seconds, out_bytes=DISK_BYTES, proof="truth/date")


class _GuestRecorder(Recorder):
    """Counters were read when the guest copied them, not when its copy is read: at one moment of its uptime."""

    def __init__(self, tree: str, into: Path) -> None:
        self.uptime_seconds = float(Path(tree, "proc/uptime").read_text().split()[0])
        began = next(float(line[6:]) for line in Path(tree, "proc/stat").read_text().splitlines() if line.startswith("btime "))
        super().__init__(tree, into, began + self.uptime_seconds, __version__)

    def date(self, key: str | int) -> None:
        self.read_times[key] = self.new_mark.read_times[str(key)] = self.uptime_seconds

    def inode(self, path: str) -> int | None:
        """What was copied of the guest's /proc was of a process file system, whose root is inode 1."""
        number = super().inode(path)
        if path == "proc":
            number = self.new_mark.inodes[path] = 1
        return number


def record(truth: Truth, into: Path) -> None:
    """A recording of a guest's tree: what one pass reads or, where the guest was at work, two."""
    later = truth.directory / "later"
    with contextlib.chdir(truth.directory):  # what is refused goes by its path, which shall be the same anywhere
        _record_pass(into.absolute())
        if any(later.iterdir()):
            # Into the same directories: with its path, a group's inode is its identity.
            subprocess.run(["cp", "-R", "--remove-destination", f"{later}/.", str(truth.tree)], check=True, timeout=60)
            _record_pass(into.absolute() / LATER)


def _record_pass(into: Path) -> None:
    into.mkdir()
    recorder = _GuestRecorder("tree", into)
    take(recorder, Config(root="tree"), Caches())
    recorder.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.tiny", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", choices=[shape.name for shape in SHAPES])
    parser.add_argument("directory", type=Path)
    parsed = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    truth = boot(next(shape for shape in SHAPES if shape.name == parsed.name), parsed.directory)
    print(f"{truth.shape.name}: {truth.seconds:.1f} s, {truth.directory}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
