"""Full guests: Debian 12 with systemd as PID 1, control groups v2, Docker and several memory nodes, under QEMU's emulation.

The image is built once out of Debian packages and kept in .cache/lab under a name that says what it is made of. A run gets the
image as a disk that forgets what is written, the job with its files as a tar archive on a second one, and leaves a tar archive on a
third. There is no initramfs, and nothing needs a network.
"""

from __future__ import annotations

import contextlib
import io
import math
import sys
import tarfile
import tempfile
import termios
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from tests.lab.full_image import PROGRAMS, image, site, units
from tests.lab.guest import Guest, inherited
from tests.lab.guest import run as run_all
from tests.lab.kernel import CACHE
from tests.lab.shapes import CPU, Shape
from tests.lab.shapes import SHAPES as TINY
from tests.met import meet
from tests.need import need

OUT_BYTES = 256 << 20  # what a job may leave

# With KVM in the guest, but no threads within a core: with the CPU of the tiny guests it is the other way round.
_CPU = "max,la57=off"

# JUnit's words for a test that is not well; the lab skips nothing.
_BAD = ("error", "failure", "skipped")

# Its own listener is the loopback's; the port that is forwarded comes in elsewhere.
_SHELL = """set -eu
modprobe virtio_net
busybox ip address add 10.0.2.15/24 dev eth0
busybox ip link set eth0 up
mkdir /etc/systemd/system/stratascope.service.d
printf '[Service]\\nExecStart=\\nExecStart=/opt/stratascope/bin/agent serve --web.listen-address 0.0.0.0:19150\\n' \\
	>/etc/systemd/system/stratascope.service.d/lab.conf
# As docs/service.md installs it, but for pip, which is slow where it is emulated.
mkdir -p /opt/stratascope/bin
mv site /opt/stratascope/site
cat >/opt/stratascope/bin/agent <<-END
	#!/usr/bin/python3
	import sys
	sys.path.insert(0, "/opt/stratascope/site")
	from agent.cli import main
	sys.exit(main())
END
chmod +x /opt/stratascope/bin/agent
cp deploy/*.service /etc/systemd/system/
systemctl daemon-reload
systemctl enable --quiet --now stratascope
echo "lab: the agent starts"
until busybox wget -q -O /dev/null http://127.0.0.1:19150/-/ready 2>/dev/null; do sleep 0.5; done
cat <<-END
	lab: http://127.0.0.1:PORT/metrics is this guest's agent, and here is a shell (try: agent snapshot --pretty).
	lab: Docker, libvirt and Prometheus start with systemctl. Leave with poweroff, or at once with Ctrl-A X.
END
export TERM=vt220 PATH="/opt/stratascope/bin:$PATH"
setsid --ctty --wait bash </dev/ttyS0 >/dev/ttyS0 2>&1
"""

# apparmor=0: else dockerd asks for a program that is not there. panic=-1: with -no-reboot, a panic ends QEMU.
_APPEND = (
    "console=ttyS0 root=/dev/nvme0n1 rootfstype=ext4 rw quiet panic=-1 apparmor=0 audit=0 mitigations=off nowatchdog psi=1 "
    "systemd.unified_cgroup_hierarchy=1 systemd.show_status=0 systemd.log_target=console"
)


# Two sockets of two cores, each with its memory, and not equally far both ways.
TWO_NODES = Shape(
    name="two-nodes",
    arguments=(
        *("-smp", "4,sockets=2,cores=2,threads=1", "-m", "2048"),
        *("-object", "memory-backend-ram,id=m0,size=1024M", "-numa", "node,nodeid=0,cpus=0-1,memdev=m0"),
        *("-object", "memory-backend-ram,id=m1,size=1024M", "-numa", "node,nodeid=1,cpus=2-3,memdev=m1"),
        *("-numa", "dist,src=0,dst=1,val=21", "-numa", "dist,src=1,dst=0,val=25"),
    ),
)

# For a thousand containers with a process each, and two thousand.
CROWD = Shape(name="crowd", arguments=("-smp", "2", "-m", "4096"))

SHAPES = (TWO_NODES, *TINY)


@dataclass(frozen=True)
class Case:
    """One test of a job's own, and how it failed if it did."""

    name: str
    wrong: str


@dataclass(frozen=True)
class Result:
    """What a job left: its exit code, its files, what it and the kernel said."""

    code: int
    out: Path
    console: Path
    seconds: float

    @property
    def log(self) -> str:
        return (self.out / "log").read_text(errors="replace")

    @property
    def cases(self) -> tuple[Case, ...]:
        """Of the JUnit XML that the job left: out/junit.xml."""
        tree = ET.parse(self.out / "junit.xml")  # noqa: S314
        return tuple(Case(one.get("name", ""), "".join(bad.text or "" for bad in one if bad.tag in _BAD)) for one in tree.iter("testcase"))


@dataclass(frozen=True)
class Plan:
    """The shell script `job`, run as root in a fresh guest of this shape, in a directory with `files`."""

    job: str | Path
    files: Mapping[str, Path]
    limit_seconds: float = 300
    shape: Shape = TWO_NODES


@contextlib.contextmanager
def prepared(plan: Plan, into: Path) -> Iterator[Guest]:
    """A guest that may be started; what its job leaves in /out comes to `into`/out."""
    need(*PROGRAMS, root=True)
    built = image()
    with tempfile.TemporaryFile(dir=CACHE) as given:
        _pack(given, plan.job, plan.files)
        yield _guest(plan.shape, built, given, into, plan.limit_seconds)


def run(job: str | Path, files: Mapping[str, Path], into: Path, *, limit_seconds: float = 300, shape: Shape = TWO_NODES) -> Result:
    """One guest from its start to its end."""
    with prepared(Plan(job, files, limit_seconds, shape), into) as guest:
        run_all((guest,))
    if guest.failed:
        raise guest.failed
    return result(shape.name, into, guest.seconds)


def result(shape: str, into: Path, seconds: float) -> Result:
    """Of a guest that came to its end."""
    meet("full guests", shape, f"(in {seconds:.1f} s)")
    return Result(int((into / "out/code").read_text()), into / "out", into / "console.log", seconds)


def converse(shape: Shape, port: int, work: Path) -> str:
    """A root shell in a guest on this terminal, the agent's metrics on a port of the loopback. Gives what went wrong, if anything did."""
    need(*PROGRAMS, root=True)
    print(f"lab: {shape.name}: the image, the agent's wheels", flush=True)
    built, files = image(), {"site": site(work)} | units()
    net = ("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:19150", "-device", "virtio-net-pci,netdev=net,romfile=")
    with tempfile.TemporaryFile(dir=CACHE) as given, _terminal():
        _pack(given, _SHELL.replace("PORT", str(port)), files)
        guest = _guest(replace(shape, arguments=(*shape.arguments, *net)), built, given, work, math.inf, "mon:stdio")
        run_all((guest,))
    return str(guest.failed) if guest.code else ""


def _pack(disk: IO[bytes], job: str | Path, files: Mapping[str, Path]) -> None:
    with tarfile.open(fileobj=disk, mode="w") as tar:
        script = job.encode() if isinstance(job, str) else job.read_bytes()
        member = tarfile.TarInfo("job")
        member.size = len(script)
        tar.addfile(member, io.BytesIO(script))
        for name, path in files.items():
            tar.add(path, name)
    disk.flush()


def _guest(shape: Shape, built: Path, given: IO[bytes], into: Path, limit_seconds: float, serial: str = "") -> Guest:
    # A thread for each CPU where what runs side by side is the subject: with four of them none hung as tiny guests did (tests/lab/tiny.py).
    threads, cpu = ("single", CPU) if shape in TINY else ("multi", _CPU)
    arguments = (
        *("-machine", shape.machine, "-accel", f"tcg,thread={threads},tb-size=512", "-cpu", cpu),
        *("-kernel", str(built / "vmlinux"), "-append", f"{_APPEND} {shape.append}".strip()),
        *shape.firmware(into),
        *shape.arguments,
    )
    disks = (f"file={built}/root.img,snapshot=on", f"{inherited(given)},readonly=on")
    return Guest(
        name=shape.name,
        into=into,
        arguments=arguments,
        limit_seconds=limit_seconds,
        out_bytes=OUT_BYTES,
        proof="out/code",
        disks=disks,
        given=(given,),
        serial=serial,
    )


@contextlib.contextmanager
def _terminal() -> Iterator[None]:
    """QEMU makes the terminal raw; when it is killed, it does not put it back."""
    before = termios.tcgetattr(sys.stdin) if sys.stdin.isatty() else None
    try:
        yield
    finally:
        if before:
            with contextlib.suppress(termios.error):  # the terminal may have gone
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
