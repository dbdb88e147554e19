"""An address space that is drawn from low to high, and its text as the kernel writes maps."""

from __future__ import annotations

from pathlib import Path

from agent.model.runtimes import RUNTIMES
from collectors.proc_pid.maps import Vma
from collectors.wasm_maps.layouts import GIB, MIB

KIB = 1 << 10
WASMTIME = [RUNTIMES["wasmtime"]]
PAGE = 64 * KIB
ORIGIN = 0x7F0000000000
LIBRARY = "/opt/venv/lib/wasmtime/linux-x86_64/_libwasmtime.so"
IMAGE = "/memfd:wasm-memory-image (deleted)"


class Space:
    """Neighbouring closed VMAs are merged as the kernel does it."""

    def __init__(self, at: int = ORIGIN) -> None:
        self.at = at
        self.vmas: list[Vma] = []

    def closed(self, size: int, merge: bool = True, path: str = "") -> Space:
        last = self.vmas[-1] if self.vmas else None
        if size and merge and last and (last.perms, last.path, last.end) == ("---p", path, self.at):
            self.vmas[-1] = last._replace(end=self.at + size)
        elif size:
            self.vmas.append(Vma(self.at, self.at + size, "---p", path))
        self.at += size
        return self

    def open(self, size: int, path: str = "") -> Space:
        if size:
            self.vmas.append(Vma(self.at, self.at + size, "rw-p", path))
        self.at += size
        return self

    def hole(self, size: int = 2 * MIB) -> Space:
        self.at += size
        return self

    def align(self, to: int) -> Space:
        return self.hole(-self.at % to or to)

    def memory(self, size: int, pre: int = 32 * MIB, reach: int = 4 * GIB + 32 * MIB) -> Space:
        return self.closed(pre).open(size).closed(reach - size)

    def old(self, size: int) -> Space:
        return self.memory(size, 2 * GIB, 6 * GIB)

    def arena(self, used: int = 132 * KIB) -> Space:
        return self.open(used).closed(64 * MIB - used)

    def stack(self, merge: bool = False) -> Space:
        return self.closed(4 * KIB, merge).open(8 * MIB)


def maps(vmas: list[Vma]) -> str:
    return "".join(f"{v.start:x}-{v.end:x} {v.perms} 00000000 00:01 1027 {' ' * 20}{v.path}".rstrip(" ") + "\n" for v in vmas)


def slab(*slots: int) -> Space:
    space = Space().closed(32 * MIB)
    for size in slots:
        space.open(size).closed(4 * GIB + 32 * MIB - size)
    return space.closed((1000 - len(slots)) * (4 * GIB + 32 * MIB))


def write(root: Path, pid: int, pages: int = 2 << 20, **files: str) -> None:
    place = root / "proc" / str(pid)
    place.mkdir(parents=True)
    (place / "statm").write_text(f"{pages} 1 1 1 0 1 0\n")
    for name, text in files.items():
        (place / name).write_text(text)


def running(space: Space) -> str:
    return maps([*space.vmas, Vma(0x7FFF00000000, 0x7FFF00001000, "r-xp", LIBRARY)])
