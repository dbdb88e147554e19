"""A container engine and a hypervisor on this very host, started by hand and gone without a trace.

Each daemon keeps everything below a directory of its own and has a mount namespace of its own, so nothing it mounts is seen outside
or outlives it. `keeper` ends them, also when this process is killed.

`python -m tests.lab.host` holds both up until it is interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.lab import surroundings
from tests.lab.keeper import CGROUP as CGROUP
from tests.lab.keeper import Kept
from tests.lab.process import mounting, terminable, undisturbed
from tests.need import TOP, lack, need, which

IMAGE = "stratascope-lab:busybox"

_TURN_SECONDS = 240
_START_SECONDS = 60
_STOP_SECONDS = 60
_LIBVIRT_URI = "qemu:///system"
_turns: list[socket.socket] = []


@dataclass(frozen=True)
class Daemon:
    """A running daemon; its `keeper` is the parent of whatever it leaves to itself."""

    directory: Path
    pid: int
    keeper: int

    def processes(self) -> list[psutil.Process]:
        """The daemon, what it started, and what that started."""
        return psutil.Process(self.keeper).children(recursive=True)

    @property
    def log(self) -> str:
        return (self.directory / "log.txt").read_text(errors="replace")


@dataclass(frozen=True)
class Docker(Daemon):
    host: str  # the value of DOCKER_HOST

    def cli(self, *arguments: str, given: bytes | None = None) -> str:
        # The client's own configuration is nobody's: no contexts, no credentials.
        environment = {**os.environ, "DOCKER_HOST": self.host, "DOCKER_CONFIG": str(self.directory / "client")}
        environment.pop("DOCKER_CONTEXT", None)
        return say("docker", *arguments, given=given, environment=environment)

    def run(self, *options: str, command: Sequence[str] = ("sleep", "100000")) -> str:
        """Starts a container and gives its id."""
        return self.cli("run", "--detach", *options, IMAGE, *command).strip()

    def inspect(self, container: str) -> dict[str, Any]:
        answer: list[dict[str, Any]] = json.loads(self.cli("inspect", container))
        return answer[0]

    def exec(self, container: str, *command: str) -> str:
        return self.cli("exec", container, *command)

    def remove(self, container: str) -> None:
        self.cli("rm", "--force", "--volumes", container)


@dataclass(frozen=True)
class Libvirt(Daemon):
    uri: str

    def virsh(self, *arguments: str) -> str:
        return say("virsh", "--connect", self.uri, *arguments)

    def define_and_start(self, xml: str) -> str:
        """Gives the UUID of the running domain."""
        path = self.directory / "domain.xml"
        path.write_text(xml)
        self.virsh("define", str(path))
        name = ET.fromstring(xml).findtext("name", "")  # noqa: S314
        self.virsh("start", name)
        return self.virsh("domuuid", name).strip()

    def destroy(self, domain: str) -> None:
        """Ends and forgets a domain."""
        if self.virsh("domstate", domain).strip() != "shut off":
            self.virsh("destroy", domain)
        self.virsh("undefine", domain)


@contextlib.contextmanager
def dockerd() -> Iterator[Docker]:
    """The engine, without a network."""
    need("dockerd", "docker", "containerd", "runc", "busybox", "setpriv", "unshare", root=True)
    with workplace("docker") as directory:
        configuration = {
            "data-root": f"{directory}/data",
            "exec-root": f"{directory}/exec",
            "pidfile": f"{directory}/docker.pid",
            "deprecated-key-path": f"{directory}/key.json",  # else /etc/docker/key.json
            "hosts": [f"unix://{directory}/docker.sock"],
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "bridge": "none",
            "iptables": False,
            "ip6tables": False,
            "ip-forward": False,
        }
        path = directory / "daemon.json"
        path.write_text(json.dumps(configuration))
        host = f"unix://{directory}/docker.sock"
        with kept(
            directory,
            ["dockerd", "--config-file", str(path)],
            ask=["docker", "--host", host, "version"],
            beside=("/run/docker.sock", "/var/run/docker.sock"),
            leaves=("/opt/containerd",),
            cgroups=("docker",),
            over={"run": "/run"},
        ) as daemon:
            docker = Docker(directory, daemon.pid, daemon.keeper, host)
            docker.cli("import", "-", IMAGE, given=busybox_image())
            yield docker


@contextlib.contextmanager
def libvirtd() -> Iterator[Libvirt]:
    """The hypervisor's daemon with its own configuration and state, on the sockets of the host, where clients look for them."""
    need("libvirtd", "virsh", "qemu-system-x86_64", "setpriv", "unshare", root=True)
    with workplace("libvirt") as directory:
        over = {"etc": "/etc/libvirt"} | {name: f"/var/{name}/libvirt" for name in ("lib", "cache", "log")}
        (directory / "etc").mkdir()
        # As root: /dev/kvm may be root's alone. stdio_handler: no virtlogd. namespaces: /dev stays the host's.
        (directory / "etc/qemu.conf").write_text(
            'user = "root"\ngroup = "root"\nsecurity_driver = "none"\nstdio_handler = "file"\nremember_owner = 0\nnamespaces = [ ]\n'
        )
        (directory / "etc/libvirtd.conf").write_text(
            'auth_unix_rw = "none"\nauth_unix_ro = "none"\nunix_sock_rw_perms = "0700"\nlog_outputs = "2:stderr"\n'
        )
        with kept(
            directory,
            ["libvirtd", "--pid-file", f"{directory}/libvirtd.pid"],
            ask=["virsh", "--connect", _LIBVIRT_URI, "uri"],
            beside=("/run/libvirt/", "/var/run/libvirt/"),
            leaves=("/run/libvirt",),
            cgroups=("machine",),
            over=over,
        ) as daemon:
            yield Libvirt(directory, daemon.pid, daemon.keeper, _LIBVIRT_URI)


def alive(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those that still run: a zombie only waits for its parent, which may be PID 1."""
    left = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
    return left


def limits(group: str) -> dict[str, str]:
    """The limits of a group as its files have them; the version differs, the words do not."""
    if (CGROUP / "cgroup.controllers").exists():
        place = CGROUP / group.strip("/")
        quota, period = (place / "cpu.max").read_text().split()
        files = {"cpus": place / "cpuset.cpus", "memory": place / "memory.max", "reservation": place / "memory.low"}
        return {"quota": quota, "period": period, **{name: path.read_text().strip() for name, path in files.items()}}
    names = {
        "quota": "cpu/{}/cpu.cfs_quota_us",
        "period": "cpu/{}/cpu.cfs_period_us",
        "cpus": "cpuset/{}/cpuset.cpus",
        "memory": "memory/{}/memory.limit_in_bytes",
        "reservation": "memory/{}/memory.soft_limit_in_bytes",
    }
    return {name: (CGROUP / path.format(group.strip("/"))).read_text().strip() for name, path in names.items()}


@contextlib.contextmanager
def workplace(name: str) -> Iterator[Path]:
    """A directory for one daemon, which takes it along when it ends."""
    with terminable(), tempfile.TemporaryDirectory(prefix=f"lab-{name}-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@contextlib.contextmanager
def kept(
    directory: Path,
    command: Sequence[str],
    *,
    ask: Sequence[str],
    cgroups: Sequence[str],
    beside: tuple[str, ...] = (),
    leaves: Sequence[str] = (),
    over: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Daemon]:
    """Runs `command` until the block is over, or this process; it is up when `ask` succeeds.

    It sees directories of its own `over` the host's. What it leaves behind at `leaves` and in `cgroups` goes with it; where
    somebody listens `beside` it, it is not started.
    """
    mounts = "".join(f'mkdir -p "{there}" && mount --bind "{directory / own}" "{there}" && ' for own, there in (over or {}).items())
    for own in over or {}:
        (directory / own).mkdir(exist_ok=True)
    # Should its keeper be killed outright, the daemon is told to end.
    fence = ["setpriv", "--pdeathsig", "TERM", "unshare", "--mount", "--propagation", "private", "sh", "-c", mounts + 'exec "$@"', "sh"]
    order = Kept([*fence, which(command[0]) or command[0], *command[1:]], str(directory), leaves, cgroups)
    with turn() as lock:
        _refuse(beside)
        with undisturbed():
            keeper = subprocess.Popen(
                [sys.executable, "-m", "tests.lab.keeper", order.written()],
                cwd=TOP,
                env={**surroundings.unmarked(), **mounting(directory), **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                pass_fds=[lock.fileno()],  # the turn is over when the last trace is gone
            )
        try:
            assert keeper.stdout is not None
            daemon = Daemon(directory, int(keeper.stdout.readline()), keeper.pid)

            def answers() -> bool:
                if not psutil.pid_exists(daemon.pid):
                    raise RuntimeError(f"{command[0]} ended at start: {daemon.log[-2000:]}")
                asked = subprocess.run([which(ask[0]) or ask[0], *ask[1:]], capture_output=True, timeout=_START_SECONDS, check=False)
                return asked.returncode == 0

            if not _until(answers, _START_SECONDS):
                raise RuntimeError(f"{command[0]} does not answer: {daemon.log[-2000:]}")
            yield daemon
        finally:
            with undisturbed():
                said, _ = keeper.communicate(timeout=_STOP_SECONDS)
                if keeper.returncode:
                    raise RuntimeError(f"{command[0]}: {said}")


@contextlib.contextmanager
def turn(seconds: float = _TURN_SECONDS) -> Iterator[socket.socket]:
    """One lab at a time on a host: each would take the other's traces for what was there before.

    The kernel ends it when the last process ends that holds the socket.
    """
    if _turns:
        yield _turns[0]
        return
    with socket.socket(socket.AF_UNIX) as lock:

        def taken() -> bool:
            try:
                lock.bind("\0stratascope-lab")
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                return False
            return True

        if not _until(taken, seconds):
            lack("its turn", "another run of these tests holds the lab of this host")
        _turns.append(lock)
        try:
            yield lock
        finally:
            _turns.remove(lock)


def _refuse(prefixes: tuple[str, ...]) -> None:
    """Ends the test when somebody already listens at one of these paths (/proc/net/unix)."""
    for line in Path("/proc/net/unix").read_text().splitlines():
        path = line.split(maxsplit=7)[-1]
        if path.startswith(prefixes):
            lack(f"a free {path}", "stop the service that listens there, it is not ours to use")


def busybox_image() -> bytes:
    """The image: Debian's static busybox under all its names."""
    program = which("busybox") or ""
    names = subprocess.run([program, "--list"], capture_output=True, text=True, check=True, timeout=10).stdout.split()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(program, "bin/busybox")
        for name in names:
            if name != "busybox":
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
    return archive.getvalue()


def say(program: str, *arguments: str, given: bytes | None = None, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        [which(program) or program, *arguments], input=given or b"", env=environment, capture_output=True, check=False, timeout=120
    )
    if done.returncode:
        raise subprocess.SubprocessError(f"{program} {' '.join(arguments)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()


def _until(done: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts its background jobs with SIGINT ignored
    with terminable(), dockerd() as docker, libvirtd() as libvirt:
        print(f"DOCKER_HOST={docker.host}", f"LIBVIRT_DEFAULT_URI={libvirt.uri}", sep="\n", flush=True)
        signal.pause()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
