"""A container engine and a hypervisor on this very host, started by hand and gone without a trace.

Each daemon gets a mount namespace of its own, so nothing it mounts is seen outside or outlives it. libvirtd sees there a private
/etc/libvirt and /var/{lib,cache,log}/libvirt; its sockets in /run/libvirt are the host's, where clients look for them.

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
from types import FrameType
from typing import Any

import psutil

from tests.need import lack, need, which

CGROUP = Path("/sys/fs/cgroup")
IMAGE = "stratascope-lab:busybox"
IDLE = b"\xfb\xf4\xeb\xfd"  # sti; hlt; jmp to hlt
BUSY = b"\xeb\xfe"  # jmp to itself

_TURN_SECONDS = 240
_START_SECONDS = 60
_STOP_SECONDS = 30
_LIBVIRT_URI = "qemu:///system"
_turns: list[socket.socket] = []


@dataclass(frozen=True)
class Daemon:
    """A running daemon and the mount namespace that all its processes share."""

    directory: Path
    pid: int
    namespace: str

    def processes(self) -> list[psutil.Process]:
        """The daemon, what it started, and what that started."""
        return inhabitants(self.namespace)


@dataclass(frozen=True)
class Docker(Daemon):
    host: str  # the value of DOCKER_HOST

    def cli(self, *arguments: str, given: bytes | None = None) -> str:
        # The client's own configuration is nobody's: no contexts, no credentials.
        environment = {**os.environ, "DOCKER_HOST": self.host, "DOCKER_CONFIG": str(self.directory / "client")}
        environment.pop("DOCKER_CONTEXT", None)
        return _say("docker", *arguments, given=given, environment=environment)

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
        return _say("virsh", "--connect", self.uri, *arguments)

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
def dockerd(directory: Path) -> Iterator[Docker]:
    """The engine with everything it keeps below `directory`, without a network."""
    need("dockerd", "docker", "containerd", "runc", "busybox", "setpriv", "unshare", root=True)
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
    with _daemon(
        directory,
        ["dockerd", "--config-file", str(path)],
        ask=["docker", "--host", host, "version"],
        beside=("/run/docker.sock", "/var/run/docker.sock", "/run/containerd/"),
        leaves=("/run/docker", "/run/containerd", "/opt/containerd"),
        cgroup="docker",
    ) as daemon:
        docker = Docker(directory, daemon.pid, daemon.namespace, host)
        try:
            docker.cli("import", "-", IMAGE, given=_busybox())
            yield docker
        finally:
            with _undisturbed(), contextlib.suppress(subprocess.SubprocessError):
                for container in docker.cli("ps", "--all", "--quiet").split():
                    docker.remove(container)


@contextlib.contextmanager
def libvirtd(directory: Path) -> Iterator[Libvirt]:
    """The hypervisor's daemon with its own configuration and state, on the sockets of the host."""
    need("libvirtd", "virsh", "qemu-system-x86_64", "setpriv", "unshare", root=True)
    for name in ("etc", "lib", "cache", "log"):
        (directory / name).mkdir(exist_ok=True)
    # As root: /dev/kvm may be root's alone. stdio_handler: no virtlogd. namespaces: /dev stays the host's.
    (directory / "etc/qemu.conf").write_text(
        'user = "root"\ngroup = "root"\nsecurity_driver = "none"\nstdio_handler = "file"\nremember_owner = 0\nnamespaces = [ ]\n'
    )
    (directory / "etc/libvirtd.conf").write_text(
        'auth_unix_rw = "none"\nauth_unix_ro = "none"\nunix_sock_rw_perms = "0700"\nlog_outputs = "2:stderr"\n'
    )
    places = {directory / "etc": "/etc/libvirt"} | {directory / name: f"/var/{name}/libvirt" for name in ("lib", "cache", "log")}
    with _daemon(
        directory,
        ["libvirtd", "--pid-file", f"{directory}/libvirtd.pid"],
        ask=["virsh", "--connect", _LIBVIRT_URI, "uri"],
        beside=("/run/libvirt/", "/var/run/libvirt/"),
        leaves=("/run/libvirt", "/run/mount"),  # /run/mount is mount's own
        cgroup="machine",
        places=places,
    ) as daemon:
        libvirt = Libvirt(directory, daemon.pid, daemon.namespace, _LIBVIRT_URI)
        try:
            yield libvirt
        finally:
            with _undisturbed(), contextlib.suppress(subprocess.SubprocessError):
                for uuid in libvirt.virsh("list", "--all", "--uuid").split():
                    libvirt.destroy(uuid)


def boot_disk(path: Path, code: bytes = IDLE) -> Path:
    """A disk of one boot sector that runs `code` for ever, on the first vCPU alone."""
    path.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa")
    return path


def domain_xml(name: str, disk: Path, *, vcpus: int = 2, memory_mib: int = 64, pins: Mapping[int, str] | None = None) -> str:
    """A machine that boots `disk`: KVM where it opens, else TCG. `pins` gives a vCPU its CPU list."""
    domain = ET.Element("domain", type="kvm" if kvm() else "qemu")
    ET.SubElement(domain, "name").text = name
    ET.SubElement(domain, "memory", unit="MiB").text = str(memory_mib)
    ET.SubElement(domain, "vcpu").text = str(vcpus)
    tune = ET.SubElement(domain, "cputune")
    for vcpu, cpus in (pins or {}).items():
        ET.SubElement(tune, "vcpupin", vcpu=str(vcpu), cpuset=cpus)
    ET.SubElement(ET.SubElement(domain, "os"), "type", arch="x86_64").text = "hvm"
    image = ET.SubElement(ET.SubElement(domain, "devices"), "disk", type="file", device="disk")
    ET.SubElement(image, "driver", name="qemu", type="raw")
    ET.SubElement(image, "source", file=str(disk))
    ET.SubElement(image, "target", dev="vda", bus="virtio")
    return ET.tostring(domain, encoding="unicode")


def kvm() -> bool:
    """Whether /dev/kvm opens."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def inhabitants(namespace: str) -> list[psutil.Process]:
    """The processes of a mount namespace and all below them: a container's own have another one."""
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.readlink(f"/proc/{process.pid}/ns/mnt") == namespace:
                found |= {process, *process.children(recursive=True)}
    return sorted(found, key=lambda process: process.pid)


def alive(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those that still run: a zombie only waits for its parent, which may be PID 1."""
    left = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
    return left


def cgroups(name: str) -> set[Path]:
    """The cgroups called `name` directly below a hierarchy, and those within."""
    tops = [*CGROUP.glob(name), *CGROUP.glob(f"*/{name}")]
    return {path for top in tops if top.is_dir() for path in (top, *(path for path in top.rglob("*") if path.is_dir()))}


class _Traces:
    """What a daemon leaves outside its own directory. What was there before it started stays."""

    def __init__(self, places: Sequence[str], cgroup: str) -> None:
        self.places = [Path(place) for place in places]
        self.cgroup = cgroup
        self.files = self._files()
        self.groups = cgroups(cgroup)

    def wipe(self) -> None:
        for path in sorted(self._files() - self.files, reverse=True):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()
        # The last process of a cgroup is gone a moment before the cgroup lets itself be removed.
        _until(lambda: not self._remaining(), 10)
        if left := cgroups(self.cgroup) - self.groups:
            raise RuntimeError(f"left behind: {', '.join(map(str, sorted(left)))}")

    def _remaining(self) -> set[Path]:
        for path in sorted(cgroups(self.cgroup) - self.groups, reverse=True):
            with contextlib.suppress(OSError):
                path.rmdir()
        return cgroups(self.cgroup) - self.groups

    def _files(self) -> set[Path]:
        return {path for place in self.places if place.exists() for path in (place, *place.rglob("*"))}


@contextlib.contextmanager
def _daemon(
    directory: Path,
    command: Sequence[str],
    *,
    ask: Sequence[str],
    beside: tuple[str, ...],
    leaves: Sequence[str],
    cgroup: str,
    places: Mapping[Path, str] | None = None,
) -> Iterator[Daemon]:
    """Runs `command` with `places` bound over the host's own until `ask` answers; ends all of it, whatever comes."""
    mounts = "".join(f'mount --bind "{here}" "{there}" && ' for here, there in (places or {}).items())
    # Should this process be killed outright, the daemon is told to end.
    unshared = [
        "setpriv",
        "--pdeathsig",
        "TERM",
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        mounts + 'exec "$@"',
        "sh",
        which(command[0]) or command[0],
    ]
    log = directory / "log.txt"
    process: subprocess.Popen[bytes] | None = None
    namespace = ours = os.readlink("/proc/self/ns/mnt")

    def answers() -> bool:
        nonlocal namespace
        if process is None or process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended at start: {log.read_text()[-2000:]}")
        with contextlib.suppress(OSError):
            namespace = os.readlink(f"/proc/{process.pid}/ns/mnt")
        return subprocess.run([which(ask[0]) or ask[0], *ask[1:]], capture_output=True, timeout=_START_SECONDS, check=False).returncode == 0

    with _terminable(), turn():
        _refuse(beside)
        traces = _Traces(leaves, cgroup)
        try:
            with _undisturbed(), log.open("wb") as output:
                process = subprocess.Popen(
                    [*unshared, *command[1:]], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
            if not _until(answers, _START_SECONDS):
                raise RuntimeError(f"{command[0]} does not answer: {log.read_text()[-2000:]}")
            yield Daemon(directory, process.pid, namespace)
        finally:
            with _undisturbed():
                if process is not None:
                    with contextlib.suppress(OSError):
                        namespace = os.readlink(f"/proc/{process.pid}/ns/mnt")
                    _end(process, inhabitants(namespace) if namespace != ours else [])
                traces.wipe()


def _end(process: subprocess.Popen[bytes], others: list[psutil.Process]) -> None:
    """Asks the daemon to end, then ends what is left of it."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_STOP_SECONDS)
    _until(lambda: not alive(others), 2)
    for other in alive(others):
        with contextlib.suppress(psutil.NoSuchProcess):
            other.kill()
    _until(lambda: not alive(others), _STOP_SECONDS)
    if left := alive(others):
        raise RuntimeError(f"still running: {left}")


@contextlib.contextmanager
def turn() -> Iterator[None]:
    """One lab at a time on a host: each would take the other's traces for what was there before. The kernel ends it with the process."""
    if _turns:
        yield
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

        if not _until(taken, _TURN_SECONDS):
            lack("its turn", "another run of these tests holds the lab of this host")
        _turns.append(lock)
        try:
            yield
        finally:
            _turns.remove(lock)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM unwinds as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """SIGINT and SIGTERM wait until the block is over."""
    arrived: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: arrived.append(number)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if arrived:
            signal.raise_signal(arrived[0])


def _refuse(prefixes: tuple[str, ...]) -> None:
    """Ends the test when somebody already listens at one of these paths (/proc/net/unix)."""
    for line in Path("/proc/net/unix").read_text().splitlines():
        path = line.split(maxsplit=7)[-1]
        if path.startswith(prefixes):
            lack(f"a free {path}", "stop the service that listens there, it is not ours to use")


def _busybox() -> bytes:
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


def _say(program: str, *arguments: str, given: bytes | None = None, environment: Mapping[str, str] | None = None) -> str:
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
    with tempfile.TemporaryDirectory(prefix="lab-") as name, _terminable():
        first, second = Path(name, "docker"), Path(name, "libvirt")
        first.mkdir()
        second.mkdir()
        with dockerd(first) as docker, libvirtd(second) as libvirt:
            print(f"DOCKER_HOST={docker.host}", f"LIBVIRT_DEFAULT_URI={libvirt.uri}", sep="\n", flush=True)
            signal.pause()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
