"""Recordings of machines at work: both passes of `agent record`, in a guest, or on this host in namespaces of its own.

`python -m tests.lab.recordings [NAME ...]` writes tests/trees anew; then `pytest --update-golden tests/hosts`. NAME is

- a shape of a tiny guest (tests/lab/shapes.py): a machine of any topology, with three containers;
- engines: a guest of two nodes with control groups v2, every engine, KVM machines and sandboxes;
- pods: the same guest as a Kubernetes node, without a kubelet;
- hybrid: this host with control groups v1, and engines that are started by hand. Its processes, mounts and control groups are those
  of namespaces that are made for it: nothing else of the machine that makes the recording is in it, but its hardware and kernel.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.hosts.trees import TREES
from tests.lab import boot, full, full_image, host, hybrid, tiny
from tests.lab.guest import GuestFailed
from tests.lab.shapes import SHAPES, Shape
from tests.lab.smbios import DDR5, DRAM, Dimm, array_address, device_address, memory_array, memory_device
from tests.need import TOP

JOBS = TOP / "tests" / "guests" / "recordings"
LIMIT_SECONDS = 2400.0


_MIB = 1 << 20


def _dimm(number: int, node: int, channel: str, maker: str) -> bytes:
    return memory_device(
        Dimm(
            handle=0x1100 + number,
            array=0x1000 + node,
            locator=f"CPU{node + 1}_DIMM_{channel}1",
            bank=f"P{node}_Node{node}_Channel{number % 2}_Dimm0",
            megabytes=512,
            type=DDR5,
            technology=DRAM,
            speed=5600,
            configured_speed=5200 - 400 * node,
            millivolts=1100,
            ranks=2,
            total_width=80,
            data_width=64,
            manufacturer=maker,
            serial=f"4039A{number}",
            part=f"M321R{number}",
        )
    )


# Two sockets of two cores, each with its memory, and not equally far both ways; two channels each, with one module in each.
SHAPE = Shape(
    name="recorded",
    arguments=full.TWO_NODES.arguments,
    machine="q35,smbios-entry-point-type=64",
    smbios=(
        *(memory_array(0x1000 + node, 2, 1024) for node in range(2)),
        *(_dimm(number, number // 2, "AB"[number % 2], ("Samsung", "Micron")[number // 2]) for number in range(4)),
        *(array_address(0x1200 + node, 0x1000 + node, node * 1024 * _MIB, (node + 1) * 1024 * _MIB, 2) for node in range(2)),
        *(
            device_address(
                0x1300 + number,
                0x1100 + number,
                0x1200 + number // 2,
                number // 2 * 1024 * _MIB,
                (number // 2 + 1) * 1024 * _MIB,
                number % 2 + 1,
            )
            for number in range(4)
        ),
    ),
)


def record(name: str, work: Path) -> Path:
    """A recording's directory, below `work`."""
    into = work / name
    into.mkdir()
    RECORDERS[name](name, into)
    return into / "recording"


def _tiny(name: str, into: Path) -> None:
    shape = next(shape for shape in SHAPES if shape.name == name)
    apart = "lab.apart" if name == "memoryless" else ""
    truth = tiny.boot(replace(shape, append=f"{shape.append} lab.at_work {apart}".strip()), into)
    tiny.record(truth, into / "recording")


def _guest(name: str, into: Path) -> None:
    """What the job of this name records in a full guest."""
    image = into / "busybox.tar"
    image.write_bytes(host.busybox_image())
    job = JOBS / name
    parts = (*JOBS.iterdir(), *(JOBS / "engines").iterdir(), *job.iterdir())
    files = {path.name: path for path in parts if path.is_file() and path.name != "job"}
    files |= {
        "site": full_image.site(into),
        "busybox.tar": image,
        "wasmtime.whl": full_image.wheel("wasmtime"),
        "boot": boot.boot_disk(into / "boot"),
    }
    files |= {f"{kind}.rom": boot.firmware(into / kind, code) for kind, code in (("idle", boot.IDLE), ("busy", boot.BUSY))}
    result = full.run(job / "job", files, into, limit_seconds=LIMIT_SECONDS, shape=SHAPE)
    print(result.log, flush=True)
    if result.code:
        raise GuestFailed(f"the job of {name} ended with {result.code}")
    (result.out / name).rename(into / "recording")


RECORDERS: dict[str, Callable[[str, Path], None]] = {
    **{shape.name: _tiny for shape in SHAPES},
    "engines": _guest,
    "pods": _guest,
    "hybrid": lambda _, into: hybrid.record(into),
}


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
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab.recordings", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", metavar="NAME", nargs="*", choices=(*RECORDERS, []), help="all of them where none is named")
    parsed = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in parsed.names or RECORDERS:
        with tempfile.TemporaryDirectory(prefix="lab-recordings-") as work:
            archive = TREES / f"{name}.tar.xz"
            recording = record(name, Path(work))
            pack(recording, archive)
            if (calibration := recording.with_name("calibration.json")).exists():
                shutil.copy(calibration, TREES / f"{name}.calibration.json")
            print(f"{name}: {archive.stat().st_size >> 10} KiB", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
