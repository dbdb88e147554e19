"""This host with control groups v1 at work, recorded in namespaces of its own.

Outside, `record` makes a group in every hierarchy and starts the setting in it: namespaces of processes, mounts, names and control
groups, so that the agent within sees a host on which nothing else runs. Inside, `main` starts the engines by hand, gives them work,
records both passes, and calibrates. What is in the recording of the machine that made it is its hardware and its kernel.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

from tests.lab import boot, engines, host
from tests.lab.process import terminable, undisturbed
from tests.need import TOP, lack, need

_CGROUP = host.CGROUP
_OWN = f"stratascope-recording-{os.getpid()}"
_LIMIT_SECONDS = 580

# PID 1 of the setting: its mounts are those that the agent reads of the host. What it starts has some more, which nobody reads.
_SETTING = """
set -eu
mount -t proc proc /proc
hostname vm
for place in $(cut -d ' ' -f 2 /proc/mounts | sort -r); do
	case $place in / | /proc | /sys | /dev | /dev/pts | /dev/shm) ;; *) umount -l "$place" ;; esac
done
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
for controller in cpu cpuacct cpuset memory devices freezer blkio pids; do
	mkdir /sys/fs/cgroup/$controller
	mount -t cgroup -o $controller cgroup /sys/fs/cgroup/$controller
done
mkdir /sys/fs/cgroup/unified
mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
unshare --mount --propagation private sh -eu -c '
	top=$1 python=$2 site=$3 into=$4
	mount -t tmpfs tmpfs /mnt
	mkdir /mnt/stratascope /mnt/python /mnt/site /mnt/into
	mount --bind "$top" /mnt/stratascope
	mount --bind "$python" /mnt/python
	mount --bind "$site" /mnt/site
	mount --bind "$into" /mnt/into
	mount -t tmpfs tmpfs /tmp
	mount --move /mnt /opt
	cd /opt/stratascope
	export PYTHONPATH=/opt/stratascope:/opt/site PYTHONDONTWRITEBYTECODE=1
	/opt/python/bin/python3 -m tests.lab.hybrid
' sh "$@"
"""

# Outside of the new namespaces, which begin where this process is.
_ENTER = """
set -eu
for group; do
	[ "$group" != -- ] || break
	echo $$ >"$group/cgroup.procs"
	shift
done
shift
exec "$@"
"""


def record(into: Path) -> None:
    """The recording goes to `into`/recording, a calibration of this host beside it to `into`/calibration.json."""
    need("unshare", "mount", "busybox", root=True)
    if not (_CGROUP / "cpu" / "cgroup.procs").exists():
        lack("control groups v1", "boot with systemd.unified_cgroup_hierarchy=0")
    with terminable(), _groups() as groups:
        namespaces = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--uts", "--cgroup"]
        setting = ["sh", "-c", _SETTING, "sh", str(TOP), sys.base_prefix, sysconfig.get_path("purelib"), str(into)]
        with undisturbed():
            process = subprocess.Popen(
                ["sh", "-c", _ENTER, "sh", *map(str, groups), "--", *namespaces, *setting],
                cwd="/",
                env={"PATH": f"/opt/python/bin:{os.defpath}:/usr/sbin:/sbin", "HOME": "/root"},
                start_new_session=True,
            )
        try:
            code = process.wait(_LIMIT_SECONDS)
        finally:
            with undisturbed():
                process.kill()
                process.wait()
    if code:
        raise RuntimeError(f"the setting of the recording ended with {code}")


@contextlib.contextmanager
def _groups() -> Iterator[list[Path]]:
    """A group in each hierarchy, which goes with all that was made in it."""
    tops = [path.parent / _OWN for path in sorted(_CGROUP.glob("*/cgroup.procs"))]
    try:
        for top in tops:
            top.mkdir()
            for name in ("cpuset.cpus", "cpuset.mems"):
                if (top / name).exists():
                    (top / name).write_text((top.parent / name).read_text())
        yield tops
    finally:
        end = time.monotonic() + 20
        while (left := [Path(path) for top in tops for path, _, _ in os.walk(top, topdown=False)]) and time.monotonic() < end:
            for path in left:
                with contextlib.suppress(OSError):
                    path.rmdir()
            time.sleep(0.05)


def main() -> None:
    into = Path("/opt/into")
    with host.dockerd() as docker, host.libvirtd() as libvirt, engines.podman() as podman, engines.containerd() as containerd:
        with contextlib.ExitStack() as stack:
            _containers(docker, podman, containerd)
            _machines(libvirt, into)
            stack.enter_context(_pods())
            stack.enter_context(_sandbox())
            time.sleep(3)
            sources = ("--docker", docker.host, "--docker", podman.url, "--libvirt", libvirt.uri, "--label", "com.example.team")
            _agent("record", str(into / "recording"), "--interval", "4", *sources)
    _agent("calibrate", "--store", str(into / "calibration.json"), "--exits")


def _agent(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "agent", *arguments], check=True, timeout=200)


_SPIN = ("sh", "-c", "while :; do :; done")
_READ = ("sh", "-c", "dd if=/dev/zero of=/large bs=1M count=40; while :; do dd if=/large of=/dev/null bs=1M; sleep 1; done")
_HOLD = ("sh", "-c", "mkfifo full && exec 3<>full && exec dd if=/dev/zero bs=40M >&3")


def _containers(docker: host.Docker, podman: engines.Podman, containerd: engines.Containerd) -> None:
    burner = ("--cpus", "0.3", "--cpuset-cpus", "0", "--memory", "64m", "--memory-reservation", "32m", "--cpu-shares", "512")
    docker.run("--name", "burner", *burner, "--pids-limit", "100", "--label", "com.example.team=red", command=_SPIN)
    docker.run("--name", "reader", "--cpus", "0.4", "--memory", "24m", "--memory-swap", "24m", command=_READ)
    docker.run("--name", "holder", "--memory", "128m", "--cpu-shares", "2048", command=_HOLD)
    docker.run("--name", "hog", "--memory", "32m", "--memory-swap", "32m")
    with contextlib.suppress(subprocess.SubprocessError):
        docker.exec("hog", "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1")
    podman.run("--name", "pod", "--cpus", "0.3", "--cpuset-cpus", "1", "--memory", "96m", "--pids-limit", "50")
    bare = hashlib.sha256(b"bare").hexdigest()
    limits = ("--cpu-quota", "25000", "--cpu-period", "50000", "--memory-limit", str(64 << 20))
    containerd.run(bare, "--cgroup", f"/lab/cri-containerd-{bare}.scope", *limits)


def _machines(libvirt: host.Libvirt, into: Path) -> None:
    """One that is idle and pinned, one that would run all the time and may do so for a fifth of it, anywhere."""
    for name, code, pins, shape in (("db", boot.IDLE, {0: "1", 1: "0-1"}, (2, 48)), ("web", boot.BUSY, {}, (1, 64))):
        vcpus, memory_mib = shape
        xml = boot.domain_xml(name, boot.firmware(into / name, code), vcpus=vcpus, memory_mib=memory_mib, pins=pins)
        libvirt.define_and_start(xml)
    libvirt.virsh("schedinfo", "web", "--live", "--set", "vcpu_quota=20000", "--set", "cpu_shares=700")


@contextlib.contextmanager
def _pods() -> Iterator[None]:
    """A pod of Kubernetes as the kubelet makes it with cgroupfs, of a group for each controller."""
    uid = hashlib.sha256(b"legacy-0").hexdigest()[:32]
    uid = "-".join((uid[:8], uid[8:12], uid[12:16], uid[16:20], uid[20:]))
    below = f"kubepods/burstable/pod{uid}/{hashlib.sha256(b'legacy-0/old').hexdigest()}"
    settings = {
        "cpu": {"cpu.cfs_quota_us": "30000", "cpu.shares": "204"},
        "memory": {"memory.limit_in_bytes": "80M"},
        "pids": {"pids.max": "70"},
    }
    with subprocess.Popen(["sleep", "100000"]) as process:
        for top in sorted(path.parent for path in _CGROUP.glob("*/cgroup.procs")):
            place = top
            for part in below.split("/"):
                place /= part
                place.mkdir()
                for name in ("cpuset.cpus", "cpuset.mems"):
                    if (place / name).exists():
                        (place / name).write_text((place.parent / name).read_text())
            for name, value in settings.get(top.name, {}).items():
                (place / name).write_text(value)
            (place / "cgroup.procs").write_text(str(process.pid))
        try:
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def _sandbox() -> Iterator[None]:
    """An embedder that publishes what it holds."""
    program = TOP / "tests" / "guests" / "recordings" / "engines" / "sandbox.py"
    with subprocess.Popen([sys.executable, str(program), "2", "7", "4"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


if __name__ == "__main__":
    main()
